"""Plans cancellations: of a request, of a build, and of everything at a revision."""

from __future__ import annotations

from collections.abc import Iterable

from buildbot_selfserve.control import current_state
from buildbot_selfserve.control.current_state import RequestState
from buildbot_selfserve.control.effects import build_ended
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Ending
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import Selection
from buildbot_selfserve.model import result_name


async def cancel_request(ctx: PlanContext, request: RequestRow) -> Plan:
    """Plan to cancel a pending *request*, or to stop its running build."""
    state = await current_state.request_state(ctx.master, request.request_id)
    if state is None:
        # the executor reports that it is gone
        return Plan(endings=(Ending(request.request_id, request.buildername, running=False),))
    if state.complete:
        msg = f"ended with {result_name(state.results)}"
        return Plan(
            untouched=(state.outcome("already_complete", msg),),
            nothing=f"Request {request.request_id} is already complete",
        )
    return Plan(endings=endings_of([state]))


async def cancel_build(ctx: PlanContext, build: BuildRow) -> Plan:
    """Plan to stop *build* and cancel its request, so that it is not retried."""
    state = await current_state.request_state(ctx.master, build.request.request_id)
    runs = state is not None and any(
        one.build_id == build.build_id and not one.complete for one in state.builds
    )
    if state is not None and not runs:
        msg = f"build {build.build_id} had already ended"
        outcome = RequestOutcome(
            state.request_id, state.buildername, "already_complete", (build.build_id,), msg
        )
        return Plan(untouched=(outcome,), nothing=build_ended(build.build_id))
    return await cancel_request(ctx, build.request)


async def cancel_revision(ctx: PlanContext, revision: Revision, selection: Selection) -> Plan:
    """Plan to cancel all pending requests at *revision*, and to stop all running builds.

    :param selection: only the requests of these builders
    :raises Forbidden: the user may cancel none of them
    """
    every = await current_state.open_requests(
        ctx.master, revision.sourcestamps, revision.builds, revision.others
    )
    found = [one for one in every if selection.takes(one.buildername)]
    allowed, denied = await ctx.rights.parted(found)
    if denied and not allowed:
        raise Forbidden("You may not cancel anything at this revision")
    return Plan(
        endings=endings_of(allowed),
        untouched=denied,
        nothing="Nothing was left to cancel",
    )


def endings_of(states: Iterable[RequestState]) -> tuple[Ending, ...]:
    """Return the endings that cancel pending requests and stop running ones."""
    return tuple(
        Ending(
            one.request_id,
            one.buildername,
            running=one.claimed and not one.abandoned,
            build_ids=one.build_ids,
        )
        for one in states
    )
