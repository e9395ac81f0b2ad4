"""Changes the priority of pending requests.

Buildbot's own ``set_priority`` always raises a TypeError on SQLAlchemy 2
(buildbot/db/buildrequests.py, set_build_requests_priority).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from buildbot.db.model import Model
from twisted.internet import defer

from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import mq_producer
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.model import NewPriority

#: The highest priority: the column is a signed integer of 32 bits.
HIGHEST = 2**31 - 1

#: For each master, a lock that lets one job request at a time write priorities.
_locks: WeakKeyDictionary[Any, defer.DeferredLock] = WeakKeyDictionary()

_requests, _claims = Model.buildrequests, Model.buildrequest_claims


async def reprioritize(
    master: Any, priorities: Sequence[NewPriority]
) -> tuple[dict[int, current_state.RequestState], dict[int, int]]:
    """Set the *priorities* of pending requests.

    :return: the states afterwards and the priorities set, both by request id
    :raises Refused: none of the requests is pending any more
    :raises BadParameter: a request is to be the next, and there is no higher priority
    """
    # on MySQL and MariaDB, Buildbot's tables have neither transactions nor row locks
    one_at_a_time = _locks.setdefault(master, defer.DeferredLock())
    changed: dict[int, int] = await one_at_a_time.run(
        master.db.pool.do, _set_where_pending, priorities
    )
    await mq_producer.requests(master, list(changed), "update")
    wanted = {one.request_id: one.priority for one in priorities} | changed
    states = await current_state.request_states(master, wanted)
    if not changed and states:
        raise not_pending(next(iter(states.values())))
    return states, wanted


async def next_for(master: Any, states: Sequence[current_state.RequestState]) -> dict[int, int]:
    """Return the priority that makes each pending request the next of its builder, by request id.

    :raises BadParameter: there is no such priority
    """

    def look(connection: sa.Connection) -> dict[int, int]:
        pending = _Pending(connection)
        return {one.request_id: pending.next(one.request_id, one.builder_id) for one in states}

    found: dict[int, int] = await master.db.pool.do(look)
    return found


def not_pending(state: current_state.RequestState | None) -> Refused:
    """Return the error for a request whose priority cannot be changed."""
    if state is not None and not state.complete:
        return Refused("Request is already running")
    return Refused("Request already complete")


def _set_where_pending(
    connection: sa.Connection, priorities: Sequence[NewPriority]
) -> dict[int, int]:
    changed = {}
    with connection.begin():
        pending = _Pending(connection, locks=True)
        builders = _builders_of(connection, [one.request_id for one in priorities if one.is_next])
        for one in priorities:
            request_id, builder_id = one.request_id, builders.get(one.request_id)
            priority = one.priority
            if builder_id is not None:
                # computed again, as another request may have become the next since
                priority = pending.next(request_id, builder_id)
            query = _requests.update().where(current_state.still_or_again_pending([request_id]))
            if connection.execute(query.values(priority=priority)).rowcount == 1:
                changed[request_id] = priority
                pending.note(request_id, builder_id, priority)
    return changed


def _builders_of(connection: sa.Connection, request_ids: Sequence[int]) -> dict[int, int]:
    """Return the ids of the builders of requests, by request id."""
    query = sa.select(_requests.c.id, _requests.c.builderid)
    return {
        row.id: row.builderid
        for batch in current_state.batches(request_ids)
        for row in connection.execute(query.where(_requests.c.id.in_(batch)))
    }


class _Pending:
    """The priorities of the pending requests of builders, each builder's read once.

    :param locks: lock the pending requests until the transaction ends, so that simultaneous calls
        run one after the other; masters can still claim the requests
    """

    def __init__(self, connection: sa.Connection, *, locks: bool = False) -> None:
        self._connection = connection
        self._locks = locks
        #: by builder id and request id
        self._priorities: dict[int, dict[int, int]] = {}

    def next(self, request_id: int, builder_id: int) -> int:
        """Return the highest priority of the pending requests of a builder, plus one.

        :param request_id: the request that is to have it
        :raises BadParameter: another request has the highest possible priority
        """
        if builder_id not in self._priorities:
            self._priorities[builder_id] = self._read(builder_id)
        found = self._priorities[builder_id]
        highest = max(found.values(), default=0)
        if highest < HIGHEST:
            return highest + 1
        if [one for one, priority in found.items() if priority == HIGHEST] == [request_id]:
            return HIGHEST
        raise BadParameter(
            "priority",
            f"a number: another request of its builder has {HIGHEST}, which is the highest",
        )

    def note(self, request_id: int, builder_id: int | None, priority: int) -> None:
        """Note that a request has another priority now."""
        if builder_id in self._priorities:
            self._priorities[builder_id][request_id] = priority

    def _read(self, builder_id: int) -> dict[int, int]:
        claimed = sa.exists().where(_claims.c.brid == _requests.c.id, ~current_state.abandoned())
        query = (
            sa.select(_requests.c.id, _requests.c.priority)
            .where(_requests.c.builderid == builder_id, _requests.c.complete == 0, ~claimed)
            .order_by(_requests.c.id)
        )
        if self._locks:
            query = query.with_for_update(key_share=True)
        return dict(map(tuple, self._connection.execute(query)))
