"""Measures reads: self-serve over HTTP, beside SQL alone, bare HTTP and Buildbot's own REST API.

One client, one master, and each question asked of all of them in turn, in several rounds. What
counts is the median of the quietest round, for each of them, because other work on a machine only
adds. They must name the same builds and requests, or the run fails.
"""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa

from benchmarks import floor
from benchmarks import ours
from benchmarks import raw
from benchmarks import stock
from benchmarks import wire
from benchmarks.history.cases import Case
from benchmarks.master import Master
from benchmarks.progress import Progress

#: Each is asked for so many seconds in each round, but at least and at most so often.
SECONDS, LEAST, MOST = 0.3, 3, 60
#: Seconds after which an answer of the REST API counts as lost: about one in a hundred is.
STOCK_TIMEOUT = 30.0
#: As many builds of a user as self-serve shows: of more, each may show others.
_MOST_OF_USER = 200


class Differs(Exception):
    """Two ways to ask the same gave different answers."""


@dataclass
class Cell:
    """What one question of one case took, in milliseconds.

    :param rows: builds and requests in the answer
    :param bare: the same bytes from bare twisted.web
    :param stock_requests: HTTP requests that the client of the REST API sends for one answer
    :param stock_queries: statements that the master's database executes for it
    """

    rows: int
    raw: float
    ours: float
    stock: float
    stock_asked: int
    stock_requests: int
    stock_queries: int
    bare: float


@dataclass
class Small:
    """What a small answer took, in milliseconds.

    :param bare: the same bytes from bare twisted.web
    """

    raw: float
    bare: float
    ours: float


class Sample:
    """Times of one way to ask.

    :param forgiven: what this connection has spent on answers that never came does not count
    """

    def __init__(
        self,
        ask: Callable[[], Any],
        least: int = LEAST,
        forgiven: wire.Connection | None = None,
    ) -> None:
        self.ask = ask
        self.least = least
        self.forgiven = forgiven
        self.medians: list[float] = []
        self.asked = 0
        self.took = 0.0
        self.answer: Any = None

    def round(self) -> None:
        """Ask for a while."""
        begun = time.perf_counter()
        times: list[float] = []
        while len(times) < self.least or (
            len(times) < MOST and time.perf_counter() - begun < SECONDS
        ):
            now = time.perf_counter() - self._lost()
            self.answer = self.ask()
            times.append(time.perf_counter() - self._lost() - now)
        self.asked += len(times)
        self.took += time.perf_counter() - begun
        self.medians.append(statistics.median(times) * 1000)

    def _lost(self) -> float:
        return 0.0 if self.forgiven is None else self.forgiven.lost

    @property
    def quietest(self) -> float:
        """Return the median of the quietest round, in milliseconds."""
        return round(min(self.medians), 3)


def measure(
    master: Master,
    url: sa.URL,
    cases: Iterable[Case],
    rounds: int,
    stock_seconds: float,
    progress: Progress,
) -> dict[str, dict[str, Any]]:
    """Return the cells by case and question.

    :param stock_seconds: when the client of the REST API has taken so long for a cell, that does
    """
    clients = _Clients(master, url)
    found: dict[str, dict[str, Any]] = {}
    for case in cases:
        found[case.name] = {}
        with _bare(clients, case) as bare:
            for name in ours.PATHS:
                with progress.step(f"{case.name}: {name}"):
                    cell = _cell(clients, bare, case, name, rounds, stock_seconds)
                    found[case.name][name] = asdict(cell)
    clients.close()
    return found


def measure_again(
    master: Master, url: sa.URL, cases: Iterable[Case], questions: Iterable[str], rounds: int
) -> dict[str, dict[str, Any]]:
    """Return what *questions* took by case, each asked again and again while nothing is written.

    :param master: one that gives an answer again then
    """
    clients = _Clients(master, url)
    found: dict[str, dict[str, Any]] = {}
    for case in cases:
        with _bare(clients, case) as bare:
            found[case.name] = {
                name: asdict(_small(clients, bare, case, name, rounds)) for name in questions
            }
    clients.close()
    return found


class _Clients:
    """Those who ask: of self-serve, of the database alone, of the REST API."""

    def __init__(self, master: Master, url: sa.URL) -> None:
        self.master = master
        self.ours = wire.Connection(master.port)
        self.raw = raw.Raw(url)
        self.stock = stock.Stock(wire.Connection(master.port, STOCK_TIMEOUT))

    def queries(self) -> int:
        """Return how many statements the master's own pool has executed."""
        return int(self.master.probe("queries")["queries"])

    def close(self) -> None:
        """Hang up."""
        self.ours.close()
        self.raw.close()
        self.stock.connection.close()


@contextlib.contextmanager
def _bare(clients: _Clients, case: Case) -> Iterator[wire.Connection]:
    """Yield a connection to bare twisted.web, which has our answers by the names of questions."""
    bodies = {name: clients.ours.get(path(case), attempts=2) for name, path in ours.PATHS.items()}
    with floor.bare("twisted", bodies) as (_, port):
        connection = wire.Connection(port)
        yield connection
        connection.close()


def _samples(
    clients: _Clients, bare: wire.Connection, case: Case, name: str
) -> tuple[Sample, Sample, Sample]:
    """Return what asks SQL alone, bare twisted.web and us."""
    path = ours.PATHS[name](case)
    # twice, because a connection that was idle for long is closed
    return (
        Sample(raw.QUESTIONS[name](clients.raw, case)),
        Sample(lambda: bare.get(f"/{name}", attempts=2)),
        Sample(lambda: clients.ours.get(path, attempts=2)),
    )


def _small(clients: _Clients, bare: wire.Connection, case: Case, name: str, rounds: int) -> Small:
    samples = _samples(clients, bare, case, name)
    for _ in range(rounds):
        for sample in samples:
            sample.round()
    return Small(*(sample.quietest for sample in samples))


def _cell(
    clients: _Clients,
    bare: wire.Connection,
    case: Case,
    name: str,
    rounds: int,
    stock_seconds: float,
) -> Cell:
    by_raw, by_bare, by_ours = _samples(clients, bare, case, name)
    by_stock = Sample(
        lambda: stock.QUESTIONS[name](clients.stock, case),
        least=1,
        forgiven=clients.stock.connection,
    )
    requests, queries = clients.stock.requests, clients.queries()
    for number in range(rounds):
        by_raw.round()
        by_bare.round()
        by_ours.round()
        if not number or by_stock.took < stock_seconds:
            by_stock.round()
    answers = orjson.loads(by_ours.answer), orjson.loads(by_raw.answer), by_stock.answer
    rows = _compare(name, *answers)
    return Cell(
        rows,
        by_raw.quietest,
        by_ours.quietest,
        by_stock.quietest,
        by_stock.asked,
        (clients.stock.requests - requests) // by_stock.asked,
        (clients.queries() - queries) // by_stock.asked,
        by_bare.quietest,
    )


def _compare(name: str, by_ours: Any, by_raw: Any, by_stock: Any) -> int:
    """Return how many rows the answers have.

    :raises Differs: they are not the same
    """
    if name == "is_done":
        # stableDelay has long passed, so that complete is what the client of the REST API finds out
        _same(name, [by_ours["job_complete"], by_raw["job_complete"]], [by_stock] * 2)
        return int(by_ours["pending"] + by_ours["running"] + by_ours["builds"])
    if name == "builders":
        _same(name, by_ours, by_raw)
        return len(by_ours)
    if name == "user":
        by_ours = [row for rows in by_ours.values() for row in rows]
        finished = sum(row.get("endtime") is not None for row in by_ours)
        if finished >= _MOST_OF_USER:
            # each has its own order, so that others are the last ones
            _same(name, len(by_ours), len(by_raw))
        else:
            _same(name, _named(by_ours, "build_id"), _named(by_raw, "build_id"))
            _same(name, _named(by_ours, "build_id"), _named(by_stock, "buildid"))
        return len(by_ours)
    rows = by_ours if isinstance(by_ours, list) else [by_ours]
    if name == "request":
        _same(name, {by_ours["request_id"]}, {one["request_id"] for one in by_raw})
        return 1
    _same(name, _named(rows, "build_id"), _named(by_raw, "build_id"))
    _same(name, _named(rows, "build_id"), _named(by_stock, "buildid"))
    return len(rows)


def _named(rows: Iterable[dict[str, Any]], key: str) -> set[int]:
    return {row[key] for row in rows if row.get(key) is not None}


def _same(name: str, one: Any, other: Any) -> None:
    if one != other:
        raise Differs(f"{name}: {one} is not {other}")
