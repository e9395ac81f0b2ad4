"""The way of a GET: to a reader as early as it can, and back.

All that happens to it there is ``read_handler.answer``.
"""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from twisted.internet import defer
from twisted.web.server import Request

from buildbot_selfserve.auth import authentication
from buildbot_selfserve.auth import authorization
from buildbot_selfserve.auth import permission_preview
from buildbot_selfserve.auth.authentication import Identity
from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.deferreds import SharedCall
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import LargeAnswer
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Decision
from buildbot_selfserve.model import EventStream
from buildbot_selfserve.model import Measured
from buildbot_selfserve.model import WaitCondition
from buildbot_selfserve.params.declared import FORMAT
from buildbot_selfserve.params.kinds import parse_all
from buildbot_selfserve.readers.bodies import Delivery
from buildbot_selfserve.routes import Route
from buildbot_selfserve.views import read_handler
from buildbot_selfserve.views.paging import PageRequest
from buildbot_selfserve.views.read_request import ReadRequest
from buildbot_selfserve.views.read_request import Response
from buildbot_selfserve.web import negotiation
from buildbot_selfserve.web import services as asked_of
from buildbot_selfserve.web import sse
from buildbot_selfserve.web.responding import respond
from buildbot_selfserve.web.responding import send
from buildbot_selfserve.web.services import Services

#: A page of more jobs than this is no small answer.
MOST_SMALL = 1000


@dataclass(frozen=True)
class LiveContext:
    """The ``ctx`` of the handler of a live GET."""

    measured: Callable[[], Measured]


class Reads:
    """Answers every GET."""

    def __init__(self, master: Any, services: Services) -> None:
        self.master = master
        self.services = services
        self._clock = monotonic(master.reactor)

    async def answer(self, route: Route, request: Request, texts: dict[str, str]) -> bytes:
        """Answer a GET of what is read.

        :param texts: what stands in its path, by noun
        """
        query = negotiation.query_of(request)
        form = _form_of(route, request, query)
        identity = await self._identity(route, request, form)
        params = parse_all(route.all_params, query, asked_of.limits(self.services))
        page = PageRequest(params.pop("limit"), params.pop("offset")) if route.paged else None
        wait = params.pop("wait") if route.wait_for is not None else 0
        texts = {**texts, **asked_of.taken_nouns(route, params)}
        shared: SharedCall | None = None
        if wait:
            config = self.master.config
            shared = await self._held(route, request, form, texts, params, wait)
            if self.master.config is not config:
                identity = await self._identity(route, request, form)
        tells = form == "html" or route.tells_offers
        read_request = asked_of.read_request(
            self.master,
            self.services,
            route.name,
            form,
            request,
            query,
            identity if tells else authentication.NOBODY,
            texts=texts,
            params=params,
            decisions=await self._verdicts(route, identity, texts) if tells else {},
            page=page,
            known=negotiation.known_tags(request),
            gzip=negotiation.takes_gzip(request),
        )
        large = route.large or (params.get("num") or 0) > MOST_SMALL

        async def ask(
            answer: Callable[..., Any] = read_handler.answer_in_pieces,
        ) -> Response | Delivery:
            # what is configured may be another after a wait
            site = await asked_of.site_of(self.services, route, texts, form)
            readers = self.services.readers
            found: Response | Delivery | None = None
            if not large:
                with suppress(LargeAnswer):
                    found = await readers.ask(answer, site, read_request)
            if found is None:
                asked = replace(read_request, is_large=True)
                found = await readers.ask(answer, site, asked, large=True)
            return found

        if shared is None:
            return await send(request, await ask(), self._clock)
        # each who waits is sent the same: it cannot come in pieces, which are taken once
        asked = shared.ask(
            read_request.key, lambda: defer.Deferred.fromCoroutine(ask(read_handler.answer))
        )
        return await send(request, await asked, self._clock)

    async def live(self, route: Route, request: Request, texts: dict[str, str]) -> bytes:
        """Answer a GET of what only the reactor knows.

        :param texts: what stands in its path, by noun
        """
        _form_of(route, request, negotiation.query_of(request))
        await self._identity(route, request, "json")
        services = self.services
        found: dict[str, Any] = {}
        if texts:
            found = await services.readers.ask(read_handler.resolve, services.site, texts)
        value = route.handler(LiveContext(services.metrics.measured), **found)
        if isinstance(value, Measured):
            return respond(request, Response(200, value.media_type, value.text))
        assert isinstance(value, EventStream)
        request.setHeader("Content-Type", route.live)
        client, clock = asked_of.remote(request), self._clock

        async def check() -> Branch:
            await self._identity(route, request, "json")
            now = await services.readers.ask(read_handler.resolve, services.site, texts)
            branch: Branch = now["branch"]
            return branch

        return await sse.stream(request, client, value.branch, services.live, check, clock)

    def _held(
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
            return self.services.readers.ask(read_handler.wait_condition, self.services.site, asked)

        async def check() -> None:
            await self._identity(route, request, form)

        client = asked_of.remote(request)
        return self.services.live.hold(client, asked.key, look, seconds, check)

    async def _identity(self, route: Route, request: Request, form: str) -> Identity:
        """Return who asks, as far as the answer depends on it.

        :raises Unauthorized: they must be known to read, or have sent credentials that are wrong
        :raises Forbidden: they may not read
        """
        seconds = self.services.config.timeout
        guarded = bool(self.master.www.authz.allowRules)
        if form == "json" and not guarded and not route.tells_offers:
            if request.getHeader(b"authorization") is not None:
                await asked_of.require_right_credentials(
                    self.master, self.services, request, seconds
                )
            return authentication.NOBODY
        identity = await asked_of.identify(self.master, self.services, request, seconds, reads=True)
        await asked_of.require_readable(self.master, self.services, identity, seconds)
        return identity

    async def _verdicts(
        self, route: Route, identity: Identity, texts: dict[str, str]
    ) -> dict[str, Decision]:
        """Return whether *identity* may do what *route* offers, by action.

        Only where a rule asks for it is a target looked up: another way to a reader.
        """
        if not route.offers:
            return {}
        site = await asked_of.site_of(self.services, route, texts)
        actions = list(authorization.offered(route.offers, site, texts["branch"]))
        found = {
            action.name: asked_of.decision(self.master, self.services, identity, action)
            for action in actions
        }
        unclear = [
            action
            for action in actions
            if found[action.name].allowed is None and action.permission.noun in texts
        ]
        if unclear:
            nouns = await self.services.readers.ask(read_handler.resolve, site, texts)
            of_targets = permission_preview.of_targets(self.master, identity, unclear, nouns)
            seconds = self.services.config.timeout
            found |= await asked_of.in_time(self.master, of_targets, seconds, asked_of.DATABASE)
        return found


def _form_of(route: Route, request: Request, query: dict[str, str]) -> str:
    """Return the form of the answer to a GET.

    :raises BadParameter: ``format`` asks for one that there is not
    """
    if route.template is not None:
        return negotiation.form_of(request, query)
    if route.live is not None and query.get("format", "") != "":
        raise BadParameter(FORMAT.name, "left out: this is neither JSON nor a page")
    if query.get("format", "json") not in ("json", ""):
        raise BadParameter(FORMAT.name, "json: this has no page")
    return "json"
