"""Where reads run: outside the reactor.

A reader gets a function and its arguments, and calls the function with a state of its own (its
engine, its templates) before them. What the function is about is not its business. Functions,
arguments and results are plain, picklable values, so that it does not matter whether a reader is
a thread or a process.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import Protocol

from twisted.internet import defer
from twisted.internet import threads
from twisted.python.threadpool import ThreadPool

from buildbot_selfserve.errors import Unavailable

#: Reads that wait for a thread; more are refused at once.
MOST_WAITING = 200
#: Threads of a master that has ``readers=0``, and for each reader until there are processes.
THREADS = 2


class Readers(Protocol):
    """Answers questions outside the reactor."""

    def ask(self, function: Callable[..., Any], *arguments: Any) -> defer.Deferred[Any]:
        """Return what ``function(state, *arguments)`` returns.

        :raises Unavailable: it did not answer in time, or too many questions wait
        """
        ...

    def stop(self) -> None:
        """End all that this started."""
        ...


Run = Callable[[Callable[[], Any]], "defer.Deferred[Any]"]


class ThreadReaders:
    """Reads in threads.

    :param clock: the reactor
    :param run: runs a callable in one of the threads
    :param stop: ends the threads
    :param state: first argument of every function that is asked; shared by the threads
    :param timeout: seconds after which a read that has not answered is given up
    """

    def __init__(
        self, clock: Any, run: Run, stop: Callable[[], object], state: Any, timeout: float
    ) -> None:
        self.clock = clock
        self.timeout = timeout
        self._run = run
        self._stop = stop
        self._state = state
        self._waiting = 0

    @classmethod
    def of_our_own(cls, clock: Any, count: int, state: Any, timeout: float) -> ThreadReaders:
        """Return readers in *count* threads that are used for nothing else."""
        pool = ThreadPool(1, count, "selfserve-readers")
        pool.start()
        # a reactor that stops without the master having been stopped must not wait for them
        trigger = clock.addSystemEventTrigger("during", "shutdown", pool.stop)

        def run(work: Callable[[], Any]) -> defer.Deferred[Any]:
            return threads.deferToThreadPool(clock, pool, work)

        def stop() -> None:
            clock.removeSystemEventTrigger(trigger)
            pool.stop()

        return cls(clock, run, stop, state, timeout)

    def ask(self, function: Callable[..., Any], *arguments: Any) -> defer.Deferred[Any]:
        """Return what ``function(state, *arguments)`` returns.

        :raises Unavailable: it did not answer in time, or too many questions wait
        """
        if self._waiting >= MOST_WAITING:
            return defer.fail(Unavailable("Too many questions at once", retry_after=1))
        self._waiting += 1
        answer: defer.Deferred[Any] = defer.Deferred()

        def answered(result: Any) -> None:
            self._waiting -= 1
            if not answer.called:
                answer.callback(result)

        self._run(lambda: function(self._state, *arguments)).addBoth(answered)
        return answer.addTimeout(self.timeout, self.clock, _too_late)

    def stop(self) -> None:
        """End the threads, if they are ours."""
        self._stop()


def _too_late(result: Any, seconds: float) -> None:
    raise Unavailable(f"The database did not answer within {seconds:g} seconds")
