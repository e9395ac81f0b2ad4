"""What was asked for at a revision, and whether it is done."""

from __future__ import annotations

import time
from collections.abc import Iterable

import sqlalchemy as sa

from buildbot_selfserve.history import rows
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import PASSED
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Done
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import RevisionRows
from buildbot_selfserve.model import Row

#: A shorter text must be the whole revision (contract, section 2).
SHORTEST_PREFIX = 6
#: is_done without a stableDelay waits so many seconds (contract, section 2).
STABLE_DELAY = 180


def candidates(connection: sa.Connection, branch: Branch, text: str) -> list[Revision]:
    """Return the revisions on *branch* that *text* may mean, by their names.

    The whole revision means itself, also where others begin with it.
    """
    revision = rows.stamps.c.revision
    if len(text) < SHORTEST_PREFIX:
        fits = revision == text
    else:
        fits = revision.startswith(text, autoescape=True)
    query = sa.select(rows.stamps.c.id, revision).where(rows.belongs(branch), fits)
    found: dict[str, list[int]] = {}
    for stamp_id, whole in connection.execute(query):
        # compared again here: LIKE ignores case on some databases, revisions do not
        if whole.startswith(text):
            found.setdefault(whole, []).append(stamp_id)
    if text in found:
        found = {text: found[text]}
    return [Revision(branch, whole, tuple(ids)) for whole, ids in sorted(found.items())]


def rows_at(connection: sa.Connection, revision: Revision) -> RevisionRows:
    """Return everything that was asked for at *revision*, the newest first."""
    found = _rows(connection, revision)
    return RevisionRows(revision, tuple(found), judge(found, STABLE_DELAY, time.time()))


def done(connection: sa.Connection, revision: Revision, stable_delay: int) -> Done:
    """Return whether *revision* is done.

    :param stable_delay: seconds that must have passed since the last row ended
    """
    return judge(_rows(connection, revision), stable_delay, time.time())


def _rows(connection: sa.Connection, revision: Revision) -> list[Row]:
    at_revision = rows.stamps.c.id.in_(revision.sourcestamps)
    return rows.rows_of(connection, revision.branch, at_revision)


def judge(found: Iterable[Row], stable_delay: int, now: float) -> Done:
    """Count *found* and say whether all of it ended long enough before *now*, and passed.

    No rows are not done.
    """
    pending = running = builds = failed = cancelled = skipped = 0
    last_end: int | None = None
    for row in found:
        if row.endtime is None:
            running += row.state == "running"
            pending += row.state == "pending"
            continue
        last_end = max(last_end or 0, row.endtime)
        builds += isinstance(row, BuildRow)
        cancelled += row.status == CANCELLED
        skipped += row.status == SKIPPED
        failed += row.status not in PASSED and row.status != CANCELLED
    ended = last_end is not None and not pending and not running
    complete = ended and (last_end or 0) + stable_delay <= now
    return Done(
        stable_delay=stable_delay,
        job_complete=complete,
        job_passed=complete and not failed and not cancelled,
        pending=pending,
        running=running,
        builds=builds,
        failed=failed,
        cancelled=cancelled,
        skipped=skipped,
    )
