"""Plans changes of priority."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import set_priority
from buildbot_selfserve.control.current_state import RequestState
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.model import NewPriority
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import Selection


async def reprioritize(
    ctx: PlanContext, request: RequestRow, *, priority: int | Literal["next"]
) -> Plan:
    """Plan to give a pending *request* another priority.

    :raises Refused: it is no longer pending
    :raises BadParameter: it is to be the next, and another request has the highest priority
    """
    state = await current_state.request_state(ctx.master, request.request_id)
    if state is None or state.complete or (state.claimed and not state.abandoned):
        raise set_priority.not_pending(state)
    return Plan(priorities=await _moved(ctx, [state], priority))


async def reprioritize_revision(
    ctx: PlanContext,
    revision: Revision,
    selection: Selection,
    *,
    priority: int | Literal["next"],
) -> Plan:
    """Plan to give all pending requests at *revision* another priority.

    :param selection: only the requests of these builders
    :raises Forbidden: the user may reprioritize none of them
    :raises BadParameter: it is to be the next, and another request has the highest priority
    """
    found = await current_state.open_requests(
        ctx.master, revision.sourcestamps, revision.builds, revision.others
    )
    pending = [
        one
        for one in found
        if (not one.claimed or one.abandoned) and selection.takes(one.buildername)
    ]
    allowed, denied = await ctx.rights.parted(pending)
    if denied and not allowed:
        raise Forbidden("You may not change any priority at this revision")
    # a builder's newest request is moved first, so that its oldest is built first
    allowed.sort(key=lambda one: -one.request_id)
    return Plan(
        priorities=await _moved(ctx, allowed, priority),
        untouched=denied,
        nothing="Nothing is pending",
    )


async def _moved(
    ctx: PlanContext, states: Sequence[RequestState], priority: int | Literal["next"]
) -> tuple[NewPriority, ...]:
    if isinstance(priority, int):
        return tuple(NewPriority(one.request_id, one.buildername, priority) for one in states)
    found = await set_priority.next_for(ctx.master, states)
    return tuple(
        NewPriority(one.request_id, one.buildername, found[one.request_id], is_next=True)
        for one in states
    )
