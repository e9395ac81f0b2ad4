"""What an answer costs beside bare twisted.web: ``python -m benchmarks.floor``.

In one run, a client on a kept connection asks bare twisted.web, bare Klein (``bare.py``) and
self-serve for the same bytes. What counts is the CPU of each process for an answer, as the kernel
accounts for it, which other work on the machine changes little; with it come the context switches:
a process that sleeps until it is asked has one for each answer.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import psutil

from benchmarks import markdown
from benchmarks import master
from benchmarks import ours
from benchmarks import reactor
from benchmarks import wire
from benchmarks.history import keep
from benchmarks.history.cases import Cases
from benchmarks.history.plan import Sizes
from benchmarks.load import Load

#: What is asked: answers of two or three kilobytes at most.
QUESTIONS = ("revision", "is_done", "build")
#: So often in a row, and in so many rounds; the lowest of each figure counts.
ASKED, ROUNDS = 100, 30
#: Seconds of each window with many clients, and how many windows; the best counts.
SECONDS, WINDOWS = 4.0, 3

#: A master is idle when its CPU is less than this, in cores; with thousands of waiting requests it
#: goes through them for a while after its start. It is given so many seconds for that.
IDLE, PATIENCE = 0.05, 120.0

#: The CPU of the master and of its reader for an answer is at most so many times that of bare
#: twisted.web; with many clients at least so large a part of its answers a second is made.
MASTER, READER = 2.0, 1.0
ANSWERS = {"sqlite": 0.5, "postgresql": 0.4}

Figures = dict[str, Any]


@dataclass(frozen=True)
class Usage:
    """What a process has used since it began.

    :param cpu: in nanoseconds
    :param switches: how often it has given up a core, because there was nothing to do
    :param forced: how often a core was taken from it
    """

    cpu: int
    switches: int
    forced: int

    @classmethod
    def of(cls, pid: int) -> Usage:
        """Return what the threads of a process have used, as Linux counts it."""
        cpu = switches = forced = 0
        for thread in Path("/proc", str(pid), "task").iterdir():
            with contextlib.suppress(FileNotFoundError):  # it has ended
                cpu += int((thread / "schedstat").read_text().split()[0])
                lines = (thread / "status").read_text().splitlines()
                told = dict(line.split(":", 1) for line in lines)
                switches += int(told["voluntary_ctxt_switches"])
                forced += int(told["nonvoluntary_ctxt_switches"])
        return cls(cpu, switches, forced)

    def each(self, before: Usage, count: int) -> Figures:
        """Return what each of so many answers has used since *before*: CPU in milliseconds."""
        return {
            "cpu": (self.cpu - before.cpu) / count / 1e6,
            "switches": (self.switches - before.switches) / count,
            "forced": (self.forced - before.forced) / count,
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what *arguments* ask for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor", description=__doc__)
    parser.add_argument("--builds", type=int, default=20_000, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the history (%(default)s)")
    parser.add_argument("--database", nargs="+", default=keep.DATABASES, choices=keep.DATABASES)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="the lowest count (%(default)s)")
    parser.add_argument(
        "--anew", action="store_true", help="make each answer anew, though nothing has changed"
    )
    parser.add_argument("--in-a-row", type=int, default=1, help="(%(default)s)")
    parser.add_argument("--windows", type=int, default=WINDOWS, help="(%(default)s)")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="of each (%(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(".bench-data"), help="(%(default)s)")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args(arguments)
    how = Options(options.rounds, options.in_a_row, options.windows, options.seconds)
    found = {}
    for database in options.database:
        sizes = Sizes(options.builds, options.seed)
        with (
            keep.lend(options.folder, database, sizes, lambda text: None) as lent,
            master.running(
                lent.url, ours.PATHS["is_done"](lent.cases.cases[0]), repeats=not options.anew
            ) as measured,
        ):
            found[database] = measure(measured, lent.cases, how)
        print(table(database, found[database]), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


@dataclass(frozen=True)
class Options:
    """How it is measured.

    :param rounds: with one client; the least counts
    :param in_a_row: so often each is asked before the next one is
    :param windows: with many clients; the best counts
    :param seconds: of each window
    """

    rounds: int = ROUNDS
    in_a_row: int = 1
    windows: int = WINDOWS
    seconds: float = SECONDS


def measure(measured: master.Master, cases: Cases, options: Options = Options()) -> Figures:
    """Return what answers cost on a master, and beside it.

    :return: ``one``: by question the bytes, and by process what an answer takes; ``many``: answers
        a second with many clients
    """
    settle(measured.process.pid)
    (reader,) = psutil.Process(measured.process.pid).children(recursive=True)
    own = {"master": measured.process.pid, "reader": reader.pid}
    connection = wire.Connection(measured.port)
    paths = {question: ours.PATHS[question](cases.cases[0]) for question in QUESTIONS}
    bodies = {question: connection.get(path) for question, path in paths.items()}
    one = {}
    with bare("twisted", bodies) as twisted, bare("klein", bodies) as klein:
        kinds = {
            name: (wire.Connection(port), {name: pid})
            for name, (pid, port) in (("twisted", twisted), ("klein", klein))
        }
        for question, path in paths.items():
            asked = [_Asked(its, f"/{question}", pids) for its, pids in kinds.values()]
            cost = _cost([*asked, _Asked(connection, path, own)], options)
            one[question] = {"bytes": len(bodies[question]), **cost}
        many = _many(measured.port, twisted[1], paths["revision"], options)
        for its, _ in kinds.values():
            its.close()
    connection.close()
    return {"one": one, "many": many}


def settle(pid: int) -> None:
    """Wait until a process has nothing to do of its own."""
    ended = time.monotonic() + PATIENCE
    while time.monotonic() < ended:
        before = Usage.of(pid).cpu
        time.sleep(1)
        if (Usage.of(pid).cpu - before) / 1e9 < IDLE:
            return


@dataclass(frozen=True)
class _Asked:
    """Who is asked, and by which names the processes that then work are called."""

    connection: wire.Connection
    path: str
    pids: Mapping[str, int]

    def ask(self, times: int) -> None:
        """Ask so often."""
        for _ in range(times):
            self.connection.get(self.path)


@contextlib.contextmanager
def bare(kind: str, bodies: Mapping[str, bytes]) -> Iterator[tuple[int, int]]:
    """Run a bare server that answers with these *bodies*, by name; yield its pid and its port."""
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.bare"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        texts = {name: body.decode() for name, body in bodies.items()}
        told = {"kind": kind, "bodies": texts, "access_log": f"{folder}/http.log"}
        try:
            process.stdin.write(f"{json.dumps(told)}\n")
            process.stdin.flush()
            yield process.pid, int(process.stdout.readline())
        finally:
            process.kill()
            process.communicate()


def _cost(asked: Sequence[_Asked], options: Options) -> dict[str, Figures]:
    """Return what an answer takes, by what takes it: the least of all rounds.

    They are asked by turns, so that all find the caches of the machine as the others leave them.
    ``over`` is how many times the CPU of bare twisted.web it is in the same round: the median.
    """
    pids = {name: pid for one in asked for name, pid in one.pids.items()}
    found: dict[str, list[Figures]] = {name: [] for name in pids}
    for one in asked:
        one.ask(ASKED)
    for _ in range(options.rounds):
        before = {name: Usage.of(pid) for name, pid in pids.items()}
        for _ in range(ASKED // options.in_a_row):
            for one in asked:
                one.ask(options.in_a_row)
        count = ASKED // options.in_a_row * options.in_a_row
        for name, pid in pids.items():
            found[name].append(Usage.of(pid).each(before[name], count))
    return {
        name: {
            **{key: round(min(one[key] for one in every), 4) for key in every[0]},
            "over": round(median(_ratios(every, found["twisted"])), 3),
        }
        for name, every in found.items()
    }


def _ratios(some: Sequence[Figures], bare: Sequence[Figures]) -> Iterator[float]:
    for one, other in zip(some, bare, strict=True):
        yield one["cpu"] / other["cpu"]


def _many(port: int, bare_port: int, path: str, options: Options) -> Figures:
    """Return how many answers a second many clients get in the best window of each."""
    asked = {"twisted": (bare_port, "/revision"), "ours": (port, path)}
    found: dict[str, float] = dict.fromkeys(asked, 0.0)
    for _ in range(options.windows):
        for name, (its_port, its_path) in asked.items():
            load = Load(its_port, [its_path], reactor.CLIENTS, options.seconds)
            with reactor.Clients.of(load) as clients:
                clients.wait_until_warm()
                found[name] = max(found[name], clients.measured()["answers_s"])
    return found


def checks(database: str, figures: Figures) -> Iterator[tuple[str, float, float, str]]:
    """Yield what is wanted at most, what was measured, and in which unit."""
    for question, one in figures["one"].items():
        for process, most in (("master", MASTER), ("reader", READER)):
            what = f"{question}: CPU of the {process} over bare twisted.web"
            yield what, most, one[process]["over"], "×"
    many = figures["many"]
    if many["ours"]:
        ratio = many["twisted"] / many["ours"]
        yield (
            f"{reactor.CLIENTS} clients, a revision: answers of bare twisted.web over ours",
            1 / ANSWERS[database],
            ratio,
            "×",
        )


def table(database: str, figures: Figures) -> str:
    """Return the figures as a Markdown table."""
    head = ["database", "question", "bytes", "twisted.web", "Klein", "master", "x", "reader", "x"]
    head += ["switches of the master", "of the reader"]
    rows = []
    for question, one in figures["one"].items():
        cells = [database, question, f"{one['bytes']:,}"]
        cells += [f"{one[process]['cpu']:.3f} ms" for process in ("twisted", "klein")]
        for process in ("master", "reader"):
            cells += [f"{one[process]['cpu']:.3f} ms", f"**{one[process]['over']:.2f}**"]
        cells += [f"{one[process]['switches']:.2f}" for process in ("master", "reader")]
        rows.append(cells)
    many = figures["many"]
    told = (
        f"{reactor.CLIENTS} clients, a revision: {many['twisted']:,.0f} answers a second of bare"
        f" twisted.web, {many['ours']:,.0f} of ours"
    )
    return f"{markdown.table(head, rows)}\n\n{told}\n"


if __name__ == "__main__":
    main()
