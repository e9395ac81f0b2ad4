"""Cancels pending requests and stops running builds, and waits until they have ended.

Only a build that listens is told to stop; ``cancel_pending`` cancels pending requests.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from twisted.internet import defer
from twisted.internet import task
from twisted.logger import Logger

from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.control import cancel_pending
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import effects
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import UNSETTLED
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Ending
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import result_name

#: Seconds between two reads of requests whose builds were told to stop: while a client waits, and
#: afterwards.
POLL_INTERVAL, LATER_INTERVAL = 0.1, 2.0
#: The factor of the interval after a read that failed.
AFTER_FAILURE = 10
#: A pause is at least so many times as long as the last read took, as the master may have but one
#: thread for its database.
REST = 10
_log = Logger()


async def end(
    master: Any, who: str, endings: Sequence[Ending], deadline: float
) -> list[RequestOutcome]:
    """Cancel pending requests, then stop running builds, and wait for their ends until *deadline*.

    Pending requests come first, because a stopped build frees a worker for a pending request.

    :param deadline: in monotonic seconds
    """
    names = {one.request_id: one.buildername for one in endings}
    pending = [one for one in endings if not one.running]
    ending = _Ending(master, who, names, pending=pending)
    await _until_ended(ending, POLL_INTERVAL, deadline)
    return ending.outcomes()


async def follow(master: Any, job: Job) -> Effect:
    """Continue a cancellation that was answered before its end; return its final effect.

    A request whose build was told to stop and then lost its worker is pending again, and is
    cancelled then.
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
        told={
            build_id
            for one in open_ones.values()
            if one.outcome == "stop_sent"
            for build_id in one.build_ids
        },
        begun=open_ones.keys(),
    )
    await _until_ended(ending, LATER_INTERVAL)
    ended = {outcome.request_id: outcome for outcome in ending.outcomes()}
    outcomes = [ended.get(one.request_id, one) for one in job.requests]
    return effects.ended(outcomes, job.cancelled_build)


async def _until_ended(ending: _Ending, interval: float, deadline: float = math.inf) -> None:
    """Wait until all requests have ended, or the deadline has passed.

    A failing database does not end the wait, as the outcome would be a guess.

    :param interval: seconds between two reads, if these are fast
    :param deadline: in monotonic seconds
    """
    clock, pause = monotonic(ending.master.reactor), interval
    while True:
        try:
            if await ending.go_on():
                return
            pause = max(interval, REST * ending.read_seconds)
        except defer.CancelledError:
            raise  # the master is stopping
        except Exception:
            _log.failure("selfserve: requests being cancelled cannot be read, trying again")
            pause = interval * AFTER_FAILURE
        left = deadline - clock.seconds()
        if left <= 0:
            return
        await task.deferLater(clock, min(pause, left))


class _Ending:
    """Build requests that are being ended.

    :param names: the builder name of each request, by request id
    :param told: builds that were told to stop already
    :param begun: requests that may have been cancelled already, but not announced
    :param pending: the endings of requests that were pending when planned
    :ivar read_seconds: how long the last read of the requests took
    """

    def __init__(
        self,
        master: Any,
        who: str,
        names: Mapping[int, str],
        told: Collection[int] = (),
        begun: Collection[int] = (),
        pending: Sequence[Ending] = (),
    ) -> None:
        self.master = master
        self.who = who
        self.names = names
        self._told = set(told)
        self._begun = set(begun)
        self._pending = pending
        self.read_seconds = 0.0
        #: buildsets that were completed, but not announced
        self._untold: set[int] = set()
        self._ended: dict[int, RequestOutcome] = {}
        self._open: dict[int, current_state.RequestState] = {}

    def outcomes(self) -> list[RequestOutcome]:
        """Return the current outcome of each request, in the order of *names*."""
        return [
            self._ended.get(request_id) or self._so_far(request_id) for request_id in self.names
        ]

    async def _cancel_planned(self) -> None:
        """Cancel the requests that were pending when planned, if they still are; do so once."""
        planned = {one.request_id: one for one in self._pending}
        self._pending = ()
        for done in await self._cancel(list(planned)):
            one = planned[done]
            self._ended[done] = RequestOutcome(
                one.request_id, one.buildername, "cancelled", one.build_ids
            )

    async def _cancel(self, request_ids: Sequence[int]) -> list[int]:
        found: list[int] = []
        for begin in range(0, len(request_ids), cancel_pending.BATCH):
            batch = request_ids[begin : begin + cancel_pending.BATCH]
            found += await cancel_pending.cancel(self.master, batch, self._begun, self._untold)
        return found

    async def go_on(self) -> bool:
        """Cancel pending requests, stop running builds; return whether all requests have ended."""
        if self._pending:
            await self._cancel_planned()
        wanted = [request_id for request_id in self.names if request_id not in self._ended]
        clock = monotonic(self.master.reactor)
        begun = clock.seconds()
        states = await current_state.request_states(self.master, wanted)
        self.read_seconds = clock.seconds() - begun
        self._open = {
            request_id: state for request_id, state in states.items() if not state.complete
        }
        await self._settle_begun(states)
        for request_id in wanted:
            if request_id not in states:
                self._ended[request_id] = gone(request_id, self.names[request_id])
            elif states[request_id].complete and request_id not in self._ended:
                self._ended[request_id] = ended(states[request_id], self._told)
        await self._cancel_pending()
        self._stop_running()
        return not self._open

    async def _settle_begun(self, states: Mapping[int, current_state.RequestState]) -> None:
        """Announce requests that were cancelled here although the call failed."""
        done = {
            request_id: state
            for request_id, state in states.items()
            if request_id in self._begun
            and state.results == CANCELLED
            and state.claimed_by == self.master.masterid
            and not state.stopped_ids
        }
        buildsets = {one.request_id: one.buildset_id for one in done.values()}
        await cancel_pending.announce(self.master, buildsets, self._untold)
        self._cancelled(done)

    async def _cancel_pending(self) -> None:
        waiting = [
            request_id
            for request_id, state in self._open.items()
            if not state.claimed or state.abandoned
        ]
        done = await self._cancel(waiting)
        self._cancelled({request_id: self._open.pop(request_id) for request_id in done})

    def _cancelled(self, states: Mapping[int, current_state.RequestState]) -> None:
        for request_id, state in states.items():
            self._ended[request_id] = state.outcome("cancelled")

    def _stop_running(self) -> None:
        reason = {"reason": f"Cancelled via self-serve by {self.who}"}
        for state in self._open.values():
            for build in state.builds:
                if build.listens and not build.complete and build.build_id not in self._told:
                    self._told.add(build.build_id)
                    topic = ("control", "builds", str(build.build_id), "stop")
                    self.master.mq.produce(topic, reason)

    def _so_far(self, request_id: int) -> RequestOutcome:
        state = self._open.get(request_id)
        if state is None:
            msg = "the database did not report its state"
            return RequestOutcome(request_id, self.names[request_id], "waiting", msg=msg)
        # builds before the newest one have ended
        told = self._told.intersection(state.build_ids[-1:])
        return state.outcome("stop_sent" if told else "waiting")


def gone(request_id: int, buildername: str = "") -> RequestOutcome:
    """Return the outcome of a request that no longer exists."""
    return RequestOutcome(request_id, buildername, "failed", (), "the request no longer exists")


def ended(state: current_state.RequestState, told: Collection[int]) -> RequestOutcome:
    """Return the outcome of a complete request.

    :param told: the builds that were told to stop
    """
    if state.results == CANCELLED and state.stopped_ids.intersection(told):
        return state.outcome("stopped")
    return state.outcome("already_complete", f"ended with {result_name(state.results)}")
