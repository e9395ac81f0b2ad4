"""What the ways of requests need of the floors below, and what both of them ask of it."""

from __future__ import annotations

from collections.abc import Coroutine
from dataclasses import replace
from typing import Any
from typing import Protocol
from typing import TypeVar

from twisted.internet import defer
from twisted.logger import Logger
from twisted.web.server import Request

from buildbot_selfserve.auth import authentication
from buildbot_selfserve.auth import authorization
from buildbot_selfserve.auth import custom_code
from buildbot_selfserve.auth import permission_preview
from buildbot_selfserve.auth.authentication import Identity
from buildbot_selfserve.auth.authorization import Action
from buildbot_selfserve.auth.tokens import Tokens
from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.config import SelfServe
from buildbot_selfserve.control import Control
from buildbot_selfserve.deferreds import independent
from buildbot_selfserve.errors import CustomCodeFailed
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.history import db_engine
from buildbot_selfserve.jobs import Jobs
from buildbot_selfserve.live import Live
from buildbot_selfserve.metrics import Metrics
from buildbot_selfserve.model import Decision
from buildbot_selfserve.model import Setup
from buildbot_selfserve.model import Site
from buildbot_selfserve.readers import Readers
from buildbot_selfserve.routes import Route
from buildbot_selfserve.secrets import is_silent
from buildbot_selfserve.views.read_request import ReadRequest
from buildbot_selfserve.views.read_request import Visitor

Result = TypeVar("Result")
#: Who is silent when the rules of ``www.authz`` are.
DATABASE = "The master's database"
#: Who is silent when ``www.auth`` is.
USERS = "Who knows the users of this Buildbot"

_log = Logger()


class Services(Protocol):
    """What the pipeline needs of the floors below; a reconfig may change all of it."""

    @property
    def config(self) -> SelfServe: ...

    @property
    def site(self) -> Site: ...

    async def setup(self, branch_name: str) -> Setup: ...

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


def limits(services: Services) -> dict[str, int]:
    """Return the bounds of parameters that the operator configured."""
    return {"max_count": services.config.max_count}


async def site_of(
    services: Services, route: Route, texts: dict[str, str], form: str = "json"
) -> Site:
    """Return what a reader must know of the configuration to answer *route* in a *form*.

    :raises NotFound: the route needs to know what builds the branch, and there is no such branch
    """
    if not (route.needs_setup or (route.page_needs_setup and form == "html")):
        return services.site
    setup = await services.setup(texts["branch"])
    return replace(services.site, setup=setup)


def taken_nouns(route: Route, params: dict[str, Any]) -> dict[str, str]:
    """Take the parameters that identify a noun out of *params*; return their texts by noun."""
    taken = {param.noun: params.pop(param.name) for param in route.params if param.noun}
    return {noun: str(value) for noun, value in taken.items() if value is not None}


def remote(request: Request) -> str:
    """Return the address that *request* came from."""
    return str(getattr(request.getClientAddress(), "host", ""))


def read_request(
    master: Any,
    services: Services,
    route: str,
    form: str,
    request: Request,
    query: dict[str, str],
    identity: Identity,
    **more: Any,
) -> ReadRequest:
    """Return what to ask a reader for.

    :param route: its name in ``ROUTES``; may be empty where only a failure is to be told
    :param more: what the URL and who asks do not tell
    """
    site = services.site
    kept = tuple((name, value) for name, value in query.items() if name != "format")
    # a proxy may have taken a prefix away before we saw it
    path = site.prefix + request.path.decode("ascii", "replace")
    visitor = Visitor(identity.name, via=identity.via)
    if form == "html":
        back = authentication.page_of(site, request, path)
        login, logout = (
            authentication.door_url(master, site, back, door) for door in ("login", "logout")
        )
        visitor = replace(visitor, login=login, logout=logout)
    return ReadRequest(route, form, path=path, query=kept, visitor=visitor, **more)


def decision(master: Any, services: Services, identity: Identity, action: Action) -> Decision:
    """Return whether *identity* may do *action*, as far as that can be told without a target."""
    require_login = services.config.require_login
    return permission_preview.decision(master, identity, action, require_login=require_login)


async def in_time(
    master: Any, work: Coroutine[Any, Any, Result], seconds: float, silent: str
) -> Result:
    """Return the result of *work*, which waits for what may never answer, and writes nothing.

    The rules of ``www.authz`` ask the database of *master* through Buildbot, and an operator's
    ``userInfoProvider`` asks whom it likes; both are waited for as long as it takes.

    :param silent: who did not answer, in the words of an operator
    :raises Unavailable: it has not ended after so many *seconds*, and goes on; or its database
        cannot be reached
    """
    asked = independent(defer.Deferred.fromCoroutine(work))
    try:
        return await asked.addTimeout(max(0.0, seconds), monotonic(master.reactor))
    except defer.TimeoutError:
        raise Unavailable(f"{silent} does not answer") from None
    except (defer.FirstError, *db_engine.AWAY) as error:
        if not custom_code.is_away(error):
            raise
        # as after a restart of its server, when each connection in the pool is dead
        _log.failure("selfserve: {silent} does not answer", silent=silent)
        raise Unavailable(f"{silent} does not answer") from error


async def require_readable(
    master: Any, services: Services, identity: Identity, seconds: float
) -> None:
    """Return if *identity* may read, as ``authorization.require_readable`` does.

    :raises Unavailable: the rules have not said it after so many *seconds*
    """
    if master.www.authz.allowRules:
        await in_time(master, authorization.require_readable(master, identity), seconds, DATABASE)


async def identify(
    master: Any, services: Services, request: Request, seconds: float, *, reads: bool = False
) -> Identity:
    """Return who sent *request*, as ``authentication.identify`` does.

    :raises Unavailable: whatever knows it has not said it after so many *seconds*, or is not there
    """
    asked = authentication.identify(master, services.tokens, request, reads=reads)
    return await _known_in_time(master, asked, seconds)


async def require_right_credentials(
    master: Any, services: Services, request: Request, seconds: float
) -> None:
    """Return if *request* shows right credentials or none, without asking more of the user.

    :raises Unauthorized: they are wrong, or of a kind that this master does not take
    :raises Unavailable: likewise
    """
    asked = authentication.credentials_of(master, services.tokens, request)
    await _known_in_time(master, asked, seconds)


async def _known_in_time(master: Any, asked: Coroutine[Any, Any, Result], seconds: float) -> Result:
    try:
        return await in_time(master, asked, seconds, USERS)
    except CustomCodeFailed as error:
        if is_silent(error):
            raise Unavailable(f"{USERS} does not answer", error.msg) from error
        raise
