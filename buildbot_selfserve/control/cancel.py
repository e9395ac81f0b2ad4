"""Cancels what waits and stops what runs, and watches until it is true.

Buildbot's own ``data.control('cancel')`` may complete a request between its claim and its build;
the build then never ends and its worker stays busy for ever. Here a request that waits is
completed and claimed in one transaction, which no distributor can come between, and only a build
that listens is told to stop.
"""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model
from twisted.internet import task

from buildbot_selfserve.control import look
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import result_name

#: Seconds between two looks at a request whose build was told to stop.
POLL_INTERVAL = 0.1

_requests, _claims = Model.buildrequests, Model.buildrequest_claims


async def cancel_request(master: Any, order: Order, request: RequestRow) -> Effect:
    """Cancel *request* while it waits, or stop its build; wait for it until the deadline."""
    outcome = await _end(master, order, request.request_id, request.buildername)
    return effect(outcome)


async def cancel_build(master: Any, order: Order, build: BuildRow) -> Effect:
    """Stop *build* and cancel its request, so that it is not built again."""
    state = await look.request_state(master, build.request.request_id)
    runs = state is not None and any(
        one.build_id == build.build_id and not one.complete for one in state.builds
    )
    if state is not None and not runs:
        msg = f"build {build.build_id} has ended before"
        return effect(
            RequestOutcome(
                state.request_id, state.buildername, "already_complete", (build.build_id,), msg
            )
        )
    return await cancel_request(master, order, build.request)


def effect(outcome: RequestOutcome) -> Effect:
    """Return what to say of a request that was to be cancelled."""
    words = {
        "cancelled": "cancelled",
        "stopped": "stopped",
        "stop_sent": "told to stop, but it has not stopped yet",
        "already_complete": "complete already",
        "waiting": "about to start, and could not be stopped yet",
        "failed": "not cancelled",
    }
    msg = f"Request {outcome.request_id} is {words[outcome.outcome]}"
    return Effect(msg, (outcome,), errors=outcome.outcome in ("failed", "waiting"))


async def _end(master: Any, order: Order, request_id: int, buildername: str) -> RequestOutcome:
    told: set[int] = set()
    while True:
        state = await look.request_state(master, request_id)
        if state is None:
            return gone(request_id, buildername)
        if state.complete:
            return ended(state, told)
        if not state.claimed and await _cancel_pending(master, request_id):
            return RequestOutcome(request_id, buildername, "cancelled", state.build_ids)
        for build in state.builds:
            if build.listens and not build.complete and build.build_id not in told:
                told.add(build.build_id)
                reason = f"Cancelled via self-serve by {order.who}"
                master.mq.produce(
                    ("control", "builds", str(build.build_id), "stop"), {"reason": reason}
                )
        if master.reactor.seconds() > order.deadline:
            outcome = "stop_sent" if told else "waiting"
            return RequestOutcome(request_id, buildername, outcome, state.build_ids)
        await task.deferLater(master.reactor, POLL_INTERVAL)


def gone(request_id: int, buildername: str = "") -> RequestOutcome:
    """Say that a request does not exist any more."""
    return RequestOutcome(request_id, buildername, "failed", (), "the request is gone")


def ended(state: look.RequestState, told: set[int]) -> RequestOutcome:
    """Say how a complete request ended, whose builds *told* were told to stop."""
    if state.results == CANCELLED and told:
        outcome, msg = "stopped", ""
    else:
        outcome, msg = "already_complete", f"ended with {result_name(state.results)}"
    return RequestOutcome(state.request_id, state.buildername, outcome, state.build_ids, msg)


async def _cancel_pending(master: Any, request_id: int) -> bool:
    """Cancel a request that nobody has claimed, and announce it; return whether it was so.

    The events are those of ``completeBuildRequests`` and of the master's own cancelling, in their
    order (buildbot/data/buildrequests.py, buildbot/process/botmaster.py).
    """
    master_id, now = master.masterid, int(time.time())
    if not await master.db.pool.do(_complete_unclaimed, request_id, master_id, now):
        return False
    await master.data.rtypes.buildrequest.generateEvent([request_id], "complete")
    request = await master.db.buildrequests.getBuildRequest(request_id)
    await master.data.updates.maybeBuildsetComplete(request.buildsetid)
    master.mq.produce(("buildrequests", str(request_id), "cancel"), request)
    return True


def _complete_unclaimed(
    connection: sa.Connection, request_id: int, master_id: int, now: int
) -> bool:
    """Complete and claim a request in one transaction; do nothing if it is not pending."""
    complete = _requests.update().where(look.still_pending(request_id))
    with connection.begin() as transaction:
        values = {"complete": 1, "results": CANCELLED, "complete_at": now}
        if connection.execute(complete.values(values)).rowcount != 1:
            transaction.rollback()
            return False
        try:
            connection.execute(
                _claims.insert(),
                {"brid": request_id, "masterid": master_id, "claimed_at": now},
            )
        except sa.exc.IntegrityError:
            # a distributor claimed it between the two statements
            transaction.rollback()
            return False
    return True
