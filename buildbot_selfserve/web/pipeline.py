"""The way of a request through the house, step by step.

A GET goes to a reader as early as it can; all that happens to it there is ``answering.answer``. A
job request stays in the reactor, where the master's own APIs are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Coroutine
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
from typing import Any
from typing import Protocol

from klein.resource import KleinResource
from twisted.internet import defer
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.resource import IResource
from twisted.web.server import Request

from buildbot_selfserve.config import SelfServe
from buildbot_selfserve.control import Control
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import NotFound
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.errors import Unauthorized
from buildbot_selfserve.jobs import AskedJobs
from buildbot_selfserve.jobs import Asker
from buildbot_selfserve.jobs import Jobs
from buildbot_selfserve.live import Live
from buildbot_selfserve.metrics import OTHER
from buildbot_selfserve.metrics import Metrics
from buildbot_selfserve.model import Attempt
from buildbot_selfserve.model import Changes
from buildbot_selfserve.model import Measured
from buildbot_selfserve.model import Outlook
from buildbot_selfserve.model import Receipt
from buildbot_selfserve.model import Setup
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import Target
from buildbot_selfserve.model import Verdict
from buildbot_selfserve.model import as_json
from buildbot_selfserve.params import FORMAT
from buildbot_selfserve.params import IDEMPOTENCY_KEY
from buildbot_selfserve.params import parse_all
from buildbot_selfserve.readers import Lengthy
from buildbot_selfserve.readers import Readers
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.routes import Route
from buildbot_selfserve.routes import snake
from buildbot_selfserve.waiting import Moment
from buildbot_selfserve.waiting import independent
from buildbot_selfserve.web import answering
from buildbot_selfserve.web import bodies
from buildbot_selfserve.web import crosssite
from buildbot_selfserve.web import headers
from buildbot_selfserve.web import may
from buildbot_selfserve.web import negotiation
from buildbot_selfserve.web import render
from buildbot_selfserve.web import routing
from buildbot_selfserve.web import sending
from buildbot_selfserve.web import sessions
from buildbot_selfserve.web import streaming
from buildbot_selfserve.web import verdicts
from buildbot_selfserve.web import who
from buildbot_selfserve.web.answering import Answer
from buildbot_selfserve.web.answering import Question
from buildbot_selfserve.web.answering import Visitor
from buildbot_selfserve.web.may import Deed
from buildbot_selfserve.web.paging import Wanted
from buildbot_selfserve.web.tokens import Tokens
from buildbot_selfserve.web.told import Told
from buildbot_selfserve.web.who import Identity

#: Returns if the asker may do it to the target, or raises Forbidden.
Ask = Callable[[Target], Awaitable[None]]

ANONYMOUS = "anonymous"
REALM = "buildbot"
#: A page of more jobs than this is no small answer.
MOST_SMALL = 1000


@dataclass(frozen=True)
class LiveContext:
    """The ``ctx`` of the handler of a live GET."""

    measured: Callable[[], Measured]


@dataclass(frozen=True)
class JobContext:
    """The ``ctx`` of a job request's handler."""

    control: Control
    jobs: AskedJobs


class Services(Protocol):
    """What the pipeline needs of the floors below; a reconfig may change all of it."""

    @property
    def config(self) -> SelfServe: ...

    @property
    def site(self) -> Site: ...

    def setup(self, branch_name: str) -> Setup: ...

    @property
    def readers(self) -> Readers: ...

    @property
    def tokens(self) -> Tokens: ...

    @property
    def jobs(self) -> Jobs: ...

    @property
    def control(self) -> Control: ...

    @property
    def live(self) -> Live: ...

    @property
    def metrics(self) -> Metrics: ...


class Pipeline:
    """Answers every request to this plugin."""

    log = Logger()

    def __init__(self, master: Any, services: Services) -> None:
        self.master = master
        self.services = services
        # for what goes wrong before, beside or behind the readers
        self._templates = render.templates()

    @property
    def limits(self) -> dict[str, int]:
        """Return the bounds of parameters that the operator configured."""
        return {"max_count": self.services.config.max_count}

    def resource(self) -> KleinResource:
        """Return the resource to mount."""
        return routing.resource(ROUTES, self.handle, self._unmatched, self._root, self._begin)

    def nothing(self) -> IResource:
        """Return the resource for paths near ours at which there is nothing."""
        return routing.Nothing(self._unmatched, self._begin)

    async def handle(self, route: Route, request: Request, texts: dict[str, str]) -> bytes:
        """Answer a request that matched *route*, and count it."""
        method = request.method.decode("ascii", "replace")
        begun = self.master.reactor.seconds()
        status = "gone"
        try:
            body = await self._answer(route, request, texts)
            status = str(request.code)
        finally:
            waited = route.live is not None or (route.held and b"wait" in (request.args or ()))
            seconds = None if waited else self.master.reactor.seconds() - begun
            self.services.metrics.answered(method, route.shown_path, status, seconds)
        return body

    def _unmatched(self, request: Request, error: SelfServeError) -> bytes:
        """Answer a request that matched no route, and count it."""
        body = self.refuse(request, error)
        method = request.method.decode("ascii", "replace")
        self.services.metrics.answered(method, OTHER, str(request.code), None)
        return body

    async def _answer(self, route: Route, request: Request, texts: dict[str, str]) -> bytes:
        try:
            if route.live is not None:
                return await self._live(route, request, texts)
            if route.method == "GET":
                return await self._get(route, request, texts)
            return await _unhurried(self._logged(route, request, texts))
        except SelfServeError as error:
            return self.refuse(request, error)
        except defer.CancelledError:
            raise  # the client is gone
        except Exception:
            self.log.failure("selfserve: {route} failed", route=route.name)
            return self.refuse(request, SelfServeError("Internal error, see the master's log"))

    def refuse(self, request: Request, error: SelfServeError) -> bytes:
        """Answer with *error*."""
        form = negotiation.accepted_form(request)
        try:
            query = negotiation.query_of(request)
            form = negotiation.form_of(request, query)
        except BadParameter:
            query = {}
        identity = who.from_session(self.master, request)
        question = self._question("", form, request, query, identity)
        answer = answering.failure(self._templates, self.services.site, error, question)
        # a browser would open its own dialogue instead of showing the page
        if isinstance(error, Unauthorized) and not negotiation.has_a_page(request):
            for scheme in who.schemes(self.master, self.services.tokens):
                request.responseHeaders.addRawHeader(
                    "WWW-Authenticate", f'{scheme} realm="{REALM}"'
                )
        return self._respond(request, answer)

    def _begin(self, request: Request) -> None:
        headers.put_on(self.master, request)
        sessions.forget_broken(self.master, request)

    # -- GET

    async def _get(self, route: Route, request: Request, texts: dict[str, str]) -> bytes:
        query = negotiation.query_of(request)
        form = _form_of(route, request, query)
        identity = await self._reader_of(route, request, form)
        params = parse_all(route.all_params, query, self.limits)
        page = Wanted(params.pop("limit"), params.pop("offset")) if route.paged else None
        wait = params.pop("wait") if route.held is not None else 0
        texts = {**texts, **_taken_nouns(route, params)}
        tells = form == "html" or route.tells_offers
        may_do = await self._verdicts(route, identity, texts) if tells else {}
        question = replace(
            self._question(route.name, form, request, query, identity),
            texts=texts,
            params=params,
            verdicts=may_do,
            page=page,
            known=negotiation.known_tags(request),
            gzip=negotiation.takes_gzip(request),
        )
        large = route.large or (params.get("num") or 0) > MOST_SMALL

        def ask() -> defer.Deferred[Answer | Lengthy]:
            site = self._site(route, texts)
            asked = answering.answer_in_pieces, site, question
            return self.services.readers.ask(*asked, large=large)

        if not wait:
            return await self._send(request, await ask())
        moment = await self._held(request, question, wait)
        return await self._send(request, await moment.ask(question.key, ask))

    def _held(self, request: Request, question: Question, seconds: int) -> Awaitable[Moment]:
        """Return when the answer to *question* is worth asking for, or after so many *seconds*."""
        asked = Question(question.route, "", texts=question.texts, params=question.params)

        def look() -> defer.Deferred[Outlook]:
            return self.services.readers.ask(answering.outlook, self.services.site, asked)

        return self.services.live.hold(_remote(request), asked.key, look, seconds)

    async def _reader_of(self, route: Route, request: Request, form: str) -> Identity:
        """Return who asks, as far as the answer depends on it.

        :raises Unauthorized: they must be known to read, or their credentials are wrong
        :raises Forbidden: they may not read
        """
        guarded = bool(self.master.www.authz.allowRules)
        if form == "json" and not guarded and not route.tells_offers:
            return who.NOBODY
        try:
            identity = await who.identify(self.master, self.services.tokens, request, reads=True)
        except Unauthorized:
            if guarded or route.tells_offers:
                raise
            return who.NOBODY  # what everybody may read is shown to whoever comes
        await may.require_readable(self.master, identity)
        return identity

    async def _verdicts(
        self, route: Route, identity: Identity, texts: dict[str, str]
    ) -> dict[str, Verdict]:
        """Return whether *identity* may do what *route* offers, by action.

        Only where a rule asks for it is a target looked up: another way to a reader.
        """
        if not route.offers:
            return {}
        site = self._site(route, texts)
        deeds = list(may.offered(route.offers, site, texts["branch"]))
        found = {deed.action: self._verdict(identity, deed) for deed in deeds}
        unclear = [
            deed
            for deed in deeds
            if found[deed.action].allowed is None and deed.permission.noun in texts
        ]
        if unclear:
            nouns = await self.services.readers.ask(answering.resolve, site, texts)
            found |= await verdicts.of_targets(self.master, identity, unclear, nouns)
        return found

    def _verdict(self, identity: Identity, deed: Deed) -> Verdict:
        require_login = self.services.config.require_login
        return verdicts.verdict(self.master, identity, deed, require_login=require_login)

    # -- a GET of what only the reactor knows

    async def _live(self, route: Route, request: Request, texts: dict[str, str]) -> bytes:
        _form_of(route, request, negotiation.query_of(request))
        await self._reader_of(route, request, "json")
        services = self.services
        found: dict[str, Any] = {}
        if texts:
            found = await services.readers.ask(answering.resolve, services.site, texts)
        value = route.handler(LiveContext(services.metrics.measured), **found)
        if isinstance(value, Measured):
            return self._respond(request, Answer(200, value.media_type, value.text))
        assert isinstance(value, Changes)
        request.setHeader("Content-Type", route.live)
        reactor = self.master.reactor
        return await streaming.stream(
            request, _remote(request), value.branch, services.live, reactor
        )

    # -- job requests

    async def _logged(self, route: Route, request: Request, texts: dict[str, str]) -> bytes:
        """Do a job request; write the line of the log that tells of it, whatever came of it."""
        assert route.permission is not None  # declare() saw to it
        told = Told(self.master.reactor.seconds(), _remote(request), dict(texts))
        try:
            answer = await self._job(route, request, texts, told)
            told.outcome = told.job.status if told.job else None
            return answer
        except SelfServeError as error:
            told.outcome = type(error).__name__
            told.msg = error.msg
            told.job_id = getattr(error, "job_id", None)
            raise
        finally:
            self.log.info(
                "selfserve: job request {request}",
                request=told.line(route.permission.action, self.master.reactor.seconds()),
            )

    async def _job(
        self, route: Route, request: Request, texts: dict[str, str], told: Told
    ) -> bytes:
        assert route.permission is not None  # declare() saw to it
        begun = told.begun
        query = negotiation.query_of(request)
        negotiation.form_of(request, query)
        identity = await who.identify(self.master, self.services.tokens, request)
        told.who, told.via = identity.name or ANONYMOUS, identity.via
        if identity.name is None and self.services.config.require_login:
            raise Unauthorized("Log in first", "job requests are for users this Buildbot knows")
        crosssite.require_same_site(self.master, request, identity.via)
        params = self._body_params(route, request, query)
        texts = {**texts, **_taken_nouns(route, params)}
        told.target = texts
        site = self._site(route, texts)
        try:
            found = await self.services.readers.ask(answering.resolve, site, texts)
            deed = may.deed(route.permission, found)
            ask = partial(may.require_allowed, self.master, identity, deed)
            await self._require_allowed(identity, deed, ask, found)
        except (NotFound, Forbidden):
            # who may not read must not learn here what exists
            await may.require_readable(self.master, identity)
            raise
        asker = Asker(
            identity.name or ANONYMOUS,
            identity.via,
            _remote(request),
            begun,
            partial(may.is_allowed, ask),
            _attempt(route, request, texts, params),
        )
        ctx = JobContext(self.services.control, self.services.jobs.asked_by(asker))
        arguments = {snake(name): value for name, value in params.items()}
        receipt: Receipt = await route.handler(ctx, **found, **arguments)
        told.job = receipt.job
        left = begun + self.services.config.timeout - self.master.reactor.seconds()
        return await self._receipt(request, query, receipt, left)

    async def _require_allowed(
        self, identity: Identity, deed: Deed, ask: Ask, found: dict[str, Any]
    ) -> None:
        """Return if *identity* may do *deed*, at least to some of many targets.

        :raises Forbidden: they may not
        """
        if deed.permission.noun is not None:
            await ask(found[deed.permission.noun])
            return
        verdict = self._verdict(identity, deed)
        if verdict.allowed is False:
            raise Forbidden(verdict.why)

    def _body_params(self, route: Route, request: Request, query: dict[str, str]) -> dict[str, Any]:
        for param in route.params:
            if param.name in query:
                raise BadParameter(param.name, "in the body of the request, not in its URL")
        return parse_all(route.params, bodies.body_of(request), self.limits)

    async def _receipt(
        self, request: Request, query: dict[str, str], receipt: Receipt, left: float
    ) -> bytes:
        """Answer with *receipt*; as a page, if that is made in the seconds that are *left*."""
        site, job_id = self.services.site, receipt.job.job_id
        location = f"{site.root}/jobs/{job_id}"
        request.setHeader("Location", location)
        receipt_json = Answer(202, render.JSON_TYPE, render.json_bytes(as_json(receipt, site)))
        if negotiation.form_of(request, query) == "json":
            return self._respond(request, receipt_json)
        if negotiation.is_browser(request):
            return self._respond(request, Answer(303, render.HTML_TYPE, b""))
        question = Question("GET /jobs/<job>", "html", {"job": str(job_id)}, path=location)
        try:
            asked = self.services.readers.ask(answering.answer, site, question)
            page: Answer = await asked.addTimeout(max(0.0, left), self.master.reactor)
        except Exception:
            # what was done must not be lost with its page
            self.log.failure("selfserve: no page for job {job_id}", job_id=job_id)
            return self._respond(request, receipt_json)
        return self._respond(request, Answer(202, page.content_type, page.body))

    # -- both

    def _site(self, route: Route, texts: dict[str, str]) -> Site:
        site = self.services.site
        if not route.needs_setup:
            return site
        return replace(site, setup=self.services.setup(texts["branch"]))

    def _question(
        self,
        route: str,
        form: str,
        request: Request,
        query: dict[str, str],
        identity: Identity,
    ) -> Question:
        kept = tuple((name, value) for name, value in query.items() if name != "format")
        path = self._path(request)
        visitor = Visitor(identity.name, via=identity.via)
        if form == "html":
            site = self.services.site
            back = who.page_of(site, request, path)
            login, logout = (
                who.door_url(self.master, site, back, door) for door in ("login", "logout")
            )
            visitor = replace(visitor, login=login, logout=logout)
        return Question(route, form, path=path, query=kept, visitor=visitor)

    def _path(self, request: Request) -> str:
        """Return the path of *request* as its client sees it."""
        own = request.path.decode("ascii", "replace")
        return self.services.site.prefix + own

    def _root(self) -> str:
        return self.services.site.root

    async def _send(self, request: Request, answer: Answer | Lengthy) -> bytes:
        """Answer, in pieces where it is long; return the rest of the body."""
        if isinstance(answer, Answer):
            return self._respond(request, answer)
        length = sum(map(len, answer.pieces))
        self._respond(request, answer.value, length)
        if request.method != b"HEAD":
            await sending.send(request, answer.pieces)
        return b""

    def _respond(self, request: Request, answer: Answer, length: int | None = None) -> bytes:
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


def _unhurried(work: Coroutine[Any, Any, bytes]) -> defer.Deferred[bytes]:
    """Return the result of *work*, which goes on if nobody waits for it any more.

    Klein cancels the handler of a client that has gone. Job requests that were received are done.
    """

    def unwanted(result: bytes | Failure) -> None:
        if isinstance(result, Failure) and not result.check(SelfServeError):
            Pipeline.log.failure("selfserve: failed after its client had gone", result)

    return independent(defer.Deferred.fromCoroutine(work), unwanted)


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


def _taken_nouns(route: Route, params: dict[str, Any]) -> dict[str, str]:
    """Take the parameters that identify a noun out of *params*; return their texts by noun."""
    taken = {param.noun: params.pop(param.name) for param in route.params if param.noun}
    return {noun: str(value) for noun, value in taken.items() if value is not None}


def _attempt(
    route: Route, request: Request, texts: dict[str, str], params: dict[str, Any]
) -> Attempt | None:
    """Return what makes sending *request* again safe, if its client gave it a key.

    :raises BadParameter: a key that is none
    """
    raw = request.getHeader(b"idempotency-key")
    if raw is None:
        return None
    text = raw.decode("utf-8", "replace").strip()
    if not text:
        raise BadParameter(IDEMPOTENCY_KEY.name, IDEMPOTENCY_KEY.expected())
    asked = json.dumps([route.name, texts, params], sort_keys=True)
    fingerprint = hashlib.sha256(asked.encode()).hexdigest()
    return Attempt(IDEMPOTENCY_KEY.parse(text, {}), fingerprint)


def _remote(request: Request) -> str:
    return str(getattr(request.getClientAddress(), "host", ""))
