"""Writes and reads the rows of the journal."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.binary_collation import binary_collation
from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.journal import budgets
from buildbot_selfserve.journal import leases
from buildbot_selfserve.journal import targets
from buildbot_selfserve.journal.tables import NAME_LENGTH
from buildbot_selfserve.journal.tables import its_own
from buildbot_selfserve.journal.tables import jobs
from buildbot_selfserve.journal.targets import Targets
from buildbot_selfserve.model import Attempt
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import JobRow
from buildbot_selfserve.model import Jobs
from buildbot_selfserve.model import Ongoing
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import asker_key
from buildbot_selfserve.model import has_address
from buildbot_selfserve.model import ongoing_as_json
from buildbot_selfserve.model import ongoing_from_json
from buildbot_selfserve.model import outcome_from_json
from buildbot_selfserve.model import user_key
from buildbot_selfserve.model import user_keys

#: Fields of an outcome that plans use; the journal stores *revision* only if it is set.
_OF_PLANS = frozenset({"revision", "priority"})


@dataclass(frozen=True)
class Filters:
    """Which jobs to list; ``None`` means any.

    :param action: a prefix of the action's name
    :param since: epoch seconds, inclusive
    :param until: epoch seconds, inclusive
    :param request_id: the filter as given, like *build_id* and *revision*; *targets* has their
        meaning
    :param targets: groups of targets; a job must have one target of each group
    """

    who: str | None = None
    action: str | None = None
    branch: str | None = None
    since: int | None = None
    until: int | None = None
    request_id: int | None = None
    build_id: int | None = None
    revision: str | None = None
    targets: tuple[tuple[Targets, ...], ...] = ()


@dataclass(frozen=True)
class Opened:
    """The row of a job request that is about to be done, or that was sent before.

    :param job: the job request in the row
    :param new: the row was written now; otherwise a job request with the same key wrote it earlier
    :param fingerprint: of the job request that wrote the row
    """

    job: Job
    new: bool
    fingerprint: str | None = None


def open_job(
    connection: sa.Connection,
    job: Job,
    masterid: int,
    incarnation: str,
    attempt: Attempt | None = None,
    per_minute: int | None = None,
    begun: list[int] | None = None,
) -> Opened | TooMany:
    """Write the row of a job request, unless its Idempotency-Key has a row already.

    :param per_minute: the number of job requests that a user may send per minute
    :param begun: the id of the row is appended before the commit. If the connection breaks then, a
        second call with the same list returns this row, if it was committed
    :return: the row that was written or found; or why the user may not send another job request, in
        which case nothing was written
    """
    begun = [] if begun is None else begun
    if begun:
        query = sa.select(jobs).where(jobs.c.id.in_(begun), jobs.c.incarnation == incarnation)
        record = connection.execute(query).first()
        connection.rollback()
        if record is not None:
            return Opened(_job(record), True)
    values = {
        "action": job.action,
        "who": job.who[:NAME_LENGTH],
        "via": job.via[:NAME_LENGTH],
        "remote": job.remote[:NAME_LENGTH],
        "branch": job.branch[:NAME_LENGTH],
        "submitted_at": job.when,
        "what": json.dumps(job.what),
        "status": job.status,
        "masterid": masterid,
        "incarnation": incarnation,
        "asker": asker_key(job.who, job.via),
    }
    if attempt is None:
        return _insert(connection, job, values, per_minute, begun)
    values |= {
        "idempotency": _key(asker_key(job.who, job.via), attempt.key),
        "fingerprint": attempt.fingerprint,
    }
    while True:
        written: Opened | TooMany | None = None
        with suppress(sa.exc.IntegrityError):
            written = _insert(connection, job, values, per_minute, begun)
        if isinstance(written, Opened):
            return written
        query = sa.select(jobs).where(jobs.c.idempotency == values["idempotency"])
        record = connection.execute(query).first()
        connection.rollback()
        if record is not None:
            return Opened(_job(record), False, record.fingerprint)
        if written is not None:
            return written
        # the key was released meanwhile: try again


def _insert(
    connection: sa.Connection,
    job: Job,
    values: dict[str, Any],
    per_minute: int | None,
    begun: list[int],
) -> Opened | TooMany:
    if per_minute is None:
        with connection.begin():
            return _inserted(connection, job, values, begun)
    with budgets.turn(connection, values["asker"]):
        refusal = budgets.one_too_many(connection, values["asker"], job.when, per_minute)
        return refusal or _inserted(connection, job, values, begun)


def _inserted(
    connection: sa.Connection, job: Job, values: dict[str, Any], begun: list[int]
) -> Opened:
    key = connection.execute(jobs.insert(), values).inserted_primary_key
    assert key is not None
    begun.append(int(key[0]))
    opened = replace(job, job_id=int(key[0]), incarnation=values["incarnation"])
    targets.note_asked(connection, opened)
    return Opened(opened, True)


def _key(by: str, key: str) -> str:
    return hashlib.sha256(json.dumps([by, key]).encode()).hexdigest()


def known(connection: sa.Connection, job: Job, attempt: Attempt) -> Opened | None:
    """Return the row that the user of *job* opened before with the same key, if any."""
    key = _key(asker_key(job.who, job.via), attempt.key)
    record = connection.execute(sa.select(jobs).where(jobs.c.idempotency == key)).first()
    return None if record is None else Opened(_job(record), False, record.fingerprint)


def note_plan(connection: sa.Connection, job: Job, lease: tuple[str, str] | None = None) -> bool:
    """Store the plan of *job* before it is carried out, unless it has lost its *lease*.

    :param lease: the name and the holder of a lease, which is renewed
    :return: whether the plan was stored
    """
    query = jobs.update().where(*its_own(job), jobs.c.status == "running")
    with connection.begin():
        if lease is not None and not leases.renewed(connection, *lease):
            return False
        connection.execute(query.values(plan=job.plan))
        return True


def note_found(connection: sa.Connection, job: Job) -> None:
    """Store in ``what`` the values of *job* that were found for the user, who did not give them."""
    query = jobs.update().where(*its_own(job), jobs.c.status == "running")
    with connection.begin():
        if connection.execute(query.values(what=json.dumps(job.what))).rowcount == 1:
            targets.note_found(connection, job)


def close_job(connection: sa.Connection, job: Job) -> Job | None:
    """Store how *job* ended; return the row's job, ``None`` if it has no row.

    A row is closed once, by the incarnation of the master that owns it; later calls change nothing.
    """
    return _write_end(connection, job, jobs.c.status == "running")


def amend_job(connection: sa.Connection, job: Job) -> Job | None:
    """Store the final outcome of a followed *job*, once; return the row's job, if there is one."""
    return _write_end(connection, job, jobs.c.followed == 1)


def _write_end(
    connection: sa.Connection, ended: Job, condition: sa.ColumnElement[bool]
) -> Job | None:
    made = sum(one.outcome == "created" for one in ended.requests)
    values: dict[str, Any] = {
        "status": ended.status,
        "completed_at": ended.completed_at,
        "result": _result(ended),
        "plan": None,
        "followed": int(ended.unsettled),
        "builds": made if ended.ongoing is None else budgets.without_later_builds(ended, made),
    }
    if ended.status == "failed" and not ended.did_something:
        values["idempotency"] = None  # so that the key can be used again
    query = jobs.update().where(*its_own(ended), condition)
    with connection.begin():
        if connection.execute(query.values(values)).rowcount == 1:
            targets.note_outcomes(connection, ended)
        return job(connection, ended.job_id)


def _result(job: Job) -> str:
    return json.dumps(
        {
            "errors": job.errors,
            "msg": job.msg,
            "requests": [_outcome(outcome) for outcome in job.requests],
            "buildset_ids": list(job.buildset_ids),
            **({} if job.ongoing is None else {"ongoing": ongoing_as_json(job.ongoing)}),
            **({} if job.known is None else {"known": job.known}),
        }
    )


def _outcome(outcome: RequestOutcome) -> dict[str, Any]:
    told = {name: value for name, value in vars(outcome).items() if name not in _OF_PLANS}
    # in a job request for several revisions, each outcome has its revision
    return told if outcome.revision is None else {**told, "revision": outcome.revision}


def note_progress(connection: sa.Connection, job: Job) -> bool:
    """Store the progress of the ongoing *job*; return whether this master still owns its row."""
    query = jobs.update().where(*its_own(job), jobs.c.status == "running")
    with connection.begin():
        is_own = connection.execute(query.values(result=_result(job))).rowcount == 1
        if is_own:
            targets.note_outcomes(connection, job)
        return is_own


def ongoing(connection: sa.Connection, action: str) -> list[Job]:
    """Return the ongoing job requests with this action, oldest first."""
    query = sa.select(jobs).where(jobs.c.status == "running").order_by(jobs.c.id)
    found = map(_job, connection.execute(query))
    return [one for one in found if one.action == action and one.ongoing is not None]


def open_now(connection: sa.Connection, masterid: int, incarnation: str) -> list[Job]:
    """Return the open jobs of this incarnation of a master, oldest first."""
    query = (
        sa.select(jobs)
        .where(
            jobs.c.status == "running",
            jobs.c.masterid == masterid,
            jobs.c.incarnation == incarnation,
        )
        .order_by(jobs.c.id)
    )
    return [_job(record) for record in connection.execute(query)]


def take_over(
    connection: sa.Connection,
    masters: Collection[int],
    masterid: int,
    incarnation: str,
    busy: Collection[JobRow] = (),
    begun: list[int] | None = None,
) -> list[Job]:
    """Take over the rows that *masters* left open or followed; return the jobs, oldest first.

    If several masters try to take a row, one of them gets it.

    :param masters: masters that are gone, or this master for its earlier incarnations
    :param busy: rows that this master already works on
    :param begun: the ids of the rows are appended before the commit. If the connection breaks then,
        a second call with the same list returns these rows as well
    """
    begun = [] if begun is None else begun
    unfinished = sa.or_(jobs.c.status == "running", jobs.c.followed == 1)
    left = sa.or_(
        sa.and_(jobs.c.masterid.in_(masters), jobs.c.incarnation != incarnation),
        sa.and_(jobs.c.id.in_(begun), jobs.c.incarnation == incarnation),
    )
    query = sa.select(jobs).where(unfinished, left).order_by(jobs.c.id)
    found = [_job(record) for record in connection.execute(query)]
    # SQLite refuses to write in a transaction that has read an older state
    connection.rollback()
    taken = []
    values = {"masterid": masterid, "incarnation": incarnation}
    with connection.begin():
        for job in found:
            as_it_was = (*its_own(job), jobs.c.status == job.status, unfinished)
            take = jobs.update().where(*as_it_was).values(values)
            if job.row not in busy and connection.execute(take).rowcount == 1:
                taken.append(replace(job, incarnation=incarnation))
        begun.extend(job.job_id for job in taken)
    return taken


def job(connection: sa.Connection, job_id: int) -> Job | None:
    """Return the job with this id, or ``None``."""
    record = connection.execute(sa.select(jobs).where(jobs.c.id == job_id)).first()
    return None if record is None else _job(record)


def list_jobs(connection: sa.Connection, num: int, offset: int, filters: Filters) -> Jobs:
    """Return at most *num* jobs, newest first, after skipping *offset* jobs."""
    conditions = _conditions(filters)
    query = sa.select(jobs).order_by(jobs.c.id.desc())
    if filters.action is None:
        query = query.where(*conditions).limit(num + 1).offset(offset)
    else:
        every = connection.execute(_EVERY_ACTION).scalars()
        actions = [one for one in every if one and one.startswith(filters.action)]
        newest = _newest_ids(connection, actions, conditions, offset + num + 1)
        query = query.where(jobs.c.id.in_(newest[offset:]))
    found = [_job(record) for record in connection.execute(query)]
    given = {
        name: value
        for name, value in vars(filters).items()
        if value is not None and name != "targets"
    }
    return Jobs(tuple(found[:num]), num, offset, len(found) > num, given)


def _conditions(filters: Filters) -> list[sa.ColumnElement[bool]]:
    """Return the conditions of *filters*, except for the action."""
    conditions: list[sa.ColumnElement[bool]] = [
        binary_collation(column, wanted)
        for column, wanted in ((jobs.c.who, filters.who), (jobs.c.branch, filters.branch))
        if wanted is not None
    ]
    if filters.since is not None:
        conditions.append(jobs.c.submitted_at >= filters.since)
    if filters.until is not None:
        conditions.append(jobs.c.submitted_at <= filters.until)
    return conditions + [targets.with_one_of(some) for some in filters.targets]


def _newest_ids(
    connection: sa.Connection,
    actions: Sequence[str],
    conditions: Sequence[sa.ColumnElement[bool]],
    most: int,
) -> list[int]:
    """Return the ids of the newest jobs with one of *actions*, newest first.

    Each action is searched separately, along the index: together they may be half of the journal.
    """
    ids: list[int] = []
    for action in actions:
        query = sa.select(jobs.c.id).where(binary_collation(jobs.c.action, action), *conditions)
        ids += connection.execute(query.order_by(jobs.c.id.desc()).limit(most)).scalars()
    return sorted(ids, reverse=True)[:most]


def jobs_at(
    connection: sa.Connection, branch: str, revisions: Sequence[str], most: int
) -> list[Job]:
    """Return the newest *most* jobs about a revision of *branch*, newest first.

    :param revisions: the spellings of the revision
    """
    at = Targets(targets.REVISION, tuple(revisions))
    query = sa.select(jobs).where(
        targets.with_one_of([at]), binary_collation(jobs.c.branch, branch)
    )
    return [_job(one) for one in connection.execute(query.order_by(jobs.c.id.desc()).limit(most))]


def _every(column: sa.Column[str]) -> sa.Select[Any]:
    """Return the query for the distinct texts in *column*, which skips along its index."""
    first = sa.select(sa.func.min(column).label("text")).cte("texts", recursive=True)
    after = sa.select(sa.func.min(column)).where(column > first.c.text).scalar_subquery()
    texts = first.union_all(sa.select(after).where(first.c.text.is_not(None)))
    return sa.select(texts.c.text)


# Built once: building them takes longer than running them.
_EVERY_NAME, _EVERY_ACTION = _every(jobs.c.who), _every(jobs.c.action)
_JOBS_OF = (
    sa.select(jobs)
    .where(
        jobs.c.who.in_(sa.bindparam("names", expanding=True)),
        binary_collation(jobs.c.branch, sa.bindparam("branch", type_=sa.Text)),
    )
    .order_by(jobs.c.id.desc())
    .limit(sa.bindparam("most", type_=sa.Integer))
)


def requests_made_for(connection: sa.Connection, who: str, branch: str, most: int) -> list[int]:
    """Return the ids of build requests that jobs of *who* on *branch* made.

    :param most: the number of newest jobs to search
    """
    given = {"names": _names_of(connection, who), "branch": branch, "most": most}
    key = user_key(who)
    return [
        outcome.request_id
        for job in map(_job, connection.execute(_JOBS_OF, given))
        # some databases ignore case in comparisons
        if key in user_keys(job.who)
        for outcome in job.requests
        if outcome.request_id is not None and outcome.outcome == "created"
    ]


def _names_of(connection: sa.Connection, who: str) -> list[str]:
    """Return the names in the journal of *who*, whose address may be written in several ways.

    The cost depends on the number of users in the journal, not on the number of rows: the query
    skips along the index from name to name.
    """
    if not has_address(who):
        return [who]
    key = user_key(who)
    every = connection.execute(_EVERY_NAME).scalars()
    return [name for name in every if name is not None and key in user_keys(name)]


def _job(record: Any) -> Job:
    result = json.loads(record.result) if record.result else {}
    return Job(
        job_id=record.id,
        action=record.action,
        who=record.who,
        via=record.via,
        remote=record.remote,
        when=record.submitted_at,
        branch=record.branch,
        what=json.loads(record.what),
        status=record.status,
        completed_at=record.completed_at,
        errors=result.get("errors", False),
        msg=result.get("msg", ""),
        requests=tuple(outcome_from_json(one) for one in result.get("requests", ())),
        buildset_ids=tuple(result.get("buildset_ids", ())),
        incarnation=record.incarnation,
        plan=record.plan,
        ongoing=_ongoing(record.plan, result),
        known=result.get("known"),
    )


def _ongoing(plan: str | None, result: dict[str, Any]) -> Ongoing | None:
    """Return the progress of an ongoing job, or else its first state from the plan."""
    # most plans are not ongoing, and parsing a plan of thousands of builds takes long
    if "ongoing" in result or plan is None or '"ongoing": {' not in plan:
        return ongoing_from_json(result.get("ongoing"))
    return ongoing_from_json(json.loads(plan).get("ongoing"))
