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


async def next_for(master: Any, state: current_state.RequestState) -> int:
    """Return the priority that makes a pending request the next of its builder.

    :raises BadParameter: there is no such priority
    """
    found: int = await master.db.pool.do(_next, state.request_id)
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
        for one in priorities:
            request_id = one.request_id
            # computed again, as another request may have become the next since
            priority = _next(connection, request_id, locks=True) if one.is_next else one.priority
            query = _requests.update().where(current_state.still_or_again_pending([request_id]))
            if connection.execute(query.values(priority=priority)).rowcount == 1:
                changed[request_id] = priority
    return changed


def _next(connection: sa.Connection, request_id: int, *, locks: bool = False) -> int:
    """Return the highest priority of the pending requests of a request's builder, plus one.

    :param locks: lock the pending requests until the transaction ends, so that simultaneous calls
        run one after the other; masters can still claim the requests
    :raises BadParameter: another request has the highest possible priority
    """
    builder = sa.select(_requests.c.builderid).where(_requests.c.id == request_id)
    claimed = sa.exists().where(_claims.c.brid == _requests.c.id, ~current_state.abandoned())
    query = (
        sa.select(_requests.c.id, _requests.c.priority)
        .where(
            _requests.c.builderid == builder.scalar_subquery(), _requests.c.complete == 0, ~claimed
        )
        .order_by(_requests.c.id)
    )
    if locks:
        query = query.with_for_update(key_share=True)
    found: dict[int, int] = dict(map(tuple, connection.execute(query)))
    highest = max(found.values(), default=0)
    if highest < HIGHEST:
        return highest + 1
    if [one for one, priority in found.items() if priority == HIGHEST] == [request_id]:
        return HIGHEST
    raise BadParameter(
        "priority", f"a number: another request of its builder has {HIGHEST}, which is the highest"
    )
