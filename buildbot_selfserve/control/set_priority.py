"""Changes the priority of pending requests.

Buildbot's own ``set_priority`` raises a TypeError on SQLAlchemy 2, always
(buildbot/db/buildrequests.py, set_build_requests_priority).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import mq_producer
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import RequestRow

_requests = Model.buildrequests


async def reprioritize(master: Any, order: Order, request: RequestRow, *, priority: int) -> Effect:
    """Change the priority of a pending *request*.

    :raises Refused: it does not wait any more
    """
    request_id = request.request_id
    if not await master.db.pool.do(_set_if_pending, request_id, priority):
        state = await current_state.request_state(master, request_id)
        if state is not None and not state.complete:
            raise Refused("Request is already running")
        raise Refused("Request already complete")
    await mq_producer.requests(master, [request_id], "update")
    return effect((await current_state.request_states(master, [request_id]))[request_id], priority)


def effect(state: current_state.RequestState, priority: int) -> Effect:
    """Say whether a request has the *priority* that it was to get."""
    has_it = state.priority == priority
    outcome = state.outcome("reprioritized" if has_it else "failed")
    msg = f"Request {state.request_id} has priority {state.priority}"
    return Effect(msg, (outcome,), errors=not has_it)


def _set_if_pending(connection: sa.Connection, request_id: int, priority: int) -> bool:
    query = _requests.update().where(current_state.still_or_again_pending([request_id]))
    with connection.begin():
        return bool(connection.execute(query.values(priority=priority)).rowcount == 1)
