"""Reads the states of builders at several revisions, and only the columns needed for that.

``verdict`` defines which build of a builder counts; ``rows`` reads whole requests.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from dataclasses import dataclass
from operator import itemgetter
from typing import Any
from typing import NamedTuple
from typing import cast

import sqlalchemy as sa

from buildbot_selfserve.answers import BuilderStateName
from buildbot_selfserve.answers import RevisionVerdict
from buildbot_selfserve.history import rows
from buildbot_selfserve.history.context import History
from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.history.index import Pushed
from buildbot_selfserve.history.index import load_names
from buildbot_selfserve.history.verdict import BuilderResults
from buildbot_selfserve.history.verdict import verdict_of
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model.pushes import RESULT_STATES
from buildbot_selfserve.model.pushes import BuilderState
from buildbot_selfserve.statements import Statement

_requests, _builds, _claims = rows.requests, rows.builds, rows.claims
_COLUMNS: Any = sa.select(
    _requests.c.id,
    _requests.c.buildsetid,
    _requests.c.builderid,
    _requests.c.complete,
    _requests.c.results,
    _requests.c.submitted_at,
    _builds.c.id,
    _builds.c.number,
    _builds.c.builderid,
    _builds.c.started_at,
    _builds.c.complete_at,
    _builds.c.results,
).select_from(_requests.outerjoin(_builds, _builds.c.buildrequestid == _requests.c.id))
_OF_BUILDSETS = Statement(_COLUMNS, _requests.c.buildsetid)
_OF_REQUESTS = Statement(_COLUMNS, _requests.c.id)
_REQUESTS_OF = Statement(sa.select(_builds.c.id, _builds.c.buildrequestid), _builds.c.id)
#: Builds with a result: buildset, build, builder, result.
_WITH_RESULT: Any = (
    sa.select(_requests.c.buildsetid, _builds.c.id, _builds.c.builderid, _builds.c.results)
    .select_from(_requests.join(_builds, _builds.c.buildrequestid == _requests.c.id))
    .where(_builds.c.complete_at.is_not(None), _builds.c.results.in_([*RESULT_STATES]))
)
_RESULTS_OF = Statement(
    _WITH_RESULT,
    _requests.c.buildsetid,
    # the sum keeps the database from using the index on builders: each has very many builds
    also=_builds.c.builderid + 0,
)
_RESULTS_FOUND = Statement(_WITH_RESULT, _builds.c.id)
_CLAIMED = Statement(sa.select(_claims.c.brid), _claims.c.brid)

#: The states of builders without a result.
_OTHERS: Mapping[int | None, str] = {CANCELLED: "cancelled", SKIPPED: "skipped"}
#: The end states of builds, by Buildbot's result.
ENDS: Mapping[int | None, str] = {**RESULT_STATES, **_OTHERS, RETRY: "retry"}

#: The states of builders, by name.
States = Mapping[str, BuilderState]
#: The latest results of builders as states, by name.
Results = Mapping[str, str]


@dataclass(frozen=True)
class AtRevision:
    """The states of all builders at a revision.

    :param asked_at: when the first request was submitted, in epoch seconds; ``None`` without
        requests
    :param requested: the builders whose requests these are, also of virtual builders' builds
    """

    states: States
    asked_at: int | None
    requested: Set[int]

    @property
    def verdict(self) -> RevisionVerdict:
        """Return the verdict on the revision."""
        return verdict_of([one.state for one in self.states.values()])


class _Tally(BuilderResults[Any]):
    """Collects one builder's requests and builds at one revision, as records."""

    attempts: int = 0
    #: the requests that are pending or running, and those of them that are pending
    open: tuple[int, ...] = ()
    waiting: tuple[int, ...] = ()
    running: Any = None
    pending: Any = None
    other: Any = None

    def add_build(self, record: Any) -> None:
        """Add a build, unless it ended with RETRY."""
        ended, status = record[10] is not None, record[11]
        if ended and status == RETRY:
            return
        self.attempts += 1
        if not ended:
            self.open += (record[0],)
            self.running = _newer(self.running, record)
        elif not self.add(record[6], status, record):
            self.other = _newer_other(self.other, record)

    def add_request(self, record: Any, is_claimed: bool) -> None:
        """Add a request that its builds do not represent (see ``stands_for``)."""
        alone = (*record[:6], None, None, None, None, None, record[4])
        if record[3]:
            self.other = _newer_other(self.other, alone)
            return
        self.open += (record[0],)
        if is_claimed:
            self.running = _newer(self.running, alone)
        else:
            self.waiting += (record[0],)
            self.pending = _newer(self.pending, alone)

    @property
    def is_anything(self) -> bool:
        """Return whether any request or build counts; builds that ended with RETRY do not."""
        return bool(self.attempts or self.pending or self.running or self.other)

    def state(self, name: str, builder_id: int) -> BuilderState:
        """Return the builder's state: running or pending, or else its latest result."""
        if self.running is not None:
            record, state = self.running, "running"
        elif self.pending is not None:
            record, state = self.pending, "pending"
        elif self.latest is not None:
            record, state = self.latest, self.result
        else:
            record = self.other
            state = _OTHERS.get(record[11], "cancelled")
        return BuilderState(
            name,
            builder_id,
            cast(BuilderStateName, state),
            self.attempts,
            record[6],
            record[7],
            record[0],
            self.result,
            self.flaky,
            record[9],
            record[10],
            None if self.latest is None else self.latest[6],
            self.open,
            self.waiting,
        )


def _newer(one: Any, other: Any) -> Any:
    """Return the record of the later request or build."""
    return other if one is None or _order(other) > _order(one) else one


def _newer_other(one: Any, other: Any) -> Any:
    """Return the later record of two without a result; ends in ``_OTHERS`` go before RETRY."""
    if one is None or (one[11] in _OTHERS) != (other[11] in _OTHERS):
        return one if one is not None and one[11] in _OTHERS else other
    return _newer(one, other)


def _order(record: Any) -> tuple[int, int]:
    return record[0], record[6] or 0


class Requests(NamedTuple):
    """The requests of a revision, each with all its records, and the builds that count.

    The other builds of these requests found another revision. Records have the columns of
    ``_COLUMNS``.
    """

    whole: list[list[Any]]
    builds: list[Any]


def states_at(history: History, pushed: Sequence[Pushed]) -> list[AtRevision]:
    """Return the states of the builders at each of *pushed*, in the same order."""
    return _tallied(history, requests_at(history, pushed))


def requests_at(history: History, pushed: Sequence[Pushed]) -> list[Requests]:
    """Return the requests at each of *pushed*, in the same order."""
    of_buildsets = _by_request(_OF_BUILDSETS.of(history.connection, _buildset_ids(pushed)))
    by_buildset: dict[int, list[list[Any]]] = {}
    for its in of_buildsets.values():
        by_buildset.setdefault(its[0][1], []).append(its)
    build_ids = sorted({one for its in pushed for one in its.build_ids})
    request_of = dict(_REQUESTS_OF.of(history.connection, build_ids))
    of_builds = _by_request(_OF_REQUESTS.of(history.connection, sorted(set(request_of.values()))))
    found: list[Requests] = []
    has_abbreviations = history.facts.has_abbreviations
    for one in pushed:
        requests = [its for it in one.buildset_ids for its in by_buildset.get(it, ())]
        others = _others(history.facts, one) if has_abbreviations else set()
        builds = [
            record
            for its in requests
            for record in its
            if record[6] is not None and record[6] not in others
        ]
        if one.build_ids:
            there = {its[0][0] for its in requests}
            counted = {record[6] for record in builds}
            more = {request_of[it] for it in one.build_ids if it in request_of}
            its_build_ids = set(one.build_ids) - counted
            builds += (
                record
                for request_id in more
                for record in of_builds.get(request_id, ())
                if record[6] in its_build_ids
            )
            requests += (of_builds[it] for it in more - there if it in of_builds)
        found.append(Requests(requests, builds))
    return found


def _buildset_ids(pushed: Iterable[Pushed]) -> list[int]:
    return sorted({one for its in pushed for one in its.buildset_ids})


def results_at(
    history: History, pushed: Sequence[Pushed], builder_ids: Sequence[int] | None = None
) -> list[Results]:
    """Return the latest results of builders at each of *pushed*, in the same order.

    Comparing other revisions with these needs no more than this.

    :param builder_ids: read the results of these builders; results of others may be returned as
        well
    """
    by_buildset: dict[int, list[Any]] = {}
    for record in _RESULTS_OF.of(history.connection, _buildset_ids(pushed), builder_ids):
        by_buildset.setdefault(record[0], []).append(record)
    build_ids = sorted({one for its in pushed for one in its.build_ids})
    by_id = {record[1]: record for record in _RESULTS_FOUND.of(history.connection, build_ids)}
    found: list[list[Any]] = []
    has_abbreviations = history.facts.has_abbreviations
    for one in pushed:
        records = [record for it in one.buildset_ids for record in by_buildset.get(it, ())]
        if has_abbreviations:
            others = _others(history.facts, one)
            records = [record for record in records if record[1] not in others]
        records += (by_id[it] for it in one.build_ids if it in by_id)
        found.append(sorted(records, key=itemgetter(1)))
    names = names_of(history, {record[2] for its in found for record in its})
    # the newest build comes last and wins
    return [{names[record[2]]: RESULT_STATES[record[3]] for record in its} for its in found]


def _others(facts: Facts, pushed: Pushed) -> set[int]:
    """Return the builds of a revision's sourcestamps that found another revision."""
    return {
        build_id
        for its in facts.found_for(pushed.stamp_ids).values()
        for build_id, revision in its.items()
        if revision != pushed.revision
    }


def _tallied(history: History, found: Sequence[Requests]) -> list[AtRevision]:
    unbuilt = [[its[0] for its in one.whole if not stands_for(its)] for one in found]
    requests = [record for records in unbuilt for record in records]
    unclaimed = sorted({record[0] for record in requests if not record[3]})
    claimed = {one for (one,) in _CLAIMED.of(history.connection, unclaimed)}
    virtual = rows.virtual_builders(history.connection, sorted({record[1] for record in requests}))
    builders = {record[2] for record in requests}
    builders.update(record[8] for one in found for record in one.builds)
    names = names_of(history, builders)
    told: list[AtRevision] = []
    for one, its_unbuilt in zip(found, unbuilt, strict=True):
        tallies: dict[str, tuple[int, _Tally]] = {}
        for record in one.builds:
            name = names[record[8]]
            tally = tallies.get(name) or tallies.setdefault(name, (record[8], _Tally()))
            tally[1].add_build(record)
        for record in its_unbuilt:
            name = virtual.get(record[1]) or names[record[2]]
            tally = tallies.get(name) or tallies.setdefault(name, (record[2], _Tally()))
            tally[1].add_request(record, record[0] in claimed)
        states = {
            name: tally.state(name, builder_id)
            for name, (builder_id, tally) in tallies.items()
            if tally.is_anything
        }
        asked_at = min((its[0][5] for its in one.whole), default=None)
        requested = {record[2] for record in (*one.builds, *its_unbuilt)}
        told.append(AtRevision(states, asked_at, requested))
    return told


def _by_request(records: Iterable[Any]) -> dict[int, list[Any]]:
    by_request: dict[int, list[Any]] = {}
    for record in records:
        by_request.setdefault(record[0], []).append(record)
    return by_request


def stands_for(its: Sequence[Any]) -> bool:
    """Return whether builds represent a request, as ``rows`` decides it.

    :param its: the records of the request
    """
    built = (record for record in its if record[6] is not None)
    if its[0][3]:
        return any(record[10] is None or record[11] != RETRY for record in built)
    return any(record[10] is None for record in built)


def names_of(history: History, builder_ids: Set[int]) -> Mapping[int, str]:
    """Return the names of all builders; read them again if any of *builder_ids* is missing."""
    names = history.facts.names("builders")
    if not builder_ids <= names.keys():
        load_names(history.connection, history.facts)
        names = history.facts.names("builders")
    return names
