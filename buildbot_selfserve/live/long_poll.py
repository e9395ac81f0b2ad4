"""Holds responses back until the builds that they wait for have ended.

Clients that wait for the same thing share one hold. The hold reads in a reader which builds and
requests must end first, waits for the messages of their ends, and reads again. It also reads from
time to time, as messages can get lost.
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

#: Seconds between two reads without a message.
POLL = 30.0
#: The smallest number of seconds between two reads.
SHORTEST = 0.25
#: The same if any new request may end the wait, which most do not.
SHORTEST_FOR_NEW = 2.0
#: The largest number of simultaneous reads: readers have other work too.
MOST_LOOKS = 4

#: ``builds`` or ``buildrequests``, and an id.
What = tuple[str, int]


class _Hold:
    """The clients that wait for the same response.

    :param look: reads the wait condition in a reader
    """

    def __init__(self, key: Hashable, look: Callable[[], Awaitable[WaitCondition]]) -> None:
        self.key = key
        self.look = look
        self.waiters: set[defer.Deferred[SharedCall]] = set()
        #: the builds and requests that must end first
        self.open: set[What] = set()
        #: the builds and requests that ended during the read
        self.heard: set[What] = set()
        self.known = False
        #: whether the configuration has changed during the read
        self.is_outdated = False
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
        """Return the number of waiting clients."""
        return sum(len(hold.waiters) for hold in self._holds.values())

    async def hold(
        self, key: Hashable, look: Callable[[], Awaitable[WaitCondition]], seconds: float
    ) -> SharedCall:
        """Wait until the response to *key* is due, or for at most *seconds*.

        :raises SelfServeError: raised by the first call of *look*
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
        """Note that a build or request has ended, or with NEW_REQUEST that a request was made."""
        for hold in self._looking:
            hold.heard.add(what)
        for hold in self._waiting_for.pop(what, ()):
            hold.open.discard(what)
            if not hold.open:
                due = hold.looked_at + _shortest({what})
                self._look_in(hold, due - self.clock.seconds())

    def look_again(self) -> None:
        """Read for all holds again, as a reconfig may change the responses."""
        for hold in list(self._holds.values()):
            hold.is_outdated = hold in self._looking
            self._look_in(hold, SHORTEST)

    def stop(self) -> None:
        """Turn all clients away."""
        for hold in list(self._holds.values()):
            self._let_go(hold, Failure(Unavailable("Self-serve is shutting down")))

    # -- one hold

    def _look_in(self, hold: _Hold, seconds: float) -> None:
        """Schedule the next read in *seconds*, replacing the scheduled one."""
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
        look.addErrback(lambda failure: self.log.failure("selfserve: a long poll failed", failure))

    async def _look(self, hold: _Hold) -> None:
        """Read the wait condition; let the clients go, or schedule the next read."""
        if self._is_over(hold):
            return
        hold.looked_at = self.clock.seconds()
        hold.is_outdated = False
        wait_condition: WaitCondition | Exception
        try:
            wait_condition = await hold.look()
        except Exception as error:
            wait_condition = error
        # before using the result, which may schedule the next read
        self._looking.discard(hold)
        if self._is_over(hold):
            return
        if hold.is_outdated:
            self._look_in(hold, SHORTEST)
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
        """Keep waiting if only the database has become unavailable since the first read."""
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
    """Return the smallest number of seconds between two reads while waiting for *what*."""
    return SHORTEST_FOR_NEW if NEW_REQUEST in what else SHORTEST


def _call(result: SharedCall | Failure, waiter: defer.Deferred[SharedCall]) -> None:
    if not waiter.called:
        waiter.callback(result)  # a Failure calls the errback
