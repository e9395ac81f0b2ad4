"""Gives an answer to the client that waits for it."""

from __future__ import annotations

from twisted.internet.interfaces import IReactorTime
from twisted.web.server import Request

from buildbot_selfserve.readers.bodies import Delivery
from buildbot_selfserve.views.read_request import Response
from buildbot_selfserve.web import sending


def respond(request: Request, answer: Response, length: int | None = None) -> bytes:
    """Set the status and the headers of *answer*; return its body.

    :param length: of a body that is sent otherwise, in bytes
    """
    request.setResponseCode(answer.status)
    for name, value in answer.headers:
        if name == "Link":
            request.responseHeaders.addRawHeader(name, value)  # there may be several
        else:
            request.setHeader(name, value)
    if answer.status != 304:
        request.setHeader("Content-Type", answer.content_type)
        length = len(answer.body) if length is None else length
        request.setHeader("Content-Length", str(length))
    return answer.body


async def send(request: Request, answer: Response | Delivery, clock: IReactorTime) -> bytes:
    """Answer, in pieces where it is long; return the rest of the body."""
    if isinstance(answer, Response):
        return respond(request, answer)
    try:
        respond(request, answer.value, answer.body.length)
        if request.method != b"HEAD":
            await sending.send(request, answer.body, clock)
    finally:
        answer.body.stop()
    return b""
