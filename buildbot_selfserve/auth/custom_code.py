"""Calls code of the operator's: rules, role matchers, user info providers.

When that fails, trying again would fail as well, so that it is no 503. The answer names what has
failed, and the log has the traceback, once until the next reconfig.
"""

from __future__ import annotations

import copy
import weakref
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from functools import partial
from typing import Any
from typing import TypeVar

from buildbot.www.authz.authz import Forbidden as NativeForbidden
from twisted.internet import defer
from twisted.logger import Logger

from buildbot_selfserve.errors import CustomCodeFailed
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.history import db_engine
from buildbot_selfserve.override import Override

Result = TypeVar("Result")

#: What is no fault of theirs: what they mean to say, or that what they asked is not there.
_PASSED_ON = (SelfServeError, NativeForbidden, defer.CancelledError)

_log = Logger()
#: What has failed since the last reconfig, which makes other objects.
_told: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()


@contextmanager
def named(what: str, code: Any, *meant: type[Exception]) -> Iterator[None]:
    """Call *code*, or something of it, in this context.

    :param what: names it in an answer and in the log
    :param meant: what it may raise to say something
    :raises CustomCodeFailed: it has failed
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, (*_PASSED_ON, *meant)) or is_away(error):
            raise
        if _told.get(id(code)) is not code:
            _log.failure("selfserve: {what} failed", what=what)
            _remember(code)
        raise CustomCodeFailed(what, type(error).__name__) from error


def _remember(code: Any) -> None:
    with suppress(TypeError):  # what cannot be remembered is told of each time
        _told[id(code)] = code


def is_away(error: BaseException) -> bool:
    """Whether *error* is that of a database that cannot be reached."""
    if isinstance(error, defer.FirstError):  # of several things that Buildbot asked for at once
        cause = error.subFailure.value
        return cause is not None and is_away(cause)
    return isinstance(error, db_engine.AWAY)


def rule_name(rule: Any) -> str:
    """Return the name of a rule of ``www.authz``, with the role that it asks for."""
    return f"the rule {type(rule).__name__}(role={getattr(rule, 'role', None)!r}) of www.authz"


async def asked(rule: Any, answer: Awaitable[Result]) -> Result:
    """Return the *answer* of *rule*.

    :raises CustomCodeFailed: it has failed
    """
    with named(rule_name(rule), rule):
        return await answer


def watched(authz: Any) -> Any:
    """Return *authz*, with rules and role matchers whose failures are those of the operator's."""
    made = copy.copy(authz)
    made.allowRules = [Override(rule, match=partial(_match, rule)) for rule in authz.allowRules]
    made.roleMatchers = [_matcher(one) for one in authz.roleMatchers]
    made.ownerRoleMatchers = [_matcher(one) for one in authz.ownerRoleMatchers]
    made.match = partial(_strings, authz.match)
    return made


def _match(rule: Any, *arguments: Any) -> defer.Deferred[Any]:
    return defer.Deferred.fromCoroutine(asked(rule, defer.maybeDeferred(rule.match, *arguments)))


def _matcher(matcher: Any) -> Any:
    def roles(*arguments: Any) -> set[str]:
        with named(f"the role matcher {type(matcher).__name__} of www.authz", matcher):
            return set(matcher.getRolesFromUser(*arguments))

    return Override(matcher, getRolesFromUser=roles)


def _strings(match: Callable[[str, str], Any], *arguments: str) -> bool:
    with named("the stringsMatcher of www.authz", match):
        return bool(match(*arguments))
