"""Measures bulk job requests beside Buildbot's own ``updates.addBuildset``, on the same backlog.

A master runs with many pending requests for a builder whose worker is taken. Over HTTP, a request
there is rebuilt many times, and then its whole revision is cancelled; after that the master makes
the same number of requests in its own way. The client lives in the master's process, so that what
it costs counts against us.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import sqlalchemy as sa
from buildbot.db.model import Model
from buildbot.plugins import util
from twisted.internet import defer
from twisted.internet import reactor as _reactor
from twisted.internet import task

from benchmarks import rules
from benchmarks.lateness import Lateness
from tests import databases
from tests import harness

reactor: Any = _reactor
BUILDER = "fast"
#: The revision that others wait at, and the one of the job requests.
OTHERS, OURS = "a" * 40, "b" * 40
#: What Buildbot looks at when it wonders whether a new request makes an older one needless.
KEY_SOURCE = "Scheduler"


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    :param pending: requests that wait for the builder, at another revision
    :param count: how many times a request is rebuilt
    :param at_revision: requests that wait at the revision which is cancelled
    :param rounds: how often; the quietest round counts, because other work on a machine only adds
    """

    pending: int
    count: int
    at_revision: int
    rounds: int


@dataclass(frozen=True)
class Act:
    """What a bulk act took.

    :param seconds: from sending it to its receipt, median of the rounds
    :param late: how late the reactor was at worst, in seconds, in the quietest round
    """

    requests: int
    seconds: float
    late: float

    @property
    def each(self) -> float:
        """Return the seconds for each request."""
        return self.seconds / self.requests


@dataclass(frozen=True)
class Measured:
    """What came out for one database and one size of the backlog."""

    database: str
    pending: int
    rebuild: Act
    cancel: Act
    stock: Act | None
    #: How late the reactor is when Buildbot alone looks for work on this backlog.
    look_for_work: float


class MissingEvents(Exception):
    """A request was made or cancelled, and the web UI and reporters were not told."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and end the process; the exit code is 1 if an act went wrong."""
    options = _parser().parse_args(arguments)
    task.react(lambda _: defer.ensureDeferred(_run(options)))


async def _run(options: argparse.Namespace) -> None:
    measured: list[Measured] = []
    for name in options.database:
        with databases.postgresql() if name == "postgresql" else _sqlite() as server:
            for pending in options.pending:
                print(f"{name}, {pending} pending ...", file=sys.stderr, flush=True)
                sizes = Sizes(pending, options.count, options.at_revision, options.rounds)
                stock = options.stock if pending == options.pending[0] else 0
                measured.append(await measure(name, server, sizes, stock))
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(one) for one in measured], indent=2) + "\n")
    print(table(measured))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.writes", description=__doc__)
    parser.add_argument(
        "--pending",
        type=int,
        nargs="+",
        default=[2000, 100, 8000],
        help="sizes of the backlog; Buildbot's own way is measured on the first (%(default)s)",
    )
    parser.add_argument("--count", type=int, default=100, help="times to rebuild (%(default)s)")
    parser.add_argument(
        "--at-revision", type=int, default=1000, help="requests to cancel (%(default)s)"
    )
    parser.add_argument(
        "--stock", type=int, default=3, help="requests made in Buildbot's own way (%(default)s)"
    )
    parser.add_argument("--rounds", type=int, default=3, help="(%(default)s)")
    parser.add_argument(
        "--database",
        choices=("sqlite", "postgresql"),
        nargs="+",
        default=["sqlite", "postgresql"],
        help="where the master keeps its state (%(default)s)",
    )
    parser.add_argument("--json", type=Path, help="a file for the figures")
    return parser


@contextlib.contextmanager
def _sqlite() -> Iterator[None]:
    yield None


async def measure(name: str, server: sa.URL | None, sizes: Sizes, stock: int) -> Measured:
    """Measure on a fresh master.

    :param server: where to make its database; SQLite if absent
    :param stock: so many requests are made in Buildbot's own way; 0 leaves that out
    """
    db_url = databases.SQLITE if server is None else databases.fresh_database(server)
    async with _master(db_url) as running:
        if sizes.pending:
            await _fill(running, sizes.pending, OTHERS)
        rebuilds, cancels = [], []
        for _ in range(sizes.rounds):
            source = await _fill(running, sizes.at_revision - sizes.count, OURS)
            rebuilds.append(await _rebuild(running, source, sizes.count))
            cancels.append(await _cancel(running, sizes.at_revision))
        looked = [await _look_for_work(running) for _ in range(sizes.rounds)]
        return Measured(
            name,
            sizes.pending,
            _typical(rebuilds),
            _typical(cancels),
            await _stock(running, stock) if stock else None,
            min(looked),
        )


def _typical(acts: Sequence[Act]) -> Act:
    return Act(acts[0].requests, median(act.seconds for act in acts), min(act.late for act in acts))


@contextlib.asynccontextmanager
async def _master(db_url: str) -> AsyncIterator[harness.Master]:
    def config() -> harness.Config:
        return harness.config(
            util.SelfServe(timeout=120, max_count=10_000), authz=rules.authz(harness.USER)
        )

    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        pytest.MonkeyPatch.context() as patch,
    ):
        async with harness.running_master(Path(name), patch, config, db_url) as running:
            await running.finished_build(BUILDER)
            running.pause()
            yield running


async def _rebuild(running: harness.Master, request_id: int, count: int) -> Act:
    wanted = {"buildrequests new": count, "buildsets new": count}
    with _counted(running, wanted), Lateness() as lateness:
        begun = time.perf_counter()
        await _ask(
            running, "POST", "request", count, data={"request_id": request_id, "count": count}
        )
        seconds = time.perf_counter() - begun
        await _settle()  # what it sets off counts as well
    return Act(count, seconds, lateness.worst)


async def _cancel(running: harness.Master, count: int) -> Act:
    kinds = ("buildrequests complete", "buildsets complete", "buildrequests cancel")
    with _counted(running, dict.fromkeys(kinds, count)), Lateness() as lateness:
        begun = time.perf_counter()
        await _ask(running, "DELETE", f"rev/{OURS}", count)
        seconds = time.perf_counter() - begun
        await _settle()
    return Act(count, seconds, lateness.worst)


async def _look_for_work(running: harness.Master) -> float:
    with Lateness() as lateness:
        running.master.botmaster.maybeStartBuildsForBuilder(BUILDER)
        await _settle()
    return lateness.worst


async def _ask(running: harness.Master, method: str, path: str, count: int, **more: Any) -> None:
    answer = await running.request(method, f"/self-serve/main/{path}", user=harness.USER, **more)
    assert answer.status == 202, answer.text
    outcomes = Counter(one["outcome"] for one in answer.json["requests"])
    assert list(outcomes.values()) == [count], outcomes


async def _settle() -> None:
    # the master waits a moment before it looks for work
    await task.deferLater(reactor, 1.0)


async def _stock(running: harness.Master, count: int) -> Act:
    """Make requests as a plugin would that knows Buildbot's update methods only."""
    updates, builder_id = running.master.data.updates, await _builder_id(running)
    stamp = {"branch": "main", "revision": OURS, "repository": "https://example.org/repo"}
    with Lateness() as lateness:
        begun = time.perf_counter()
        for number in range(count):
            await updates.addBuildset(
                waited_for=False,
                scheduler="benchmark",
                sourcestamps=[{**stamp, "codebase": "", "project": ""}],
                reason="benchmark",
                properties={"branch": ("main", "Change"), "key": (number, KEY_SOURCE)},
                builderids=[builder_id],
            )
        seconds = time.perf_counter() - begun
    return Act(count, seconds, lateness.worst)


async def _builder_id(running: harness.Master) -> int:
    return int(await running.master.data.updates.findBuilderId(BUILDER))


@contextlib.contextmanager
def _counted(running: harness.Master, wanted: dict[str, int]) -> Iterator[None]:
    """Check that the block sends so many events of these kinds.

    :raises MissingEvents: it sends fewer, or more
    """
    seen: Counter[str] = Counter()
    consumers: list[Any] = []
    for kind in wanted:
        plural, event = kind.split()

        def count(_key: Any, _message: Any, kind: str = kind) -> None:
            seen[kind] += 1

        consuming = running.master.mq.startConsuming(count, (plural, None, event))
        consuming.addCallback(consumers.append)
    yield
    for consumer in consumers:
        consumer.stopConsuming()
    if seen != wanted:
        raise MissingEvents(f"{dict(seen)} instead of {wanted}")


async def _fill(running: harness.Master, count: int, revision: str) -> int:
    """Put requests at *revision* into the database, past the master; return the id of one."""
    builder_id = await _builder_id(running)
    first: int = await running.master.db.pool.do(_insert, count, revision, builder_id)
    return first


def _insert(connection: sa.Connection, count: int, revision: str, builder_id: int) -> int:
    now = int(time.time())
    stamp = {
        "ss_hash": revision,
        "branch": "main",
        "revision": revision,
        "repository": "https://example.org/repo",
        "codebase": "",
        "project": "",
        "created_at": now,
    }
    with connection.begin():
        known = sa.select(Model.sourcestamps.c.id).where(Model.sourcestamps.c.ss_hash == revision)
        if connection.execute(known).first() is None:
            connection.execute(Model.sourcestamps.insert(), stamp)
        stamp_id = connection.execute(known).scalar_one()
        # nobody else writes here while this runs, so that ids follow each other
        first = _next_id(connection, Model.buildsets)
        buildsets = range(first, first + count)
        request = {
            "builderid": builder_id,
            "priority": 0,
            "complete": 0,
            "results": -1,
            "submitted_at": now,
            "waited_for": 0,
        }
        for table, rows in (
            (
                Model.buildsets,
                [
                    {
                        "id": one,
                        "submitted_at": now,
                        "reason": "a push",
                        "complete": 0,
                        "results": -1,
                    }
                    for one in buildsets
                ],
            ),
            (
                Model.buildset_sourcestamps,
                [{"buildsetid": one, "sourcestampid": stamp_id} for one in buildsets],
            ),
            (
                Model.buildset_properties,
                [
                    {
                        "buildsetid": one,
                        "property_name": "branch",
                        "property_value": '["main", "Change"]',
                    }
                    for one in buildsets
                ],
            ),
            (Model.buildrequests, [{**request, "buildsetid": one} for one in buildsets]),
        ):
            connection.execute(table.insert(), rows)
        if connection.dialect.name == "postgresql":
            query = f"SELECT setval('buildsets_id_seq', {first + count})"
            connection.exec_driver_sql(query)
        newest = sa.select(sa.func.max(Model.buildrequests.c.id))
        return int(connection.execute(newest).scalar_one())


def _next_id(connection: sa.Connection, table: sa.Table) -> int:
    return int(connection.execute(sa.select(sa.func.max(table.c.id))).scalar() or 0) + 1


def table(measured: Sequence[Measured]) -> str:
    """Return the figures as a Markdown table."""
    lines = [
        "| database | pending | rebuild | for each | late | x | cancel | for each | late | x "
        "| Buildbot's, for each | late | looking for work, late |",
        "| --- " * 13 + "|",
    ]
    stock = {one.database: one.stock for one in measured if one.stock is not None}
    for one in measured:
        cells = [one.database, f"{one.pending:,}"]
        own = stock.get(one.database)
        for act in (one.rebuild, one.cancel):
            ratio = "" if own is None or one.stock is None else f"**{own.each / act.each:.0f}**"
            cells += [f"{act.seconds:.2f} s", _ms(act.each), _ms(act.late), ratio]
        cells += ["", ""] if one.stock is None else [_ms(one.stock.each), _ms(one.stock.late)]
        lines.append("| " + " | ".join([*cells, _ms(one.look_for_work)]) + " |")
    return "\n".join(lines)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


if __name__ == "__main__":
    main()
