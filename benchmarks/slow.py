"""What clients that read slowly cost a master: ``python -m benchmarks.slow``.

A master has a day of some 14 MiB. Clients ask for it, all for the same or each for another part,
and each takes 200 KB in 15 seconds. Meanwhile one more client asks for the builders of a branch ten
times a second, and now and then for a whole day.

With ``--branches 100000`` there are so many branches instead, and clients that ask for the first
page as fast as they can.
"""

from __future__ import annotations

import argparse
import socket
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import sqlalchemy as sa
from buildbot.db.model import Model
from buildbot.util.sautils import hash_columns

from tests.process_master import ProcessMaster

#: Rows of the day: each takes some 350 bytes as JSON.
ROWS = 40_000
#: What a slow client takes at a time, and the seconds between.
BYTES, PAUSE = 13_600, 1.0


def fill(url: str, rows: int) -> None:
    """Write a day of *rows* requests that were cancelled, and a small branch."""
    now = int(time.time())
    when = max(now - 60, now - now % 86400)
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            Model.builders.insert().values(id=1000, name="fast", name_hash=hashed("fast"))
        )
        for number, (branch, many) in enumerate((("busy", rows), ("quiet", 5)), 1):
            connection.execute(
                Model.sourcestamps.insert().values(
                    id=number, ss_hash=f"{number:040}", branch=branch, revision=f"{number:040x}",
                    repository="", project="", codebase="", created_at=when,
                )
            )  # fmt: skip
            ids = range(number * 1_000_000, number * 1_000_000 + many)
            asked = {"submitted_at": when, "complete": 1, "complete_at": when, "results": 6}
            connection.execute(
                Model.buildsets.insert(),
                [{"id": one, "reason": f"a push, and {one}", **asked} for one in ids],
            )
            connection.execute(
                Model.buildset_sourcestamps.insert(),
                [{"id": one, "buildsetid": one, "sourcestampid": number} for one in ids],
            )
            connection.execute(
                Model.buildrequests.insert(),
                [{"id": one, "buildsetid": one, "builderid": 1000, "priority": 0, "waited_for": 0,
                  **asked} for one in ids],
            )  # fmt: skip
    engine.dispose()


def fill_branches(url: str, count: int) -> None:
    """Write a revision on each of many branches, of which half are old."""
    now = int(time.time())
    stamps = [
        {"ss_hash": f"b{number}", "branch": f"pull/{number}", "revision": f"{number:040x}",
         "repository": "", "project": "", "codebase": "", "created_at": now - number * 52}
        for number in range(count, 0, -1)
    ]  # fmt: skip
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(Model.sourcestamps.insert(), stamps)
    engine.dispose()


def hashed(name: str) -> str:
    """Return the hash of a builder's name."""
    return str(hash_columns(name))


class Slow(threading.Thread):
    """A client that reads slowly, and keeps what it was answered first."""

    def __init__(self, port: int, path: str) -> None:
        super().__init__(daemon=True)
        self._connection = socket.create_connection(("127.0.0.1", port))
        self._head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n\r\n"
        self.status = "waits"
        self.taken = 0

    def run(self) -> None:
        self._connection.sendall(self._head.encode())
        try:
            while data := self._connection.recv(BYTES):
                if not self.taken:
                    self.status = data.split(b" ", 2)[1].decode()
                self.taken += len(data)
                time.sleep(PAUSE)
        except OSError:
            pass
        self.status += ", cut off"


def timed(url: str) -> tuple[float, int, int]:
    """Return the seconds that an answer took, its status and its length."""
    begun = time.monotonic()
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            length, status = len(answer.read()), answer.status
    except urllib.error.HTTPError as error:
        length, status = 0, error.code
    return time.monotonic() - begun, status, length


def megabytes(process: psutil.Process) -> tuple[float, float]:
    """Return the memory of the master and of its readers."""
    children = process.children(recursive=True)
    return process.memory_info().rss / 1e6, sum(one.memory_info().rss for one in children) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=60)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--each-another", action="store_true", help="no two ask for the same")
    parser.add_argument("--timeout", type=int, default=60)
    parser.add_argument("--branches", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        url = f"sqlite:///{folder}/state.sqlite"
        selfserve = f"util.SelfServe(timeout={asked.timeout})"
        process = ProcessMaster(Path(folder), url, selfserve, begin=subprocess.Popen)
        if asked.branches:
            fill(url, 5)
            fill_branches(url, asked.branches)
        else:
            fill(url, asked.rows)
        process.start(60)
        try:
            if asked.branches:
                measure_branches(process, asked)
            else:
                measure(process, asked)
        finally:
            process.stop()


def measure(process: ProcessMaster, asked: argparse.Namespace) -> None:
    """Let slow clients read, and tell what that costs."""
    root, pid = f"{process.url}/self-serve", psutil.Process(process.pid)
    day = timed(f"{root}/busy?format=json")
    print(f"a day of {day[2] / 2**20:.1f} MiB in {day[0]:.1f} s")
    first = most = megabytes(pid)
    print(f"before: master {first[0]:.0f} MB, readers {first[1]:.0f} MB")
    clients = []
    for number in range(asked.clients):
        limit = asked.rows - number if asked.each_another else asked.rows
        clients.append(Slow(process.port, f"/self-serve/busy?limit={limit}"))
        clients[-1].start()
    small, begun, looked = [], time.monotonic(), 0.0
    while time.monotonic() - begun < asked.seconds:
        small.append(timed(f"{root}/quiet/builders?format=json")[0])
        most = tuple(map(max, most, megabytes(pid)))  # type: ignore[assignment]
        if time.monotonic() - looked > 10:
            looked = time.monotonic()
            told = sorted({one.status for one in clients})
            counts = ", ".join(f"{sum(one.status == s for one in clients)} {s}" for s in told)
            print(f"{looked - begun:4.0f} s: master {megabytes(pid)[0]:.0f} MB; clients: {counts}")
        time.sleep(0.1)
    small.sort()
    print(f"builders: median {small[len(small) // 2]:.3f} s, worst {small[-1]:.3f} s")
    took, status, length = timed(f"{root}/busy?format=json")
    print(f"a whole day beside them: {status}, {length / 2**20:.1f} MiB in {took:.1f} s")
    print(f"at most: master {most[0]:.0f} MB (+{most[0] - first[0]:.0f}),"
          f" readers {most[1]:.0f} MB (+{most[1] - first[1]:.0f})")  # fmt: skip


def measure_branches(process: ProcessMaster, asked: argparse.Namespace) -> None:
    """Let clients ask for the first page, and tell how long others wait."""
    root, over = f"{process.url}/self-serve", threading.Event()
    answered: list[float] = []

    def ask() -> None:
        while not over.is_set():
            answered.append(timed(f"{root}?format=html")[0])

    for path in ("?format=html", "/branches?format=json", "/branches?search=99", "/nowhere"):
        took, status, length = timed(root + path)
        print(f"{path}: {status}, {length / 1024:.0f} KiB in {took:.3f} s")
    threads = [threading.Thread(target=ask, daemon=True) for _ in range(8)]
    for thread in threads:
        thread.start()
    small, begun = [], time.monotonic()
    while time.monotonic() - begun < asked.seconds:
        small.append(timed(f"{root}/quiet/builders?format=json")[0])
        time.sleep(0.1)
    over.set()
    small.sort()
    print(f"first page: {len(answered) / asked.seconds:.0f} a second")
    print(f"builders: median {small[len(small) // 2]:.3f} s, worst {small[-1]:.3f} s")


if __name__ == "__main__":
    main()
