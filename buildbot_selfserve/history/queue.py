"""Reads pending requests, running builds, and the masters and workers that could build them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from operator import itemgetter
from typing import TypeVar

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.binary_collation import binary_collation
from buildbot_selfserve.history import durations
from buildbot_selfserve.history import rows
from buildbot_selfserve.history.context import History
from buildbot_selfserve.history.index import Chosen
from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.history.index import Stamp
from buildbot_selfserve.history.index import load_names
from buildbot_selfserve.history.json_columns import property_in
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Claim
from buildbot_selfserve.model import OpenBuild
from buildbot_selfserve.model import OtherMaster
from buildbot_selfserve.model import Pending
from buildbot_selfserve.model import PendingRequest
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import Waits
from buildbot_selfserve.model import WorkerElsewhere
from buildbot_selfserve.statements import Statement

Value = TypeVar("Value")

_requests, _claims, _builds = Model.buildrequests, Model.buildrequest_claims, Model.builds
_buildsets, _properties, _masters = Model.buildsets, Model.buildset_properties, Model.masters
_on_masters, _workers = Model.builder_masters, Model.workers
_configured, _connected = Model.configured_workers, Model.connected_workers

#: The build that waits for a request; buildsets of other requests are not even looked up.
_WAITING_BUILD = sa.case(
    (
        _requests.c.waited_for == 1,
        sa.select(_buildsets.c.parent_buildid)
        .where(_buildsets.c.id == _requests.c.buildsetid)
        .scalar_subquery(),
    )
)

_PENDING = Statement(
    sa.select(
        _requests.c.id,
        _requests.c.builderid,
        _requests.c.buildsetid,
        _requests.c.priority,
        _requests.c.submitted_at,
        _requests.c.waited_for,
        _WAITING_BUILD,
    )
    .select_from(_requests.outerjoin(_claims, _claims.c.brid == _requests.c.id))
    .where(_requests.c.complete == 0, _claims.c.brid.is_(None))
)
_OPEN_BUILDS = Statement(
    sa.select(
        _builds.c.id,
        _builds.c.number,
        _requests.c.id,
        _requests.c.builderid,
        _builds.c.builderid,
        _builds.c.workerid,
        _builds.c.masterid,
        _builds.c.state_string,
        _builds.c.started_at,
        _requests.c.waited_for,
        _WAITING_BUILD,
    )
    .select_from(_requests.join(_builds, _builds.c.buildrequestid == _requests.c.id))
    .where(_requests.c.complete == 0, _builds.c.complete_at.is_(None))
)
_MASTERS = Statement(
    sa.select(
        _on_masters.c.builderid, _on_masters.c.masterid, _masters.c.name, _masters.c.active
    ).select_from(_on_masters.join(_masters, _masters.c.id == _on_masters.c.masterid))
)
_WORKERS = Statement(
    sa.select(
        _on_masters.c.builderid,
        _on_masters.c.masterid,
        _workers.c.name,
        _workers.c.paused,
        _workers.c.pause_reason,
        _workers.c.graceful,
        _connected.c.id,
    )
    .select_from(
        _on_masters.join(_configured, _configured.c.buildermasterid == _on_masters.c.id)
        .join(_workers, _workers.c.id == _configured.c.workerid)
        .outerjoin(
            _connected,
            sa.and_(
                _connected.c.workerid == _workers.c.id,
                _connected.c.masterid == _on_masters.c.masterid,
            ),
        )
    )
    .where(_on_masters.c.masterid > 0),
    _on_masters.c.builderid,
)
_CLAIMS = Statement(
    sa.select(
        _claims.c.brid,
        _claims.c.masterid,
        _claims.c.claimed_at,
        _masters.c.name,
        _masters.c.active,
    ).select_from(_claims.join(_masters, _masters.c.id == _claims.c.masterid)),
    _claims.c.brid,
)
#: The worker that a buildset requires (buildbot/process/builder.py, ``enforceChosenWorker``).
_CHOSEN = Statement(
    sa.select(_properties.c.buildsetid, _properties.c.property_value).where(
        binary_collation(_properties.c.property_name, "workername")
    ),
    _properties.c.buildsetid,
)


def read_pending(history: History, master_id: int, enforcing: Collection[int]) -> Pending:
    """Return the pending requests of all branches, with the masters and workers in the database.

    :param master_id: the calling master; workers are read only of builders that other masters have
    :param enforcing: the ids of builders whose requests may require a worker
    """
    requests, names = read_requests(history)
    masters: dict[int, dict[int, OtherMaster]] = {}
    for builder_id, other_id, name, active in _MASTERS.all(history.connection):
        masters.setdefault(builder_id, {})[other_id] = OtherMaster(name, bool(active))
    elsewhere = [one for one in names if masters.get(one, {}).keys() - {master_id}]
    choosing = [one.buildset_id for one in requests if one.builder_id in enforcing]
    return Pending(
        requests,
        names,
        _open_builds(history),
        masters,
        _workers_of(history.connection, elsewhere),
        _chosen(history.connection, choosing),
    )


def read_requests(history: History) -> tuple[tuple[PendingRequest, ...], dict[int, str]]:
    """Return the pending requests of all branches, and the names of their builders by id."""
    records = _PENDING.all(history.connection)
    requests = tuple(
        PendingRequest._make((*one[:5], bool(one[5]), one[6] if one[5] else None))
        for one in sorted(records, key=itemgetter(0))
    )
    ids = {one.builder_id for one in requests}
    return requests, _with_names(history, lambda: _names(history.facts, "builders", ids))


def _chosen(connection: sa.Connection, buildset_ids: Sequence[int]) -> dict[int, str]:
    values = ((one, property_in(value)) for one, value in _CHOSEN.of(connection, buildset_ids))
    return {buildset_id: value for buildset_id, value in values if isinstance(value, str)}


def _workers_of(
    connection: sa.Connection, builder_ids: Sequence[int]
) -> dict[tuple[int, int], list[WorkerElsewhere]]:
    found: dict[tuple[int, int], list[WorkerElsewhere]] = {}
    for record in sorted(_WORKERS.of(connection, builder_ids), key=lambda one: one[:3]):
        builder_id, master_id, name, paused, reason, graceful, connected = record
        worker = WorkerElsewhere(name, connected is not None, bool(paused), reason, bool(graceful))
        found.setdefault((builder_id, master_id), []).append(worker)
    return found


def _open_builds(history: History) -> tuple[OpenBuild, ...]:
    records = sorted(_OPEN_BUILDS.all(history.connection), key=itemgetter(0))

    def made() -> tuple[OpenBuild, ...]:
        names = history.facts.names("workers")
        return tuple(
            OpenBuild._make(
                (
                    *one[:5],
                    "" if one[5] is None else names[one[5]],
                    *one[6:9],
                    one[10] if one[9] else None,
                )
            )
            for one in records
        )

    return _with_names(history, made)


def _names(facts: Facts, kind: str, ids: Iterable[int]) -> dict[int, str]:
    names = facts.names(kind)
    return {one: names[one] for one in ids}


def _with_names(history: History, make: Callable[[], Value]) -> Value:
    try:
        return make()
    except KeyError:
        load_names(history.connection, history.facts)  # a builder or worker is new
        return make()


def claim_of(history: History, request_id: int) -> Claim | None:
    """Return the claim on a build request, ``None`` if no master has claimed it."""
    for _, master_id, claimed_at, name, active in _CLAIMS.of(history.connection, [request_id]):
        return Claim(master_id, OtherMaster(name, bool(active)), claimed_at)
    return None


# -- rows of pending requests


def request_rows(
    history: History, branch: Branch | None, requests: Sequence[PendingRequest]
) -> dict[int, RequestRow]:
    """Return the rows of pending requests by id, each with its branch.

    The branch name is empty if a request belongs to no branch. Requests that were claimed or
    cancelled meanwhile have no row.

    :param branch: the branch of all *requests*; ``None`` to look up each request's branch
    """
    records = rows.OF_REQUESTS.of(history.connection, [one.request_id for one in requests])
    buildsets = rows.buildsets_of(records)
    by_branch: dict[Branch, Chosen] = {}
    if branch is not None:
        by_branch[branch] = history.facts.on_branch(branch, buildsets)
    else:
        for buildset_id, its_stamps in history.facts.stamps_of(buildsets).items():
            where, stamp = _branch_of(history.site, its_stamps)
            by_branch.setdefault(where, {})[buildset_id] = stamp.id
    found: dict[int, RequestRow] = {}
    for where, chosen in by_branch.items():
        its = [record for record in records if record[1] in chosen]
        for row in rows.rows_from(history, where, its, chosen):
            if isinstance(row, RequestRow) and not row.complete:
                found[row.request_id] = row
    return found


def _branch_of(site: Site, stamps: Sequence[Stamp]) -> tuple[Branch, Stamp]:
    """Return the branch of the first of *stamps* that has one, with that sourcestamp.

    If none has, the branch has no name.
    """
    for one in stamps:
        branch = site.branch_of(one.place)
        if branch is not None:
            return branch, one
    return Branch("", (stamps[0].place.branch,)), stamps[0]


# -- how long recent requests have waited


def percentiles(waits: Iterable[int]) -> Waits:
    """Return the median and the 90th percentile of *waits* in seconds."""
    known = list(waits)
    return Waits(*durations.percentiles(known)) if known else Waits(None, None)


def waits_of(waits: Mapping[int, Sequence[int]], builder_ids: Iterable[int]) -> Waits:
    """Return the percentiles of the *waits* of several builders together."""
    return percentiles(wait for one in builder_ids for wait in waits.get(one, ()))
