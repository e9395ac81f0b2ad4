"""Routes requests with Klein: ``%2F`` inside a segment is data."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Iterable
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import quote
from urllib.parse import unquote

from klein import Klein
from klein.resource import KleinResource
from twisted.internet.defer import CancelledError
from twisted.internet.defer import Deferred
from twisted.internet.tcp import Connection
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException
from werkzeug.exceptions import MethodNotAllowed as WerkzeugMethodNotAllowed
from werkzeug.routing import UnicodeConverter

from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import MethodNotAllowed
from buildbot_selfserve.errors import NotFound
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.routes import Route
from buildbot_selfserve.web import request_body
from buildbot_selfserve.web import security_headers

#: Answers a request that matched a route, with the texts in its path by noun.
Endpoint = Callable[[Route, Request, dict[str, str]], Coroutine[Any, Any, bytes]]
#: Answers a request like one before, if there was one.
Again = Callable[[Request], "Deferred[bytes] | bytes | None"]
#: Answers a request that can go no further.
Refuse = Callable[[Request, SelfServeError], bytes]

#: So many paths are remembered with the route that they lead to, those that were last asked for;
#: longer URLs than this, in bytes, are none of them.
MOST_REMEMBERED = 1000
LONGEST_REMEMBERED = 300

_log = Logger()
_PREFIX = "text_of_"
_BRANCH = "/<branch>"


def resource(
    routes: Iterable[Route],
    endpoint: Endpoint,
    again: Again,
    refuse: Refuse,
    root: Callable[[], str],
    begin: Callable[[Request], None],
) -> KleinResource:
    """Return the resource that hands each request to *endpoint*, or to *refuse*.

    :param again: is asked first about a GET
    :param root: returns our URL path as clients see it
    :param begin: called first with every request
    """
    return _Resource(tuple(routes), endpoint, again, refuse, root, begin)


class NotFoundResource(Resource):
    """Answers unknown paths with 404.

    :param begin: called first with every request
    """

    def __init__(self, refuse: Refuse, begin: Callable[[Request], None]) -> None:
        Resource.__init__(self)
        self.isLeaf = True
        self._refuse = refuse
        self._begin = begin

    def render(self, request: Any) -> bytes:
        """Say so."""
        self._begin(request)
        return self._refuse(request, _not_here(request, None))


class _Segment(UnicodeConverter):
    """One segment of a path, still encoded, and the text that it stands for."""

    def to_python(self, value: str) -> str:
        return unquote(value)


@lru_cache(maxsize=1)
def _compiled(routes: tuple[Route, ...]) -> Klein:
    """Return what finds the route of a path, which takes long to make: a process makes it once.

    Bound to a resource, it calls that resource's handlers.
    """
    app = Klein()
    app.url_map.converters["default"] = _Segment
    app.url_map.converters["beside"] = _beside(_words(routes))
    app.url_map.merge_slashes = False
    for route in routes:
        converter = "" if route.path.startswith(_BRANCH) else "beside:"
        # Klein hands the texts over by name, beside a "request" of its own
        path = route.path.replace("<", f"<{converter}{_PREFIX}")
        # by default Klein goes by a function's name, and the last of one name wins
        app.route(path, methods=[route.method], endpoint=route.name)(_handler(route))
    app.handle_errors(HTTPException)(_Resource.unmatched)
    return app


def _words(routes: Iterable[Route]) -> list[str]:
    """Return what stands right behind the name of a branch and ends the path."""
    behind = {route.path.removeprefix(f"{_BRANCH}/") for route in routes}
    return sorted(text for text in behind if "/" not in text and "<" not in text)


def _beside(words: Iterable[str]) -> type[_Segment]:
    """Return what matches a segment where no branch is, but none of *words*.

    ``/jobs/builders`` is about a branch called ``jobs``, which else could not be asked for.
    """

    class Beside(_Segment):
        def __init__(self, url_map: Any) -> None:
            super().__init__(url_map)
            self.regex = rf"(?!(?:{'|'.join(map(re.escape, words))})\Z){self.regex}"

    return Beside


def _handler(route: Route) -> Callable[..., Deferred[bytes]]:
    def handle(resource: _Resource, request: Request, **texts: str) -> Deferred[bytes]:
        return Deferred.fromCoroutine(resource.endpoint(route, request, _in_order(route, texts)))

    return handle


def _in_order(route: Route, texts: Mapping[str, str]) -> dict[str, str]:
    """Return what stands in a path by noun, as Klein hands it over."""
    return {noun: texts[_PREFIX + noun] for noun in route.nouns}


def _not_here(request: Request, error: BaseException | None) -> SelfServeError:
    if isinstance(error, WerkzeugMethodNotAllowed):
        method = request.method.decode("ascii", "replace")
        return MethodNotAllowed(method, tuple(sorted({*(error.valid_methods or ()), "OPTIONS"})))
    return NotFound("There is nothing at this URL", "the page of the API lists all URLs")


class _Resource(KleinResource):
    """Prepares a request for Klein: whole segments, no trailing slash, the method that is meant.

    A GET of a path that is known it sends to its route itself: what Klein does for each request
    costs almost as much as to receive one.
    """

    def __init__(
        self,
        routes: tuple[Route, ...],
        endpoint: Endpoint,
        again: Again,
        refuse: Refuse,
        root: Callable[[], str],
        begin: Callable[[Request], None],
    ) -> None:
        super().__init__(_compiled(routes).__get__(self, type(self)))
        self._routes = {route.name: route for route in routes}
        self.endpoint = endpoint
        self._again = again
        self.refuse = refuse
        self._root = root
        self._begin = begin
        # where a path leads never changes
        self._remembered = lru_cache(maxsize=MOST_REMEMBERED)(self._found)

    def render(self, request: Any) -> Any:
        self._begin(request)
        again = self._again(request) if request.method == b"GET" else None
        if isinstance(again, bytes):
            return _send(request, again)
        if again is not None:
            return _render(request, again)
        try:
            segments = _segments(request)
            request.method = request.method.upper()
            if request.method == b"POST":
                request.method = request_body.method_of(request).encode("ascii", "replace")
        except SelfServeError as error:
            return self.refuse(request, error)
        if segments and segments[-1] == "" and "" not in segments[:-1]:
            return self._without_slash(request, segments[:-1])
        if "" in segments[:-1] or segments[-1:] == [""]:
            return self.refuse(request, _not_here(request, None))
        if request.method in (b"GET", b"HEAD"):
            is_short = len(request.uri) <= LONGEST_REMEMBERED
            found = (self._remembered if is_short else self._found)(tuple(segments))
            if found is not None:
                route, texts = found
                work = self.endpoint(route, request, dict(texts))
                return _render(request, Deferred.fromCoroutine(work))
        # Klein fails on names that no host can have, and no route depends on one
        request.getRequestHostname = _any_host
        # Twisted has decoded each segment; encoded again, no character in it is structure
        request.postpath = [quote(text, safe="").encode() for text in segments] or [b""]
        return super().render(request)

    def unmatched(self, request: Any, failure: Failure) -> Any:
        """Answer a request for which Klein finds no route."""
        error = _not_here(request, failure.value)
        if request.method == b"OPTIONS" and isinstance(error, MethodNotAllowed):
            return security_headers.answer_options(request, error.allowed)
        return self.refuse(request, error)

    def _found(self, segments: tuple[str, ...]) -> tuple[Route, dict[str, str]] | None:
        """Return the route of a GET, and what stands in its path by noun, if there is one."""
        path = "/" + "/".join(quote(text, safe="") for text in segments)
        try:
            name, texts = self._app.url_map.bind("").match(path, "GET")
        except HTTPException:
            return None  # which Klein hands to us with what it says of it
        route = self._routes[name]
        return route, _in_order(route, texts)

    def _without_slash(self, request: Request, segments: list[str]) -> bytes:
        path = "/".join([self._root(), *(quote(text, safe="") for text in segments)])
        _, mark, query = request.uri.partition(b"?")
        # after a 301 clients send a GET, and would take its answer for that of a job request
        request.setResponseCode(301 if request.method in (b"GET", b"HEAD") else 308)
        request.setHeader(b"location", path.encode() + mark + query)
        return b""


def _render(request: Request, answer: Deferred[bytes]) -> int:
    """Send *answer*, which is cancelled when the client hangs up."""
    is_gone = False

    def gone(_: Failure) -> None:
        nonlocal is_gone
        is_gone = True
        answer.cancel()

    def answered(body: bytes) -> None:
        if is_gone:
            request.write(body)
        else:
            _send(request, body)

    def failed(failure: Failure) -> None:
        if not is_gone:
            request.processingFailed(failure)
        elif not failure.check(CancelledError):
            log_failure(failure)

    def log_failure(failure: Failure) -> None:
        _log.failure("selfserve: a request failed", failure)

    request.notifyFinish().addErrback(gone)
    answer.addCallbacks(answered, failed).addErrback(log_failure)
    return int(NOT_DONE_YET)


def _send(request: Request, body: bytes) -> int:
    request.write(body)
    if body:
        _send_now(request)
    request.finish()
    return int(NOT_DONE_YET)


def _send_now(request: Request) -> None:
    """Send what was written, as far as the client takes it.

    The reactor would do so in a turn of its own, which costs a tenth of a small answer.
    """
    transport = getattr(request.channel, "transport", None)
    # what a connection that is to end has written, the reactor must hear of
    if isinstance(transport, Connection) and not transport.disconnecting:
        transport.doWrite()


def _any_host() -> bytes:
    return b"localhost"


def _segments(request: Request) -> list[str]:
    try:
        return [segment.decode("utf-8") for segment in request.postpath or ()]
    except UnicodeDecodeError:
        raise BadParameter("URL", "UTF-8") from None
