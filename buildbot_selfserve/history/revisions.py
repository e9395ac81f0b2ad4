"""What was asked for at a revision, and whether it is done."""

from __future__ import annotations

import time
from collections.abc import Iterable

import sqlalchemy as sa

from buildbot_selfserve.history import rows
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import PASSED
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Done
from buildbot_selfserve.model import Outlook
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import RevisionRows
from buildbot_selfserve.model import Row
from buildbot_selfserve.model import Sourcestamp

#: A shorter text must be the whole revision (contract, section 2).
SHORTEST_PREFIX = 6
#: is_done without a stableDelay waits so many seconds (contract, section 2).
STABLE_DELAY = 180


#: So many of the newest sourcestamps tell where a branch is.
NEWEST = 1000

_PLACES = sa.select(
    rows.stamps.c.branch, rows.stamps.c.codebase, rows.stamps.c.repository, rows.stamps.c.project
)


def candidates(connection: sa.Connection, branch: Branch, text: str) -> list[Revision]:
    """Return the revisions on *branch* that *text* may mean, by their names.

    The whole revision means itself, also where others begin with it.
    """
    if not text:
        return []
    named = _named(connection, branch, text)
    got = _got(connection, branch, text)
    wholes = {text} if text in named or text in got else {*named, *got}
    return [
        Revision(branch, whole, tuple(named.get(whole, ())), tuple(got.get(whole, ())))
        for whole in sorted(wholes)
    ]


def _fits(whole: str | None, text: str) -> bool:
    """Whether *text* may mean the revision *whole*."""
    if not whole:
        return False
    return whole == text or (len(text) >= SHORTEST_PREFIX and whole.startswith(text))


def _named(connection: sa.Connection, branch: Branch, text: str) -> dict[str, list[int]]:
    """Return the sourcestamps on *branch* that name a fitting revision, by revision."""
    stamps = rows.stamps
    query = sa.select(stamps.c.id, stamps.c.branch, stamps.c.revision).where(
        rows.belongs(branch), stamps.c.revision.startswith(text, autoescape=True)
    )
    found: dict[str, list[int]] = {}
    for stamp_id, its_branch, whole in connection.execute(query):
        # compared again here: LIKE ignores case on some databases, revisions do not
        if its_branch in branch.branches and _fits(whole, text):
            found.setdefault(whole, []).append(stamp_id)
    return found


def _got(connection: sa.Connection, branch: Branch, text: str) -> dict[str, list[int]]:
    """Return the builds on *branch* that found a fitting revision by themselves, by revision.

    Only builds whose sourcestamp names no revision: others are known under the one it names.
    """
    stamps, properties = rows.stamps, rows.properties
    nameless = sa.select(stamps.c.id).where(
        rows.belongs(branch), sa.or_(stamps.c.revision.is_(None), stamps.c.revision == "")
    )
    stamp_ids = list(connection.execute(nameless).scalars())
    found: dict[str, list[int]] = {}
    for ids in rows.in_batches(stamp_ids):
        query = (
            sa.select(rows.builds.c.id, properties.c.value, stamps.c.branch, stamps.c.codebase)
            .select_from(
                stamps.join(rows.links, rows.links.c.sourcestampid == stamps.c.id)
                .join(rows.requests, rows.requests.c.buildsetid == rows.links.c.buildsetid)
                .join(rows.builds, rows.builds.c.buildrequestid == rows.requests.c.id)
                .join(properties, properties.c.buildid == rows.builds.c.id)
            )
            .where(stamps.c.id.in_(ids), properties.c.name == rows.GOT_REVISION)
        )
        for build_id, value, its_branch, codebase in connection.execute(query):
            whole = rows.got_revision(value, codebase)
            if its_branch in branch.branches and whole and _fits(whole, text):
                found.setdefault(whole, []).append(build_id)
    return found


def to_build(connection: sa.Connection, branch: Branch, text: str) -> list[AnyRevision]:
    """Return the revisions that *text* may mean to somebody who wants to build one.

    A text that means no known revision is one by itself.
    """
    found = [_known(connection, one) for one in candidates(connection, branch, text)]
    return found or [AnyRevision(branch, text, False, _places(connection, branch))]


def _known(connection: sa.Connection, revision: Revision) -> AnyRevision:
    stamps = rows.stamps
    of_builds = (
        sa.select(rows.links.c.sourcestampid)
        .join(rows.requests, rows.requests.c.buildsetid == rows.links.c.buildsetid)
        .join(rows.builds, rows.builds.c.buildrequestid == rows.requests.c.id)
    )
    ids = set(revision.sourcestamps)
    for batch in rows.in_batches(revision.builds):
        ids.update(connection.execute(of_builds.where(rows.builds.c.id.in_(batch))).scalars())
    by_codebase: dict[str, Sourcestamp] = {}
    for batch in rows.in_batches(sorted(ids)):
        query = _PLACES.where(stamps.c.id.in_(batch), rows.belongs(revision.branch))
        # the newest is the last one, and stands for its codebase
        for record in connection.execute(query.order_by(stamps.c.id)):
            if record.branch in revision.branch.branches:
                by_codebase[record.codebase] = Sourcestamp(*record)
    places = tuple(by_codebase[codebase] for codebase in sorted(by_codebase))
    return AnyRevision(revision.branch, revision.revision, True, places)


def _places(connection: sa.Connection, branch: Branch) -> tuple[Sourcestamp, ...]:
    """Return where *branch* is, as far as its newest sourcestamps tell."""
    stamps = rows.stamps
    newest = (
        _PLACES.add_columns(stamps.c.id)
        .where(rows.belongs(branch), stamps.c.revision.is_not(None), stamps.c.revision != "")
        .order_by(stamps.c.id.desc())
        .limit(NEWEST)
        .subquery()
    )
    columns = (newest.c.branch, newest.c.codebase, newest.c.repository, newest.c.project)
    found = {
        Sourcestamp(*record)
        for record in connection.execute(sa.select(*columns).distinct())
        if record.branch in branch.branches
    }
    # who asks for a build by hand often leaves the repository out
    whole = {one for one in found if one.repository} or found
    return tuple(sorted(whole, key=lambda one: (one.codebase, one.repository, one.project)))


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
    found: list[Row] = []
    for column, ids in (
        (rows.stamps.c.id, revision.sourcestamps),
        (rows.builds.c.id, revision.builds),
    ):
        for batch in rows.in_batches(ids):
            found += rows.rows_of(connection, revision.branch, column.in_(batch))
    return rows.newest_first(found)


def outlook(connection: sa.Connection, revision: Revision, stable_delay: int) -> Outlook:
    """Return what *revision* waits for before it is done."""
    return foresee(_rows(connection, revision), stable_delay, time.time())


def foresee(found: Iterable[Row], stable_delay: int, now: float) -> Outlook:
    """Return what of *found* has to end, or else how long the last end must lie back after *now*.

    A request that has a build ends with it or after it, so both have to.
    """
    requests: set[int] = set()
    builds: set[int] = set()
    last_end = 0
    for row in found:
        request = row.request if isinstance(row, BuildRow) else row
        if row.endtime is not None:
            last_end = max(last_end, row.endtime)
            continue
        if isinstance(row, BuildRow):
            builds.add(row.build_id)
        if not request.complete:
            requests.add(request.request_id)
    waits_for = [("buildrequests", one) for one in requests] + [("builds", one) for one in builds]
    return Outlook(frozenset(waits_for), max(0, last_end + stable_delay - now))


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
