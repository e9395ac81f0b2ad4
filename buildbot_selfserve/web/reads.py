"""Handles a GET in the reactor: who asks, then a reader, then the response.

What happens to it in the reader is ``views.read_handler``.
"""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from twisted.internet import defer
from twisted.web.server import Request

from buildbot_selfserve.auth import authentication
from buildbot_selfserve.auth import authorization
from buildbot_selfserve.auth import permission_preview
from buildbot_selfserve.auth import time_limits
from buildbot_selfserve.auth.authentication import Identity
from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.deferreds import SharedCall
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Decision
from buildbot_selfserve.model import EventStream
from buildbot_selfserve.model import LogText
from buildbot_selfserve.model import Measured
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import WaitCondition
from buildbot_selfserve.params.declared import FORMAT
from buildbot_selfserve.params.kinds import parse_all
from buildbot_selfserve.params.misspelled import refuse_misspelled
from buildbot_selfserve.readers.bodies import Delivery
from buildbot_selfserve.resources.context import LiveContext
from buildbot_selfserve.resources.context import Visitor
from buildbot_selfserve.routes import Route
from buildbot_selfserve.views import read_handler
from buildbot_selfserve.views.paging import PageRequest
from buildbot_selfserve.views.read_request import ANYBODY
from buildbot_selfserve.views.read_request import ReadRequest
from buildbot_selfserve.views.read_request import Response
from buildbot_selfserve.views.repeats import Repeats
from buildbot_selfserve.web import event_stream
from buildbot_selfserve.web import negotiation
from buildbot_selfserve.web.backend import Backend
from buildbot_selfserve.web.questions import Answer
from buildbot_selfserve.web.questions import Question
from buildbot_selfserve.web.questions import RememberedQuestions
from buildbot_selfserve.web.questions import Words
from buildbot_selfserve.web.questions import words_of
from buildbot_selfserve.web.queue_metrics import QueueMetrics
from buildbot_selfserve.web.responses import respond
from buildbot_selfserve.web.responses import send

#: A page of more jobs than this is no small answer.
MOST_SMALL = 1000


class Reads:
    """Answers every GET."""

    def __init__(self, master: Any, backend: Backend) -> None:
        self.master = master
        self.backend = backend
        self._clock = monotonic(master.reactor)
        self._queue_metrics = QueueMetrics(backend, self._clock)
        self._remembered = RememberedQuestions()
        self._repeats = Repeats()
        self._guard = authorization.ReadGuard()

    async def answer(self, route: Route, request: Request, texts: dict[str, str]) -> bytes:
        """Answer a GET that is handled in a reader.

        :param texts: what stands in its path, by noun
        """
        words = self._words(request)
        known = self._remembered.get(self.backend.site, words)
        if known is not None:
            await self._identity(route, request, "json")  # credentials must be right all the same
            if self._remembered.get(self.backend.site, self._words(request)) is known:
                return await self._send(request, await known.ask())
        query = negotiation.query_of(request)
        form = _form_of(route, request, query)
        identity = await self._identity(route, request, form)
        refuse_misspelled(query, route.known_names, route.meant_names)
        params = parse_all(route.all_params, query, self.backend.limits)
        page = PageRequest(params.pop("limit"), params.pop("offset")) if route.paged else None
        wait = params.pop("wait") if route.wait_for is not None else 0
        texts = {**texts, **route.take_nouns(params)}
        shared: SharedCall | None = None
        if wait:
            config = self.master.config
            shared = await self._until_worth_asking(route, request, form, texts, params, wait)
            if self.master.config is not config:
                identity = await self._identity(route, request, form)
        tells = form == "html" or route.tells_offers
        read_request = new_read_request(
            self.master,
            self.backend.site,
            route.name,
            form,
            request,
            query,
            identity if tells else authentication.NOBODY,
            texts=texts,
            params=params,
            decisions=await self._decisions(route, identity, texts, params) if tells else {},
            page=page,
            known=negotiation.known_tags(request),
            gzip=negotiation.takes_gzip(request),
            plain=bool(route.media_types) and negotiation.is_browser(request),
            master_state=await self.backend.master_state_for(route, form),
        )
        large = route.large or (params.get("num") or 0) > MOST_SMALL
        question = Question(self.backend, route, texts, read_request, large, self._repeats)
        if shared is None:
            if read_request.repeats and not tells:
                self._remembered.keep(self.backend.site, words, question)
            return await self._send(request, await question.ask())
        # each who waits is sent the same: it cannot come in pieces, which are taken once
        asked = shared.ask(
            read_request.key,
            lambda: defer.Deferred.fromCoroutine(question.ask(in_pieces=False)),
        )
        return await send(request, await asked, self._clock)

    def short(self, request: Request) -> Question | None:
        """Return what a GET in the same words has asked before, if its answer was short.

        There is none if it shows credentials, which must be looked at.
        """
        if request.getHeader(b"authorization") is not None:
            return None
        known = self._remembered.get(self.backend.site, self._words(request))
        return known if known is not None and known.was_short else None

    async def follow(
        self, request: Request, question: Question, asked: defer.Deferred[Answer]
    ) -> bytes:
        """Answer a GET with what a reader has answered, or failed with, when it was *asked*."""
        return await self._send(request, await question.follow(asked))

    def _send(self, request: Request, answer: Response | Delivery) -> Awaitable[bytes]:
        """Send an *answer*, which may be the first part of a text."""

        def ask_next(left: LogText) -> defer.Deferred[Delivery]:
            readers, site = self.backend.readers, self.backend.site
            return readers.ask(read_handler.next_part, site, left, large=True)

        return send(request, answer, self._clock, ask_next)

    def _words(self, request: Request) -> Words | None:
        """Return all that the answer to a GET depends on, ``None`` if that is also who asks."""
        return None if self._is_guarded else words_of(request)

    @property
    def _is_guarded(self) -> bool:
        """Whether the rules of now must be asked who may read."""
        return self._guard.guards(self.master.www.authz)

    async def live(self, route: Route, request: Request, texts: dict[str, str]) -> bytes:
        """Answer a GET that is handled in the reactor.

        :param texts: what stands in its path, by noun
        """
        _form_of(route, request, negotiation.query_of(request))
        await self._identity(route, request, "json")
        backend = self.backend
        found: dict[str, Any] = {}
        if texts:
            found = await backend.readers.ask(read_handler.resolve, backend.site, texts)
        if route.returns is Measured:
            await self._queue_metrics.refresh()
        value = route.handler(LiveContext(backend.metrics.measured), **found)
        if isinstance(value, Measured):
            return respond(request, Response(200, value.media_type, value.text))
        assert isinstance(value, EventStream)
        request.setHeader("Content-Type", route.live)
        client, clock = negotiation.client_address(request), self._clock

        async def check() -> Branch:
            await self._identity(route, request, "json")
            now = await backend.readers.ask(read_handler.resolve, backend.site, texts)
            branch: Branch = now["branch"]
            return branch

        return await event_stream.stream(request, client, value.branch, backend.live, check, clock)

    def _until_worth_asking(
        self,
        route: Route,
        request: Request,
        form: str,
        texts: dict[str, str],
        params: dict[str, Any],
        seconds: int,
    ) -> Awaitable[SharedCall]:
        """Return when the answer to a GET is worth asking for, or after so many *seconds*."""
        asked = ReadRequest(route.name, "", texts=texts, params=params)

        def look() -> defer.Deferred[WaitCondition]:
            return self.backend.readers.ask(read_handler.wait_condition, self.backend.site, asked)

        async def check() -> None:
            await self._identity(route, request, form)

        client = negotiation.client_address(request)
        return self.backend.live.hold(client, asked.key, look, seconds, check)

    async def _identity(self, route: Route, request: Request, form: str) -> Identity:
        """Return the identity of the user, as far as the answer depends on it.

        :raises Unauthorized: they must be known to read, or have sent credentials that are wrong
        :raises Forbidden: they may not read
        """
        seconds = self.backend.config.timeout
        if form == "json" and not self._is_guarded and not route.tells_offers:
            if request.getHeader(b"authorization") is not None:
                await time_limits.require_right_credentials(
                    self.master, self.backend.tokens, request, seconds
                )
            return authentication.NOBODY
        identity = await time_limits.identify(
            self.master, self.backend.tokens, request, seconds, reads=True
        )
        if self._is_guarded:
            await time_limits.require_readable(self.master, identity, seconds)
        return identity

    async def _decisions(
        self, route: Route, identity: Identity, texts: dict[str, str], params: dict[str, Any]
    ) -> dict[str, Decision]:
        """Return whether *identity* may do what *route* offers, by action.

        Only where a rule asks for it is a target looked up: another way to a reader. So are the
        builders that were selected.
        """
        if not route.shown_offers:
            return {}
        site = self.backend.site
        actions = list(authorization.offered(route.shown_offers, site, texts["branch"]))
        require_login = self.backend.config.require_login
        decided = {
            action: permission_preview.decision(
                self.master, identity, action, require_login=require_login
            )
            for action in actions
        }
        found = {action.name: one for action, one in decided.items()}
        selectors = route.take_selectors(dict(params)) or {}
        if any(selectors.values()):
            site = await self.backend.site_for(route, texts)
            asked = await self.backend.readers.ask(read_handler.resolve, site, texts, selectors)
            of_builders = permission_preview.of_builders(
                self.master, identity, decided, asked["selection"]
            )
            seconds = self.backend.config.timeout
            found |= await time_limits.in_time(self.master, of_builders, seconds)
        unclear = [
            action
            for action in actions
            if decided[action].allowed is None and action.permission.noun in texts
        ]
        if unclear:
            site = await self.backend.site_for(route, texts)
            nouns = await self.backend.readers.ask(read_handler.resolve, site, texts)
            of_targets = permission_preview.of_targets(self.master, identity, unclear, nouns)
            seconds = self.backend.config.timeout
            found |= await time_limits.in_time(self.master, of_targets, seconds)
        return found


def new_read_request(
    master: Any,
    site: Site,
    route: str,
    form: str,
    request: Request,
    query: Mapping[str, Any],
    identity: Identity,
    **more: Any,
) -> ReadRequest:
    """Return the request to send to a reader.

    :param route: its name in ``ROUTES``; may be empty where only a failure is to be told
    :param query: texts by name, with a tuple for a name that is repeated
    :param more: what the URL and the visitor do not tell
    """
    kept = tuple(
        (name, text)
        for name, value in query.items()
        if name != "format"
        for text in (value if isinstance(value, tuple) else (value,))
    )
    # a proxy may have taken a prefix away before we saw it
    path = site.prefix + request.path.decode("ascii", "replace")
    visitor = ANYBODY
    if identity is not authentication.NOBODY:
        visitor = Visitor(identity.name, via=identity.via, also=identity.names[1:])
    if form == "html":
        back = authentication.page_of(site, request, path)
        login, logout = (
            authentication.door_url(master, site, back, door) for door in ("login", "logout")
        )
        visitor = replace(visitor, login=login, logout=logout)
    return ReadRequest(route, form, path=path, query=kept, visitor=visitor, **more)


def _form_of(route: Route, request: Request, query: Mapping[str, Any]) -> str:
    """Return the form of the answer to a GET.

    :raises BadParameter: ``format`` asks for one that there is not
    """
    if route.has_page:
        return negotiation.form_of(request, query)
    asked = negotiation.format_in(query)
    if route.live is not None and asked:
        raise BadParameter(
            FORMAT.name, "left out, because this route returns neither JSON nor a page"
        )
    if asked not in ("json", ""):
        raise BadParameter(FORMAT.name, "json, because this route has no page")
    return "json"
