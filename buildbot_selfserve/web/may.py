"""May they: the operator's own ``www.authz`` rules, asked about a job request.

The rules keep their order and their meaning. Each is asked about the Data API path and action that
Buildbot's own UI would use for the same thing.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

from buildbot.www.authz.authz import Forbidden as NativeForbidden
from buildbot.www.authz.endpointmatchers import Match
from buildbot.www.authz.endpointmatchers import RebuildBuildEndpointMatcher
from buildbot.www.authz.endpointmatchers import StopBuildEndpointMatcher
from twisted.internet import defer

from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import Unauthorized
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.permissions import Permission
from buildbot_selfserve.web.who import Identity


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

    :param request: the target, where it is a build request
    """

    path: tuple[str, ...]
    action: str
    request: RequestRow | None


async def require_allowed(
    master: Any,
    identity: Identity,
    permission: Permission,
    target: BuildRow | RequestRow,
) -> None:
    """Return if the operator's rules let *identity* do this to *target*.

    *target* exists: rules with a builder filter let pass what does not.

    :raises Forbidden: a rule denies it
    """
    request = None if isinstance(target, BuildRow) else target
    target_id = target.build_id if isinstance(target, BuildRow) else target.request_id
    act = _Act((permission.endpoint, str(target_id)), permission.native, request)
    authz = copy.copy(master.www.authz)
    authz.allowRules = [_Rule(rule, act) for rule in authz.allowRules]
    try:
        await authz.assertUserAllowed(act.path, act.action, {}, identity.user_info)
    except NativeForbidden as error:
        raise Forbidden(error.message.decode("utf-8", "replace")) from error


class _Rule:
    """A rule of the operator's, asked so that it also covers what it forgot.

    A StopBuildEndpointMatcher means cancelling too, but looks only at an action 'stop' of build
    requests, while Buildbot's UI sends 'cancel'; a RebuildBuildEndpointMatcher knows of builds
    only, because that UI rebuilds no requests (buildbot/www/authz/endpointmatchers.py).
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
        found = await self.rule.match(self.act.path, self.act.action, {})
        if found is not None or self.act.request is None:
            return found
        if isinstance(self.rule, StopBuildEndpointMatcher) and self.act.action == "cancel":
            return await self.rule.match(self.act.path, "stop", {})
        if isinstance(self.rule, RebuildBuildEndpointMatcher) and self.act.action == "rebuild":
            return await self._match_rebuild(self.act.request)
        return None

    async def _match_rebuild(self, request: RequestRow) -> Any:
        named = self.rule.builder is None or await self.rule.matchFromBuilderId(request.builder_id)
        if not named:
            return None
        master = self.rule.master
        data = await master.data.get(("buildrequests", str(request.request_id)))
        return Match(master, buildrequest=data)
