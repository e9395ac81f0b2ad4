"""Waits for work that goes on whoever waits for it, and for work that is done for several."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Hashable
from typing import Any
from typing import TypeVar

from twisted.internet import defer
from twisted.python.failure import Failure

Result = TypeVar("Result")


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


class Moment:
    """A moment in which several want to know something: what is the same is asked once."""

    def __init__(self) -> None:
        self._asked: dict[Hashable, defer.Deferred[Any]] = {}

    def ask(
        self, key: Hashable, question: Callable[[], defer.Deferred[Result]]
    ) -> defer.Deferred[Result]:
        """Return the result of *question*, which is asked for the first who asks for *key*."""
        if key not in self._asked:
            # in a list, so that a failure that everybody has been told of is not left over
            self._asked[key] = question().addBoth(lambda result: [result])
        waiter: defer.Deferred[Result] = defer.Deferred()

        def over(boxed: list[Any]) -> list[Any]:
            if not waiter.called:
                waiter.callback(boxed[0])
            return boxed

        self._asked[key].addCallback(over)
        return waiter
