"""Limits the time that authentication and authorization may take.

The rules of ``www.authz`` ask the master's database through Buildbot, and an operator's
``userInfoProvider`` asks other servers; neither has a timeout of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

from twisted.internet import defer
from twisted.logger import Logger
from twisted.web.server import Request

from buildbot_selfserve.auth import authentication
from buildbot_selfserve.auth import authorization
from buildbot_selfserve.auth import custom_code
from buildbot_selfserve.auth.authentication import Identity
from buildbot_selfserve.auth.tokens import Tokens
from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.deferreds import independent
from buildbot_selfserve.errors import CustomCodeFailed
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.history import db_engine
from buildbot_selfserve.model import Target
from buildbot_selfserve.secrets import is_silent

Result = TypeVar("Result")
#: What does not answer when the rules of ``www.authz`` do not.
DATABASE = "The master's database"
#: What does not answer when ``www.auth`` does not.
USERS = "Who knows the users of this Buildbot"

_log = Logger()


async def in_time(
    master: Any, work: Coroutine[Any, Any, Result], seconds: float, silent: str = DATABASE
) -> Result:
    """Return the result of *work*, which may wait for ever, and writes nothing.

    :param silent: what did not answer, in an operator's terms
    :raises Unavailable: it has not ended after so many *seconds*, and goes on; or its database
        cannot be reached
    """
    asked = independent(defer.Deferred.fromCoroutine(work))
    if not asked.called:  # a timer for each of many costs more than most rules
        asked.addTimeout(max(0.0, seconds), monotonic(master.reactor))
    try:
        return await asked
    except defer.TimeoutError:
        raise Unavailable(f"{silent} does not answer") from None
    except (defer.FirstError, *db_engine.AWAY) as error:
        if not custom_code.is_away(error):
            raise
        # as after a restart of its server, when each connection in the pool is dead
        _log.failure("selfserve: {silent} does not answer", silent=silent)
        raise Unavailable(f"{silent} does not answer") from error


async def require_readable(master: Any, identity: Identity, seconds: float) -> None:
    """Return if *identity* may read, as ``authorization.require_readable`` does.

    :raises Unavailable: the rules have not said it after so many *seconds*
    """
    await in_time(master, authorization.require_readable(master, identity), seconds)


async def refusals(
    master: Any,
    ask: Callable[[Sequence[Target]], Coroutine[Any, Any, list[str | None]]],
    seconds: float,
    targets: Sequence[Target],
) -> list[str | None]:
    """Return for each of *targets* why they may not do it, as *ask* does.

    :param ask: ``authorization.refusals`` for them
    :raises Unavailable: the rules have not said it after so many *seconds*
    """
    return await in_time(master, ask(targets), seconds)


async def identify(
    master: Any, tokens: Tokens, request: Request, seconds: float, *, reads: bool = False
) -> Identity:
    """Return who sent *request*, as ``authentication.identify`` does.

    :raises Unavailable: ``www.auth`` has not said it after so many *seconds*, or is not there
    """
    asked = authentication.identify(master, tokens, request, reads=reads)
    return await _known_in_time(master, asked, seconds)


async def require_right_credentials(
    master: Any, tokens: Tokens, request: Request, seconds: float
) -> None:
    """Return if *request* shows right credentials or none, without asking more of the user.

    :raises Unauthorized: they are wrong, or of a kind that this master does not take
    :raises Unavailable: likewise
    """
    asked = authentication.credentials_of(master, tokens, request)
    await _known_in_time(master, asked, seconds)


async def _known_in_time(master: Any, asked: Coroutine[Any, Any, Result], seconds: float) -> Result:
    try:
        return await in_time(master, asked, seconds, USERS)
    except CustomCodeFailed as error:
        if is_silent(error):
            raise Unavailable(f"{USERS} does not answer", error.msg) from error
        raise
