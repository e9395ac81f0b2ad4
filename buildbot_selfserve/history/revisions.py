"""Reads the builds and requests at a revision, and whether the revision is done."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history import latest_results
from buildbot_selfserve.history import rows
from buildbot_selfserve.history.branches import branches_of
from buildbot_selfserve.history.built_with import built_with
from buildbot_selfserve.history.context import History
from buildbot_selfserve.history.index import ByBranch
from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.history.index import Stamp
from buildbot_selfserve.history.index import StampsAndBuilds
from buildbot_selfserve.history.index import load_found
from buildbot_selfserve.history.verdict import judge
from buildbot_selfserve.history.verdict import past
from buildbot_selfserve.history.verdict import unbuilt_buildsets
from buildbot_selfserve.model import NEW_REQUEST
from buildbot_selfserve.model import STABLE_DELAY
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuilderResult
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Done
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import RevisionRows
from buildbot_selfserve.model import Row
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import WaitCondition
from buildbot_selfserve.model import is_abbreviation
from buildbot_selfserve.model import is_hash
from buildbot_selfserve.model import may_abbreviate
from buildbot_selfserve.model import one_spelling
from buildbot_selfserve.statements import Statement

#: The number of newest sourcestamps that determine the codebases and repositories of a branch.
NEWEST = 1000
#: The largest number of codebases and repositories of a branch that count, the newest ones.
MOST_PLACES = 50
#: The largest number of other branches to search for a revision that the branch does not have.
MOST_ELSEWHERE = 20

_EXISTING = Statement(sa.select(rows.builds.c.id), rows.builds.c.id)
#: The sourcestamps that have changes.
_CHANGED = Statement(sa.select(Model.changes.c.sourcestampid), Model.changes.c.sourcestampid)


def candidates(history: History, branches: Sequence[Branch], text: str) -> list[Revision]:
    """Return the revisions on *branches* that *text* may mean, in the order of *branches*.

    If *text* is a revision, it means that revision. Otherwise hexadecimal digits mean the hashes
    that begin with them (docs/api.md). All branches are searched together, as there may be
    thousands.
    """
    text = one_spelling(text)
    if not text:
        return []
    facts = history.facts
    # first, since a build may have found the hash that these digits abbreviate
    load_found(history.connection, facts, branches)
    looks: list[Callable[[Sequence[Branch]], StampsAndBuilds]] = [
        lambda left: _itself(facts, left, text)
    ]
    if may_abbreviate(text):
        looks += [
            lambda left: facts.beginning(left, text),
            # digits that begin several hashes, none of them on these branches
            lambda left: facts.at(left, text, ambiguous=True),
        ]
    found: dict[Branch, list[Revision]] = {}
    left = branches
    for look in looks:
        named, got = look(left)
        got = _existing(history.connection, got)
        for branch in {**named, **got}:
            found[branch] = _revisions(facts, branch, named.get(branch, {}), got.get(branch, {}))
        left = [branch for branch in left if branch not in found]
        if not left:
            break
    return [revision for branch in branches for revision in found.get(branch, ())]


def _itself(facts: Facts, branches: Sequence[Branch], text: str) -> StampsAndBuilds:
    """Return the sourcestamps and builds of *text*, unless it only abbreviates a hash."""
    if is_abbreviation(text) and not facts.has_abbreviations:
        return {}, {}
    found = facts.at(branches, text)
    if not is_abbreviation(text):
        return found
    there = [branch for branch in branches if branch in found[0] or branch in found[1]]
    return facts.at(there, text, ambiguous=True)


def _revisions(
    facts: Facts, branch: Branch, named: Mapping[str, set[int]], got: Mapping[str, set[int]]
) -> list[Revision]:
    return [
        Revision(
            branch,
            one,
            tuple(sorted(named.get(one, ()))),
            tuple(sorted(got.get(one, ()))),
            _others(facts, one, named.get(one, ())),
        )
        for one in sorted({*named, *got})
    ]


def _others(facts: Facts, revision: str, stamp_ids: Iterable[int]) -> tuple[int, ...]:
    """Return the builds of *stamp_ids* that found another revision than *revision*."""
    found = facts.found_for(stamp_ids).values()
    others = {build_id for its in found for build_id, one in its.items() if one != revision}
    return tuple(sorted(others))


def elsewhere(history: History, branch: Branch | None, text: str) -> list[Revision]:
    """Return the revisions that *text* means on at most ``MOST_ELSEWHERE`` other branches."""
    text = one_spelling(text)
    if not text:
        return []
    load_found(history.connection, history.facts, None)
    places = history.facts.places_of(text, MOST_ELSEWHERE)
    others = branches_of(history.site, places)
    if branch is not None:
        others = [one for one in others if one.name != branch.name]
    return candidates(history, others[:MOST_ELSEWHERE], text)


def spellings(history: History, revision: Revision) -> set[str]:
    """Return the spellings of *revision* on its branch: itself and its abbreviations."""
    written = {one_spelling(one.written) for one in history.facts.stamps(revision.sourcestamps)}
    return {revision.revision, *written}


def _existing(connection: sa.Connection, got: ByBranch) -> ByBranch:
    """Return *got* without deleted builds, and without revisions and branches then empty."""
    if not got:
        return {}
    ids = {one for its in got.values() for builds in its.values() for one in builds}
    there = {build_id for (build_id,) in _EXISTING.of(connection, sorted(ids))}
    existing = {
        branch: {revision: builds & there for revision, builds in its.items() if builds & there}
        for branch, its in got.items()
    }
    return {branch: its for branch, its in existing.items() if its}


def to_build(history: History, branch: Branch, text: str) -> list[AnyRevision]:
    """Return the revisions that *text* may mean in a request for a new build.

    A text that matches no known revision is taken as a new revision.
    """
    fitting = candidates(history, (branch,), text)
    found = known_revisions(history, fitting)
    if found:
        return found
    models = newest_changes(history.facts, branch)
    return [AnyRevision(branch, text, False, places(history.facts, branch), models)]


def newest_changes(facts: Facts, branch: Branch) -> tuple[int, ...]:
    """Return the ids of the newest changes on *branch*, one for each codebase and repository.

    The newest change comes first.
    """
    return tuple(facts.newest_changes(branch, MOST_PLACES).values())


def _models(
    facts: Facts, branch: Branch, stamps: Sequence[Stamp], known: Iterable[Sourcestamp]
) -> tuple[int, ...]:
    """Return the ids of the changes to model new changes of a revision on.

    For each *known* codebase and repository, this is the revision's own newest change, or else the
    newest change there. If there is none anywhere, these are the newest changes of the branch.

    :param stamps: the sourcestamps of the revision
    """
    of_branch = facts.newest_changes(branch, MOST_PLACES)
    changes = facts.changes_of(one.id for one in stamps)
    own: dict[tuple[str, str], int] = {}
    for stamp in stamps:
        if stamp.id in changes:
            where = stamp.place.where
            own[where] = max(changes[stamp.id], own.get(where, 0))
    newest = {**of_branch, **own}
    found = tuple(newest[place.where] for place in known if place.where in newest)
    return found or tuple(of_branch.values())


def known_revisions(history: History, found: Sequence[Revision]) -> list[AnyRevision]:
    """Return the revisions *found* with what is needed to build them, in the same order."""
    facts = history.facts
    build_ids = sorted({one for revision in found for one in revision.builds})
    records = rows.OF_BUILDS.of(history.connection, build_ids)
    buildsets = {record[9]: record[1] for record in records}
    stamps: list[list[Stamp]] = []
    for revision in found:
        its = {buildsets[one] for one in revision.builds if one in buildsets}
        of_builds = facts.on_branch(revision.branch, its)
        stamps.append(facts.stamps({*revision.sourcestamps, *of_builds.values()}))
    changed = facts.changes_of(stamp.id for its_stamps in stamps for stamp in its_stamps)
    return [_known(facts, *one, changed) for one in zip(found, stamps, strict=True)]


def _known(
    facts: Facts, revision: Revision, stamps: list[Stamp], changed: Container[int]
) -> AnyRevision:
    # users who request a build by hand often omit the repository
    stamps.sort(
        key=lambda one: (
            one.revision == revision.revision,
            one.id in changed,
            bool(one.place.repository),
            one.id,
        )
    )
    # the last sourcestamp of each codebase counts
    by_codebase = {stamp.place.codebase: stamp.place for stamp in stamps}
    known = tuple(by_codebase[codebase] for codebase in sorted(by_codebase))
    models = _models(facts, revision.branch, stamps, known)
    return AnyRevision(revision.branch, _written(revision, stamps), True, known, models)


def _written(revision: Revision, stamps: Sequence[Stamp]) -> str:
    """Return *revision* as its change spells it, so that a build finds the change."""
    for stamp in reversed(stamps):
        if is_hash(stamp.revision) and stamp.revision == revision.revision:
            return stamp.written
    return revision.revision


def places(facts: Facts, branch: Branch) -> tuple[Sourcestamp, ...]:
    """Return the codebases and repositories of *branch*, according to its newest sourcestamps.

    There is one item for each codebase and repository, with its newest project.
    """
    found: dict[tuple[str, str], Sourcestamp] = {}
    for one in facts.newest_places(branch, NEWEST):
        found.setdefault(one.where, one)
    # users who request a build by hand often omit the repository
    whole = [one for one in found.values() if one.repository] or found.values()
    return tuple(sorted(whole, key=lambda one: one.where))


def rows_at(history: History, revision: Revision, patched: bool = False) -> RevisionRows:
    """Return all builds and requests at *revision*, newest first.

    :param patched: include builds with a patch on top, which do not count for the revision
    """
    every = _every_row(history, revision)
    found = [row for row in every if not row.patched]
    shown = every if patched else found
    judged = _judge(history, found, STABLE_DELAY)
    return RevisionRows(revision, tuple(shown), judged, len(every) - len(shown))


def done(history: History, revision: Revision, stable_delay: int) -> Done | None:
    """Return whether *revision* is done; ``None`` if it has no requests and no change.

    :param stable_delay: seconds that must have passed since the last row ended
    """
    found = _rows(history, revision)
    if not found and not _has_change(history, revision):
        return None
    judged = _judge(history, found, stable_delay)()
    newer = None if found else _built_with(history, revision)
    return judged if newer is None else replace(judged, verdict="incomplete", built_with=newer)


def _built_with(history: History, revision: Revision) -> str | None:
    """Return the newer push with which a revision without rows was built."""
    pushed = history.facts.in_line(revision.branch, revision.revision)
    if pushed is None:
        return None
    return built_with(history, [(revision.branch, pushed)]).get((revision.branch, pushed))


def results_at(history: History, revision: Revision) -> list[BuilderResult]:
    """Return each builder's latest result at *revision*, sorted by builder name."""
    found = _rows(history, revision)
    buildsets = sorted({row.request.buildset_id for row in found})
    return latest_results.by_builder(found, rows.virtual_builders(history.connection, buildsets))


def _judge(history: History, found: Sequence[Row], stable_delay: int) -> Callable[[], Done]:
    """Return a function that judges *found* as of now without reading the database."""
    virtual = rows.virtual_builders(history.connection, unbuilt_buildsets(found))
    return partial(judge, found, stable_delay, time.time(), virtual)


def _has_change(history: History, revision: Revision) -> bool:
    """Return whether Buildbot has a change of *revision*: builds may then still be requested."""
    return bool(_CHANGED.of(history.connection, revision.sourcestamps))


def _rows(history: History, revision: Revision) -> list[Row]:
    """Return the rows of *revision*, without those that have a patch."""
    return [row for row in _every_row(history, revision) if not row.patched]


def _every_row(history: History, revision: Revision) -> list[Row]:
    found = rows.rows_of(history, revision.branch, history.facts.of_stamps(revision.sourcestamps))
    if revision.others:
        its = revision.revision
        found = [row for row in found if isinstance(row, RequestRow) or row.revision == its]
    if not revision.builds:
        return found
    of_builds = rows.OF_BUILDS.of(history.connection, revision.builds)
    request_ids = sorted({record[0] for record in of_builds})
    records = rows.OF_REQUESTS.of(history.connection, request_ids)
    chosen = history.facts.on_branch(revision.branch, rows.buildsets_of(records))
    # a request may have this revision in one codebase while its build finds it in another
    there = {_identity(row) for row in found}
    found += (
        row
        for row in rows.rows_from(history, revision.branch, records, chosen)
        # other builds of the same request may have found another revision
        if (isinstance(row, RequestRow) or row.build_id in revision.builds)
        and _identity(row) not in there
    )
    return rows.newest_first(found)


def _identity(row: Row) -> tuple[str, int]:
    return ("build", row.build_id) if isinstance(row, BuildRow) else ("request", row.request_id)


def wait_condition(history: History, revision: Revision, stable_delay: int) -> WaitCondition | None:
    """Return the events that must precede *revision* being done; ``None`` as in ``done``."""
    found = _rows(history, revision)
    if not found and not _has_change(history, revision):
        return None
    return predict(found, stable_delay, time.time())


def predict(found: Sequence[Row], stable_delay: int, now: float) -> WaitCondition:
    """Return which rows of *found* must end, and the seconds from *now* until the delay has passed.

    A request that has a build ends with the build or later, so both must end. If *found* is empty,
    a new request must come.
    """
    if not found:
        return WaitCondition(frozenset({NEW_REQUEST}))
    requests: set[int] = set()
    builds: set[int] = set()
    last_end = 0
    for row in found:
        request = row.request
        if row.endtime is not None:
            last_end = max(last_end, past(row.endtime, now))
            continue
        if isinstance(row, BuildRow):
            builds.add(row.build_id)
        if not request.complete:
            requests.add(request.request_id)
    waits_for = [("buildrequests", one) for one in requests] + [("builds", one) for one in builds]
    return WaitCondition(frozenset(waits_for), max(0, last_end + stable_delay - now))
