"""The client for programs that run in Twisted's reactor."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import partial
from typing import Any
from typing import Concatenate
from typing import ParamSpec
from typing import TypeVar
from urllib.parse import quote
from urllib.parse import urlsplit
from urllib.parse import urlunsplit

from twisted.internet import defer
from twisted.internet import task
from twisted.internet.error import ConnectError
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.error import ConnectionClosed
from twisted.internet.error import DNSLookupError
from twisted.internet.protocol import Protocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent
from twisted.web.client import ContentDecoderAgent
from twisted.web.client import FileBodyProducer
from twisted.web.client import GzipDecoder
from twisted.web.client import HTTPConnectionPool
from twisted.web.client import RequestTransmissionFailed
from twisted.web.client import ResponseDone
from twisted.web.client import ResponseFailed
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers

from buildbot_selfserve.client.errors import Misconfigured
from buildbot_selfserve.client.exchange import Answer
from buildbot_selfserve.client.exchange import Lost
from buildbot_selfserve.client.exchange import Send
from buildbot_selfserve.client.exchange import Steps
from buildbot_selfserve.client.operations import Configured
from buildbot_selfserve.client.operations import Core
from buildbot_selfserve.client.operations import described

#: What stands in a URL as it is (RFC 3986).
_IN_URLS = "!#$%&'()*+,/:;=?@[]~"

P = ParamSpec("P")
T = TypeVar("T")


def _deferring(
    question: Callable[Concatenate[Core, P], Steps[T]],
) -> Callable[Concatenate[TwistedClient, P], defer.Deferred[T]]:
    def method(self: TwistedClient, /, *args: P.args, **kwargs: P.kwargs) -> defer.Deferred[T]:
        steps = question(self._core, *args, **kwargs)
        return defer.Deferred.fromCoroutine(self._carry_out(steps))

    described(method, question, "Deferred[{}]")
    return method


class TwistedClient(Configured):
    """Asks self-serve, and returns a Deferred for each answer; cancelling it hangs up.

    What was cancelled may have been done: a job request belongs to the server once it is sent.
    """

    #: Carries the requests; ``None`` for one of our own, which keeps no connections.
    agent: Any = None
    #: ``None`` for the global one.
    reactor: Any = None

    branches = _deferring(Core.branches)
    builds = _deferring(Core.builds)
    builders = _deferring(Core.builders)
    build_row = _deferring(Core.build_row)
    log = _deferring(Core.log)
    request_row = _deferring(Core.request_row)
    why = _deferring(Core.why)
    queue = _deferring(Core.queue)
    holds = _deferring(Core.holds)
    revision = _deferring(Core.revision)
    is_done = _deferring(Core.is_done)
    possible = _deferring(Core.possible)
    permissions = _deferring(Core.permissions)
    user = _deferring(Core.user)
    jobs = _deferring(Core.jobs)
    job = _deferring(Core.job)
    pushes = _deferring(Core.pushes)
    user_pushes = _deferring(Core.user_pushes)
    health = _deferring(Core.health)
    last_green = _deferring(Core.last_green)
    bisection = _deferring(Core.bisection)
    wait_for_bisection = _deferring(Core.wait_for_bisection)
    wait = _deferring(Core.wait)
    rebuild_build = _deferring(Core.rebuild_build)
    rebuild_request = _deferring(Core.rebuild_request)
    rerun_failed = _deferring(Core.rerun_failed)
    fill_missing = _deferring(Core.fill_missing)
    backfill = _deferring(Core.backfill)
    bisect = _deferring(Core.bisect)
    stop_bisection = _deferring(Core.stop_bisection)
    cancel_build = _deferring(Core.cancel_build)
    cancel_request = _deferring(Core.cancel_request)
    cancel_revision = _deferring(Core.cancel_revision)
    reprioritize_revision = _deferring(Core.reprioritize_revision)
    reprioritize = _deferring(Core.reprioritize)
    build = _deferring(Core.build)
    build_set = _deferring(Core.build_set)
    build_with = _deferring(Core.build_with)
    hold = _deferring(Core.hold)
    release = _deferring(Core.release)

    async def _carry_out(self, steps: Steps[T]) -> T:
        reactor = self._reactor()
        came: Answer | Lost | None = None
        while True:
            try:
                step = steps.send(came)
            except StopIteration as end:
                value: T = end.value
                return value
            if isinstance(step, Send):
                came = await self._sent(reactor, step)
            else:
                await task.deferLater(reactor, step.seconds)
                came = None

    async def _sent(self, reactor: Any, send: Send) -> Answer | Lost:
        agent = self.agent
        if agent is None:
            agent = Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False))
        whole: defer.Deferred[Answer]
        late = reactor.callLater(send.timeout, lambda: whole.cancel())
        heard = partial(late.reset, send.timeout)
        whole = defer.Deferred.fromCoroutine(_exchanged(agent, send, heard))
        try:
            return await whole
        except Exception as error:
            if not _was_cancelled(error):
                return _lost(error)
            if late.active():
                raise defer.CancelledError from None  # by whoever asked
            if isinstance(error, ConnectingCancelledError):
                return Lost("no connection in time", sent=False)
            return Lost(f"no answer within {send.timeout:g} seconds", sent=True)
        finally:
            if late.active():
                late.cancel()

    def _reactor(self) -> Any:
        if self.reactor is not None:
            return self.reactor
        # here, not above: importing it installs it
        from twisted.internet import reactor

        return reactor


async def _exchanged(agent: Any, send: Send, heard: Callable[[], object]) -> Answer:
    """Send, and return the answer.

    :param heard: called whenever something comes
    """
    response = await ContentDecoderAgent(agent, [(b"gzip", GzipDecoder)]).request(
        send.method.encode(),
        _in_ascii(send.url),
        Headers({name: [value] for name, value in send.headers.items()}),
        None if send.body is None else FileBodyProducer(io.BytesIO(send.body)),
    )
    heard()
    raw = response.headers.getAllRawHeaders()
    headers = {
        name.decode("latin-1").lower(): b", ".join(values).decode("latin-1") for name, values in raw
    }
    body = _Body(heard)
    response.deliverBody(body)
    return Answer(response.code, headers, await body.whole)


def _in_ascii(url: str) -> bytes:
    """Return *url* as it is sent. An address stays as it is: a colon in it is no name's.

    :raises UnicodeError: its host cannot have that name
    """
    parts = urlsplit(url)
    rest = urlunsplit(("", "", parts.path, parts.query, ""))
    host = parts.netloc.encode("idna")
    return b"%s://%s%s" % (parts.scheme.encode(), host, quote(rest, safe=_IN_URLS).encode())


class _Body(Protocol):
    """Collects the body of an answer, and can be cancelled.

    :param heard: called for each piece
    """

    def __init__(self, heard: Callable[[], object]) -> None:
        self.whole: defer.Deferred[bytes] = defer.Deferred(self._hang_up)
        self._heard = heard
        self._pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        if not self.whole.called:
            self._pieces.append(data)
            self._heard()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.whole.called:
            return  # cancelled
        if reason.check(ResponseDone, PotentialDataLoss):
            self.whole.callback(b"".join(self._pieces))
        else:
            self.whole.errback(reason)

    def _hang_up(self, whole: defer.Deferred[bytes]) -> None:
        # what Twisted shows of the connection can only close it politely, and TLS then waits for
        # the other side
        connection: Any = getattr(self.transport, "_producer", None) or self.transport
        getattr(connection, "abortConnection", connection.loseConnection)()


def _was_cancelled(error: Exception) -> bool:
    """Whether *error* is the end of a request that was cancelled; Twisted may wrap that."""
    reasons = getattr(error, "reasons", ())
    return isinstance(error, defer.CancelledError | ConnectingCancelledError) or any(
        reason.check(defer.CancelledError) for reason in reasons
    )


def _lost(error: Exception) -> Lost:
    """Return what it means that a request ended in *error*, or raise what means something else."""
    if isinstance(error, ConnectError | DNSLookupError):
        return Lost(str(error), sent=False)
    if isinstance(error, ConnectionClosed):
        return Lost(str(error), sent=True)
    if isinstance(error, ResponseFailed | RequestTransmissionFailed):
        # the errors of TLS come while a connection is made; that it ends is no such error
        sent = not all(reason.check("OpenSSL.SSL.Error") for reason in error.reasons)
        return Lost("; ".join(reason.getErrorMessage() for reason in error.reasons), sent=sent)
    if isinstance(error, ValueError):
        # Twisted looks into a URL before it connects
        raise Misconfigured("The URL of self-serve is invalid") from None
    raise error
