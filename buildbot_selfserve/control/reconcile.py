"""Finds out what an interrupted job request has really done, and executes the rest of its plan.

This is used when the execution of a plan fails, and at start for jobs that a killed master left
open. A plan that was begun is completed; a plan that was not is closed as such.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from twisted.logger import Logger

from buildbot_selfserve.control import cancel
from buildbot_selfserve.control import cancel_pending
from buildbot_selfserve.control import change_holds
from buildbot_selfserve.control import changes
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import effects
from buildbot_selfserve.control import mq_producer
from buildbot_selfserve.control.current_state import RequestState
from buildbot_selfserve.control.enforce_holds import Holds
from buildbot_selfserve.control.execute import execute
from buildbot_selfserve.control.planners.ask_scheduler import LATER
from buildbot_selfserve.control.rights import Rights
from buildbot_selfserve.control.rights import everything
from buildbot_selfserve.errors import MasterStops
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import UNSETTLED
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import NewBuildset
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import plan_from_json
from buildbot_selfserve.model import plural
from buildbot_selfserve.permissions import BACKFILL
from buildbot_selfserve.permissions import FILL_MISSING
from buildbot_selfserve.permissions import REBUILD_FAILED

_log = Logger()

#: The actions that check for existing builds first, so that sending them twice builds nothing
#: twice.
LOOKING_FIRST = frozenset({REBUILD_FAILED.action, FILL_MISSING.action, BACKFILL.action})


async def reconcile(
    master: Any, job: Job, check_running: Callable[[], None], holds: Holds | None = None
) -> Effect:
    """Execute the rest of *job*'s plan; return what the job has done according to the database.

    Builders are told of its requests, as it may have been cut short before.

    :param check_running: called between two steps; raises if the master is stopping
    :param holds: the holds of this master
    """
    made, states = await _made(master, job)
    await make_known(master, states)
    if job.plan is None:
        if not states:
            return Effect("Interrupted: nothing was done", errors=True)
        return _interrupted(effects.created(states))
    plan = plan_from_json(job.plan)
    order = Order(job.job_id, job.who, time.monotonic(), check_running, job.cancelled_build)
    if plan.buildsets:
        if job.action in LOOKING_FIRST:
            plan = await _without_requested(master, plan, made, states)
        await _announce(master, plan, made, states)
        return await _create_rest(master, job, order, plan, made)
    if plan.endings:
        return await _end_rest(master, order, plan)
    if plan.holding is not None and holds is not None:
        return await change_holds.change(master, holds, job.job_id, plan.holding)
    return await _reprioritize_rest(master, plan)


async def _made(master: Any, job: Job) -> tuple[dict[int, int], dict[int, RequestState]]:
    """Return the buildsets of *job* by their numbers in its plan, and their requests by id."""
    since = job.when - current_state.SET_BACK
    made: dict[int, int] = await master.db.pool.do(current_state.numbers_made, job.job_id, since)
    return made, await current_state.requests_of(master, made.values())


async def make_known(master: Any, states: Mapping[int, RequestState]) -> None:
    """Tell builders to look for the pending requests in *states*."""
    waiting = {
        state.buildername: state.request_id
        for state in states.values()
        if not state.claimed and not state.complete
    }
    for name in waiting.keys() & set(master.botmaster.builders):
        master.botmaster.maybeStartBuildsForBuilder(name)
    # builders of other masters look for work at "unclaimed"; "new" may have been sent already
    elsewhere = waiting.keys() - set(master.botmaster.builders)
    await mq_producer.requests(master, [waiting[name] for name in elsewhere], "unclaimed")


def _interrupted(effect: Effect) -> Effect:
    return replace(effect, msg=f"Interrupted: {effect.msg}", errors=True)


async def _announce(
    master: Any, plan: Plan, made: Mapping[int, int], states: Mapping[int, RequestState]
) -> None:
    """Announce the buildsets that have not ended, as the job may have been cut short before.

    A ``Dependent`` scheduler follows those that it was told of (buildbot/schedulers/dependent.py).
    To be told twice makes no difference to it, but of one that has ended it would build twice.
    """
    going_on = {one.buildset_id for one in states.values() if not one.complete}
    schedulers = {
        made[number]: one.scheduler
        for number, one in plan.each_buildset()
        if made.get(number) in going_on
    }
    await mq_producer.added(master, schedulers)


async def _create_rest(
    master: Any,
    job: Job,
    order: Order,
    plan: Plan,
    made: dict[int, int],
) -> Effect:
    if not made:
        return await _not_begun(master, plan)
    rights = Rights(master, everything)
    try:
        plan = await _admitted(rights, plan, made)
        return await execute(master, order, plan, rights, made)
    except (*LATER, MasterStops):
        raise
    except Exception:
        # another attempt would fail as well
        _log.failure("selfserve: the rest of job {job_id} cannot be created", job_id=job.job_id)
        _, states = await _made(master, job)
        return _interrupted(effects.created(states, plan.builds, plan.untouched))


async def _not_begun(master: Any, plan: Plan) -> Effect:
    """Return the effect of a *plan* without any buildset created.

    Changes are recorded before buildsets and stay; a second job request finds them.
    """
    number = sum([await changes.is_recorded(master, one) for one in plan.changes])
    done = f"{number} {plural(number, 'change')} recorded, no builds requested"
    return replace(
        effects.nothing(plan),
        msg=f"Interrupted: {done if number else 'nothing was done'}",
        errors=True,
    )


async def _stamp_ids(master: Any, buildset: NewBuildset) -> set[int]:
    """Return the ids of the sourcestamps of *buildset*."""
    find = master.db.sourcestamps.findSourceStampId
    return {
        stamp if isinstance(stamp, int) else await find(**stamp) for stamp in buildset.sourcestamps
    }


async def _without_requested(
    master: Any, plan: Plan, made: Mapping[int, int], own: Mapping[int, RequestState]
) -> Plan:
    """Return *plan* without what others have requested for its sourcestamps meanwhile.

    Buildsets that exist are left as they are.
    """
    stamps = [await _stamp_ids(master, one) for one in plan.buildsets]
    found = await current_state.open_requests(master, set().union(*stamps), ())
    taken_anywhere = {one.builder_id for one in found if one.request_id not in own}
    begun = {id(one) for number, one in plan.each_buildset() if number in made}
    left, told = [], [*plan.untouched]
    for one, its_stamps in zip(plan.buildsets, stamps, strict=True):
        taken = taken_anywhere
        if one.looks_back and taken:
            # a builder builds several revisions, which may share the sourcestamps of further
            # codebases
            taken = await _asked_for_all(master, its_stamps, own)
        spared = () if id(one) in begun else [b for b in one.builders if b.builder_id in taken]
        left.append(replace(one, builders=tuple(b for b in one.builders if b not in spared)))
        msg = "was requested meanwhile"
        told += (RequestOutcome(None, b.name, "left_out", (), msg) for b in spared)
    return replace(plan, buildsets=tuple(left), untouched=tuple(told))


async def _asked_for_all(
    master: Any, stamps: Collection[int], own: Mapping[int, RequestState]
) -> set[int]:
    """Return the builders that others have requested for all of these sourcestamps."""
    asked = []
    for stamp in stamps:
        found = await current_state.open_requests(master, {stamp}, ())
        asked.append({one.request_id: one.builder_id for one in found})
    ids = set.intersection(*(set(its) for its in asked)) - own.keys()
    return {asked[0][one] for one in ids}


async def _admitted(rights: Rights, plan: Plan, made: Mapping[int, int]) -> Plan:
    """Return *plan* without the builders that no master has any more.

    Buildsets that exist are left as they are.
    """
    begun = {id(one) for number, one in plan.each_buildset() if number in made}
    found = []
    for one in plan.buildsets:
        now = await rights.admitted(one) or replace(one, builders=())
        found.append(one if id(one) in begun and now.builders != one.builders else now)
    untouched = (*plan.untouched, *rights.untouched(found))
    return replace(plan, buildsets=tuple(found), untouched=untouched)


async def _end_rest(master: Any, order: Order, plan: Plan) -> Effect:
    """Cancel the rest of the plan's requests, if any of them was cancelled."""
    names = {one.request_id: one.buildername for one in plan.endings}
    states = await current_state.request_states(master, names)
    # the job may have been cut short before it announced them, and before completing buildsets
    done = {one.request_id: one.buildset_id for one in states.values() if _is_cancelled(one)}
    for batch in current_state.batches(done):
        await cancel_pending.announce(master, {one: done[one] for one in batch}, set())
    await cancel_pending.complete_buildsets(
        master, {state.buildset_id for state in states.values()}
    )
    left = [
        replace(one, running=states[one.request_id].claimed)
        for one in plan.endings
        if one.request_id in states and not states[one.request_id].complete
    ]
    going_on: dict[int | None, RequestOutcome] = {}
    if left and any(state.results == CANCELLED for state in states.values()):
        so_far = await cancel.end(master, order.who, left, order.deadline)
        # builds that stop later would still show as running
        going_on = {one.request_id: one for one in so_far if one.outcome in UNSETTLED}
        states = await current_state.request_states(master, names)
    outcomes = [
        going_on.get(request_id) or _ended_or_gone(states, request_id) for request_id in names
    ]
    return effects.ended([*outcomes, *plan.untouched], order.build_id)


def _ended_or_gone(states: Mapping[int, RequestState], request_id: int) -> RequestOutcome:
    return _ended(states[request_id]) if request_id in states else cancel.gone(request_id)


def _ended(state: RequestState) -> RequestOutcome:
    if not state.complete:
        return state.outcome("failed")
    if _is_cancelled(state):
        return state.outcome("cancelled")
    return cancel.ended(state, state.build_ids)


def _is_cancelled(state: RequestState) -> bool:
    """Return whether a request was cancelled while it was pending."""
    return state.results == CANCELLED and not state.stopped_ids


async def _reprioritize_rest(master: Any, plan: Plan) -> Effect:
    wanted = {one.request_id: one.priority for one in plan.priorities}
    states = await current_state.request_states(master, wanted)
    if not states:
        return effects.ended([cancel.gone(request_id) for request_id in wanted])
    return effects.reprioritized(states.values(), wanted)
