"""Long answers in the master: taken in pieces, with a measured pace."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any
from typing import NamedTuple

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from buildbot_selfserve.readers import PIECE
from buildbot_selfserve.readers.room import WINDOW
from buildbot_selfserve.readers.room import Room

log = Logger()

#: The smallest number of seconds over which a client's pace is measured.
MEASURED = 5.0


class Body:
    """A long text that is being sent to a client.

    :param length: the number of bytes
    :param text_number: the number of the text, which is the same for all clients that are sent it
    """

    def __init__(self, length: int, text_number: int, clock: IReactorTime) -> None:
        self.length = length
        self.text_number = text_number
        self._clock = clock
        self._taken = 0
        #: whether nothing of the text is held any more
        self.is_over = False
        self._is_lost = False
        self._more: Callable[[], None] = lambda: None
        self._lost: Callable[[], None] = lambda: None
        #: time and bytes taken at the latest mark, and at the mark at least MEASURED seconds before
        self._mark = self._mark_before = (clock.seconds(), 0)

    def begin(self, more: Callable[[], None], lost: Callable[[], None]) -> None:
        """Start the transfer.

        :param more: called when pieces may have come
        :param lost: called when the rest will not come
        """
        if self._is_lost:
            lost()
        elif not self.is_over:
            self._more, self._lost = more, lost

    def take(self) -> bytes | None:
        """Return the next piece; empty at the end, ``None`` if it has not come yet."""
        if self._taken >= self.length:
            self.stop()
            return b""
        piece = self._next()
        if piece is not None:
            self._taken += len(piece)
            self._measure()
            if self._taken >= self.length:
                self.stop()
        return piece

    def stop(self) -> None:
        """Drop the rest of the text."""
        if not self.is_over:
            self.is_over = True
            self._more = self._lost = lambda: None  # they hold the client's whole request
            self._let_go()

    def lose(self) -> None:
        """Drop the rest of the text, and call *lost*."""
        if not self.is_over:
            lost = self._lost
            self.stop()
            self._is_lost = True
            lost()

    def pace(self) -> float:
        """Return the recent pace in bytes per second, infinite if it is not known yet."""
        self._measure()
        (since, taken), now = self._mark_before, self._clock.seconds()
        return (self._taken - taken) / (now - since) if now - since >= MEASURED else float("inf")

    def _measure(self) -> None:
        now = self._clock.seconds()
        if now - self._mark[0] >= MEASURED:
            self._mark_before, self._mark = self._mark, (now, self._taken)

    def _next(self) -> bytes | None:
        raise NotImplementedError

    def _let_go(self) -> None:
        raise NotImplementedError


class Delivery(NamedTuple):
    """A value with a long text."""

    value: Any
    body: Body


class PartedBody:
    """A text of any length that is being sent to a client, read in parts by readers.

    Neither readers nor this process hold more than one part, and no database connection waits for
    the client.

    :param first: the first part
    :param left: stands for the rest of the text; ``None`` if the first part is all
    :param ask: reads the next part of *left*; returns the part and the new rest
    """

    #: Unknown before the end.
    length: None = None

    def __init__(
        self, first: Body, left: Any, ask: Callable[[Any], defer.Deferred[Delivery]]
    ) -> None:
        self._part = first
        self._left = left
        self._ask = ask
        self._asked: defer.Deferred[None] | None = None
        self._is_over = False
        self._more: Callable[[], None] = lambda: None
        self._lost: Callable[[], None] = lambda: None

    def begin(self, more: Callable[[], None], lost: Callable[[], None]) -> None:
        """Start the transfer (``Body.begin``)."""
        self._more, self._lost = more, lost
        self._part.begin(more, self._lose)

    def take(self) -> bytes | None:
        """Return the next piece (``Body.take``)."""
        piece = self._part.take()
        if piece or piece is None:
            return piece
        if self._left is None:
            self._is_over = True
            return b""
        if self._asked is None:
            self._asked = self._ask(self._left).addCallbacks(self._came, self._failed)
        return None

    def stop(self) -> None:
        """Drop the rest of the text."""
        self._is_over = True
        self._part.stop()
        if self._asked is not None:
            self._asked.cancel()

    def _came(self, part: Delivery) -> None:
        self._asked = None
        self._part, self._left = part.body, part.value
        if self._is_over:
            self._part.stop()
            return
        self._part.begin(self._more, self._lose)
        self._more()

    def _failed(self, failure: Failure) -> None:
        self._asked = None
        if not self._is_over:
            log.warn("selfserve: a text was cut off: {error}", error=failure.getErrorMessage())
            self._lose()

    def _lose(self) -> None:
        if not self._is_over:
            self.stop()
            self._lost()


class PipedBody(Body):
    """A text that a reader process sends.

    :param want: asks the process for a number of further pieces
    :param over: tells the process to drop the text
    """

    def __init__(
        self,
        length: int,
        text_number: int,
        clock: IReactorTime,
        want: Callable[[int], None],
        over: Callable[[], None],
    ) -> None:
        super().__init__(length, text_number, clock)
        self._want = want
        self._let_go = over  # type: ignore[method-assign]
        self._pieces: deque[bytes] = deque()
        self._unasked = 0

    def feed(self, piece: bytes) -> None:
        """Add a piece that has come."""
        if not self.is_over:
            self._pieces.append(piece)
            self._more()

    def stop(self) -> None:
        self._pieces.clear()
        super().stop()

    def _next(self) -> bytes | None:
        if not self._pieces:
            return None
        self._unasked += 1
        if self._unasked >= WINDOW // 2:
            self._want(self._unasked)
            self._unasked = 0
        return self._pieces.popleft()


class HeldBody(Body):
    """A text in this process, held in *room*.

    :param over: called with this body when its text is not held for it any more
    """

    def __init__(
        self, room: Room, text: bytes, clock: IReactorTime, over: Callable[[Body], None]
    ) -> None:
        number = room.enter(text)
        super().__init__(len(text), number, clock)
        self._room = room
        self._over = over

    def _next(self) -> bytes | None:
        return self._room.text(self.text_number)[self._taken : self._taken + PIECE]

    def _let_go(self) -> None:
        self._room.leave(self.text_number)
        self._over(self)
