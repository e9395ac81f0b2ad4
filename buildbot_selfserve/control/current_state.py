"""Reads the state of build requests from the database, bypassing all caches."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any
from typing import NamedTuple

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.binary_collation import binary_collation
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import CLOCK_SLACK
from buildbot_selfserve.model import JOB_PROPERTY
from buildbot_selfserve.model import KEY_PROPERTY
from buildbot_selfserve.model import Outcome
from buildbot_selfserve.model import Properties
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import is_open
from buildbot_selfserve.statements import BATCH
from buildbot_selfserve.statements import Statement

#: The source of our properties, as the web UI shows it.
SOURCE = "Self-serve"
#: The source of ``KEY_PROPERTY``, whose value differs in every buildset of ours. This source keeps
#: Buildbot's default rule from collapsing our requests: it compares properties whose source is
#: exactly 'Scheduler' (buildbot/process/buildrequest.py, filter_buildset_props_for_collapsing).
KEY_SOURCE = "Scheduler"
#: Seconds that a clock may be set back while a job request runs.
SET_BACK = 3600
#: Seconds for which a claim of an inactive master counts: a starting master is marked active only
#: when all its builders exist, and builders may claim and build before that.
CLAIM_PATIENCE = 300

#: The dialects where Buildbot's tables have an engine without transactions, unless configured
#: otherwise (buildbot/db/enginestrategy.py). A failing transaction is not rolled back there.
WITHOUT_TRANSACTIONS = ("mysql", "mariadb")

_requests, _claims, _builds = Model.buildrequests, Model.buildrequest_claims, Model.builds
_properties = Model.buildset_properties

_PROPERTIES = Statement(
    sa.select(_properties.c.buildsetid, _properties.c.property_name, _properties.c.property_value),
    _properties.c.buildsetid,
    prepares=False,
)
_BUILDS = Statement(
    sa.select(
        _builds.c.id,
        _builds.c.buildrequestid,
        _builds.c.complete_at,
        _builds.c.state_string,
        _builds.c.results,
    ),
    _builds.c.buildrequestid,
    prepares=False,
)

#: The condition that the master of a claim is inactive, and no build of the request runs.
_LEFT = sa.and_(
    sa.exists().where(Model.masters.c.id == _claims.c.masterid, Model.masters.c.active == 0),
    ~sa.exists().where(_builds.c.buildrequestid == _claims.c.brid, _builds.c.complete_at.is_(None)),
)


class _Record(NamedTuple):
    id: int
    buildset_id: int
    builder_id: int
    name: str
    claimed_at: int | None
    master_id: int | None
    is_left: bool | None
    complete: int
    results: int | None
    priority: int


_QUERY = sa.select(
    _requests.c.id,
    _requests.c.buildsetid,
    _requests.c.builderid,
    Model.builders.c.name,
    _claims.c.claimed_at,
    _claims.c.masterid,
    _LEFT.label("is_left"),
    _requests.c.complete,
    _requests.c.results,
    _requests.c.priority,
).select_from(
    _requests.join(Model.builders, Model.builders.c.id == _requests.c.builderid).outerjoin(
        _claims, _claims.c.brid == _requests.c.id
    )
)
_STATES = Statement(_QUERY, _requests.c.id, prepares=False)
_STATES_OF_BUILDSETS = Statement(_QUERY, _requests.c.buildsetid, prepares=False)


def given(properties: Mapping[str, Any]) -> Properties:
    """Return *properties* that a user has given, with their source."""
    return {name: (value, SOURCE) for name, value in properties.items()}


@dataclass(frozen=True)
class BuildState:
    """The state of one build of a request.

    :param listens: the build has subscribed to stop messages. A build that is told to stop before
        never ends, and its worker stays busy forever (buildbot/process/build.py subscribes after it
        has written the build's row)
    """

    build_id: int
    complete: bool
    listens: bool
    results: int | None


@dataclass(frozen=True)
class RequestState:
    """The state of a build request in the database.

    :param claimed_by: the id of the master that claimed it, ``None`` if unclaimed
    :param abandoned: the claiming master is gone, and no build of the request runs
    """

    request_id: int
    buildset_id: int
    builder_id: int
    buildername: str
    claimed: bool
    claimed_by: int | None
    abandoned: bool
    complete: bool
    results: int | None
    priority: int
    builds: tuple[BuildState, ...]

    @property
    def build_ids(self) -> tuple[int, ...]:
        """Return the ids of the builds, oldest first."""
        return tuple(build.build_id for build in self.builds)

    @property
    def stopped_ids(self) -> set[int]:
        """Return the ids of the builds that were stopped."""
        return {build.build_id for build in self.builds if build.results == CANCELLED}

    @property
    def is_open(self) -> bool:
        """Return whether the request is pending or running."""
        return is_open(self.complete, (one.results for one in self.builds if one.complete))

    def outcome(self, word: Outcome, msg: str = "") -> RequestOutcome:
        """Return the outcome *word* of the request, for a receipt."""
        return RequestOutcome(self.request_id, self.buildername, word, self.build_ids, msg)


async def request_states(master: Any, request_ids: Iterable[int]) -> dict[int, RequestState]:
    """Return the states of the requests that exist, by request id."""
    return await _states_by(master, _STATES, request_ids)


async def _states_by(
    master: Any, statement: Statement, ids: Iterable[int]
) -> dict[int, RequestState]:
    found: dict[int, RequestState] = {}
    for batch in batches(ids):
        found.update(await master.db.pool.do(_states, partial(statement.of, ids=batch)))
    return found


def batches(ids: Iterable[int]) -> Iterator[list[int]]:
    """Yield *ids* in lists of at most :data:`BATCH`, which every database takes in one IN list."""
    every = list(ids)
    for begin in range(0, len(every), BATCH):
        yield every[begin : begin + BATCH]


async def request_state(master: Any, request_id: int) -> RequestState | None:
    """Return the state of one request, ``None`` if there is no such request."""
    return (await request_states(master, [request_id])).get(request_id)


async def open_requests(
    master: Any,
    sourcestamp_ids: Iterable[int],
    build_ids: Iterable[int],
    others: Iterable[int] = (),
) -> list[RequestState]:
    """Return the incomplete requests that have any of these sourcestamps or builds.

    Requests with a patch on any sourcestamp are left out: they do not build the revision.

    :param others: builds of these sourcestamps that found another revision; requests that they run
        for are left out
    """
    links = Model.buildset_sourcestamps
    of_sourcestamps = sa.select(links.c.buildsetid)
    of_builds = sa.select(_builds.c.buildrequestid)
    conditions = [
        *(
            _requests.c.buildsetid.in_(of_sourcestamps.where(links.c.sourcestampid.in_(batch)))
            for batch in batches(sourcestamp_ids)
        ),
        *(
            _requests.c.id.in_(of_builds.where(_builds.c.id.in_(batch)))
            for batch in batches(build_ids)
        ),
    ]
    found: dict[int, RequestState] = {}
    for condition in conditions:
        wanted = sa.and_(_requests.c.complete == 0, condition, ~_patched())
        found.update(await master.db.pool.do(_states, partial(_records, wanted=wanted)))
    elsewhere = set(others)
    return [
        found[request_id]
        for request_id in sorted(found)
        if elsewhere.isdisjoint(
            one.build_id for one in found[request_id].builds if not one.complete
        )
    ]


def _patched() -> sa.ColumnElement[bool]:
    """Return the condition that a build request has a patch on one of its sourcestamps."""
    links, stamps = Model.buildset_sourcestamps, Model.sourcestamps
    return sa.exists().where(
        links.c.buildsetid == _requests.c.buildsetid,
        stamps.c.id == links.c.sourcestampid,
        stamps.c.patchid.is_not(None),
    )


def still_pending(request_ids: Iterable[int]) -> sa.ColumnElement[bool]:
    """Return the condition that a build request is incomplete and unclaimed."""
    claimed = sa.exists().where(_claims.c.brid == _requests.c.id)
    return sa.and_(_requests.c.id.in_(list(request_ids)), _requests.c.complete == 0, ~claimed)


def claimed_by_nobody(request_ids: Iterable[int]) -> sa.ColumnElement[bool]:
    """Return the condition that a claim is of a gone master, on an incomplete request."""
    waits = sa.exists().where(_requests.c.id == _claims.c.brid, _requests.c.complete == 0)
    return sa.and_(_claims.c.brid.in_(list(request_ids)), waits, abandoned())


def abandoned() -> sa.ColumnElement[bool]:
    """Return the condition that a claim's master is gone, and no build of the request runs.

    A master that finds another one gone ends its builds; but only the gone master gives up its own
    claims, when it starts again (buildbot/data/masters.py; unclaimBuildRequests in
    buildbot/db/buildrequests.py).
    """
    recent = _claims.c.claimed_at.between(*_recently())
    return sa.and_(~recent, _LEFT)


def _recently() -> tuple[int, int]:
    """Return from when to when a claim counts though its master is not active."""
    now = int(time.time())
    # a claim from the future was made before the clock was set back
    return now - CLAIM_PATIENCE, now + CLOCK_SLACK


def properties_of_buildsets(
    connection: sa.Connection, buildset_ids: Iterable[int]
) -> dict[int, Properties]:
    """Return the properties of buildsets with their sources, by buildset id.

    Malformed properties are ignored. Buildbot's own reader fails at them (``getBuildsetProperties``
    in buildbot/db/buildsets.py), and so would a build that had them.
    """
    found: dict[int, dict[str, tuple[Any, str]]] = {}
    for buildset_id, name, text in _PROPERTIES.of(connection, list(buildset_ids)):
        value = pair(text)
        if value is not None:
            found.setdefault(buildset_id, {})[name] = value
    return dict(found)


def pair(text: str) -> tuple[Any, str] | None:
    """Return value and source of a property from its JSON *text*, ``None`` if malformed."""
    try:
        value, source = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return None
    return value, source


def still_or_again_pending(request_ids: Iterable[int]) -> sa.ColumnElement[bool]:
    """Return the condition that a build request is incomplete, and no living master has it."""
    claimed = sa.exists().where(_claims.c.brid == _requests.c.id, ~abandoned())
    return sa.and_(_requests.c.id.in_(list(request_ids)), _requests.c.complete == 0, ~claimed)


async def requests_of(master: Any, buildset_ids: Iterable[int]) -> dict[int, RequestState]:
    """Return the requests of buildsets, by request id."""
    return await _states_by(master, _STATES_OF_BUILDSETS, buildset_ids)


def numbers_made(connection: sa.Connection, job_id: int, since: int) -> dict[int, int]:
    """Return the buildsets of a job by their numbers in its plan.

    Copies are left out: a rebuild on Buildbot's own page copies all properties, the unique key
    included (``rebuildBuildrequest`` in buildbot/data/buildrequests.py).

    :param since: epoch seconds; the job cannot have made buildsets before this. Property values
        have no index, but the buildsets' times have
    """
    mark, key = _properties.alias(), _properties.alias()
    query = (
        sa.select(key.c.property_value, sa.func.min(Model.buildsets.c.id))
        .join_from(Model.buildsets, mark, mark.c.buildsetid == Model.buildsets.c.id)
        .join(key, key.c.buildsetid == Model.buildsets.c.id)
        .where(
            Model.buildsets.c.submitted_at >= since,
            binary_collation(mark.c.property_name, JOB_PROPERTY),
            mark.c.property_value == json.dumps([job_id, SOURCE]),
            binary_collation(key.c.property_name, KEY_PROPERTY),
        )
        .group_by(key.c.property_value)
    )
    found = {}
    for text, buildset_id in connection.execute(query):
        value = pair(text)
        found[int(str(value[0]).rpartition("/")[2]) if value else -1] = buildset_id
    return dict(sorted(found.items()))


def _records(connection: sa.Connection, wanted: sa.ColumnElement[bool]) -> list[tuple[Any, ...]]:
    return list(map(tuple, connection.execute(_QUERY.where(wanted))))


def _states(
    connection: sa.Connection, read: Callable[[sa.Connection], Iterable[tuple[Any, ...]]]
) -> dict[int, RequestState]:
    """Return the states of requests by request id.

    :param read: returns records of ``_QUERY``
    """
    records = sorted(map(_Record._make, read(connection)), key=itemgetter(0))
    builds = build_states(connection, [record.id for record in records])
    begin, end = _recently()
    return {
        record.id: RequestState(
            request_id=record.id,
            buildset_id=record.buildset_id,
            builder_id=record.builder_id,
            buildername=record.name,
            claimed=record.claimed_at is not None,
            claimed_by=record.master_id,
            abandoned=record.claimed_at is not None
            and bool(record.is_left)
            and not begin <= record.claimed_at <= end,
            complete=bool(record.complete),
            results=record.results if record.complete else None,
            priority=record.priority,
            builds=tuple(builds[record.id]),
        )
        for record in records
    }


def build_states(connection: sa.Connection, request_ids: list[int]) -> dict[int, list[BuildState]]:
    """Return the builds of each request, oldest first."""
    found: dict[int, list[BuildState]] = {request_id: [] for request_id in request_ids}
    for build_id, request_id, complete_at, words, results in sorted(
        _BUILDS.of(connection, request_ids), key=itemgetter(0)
    ):
        found[request_id].append(
            BuildState(
                build_id,
                complete=complete_at is not None,
                listens=words != "created",
                results=results,
            )
        )
    return found
