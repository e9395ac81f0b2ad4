"""Sends the events of rows that were written without Buildbot's own update methods.

The events are those of Buildbot's own ``data.updates`` (buildbot/data/buildrequests.py,
buildsets.py). Their content is read with a few queries for many rows, unless it is known because
the rows were inserted just now. They are sent in batches, between which the reactor gets a turn.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import TypeVar

import sqlalchemy as sa
from buildbot.data.resultspec import Filter
from buildbot.data.resultspec import ResultSpec
from buildbot.db.buildrequests import BuildRequestModel
from buildbot.db.model import Model

from buildbot_selfserve import buildbot_private
from buildbot_selfserve.clock import next_turn

#: The number of events to send before the reactor gets a turn: each takes some 20 microseconds.
BATCH = 50

_buildsets, _links = Model.buildsets, Model.buildset_sourcestamps
Row = TypeVar("Row")


@dataclass(frozen=True)
class Buildsets:
    """Buildsets as read from the database.

    :param rows: the fields of the Data API, without sourcestamps
    :param links: the sourcestamp ids of each buildset, by buildset id
    """

    rows: Sequence[dict[str, Any]] = ()
    links: Mapping[int, Sequence[int]] = field(default_factory=dict)


async def requests(master: Any, request_ids: Sequence[int], event: str) -> list[Any]:
    """Send an *event* for each build request, such as ``new``, ``complete`` or ``update``.

    ``new`` makes a builder look for work.

    :return: the requests as ``db.buildrequests`` returns them
    """
    models = await _request_models(master, request_ids)
    await of_requests(master, models, event)
    return models


async def of_requests(master: Any, models: Iterable[BuildRequestModel], event: str) -> None:
    """Send an *event* for each build request as it was read or inserted."""
    async for model in _in_batches(master, models):
        row = buildbot_private.request_as_data(model)
        _produce(master, master.data.rtypes.buildrequest, row, event)


async def cancelled(master: Any, models: Iterable[Any]) -> None:
    """Send the events of cancelled requests (buildbot/process/botmaster.py)."""
    async for request in _in_batches(master, models):
        master.mq.produce(("buildrequests", str(request.buildrequestid), "cancel"), request)


async def added(master: Any, schedulers: Mapping[int, str]) -> None:
    """Send ``new`` for each buildset, with the scheduler that made it, by buildset id."""
    found = await master.db.pool.do(read_buildsets, list(schedulers)) if schedulers else Buildsets()
    await of_new_buildsets(master, found, schedulers)


async def of_new_buildsets(master: Any, found: Buildsets, schedulers: Mapping[int, str]) -> None:
    """Send ``new`` for each buildset as it was read or inserted.

    :param schedulers: the name of the scheduler that made each buildset, by buildset id
    """
    async for row in _in_batches(master, await _as_data(master, found)):
        # in the database, what has not ended has -1, but not in this event of Buildbot's
        results = row["results"] if row["complete"] else None
        told = {**row, "results": results, "scheduler": schedulers[row["bsid"]]}
        _produce(master, master.data.rtypes.buildset, told, "new")


async def completed(master: Any, found: Buildsets) -> None:
    """Send ``complete`` for each buildset."""
    async for row in _in_batches(master, await _as_data(master, found)):
        _produce(master, master.data.rtypes.buildset, row, "complete")


def _produce(master: Any, resource_type: Any, row: Mapping[str, Any], event: str) -> None:
    """Send an event as ``produceEvent`` of Buildbot's does (buildbot/data/base.py).

    That copies *row* in depth first, which takes longer than all else. Nobody else has *row*.
    """
    for path in resource_type.eventPaths:
        master.mq.produce((*path.format(**row).split("/"), event), row)


async def _in_batches(master: Any, rows: Iterable[Row]) -> Any:
    for number, row in enumerate(rows, 1):
        yield row
        if number % BATCH == 0:
            await next_turn(master.reactor)


async def _request_models(master: Any, request_ids: Sequence[int]) -> list[Any]:
    if not request_ids:
        return []
    only = ResultSpec(filters=[Filter("buildrequestid", "eq", list(request_ids))])
    only.fieldMapping = {"buildrequestid": "buildrequests.id"}
    found = await master.db.buildrequests.getBuildRequests(resultSpec=only)
    return sorted(found, key=lambda one: int(one.buildrequestid))


async def _as_data(master: Any, found: Buildsets) -> list[dict[str, Any]]:
    """Return buildsets as the Data API returns them.

    Each sourcestamp is read once, while the Data API reads the sourcestamps of each buildset
    separately.
    """
    links = found.links
    stamps = {one: await master.data.get(("sourcestamps", str(one))) for one in _flat(links)}
    return [
        {**row, "sourcestamps": [_own(stamps[one]) for one in links.get(row["bsid"], ())]}
        for row in found.rows
    ]


def _own(stamp: dict[str, Any]) -> dict[str, Any]:
    """Return a copy of a sourcestamp, as each event has its own."""
    return dict(stamp) if stamp.get("patch") is None else copy.deepcopy(stamp)


def _flat(links: Mapping[int, Sequence[int]]) -> Iterator[int]:
    return iter(dict.fromkeys(one for its in links.values() for one in its))


def read_buildsets(connection: sa.Connection, buildset_ids: Collection[int]) -> Buildsets:
    """Read buildsets for their events, ordered by id."""
    query = sa.select(_buildsets).where(_buildsets.c.id.in_(buildset_ids)).order_by(_buildsets.c.id)
    rows = [
        {
            "bsid": one.id,
            "external_idstring": one.external_idstring,
            "reason": one.reason,
            "submitted_at": one.submitted_at,
            "complete": bool(one.complete),
            "complete_at": one.complete_at,
            "results": one.results,
            "parent_buildid": one.parent_buildid,
            "parent_relationship": one.parent_relationship,
            "rebuilt_buildid": one.rebuilt_buildid,
        }
        for one in connection.execute(query)
    ]
    linked = sa.select(_links.c.buildsetid, _links.c.sourcestampid)
    links: dict[int, list[int]] = {}
    for buildset_id, stamp_id in connection.execute(
        linked.where(_links.c.buildsetid.in_(buildset_ids)).order_by(_links.c.id)
    ):
        links.setdefault(buildset_id, []).append(stamp_id)
    return Buildsets(rows, links)
