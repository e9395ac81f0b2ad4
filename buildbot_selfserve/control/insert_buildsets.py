"""Inserts buildsets with their build requests, many in one transaction.

Buildbot's own ``data.updates.addBuildset`` takes one transaction for each buildset, and its
collapser compares each new request with all pending ones. Our requests never collapse others, and
the default rule does not collapse them. So they are inserted directly, followed by the same events
(buildbot/data/buildsets.py).
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from buildbot.db.buildrequests import BuildRequestModel
from buildbot.db.model import Model
from buildbot.util import epoch2datetime

from buildbot_selfserve import statements
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import mq_producer
from buildbot_selfserve.control.rights import Rights
from buildbot_selfserve.model import NewBuildset
from buildbot_selfserve.model import Properties

#: Length of ``buildsets.reason`` (buildbot/db/model.py).
REASON_LENGTH = 256
#: The results of buildsets and requests that have not ended.
_NONE = -1

_buildsets, _requests = Model.buildsets, Model.buildrequests
_properties, _links = Model.buildset_properties, Model.buildset_sourcestamps


@dataclass(frozen=True)
class Insertion:
    """A buildset to insert.

    :param number: its number in the plan
    :param sourcestamp_ids: its sourcestamps
    :param properties: all its properties, marks included
    :param there: its id, if the buildset exists and lacks requests
    """

    number: int
    buildset: NewBuildset
    sourcestamp_ids: Sequence[int]
    properties: Properties
    there: int | None = None


@dataclass(frozen=True)
class Inserted:
    """A buildset that is in the database with all its requests.

    :param request_ids: by builder id
    :param now: when it was inserted, in epoch seconds; ``None`` if it was there before, and may
        have been changed meanwhile
    """

    insertion: Insertion
    buildset_id: int
    request_ids: Mapping[int, int]
    now: int | None


async def insert(
    master: Any, rights: Rights, job_id: int, insertions: Sequence[Insertion]
) -> list[Inserted]:
    """Insert buildsets in one transaction; return them in the order of *insertions*.

    Nothing else inserts build requests. Builders learn of them when they are announced.

    :raises Forbidden: a buildset was not admitted
    """
    for one in insertions:
        rights.check(one.buildset)
    begun: list[int] = []
    made: list[Inserted] = await master.db.pool.do(_insert, job_id, insertions, begun)
    return made


def _insert(
    connection: sa.Connection, job_id: int, insertions: Sequence[Insertion], begun: list[int]
) -> list[Inserted]:
    """Insert *insertions*.

    :param begun: the time of each attempt is appended. If the connection breaks after the commit,
        the master calls this again with the same list (buildbot/db/pool.py), and buildsets that
        exist are skipped
    """
    if len(insertions) > 1 and connection.dialect.name in current_state.WITHOUT_TRANSACTIONS:
        return _insert_each(connection, job_id, insertions, begun)
    there = {one.number: one.there for one in insertions if one.there is not None}
    if begun:
        there |= current_state.numbers_made(connection, job_id, begun[0] - current_state.SET_BACK)
        connection.rollback()
    now = int(time.time())
    begun.append(now)
    missing = [one for one in insertions if one.number not in there]
    with connection.begin():
        ids = statements.insert_with_ids(
            connection, _buildsets, [_buildset_row(one, now) for one in missing]
        )
        made = {one.number: buildset_id for one, buildset_id in zip(missing, ids, strict=True)}
        _insert_parts(connection, made, missing)
        requests = [
            (made[one.number], builder.builder_id, one.buildset.priority)
            for one in missing
            for builder in one.buildset.builders
        ]
        rows = [_request_row(*one, now) for one in requests]
        request_ids = statements.insert_with_ids(connection, _requests, rows)
    found: dict[int, dict[int, int]] = {buildset_id: {} for buildset_id in made.values()}
    for (buildset_id, builder_id, _), request_id in zip(requests, request_ids, strict=True):
        found[buildset_id][builder_id] = request_id
    inserted = {
        one.number: Inserted(one, made[one.number], found[made[one.number]], now) for one in missing
    }
    return [
        inserted.get(one.number) or _completed(connection, one, there[one.number], now)
        for one in insertions
    ]


def _insert_each(
    connection: sa.Connection, job_id: int, insertions: Sequence[Insertion], begun: list[int]
) -> list[Inserted]:
    """Insert one buildset at a time, for databases that do not roll back."""
    before = list(begun)
    found: list[Inserted] = []
    begun.append(int(time.time()))
    for one in insertions:
        found += _insert(connection, job_id, [one], list(before))
    return found


def _completed(connection: sa.Connection, one: Insertion, buildset_id: int, now: int) -> Inserted:
    """Insert the missing requests of a buildset that is there."""
    found = _requests_of(connection, buildset_id)
    lacking = [builder for builder in one.buildset.builders if builder.builder_id not in found]
    links = sa.select(_links.c.id).where(_links.c.buildsetid == buildset_id)
    linked = connection.execute(links).first() is not None
    connection.rollback()
    if not lacking:
        return Inserted(one, buildset_id, found, None)
    with connection.begin():
        if not linked:
            _insert_links(connection, {one.number: buildset_id}, [one])
        rows = [
            _request_row(buildset_id, builder.builder_id, one.buildset.priority, now)
            for builder in lacking
        ]
        statements.insert(connection, _requests, rows)
    found = _requests_of(connection, buildset_id)
    connection.rollback()
    return Inserted(one, buildset_id, found, None)


def _insert_parts(
    connection: sa.Connection, made: Mapping[int, int], insertions: Sequence[Insertion]
) -> None:
    """Insert the properties and the sourcestamps of the buildsets."""
    properties = [
        {
            "buildsetid": made[one.number],
            "property_name": name,
            "property_value": json.dumps([value, source]),
        }
        for one in insertions
        for name, (value, source) in one.properties.items()
    ]
    statements.insert(connection, _properties, properties)
    _insert_links(connection, made, insertions)


def _insert_links(
    connection: sa.Connection, made: Mapping[int, int], insertions: Sequence[Insertion]
) -> None:
    links = [
        {"buildsetid": made[one.number], "sourcestampid": stamp_id}
        for one in insertions
        for stamp_id in one.sourcestamp_ids
    ]
    statements.insert(connection, _links, links)


def _buildset_row(one: Insertion, now: int) -> dict[str, Any]:
    columns = ("external_idstring", "rebuilt_buildid", "parent_buildid", "parent_relationship")
    return {
        "submitted_at": now,
        "reason": one.buildset.reason[:REASON_LENGTH],
        "complete": 0,
        "complete_at": None,
        "results": _NONE,
        **{name: one.buildset.more.get(name) for name in columns},
    }


def _request_row(buildset_id: int, builder_id: int, priority: int, now: int) -> dict[str, Any]:
    return {
        "buildsetid": buildset_id,
        "builderid": builder_id,
        "priority": priority,
        "complete": 0,
        "results": _NONE,
        "submitted_at": now,
        "complete_at": None,
        "waited_for": 0,
    }


def _requests_of(connection: sa.Connection, buildset_id: int) -> dict[int, int]:
    query = sa.select(_requests.c.builderid, _requests.c.id)
    found = connection.execute(query.where(_requests.c.buildsetid == buildset_id))
    return {row[0]: row[1] for row in found}


async def announce(master: Any, made: Sequence[Inserted]) -> None:
    """Send the events of ``data.updates.addBuildset``; the first one makes builders start.

    What was inserted just now is not read again.
    """
    new = [(one, one.now) for one in made if one.now is not None]
    there = [one for one in made if one.now is None]
    models = [model for one, now in new for model in _models(one, now)]
    await mq_producer.of_requests(master, models, "new")
    ids = [request_id for one in there for request_id in one.request_ids.values()]
    await mq_producer.requests(master, ids, "new")
    buildsets = mq_producer.Buildsets(
        [{"bsid": one.buildset_id, **_as_inserted(one.insertion, now)} for one, now in new],
        {one.buildset_id: one.insertion.sourcestamp_ids for one, _ in new},
    )
    schedulers = {one.buildset_id: one.insertion.buildset.scheduler for one in made}
    await mq_producer.of_new_buildsets(master, buildsets, schedulers)
    await mq_producer.added(master, {one.buildset_id: schedulers[one.buildset_id] for one in there})


def _as_inserted(one: Insertion, now: int) -> dict[str, Any]:
    return {**_buildset_row(one, now), "complete": False}


def _models(made: Inserted, now: int) -> Iterator[BuildRequestModel]:
    """Yield the requests of a new buildset as ``db.buildrequests`` returns them."""
    names = {one.builder_id: one.name for one in made.insertion.buildset.builders}
    for builder_id, request_id in made.request_ids.items():
        yield BuildRequestModel(
            buildrequestid=request_id,
            buildsetid=made.buildset_id,
            builderid=builder_id,
            buildername=names[builder_id],
            submitted_at=epoch2datetime(now),
            results=_NONE,
            priority=made.insertion.buildset.priority,
        )
