"""Deferreds that nobody can cancel, that several share, or that fire in batches."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from functools import partial
from typing import Any
from typing import TypeVar

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

Result = TypeVar("Result")
Value = TypeVar("Value")


def independent(
    work: defer.Deferred[Result],
    unwanted: Callable[[Result | Failure], object] = lambda result: None,
) -> defer.Deferred[Result]:
    """Return a Deferred with the result of *work*; cancelling it does not cancel *work*.

    :param unwanted: called with the result instead, when nobody waits for it any more
    """
    waiter: defer.Deferred[Result] = defer.Deferred()

    def over(result: Result | Failure) -> None:
        if waiter.called:
            unwanted(result)
        else:
            waiter.callback(result)  # a Failure fails it

    work.addBoth(over)
    return waiter


class _DaemonThread(threading.Thread):
    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, daemon=True, **more)


class DaemonThreadPool(ThreadPool):
    """A pool for what may block for ever: Python ends without waiting for its threads."""

    threadFactory = _DaemonThread  # noqa: N815


def in_daemon_thread(
    clock: Any, work: Callable[[], object], seconds: float
) -> defer.Deferred[None]:
    """Do *work*, which may block for ever, in a thread that nobody else waits for.

    :param clock: the reactor
    :param seconds: for which it is waited for at most
    """
    done: defer.Deferred[None] = defer.Deferred()

    def run() -> None:
        try:
            work()
        finally:
            clock.callFromThread(done.callback, None)

    threading.Thread(target=run, name="selfserve-apart", daemon=True).start()
    return done.addTimeout(seconds, clock, lambda result, _: None)


class SharedCall:
    """A moment in which several want to know something: what is the same is asked once.

    :param clock: the reactor
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._asked: dict[Hashable, SharedResult] = {}

    def ask(
        self, key: Hashable, question: Callable[[], defer.Deferred[Result]]
    ) -> defer.Deferred[Result]:
        """Return the result of *question*, which is asked for the first who asks for *key*."""
        asked = self._asked.get(key)
        if asked is None:
            asked = self._asked[key] = SharedResult(self._clock)
            # also what is raised at once is an answer for all who come
            defer.maybeDeferred(question).addBoth(asked.answered)
        return asked.join()


class SharedResult:
    """A result for which several wait.

    It is handed out to a few in each turn of the reactor, because each of them sends an answer at
    once, and hundreds of answers would hold up everything else.

    :param clock: the reactor
    :param unwanted: called when all who waited have hung up
    """

    def __init__(self, clock: IReactorTime, unwanted: Callable[[], object] | None = None) -> None:
        self._unwanted = unwanted
        self._waiters: dict[defer.Deferred[Any], None] = {}  # in their order
        self._result: list[Any] = []
        self._batcher = Batcher(clock)

    @property
    def is_over(self) -> bool:
        """Whether the result is there."""
        return bool(self._result)

    def answered(self, result: Any) -> None:
        """Hand out *result*, which may be a Failure."""
        self._result.append(result)
        self._hand_out()

    def join(self) -> defer.Deferred[Any]:
        """Return the result as soon as it is there."""
        waiter: defer.Deferred[Any] = defer.Deferred(self._left)
        self._waiters[waiter] = None
        self._hand_out()
        return waiter

    def _left(self, waiter: defer.Deferred[Any]) -> None:
        if waiter in self._waiters:
            del self._waiters[waiter]
            if not self._waiters and self._unwanted is not None:
                self._unwanted()

    def _hand_out(self) -> None:
        if self._result:
            waiters, self._waiters = self._waiters, {}
            self._batcher.each(waiters, self._tell)

    def _tell(self, waiter: defer.Deferred[Any]) -> None:
        if not waiter.called:
            waiter.callback(self._result[0])  # a Failure fails it


class Batcher:
    """Does something with each of many, a few in each turn of the reactor, in their order.

    :param clock: the reactor
    """

    #: So many in a turn take a few milliseconds.
    EACH_TURN = 10

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._left: deque[Callable[[], object]] = deque()
        self._going = False

    def each(self, many: Iterable[Value], work: Callable[[Value], object]) -> None:
        """Call *work* with each of *many*; the first few at once."""
        self._left.extend(partial(work, one) for one in many)
        if not self._going:
            self._turn()

    def _turn(self) -> None:
        self._going = True
        for _ in range(min(self.EACH_TURN, len(self._left))):
            self._left.popleft()()
        self._going = bool(self._left)
        if self._going:
            self._clock.callLater(0, self._turn)
