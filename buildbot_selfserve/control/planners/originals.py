"""Reads build requests to copy, with everything that a copy needs, in a few queries."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from dataclasses import dataclass
from dataclasses import replace
from operator import itemgetter
from typing import Any
from typing import NamedTuple

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.control import current_state
from buildbot_selfserve.history.index import got_revision
from buildbot_selfserve.history.index.queries import GOT_REVISIONS
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Properties
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import Stamp
from buildbot_selfserve.statements import Statement

_requests, _buildsets, _builds = Model.buildrequests, Model.buildsets, Model.builds
_links = Model.buildset_sourcestamps
_parents = _builds.alias("parents")

#: The largest number of ancestors to follow of a request that its parent waited for.
DEEPEST = 50


#: Build and builder of each open request that rebuilds a build.
Rebuilt = Set[tuple[int | None, int]]


class _Record(NamedTuple):
    id: int
    buildset_id: int
    builder_id: int
    waited_for: int
    complete: int
    name: str
    built_for: int
    parent_request_id: int | None
    external_idstring: str | None
    rebuilt_buildid: int | None
    parent_buildid: int | None
    parent_relationship: str | None


_ORIGINALS = Statement(
    sa.select(
        _requests.c.id,
        _requests.c.buildsetid,
        _requests.c.builderid,
        _requests.c.waited_for,
        _requests.c.complete,
        Model.builders.c.name,
        sa.exists()
        .where(Model.builder_masters.c.builderid == _requests.c.builderid)
        .label("built_for"),
        _parents.c.buildrequestid,
        _buildsets.c.external_idstring,
        _buildsets.c.rebuilt_buildid,
        _buildsets.c.parent_buildid,
        _buildsets.c.parent_relationship,
    )
    .join_from(_requests, _buildsets, _buildsets.c.id == _requests.c.buildsetid)
    .join(Model.builders, Model.builders.c.id == _requests.c.builderid)
    .outerjoin(_parents, _parents.c.id == _buildsets.c.parent_buildid),
    _requests.c.id,
    prepares=False,
)
_STAMPS = Statement(
    sa.select(
        _links.c.id,
        _links.c.buildsetid,
        Model.sourcestamps.c.id,
        Model.sourcestamps.c.branch,
        Model.sourcestamps.c.revision,
        Model.sourcestamps.c.codebase,
    ).join_from(_links, Model.sourcestamps, Model.sourcestamps.c.id == _links.c.sourcestampid),
    _links.c.buildsetid,
    prepares=False,
)
_REBUILT = Statement(
    sa.select(_buildsets.c.rebuilt_buildid, _requests.c.builderid)
    .join_from(_requests, _buildsets, _buildsets.c.id == _requests.c.buildsetid)
    .where(_requests.c.complete == 0, _buildsets.c.rebuilt_buildid.is_not(None)),
    prepares=False,
)


@dataclass(frozen=True)
class Original:
    """A build request as it was made; it can be the target of a permission check.

    :param more: further columns of its buildset
    :param complete: it has ended
    :param built_for: some master has its builder
    :param build_ids: its builds, oldest first
    :param parent_request_id: the request whose build triggered this one and waited for it
    :param built: branch and revision of each of its sourcestamps
    :param codebases: the codebase of each of its sourcestamps
    """

    request_id: int
    buildset_id: int
    builder: Builder
    sourcestamps: tuple[Stamp, ...]
    properties: Properties
    more: Mapping[str, Any]
    complete: bool
    built_for: bool
    build_ids: tuple[int, ...]
    parent_request_id: int | None
    built: tuple[tuple[str | None, str | None], ...] = ()
    codebases: tuple[str, ...] = ()

    @property
    def builder_id(self) -> int:
        """Return the id of the builder."""
        return self.builder.builder_id

    @property
    def buildername(self) -> str:
        """Return the name of the builder."""
        return self.builder.name


async def originals(master: Any, request_ids: Iterable[int]) -> dict[int, Original]:
    """Return the requests that exist, by request id and in the order of their ids."""
    found: dict[int, Original] = {}
    for batch in current_state.batches(sorted(set(request_ids))):
        found.update(await master.db.pool.do(_originals, batch))
    return found


async def as_found(
    master: Any, found: Mapping[int, Original], builds: Mapping[int, Collection[int]]
) -> dict[int, Original]:
    """Return requests with what builds have found where their sourcestamps name no revision.

    Such a sourcestamp means the newest commit, which may be another one by now.

    :param found: by request id
    :param builds: builds of each request; the newest one that found a revision counts
    """
    lacking = {
        request_id: builds[request_id]
        for request_id, one in found.items()
        if builds[request_id] and not all(revision for _, revision in one.built)
    }
    if not lacking:
        return dict(found)
    return {**found, **await master.db.pool.do(_as_found, found, lacking)}


async def roots(master: Any, found: Mapping[int, Original]) -> dict[int, Original]:
    """Return the request to rebuild instead of each request, by request id.

    A request that a build waited for is no use on its own: the outermost waiting build is built
    again. A request that nobody waited for is its own root.
    """
    known = dict(found)
    root_ids = {request_id: request_id for request_id in found}
    for _ in range(DEEPEST):
        parents = {
            known[root_id].parent_request_id
            for root_id in root_ids.values()
            if known[root_id].parent_request_id is not None
        }
        if not parents:
            break
        known |= await originals(master, [one for one in parents if one and one not in known])
        for request_id, root_id in root_ids.items():
            parent_id = known[root_id].parent_request_id
            if parent_id is not None and parent_id in known:
                root_ids[request_id] = parent_id
    return {request_id: known[root_id] for request_id, root_id in root_ids.items()}


async def originals_and_rebuilt(
    master: Any, request_ids: Iterable[int]
) -> tuple[dict[int, Original], Rebuilt]:
    """Return the requests that exist, and what is being rebuilt now, on any branch."""
    found: tuple[dict[int, Original], Rebuilt] = await master.db.pool.do(
        _originals_and_rebuilt, sorted(set(request_ids))
    )
    return found


def is_rebuilt(original: Original, rebuilt: Rebuilt) -> bool:
    """Return whether *original* is being rebuilt now."""
    return (original.more["rebuilt_buildid"], original.builder_id) in rebuilt


def _originals_and_rebuilt(
    connection: sa.Connection, request_ids: Sequence[int]
) -> tuple[dict[int, Original], Rebuilt]:
    return _originals(connection, request_ids), frozenset(_REBUILT.all(connection))


def _originals(connection: sa.Connection, request_ids: Sequence[int]) -> dict[int, Original]:
    records = sorted(map(_Record._make, _ORIGINALS.of(connection, request_ids)))
    buildset_ids = sorted({record.buildset_id for record in records})
    properties = current_state.properties_of_buildsets(connection, buildset_ids)
    stamps = _sourcestamps(connection, buildset_ids)
    builds = {
        request_id: tuple(one.build_id for one in its)
        for request_id, its in current_state.build_states(
            connection, [record.id for record in records]
        ).items()
    }
    return {
        record.id: Original(
            record.id,
            record.buildset_id,
            Builder(record.builder_id, record.name),
            tuple(one[0] for one in stamps.get(record.buildset_id, ())),
            properties.get(record.buildset_id, {}),
            {
                "external_idstring": record.external_idstring,
                "rebuilt_buildid": record.rebuilt_buildid or next(iter(builds[record.id]), None),
                "parent_buildid": record.parent_buildid,
                "parent_relationship": record.parent_relationship,
            },
            bool(record.complete),
            bool(record.built_for),
            builds[record.id],
            record.parent_request_id if record.waited_for else None,
            tuple(one[1:3] for one in stamps.get(record.buildset_id, ())),
            tuple(one[3] for one in stamps.get(record.buildset_id, ())),
        )
        for record in records
    }


def _sourcestamps(
    connection: sa.Connection, buildset_ids: Sequence[int]
) -> dict[int, list[tuple[int, str | None, str | None, str]]]:
    """Return id, branch, revision and codebase of each sourcestamp, by buildset id."""
    found: dict[int, list[tuple[int, str | None, str | None, str]]] = {}
    for _, buildset_id, *stamp in sorted(_STAMPS.of(connection, buildset_ids), key=itemgetter(0)):
        found.setdefault(buildset_id, []).append((stamp[0], stamp[1], stamp[2], stamp[3]))
    return found


def _as_found(
    connection: sa.Connection, found: Mapping[int, Original], builds: Mapping[int, Collection[int]]
) -> dict[int, Original]:
    properties, stamps = Model.build_properties, Model.sourcestamps
    build_ids = {build_id for its in builds.values() for build_id in its}
    values: dict[int, str] = {}
    for batch in current_state.batches(build_ids):
        query = GOT_REVISIONS.where(properties.c.buildid.in_(batch))
        values.update(map(tuple, connection.execute(query)))
    every = [stamp for request_id in builds for stamp in found[request_id].sourcestamps]
    stamp_ids = {stamp for stamp in every if isinstance(stamp, int)}
    records: dict[int, Any] = {}
    for batch in current_state.batches(stamp_ids):
        query = sa.select(stamps).where(stamps.c.id.in_(batch))
        records.update((one.id, one) for one in connection.execute(query))
    return {
        request_id: _with_found(
            found[request_id], records, values.get(max(values.keys() & set(its), default=0))
        )
        for request_id, its in builds.items()
    }


def _with_found(original: Original, records: Mapping[Any, Any], value: str | None) -> Original:
    """Return *original* with what stands in *value*, the JSON of a ``got_revision``.

    :param records: the records of its sourcestamps, by id
    """
    sources, built = list(original.sourcestamps), list(original.built)
    for index, stamp_id in enumerate(original.sourcestamps):
        one = records.get(stamp_id)
        if one is None or one.revision or one.patchid is not None:
            continue
        got = got_revision(value, one.codebase)
        if got:
            place = Sourcestamp(one.branch, one.codebase, one.repository, one.project)
            sources[index], built[index] = place.at(got), (one.branch, got)
    return replace(original, sourcestamps=tuple(sources), built=tuple(built))
