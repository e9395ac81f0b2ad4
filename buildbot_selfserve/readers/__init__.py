"""Runs reads outside the reactor: in processes connected by pipes, or in threads.

A reader receives a function and arguments, and calls the function with the reader's own state (its
engine, its templates) and the arguments. It knows nothing about the function. Functions, arguments
and results are plain, picklable values, so a reader can be a thread or a process. Two lanes keep
small answers from waiting behind large ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from typing import NamedTuple
from typing import Protocol

from twisted.internet import defer

from buildbot_selfserve.errors import DatabaseAway

#: The largest number of waiting questions in the lane for small (False) and for large (True)
#: answers; further questions are refused at once. More large ones would not be answered in time.
MOST_WAITING = {False: 1000, True: 200}
#: Seconds that a stopped reader has to exit.
GRACE = 2.0
#: Bytes of a long text that are moved at a time. Together with the header of a frame, they fill a
#: pipe.
PIECE = 2**16 - 16


#: Hears that a database does not answer a reader.
Away = Callable[[DatabaseAway], None]


def unheard(error: DatabaseAway) -> None:
    """Ignore *error*: the caller gets it anyway."""


class Lengthy(NamedTuple):
    """A value with a long text, as returned by a function in a reader.

    ``Readers.ask`` returns a ``Delivery`` instead: the text leaves the reader in pieces that are
    never joined, as fast as the client takes them. Copying megabytes would block the reactor for
    too long; small answers pass between the pieces.
    """

    value: Any
    text: bytes


class Readers(Protocol):
    """Answers questions outside the reactor."""

    @property
    def unanswered(self) -> int:
        """Return the number of questions that wait for their answers."""
        ...

    @property
    def restarts(self) -> int:
        """Return the number of readers that had to be replaced."""
        ...

    @property
    def sent(self) -> int:
        """Return how often questions were sent: one that came since then has not left yet."""
        ...

    def ask(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        large: bool = False,
        waits: bool = False,
    ) -> defer.Deferred[Any]:
        """Call ``function(state, *arguments)`` in a reader; return its result.

        The result is a ``Delivery`` if the function returns a ``Lengthy``.

        :param large: use the lane for large answers, as this one may take long
        :param waits: send it when the reactor has been through everything that has happened by now
        :raises LargeAnswer: the answer is large, but *large* was not set
        :raises Unavailable: the reader did not answer in time, or too many questions wait
        :raises SelfServeError: raised by the function
        """
        ...

    def set_timeout(self, seconds: float) -> None:
        """Give up what is asked from now on after so many *seconds*."""
        ...

    def stop(self) -> defer.Deferred[None]:
        """Stop all readers; fire when they have ended."""
        ...


class ReaderError(Exception):
    """Raised if a function fails in a reader; the text is the traceback."""
