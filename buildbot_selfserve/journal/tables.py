"""The tables of the journal; ``migrations`` creates them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from buildbot_selfserve.model import Job

metadata = sa.MetaData()

#: A receipt of a thousand requests is larger than MySQL's TEXT.
LongText = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")

#: Longer names than this are cut when they are written.
NAME_LENGTH = 256

jobs = sa.Table(
    "selfserve_jobs",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("action", sa.String(NAME_LENGTH), nullable=False),
    sa.Column("who", sa.String(NAME_LENGTH), nullable=False),
    sa.Column("via", sa.String(NAME_LENGTH), nullable=False),
    sa.Column("remote", sa.String(NAME_LENGTH), nullable=False),
    sa.Column("branch", sa.String(NAME_LENGTH), nullable=False),
    # epoch seconds
    sa.Column("submitted_at", sa.BigInteger, nullable=False),
    sa.Column("completed_at", sa.BigInteger),
    # JSON: what was asked, under the names of the original API
    sa.Column("what", LongText, nullable=False),
    # running, ok, failed, unknown
    sa.Column("status", sa.String(16), nullable=False),
    # JSON: errors, msg, requests, buildset_ids; NULL while it runs
    sa.Column("result", LongText),
    # JSON: what it is to do; NULL before that is known, and once it has ended
    sa.Column("plan", LongText),
    # masters.id of the master that does it, and which of its lives
    sa.Column("masterid", sa.Integer, nullable=False),
    sa.Column("incarnation", sa.String(64), nullable=False),
    # hashes of who asked and their Idempotency-Key, and of what they asked for; NULL without a key,
    # and once it has failed and done nothing, so that the same key may be tried again
    sa.Column("idempotency", sa.String(64)),
    sa.Column("fingerprint", sa.String(64)),
    # 1 while somebody waits for builds to end that were told to stop; the row may change once more
    sa.Column("followed", sa.SmallInteger, nullable=False, server_default="0"),
    # hash of the user or the token; NULL in rows from before there were budgets
    sa.Column("asker", sa.String(64)),
    # builds that it may make, and when it is closed those that it has made
    sa.Column("builds", sa.Integer, nullable=False, server_default="0"),
    sa.Index("selfserve_jobs_status", "status"),
    sa.Index("selfserve_jobs_followed", "followed"),
    sa.Index("selfserve_jobs_idempotency", "idempotency", unique=True),
    sa.Index("selfserve_jobs_who", "who"),
    sa.Index("selfserve_jobs_submitted_at", "submitted_at"),
    sa.Index("selfserve_jobs_asker", "asker", "submitted_at"),
    sa.Index("selfserve_jobs_action", "action", "id"),
    sqlite_autoincrement=True,
)

#: The targets of job requests: a row for each build, request and revision.
job_targets = sa.Table(
    "selfserve_job_targets",
    metadata,
    sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
    sa.Column("job_id", sa.Integer, nullable=False),
    # request, build or revision; and its id, or the revision
    sa.Column("kind", sa.String(8), nullable=False),
    sa.Column("name", sa.String(NAME_LENGTH), nullable=False),
    # what became of it; empty for what was only asked
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Index("selfserve_job_targets_name", "kind", "name", "job_id"),
    sa.Index("selfserve_job_targets_job_id", "job_id"),
)

#: One row for each user with a limit; it is locked while their budgets are checked.
askers = sa.Table(
    "selfserve_askers",
    metadata,
    sa.Column("asker", sa.String(64), primary_key=True),
    sa.Column("turns", sa.Integer, nullable=False),
)

#: One row for each lease that is held.
leases = sa.Table(
    "selfserve_leases",
    metadata,
    # a hash of what it stands for
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("holder", sa.String(64), nullable=False),
    # grows as long as the holder lives
    sa.Column("renewals", sa.Integer, nullable=False),
)

#: The current holds; a new hold deletes those that have ended.
holds = sa.Table(
    "selfserve_holds",
    metadata,
    # a hash of the branch and the selectors
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("branch", sa.String(NAME_LENGTH), nullable=False),
    sa.Column("who", sa.String(NAME_LENGTH), nullable=False),
    sa.Column("reason", sa.String(NAME_LENGTH), nullable=False),
    # epoch seconds
    sa.Column("since", sa.BigInteger, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
    # JSON: the patterns that select its builders, and their names of then
    sa.Column("selectors", LongText, nullable=False),
    sa.Column("above", sa.Integer),
    sa.Column("job_id", sa.Integer, nullable=False),
)


def its_own(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions on rows that they are of *job*, and of the life of a master that does
    it.
    """
    return jobs.c.id == job.job_id, jobs.c.incarnation == job.incarnation
