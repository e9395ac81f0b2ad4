"""Plans changes of priority."""

from __future__ import annotations

from buildbot_selfserve.control import current_state
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.control.set_priority import not_pending
from buildbot_selfserve.model import NewPriority
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import RequestRow


async def reprioritize(ctx: PlanContext, request: RequestRow, *, priority: int) -> Plan:
    """Plan to give a pending *request* another priority.

    :raises Refused: it does not wait any more
    """
    state = await current_state.request_state(ctx.master, request.request_id)
    if state is None or state.complete or (state.claimed and not state.abandoned):
        raise not_pending(state)
    return Plan(priorities=(NewPriority(state.request_id, state.buildername, priority),))
