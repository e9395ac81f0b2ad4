"""Receives every request, hands it to ``reads`` or ``job_requests``, and answers every failure."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from functools import cached_property
from typing import Any

from klein.resource import KleinResource
from twisted.internet import defer
from twisted.logger import Logger
from twisted.web.resource import IResource
from twisted.web.server import Request

from buildbot_selfserve.auth import authentication
from buildbot_selfserve.auth import session_cookies
from buildbot_selfserve.clock import next_turn
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.errors import Unauthorized
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.metrics import OTHER
from buildbot_selfserve.readers.bodies import Delivery
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.routes import Route
from buildbot_selfserve.views import render
from buildbot_selfserve.views.error_responses import failure
from buildbot_selfserve.views.read_request import Response
from buildbot_selfserve.web import negotiation
from buildbot_selfserve.web import routing
from buildbot_selfserve.web import security_headers
from buildbot_selfserve.web.backend import Backend
from buildbot_selfserve.web.job_requests import JobRequests
from buildbot_selfserve.web.questions import Answer
from buildbot_selfserve.web.reads import Reads
from buildbot_selfserve.web.reads import new_read_request
from buildbot_selfserve.web.responses import respond

REALM = "buildbot"
#: So many answers to one client are made at once before others have their turn: it may send
#: thousands of requests without a wait for answers.
LONGEST_ROW = 10
#: The paths that have a page.
_PAGES = frozenset(route.shown_path for route in ROUTES if route.template is not None)


class Pipeline:
    """Answers every request to this plugin."""

    log = Logger()

    def __init__(self, master: Any, backend: Backend) -> None:
        self.master = master
        self.backend = backend
        self._reads = Reads(master, backend)
        self._job_requests = JobRequests(master, backend)
        self._last_client = self._in_a_row = 0
        # for what goes wrong before, beside or behind the readers
        self._templates = render.templates()

    @cached_property
    def resource(self) -> KleinResource:
        """Return the resource to mount."""
        return routing.resource(
            ROUTES, self.handle, self.answer_again, self._unmatched, self._root, self._begin
        )

    def nothing(self) -> IResource:
        """Return the resource for unknown paths next to ours."""
        return routing.NotFoundResource(self._unmatched, self._begin)

    async def handle(self, route: Route, request: Request, texts: dict[str, str]) -> bytes:
        """Answer a request that matched *route*, and count it.

        :param texts: what stands in its path, by noun
        """
        work = self._answer(route, request, texts)
        return await self._counted(route, request, work, time.monotonic())

    def answer_again(self, request: Request) -> defer.Deferred[bytes] | bytes | None:
        """Answer a GET as one in the same words before, in a few steps; ``None`` if none was.

        What all other requests go through costs more than to ask a reader, which may have the
        answer still. Where it has no short one, that is handled as for any other request.
        """
        question = self._reads.short(request)
        if question is None:
            return None
        begun, route = time.monotonic(), question.route

        def whole(response: Response) -> bytes:
            body = respond(request, response)
            self._count(route, request, str(request.code), begun)
            return body

        def answered(found: Answer) -> bytes | defer.Deferred[bytes]:
            if isinstance(found, Delivery):
                return follow(defer.succeed(found))
            return whole(Response(*found))

        def follow(asked: defer.Deferred[Any]) -> defer.Deferred[bytes]:
            work = self._reads.follow(request, question, asked)
            return defer.Deferred.fromCoroutine(self._counted(route, request, work, begun))

        known = question.again()
        if known is not None:
            body = whole(known)
            if self._may_go_on(request):
                return body
            return defer.Deferred.fromCoroutine(self._in_turn(body))
        try:
            asked: defer.Deferred[Any] = question.ask_once()
        except Unavailable:
            return None  # which is told like any other failure
        return asked.addCallbacks(answered, lambda failure: follow(defer.fail(failure)))

    async def _in_turn(self, body: bytes) -> bytes:
        await next_turn(self.master.reactor)
        return body

    def _may_go_on(self, request: Request) -> bool:
        """Return whether a request may be answered at once, as no long row of one client's is."""
        client = id(request.channel)
        self._in_a_row = self._in_a_row + 1 if client == self._last_client else 1
        self._last_client = client
        return self._in_a_row % LONGEST_ROW != 0

    async def _counted(
        self, route: Route, request: Request, work: Awaitable[bytes], begun: float
    ) -> bytes:
        """Return the body that *work* makes, or that tells why it failed; count the answer.

        :param begun: when the request came, in seconds of the monotonic clock
        """
        status = "gone"
        try:
            body = await self._unfailing(route, request, work)
            status = str(request.code)
        finally:
            self._count(route, request, status, begun)
        return body

    def _count(self, route: Route, request: Request, status: str, begun: float) -> None:
        """Count an answer, and how long it took unless it waited on purpose."""
        method = request.method.decode("ascii", "replace")
        waited = route.live is not None or (route.wait_for and b"wait" in (request.args or ()))
        seconds = None if waited else time.monotonic() - begun
        self.backend.metrics.answered(method, route.shown_path, status, seconds)

    async def _answer(self, route: Route, request: Request, texts: dict[str, str]) -> bytes:
        if route.live is not None:
            return await self._reads.live(route, request, texts)
        if route.method == "GET":
            return await self._reads.answer(route, request, texts)
        return await self._job_requests.answer(route, request, texts)

    async def _unfailing(self, route: Route, request: Request, work: Awaitable[bytes]) -> bytes:
        """Return the body that *work* makes, or that tells why it failed."""
        try:
            return await work
        except SelfServeError as error:
            return self._refuse(request, error, route)
        except defer.CancelledError:
            raise  # the client is gone
        except Exception:
            self.log.failure("selfserve: {route} failed", route=route.name)
            internal = SelfServeError("Internal error, see the master's log")
            return self._refuse(request, internal, route)

    def _unmatched(self, request: Request, error: SelfServeError) -> bytes:
        """Answer a request that matched no route, and count it."""
        body = self._refuse(request, error)
        method = request.method.decode("ascii", "replace")
        self.backend.metrics.answered(method, OTHER, str(request.code), None)
        return body

    def _refuse(self, request: Request, error: SelfServeError, route: Route | None = None) -> bytes:
        """Answer with *error*."""
        form = negotiation.accepted_form(request)
        try:
            query = negotiation.query_of(request)
            form = negotiation.form_of(request, query)
        except BadParameter:
            query = {}
        identity = authentication.from_session(self.master, request)
        asked = new_read_request(self.master, self.backend.site, "", form, request, query, identity)
        back = self._page_before(request, route, asked.path)
        answer = failure(self._templates, self.backend.site, error, asked, back)
        # a browser would open its own dialogue instead of showing the page
        if isinstance(error, Unauthorized) and not negotiation.has_a_page(request):
            for scheme in authentication.schemes(self.master, self.backend.tokens):
                request.responseHeaders.addRawHeader(
                    "WWW-Authenticate", f'{scheme} realm="{REALM}"'
                )
        return respond(request, answer)

    def _page_before(self, request: Request, route: Route | None, path: str) -> str:
        """Return the page from which a job request was sent; empty for a GET.

        :param path: that of *request*
        """
        if request.method in (b"GET", b"HEAD"):
            return ""
        root = self.backend.site.root
        before = authentication.page_of(self.backend.site, request, path)
        its_own = before.partition("?")[0] == path
        if its_own and (route is None or route.shown_path not in _PAGES):
            # the page of an earlier error, which cannot be opened
            branch, *rest = path.removeprefix(f"{root}/").split("/")
            at = f"rev/{rest[1]}" if rest[:1] == ["rev"] and len(rest) > 2 else "pushes"
            return f"{root}/{branch}/{at}"
        return before

    def _begin(self, request: Request) -> None:
        security_headers.put_on(self.master, request)
        if request.received_cookies:
            session_cookies.forget_broken(self.master, request)

    def _root(self) -> str:
        return self.backend.site.root
