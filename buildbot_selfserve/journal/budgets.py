"""Counts each user's recent job requests and builds on all masters in the journal.

A row has the number of builds that its job request may make, stored before the first build is
requested, and once it is closed the number of builds that it made. A transaction that takes from a
budget locks the user's row in ``selfserve_askers``. Simultaneous job requests thus see what the
others have taken, and a limit is never exceeded.

An exceeded limit is returned, not raised: the master's database pool logs exceptions as fatal
errors with traceback (buildbot/db/pool.py).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.journal.tables import askers
from buildbot_selfserve.journal.tables import its_own
from buildbot_selfserve.journal.tables import jobs
from buildbot_selfserve.model import Budget
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Limits
from buildbot_selfserve.model import asker_key
from buildbot_selfserve.model import plural

MINUTE = 60
HOUR = 3600
#: Seconds that another master's clock may be ahead.
CLOCK_SLACK = 60

#: What a job request takes from each budget.
_ONE: sa.ColumnElement[int] = sa.literal_column("1", sa.Integer)
_BUILDS: sa.ColumnElement[int] = jobs.c.builds


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
    taken = _taken(connection, asker, _ONE, MINUTE, now)
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
    again = "send it again later"
    if number > limit:
        again = "the limit never allows so many at once"
    return TooMany(
        f"{number} {plural(number, 'build')} requested, {left} left of {limit} per hour",
        f"nothing was built; {again}",
        retry_after=_free_in(taken, number, limit, HOUR, now),
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
        _budget(name, limit, _taken(connection, asker, amount, window, now), window, now)
        for name, limit, amount, window in (
            ("builds_per_hour", limits.builds_per_hour, _BUILDS, HOUR),
            ("job_requests_per_minute", limits.job_requests_per_minute, _ONE, MINUTE),
        )
        if limit is not None
    )


#: Times and amounts, oldest first.
_Taken = list[tuple[int, int]]


def _taken(
    connection: sa.Connection, asker: str, amount: sa.ColumnElement[int], window: int, now: int
) -> _Taken:
    """Return what *asker* has taken within *window* seconds before *now*.

    Rows from the future were written before the clock was set back, and do not count.
    """
    within = jobs.c.submitted_at.between(now - window + 1, now + CLOCK_SLACK)
    query = (
        sa.select(jobs.c.submitted_at, sa.func.sum(amount))
        .where(jobs.c.asker == asker, within)
        .group_by(jobs.c.submitted_at)
        .order_by(jobs.c.submitted_at)
    )
    found: Any = connection.execute(query)
    return [(when, int(number)) for when, number in found if number]


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
