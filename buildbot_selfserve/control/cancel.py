"""Cancels what waits and stops what runs, and watches until it is true.

Buildbot's own ``data.control('cancel')`` may complete a request between its claim and its build;
the build then never ends and its worker stays busy for ever. Here requests that wait are completed
and claimed in one transaction, which no distributor can come between, and only a build that
listens is told to stop.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model
from buildbot.process.results import worst_status
from twisted.internet import task

from buildbot_selfserve.control import events
from buildbot_selfserve.control import look
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import SUCCESS
from buildbot_selfserve.model import UNSETTLED
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import result_name

#: Seconds between two looks at requests whose builds were told to stop: at first, and when nobody
#: waits for the answer any more.
POLL_INTERVAL, LATER_INTERVAL = 0.1, 2.0
#: So many requests are cancelled in one transaction, and announced together.
BATCH = 50
#: Buildbot's tables there have an engine that knows none, unless the operator says otherwise
#: (buildbot/db/enginestrategy.py). What fails in the middle then stays as it is.
_WITHOUT_TRANSACTIONS = ("mysql", "mariadb")

_requests, _claims = Model.buildrequests, Model.buildrequest_claims
_buildsets = Model.buildsets

_WORDS = {
    "cancelled": "cancelled",
    "stopped": "stopped",
    "stop_sent": "told to stop, but not stopped yet",
    "already_complete": "complete already",
    "waiting": "about to start, and not stopped yet",
    "denied": "denied",
    "failed": "not cancelled",
}


async def cancel_request(master: Any, order: Order, request: RequestRow) -> Effect:
    """Cancel *request* while it waits, or stop its build; wait for it until the deadline."""
    return effect(await _end(master, order, {request.request_id: request.buildername}))


async def cancel_build(master: Any, order: Order, build: BuildRow) -> Effect:
    """Stop *build* and cancel its request, so that it is not built again."""
    state = await look.request_state(master, build.request.request_id)
    runs = state is not None and any(
        one.build_id == build.build_id and not one.complete for one in state.builds
    )
    if state is not None and not runs:
        msg = f"build {build.build_id} has ended before"
        outcome = RequestOutcome(
            state.request_id, state.buildername, "already_complete", (build.build_id,), msg
        )
        return effect([outcome])
    return await cancel_request(master, order, build.request)


async def cancel_revision(master: Any, order: Order, revision: Revision) -> Effect:
    """Cancel everything that waits at *revision*, then stop everything that runs there.

    In that order, because what is stopped makes room for what waits.

    :raises Forbidden: the asker may cancel none of it
    """
    found = await look.open_requests(master, revision.sourcestamps, revision.builds)
    allowed = {one.request_id: one.buildername for one in found if await order.may(one)}
    if found and not allowed:
        raise Forbidden("You may cancel nothing at this revision")
    denied = [
        RequestOutcome(one.request_id, one.buildername, "denied", one.build_ids)
        for one in found
        if one.request_id not in allowed
    ]
    return effect([*await _end(master, order, allowed), *denied])


async def follow(master: Any, job: Job) -> Effect:
    """Go on with a cancelling that was answered before it had ended; return how it ended.

    What was told to stop and then lost its worker waits again, and is cancelled then.
    """
    open_ones = {
        one.request_id: one
        for one in job.requests
        if one.request_id is not None and one.outcome in UNSETTLED
    }
    ending = _Ending(
        master,
        job.who,
        {request_id: one.buildername for request_id, one in open_ones.items()},
        {build_id for one in open_ones.values() for build_id in one.build_ids},
    )
    while not await ending.go_on():
        await task.deferLater(master.reactor, LATER_INTERVAL)
    ended = {outcome.request_id: outcome for outcome in ending.outcomes()}
    return effect([ended.get(one.request_id, one) for one in job.requests])


def effect(outcomes: Sequence[RequestOutcome]) -> Effect:
    """Return what to say of requests that were to be cancelled."""
    errors = any(one.outcome in ("failed", "waiting") for one in outcomes)
    if len(outcomes) == 1:
        msg = f"Request {outcomes[0].request_id} is {_WORDS[outcomes[0].outcome]}"
    else:
        counts = Counter(one.outcome for one in outcomes)
        told = [f"{counts[name]} {words}" for name, words in _WORDS.items() if counts[name]]
        msg = f"{len(outcomes)} requests: {', '.join(told)}" if told else "Nothing was left to end"
    return Effect(msg, tuple(outcomes), errors=errors)


async def _end(master: Any, order: Order, names: Mapping[int, str]) -> list[RequestOutcome]:
    """End the requests in *names*, builder names by request id; give up at the deadline."""
    ending = _Ending(master, order.who, names)
    while not await ending.go_on() and master.reactor.seconds() < order.deadline:
        await task.deferLater(master.reactor, POLL_INTERVAL)
    return ending.outcomes()


class _Ending:
    """Build requests on their way to their end.

    :param names: the names of their builders, by request id
    :param told: builds that were told to stop before
    """

    def __init__(
        self, master: Any, who: str, names: Mapping[int, str], told: Collection[int] = ()
    ) -> None:
        self.master = master
        self.who = who
        self.names = names
        self._told = set(told)
        self._ended: dict[int, RequestOutcome] = {}
        self._open: dict[int, look.RequestState] = {}

    def outcomes(self) -> list[RequestOutcome]:
        """Return what became of each so far, in the order in which they were given."""
        return [
            self._ended.get(request_id) or self._outcome(self._open[request_id])
            for request_id in self.names
        ]

    async def go_on(self) -> bool:
        """Look at all that are open, cancel what waits, stop what runs; say whether all ended."""
        wanted = [request_id for request_id in self.names if request_id not in self._ended]
        states = await look.request_states(self.master, wanted)
        for request_id in wanted:
            if request_id not in states:
                self._ended[request_id] = gone(request_id, self.names[request_id])
            elif states[request_id].complete:
                self._ended[request_id] = ended(states[request_id], self._told)
        self._open = {
            request_id: state for request_id, state in states.items() if not state.complete
        }
        for request_id in await self._cancel_pending():
            state = self._open.pop(request_id)
            self._ended[request_id] = RequestOutcome(
                request_id, state.buildername, "cancelled", state.build_ids
            )
        self._stop_running()
        return not self._open

    async def _cancel_pending(self) -> list[int]:
        pending = [
            request_id
            for request_id, state in self._open.items()
            if not state.claimed or state.abandoned
        ]
        cancelled: list[int] = []
        for begin in range(0, len(pending), BATCH):
            cancelled += await _cancel(self.master, pending[begin : begin + BATCH])
        return cancelled

    def _stop_running(self) -> None:
        reason = {"reason": f"Cancelled via self-serve by {self.who}"}
        for state in self._open.values():
            for build in state.builds:
                if build.listens and not build.complete and build.build_id not in self._told:
                    self._told.add(build.build_id)
                    topic = ("control", "builds", str(build.build_id), "stop")
                    self.master.mq.produce(topic, reason)

    def _outcome(self, state: look.RequestState) -> RequestOutcome:
        told = self._told & set(state.build_ids)
        word = "stop_sent" if told else "waiting"
        return RequestOutcome(state.request_id, state.buildername, word, state.build_ids)


def gone(request_id: int, buildername: str = "") -> RequestOutcome:
    """Say that a request does not exist any more."""
    return RequestOutcome(request_id, buildername, "failed", (), "the request is gone")


def ended(state: look.RequestState, told: Collection[int]) -> RequestOutcome:
    """Say how a complete request ended, if some of its builds were *told* to stop."""
    if state.results == CANCELLED and set(told) & set(state.build_ids):
        outcome, msg = "stopped", ""
    else:
        outcome, msg = "already_complete", f"ended with {result_name(state.results)}"
    return RequestOutcome(state.request_id, state.buildername, outcome, state.build_ids, msg)


# -- cancelling what waits


async def _cancel(master: Any, request_ids: Sequence[int]) -> list[int]:
    """Cancel those requests that nobody has claimed, and announce it; return which.

    The events are those of ``completeBuildRequests`` and of the master's own cancelling, in their
    order (buildbot/data/buildrequests.py, buildbot/process/botmaster.py).
    """
    now = int(time.time())
    done: dict[int, int] = await master.db.pool.do(
        _complete_unclaimed, request_ids, master.masterid, now
    )
    if not done:
        return []
    await events.requests(master, list(done), "complete")
    await complete_buildsets(master, set(done.values()))
    await events.cancelled(master, list(done))
    return list(done)


def _complete_unclaimed(
    connection: sa.Connection, request_ids: Sequence[int], master_id: int, now: int
) -> dict[int, int]:
    """Claim and complete, in one transaction, the requests that are pending.

    What a master has claimed that is gone is pending, too, though nobody else sees it.

    :returns: the buildsets of those that were, by request id
    """
    if len(request_ids) > 1 and connection.dialect.name in _WITHOUT_TRANSACTIONS:
        return _one_by_one(connection, request_ids, master_id, now)
    pending = (
        sa.select(_requests.c.id, _requests.c.buildsetid)
        .where(look.still_pending(request_ids))
        .order_by(_requests.c.id)
        .with_for_update()  # SQLite knows no such thing, and has one writer anyway
    )
    try:
        with connection.begin():
            connection.execute(_claims.delete().where(look.claimed_by_nobody(request_ids)))
            found = {row.id: row.buildsetid for row in connection.execute(pending)}
            if found:
                claims = [
                    {"brid": request_id, "masterid": master_id, "claimed_at": now}
                    for request_id in found
                ]
                # this first: it fails if a distributor was faster
                connection.execute(_claims.insert(), claims)
                values = {"complete": 1, "results": CANCELLED, "complete_at": now}
                ours = _requests.c.id.in_(list(found))
                connection.execute(_requests.update().where(ours).values(values))
            return found
    except sa.exc.IntegrityError:
        # a distributor claimed one of them between the statements: do the others alone
        if len(request_ids) == 1:
            return {}
    return _one_by_one(connection, request_ids, master_id, now)


def _one_by_one(
    connection: sa.Connection, request_ids: Sequence[int], master_id: int, now: int
) -> dict[int, int]:
    done: dict[int, int] = {}
    for request_id in request_ids:
        done |= _complete_unclaimed(connection, [request_id], master_id, now)
    return done


async def complete_buildsets(master: Any, buildset_ids: Iterable[int]) -> None:
    """Complete those buildsets of which every request is complete, and announce them.

    What ``data.updates.maybeBuildsetComplete`` does for each, in a few queries for all
    (buildbot/data/buildsets.py).
    """
    wanted, now = sorted(buildset_ids), int(time.time())
    done = await master.db.pool.do(_complete_buildsets, wanted, now) if wanted else []
    await events.buildsets(master, done, "complete")


def _complete_buildsets(
    connection: sa.Connection, buildset_ids: Sequence[int], now: int
) -> list[int]:
    query = sa.select(_requests.c.buildsetid, _requests.c.complete, _requests.c.results)
    results = dict.fromkeys(buildset_ids, SUCCESS)
    for row in connection.execute(query.where(_requests.c.buildsetid.in_(buildset_ids))):
        if not row.complete:
            results.pop(row.buildsetid, None)
        elif row.buildsetid in results:
            results[row.buildsetid] = worst_status(results[row.buildsetid], row.results)
    connection.commit()  # what was read begun a transaction
    done = []
    with connection.begin():
        for buildset_id, result in results.items():
            # somebody else may have been faster
            open_one = sa.and_(_buildsets.c.id == buildset_id, _buildsets.c.complete == 0)
            values = {"complete": 1, "results": result, "complete_at": now}
            query_one = _buildsets.update().where(open_one).values(values)
            if connection.execute(query_one).rowcount == 1:
                done.append(buildset_id)
    return done
