"""What the measured master has in its ``master.cfg``: many builders, and a probe."""

from __future__ import annotations

import gc
import json
import os
import threading
import time
from collections import Counter
from typing import Any

import psutil
import sqlalchemy as sa
from buildbot.plugins import schedulers
from buildbot.plugins import util
from buildbot.plugins import worker
from buildbot.util.service import BuildbotService
from twisted.internet import defer
from twisted.internet import endpoints
from twisted.internet import reactor as _reactor
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver

from benchmarks import rules
from benchmarks.history.plan import BUILDERS
from benchmarks.history.plan import WORKERS
from buildbot_selfserve import databases
from buildbot_selfserve.views import repeats as repeated
from buildbot_selfserve.views.reader import Reader
from buildbot_selfserve.views.reader import open_warm_reader

reactor: Any = _reactor
#: Seconds between two ticks of the reactor, and between two questions to the database.
TICK, POOL_TICK = 0.005, 0.05
#: Upper ends of the bars in which late ticks are counted, in milliseconds; more is the last bar.
BARS = (0.25, 0.5, 1, 2, 3, 4, 6, 8, 10, 20, 50, 100, 200, 500, 1000)


def furnish(config: dict[str, Any], probe_port: int, repeats: bool) -> None:
    """Give *config* the builders and workers of the history, and a probe.

    :param repeats: give an answer again while nothing has changed, as masters do. Otherwise
        readers make each answer anew, as if something had been written before each

    No worker ever comes, so that nothing is built while it is measured. No scheduler watches a
    branch, so that the builders of one are not told by the configuration: the harder case.
    """
    if not repeats:
        repeated.KEPT = ()
        databases.open_warm_reader = open_forgetful_reader  # type: ignore[attr-defined]
    factory = util.BuildFactory()
    config["protocols"] = {"pb": {"port": "tcp:0:interface=127.0.0.1"}}
    config["workers"] = [worker.Worker(name, "secret") for name in WORKERS]
    config["builders"] = [
        util.BuilderConfig(name=name, workernames=[WORKERS[number % len(WORKERS)]], factory=factory)
        for number, name in enumerate(BUILDERS)
    ]
    config["schedulers"] = [schedulers.ForceScheduler(name="force", builderNames=list(BUILDERS))]
    config["www"]["logfileName"] = "http.log"  # as every master has it
    config["www"]["authz"] = rules.authz("ada")
    add_probe(config, probe_port)


def open_forgetful_reader(*arguments: Any) -> Reader:
    """Return what a reader has that gives no answer twice."""
    repeated.KEPT = ()
    return open_warm_reader(*arguments)


def add_probe(config: dict[str, Any], probe_port: int) -> None:
    """Give *config* a probe that listens on *probe_port*."""
    config.setdefault("services", []).append(Probe(name="probe", port=probe_port))


class Probe(BuildbotService):  # type: ignore[misc]  # Buildbot has no types
    """Measures how the master is, and tells it on a port of its own, a line of JSON for each line.

    ``start``; ``stop``: what was measured since; ``queries``: how many statements the master's own
    database pool has executed; ``census``: what there is in the process.
    """

    def reconfigService(self, port: int) -> None:
        """Take the configuration."""
        self.port = port

    @defer.inlineCallbacks
    def startService(self) -> Any:
        """Listen."""
        yield super().startService()
        self.queries = 0
        self.measuring: Measuring | None = None
        engine = self.master.db.pool.engine
        sa.event.listen(engine, "before_cursor_execute", self._count)
        factory = Factory.forProtocol(lambda: _Commands(self))
        endpoint = endpoints.TCP4ServerEndpoint(reactor, self.port, interface="127.0.0.1")
        self.listening = yield endpoint.listen(factory)

    @defer.inlineCallbacks
    def stopService(self) -> Any:
        """Stop listening."""
        yield self.listening.stopListening()
        yield super().stopService()

    def _count(self, *_: Any) -> None:
        self.queries += 1

    def answer(self, command: str) -> dict[str, Any]:
        """Do what *command* says."""
        if command == "start":
            self.measuring = Measuring(self.master)
            return {}
        if command == "stop":
            assert self.measuring is not None
            return self.measuring.stop()
        if command == "queries":
            return {"queries": self.queries}
        return census()


class _Commands(LineReceiver):
    delimiter = b"\n"
    transport: Any

    def __init__(self, probe: Probe) -> None:
        self._probe = probe

    def lineReceived(self, line: bytes) -> None:
        answer = self._probe.answer(line.decode())
        self.transport.write(json.dumps(answer).encode() + self.delimiter)


class Measuring:
    """How late the reactor is, how long the master's database pool takes, and what CPU it costs."""

    def __init__(self, master: Any) -> None:
        self._pool = master.db.pool
        self._table = master.db.model.builders
        self._late: list[float] = []
        self._awake: list[float] = []
        self._asked: list[float] = []
        self._queue = CoreQueue()
        self._running = True
        self._begun, self._cpu = time.perf_counter(), time.process_time()
        self._tick(self._begun)
        self._ask()

    def _tick(self, due: float) -> None:
        if not self._running:
            return
        now = time.perf_counter()
        late = max(0.0, now - due)
        self._late.append(late)
        self._awake.append(max(0.0, late - self._queue.waited()))
        reactor.callLater(TICK, self._tick, now + TICK)

    def _ask(self) -> None:
        if not self._running:
            return
        reactor.callLater(POOL_TICK, self._ask)
        begun = time.perf_counter()
        asked: defer.Deferred[Any] = self._pool.do(self._select)
        asked.addCallback(lambda _: self._asked.append(time.perf_counter() - begun))

    def _select(self, connection: sa.Connection) -> None:
        connection.execute(sa.select(self._table.c.id).where(self._table.c.id == 1)).fetchall()

    def stop(self) -> dict[str, Any]:
        """End it; return what was measured, in milliseconds and cores."""
        self._running = False
        self._queue.close()
        seconds = time.perf_counter() - self._begun
        late, awake, asked = (sorted(one) for one in (self._late, self._awake, self._asked))
        bars = Counter(_bar(one * 1000) for one in late)
        return {
            "seconds": round(seconds, 2),
            "late_p50": _ms(late, 50),
            "late_p99": _ms(late, 99),
            "late_max": _ms(late, 100),
            "awake_p99": _ms(awake, 99),
            "late_bars": [bars[place] for place in range(len(BARS) + 1)],
            "pool_p50": _ms(asked, 50),
            "pool_p99": _ms(asked, 99),
            "pool_max": _ms(asked, 100),
            "cores": round((time.process_time() - self._cpu) / seconds, 3),
        }


class CoreQueue:
    """How long this thread waits for a core, as Linux counts it (proc_pid_schedstat)."""

    def __init__(self) -> None:
        self._file = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        self._before = self._nanoseconds()

    def waited(self) -> float:
        """Return for how many seconds it has waited since this was asked before."""
        before, self._before = self._before, self._nanoseconds()
        return (self._before - before) / 1e9

    def close(self) -> None:
        """Ask no more."""
        os.close(self._file)

    def _nanoseconds(self) -> int:
        return int(os.pread(self._file, 100, 0).split()[1])


def _bar(late: float) -> int:
    return next((place for place, end in enumerate(BARS) if late <= end), len(BARS))


def _ms(ordered: list[float], percent: int) -> float | None:
    if not ordered:
        return None
    return round(ordered[min(len(ordered) - 1, len(ordered) * percent // 100)] * 1000, 3)


def census() -> dict[str, Any]:
    """Count what may leak: threads, files, connections, Deferreds, timers, bytes.

    Self-serve puts aside what is there after each reconfig, and that counts as well.
    """
    frozen = gc.get_freeze_count()
    gc.unfreeze()
    gc.collect()
    own = psutil.Process()
    connections = own.net_connections(kind="tcp")
    found = {
        "threads": threading.active_count(),
        "files": own.num_fds(),
        "connections": sum(one.status == psutil.CONN_ESTABLISHED for one in connections),
        "deferreds": sum(isinstance(one, defer.Deferred) for one in gc.get_objects()),
        "timers": len(reactor.getDelayedCalls()),
        "children": len(own.children(recursive=True)),
        "bytes": own.memory_full_info().uss,
    }
    if frozen:
        gc.freeze()
    return found
