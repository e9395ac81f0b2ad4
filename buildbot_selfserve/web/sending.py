"""Sends long bodies a piece at a time, as fast as their clients take them."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.interfaces import IPushProducer
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

#: Seconds in which a client has to take what the transport holds, at most some 128 KiB.
PATIENCE = 60.0


def send(request: Request, pieces: Iterable[bytes], clock: IReactorTime) -> defer.Deferred[None]:
    """Write *pieces* as the body of the answer to *request*; return when all are written.

    If the client hangs up, it never returns, and whoever waits for it is to be cancelled. So it is
    with a client that stops reading: it is cut off, because Twisted would let it hold the whole
    body for ever.
    """
    sender = _Sender(request, iter(pieces), clock)
    request.registerProducer(sender, True)
    sender.resumeProducing()
    return sender.done


@implementer(IPushProducer)
class _Sender:
    """Writes until the transport has enough, and again when it wants more."""

    def __init__(self, request: Request, pieces: Iterator[bytes], clock: IReactorTime) -> None:
        self.done: defer.Deferred[None] = defer.Deferred(lambda _: self.stopProducing())
        self._request = request
        self._pieces = pieces
        self._clock = clock
        self._wanted = False
        self._waiting: IDelayedCall | None = None

    def resumeProducing(self) -> None:
        self._wanted = True
        while self._wanted:
            piece = next(self._pieces, None)
            if piece is None:
                self._wait_no_more()
                self._wanted = False
                self._request.unregisterProducer()
                self.done.callback(None)
                return
            # pauses us when it has enough
            self._request.write(piece)

    def pauseProducing(self) -> None:
        self._wanted = False
        # one timer that is put off costs less than one for each pause
        if self._waiting is None:
            self._waiting = self._clock.callLater(PATIENCE, self._cut_off)
        else:
            self._waiting.reset(PATIENCE)

    def stopProducing(self) -> None:
        self._wait_no_more()
        self._wanted = False
        self._pieces = iter(())

    def _wait_no_more(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()

    def _cut_off(self) -> None:
        self._waiting = None
        transport: Any = self._request.transport
        transport.abortConnection()
