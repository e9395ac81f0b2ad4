"""Finds out what an interrupted job request has really done.

Used when an act fails in the middle, and at start for the jobs that a killed master left open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from buildbot_selfserve.control import cancel
from buildbot_selfserve.control import cancel_pending
from buildbot_selfserve.control import create_buildsets
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import mq_producer
from buildbot_selfserve.control import set_priority
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.permissions import CANCEL_BUILD
from buildbot_selfserve.permissions import CANCEL_REQUEST
from buildbot_selfserve.permissions import CANCEL_REVISION
from buildbot_selfserve.permissions import NEW_BUILD_AT_REVISION
from buildbot_selfserve.permissions import REBUILD_BUILD
from buildbot_selfserve.permissions import REBUILD_REQUEST
from buildbot_selfserve.permissions import REPRIORITIZE


async def reconcile(master: Any, job: Job) -> Effect:
    """Return what *job* has done, as the database says.

    Requests that it made are made known to their builders: it may have been cut short before.
    """
    return await _BY_ACTION.get(job.action, _created)(master, job)


async def _rebuilt(master: Any, job: Job) -> Effect:
    return create_buildsets.created(await _made(master, job), job.what.get("count", 1))


async def _created(master: Any, job: Job) -> Effect:
    states = await _made(master, job)
    found = create_buildsets.created(states)
    if job.action != NEW_BUILD_AT_REVISION.action and states:
        return found  # a single buildset is made whole or not at all
    return replace(found, msg=f"Interrupted: {found.msg}", errors=True)


async def _made(master: Any, job: Job) -> dict[int, current_state.RequestState]:
    states = await current_state.made_by(master, job.job_id, job.when - current_state.SET_BACK)
    waiting = {
        state.buildername: state.request_id
        for state in states.values()
        if not state.claimed and not state.complete
    }
    for name in waiting.keys() & set(master.botmaster.builders):
        master.botmaster.maybeStartBuildsForBuilder(name)
    # builders of other masters look when they hear of one that is free; "new" may have been said
    elsewhere = waiting.keys() - set(master.botmaster.builders)
    await mq_producer.requests(master, [waiting[name] for name in elsewhere], "unclaimed")
    return states


async def _cancelled_request(master: Any, job: Job) -> Effect:
    return await _cancelled(master, job.what["brid"])


async def _cancelled_build(master: Any, job: Job) -> Effect:
    return await _cancelled(
        master, await current_state.request_of_build(master, job.what["bid"]) or 0
    )


async def _cancelled_revision(master: Any, job: Job) -> Effect:
    """Look at the requests that were meant; nothing is done before they are noted."""
    if not job.requests:
        return Effect("Interrupted: nothing was cancelled", errors=True)
    meant = [one.request_id or 0 for one in job.requests if one.outcome != "denied"]
    denied = [one for one in job.requests if one.outcome == "denied"]
    return cancel.effect([*await _ended(master, meant), *denied])


async def _cancelled(master: Any, request_id: int) -> Effect:
    return cancel.effect(await _ended(master, [request_id]))


async def _ended(master: Any, request_ids: Sequence[int]) -> list[RequestOutcome]:
    states = await current_state.request_states(master, request_ids)
    # it may have been cut short before the buildsets heard of it; if not, this does nothing
    await cancel_pending.complete_buildsets(
        master, {state.buildset_id for state in states.values()}
    )
    return [
        _outcome(states[request_id]) if request_id in states else cancel.gone(request_id)
        for request_id in request_ids
    ]


def _outcome(state: current_state.RequestState) -> RequestOutcome:
    if not state.complete:
        return state.outcome("failed")
    if state.results == CANCELLED and not state.stopped_ids:
        return state.outcome("cancelled")
    return cancel.ended(state, state.build_ids)


async def _reprioritized(master: Any, job: Job) -> Effect:
    state = await current_state.request_state(master, job.what["brid"])
    if state is None:
        return cancel.effect([cancel.gone(job.what["brid"])])
    return set_priority.effect(state, job.what["priority"])


_BY_ACTION = {
    CANCEL_BUILD.action: _cancelled_build,
    CANCEL_REQUEST.action: _cancelled_request,
    CANCEL_REVISION.action: _cancelled_revision,
    REBUILD_BUILD.action: _rebuilt,
    REBUILD_REQUEST.action: _rebuilt,
    REPRIORITIZE.action: _reprioritized,
}
