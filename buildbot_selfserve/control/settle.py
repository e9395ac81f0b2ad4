"""Finds out what a job request that was cut short has really done.

Used when an act fails in the middle, and at start for the jobs that a killed master left open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from buildbot_selfserve.control import cancel
from buildbot_selfserve.control import create
from buildbot_selfserve.control import events
from buildbot_selfserve.control import look
from buildbot_selfserve.control import priorities
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import RequestOutcome


async def settle(master: Any, job: Job, branch: Branch) -> Effect:
    """Return what *job* has done, as the database says.

    Requests that it made are made known to their builders: it may have been cut short before.

    :param branch: the branch that it was about
    """
    return await _SETTLERS.get(job.action, _created)(master, job, branch)


async def _rebuilt(master: Any, job: Job, branch: Branch) -> Effect:
    return create.created(await _made(master, job), job.what.get("count", 1))


async def _created(master: Any, job: Job, branch: Branch) -> Effect:
    states = await _made(master, job)
    found = create.created(states)
    if job.action != "new_build_at_revision" and states:
        return found  # a single buildset is made whole or not at all
    return replace(found, msg=f"Cut short: {found.msg}", errors=True)


async def _made(master: Any, job: Job) -> dict[int, look.RequestState]:
    states = await look.made_by(master, job.job_id, job.when - look.CLOCK_SLACK)
    waiting = {
        state.buildername: state.request_id
        for state in states.values()
        if not state.claimed and not state.complete
    }
    for name in waiting.keys() & set(master.botmaster.builders):
        master.botmaster.maybeStartBuildsForBuilder(name)
    # builders of other masters look when they hear of one that is free; "new" may have been said
    elsewhere = waiting.keys() - set(master.botmaster.builders)
    await events.requests(master, [waiting[name] for name in elsewhere], "unclaimed")
    return states


async def _cancelled_request(master: Any, job: Job, branch: Branch) -> Effect:
    return await _cancelled(master, [job.what["brid"]])


async def _cancelled_build(master: Any, job: Job, branch: Branch) -> Effect:
    return await _cancelled(master, [await look.request_of_build(master, job.what["bid"]) or 0])


async def _cancelled_revision(master: Any, job: Job, branch: Branch) -> Effect:
    """Look at what is still open, and at what was cancelled since the job began."""
    since = job.when - look.CLOCK_SLACK
    return await _cancelled(
        master, await look.requests_at(master, branch, job.what["revision"], since)
    )


async def _cancelled(master: Any, request_ids: Sequence[int]) -> Effect:
    states = await look.request_states(master, request_ids)
    # it may have been cut short before the buildsets heard of it; if not, this does nothing
    await cancel.complete_buildsets(master, {state.buildset_id for state in states.values()})
    outcomes = []
    for request_id in request_ids:
        state = states.get(request_id)
        if state is None:
            outcomes.append(cancel.gone(request_id))
        elif not state.complete:
            outcomes.append(
                RequestOutcome(request_id, state.buildername, "failed", state.build_ids)
            )
        elif state.results == CANCELLED and not state.builds:
            outcomes.append(RequestOutcome(request_id, state.buildername, "cancelled"))
        else:
            outcomes.append(cancel.ended(state, state.build_ids))
    return cancel.effect(outcomes)


async def _reprioritized(master: Any, job: Job, branch: Branch) -> Effect:
    state = await look.request_state(master, job.what["brid"])
    if state is None:
        return cancel.effect([cancel.gone(job.what["brid"])])
    return priorities.effect(state, job.what["priority"])


_SETTLERS = {
    "cancel_build": _cancelled_build,
    "cancel_request": _cancelled_request,
    "cancel_revision": _cancelled_revision,
    "rebuild_build": _rebuilt,
    "rebuild_request": _rebuilt,
    "reprioritize": _reprioritized,
}
