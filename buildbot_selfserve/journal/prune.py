"""Deletes old rows of the journal, with all that belongs to them."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.journal.holds import KEPT
from buildbot_selfserve.journal.tables import holds
from buildbot_selfserve.journal.tables import job_targets
from buildbot_selfserve.journal.tables import jobs
from buildbot_selfserve.journal.tables import later_builds

#: The number of job requests to delete per transaction: one may have thousands of targets.
BATCH = 200


def prune(connection: sa.Connection, before: int, now: int) -> int:
    """Delete at most ``BATCH`` job requests that ended *before*, the oldest first.

    Rows that are open or followed stay, and so do those of holds in force. Several masters may do
    this at once: a closed row is never opened again, so rows that were selected may still be
    deleted, and rows that another master deleted are skipped.

    :param before: epoch seconds
    :param now: epoch seconds
    :return: the number of deleted job requests; if it is ``BATCH``, there may be more to delete,
        else there are none, or another master is deleting them
    """
    found = sorted(connection.execute(_old(connection, before, now)).scalars())
    # SQLite refuses to write in a transaction that has read an older state
    connection.rollback()
    if not found:
        return 0
    with connection.begin():
        # in the same order as when closing a row, to avoid deadlocks
        deleted = connection.execute(jobs.delete().where(jobs.c.id.in_(found))).rowcount
        connection.execute(job_targets.delete().where(job_targets.c.job_id.in_(found)))
        connection.execute(holds.delete().where(holds.c.job_id.in_(found)))
        connection.execute(later_builds.delete().where(later_builds.c.job_id.in_(found)))
    return int(deleted)


def _old(connection: sa.Connection, before: int, now: int) -> sa.Select[Any]:
    """Return the query for the ids of rows to delete."""
    # the masters' clocks differ
    lasting = sa.select(holds.c.job_id).where(holds.c.expires >= now - KEPT)
    query = sa.select(jobs.c.id).where(
        jobs.c.submitted_at < before,  # this column has an index
        jobs.c.completed_at < before,
        jobs.c.status != "running",
        jobs.c.followed == 0,
        jobs.c.id.not_in(lasting),
    )
    if connection.dialect.name in ("mysql", "mariadb"):
        # before MySQL 8 and MariaDB 10.2.4, a restarted server continues ids after the highest
        # present one
        query = query.where(jobs.c.id < sa.select(sa.func.max(jobs.c.id)).scalar_subquery())
    return query.order_by(jobs.c.submitted_at, jobs.c.id).limit(BATCH)
