"""Counts each user's recent job requests and builds on all masters in the journal.

A row has the number of builds that its job request may make, stored before the first build is
requested, and once it is closed the number of builds that it made. They count from the time of the
job request. What an ongoing job builds in later steps has rows of its own in
``selfserve_later_builds``, and counts from the time of its step. A transaction that takes from a
budget locks the user's row in ``selfserve_askers``. Simultaneous job requests thus see what the
others have taken, and a limit is never exceeded.

An exceeded limit is returned, not raised: the master's database pool logs exceptions as fatal
errors with traceback (buildbot/db/pool.py).
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.journal.tables import askers
from buildbot_selfserve.journal.tables import its_own
from buildbot_selfserve.journal.tables import jobs
from buildbot_selfserve.journal.tables import later_builds
from buildbot_selfserve.model import CLOCK_SLACK
from buildbot_selfserve.model import Budget
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Limits
from buildbot_selfserve.model import asker_key
from buildbot_selfserve.model import plural

MINUTE = 60
HOUR = 3600

#: Where it is written what was taken from a budget: who took it, when, and how much.
_Ledger = tuple[sa.Column[str], sa.Column[int], sa.ColumnElement[int]]
_JOBS: tuple[_Ledger, ...] = (
    (jobs.c.asker, jobs.c.submitted_at, sa.literal_column("1", sa.Integer)),
)
_BUILDS: tuple[_Ledger, ...] = (
    (jobs.c.asker, jobs.c.submitted_at, jobs.c.builds),
    (later_builds.c.asker, later_builds.c.taken_at, later_builds.c.builds),
)


@contextmanager
def turn(connection: sa.Connection, asker: str) -> Iterator[None]:
    """Begin a transaction that locks the budgets of *asker*."""
    # an UPDATE takes the lock on every database, SQLite included
    take = askers.update().where(askers.c.asker == asker).values(turns=askers.c.turns + 1)
    while True:
        with connection.begin():
            if connection.execute(take).rowcount:
                yield
                return
        try:
            with connection.begin():
                connection.execute(askers.insert().values(asker=asker, turns=0))
        except sa.exc.IntegrityError:
            pass  # another transaction was faster


def one_too_many(connection: sa.Connection, asker: str, now: int, limit: int) -> TooMany | None:
    """Return why *asker* may not send another job request, ``None`` if they may.

    :param limit: job requests per minute
    """
    taken = _taken(connection, asker, _JOBS, MINUTE, now)
    if sum(number for _, number in taken) < limit:
        return None
    return TooMany(
        f"More than {limit} job requests in a minute",
        "this Buildbot allows each user and each token no more",
        retry_after=_free_in(taken, 1, limit, MINUTE, now),
    )


def take_builds(connection: sa.Connection, job: Job, number: int, limit: int) -> TooMany | None:
    """Take *number* builds from the budget of *job*'s user, before requesting them.

    :param limit: builds per hour
    :return: why the user may not request so many builds; nothing is taken then
    """
    asker = asker_key(job.who, job.via)
    with turn(connection, asker):
        refusal = too_many_builds(connection, asker, job.when, number, limit)
        if refusal is None:
            query = jobs.update().where(*its_own(job))
            connection.execute(query.values(builds=jobs.c.builds + number))
        return refusal


def take_later_builds(
    connection: sa.Connection, job: Job, step: int, number: int, limit: int
) -> TooMany | None:
    """Take *number* builds from the budget of *job*'s user, for a later step of the ongoing job.

    They count from now on: else a job of more than an hour ago could build as much as it likes.

    :param step: the number of the step's first buildset. A step that is taken again, as it was cut
        short, takes its builds once
    :param limit: builds per hour
    :return: why the user may not request so many builds; nothing is taken then
    """
    asker, now = asker_key(job.who, job.via), int(time.time())
    columns = later_builds.c
    with turn(connection, asker):
        same = sa.and_(columns.job_id == job.job_id, columns.number == step)
        old = sa.and_(columns.asker == asker, columns.taken_at <= now - HOUR)
        connection.execute(later_builds.delete().where(sa.or_(same, old)))
        refusal = too_many_builds(connection, asker, now, number, limit)
        if refusal is None:
            key = {"job_id": job.job_id, "number": step}
            values = {**key, "asker": asker, "taken_at": now, "builds": number}
            connection.execute(later_builds.insert(), values)
        return refusal


def without_later_builds(job: Job, number: int) -> sa.ColumnElement[int]:
    """Return how many of the *number* builds that *job* made count from its own time, as SQL."""
    its = later_builds.c.job_id == job.job_id
    later = sa.select(sa.func.coalesce(sa.func.sum(later_builds.c.builds), 0)).where(its)
    rest = number - later.scalar_subquery()
    return sa.case((rest > 0, rest), else_=0)


def too_many_builds(
    connection: sa.Connection, asker: str, now: int, number: int, limit: int
) -> TooMany | None:
    """Return why *asker* may not request *number* builds, ``None`` if they may.

    :param limit: builds per hour
    """
    taken = _taken(connection, asker, _BUILDS, HOUR, now)
    left = max(0, limit - sum(builds for _, builds in taken))
    if number <= left:
        return None
    free_in = _free_in(taken, number, limit, HOUR, now)
    again = f"send it again in {math.ceil(free_in / 60)} min"
    if number > limit:
        again = "the limit never allows so many at once"
    return TooMany(
        f"{number} {plural(number, 'build')} requested, {left} left of {limit} per hour",
        f"nothing was built; {again}",
        retry_after=free_in,
    )


def refusal(connection: sa.Connection, job: Job, number: int, limits: Limits) -> TooMany | None:
    """Return why *job*'s user may not send it or request *number* builds; take nothing."""
    asker = asker_key(job.who, job.via)
    per_minute, per_hour = limits.job_requests_per_minute, limits.builds_per_hour
    found = None
    if per_minute is not None:
        found = one_too_many(connection, asker, job.when, per_minute)
    if found is None and per_hour is not None and number:
        found = too_many_builds(connection, asker, job.when, number, per_hour)
    return found


def budgets(connection: sa.Connection, who: str, via: str, limits: Limits) -> tuple[Budget, ...]:
    """Return what is left of each of a user's configured limits.

    :param who: the user's name as in the journal
    :param via: the authentication as in the journal
    """
    asker, now = asker_key(who, via), int(time.time())
    return tuple(
        _budget(name, limit, _taken(connection, asker, ledgers, window, now), window, now)
        for name, limit, ledgers, window in (
            ("builds_per_hour", limits.builds_per_hour, _BUILDS, HOUR),
            ("job_requests_per_minute", limits.job_requests_per_minute, _JOBS, MINUTE),
        )
        if limit is not None
    )


#: Times and amounts, oldest first.
_Taken = list[tuple[int, int]]


def _taken(
    connection: sa.Connection, asker: str, ledgers: tuple[_Ledger, ...], window: int, now: int
) -> _Taken:
    """Return what *asker* has taken within *window* seconds before *now*.

    Rows from the future were written before the clock was set back, and do not count.
    """
    taken: Counter[int] = Counter()
    for by, at, amount in ledgers:
        within = at.between(now - window + 1, now + CLOCK_SLACK)
        query = sa.select(at, sa.func.sum(amount)).where(by == asker, within).group_by(at)
        found: Any = connection.execute(query)
        taken.update({when: int(number) for when, number in found})
    return sorted((when, number) for when, number in taken.items() if number)


def _budget(name: str, limit: int, taken: _Taken, window: int, now: int) -> Budget:
    left = max(0, limit - sum(number for _, number in taken))
    return Budget(name, limit, left, max(1, taken[-1][0] + window - now) if taken else 0)


def _free_in(taken: _Taken, wanted: int, limit: int, window: int, now: int) -> int:
    """Return the seconds until *wanted* are left, or if never, until all of the budget is."""
    left = limit - sum(number for _, number in taken)
    for when, number in taken:
        left += number
        if left >= wanted:
            return max(1, when + window - now)
    return window if not taken else max(1, taken[-1][0] + window - now)
