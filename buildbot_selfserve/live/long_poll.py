"""Holds answers back until the builds that they wait for have ended.

All who wait for the same thing share one hold. It looks at the database through a reader, which
says what has to end first; then it listens to events and looks again when the last of that has
ended. A look every now and then is for events that got lost.
"""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Set
from functools import partial

from twisted.internet import defer
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from buildbot_selfserve.deferreds import Batcher
from buildbot_selfserve.deferreds import SharedCall
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.model import NEW_REQUEST
from buildbot_selfserve.model import WaitCondition

#: Seconds between two looks without an event.
POLL = 30.0
#: The fewest seconds between two looks.
SHORTEST = 0.25
#: The same while any new request may end the wait: most do not.
SHORTEST_FOR_NEW = 2.0
#: The most looks at a time: readers have other questions, too.
MOST_LOOKS = 4

#: ``builds`` or ``buildrequests``, and an id.
What = tuple[str, int]


class _Hold:
    """The clients that wait for the same answer.

    :param look: asks a reader whether to answer
    """

    def __init__(self, key: Hashable, look: Callable[[], Awaitable[WaitCondition]]) -> None:
        self.key = key
        self.look = look
        self.waiters: set[defer.Deferred[SharedCall]] = set()
        #: what has to end first
        self.open: set[What] = set()
        #: what ended during the look
        self.heard: set[What] = set()
        self.known = False
        self.looked_at = float("-inf")
        self.next_look: IDelayedCall | None = None


class LongPoll:
    """The long polls of one master.

    :param clock: the reactor
    """

    log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        self._holds: dict[Hashable, _Hold] = {}
        self._looking: set[_Hold] = set()
        self._waiting_for: dict[What, set[_Hold]] = {}
        self._turns = defer.DeferredSemaphore(MOST_LOOKS)

    @property
    def waiting(self) -> int:
        """Return how many clients wait."""
        return sum(len(hold.waiters) for hold in self._holds.values())

    async def hold(
        self, key: Hashable, look: Callable[[], Awaitable[WaitCondition]], seconds: float
    ) -> SharedCall:
        """Return when the answer to *key* is due, or after *seconds*.

        :raises SelfServeError: what the first look raised
        """
        hold = self._holds.get(key)
        if hold is None:
            hold = self._holds[key] = _Hold(key, look)
            self._look_in(hold, 0)
        waiter: defer.Deferred[SharedCall] = defer.Deferred()
        hold.waiters.add(waiter)
        try:
            return await waiter.addTimeout(seconds, self.clock)
        except defer.TimeoutError:
            return SharedCall(self.clock)
        finally:
            hold.waiters.discard(waiter)
            if not hold.waiters:
                self._forget(hold)

    def ended(self, what: What) -> None:
        """Note that a build or a request has ended; or, with NEW_REQUEST, that there is one."""
        for hold in self._looking:
            hold.heard.add(what)
        for hold in self._waiting_for.pop(what, ()):
            hold.open.discard(what)
            if not hold.open:
                due = hold.looked_at + _shortest({what})
                self._look_in(hold, due - self.clock.seconds())

    def look_again(self) -> None:
        """Look at all again: after a reconfig, the answers may be others."""
        for hold in list(self._holds.values()):
            self._look_in(hold, SHORTEST)

    def stop(self) -> None:
        """Turn all clients away."""
        for hold in list(self._holds.values()):
            self._let_go(hold, Failure(Unavailable("Self-serve is shutting down")))

    # -- one hold

    def _look_in(self, hold: _Hold, seconds: float) -> None:
        """Plan the next look in *seconds*, in place of the planned one."""
        if hold in self._looking:
            return
        if hold.next_look is not None:
            hold.next_look.cancel()
        hold.next_look = self.clock.callLater(max(0, seconds), self._begin, hold)

    def _begin(self, hold: _Hold) -> None:
        hold.next_look = None
        hold.heard.clear()
        self._looking.add(hold)
        look = self._turns.run(lambda: defer.Deferred.fromCoroutine(self._look(hold)))
        look.addErrback(lambda failure: self.log.failure("selfserve: cannot look", failure))

    async def _look(self, hold: _Hold) -> None:
        """Ask a reader, and answer or plan the next look."""
        if self._is_over(hold):
            return
        hold.looked_at = self.clock.seconds()
        wait_condition: WaitCondition | Exception
        try:
            wait_condition = await hold.look()
        except Exception as error:
            wait_condition = error
        # before the result is used, which may plan the next look
        self._looking.discard(hold)
        if self._is_over(hold):
            return
        if isinstance(wait_condition, Exception):
            self._failed(hold, wait_condition)
            return
        hold.known = True
        if wait_condition.seconds == 0 and not wait_condition.open:
            self._let_go(hold, SharedCall(self.clock))
        else:
            self._expect(hold, wait_condition)

    def _failed(self, hold: _Hold, error: Exception) -> None:
        """Go on waiting if only the database has gone away since the last look."""
        if hold.known and isinstance(error, Unavailable):
            self._look_in(hold, error.retry_after)
        else:
            self._let_go(hold, Failure(error))

    def _expect(self, hold: _Hold, wait_condition: WaitCondition) -> None:
        self._stop_expecting(hold)
        hold.open = set(wait_condition.open) - hold.heard
        for what in hold.open:
            self._waiting_for.setdefault(what, set()).add(hold)
        if hold.open:
            self._look_in(hold, POLL)
        elif wait_condition.open:
            self._look_in(hold, _shortest(wait_condition.open))
        else:
            self._look_in(hold, min(wait_condition.seconds, POLL))

    def _stop_expecting(self, hold: _Hold) -> None:
        for what in hold.open:
            holds = self._waiting_for.get(what, set())
            holds.discard(hold)
            if not holds:
                self._waiting_for.pop(what, None)
        hold.open = set()

    def _let_go(self, hold: _Hold, result: SharedCall | Failure) -> None:
        self._forget(hold)
        Batcher(self.clock).each(list(hold.waiters), partial(_call, result))

    def _is_over(self, hold: _Hold) -> bool:
        return self._holds.get(hold.key) is not hold

    def _forget(self, hold: _Hold) -> None:
        if self._is_over(hold):
            return
        del self._holds[hold.key]
        self._looking.discard(hold)
        self._stop_expecting(hold)
        if hold.next_look is not None:
            hold.next_look.cancel()
            hold.next_look = None


def _shortest(what: Set[What]) -> float:
    """Return the fewest seconds between two looks after the event *what*."""
    return SHORTEST_FOR_NEW if NEW_REQUEST in what else SHORTEST


def _call(result: SharedCall | Failure, waiter: defer.Deferred[SharedCall]) -> None:
    if not waiter.called:
        waiter.callback(result)  # a Failure fails it
