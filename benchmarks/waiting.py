"""Measures why requests wait, the queue, and the end of a log: ``python -m benchmarks.waiting``.

``why`` and ``pending`` need to know what the live objects of the master know, which is taken down
in its reactor; so beside their time stands how late the reactor was meanwhile. The end of a log of
500 MB is asked for beside that of one of 64 kB.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import sqlalchemy as sa
from buildbot.db.model import Model

from benchmarks import floor
from benchmarks import markdown
from benchmarks import master
from benchmarks import ours
from benchmarks import runs
from benchmarks import wire
from benchmarks.history import keep
from benchmarks.history.cases import Case
from benchmarks.history.plan import Sizes
from benchmarks.reads import Sample

#: Logs by name: how many chunks of 64 kB they have; ``short`` has most of one.
LOGS = {"long": 8000, "short": 1}
LINES, LINE = 640, "o" + "x" * 98 + "\n"
#: So many lines are asked for.
TAIL = 200
#: Milliseconds, at most; how late the reactor may be meanwhile; and how much longer the end of the
#: long log takes.
BOUNDS = {"why": 50.0, "pending": 50.0}
LATE = 5.0
LOG_RATIO = 1.5

Figures = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what *arguments* ask for."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.waiting", description=__doc__)
    parser.add_argument("--builds", type=int, default=100_000, help="(%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the history (%(default)s)")
    parser.add_argument("--database", nargs="+", default=keep.DATABASES, choices=keep.DATABASES)
    parser.add_argument("--rounds", type=int, default=3, help="the quietest counts (%(default)s)")
    parser.add_argument("--folder", type=Path, default=Path(".bench-data"), help="(%(default)s)")
    parser.add_argument("--json", type=Path, default=runs.RESULTS / runs.WAITING)
    options = parser.parse_args(arguments)
    measured = []
    for database in options.database:
        sizes = Sizes(options.builds, options.seed)
        with keep.lend(options.folder, database, sizes, lambda text: None) as lent:
            case = lent.cases.cases[0]
            write_logs(lent.url, case.build_id)
            request_id, branch = _waiting(lent.url)
            with master.running(lent.url, ours.PATHS["is_done"](case)) as measuring:
                floor.settle(measuring.process.pid)
                paths = _paths(case, branch, request_id)
                figures = _measure(measuring, paths, options.rounds)
                measured.append({"database": database, "builds": options.builds, **figures})
    options.json.write_text(json.dumps(measured, indent=1) + "\n")
    print(table(measured))


def write_logs(url: sa.URL, build_id: int) -> None:
    """Give a build a step with a long log and a short one."""
    chunk = zlib.compress((LINE * LINES).encode())
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        step_id = 1 + (connection.execute(sa.select(sa.func.max(Model.steps.c.id))).scalar() or 0)
        step = {"id": step_id, "number": 99, "name": "bench", "buildid": build_id, "results": 0}
        more = {"state_string": "done", "started_at": 1, "complete_at": 2, "urls_json": "[]"}
        connection.execute(Model.steps.insert().values(**step, **more, hidden=0))
        highest = connection.execute(sa.select(sa.func.max(Model.logs.c.id))).scalar() or 0
        for log_id, (name, chunks) in enumerate(LOGS.items(), highest + 1):
            log = {"id": log_id, "name": name, "slug": name, "stepid": step_id, "type": "s"}
            connection.execute(
                Model.logs.insert().values(**log, complete=1, num_lines=chunks * LINES)
            )
            rows = [
                {
                    "logid": log_id,
                    "first_line": number * LINES,
                    "last_line": number * LINES + LINES - 1,
                    "content": chunk,
                    "compressed": 1,
                }
                for number in range(chunks)
            ]
            connection.execute(Model.logchunks.insert(), rows)
    engine.dispose()


def _waiting(url: sa.URL) -> tuple[int, str]:
    """Return a build request that waits, and its branch."""
    requests, stamps = Model.buildrequests, Model.sourcestamps
    links = Model.buildset_sourcestamps
    query = (
        sa.select(requests.c.id, stamps.c.branch)
        .join(links, links.c.buildsetid == requests.c.buildsetid)
        .join(stamps, stamps.c.id == links.c.sourcestampid)
        .outerjoin(Model.buildrequest_claims, Model.buildrequest_claims.c.brid == requests.c.id)
        .where(
            requests.c.complete == 0,
            Model.buildrequest_claims.c.brid.is_(None),
            stamps.c.branch.is_not(None),
        )
        .order_by(requests.c.id.desc())
    )
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        request_id, branch = connection.execute(query.limit(1)).one()
    engine.dispose()
    return int(request_id), str(branch)


def _paths(case: Case, branch: str, request_id: int) -> dict[str, str]:
    log = [
        ours.branch(case.branch, "build", str(case.build_id), "log", "99", name) for name in LOGS
    ]
    return {
        "why": ours.branch(branch, "request", str(request_id), "why"),
        "pending": f"{ours.ROOT}/pending",
        **{f"tail, {name}": f"{path}?tail={TAIL}" for name, path in zip(LOGS, log, strict=True)},
    }


def _measure(measuring: master.Master, paths: dict[str, str], rounds: int) -> Figures:
    """Return what each answer took, in milliseconds, and how late the reactor was."""
    connection = wire.Connection(measuring.port)
    found: Figures = {"waiting": orjson.loads(connection.get(paths["pending"]))["waiting"]}
    for name, path in paths.items():
        sample = Sample(lambda path=path: connection.get(path))  # type: ignore[misc]
        late, cpu = [], []
        for _ in range(rounds):
            before, asked = floor.Usage.of(measuring.process.pid), sample.asked
            measuring.probe("start")
            sample.round()
            late.append(measuring.probe("stop")["late_p99"])
            used = floor.Usage.of(measuring.process.pid).each(before, sample.asked - asked)
            cpu.append(used["cpu"])
        found[name] = {"took": sample.quietest, "late_p99": min(late), "cpu": min(cpu)}
    connection.close()
    return found


def checks(measured: Sequence[Figures]) -> Iterator[tuple[str, float, float, str]]:
    """Yield what is wanted at most, what was measured, and in which unit."""
    for one in measured:
        for name, most in BOUNDS.items():
            yield f"{one['database']}: {name} (ms)", most, one[name]["took"], ""
            late = one[name]["late_p99"]
            yield f"{one['database']}: stalls during {name}, p99 (ms)", LATE, late, ""
        ratio = one["tail, long"]["took"] / one["tail, short"]["took"]
        yield f"{one['database']}: end of a log of 500 MB over one of 64 kB", LOG_RATIO, ratio, "×"


def table(measured: Sequence[Figures]) -> str:
    """Return the figures as a Markdown table."""
    head = ["database", "waiting", "what", "took", "stalls, p99", "CPU of the master"]
    rows = []
    for one in measured:
        for name, figures in one.items():
            if isinstance(figures, dict):
                took = [f"{figures[key]:.3g} ms" for key in ("took", "late_p99", "cpu")]
                rows.append([one["database"], f"{one['waiting']:,}", name, *took])
    return markdown.table(head, rows)


if __name__ == "__main__":
    main()
