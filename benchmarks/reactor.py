"""Measures how the master is while clients ask: windows of some seconds, the quietest of several.

The clients live in processes of their own. Other work on the machine only adds to what is measured,
so that the quietest window is the one that tells most about us.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks import ours
from benchmarks import stock
from benchmarks import wire
from benchmarks.history.cases import Cases
from benchmarks.load import TAIL
from benchmarks.load import WARM_UP
from benchmarks.load import Load
from benchmarks.load import as_line
from benchmarks.master import Master
from benchmarks.progress import Progress

#: So many clients ask as fast as they can.
CLIENTS = 8
#: So many ask now and then, or hold a connection open.
MANY = 500
#: The one more client asks so often a second.
ALONE_RATE = 10.0
#: Seconds that a client lets its is_done be held back.
WAIT = 20
#: How many scenes ``measure`` goes through.
SCENES = 9

Figures = dict[str, Any]


@dataclass(frozen=True)
class Scene:
    """What goes on in a window.

    :param load: what a crowd does; ``None`` for nothing
    :param alone: what one more client asks for meanwhile
    :param stock: so many clients of Buildbot's REST API ask for revisions as fast as they can
    """

    name: str
    load: Load | None = None
    alone: Load | None = None
    stock: int = 0
    windows: int | None = None


def scenes(port: int, cases: Cases, seconds: float, can_wait: bool) -> list[Scene]:
    """Return what is measured on a master.

    :param can_wait: is_done takes ``wait``
    """
    revisions = [ours.branch(name, "rev", revision) for name, revision in cases.crowd]
    done = [f"{path}/is_done" for path in revisions]
    days = [f"{ours.branch(one.branch)}?date={one.date}" for one in cases.days]
    alone = Load(port, done, 1, seconds, ALONE_RATE)

    def crowd(paths: Sequence[str], accept: str = wire.JSON) -> Load:
        return Load(port, paths, CLIENTS, seconds, accept=accept)

    found = [
        Scene("idle"),
        Scene("50 revisions a second", Load(port, revisions, CLIENTS, seconds, 50.0), alone),
        Scene("8 clients, revisions", crowd(revisions), alone),
        Scene("8 clients, days as JSON", crowd(days), alone),
        Scene("8 clients, days as pages", crowd(days, wire.HTML), alone),
        Scene("500 clients poll is_done each second", Load(port, done, MANY, seconds, MANY), alone),
        Scene("500 idle connections", Load(port, done, 0, seconds, silent=MANY), alone),
        Scene("8 clients of REST, revisions", stock=CLIENTS, alone=alone, windows=1),
    ]
    if can_wait:
        waiting = [f"{path}?wait={WAIT}&stableDelay=1000000000" for path in done]
        held = Load(port, waiting, MANY, seconds)
        found.insert(-1, Scene("500 clients wait for is_done", held, alone))
    return found


def measure(
    master: Master,
    cases: Cases,
    seconds: float,
    windows: int,
    progress: Progress,
) -> dict[str, list[Figures]]:
    """Return the figures of each window by the name of its scene, the quietest first."""
    found = {}
    for scene in scenes(master.port, cases, seconds, _can_wait(master)):
        with progress.step(scene.name):
            count = scene.windows or windows
            figures = [_window(master, cases, scene, seconds) for _ in range(count)]
        found[scene.name] = sorted(figures, key=lambda one: (one["late_max"], one["late_p99"]))
    return found


def _can_wait(master: Master) -> bool:
    """Whether is_done takes ``wait``, as the root page says."""
    routes = master.process.get("")["routes"]
    return any(
        route["path"].endswith("/is_done") and "wait" in str(route["parameters"])
        for route in routes
    )


def _window(master: Master, cases: Cases, scene: Scene, seconds: float) -> Figures:
    with contextlib.ExitStack() as stack:
        crowd = stack.enter_context(Clients.of(scene.load))
        alone = stack.enter_context(Clients.of(scene.alone))
        asking = stack.enter_context(_stock_clients(master.port, cases, scene.stock, seconds))
        crowd.wait_until_warm()
        alone.wait_until_warm()
        master.probe("start")
        time.sleep(seconds)
        figures = master.probe("stop")
        figures["megabytes"] = master.megabytes()
        figures["crowd"] = crowd.measured()
        figures["alone"] = alone.measured()
        if scene.stock:
            figures["crowd"] = asking()
    return figures


class Clients:
    """A process with clients, or none."""

    def __init__(self, process: subprocess.Popen[str] | None) -> None:
        self._process = process

    @classmethod
    @contextlib.contextmanager
    def of(cls, load: Load | None) -> Iterator[Clients]:
        """Yield clients that do this."""
        if load is None:
            yield cls(None)
            return
        process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.load"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        process.stdin.write(as_line(load))
        process.stdin.flush()
        try:
            yield cls(process)
        finally:
            process.kill()
            process.communicate()

    def wait_until_warm(self) -> None:
        """Wait until they are measured."""
        self._line()

    def measured(self) -> Figures:
        """Wait until they are done; return what they measured."""
        line = self._line()
        found: Figures = json.loads(line) if line else {}
        return found

    def _line(self) -> str:
        if self._process is None:
            return ""
        assert self._process.stdout is not None
        return self._process.stdout.readline()


@contextlib.contextmanager
def _stock_clients(port: int, cases: Cases, count: int, seconds: float) -> Iterator[Any]:
    """Let clients of the REST API ask; yield what returns the figures of their answers."""
    answers: list[float] = []
    ended = time.monotonic() + WARM_UP + seconds + TAIL

    def work(number: int) -> None:
        with contextlib.suppress(wire.Lost, OSError):
            client = stock.Stock(wire.Connection(port, timeout=seconds))
            while time.monotonic() < ended:
                begun = time.monotonic()
                client.revision(cases.cases[number % len(cases.cases)])
                answers.append(time.monotonic() - begun)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(count)]
    for one in threads:
        one.start()
    if count:
        time.sleep(WARM_UP)

    def figures() -> Figures:
        for one in threads:
            one.join()
        ordered = sorted(answers)
        middle = ordered[len(ordered) // 2] * 1000 if ordered else None
        return {"answers_s": round(len(ordered) / (seconds + WARM_UP), 2), "p50": middle}

    yield figures
