"""Finds out what a job request that was cut short has really done.

Used when an act fails in the middle, and at start for the jobs that a killed master left open.
"""

from __future__ import annotations

from typing import Any

from buildbot_selfserve.control import cancel
from buildbot_selfserve.control import create
from buildbot_selfserve.control import look
from buildbot_selfserve.control import priorities
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import RequestOutcome

#: Seconds by which the clocks of a job's row and of its buildsets may differ.
CLOCK_SLACK = 60


async def settle(master: Any, job: Job) -> Effect:
    """Return what *job* has done, as the database says.

    Requests that it made are made known to their builders: it may have been cut short before.
    """
    return await _SETTLERS.get(job.action, _created)(master, job)


async def _created(master: Any, job: Job) -> Effect:
    states = await look.made_by(master, job.job_id, job.when - CLOCK_SLACK)
    for name in {state.buildername for state in states.values()} & set(master.botmaster.builders):
        master.botmaster.maybeStartBuildsForBuilder(name)
    return create.created(states, job.what.get("count", 1))


async def _cancelled_request(master: Any, job: Job) -> Effect:
    return await _cancelled(master, job.what["brid"])


async def _cancelled_build(master: Any, job: Job) -> Effect:
    return await _cancelled(master, await look.request_of_build(master, job.what["bid"]) or 0)


async def _cancelled(master: Any, request_id: int) -> Effect:
    state = await look.request_state(master, request_id)
    if state is None:
        return cancel.effect(cancel.gone(request_id))
    # it may have been cut short before the buildset heard of it; if not, this does nothing
    await master.data.updates.maybeBuildsetComplete(state.buildset_id)
    if not state.complete:
        outcome = RequestOutcome(request_id, state.buildername, "failed", state.build_ids)
        return cancel.effect(outcome)
    if state.results == CANCELLED and not state.builds:
        return cancel.effect(RequestOutcome(request_id, state.buildername, "cancelled"))
    return cancel.effect(cancel.ended(state, set(state.build_ids)))


async def _reprioritized(master: Any, job: Job) -> Effect:
    state = await look.request_state(master, job.what["brid"])
    if state is None:
        return cancel.effect(cancel.gone(job.what["brid"]))
    return priorities.effect(state, job.what["priority"])


_SETTLERS = {
    "cancel_build": _cancelled_build,
    "cancel_request": _cancelled_request,
    "reprioritize": _reprioritized,
}
