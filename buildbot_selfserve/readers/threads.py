"""Readers in threads: for an in-memory database, and for operators who set ``readers=0``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet import threads
from twisted.python.failure import Failure

from buildbot_selfserve.deferreds import DaemonThreadPool
from buildbot_selfserve.deferreds import in_daemon_thread
from buildbot_selfserve.deferreds import independent
from buildbot_selfserve.errors import DatabaseAway
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.errors import too_late
from buildbot_selfserve.readers import GRACE
from buildbot_selfserve.readers import MOST_WAITING
from buildbot_selfserve.readers import Away
from buildbot_selfserve.readers import Lengthy
from buildbot_selfserve.readers import unheard
from buildbot_selfserve.readers.bodies import Body
from buildbot_selfserve.readers.bodies import Delivery
from buildbot_selfserve.readers.bodies import HeldBody
from buildbot_selfserve.readers.room import Room
from buildbot_selfserve.readers.slow_clients import make_room

#: Runs a callable in a thread of the lane for small (False) or large (True) answers.
Run = Callable[[Callable[[], Any], bool], "defer.Deferred[Any]"]


class ThreadReaders:
    """Reads in threads of this process.

    :param clock: the reactor
    :param run: runs a callable in one of the threads
    :param stop: ends the threads; the Deferred fires when they have ended, or take too long
    :param state: the first argument of every function, shared by the threads
    :param timeout: seconds after which an unanswered read fails
    :param away: called with each error that says that a database does not answer
    """

    def __init__(
        self,
        clock: Any,
        run: Run,
        stop: Callable[[], defer.Deferred[None]],
        state: Any,
        timeout: float,
        away: Away = unheard,
    ) -> None:
        self.clock = clock
        self._away = away
        self.timeout = timeout
        self._run = run
        self._stop = stop
        self._state = state
        self.sent = 0
        self._waiting = {False: 0, True: 0}
        self._room = Room()
        #: long answers on their way
        self._bodies: set[Body] = set()

    @property
    def unanswered(self) -> int:
        """Return the number of questions that wait for their answers."""
        return sum(self._waiting.values())

    @property
    def restarts(self) -> int:
        """Return 0: threads are not replaced."""
        return 0

    @classmethod
    def of_our_own(
        cls, clock: Any, state: Any, timeout: float, away: Away = unheard
    ) -> ThreadReaders:
        """Return readers with two threads of their own, one for each lane."""
        lanes = {large: DaemonThreadPool(1, 1, "selfserve-readers") for large in (False, True)}
        for pool in lanes.values():
            pool.start()

        def stop_lanes() -> None:
            for pool in lanes.values():
                pool.stop()  # which waits for the thread's current call

        def run(work: Callable[[], Any], large: bool) -> defer.Deferred[Any]:
            return threads.deferToThreadPool(clock, lanes[large], work)

        def stop() -> defer.Deferred[None]:
            return in_daemon_thread(clock, stop_lanes, GRACE)

        return cls(clock, run, stop, state, timeout, away)

    def ask(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        large: bool = False,
        waits: bool = False,
    ) -> defer.Deferred[Any]:
        """Call ``function(state, *arguments)`` in a thread; return its result (``Readers.ask``)."""
        if self._waiting[large] >= MOST_WAITING[large]:
            return defer.fail(Unavailable("Too many reads at once", retry_after=1))
        self._waiting[large] += 1
        self.sent += 1

        def answered(result: Any) -> Any:
            self._waiting[large] -= 1
            if isinstance(result, Failure) and isinstance(result.value, DatabaseAway):
                self._away(result.value)
            return result

        work = self._run(lambda: function(self._state, *arguments), large).addBoth(answered)
        asked = independent(work).addTimeout(self.timeout, self.clock, too_late)
        return asked.addCallback(self._delivered)

    def _delivered(self, answer: Any) -> Any:
        """Return *answer*; hold a long answer until its client has taken it.

        :raises Unavailable: there is no room, even after cutting off slow clients
        """
        if not isinstance(answer, Lengthy):
            return answer
        lacking = self._room.lacking(answer.text)
        if lacking:
            make_room(self._bodies, lacking)
        if self._room.lacking(answer.text):
            raise Unavailable(
                "Too many large responses are waiting for slow clients", retry_after=5
            )
        body = HeldBody(self._room, answer.text, self.clock, self._bodies.discard)
        self._bodies.add(body)
        return Delivery(answer.value, body)

    def set_timeout(self, seconds: float) -> None:
        """Give up what is asked from now on after so many *seconds*."""
        self.timeout = seconds

    def stop(self) -> defer.Deferred[None]:
        """End the threads, if they belong to these readers."""
        return self._stop()
