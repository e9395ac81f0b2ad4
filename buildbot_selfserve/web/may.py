"""May they: the operator's own ``www.authz`` rules, asked about a job request.

The rules keep their order and their meaning. Each is asked about the Data API path and action that
Buildbot's own UI would use for the same thing.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildbot.www.authz.authz import Forbidden as NativeForbidden
from buildbot.www.authz.endpointmatchers import ForceBuildEndpointMatcher
from buildbot.www.authz.endpointmatchers import Match
from buildbot.www.authz.endpointmatchers import RebuildBuildEndpointMatcher
from buildbot.www.authz.endpointmatchers import StopBuildEndpointMatcher
from twisted.internet import defer

from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import Unauthorized
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Target
from buildbot_selfserve.permissions import Permission
from buildbot_selfserve.web.who import Identity

#: Stands for the ForceScheduler that self-serve has not: operators' rules are about builders.
FORCE_SCHEDULER = "selfserve"


async def require_readable(master: Any, identity: Identity) -> None:
    """Return if the operator's rules let *identity* read what Buildbot's own API tells of builds.

    :raises Unauthorized: they do not, and nobody knows who it is
    :raises Forbidden: they do not
    """
    try:
        await master.www.authz.assertUserAllowed(("builds",), "GET", {}, identity.user_info)
    except NativeForbidden as error:
        msg = error.message.decode("utf-8", "replace")
        raise (Forbidden(msg) if identity.name else Unauthorized("Log in first", msg)) from error


@dataclass(frozen=True)
class _Act:
    """What is asked of the rules: a path and an action of Buildbot's Data API.

    :param options: what Buildbot's own UI would send along
    :param request_id: the target, where it is a build request; *builder_id* and *builder* likewise
    """

    path: tuple[str, ...]
    action: str
    options: Mapping[str, Any]
    request_id: int | None = None
    builder_id: int | None = None
    builder: str | None = None


async def is_allowed(ask: Callable[[Target], Awaitable[None]], target: Target) -> bool:
    """Whether *ask*, which is :func:`require_allowed` for somebody, lets them do it."""
    try:
        await ask(target)
    except Forbidden:
        return False
    return True


async def require_allowed(
    master: Any, identity: Identity, permission: Permission, target: Target
) -> None:
    """Return if the operator's rules let *identity* do this to *target*.

    *target* exists: rules with a builder filter let pass what does not.

    :raises Forbidden: a rule denies it
    """
    act = _act(permission, target)
    authz = copy.copy(master.www.authz)
    authz.allowRules = [_Rule(rule, act) for rule in authz.allowRules]
    try:
        await authz.assertUserAllowed(act.path, act.action, act.options, identity.user_info)
    except NativeForbidden as error:
        raise Forbidden(error.message.decode("utf-8", "replace")) from error


def _act(permission: Permission, target: Target) -> _Act:
    if isinstance(target, Builder):
        path = (permission.endpoint, FORCE_SCHEDULER)
        options = {"builderNames": [target.name]}
        return _Act(path, permission.native, options, builder=target.name)
    if isinstance(target, BuildRow):
        return _Act((permission.endpoint, str(target.build_id)), permission.native, {})
    request_id = getattr(target, "request_id", None)
    assert isinstance(request_id, int), f"nobody can be allowed anything about {target!r}"
    path = (permission.endpoint, str(request_id))
    return _Act(path, permission.native, {}, request_id, target.builder_id)


class _Rule:
    """A rule of the operator's, asked so that it also covers what it forgot.

    A StopBuildEndpointMatcher means cancelling too, but looks only at an action 'stop' of build
    requests, while Buildbot's UI sends 'cancel'; a RebuildBuildEndpointMatcher knows of builds
    only, because that UI rebuilds no requests; a ForceBuildEndpointMatcher with a builder lets
    pass what no ForceScheduler of the operator's offers (buildbot/www/authz/endpointmatchers.py).
    """

    def __init__(self, rule: Any, act: _Act) -> None:
        self.rule = rule
        self.act = act
        self.role = rule.role
        self.defaultDeny = rule.defaultDeny

    def match(self, path: Any, action: str, options: Any) -> defer.Deferred[Any]:
        """Return the rule's match, as ``Authz.assertUserAllowed`` asks for it."""
        return defer.Deferred.fromCoroutine(self._match())

    async def _match(self) -> Any:
        act, rule = self.act, self.rule
        if act.builder is not None and isinstance(rule, ForceBuildEndpointMatcher):
            named = rule.builder is None or rule.authz.match(act.builder, rule.builder)
            return Match(rule.master) if named else None
        found = await rule.match(act.path, act.action, act.options)
        if found is not None or act.request_id is None:
            return found
        if isinstance(rule, StopBuildEndpointMatcher) and act.action == "cancel":
            return await rule.match(act.path, "stop", {})
        if isinstance(rule, RebuildBuildEndpointMatcher) and act.action == "rebuild":
            return await self._match_rebuild(act.request_id)
        return None

    async def _match_rebuild(self, request_id: int) -> Any:
        named = self.rule.builder is None or await self.rule.matchFromBuilderId(self.act.builder_id)
        if not named:
            return None
        master = self.rule.master
        data = await master.data.get(("buildrequests", str(request_id)))
        return Match(master, buildrequest=data)
