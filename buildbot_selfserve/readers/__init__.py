"""Runs reads outside the reactor: in processes over pipes, or in threads.

A reader gets a function and its arguments, and calls the function with a state of its own (its
engine, its templates) before them. What the function is about is not its business. Functions,
arguments and results are plain, picklable values, so that it does not matter whether a reader is
a thread or a process; two lanes keep small answers from queueing behind large ones.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from typing import Any
from typing import NamedTuple
from typing import Protocol

from twisted.internet import defer

#: Questions that wait in a lane of a reader, by whether they are large; more are refused at once.
#: More large ones would not be answered in time.
MOST_WAITING = {False: 1000, True: 200}
#: Seconds that a reader has to end by itself when it is stopped.
GRACE = 2.0
#: So much of a long text is moved at a time. Together with what a pipe puts before it, that is as
#: much as a pipe holds.
PIECE = 2**16 - 16


class _Arrival(threading.local):
    """When the question came that a thread answers.

    :ivar at: in nanoseconds of the monotonic clock; in a thread of the master nobody knows it
    """

    at: int = sys.maxsize


#: Questions that came together can share what was looked up after the last of them had come.
arrival = _Arrival()


class Lengthy(NamedTuple):
    """A value with a long text beside it, as a function returns it in a reader.

    ``Readers.ask`` returns a ``Delivery`` in its place: the text comes out of the reader in pieces
    that are never joined, as fast as a client takes them. To copy megabytes takes longer than the
    reactor may be held up, and small answers pass between the pieces.
    """

    value: Any
    text: bytes


class Readers(Protocol):
    """Answers questions outside the reactor."""

    @property
    def unanswered(self) -> int:
        """Return how many questions wait for their answer."""
        ...

    @property
    def restarts(self) -> int:
        """Return how many readers had to be replaced."""
        ...

    def ask(
        self, function: Callable[..., Any], *arguments: Any, large: bool = False
    ) -> defer.Deferred[Any]:
        """Return what ``function(state, *arguments)`` returns.

        A ``Delivery`` where that is ``Lengthy``.

        :param large: the answer may take long, and must keep no small one waiting
        :raises LargeAnswer: it was not said to be *large*, and is
        :raises Unavailable: it did not answer in time, or too many questions wait
        :raises SelfServeError: what the function raised
        """
        ...

    def stop(self) -> defer.Deferred[None]:
        """End all that this started; return when it has ended."""
        ...


class ReaderError(Exception):
    """A function failed in a reader; the text is its traceback."""
