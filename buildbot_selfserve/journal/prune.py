"""Deletes old rows of the journal, with all that belongs to them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.journal.holds import KEPT
from buildbot_selfserve.journal.tables import holds
from buildbot_selfserve.journal.tables import job_targets
from buildbot_selfserve.journal.tables import jobs

#: The number of rows deleted per transaction: one row may have thousands of targets.
BATCH = 200


def prune(connection: sa.Connection, before: int, now: int) -> int:
    """Delete the oldest rows of job requests that ended *before*, at most ``BATCH`` of them.

    Rows that are open or followed stay, and those of holds that last. Several masters may do this
    at once: a row that was closed is never opened again, so what was found may still be deleted,
    and what another has deleted is not there.

    :param before: epoch seconds; *now* likewise
    :return: how many were deleted; if that is ``BATCH``, there may be more, else there are none, or
        another master is deleting them
    """
    found = sorted(connection.execute(_old(connection, before, now)).scalars())
    # SQLite refuses a write after a read of an older state
    connection.rollback()
    if not found:
        return 0
    with connection.begin():
        # in the order in which a row is closed, so that no two wait for each other
        deleted = connection.execute(jobs.delete().where(jobs.c.id.in_(found))).rowcount
        connection.execute(job_targets.delete().where(job_targets.c.job_id.in_(found)))
        connection.execute(holds.delete().where(holds.c.job_id.in_(found)))
    return int(deleted)


def _old(connection: sa.Connection, before: int, now: int) -> sa.Select[Any]:
    """Return the query for the ids of rows to delete."""
    # the clocks of masters differ
    lasting = sa.select(holds.c.job_id).where(holds.c.expires >= now - KEPT)
    query = sa.select(jobs.c.id).where(
        jobs.c.submitted_at < before,  # which has an index
        jobs.c.completed_at < before,
        jobs.c.status != "running",
        jobs.c.followed == 0,
        jobs.c.id.not_in(lasting),
    )
    if connection.dialect.name in ("mysql", "mariadb"):
        # before MySQL 8 and MariaDB 10.2.4, a start gives out ids from the highest that is there
        query = query.where(jobs.c.id < sa.select(sa.func.max(jobs.c.id)).scalar_subquery())
    return query.order_by(jobs.c.submitted_at, jobs.c.id).limit(BATCH)
