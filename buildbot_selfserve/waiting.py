"""Waits for work that goes on whoever waits for it."""

from __future__ import annotations

from collections.abc import Callable
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
