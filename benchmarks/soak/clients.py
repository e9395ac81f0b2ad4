"""The clients of a soak: each does one kind of thing again and again until it is told to stop."""

from __future__ import annotations

import base64
import contextlib
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

from benchmarks import ours
from benchmarks.master import Master
from benchmarks.soak.builders import SECONDS
from tests.harness import PASSWORD
from tests.harness import USER

#: Names with everything in them that has to be encoded.
BRANCHES = ("main", "feature/soak", "ünï#%")
REVISIONS = tuple(f"{number:x}" * 40 for number in range(1, 9))
#: Told, done, too late for that, gone, not now.
_FINE = {200, 202, 400, 404, 409, 429, 503}
#: When so many requests wait on a branch, nobody asks for more.
_MOST_OPEN = 20

#: Builds that somebody asked for: finished, running, pending.
Rows = dict[str, list[dict[str, Any]]]

_AUTHORIZATION = (
    f"Authorization: Basic {base64.b64encode(f'{USER}:{PASSWORD}'.encode()).decode()}\r\n"
)


class Clients:
    """All clients of a master.

    :ivar answers: how often each thing was done, by kind and status
    :ivar wrong: answers that nobody should get
    """

    def __init__(self, master: Master, seed: int) -> None:
        self.master = master
        self.answers: Counter[str] = Counter()
        self.wrong: list[str] = []
        self._seed = seed
        self._stop = threading.Event()

    def at_work(self, reconfig_every: float) -> contextlib.AbstractContextManager[None]:
        """Let all of them work while the block runs.

        :param reconfig_every: seconds
        """
        return self._working(
            *((self._read, 0.03) for _ in range(3)),
            *((self._ask_for_builds, 0.15) for _ in range(2)),
            (self._change_builds, 0.15),
            (self._hang_up, 0.05),
            (self._wait, 0.1),
            (self._reconfig, reconfig_every),
        )

    def reading(self) -> contextlib.AbstractContextManager[None]:
        """Let some of them read what there is while the block runs, and nobody build."""
        return self._working(*((self._read, 0.03) for _ in range(6)))

    @contextlib.contextmanager
    def _working(self, *works: tuple[Callable[[random.Random], None], float]) -> Iterator[None]:
        """Let each do its work again and again, with a pause of so many seconds."""
        self._stop.clear()
        threads = [
            threading.Thread(target=self._repeat, args=(work, pause, number))
            for number, (work, pause) in enumerate(works)
        ]
        for one in threads:
            one.start()
        try:
            yield
        finally:
            self._stop.set()
            for one in threads:
                one.join()

    def _repeat(self, work: Callable[[random.Random], None], pause: float, number: int) -> None:
        rng = random.Random(self._seed * 100 + number)
        while not self._stop.is_set():
            try:
                work(rng)
            except Exception as error:
                self.wrong.append(f"{work.__name__}: {error!r}")
            self._stop.wait(rng.uniform(0.5, 1.5) * pause)

    # -- what they do

    def _read(self, rng: random.Random) -> None:
        branch, revision = rng.choice(BRANCHES), rng.choice(REVISIONS)
        path = rng.choice(
            [
                ours.ROOT,
                f"{ours.ROOT}/branches",
                f"{ours.ROOT}/jobs?num=20",
                ours.branch(branch),
                ours.branch(branch, "builders"),
                ours.branch(branch, "rev", revision[:12]),
                ours.branch(branch, "rev", revision, "is_done"),
                ours.branch(branch, "user", USER),
                ours.branch(branch, "build", str(rng.randrange(1, 500))),
                ours.branch(branch, "request", str(rng.randrange(1, 500))),
            ]
        )
        joined = "&" if "?" in path else "?"
        html = rng.random() < 0.3
        # the client that the tests have reads JSON; a page is asked for raw
        if html:
            self._note("read a page", self._page(path))
        else:
            self._note("read", *self._send("GET", f"{path}{joined}format=json"))

    def _page(self, path: str) -> int:
        request = (
            f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nConnection: close\r\n\r\n"
        )
        with self._connected() as connection:
            connection.sendall(request.encode())
            received = b""
            while piece := connection.recv(1 << 16):
                received += piece
        return int(received[9:12])

    def _ask_for_builds(self, rng: random.Random) -> None:
        branch, revision = rng.choice(BRANCHES), rng.choice(REVISIONS)
        mine = self._mine(branch)
        if len(mine["pending"]) > _MOST_OPEN:
            self._cancel(rng, branch, mine)
            return
        kind = rng.choice(["a builder", "a builder", "a revision", "a set", "again", "again"])
        path = ours.branch(branch, "rev", revision)
        fields: dict[str, Any] = {}
        if kind == "a builder":
            name = rng.choices(list(SECONDS), (4, 4, 2, 2, 1))[0]
            path = ours.branch(branch, "builders", name, revision)
            fields = {"properties": '{"why": "soak"}'} if rng.random() < 0.5 else {}
        elif kind == "a set":
            path = ours.branch(branch, "rev", revision, "nightly")
        elif kind == "again" and mine["builds"]:
            build = rng.choice(mine["builds"])
            whole = rng.random() < 0.5
            path = ours.branch(branch, "build" if whole else "request")
            name, number = (
                ("build_id", build["build_id"])
                if whole
                else ("request_id", build["requests"][0]["request_id"])
            )
            fields = {name: number, "count": rng.choice((1, 1, 3))}
        self._note(f"build {kind}", *self._send("POST", path, **fields))

    def _change_builds(self, rng: random.Random) -> None:
        branch = rng.choice(BRANCHES)
        self._cancel(rng, branch, self._mine(branch))

    def _cancel(self, rng: random.Random, branch: str, mine: Rows) -> None:
        kind = rng.choice(["a request", "a build", "a priority", "a revision"])
        if kind == "a build" and mine["running"]:
            build_id = rng.choice(mine["running"])["build_id"]
            sent = "DELETE", ours.branch(branch, "build", str(build_id))
        elif kind == "a revision":
            sent = "DELETE", ours.branch(branch, "rev", rng.choice(REVISIONS))
        elif mine["pending"]:
            request_id = rng.choice(mine["pending"])["request_id"]
            method = "PUT" if kind == "a priority" else "DELETE"
            sent = method, ours.branch(branch, "request", str(request_id))
        else:
            return
        fields: dict[str, Any] = {"priority": rng.randrange(-5, 6)} if sent[0] == "PUT" else {}
        self._note(f"change {kind}", *self._send(*sent, **fields))

    def _mine(self, branch: str) -> Rows:
        status, rows = self._send("GET", ours.branch(branch, "user", USER))
        self._note("read", status, rows)
        empty: Rows = {"builds": [], "running": [], "pending": []}
        return rows if status == 200 else empty

    def _hang_up(self, rng: random.Random) -> None:
        """Ask for something, and be gone before the answer."""
        branch, revision = rng.choice(BRANCHES), rng.choice(REVISIONS)
        method, path = rng.choice(
            [
                ("GET", ours.branch(branch)),
                ("GET", ours.branch(branch, "events")),
                ("GET", ours.branch(branch, "rev", revision, "is_done") + "?wait=30"),
                ("POST", ours.branch(branch, "builders", "quick-1", revision)),
            ]
        )
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n"
        with self._connected() as connection:
            connection.sendall(f"{head}{_AUTHORIZATION}Content-Length: 0\r\n\r\n".encode())
            time.sleep(rng.choice((0, 0.005, 0.05, 0.5)))
        self.answers["hang up"] += 1

    def _wait(self, rng: random.Random) -> None:
        path = ours.branch(rng.choice(BRANCHES), "rev", rng.choice(REVISIONS), "is_done")
        query = f"wait={rng.choice((1, 2, 5))}&stableDelay=0"
        self._note("wait", *self._send("GET", f"{path}?{query}"))

    def _reconfig(self, rng: random.Random) -> None:
        self.master.process.reconfig()
        self.answers["reconfig"] += 1

    # -- pieces

    @contextlib.contextmanager
    def _connected(self) -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.master.port), 60) as connection:
            yield connection

    def _send(self, method: str, path: str, **fields: Any) -> tuple[int, Any]:
        return self.master.process.send(method, path, **fields)

    def _note(self, kind: str, status: int, answer: Any = None) -> None:
        why = f" ({answer['msg']})" if status in (400, 409, 503) and answer else ""
        self.answers[f"{kind}: {status}{why}"] += 1
        if status not in _FINE:
            self.wrong.append(f"{kind}: {status} {answer}"[:500])
