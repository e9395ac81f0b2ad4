"""Server-sent events: a response that goes on until one side ends it.

The format is that of the HTML standard, section 9.2 (server-sent events).
"""

from __future__ import annotations

import json
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import asdict
from functools import lru_cache
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import LoopingCall
from twisted.web.server import Request
from zope.interface import implementer

from buildbot_selfserve.live import Live
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Event

#: Milliseconds after which a browser that was cut off asks again.
RETRY = 3000
#: Seconds between signs of life: proxies close what is silent for a minute.
KEEP_ALIVE = 15.0


async def stream(
    request: Request,
    client: str,
    branch: Branch,
    live: Live,
    check: Callable[[], Awaitable[Branch]],
    clock: Any,
) -> bytes:
    """Send what happens on *branch* until the client goes, is too slow, or may not hear it.

    The head of the answer was set, and nothing of it was sent.

    :param check: called after a reconfig; returns what the branch is then
    :raises TooMany: this client waits too often already
    :raises Unavailable: too many wait
    """
    # nginx would collect what is sent until it is enough
    request.setHeader("X-Accel-Buffering", "no")
    if request.method == b"HEAD":
        return b""
    writer = _Writer(request)
    with live.listening(client, branch, writer.tell, check) as over:
        over.addCallback(lambda _: writer.end())
        request.registerProducer(writer, True)
        writer.write(f"retry: {RETRY}\n\n")
        alive = LoopingCall(writer.write, ": still here\n\n")
        alive.clock = clock
        alive.start(KEEP_ALIVE)
        try:
            await writer.over
        finally:
            alive.stop()
            request.unregisterProducer()
    return b""


@implementer(IPushProducer)
class _Writer:
    """Writes to one client as long as that reads what it is sent."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._slow = False
        #: fires when the client cannot be written to any more
        self.over: defer.Deferred[None] = defer.Deferred()

    def tell(self, changes: Sequence[Event]) -> None:
        """Send an event of each of *changes*."""
        self.write(_events(tuple(changes)))

    def write(self, text: str) -> None:
        """Send *text*; a client that has not even read the last one is cut off."""
        if self.over.called or not text:
            return
        if self._slow:
            self.end()
            # what it has not read by now it will not get
            transport: Any = self._request.transport
            transport.abortConnection()
        else:
            self._request.write(text.encode())

    def pauseProducing(self) -> None:
        """Note that the client reads more slowly than we write."""
        self._slow = True

    def resumeProducing(self) -> None:
        """Note that the client has read what it was sent."""
        self._slow = False

    def stopProducing(self) -> None:
        """Note that the client has gone."""
        self.end()

    def end(self) -> None:
        """Send nothing any more."""
        if not self.over.called:
            self.over.callback(None)


@lru_cache(maxsize=16)
def _events(changes: tuple[Event, ...]) -> str:
    """Return *changes* as events: all who listen to a branch are sent the same."""
    return "".join(f"event: change\ndata: {json.dumps(asdict(one))}\n\n" for one in changes)
