"""Stores the targets of job requests, and finds job requests by them.

A target is a build request, a build or a revision. Targets are stored when the row of a job request
is opened, and again with their outcomes when it is closed.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import replace
from functools import lru_cache
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.binary_collation import binary_collation
from buildbot_selfserve.journal.tables import NAME_LENGTH
from buildbot_selfserve.journal.tables import job_targets
from buildbot_selfserve.journal.tables import jobs
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import JobMention
from buildbot_selfserve.model import one_spelling
from buildbot_selfserve.statements import BoundStatement
from buildbot_selfserve.statements import insert

REQUEST, BUILD, REVISION = "request", "build", "revision"
#: Outcomes of a request whose last build was told to stop.
_STOPPED = frozenset({"stopped", "stop_sent"})
#: The largest number of rows for a build in one job request: the build and its request, each as
#: named and with its outcome.
_ROWS_A_JOB = 4


@dataclass(frozen=True)
class Targets:
    """Some targets of one kind.

    :param names: ids or revisions
    :param outcomes: the outcomes that count, where the empty one is that of named targets; if there
        are none, all count
    """

    kind: str
    names: tuple[str, ...]
    outcomes: frozenset[str] = frozenset()


def note_asked(connection: sa.Connection, job: Job) -> None:
    """Store the targets that *job* names."""
    asked = [(REQUEST, job.what.get("brid")), (BUILD, job.what.get("bid"))]
    asked.append((REVISION, one_spelling(job.what.get("revision") or job.revision)))
    _insert(connection, job, ((kind, str(name), "") for kind, name in asked if name))


def note_found(connection: sa.Connection, job: Job) -> None:
    """Store the revision that was found for *job*, replacing the one that it named."""
    of_revision = job_targets.c.kind == REVISION, job_targets.c.outcome == ""
    connection.execute(job_targets.delete().where(job_targets.c.job_id == job.job_id, *of_revision))
    _insert(connection, job, [(REVISION, one_spelling(job.what["revision"]), "")])


def note_outcomes(connection: sa.Connection, job: Job) -> None:
    """Store the outcome of each build request of *job*, replacing earlier outcomes."""
    query = job_targets.delete().where(
        job_targets.c.job_id == job.job_id, job_targets.c.outcome != ""
    )
    connection.execute(query)
    _insert(connection, job, _outcomes(job))


def _outcomes(job: Job) -> Iterator[tuple[str, str, str]]:
    for one in job.requests:
        if one.request_id is None:
            continue
        if one.revision is not None:
            yield REVISION, one_spelling(one.revision), one.outcome
        yield REQUEST, str(one.request_id), one.outcome
        if one.outcome in _STOPPED and one.build_ids:
            # builds before the last one had ended already
            yield BUILD, str(one.build_ids[-1]), one.outcome
    culprit = None if job.ongoing is None else job.ongoing.now.get("culprit")
    if culprit is not None:
        # it may have been known, and not built
        yield REVISION, one_spelling(culprit["revision"]), "found"


def _insert(connection: sa.Connection, job: Job, rows: Iterable[tuple[str, str, str]]) -> None:
    values = [
        {"job_id": job.job_id, "kind": kind, "name": name[:NAME_LENGTH], "outcome": outcome}
        for kind, name, outcome in dict.fromkeys(rows)
    ]
    insert(connection, job_targets, values)


def with_one_of(some: Iterable[Targets]) -> sa.ColumnElement[bool]:
    """Return the condition that a row of ``selfserve_jobs`` has one of these targets."""
    fitting = sa.select(job_targets.c.job_id).where(sa.or_(*map(_fits, some)))
    return jobs.c.id.in_(fitting)


def _fits(targets: Targets) -> sa.ColumnElement[bool]:
    return _one_of(targets.kind, targets.names, targets.outcomes)


def _one_of(
    kind: str, names: Iterable[str | sa.BindParameter[str]], outcomes: frozenset[str]
) -> sa.ColumnElement[bool]:
    named = (binary_collation(job_targets.c.name, name) for name in names)
    fitting = sa.and_(job_targets.c.kind == kind, sa.or_(sa.false(), *named))
    if outcomes:
        counts = (job_targets.c.outcome == one for one in sorted(outcomes))
        fitting = sa.and_(fitting, sa.or_(*counts))
    return fitting


#: The shape of a query of :func:`mentions`: for each of its ``Targets`` the kind, the number of
#: names, and the outcomes.
_Shape = tuple[tuple[str, int, frozenset[str]], ...]


@lru_cache(maxsize=64)
def _query(shape: _Shape) -> BoundStatement:
    """Return the query of :func:`mentions`; building it takes longer than running it."""
    conditions = [
        _one_of(
            kind, [sa.bindparam(f"name_{at}_{n}", type_=sa.Text) for n in range(many)], outcomes
        )
        for at, (kind, many, outcomes) in enumerate(shape)
    ]
    columns = (
        jobs.c.id,
        jobs.c.action,
        jobs.c.who,
        jobs.c.submitted_at,
        jobs.c.status,
        jobs.c.branch,
        jobs.c.what,
        job_targets.c.outcome,
    )
    return BoundStatement(
        sa.select(*columns)
        .select_from(job_targets.join(jobs, jobs.c.id == job_targets.c.job_id))
        .where(sa.or_(*conditions))
        .order_by(job_targets.c.job_id.desc())
        .limit(sa.bindparam("most", type_=sa.Integer))
    )


def mentions(connection: sa.Connection, some: Collection[Targets], most: int) -> list[JobMention]:
    """Return the newest *most* job requests that have one of these targets, newest first."""
    query = _query(tuple((one.kind, len(one.names), one.outcomes) for one in some))
    given: dict[str, Any] = {"most": most * _ROWS_A_JOB}
    for at, one in enumerate(some):
        given |= {f"name_{at}_{number}": name for number, name in enumerate(one.names)}
    found: dict[int, JobMention] = {}
    for record in query.of(connection, given):
        job_id, *_, outcome = record
        mention = found.get(job_id) or _mention(record)
        if outcome and not mention.has_effect:
            mention = replace(mention, outcome=outcome)
        found[mention.job_id] = mention
    return list(found.values())[:most]


def _mention(record: Any) -> JobMention:
    job_id, action, who, when, status, branch, what, _ = record
    return JobMention(job_id, action, who, when, status, branch, json.loads(what))
