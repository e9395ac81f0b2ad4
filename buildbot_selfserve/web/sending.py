"""Sends long bodies a piece at a time, as fast as their clients take them."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator

from twisted.internet import defer
from twisted.internet.interfaces import IPushProducer
from twisted.web.server import Request
from zope.interface import implementer


def send(request: Request, pieces: Iterable[bytes]) -> defer.Deferred[None]:
    """Write *pieces* as the body of the answer to *request*; return when all are written.

    If the client hangs up, it never returns, and whoever waits for it is to be cancelled.
    """
    sender = _Sender(request, iter(pieces))
    request.registerProducer(sender, True)
    sender.resumeProducing()
    return sender.done


@implementer(IPushProducer)
class _Sender:
    """Writes until the transport has enough, and again when it wants more."""

    def __init__(self, request: Request, pieces: Iterator[bytes]) -> None:
        self.done: defer.Deferred[None] = defer.Deferred()
        self._request = request
        self._pieces = pieces
        self._wanted = False

    def resumeProducing(self) -> None:
        self._wanted = True
        while self._wanted:
            piece = next(self._pieces, None)
            if piece is None:
                self._wanted = False
                self._request.unregisterProducer()
                self.done.callback(None)
                return
            # pauses us when it has enough
            self._request.write(piece)

    def pauseProducing(self) -> None:
        self._wanted = False

    def stopProducing(self) -> None:
        self._wanted = False
        self._pieces = iter(())
