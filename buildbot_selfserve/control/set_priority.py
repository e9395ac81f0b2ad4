"""Changes the priority of pending requests.

Buildbot's own ``set_priority`` raises a TypeError on SQLAlchemy 2, always
(buildbot/db/buildrequests.py, set_build_requests_priority).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import mq_producer
from buildbot_selfserve.errors import Refused

_requests = Model.buildrequests


async def reprioritize(
    master: Any, priorities: Mapping[int, int]
) -> dict[int, current_state.RequestState]:
    """Give pending requests their *priorities*, by id; return their states afterwards.

    :raises Refused: none of them waits any more
    """
    changed: list[int] = await master.db.pool.do(_set_where_pending, priorities)
    await mq_producer.requests(master, changed, "update")
    states = await current_state.request_states(master, priorities)
    if not changed and states:
        raise not_pending(next(iter(states.values())))
    return states


def not_pending(state: current_state.RequestState | None) -> Refused:
    """Return why the priority of a request cannot be changed."""
    if state is not None and not state.complete:
        return Refused("Request is already running")
    return Refused("Request already complete")


def _set_where_pending(connection: sa.Connection, priorities: Mapping[int, int]) -> list[int]:
    changed = []
    with connection.begin():
        for request_id, priority in priorities.items():
            query = _requests.update().where(current_state.still_or_again_pending([request_id]))
            if connection.execute(query.values(priority=priority)).rowcount == 1:
                changed.append(request_id)
    return changed
