"""The tables of the journal; ``migrations`` creates them."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import mysql

from buildbot_selfserve.model import Job

metadata = sa.MetaData()

#: A receipt of a thousand requests is larger than MySQL's TEXT.
LongText = sa.Text().with_variant(mysql.MEDIUMTEXT(), "mysql", "mariadb")

#: Names longer than this are cut before writing.
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
    # JSON: the parameters, under the names of the original API
    sa.Column("what", LongText, nullable=False),
    # running, ok or failed; the API also has "unknown", which nothing writes
    sa.Column("status", sa.String(16), nullable=False),
    # JSON: errors, msg, requests, buildset_ids, ongoing; NULL while the job runs, unless it is
    # ongoing
    sa.Column("result", LongText),
    # JSON: the plan; NULL before planning, and once the job has ended
    sa.Column("plan", LongText),
    # masters.id of the master that runs the job, and the incarnation of that master
    sa.Column("masterid", sa.Integer, nullable=False),
    sa.Column("incarnation", sa.String(64), nullable=False),
    # hashes of the user with their Idempotency-Key, and of the job request; NULL without a key. The
    # first is NULL again once the job failed without doing anything, so that the key can be used
    # again
    sa.Column("idempotency", sa.String(64)),
    sa.Column("fingerprint", sa.String(64)),
    # 1 while a master waits for builds to stop; the row may change once more
    sa.Column("followed", sa.SmallInteger, nullable=False, server_default="0"),
    # hash of the user or the token; NULL in rows older than budgets
    sa.Column("asker", sa.String(64)),
    # the number of builds that the job may make; once it is closed, the number that it made. Those
    # in later_builds are left out
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
    # the outcome; empty for targets that the job request named
    sa.Column("outcome", sa.String(16), nullable=False),
    sa.Index("selfserve_job_targets_name", "kind", "name", "job_id"),
    sa.Index("selfserve_job_targets_job_id", "job_id"),
)

#: One row for each user with a limit, locked while the user's budgets are checked.
askers = sa.Table(
    "selfserve_askers",
    metadata,
    sa.Column("asker", sa.String(64), primary_key=True),
    sa.Column("turns", sa.Integer, nullable=False),
)

#: The builds of later steps of ongoing jobs, which count from the time of their step; those of the
#: first step count with the job. Old rows are deleted when their user takes more.
later_builds = sa.Table(
    "selfserve_later_builds",
    metadata,
    sa.Column("job_id", sa.Integer, primary_key=True),
    # the number of the first buildset of the step in the job
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("asker", sa.String(64), nullable=False),
    # epoch seconds
    sa.Column("taken_at", sa.BigInteger, nullable=False),
    sa.Column("builds", sa.Integer, nullable=False),
    sa.Index("selfserve_later_builds_asker", "asker", "taken_at"),
)

#: One row for each lease in use.
leases = sa.Table(
    "selfserve_leases",
    metadata,
    # hash of the work that the lease is for
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("holder", sa.String(64), nullable=False),
    # incremented while the holder is alive
    sa.Column("renewals", sa.Integer, nullable=False),
)

#: The current holds; writing a hold deletes those that ended long ago.
holds = sa.Table(
    "selfserve_holds",
    metadata,
    # hash of the branch and the selectors
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("branch", sa.String(NAME_LENGTH), nullable=False),
    sa.Column("who", sa.String(NAME_LENGTH), nullable=False),
    sa.Column("reason", sa.String(NAME_LENGTH), nullable=False),
    # epoch seconds
    sa.Column("since", sa.BigInteger, nullable=False),
    sa.Column("expires", sa.BigInteger, nullable=False),
    # JSON: the patterns that select builders, and the names of the builders selected at the time
    sa.Column("selectors", LongText, nullable=False),
    sa.Column("above", sa.Integer),
    sa.Column("job_id", sa.Integer, nullable=False),
)


def its_own(job: Job) -> tuple[sa.ColumnElement[bool], ...]:
    """Return the conditions for the row of *job*, owned by the same incarnation of a master."""
    return jobs.c.id == job.job_id, jobs.c.incarnation == job.incarnation
