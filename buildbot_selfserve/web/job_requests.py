"""Handles a job request: identity, CSRF, body, lookup, authorization, the act, the receipt.

It stays in the reactor, where the master's own APIs are, and goes on if its client hangs up.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from functools import partial
from typing import Any

from twisted.internet import defer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.server import Request

from buildbot_selfserve.audit_log import AuditRecord
from buildbot_selfserve.auth import authorization
from buildbot_selfserve.auth import csrf
from buildbot_selfserve.auth import permission_preview
from buildbot_selfserve.auth import time_limits
from buildbot_selfserve.auth.authentication import Identity
from buildbot_selfserve.auth.authorization import Action
from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.deferreds import independent
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import CustomCodeFailed
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import NotFound
from buildbot_selfserve.errors import NotNow
from buildbot_selfserve.errors import PlanChanged
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.errors import SentForm
from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.errors import Unauthorized
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.jobs import JobRunner
from buildbot_selfserve.jobs import Requester
from buildbot_selfserve.model import Attempt
from buildbot_selfserve.model import Decision
from buildbot_selfserve.model import PlannedReceipt
from buildbot_selfserve.model import Receipt
from buildbot_selfserve.model import Target
from buildbot_selfserve.model import as_json
from buildbot_selfserve.params.declared import DRY_RUN
from buildbot_selfserve.params.declared import IDEMPOTENCY_KEY
from buildbot_selfserve.params.declared import IF_PLAN
from buildbot_selfserve.params.kinds import parse_all
from buildbot_selfserve.params.misspelled import refuse_misspelled
from buildbot_selfserve.permissions import set_action
from buildbot_selfserve.resources.context import JobContext
from buildbot_selfserve.routes import Route
from buildbot_selfserve.routes import snake
from buildbot_selfserve.views import plan_page
from buildbot_selfserve.views import read_handler
from buildbot_selfserve.views import render
from buildbot_selfserve.views.read_request import ReadRequest
from buildbot_selfserve.views.read_request import Response
from buildbot_selfserve.web import negotiation
from buildbot_selfserve.web import request_body
from buildbot_selfserve.web.backend import Backend
from buildbot_selfserve.web.reads import new_read_request
from buildbot_selfserve.web.responses import respond

#: Returns for each target why the user may not do it to that, ``None`` if they may.
Ask = Callable[[Sequence[Target]], Coroutine[Any, Any, list[str | None]]]

ANONYMOUS = "anonymous"
#: What the user of a form may correct, or send again.
CORRECTABLE = (BadParameter, NotFound, Refused, TooMany, Unavailable)


@dataclass(frozen=True)
class _Wanted:
    """What a job request wants.

    :param found: the nouns that it is about
    :param params: the values of its parameters, by their names in Python
    :param action: what the journal calls it
    :param ask: asks whether it may be done to one of several targets
    :param selectors: the patterns that select builders, by the name of the parameter
    :param dry_run: only say what would be done
    :param if_plan: the text of the plan that the user has seen
    """

    found: dict[str, Any]
    params: dict[str, Any]
    action: str
    attempt: Attempt | None
    ask: Ask
    selectors: dict[str, tuple[str, ...]]
    dry_run: bool
    if_plan: str | None


@dataclass(frozen=True)
class _Sent:
    """What a client has sent, before it is read.

    :param texts: what stands in its path, by noun
    :param query: the parameters in its URL
    :param form: what the answer is to be, ``json`` or ``html``
    :param data: its body
    """

    route: Route
    request: Request
    texts: dict[str, str]
    query: dict[str, Any]
    form: str
    data: bytes

    @cached_property
    def params(self) -> dict[str, Any]:
        """Return its parameters: those of its body, and those that belong into its URL.

        :raises BadParameter: one stands where it does not belong, or is misspelled; there are other
            errors of this kind
        """
        route, query = self.route, self.query
        in_query = {param.name for param in route.query_params}
        for param in route.all_params:
            if param.name in query and param.name not in in_query:
                raise BadParameter(param.name, "in the body of the request, not in its URL")
        body = request_body.sent(self.request, self.data)
        refuse_misspelled([*body, *query], route.known_names, route.meant_names)
        return request_body.with_query(body, query, route.query_params)


class JobRequests:
    """Answers every request but GET."""

    log = Logger()

    def __init__(self, master: Any, backend: Backend) -> None:
        self.master = master
        self.backend = backend

    def answer(
        self, route: Route, request: Request, texts: dict[str, str]
    ) -> defer.Deferred[bytes]:
        """Do a job request and answer it; do it also when its client goes away meanwhile.

        Klein cancels the handler of a client that has gone. Job requests that were received are
        done.

        :param texts: what stands in its path, by noun
        """

        def unwanted(result: bytes | Failure) -> None:
            if isinstance(result, Failure) and not result.check(SelfServeError):
                self.log.failure("selfserve: failed after its client had gone", result)

        return independent(
            defer.Deferred.fromCoroutine(self._logged(route, request, texts)), unwanted
        )

    async def _logged(self, route: Route, request: Request, texts: dict[str, str]) -> bytes:
        """Do a job request; log it, whatever its outcome."""
        audit = AuditRecord(
            time.monotonic(),
            negotiation.client_address(request),
            dict(texts),
            _action_name(route, texts),
        )
        try:
            return await self._done(route, request, texts, audit)
        except SelfServeError as error:
            audit.refused(error)
            raise
        finally:
            self.log.info("selfserve: job request {request}", request=audit.line(time.monotonic()))

    async def _done(
        self, route: Route, request: Request, texts: dict[str, str], audit: AuditRecord
    ) -> bytes:
        query = negotiation.query_of(request)
        form = negotiation.form_of(request, query)
        sent = _Sent(route, request, texts, query, form, request_body.received(request))
        identity = await self._identity(request, audit)
        try:
            return await self._act(sent, identity, audit)
        except CORRECTABLE as error:
            error.form = _sent_form(sent)
            raise

    async def _act(self, sent: _Sent, identity: Identity, audit: AuditRecord) -> bytes:
        """Do what *identity*, whose request no other site has sent, asks for; answer it."""
        work = self._wanted(sent, identity, audit)
        wanted = await time_limits.in_time(self.master, work, self._left(audit))
        requester = Requester(
            identity.name or ANONYMOUS,
            identity.via,
            audit.remote,
            audit.begun,
            partial(time_limits.refusals, self.master, wanted.ask, self.backend.config.timeout),
            wanted.attempt,
        )
        runner = JobRunner(
            self.backend.jobs,
            requester,
            wanted.action,
            wanted.selectors,
            dry_run=wanted.dry_run,
            if_plan=wanted.if_plan,
        )
        handled: Awaitable[Receipt | PlannedReceipt] = sent.route.handler(
            JobContext(runner), **wanted.found, **wanted.params
        )
        try:
            receipt = await handled
        except PlanChanged as error:
            if sent.form == "json":
                raise
            audit.refused(error)
            return await self._planned(sent, identity, error.planned, changed=True)
        if isinstance(receipt, PlannedReceipt):
            audit.planned(receipt.job)
            return await self._planned(sent, identity, receipt)
        audit.done(receipt.job)
        return await self._receipt(sent, receipt, self._left(audit))

    def _left(self, audit: AuditRecord) -> float:
        """Return the seconds in which a job request has to be answered."""
        return audit.begun + self.backend.config.timeout - time.monotonic()

    async def _identity(self, request: Request, audit: AuditRecord) -> Identity:
        """Return the identity of the user, if no page of another site sent the request.

        :raises Unauthorized: nobody knows who it is, or their credentials are wrong
        :raises Forbidden: a page of another site may have sent it
        """
        identity = await time_limits.identify(
            self.master, self.backend.tokens, request, self._left(audit)
        )
        audit.who, audit.via = identity.name or ANONYMOUS, identity.via
        if identity.name is None and self.backend.config.require_login:
            raise Unauthorized("Log in first", "job requests need a user that this Buildbot knows")
        csrf.require_same_site(self.master, request, identity.via)
        return identity

    async def _wanted(self, sent: _Sent, identity: Identity, audit: AuditRecord) -> _Wanted:
        """Return the action, targets and parameters of a job request that *identity* may send.

        Who may not read must not learn here what exists: whatever is wrong, they are told the same,
        and where the rules let them do nothing anyway, nothing is looked up.

        :raises BadParameter: the body is not as it must be; there are other errors of this kind
        :raises NotFound: one of the nouns does not exist
        :raises Forbidden: they may not
        """
        route = sent.route
        closed = await self._closed(identity)
        if closed is not None and self._may_do_nothing(sent, identity):
            raise closed
        try:
            params = parse_all(route.all_params, sent.params, self.backend.limits)
            dry_run, if_plan = params.pop(DRY_RUN.name), params.pop(IF_PLAN.name)
            texts = {**sent.texts, **route.take_nouns(params)}
            audit.target = texts
            attempt = _attempt(route, sent.request, texts, params)
            selectors = route.take_selectors(params)
            found, action, ask = await self._allowed(route, identity, texts, selectors)
        except (NotNow, CustomCodeFailed):
            raise
        except SelfServeError as error:
            raise closed or error from None
        params = {snake(name): value for name, value in params.items()}
        given = {name: value for name, value in (selectors or {}).items() if value}
        return _Wanted(found, params, action.name, attempt, ask, given, dry_run, if_plan)

    async def _closed(self, identity: Identity) -> SelfServeError | None:
        """Return what *identity* is told who may not read, if so."""
        try:
            await authorization.require_readable(self.master, identity)
        except (Forbidden, Unauthorized) as error:
            return error
        return None

    def _may_do_nothing(self, sent: _Sent, identity: Identity) -> bool:
        """Whether *identity* may not do it, whatever the texts of its path stand for."""
        route, texts = sent.route, sent.texts
        assert route.permission is not None  # declare() saw to it
        action = Action(route.permission, _action_name(route, texts), texts["branch"])
        return self._decision(identity, action).allowed is False

    def _decision(self, identity: Identity, action: Action) -> Decision:
        require_login = self.backend.config.require_login
        return permission_preview.decision(
            self.master, identity, action, require_login=require_login
        )

    async def _allowed(
        self,
        route: Route,
        identity: Identity,
        texts: dict[str, str],
        selectors: dict[str, tuple[str, ...]] | None,
    ) -> tuple[dict[str, Any], Action, Ask]:
        """Return the nouns of a job request that *identity* may make, its action, and what asks
        for targets.

        :raises NotFound: one of the nouns does not exist
        :raises Forbidden: they may not
        """
        assert route.permission is not None  # declare() saw to it
        site = await self.backend.site_for(route, texts)
        found = await self.backend.readers.ask(read_handler.resolve, site, texts, selectors)
        action = authorization.action_on(route.permission, found)
        ask = partial(authorization.refusals, self.master, identity, action)
        await self._require_allowed(identity, action, ask, found)
        return found, action, ask

    async def _require_allowed(
        self, identity: Identity, action: Action, ask: Ask, found: dict[str, Any]
    ) -> None:
        """Return if *identity* may do *action*, at least to some of many targets.

        :raises Forbidden: they may not
        """
        if action.permission.noun is not None:
            (why,) = await ask([found[action.permission.noun]])
            if why is not None:
                raise Forbidden(why)
            return
        decision = self._decision(identity, action)
        if decision.allowed is False:
            raise Forbidden(decision.why)

    async def _planned(
        self, sent: _Sent, identity: Identity, planned: PlannedReceipt, *, changed: bool = False
    ) -> bytes:
        """Answer a dry run: as JSON, or as a page with a form that does what was planned.

        :param changed: the user has confirmed another plan
        """
        site, request = self.backend.site, sent.request
        if sent.form == "json":
            body = render.json_bytes(as_json(planned, site))
            return respond(request, Response(200, render.JSON_TYPE, body))
        form = plan_page.confirmation(sent.route.method, sent.params)
        seen = new_read_request(self.master, site, "", "html", request, sent.query, identity)
        page: Response = await self.backend.readers.ask(
            plan_page.answer, site, seen, planned, form, changed, large=True
        )
        return respond(request, page)

    async def _receipt(self, sent: _Sent, receipt: Receipt, left: float) -> bytes:
        """Answer with *receipt*; as a page, if that is made in the seconds that are *left*."""
        site, request, job_id = self.backend.site, sent.request, receipt.job.job_id
        location = f"{site.root}/jobs/{job_id}"
        request.setHeader("Location", location)
        receipt_json = Response(202, render.JSON_TYPE, render.json_bytes(as_json(receipt, site)))
        if sent.form == "json":
            return respond(request, receipt_json)
        if negotiation.is_browser(request):
            return respond(request, Response(303, render.HTML_TYPE, b""))
        large = len(receipt.job.requests) > read_handler.MOST_SMALL["html"]
        nouns = {"job": str(job_id)}
        read_request = ReadRequest("GET /jobs/<job>", "html", nouns, path=location, is_large=large)
        try:
            asked = self.backend.readers.ask(read_handler.answer, site, read_request, large=large)
            page: Response = await asked.addTimeout(max(0.0, left), monotonic(self.master.reactor))
        except Exception:
            # what was done must not be lost with its page
            self.log.failure("selfserve: no page for job {job_id}", job_id=job_id)
            return respond(request, receipt_json)
        return respond(request, Response(202, page.content_type, page.body))


def _sent_form(sent: _Sent) -> SentForm | None:
    """Return what a form in a browser has sent, ``None`` if it is no form or cannot be read."""
    if sent.form == "json" or not negotiation.is_browser(sent.request):
        return None
    with suppress(SelfServeError):
        if request_body.is_form(sent.request):
            body = request_body.body_of(sent.request, sent.data)
            return SentForm(sent.route.name, body, sent.texts["branch"])
    return None


def _action_name(route: Route, texts: dict[str, str]) -> str:
    """Return what the journal calls a job request of *route*, whose set may not exist."""
    assert route.permission is not None  # declare() saw to it
    named = texts.get("builder_set")
    return route.permission.action if named is None else set_action(named)


def _attempt(
    route: Route, request: Request, texts: dict[str, str], params: dict[str, Any]
) -> Attempt | None:
    """Return the idempotency key of *request* with its content, if it has one.

    :raises BadParameter: a key that is none
    """
    raw = request.getHeader(b"idempotency-key")
    if raw is None:
        return None
    # two keys that are no text must not become one
    text = raw.decode("utf-8", "surrogateescape").strip()
    if not text:
        raise BadParameter(IDEMPOTENCY_KEY.name, IDEMPOTENCY_KEY.expected())
    asked = json.dumps([route.name, texts, params], sort_keys=True)
    fingerprint = hashlib.sha256(asked.encode()).hexdigest()
    return Attempt(IDEMPOTENCY_KEY.parse(text, {}), fingerprint)
