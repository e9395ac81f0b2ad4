"""Plans changes of priority."""

from __future__ import annotations

from typing import Literal

from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import set_priority
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.model import NewPriority
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import RequestRow


async def reprioritize(
    ctx: PlanContext, request: RequestRow, *, priority: int | Literal["next"]
) -> Plan:
    """Plan to give a pending *request* another priority.

    :raises Refused: it does not wait any more
    :raises BadParameter: it is to be the next, and another has the highest priority that there is
    """
    state = await current_state.request_state(ctx.master, request.request_id)
    if state is None or state.complete or (state.claimed and not state.abandoned):
        raise set_priority.not_pending(state)
    its = (state.request_id, state.buildername)
    if isinstance(priority, int):
        return Plan(priorities=(NewPriority(*its, priority),))
    number = await set_priority.next_for(ctx.master, state)
    return Plan(priorities=(NewPriority(*its, number, is_next=True),))
