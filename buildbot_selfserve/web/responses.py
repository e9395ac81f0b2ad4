"""Sends responses: status, headers and body; a long body a piece at a time, as fast as the
client takes it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.interfaces import IPushProducer
from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request
from zope.interface import implementer

from buildbot_selfserve.readers.bodies import Body
from buildbot_selfserve.readers.bodies import Delivery
from buildbot_selfserve.readers.bodies import PartedBody
from buildbot_selfserve.views.read_request import Response

#: What Twisted has no words for.
PHRASES = {422: b"Unprocessable Content", 429: b"Too Many Requests"}
#: Seconds in which a client has to take what the transport holds, at most some 128 KiB.
PATIENCE = 60.0


def respond(request: Request, answer: Response) -> bytes:
    """Set the status and the headers of *answer*; return its body."""
    _begin(request, answer, len(answer.body))
    return answer.body


def _begin(request: Request, answer: Response, length: int | None) -> None:
    """Set the status and the headers of *answer*.

    :param length: of its body in bytes; ``None`` if nobody knows it yet
    """
    request.setResponseCode(answer.status, PHRASES.get(answer.status))
    for name, value in answer.headers:
        if name == "Link":
            request.responseHeaders.addRawHeader(name, value)  # there may be several
        else:
            request.setHeader(name, value)
    if answer.status != 304:
        request.setHeader("Content-Type", answer.content_type)
        if length is not None:
            request.setHeader("Content-Length", str(length))


async def send(
    request: Request,
    answer: Response | Delivery,
    clock: IReactorTime,
    ask: Callable[[Any], defer.Deferred[Delivery]] | None = None,
) -> bytes:
    """Answer, in pieces where it is long; return the rest of the body.

    :param ask: asks for the next part of a text that comes in parts
    """
    if isinstance(answer, Response):
        return respond(request, answer)
    whole: Response = answer.value
    body: Body | PartedBody = answer.body
    if ask is not None and whole.left is not None:
        body = PartedBody(answer.body, whole.left, ask)
    try:
        _begin(request, whole, body.length)
        if request.method != b"HEAD":
            await send_pieces(request, body, clock)
    finally:
        body.stop()
    return b""


def send_pieces(
    request: Request, body: Body | PartedBody, clock: IReactorTime
) -> defer.Deferred[None]:
    """Write *body* as that of the answer to *request*; return when all of it is written.

    If the client hangs up, it never returns: cancel what waits for it. So it is
    with a client that stops reading, or reads too slowly while others wait: it is cut off.
    """
    sender = _Sender(request, body, clock)
    request.registerProducer(sender, True)
    body.begin(sender.go_on, sender.cut_off)
    sender.resumeProducing()
    return sender.done


@implementer(IPushProducer)
class _Sender:
    """Writes until the transport has enough, and again when it wants more."""

    def __init__(self, request: Request, body: Body | PartedBody, clock: IReactorTime) -> None:
        self.done: defer.Deferred[None] = defer.Deferred(lambda _: self.stopProducing())
        self._request = request
        self._body = body
        self._clock = clock
        self._wanted = False
        self._waiting: IDelayedCall | None = None

    def resumeProducing(self) -> None:
        self._wanted = True
        self.go_on()

    def go_on(self) -> None:
        """Write what has come of the body."""
        while self._wanted:
            piece = self._body.take()
            if piece is None:
                return
            if not piece:
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
            self._waiting = self._clock.callLater(PATIENCE, self._look)
        else:
            self._waiting.reset(PATIENCE)

    def stopProducing(self) -> None:
        self._wait_no_more()
        self._wanted = False
        self._body.stop()

    def cut_off(self) -> None:
        """End the connection: what is written is less than what was announced."""
        self._wait_no_more()
        self._wanted = False
        transport: Any = self._request.transport
        transport.abortConnection()

    def _wait_no_more(self) -> None:
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()

    def _look(self) -> None:
        """Cut off the client, unless it has taken all that has come of the body."""
        self._waiting = None
        if not self._wanted:
            self._body.stop()
            self.cut_off()
