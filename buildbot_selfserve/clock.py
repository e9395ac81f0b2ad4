"""Timers that do not depend on the wall clock.

Twisted's reactor counts its delayed calls by ``time.time()``: set the clock of the machine back by
ten minutes, and whatever it had planned comes ten minutes late; set it forward, and all of it
comes at once. Deadlines, holds and retries go by the clock here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from twisted.internet import error
from twisted.internet import task
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.interfaces import IReactorTime
from zope.interface import implementer

#: Seconds of work after which the reactor gets a turn.
LONGEST_TURN = 0.003
#: Seconds between two looks at the wall clock; a call is late by so much at most when it is set.
LOOK_INTERVAL = 1.0
#: Seconds by which the two clocks may drift apart before calls are planned anew; a call is late by
#: so much more at most.
TOLERANCE = 0.2
#: Seconds by which a call may be early, as clocks have a grain.
EARLY = 0.001


@lru_cache(maxsize=4)
def monotonic(reactor: Any) -> Clock:
    """Return the clock of *reactor*, always the same one."""
    return Clock(reactor)


async def next_turn(reactor: Any) -> None:
    """Return when all else that waits for *reactor* had its turn."""
    await task.deferLater(monotonic(reactor), 0)


class Pause:
    """Gives the reactor turns during long work."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._begun = time.perf_counter()

    async def if_due(self) -> None:
        """Give the reactor a turn if its last one is longer ago than ``LONGEST_TURN``."""
        if time.perf_counter() - self._begun > LONGEST_TURN:
            await next_turn(self._reactor)
            self._begun = time.perf_counter()


@implementer(IReactorTime)
class Clock:
    """A reactor whose time only grows, at the pace of real time; it is all else that *reactor* is.

    Its delayed calls are those of the reactor. A thread looks whether the wall clock was set, and
    then has them planned anew; it runs only while something is planned.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._calls: set[_Call] = set()
        self._lock = threading.Lock()
        self._is_watched = False
        #: how far the clocks were apart when calls were planned
        self._planned_by = self._apart()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def seconds(self) -> float:
        """Return seconds that only grow; they mean nothing outside this process."""
        return time.monotonic()

    def callLater(
        self, delay: float, callable: Callable[..., Any], *args: object, **kw: object
    ) -> IDelayedCall:
        """Call *callable* after *delay* seconds."""
        self._follow_wall_clock()
        call = _Call(self, self.seconds() + delay, lambda: callable(*args, **kw))
        self._watch()
        return call

    def getDelayedCalls(self) -> tuple[IDelayedCall, ...]:
        """Return what is planned."""
        return tuple(self._calls)

    def plan(self, call: _Call) -> IDelayedCall:
        """Have the reactor run *call* when it is due, by the wall clock of now."""
        self._calls.add(call)
        delay = max(0.0, call.getTime() - self.seconds())
        planned: IDelayedCall = self._reactor.callLater(delay, call.run)
        return planned

    def forget(self, call: _Call) -> None:
        """Take *call* from what is planned."""
        self._calls.discard(call)

    def _watch(self) -> None:
        with self._lock:
            if not self._is_watched:
                self._is_watched = True
                threading.Thread(target=self._look, name="selfserve-clock", daemon=True).start()

    def _look(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(LOOK_INTERVAL)
            if self._was_set():
                self._reactor.callFromThread(self._follow_wall_clock)
            with self._lock:
                if not self._calls:
                    self._is_watched = False
                    return

    def _apart(self) -> float:
        """Return how far the reactor's clock and ours are apart, in seconds."""
        return float(self._reactor.seconds()) - self.seconds()

    def _was_set(self) -> bool:
        """Return whether the wall clock is another than the one that calls are planned by."""
        return abs(self._apart() - self._planned_by) > TOLERANCE

    def _follow_wall_clock(self) -> None:
        if self._was_set():
            self._planned_by = self._apart()
            for call in list(self._calls):
                call.plan_anew()


@implementer(IDelayedCall)
class _Call:
    """A delayed call that runs when it is due by the monotonic clock, at most ``EARLY`` before.

    :param due: in seconds of *clock*
    """

    def __init__(self, clock: Clock, due: float, work: Callable[[], object]) -> None:
        self._clock = clock
        self._due = due
        self._work = work
        self._state = "planned"
        self._planned = clock.plan(self)

    def getTime(self) -> float:
        return self._due

    def active(self) -> bool:
        return self._state == "planned"

    def cancel(self) -> None:
        self._must_be_active()
        self._end("cancelled")
        self._planned.cancel()

    def reset(self, secondsFromNow: float) -> None:
        self._must_be_active()
        self._due = self._clock.seconds() + secondsFromNow
        self._planned.reset(secondsFromNow)

    def delay(self, secondsLater: float) -> None:
        self._must_be_active()
        self.reset(self._due + secondsLater - self._clock.seconds())

    def plan_anew(self) -> None:
        """Plan it by the wall clock as it was set."""
        if self.active():
            self._planned.reset(max(0.0, self._due - self._clock.seconds()))

    def run(self) -> None:
        """Do it, unless the wall clock was set forward and it is too early."""
        if self._due - self._clock.seconds() > EARLY:
            self._planned = self._clock.plan(self)
            return
        self._end("called")
        self._work()

    def _end(self, state: str) -> None:
        self._state = state
        self._clock.forget(self)

    def _must_be_active(self) -> None:
        if self._state == "called":
            raise error.AlreadyCalled
        if self._state == "cancelled":
            raise error.AlreadyCancelled
