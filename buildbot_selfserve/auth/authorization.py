"""Checks a job request against the operator's own ``www.authz`` rules.

The rules keep their order and their meaning. Each is asked about the Data API path and action that
Buildbot's own UI would use for the same thing.
"""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from buildbot.www.authz.authz import Forbidden as NativeForbidden
from buildbot.www.authz.endpointmatchers import ForceBuildEndpointMatcher
from buildbot.www.authz.endpointmatchers import Match
from buildbot.www.authz.endpointmatchers import RebuildBuildEndpointMatcher
from buildbot.www.authz.endpointmatchers import StopBuildEndpointMatcher
from twisted.internet import defer

from buildbot_selfserve.auth import custom_code
from buildbot_selfserve.auth.authentication import Identity
from buildbot_selfserve.config import SelfServeEndpointMatcher
from buildbot_selfserve.config import SelfServeToken
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import virtual_builder_names
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import Unauthorized
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import NewRequest
from buildbot_selfserve.model import RequestTarget
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import Target
from buildbot_selfserve.permissions import USUAL_SETS
from buildbot_selfserve.permissions import Permission
from buildbot_selfserve.permissions import actions_of
from buildbot_selfserve.permissions import set_action

#: Stands for the ForceScheduler that self-serve has not: operators' rules are about builders.
FORCE_SCHEDULER = "selfserve"


async def require_readable(master: Any, identity: Identity) -> None:
    """Check that the operator's rules let *identity* read builds in Buildbot's own API.

    :raises Unauthorized: they do not, and nobody knows who it is
    :raises Forbidden: they do not
    """
    try:
        authz = custom_code.watched(master.www.authz)
        with custom_code.named("what decides in www.authz", master.www.authz):
            await authz.assertUserAllowed(("builds",), "GET", {}, identity.user_info)
    except NativeForbidden as error:
        msg = error.message.decode("utf-8", "replace")
        raise (Forbidden(msg) if identity.name else Unauthorized("Log in first", msg)) from error


@dataclass(frozen=True)
class Action:
    """What a job request is to do.

    :param name: as the journal will call it; that of a set has its name
    :param branch: the name of the branch
    """

    permission: Permission
    name: str
    branch: str

    @property
    def right(self) -> str:
        """Return the action that rules and tokens know it by."""
        return self.permission.needs or self.name


def action_on(permission: Permission, found: Mapping[str, Any]) -> Action:
    """Return the action of a job request whose nouns are *found*."""
    named = found.get("builder_set")
    action = permission.action if named is None else set_action(named.name)
    return Action(permission, action, found["branch"].name)


def offered(permissions: Iterable[Permission], site: Site, branch: str) -> Iterator[Action]:
    """Yield the actions of *permissions* on *branch*, such as one for each of its sets."""
    configured = site.branch(branch)
    more = () if configured is None else configured.sets
    sets = dict.fromkeys([*USUAL_SETS, *(name for name, _ in more)])
    for permission in permissions:
        for action in actions_of(permission, sets):
            yield Action(permission, action, branch)


@dataclass(frozen=True)
class _Act:
    """What is asked of the rules: a path and an action of Buildbot's Data API, and what we know.

    :param options: what Buildbot's own UI would send along
    :param builder: the name of the builder
    :param buildset_id: where the owner of the target stands
    :param stands_in: the builder is not the one that Buildbot's rules would find for the path
    """

    action: Action
    path: tuple[str, ...]
    options: Mapping[str, Any]
    builder: str
    buildset_id: int | None = None
    stands_in: bool = False


async def refusal(ask: Callable[[Target], Awaitable[None]], target: Target) -> str:
    """Return why *ask*, which is :func:`require_allowed` for somebody, does not let them do it.

    Nothing if it does.
    """
    try:
        await ask(target)
    except Forbidden as error:
        return error.msg or "not allowed"
    return ""


async def require_allowed(master: Any, identity: Identity, action: Action, target: Target) -> None:
    """Check that the token of *identity* and the operator's rules allow *action* on *target*.

    *target* exists: rules with a builder filter let pass what does not.

    :raises Forbidden: the token is not for it, or a rule denies it
    """
    if isinstance(target, NewRequest) and target.branch is not None:
        action = replace(action, branch=target.branch)
    token, rules = identity.token, master.www.authz.allowRules
    if token is None and not rules:
        return
    is_named = requires_rule(master.www.authz, action, token)
    acts = await _acts(master, action, target)
    if token is not None:
        _refuse(token.refusal(action.right, action.branch, [act.builder for act in acts]))
    authz = custom_code.watched(master.www.authz)
    roles = authz.getRolesFromUser(identity.user_info)
    for act in acts:
        authz.allowRules = [_Rule(rule, act, roles) for rule in rules]
        if is_named:
            authz.allowRules.append(_Nobody(no_rule(action)))
        try:
            with custom_code.named("what decides in www.authz", master.www.authz):
                await authz.assertUserAllowed(
                    act.path, action.permission.native, act.options, identity.user_info
                )
        except NativeForbidden as error:
            _refuse(error.message.decode("utf-8", "replace"))


def requires_rule(authz: Any, action: Action, token: SelfServeToken | None) -> bool:
    """Return whether *action* is denied where no rule matches: Buildbot allows it otherwise.

    A token that names it is a rule for it. Where there are no rules at all, everybody may control
    anything, and may do this, too.
    """
    named = token is not None and action.right in (token.actions or ())
    return action.permission.is_named and bool(authz.allowRules) and not named


def no_rule(action: Action) -> str:
    """Return what somebody is told who may not do *action* for lack of a rule."""
    return (
        f"no rule of this Buildbot lets you do this; an operator can add one with"
        f" util.SelfServeEndpointMatcher(action={action.right!r})"
    )


class _Nobody:
    """The end of the rules, for what a rule must name: it is denied, and *why*."""

    def __init__(self, why: str) -> None:
        self._why = why

    def match(self, path: Any, action: str, options: Any) -> None:
        """Deny it.

        :raises NativeForbidden: always
        """
        raise NativeForbidden(self._why.encode())


def _refuse(why: str) -> None:
    if why:
        raise Forbidden(why)


async def _acts(master: Any, action: Action, target: Target) -> list[_Act]:
    """Return what to check against the rules; all of it must be allowed."""
    endpoint = action.permission.endpoint
    if isinstance(target, Builder):
        return _all(
            _creating(action, target.name), virtual_builder_names.names(master, target.name, {})
        )
    if isinstance(target, NewRequest):
        return _all(_creating(action, target.builder.name), [target.name])
    request: RequestTarget = target.request if isinstance(target, BuildRow) else target
    number = target.build_id if isinstance(target, BuildRow) else target.request_id
    if endpoint == "builds" and not isinstance(target, BuildRow):
        # what failed may be a request without a build, or the parent of a build
        endpoint = "buildrequests"
    act = _Act(action, (endpoint, str(number)), {}, target.buildername, request.buildset_id)
    return _all(act, [request.buildername, *await _virtual_names(master, request)])


def _creating(action: Action, builder: str) -> _Act:
    endpoint = action.permission.endpoint
    path = (endpoint, builder if endpoint == "builders" else FORCE_SCHEDULER)
    return _Act(action, path, {"builderNames": [builder]}, builder)


async def _virtual_names(master: Any, request: RequestTarget) -> tuple[str, ...]:
    """Return the names other than its builder's under which *request* may be built."""
    pairs = await current_state.properties_of(master, request.buildset_id)
    properties = {name: value for name, (value, _source) in pairs.items()}
    of_changes = await master.db.pool.do(virtual_builder_names.of_buildset, request.buildset_id)
    return virtual_builder_names.names(master, request.buildername, properties, of_changes)


def _all(act: _Act, names: Iterable[str]) -> list[_Act]:
    """Return what is asked where a request is built under *names* beside that of its builder.

    None is a way around the rules for the others.
    """
    others = dict.fromkeys(name for name in names if name != act.builder)
    return [act, *(replace(act, builder=name, stands_in=True) for name in others)]


#: Rules that mean more than they look at: what self-serve asks about, they are asked about, too.
_FORGETFUL = (
    (ForceBuildEndpointMatcher, "forceschedulers", "force"),
    (StopBuildEndpointMatcher, "buildrequests", "cancel"),
    (RebuildBuildEndpointMatcher, "buildrequests", "rebuild"),
)


def is_stock(rule: Any, kind: type[Any]) -> bool:
    """Whether *rule* matches what Buildbot's own *kind* does, and an operator's class no other."""
    return all(
        getattr(type(rule), name) is getattr(kind, name, None)
        for name in dir(type(rule))
        if name.startswith("match")
    )


class _Rule:
    """A rule of the operator, extended to what its class does not match.

    A StopBuildEndpointMatcher means cancelling too, but looks only at an action 'stop' of build
    requests, while Buildbot's UI sends 'cancel'; a RebuildBuildEndpointMatcher knows of builds
    only, because that UI rebuilds no requests; a ForceBuildEndpointMatcher with a builder lets
    pass what no ForceScheduler of the operator's offers (buildbot/www/authz/endpointmatchers.py).

    :param roles: those of the user, without those of an owner
    """

    def __init__(self, rule: Any, act: _Act, roles: Collection[str]) -> None:
        self.rule = rule
        self.act = act
        self.role = rule.role
        self.defaultDeny = rule.defaultDeny
        self._roles = roles

    def match(self, path: Any, action: str, options: Any) -> defer.Deferred[Any]:
        """Return the rule's match, as ``Authz.assertUserAllowed`` asks for it."""
        return defer.Deferred.fromCoroutine(custom_code.asked(self.rule, self._match()))

    async def _match(self) -> Any:
        act, rule, action = self.act, self.rule, self.act.action
        if isinstance(rule, SelfServeEndpointMatcher):
            return self._matched(
                rule.speaks_of(action.right, action.branch) and rule.speaks_of_builder(act.builder)
            )
        asked = act.path[0], action.permission.native
        for kind, *about in _FORGETFUL:
            if isinstance(rule, kind) and tuple(about) == asked:
                if is_stock(rule, kind):
                    return await self._match_stock()
                return await self._match_own()
        return await self._asked(action.permission.native)

    async def _match_stock(self) -> Any:
        if isinstance(self.rule, StopBuildEndpointMatcher) and not self.act.stands_in:
            return await self._asked("stop")
        return self._matched(self._names_builder())

    async def _match_own(self) -> Any:
        """Ask a rule whose class is the operator's own.

        What it says counts. Where it says nothing, it may be because it was not asked what it knows
        of: then it is held against those who have not its role, and is of no use to those who have.
        """
        act, rule, native = self.act, self.rule, self.act.action.permission.native
        if not act.stands_in:
            stops = isinstance(rule, StopBuildEndpointMatcher)
            for action in (native, "stop") if stops else (native,):
                match = await self._asked(action)
                if match is not None:
                    return match
            if stops or (native == "force" and rule.builder is None):
                return None  # it was asked all that there is to ask
        has_role = any(rule.authz.match(role, rule.role) for role in self._roles)
        return Match(rule.master) if self._names_builder() and not has_role else None

    async def _asked(self, action: str) -> Any:
        return await defer.maybeDeferred(self.rule.match, self.act.path, action, self.act.options)

    def _names_builder(self) -> bool:
        named = self.rule.builder is None or self.rule.authz.match(
            self.act.builder, self.rule.builder
        )
        return bool(named)

    def _matched(self, matches: bool) -> Any:
        if not matches:
            return None
        owned = self.act.buildset_id
        return Match(self.rule.master, buildset=None if owned is None else {"buildsetid": owned})
