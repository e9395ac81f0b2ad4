"""Checks a job request against the operator's own ``www.authz`` rules.

The rules keep their order and their meaning. Each is asked about the Data API path and action that
Buildbot's own UI would use for the same thing.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from buildbot.www.authz.authz import Authz
from buildbot.www.authz.authz import Forbidden as NativeForbidden
from buildbot.www.authz.endpointmatchers import AnyControlEndpointMatcher
from buildbot.www.authz.endpointmatchers import AnyEndpointMatcher
from buildbot.www.authz.endpointmatchers import BranchEndpointMatcher
from buildbot.www.authz.endpointmatchers import EnableSchedulerEndpointMatcher
from buildbot.www.authz.endpointmatchers import EndpointMatcherBase
from buildbot.www.authz.endpointmatchers import ForceBuildEndpointMatcher
from buildbot.www.authz.endpointmatchers import Match
from buildbot.www.authz.endpointmatchers import RebuildBuildEndpointMatcher
from buildbot.www.authz.endpointmatchers import StopBuildEndpointMatcher
from buildbot.www.authz.endpointmatchers import ViewBuildsEndpointMatcher
from buildbot.www.authz.roles import RolesFromDomain
from buildbot.www.authz.roles import RolesFromEmails
from buildbot.www.authz.roles import RolesFromGroups
from buildbot.www.authz.roles import RolesFromOwner
from buildbot.www.authz.roles import RolesFromUsername
from twisted.internet import defer

from buildbot_selfserve.auth import custom_code
from buildbot_selfserve.auth.authentication import Identity
from buildbot_selfserve.clock import Pause
from buildbot_selfserve.config import SelfServeEndpointMatcher
from buildbot_selfserve.config import SelfServeToken
from buildbot_selfserve.control import virtual_builder_names
from buildbot_selfserve.control.current_state import RequestState
from buildbot_selfserve.control.virtual_builder_names import BuildsetFacts
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
        msg = said_by(error)
        raise (Forbidden(msg) if identity.name else Unauthorized("Log in first", msg)) from error


def said_by(error: NativeForbidden) -> str:
    """Return what those are told whom *error* denies something."""
    return str(error.message.decode("utf-8", "replace"))


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
    :param state: what was just read of the build request of the path, whose builder it is
    :param owner: the JSON text of the property ``owner``
    """

    action: Action
    path: tuple[str, ...]
    options: Mapping[str, Any]
    builder: str
    buildset_id: int | None = None
    stands_in: bool = False
    state: RequestState | None = None
    owner: str | None = None

    def question(self, names_builders: bool) -> Hashable:
        """Return what the rules of :data:`_KNOWN` can look at; builders only if a rule names some.

        :param names_builders: whether one does
        """
        about: tuple[Any, ...] = (self.action, self.path[0], self.stands_in, self.owner)
        if names_builders:
            number = self.path[1] if self.state is None else self.state.builder_id
            options = tuple((name, tuple(value)) for name, value in self.options.items())
            about += (number, options, self.builder)
        return about


async def require_allowed(master: Any, identity: Identity, action: Action, target: Target) -> None:
    """Check that the token of *identity* and the operator's rules allow *action* on *target*.

    *target* exists: rules with a builder filter let pass what does not.

    :raises Forbidden: the token is not for it, or a rule denies it
    """
    (why,) = await refusals(master, identity, action, [target])
    if why is not None:
        raise Forbidden(why)


async def refusals(
    master: Any, identity: Identity, action: Action, targets: Sequence[Target]
) -> list[str | None]:
    """Return for each of *targets* why *identity* may not do *action*, ``None`` if they may.

    It says the same as :func:`require_allowed` for each. What is known in the database about all
    of them is read together, and the reactor gets turns.
    """
    if identity.token is None and allows_all(master.www.authz):
        return [None] * len(targets)
    rights = _Rights(master, identity, action)
    await rights.read(targets)
    pause = Pause(master.reactor)
    found = []
    for target in targets:
        found.append(await rights.refusal(target))
        await pause.if_due()
    return found


class _Rights:
    """What the token of somebody and the operator's rules say of many targets."""

    def __init__(self, master: Any, identity: Identity, action: Action) -> None:
        self._master = master
        self._identity = identity
        self._action = action
        self._authz = master.www.authz
        self._rules = list(self._authz.allowRules)
        #: equal questions have the same answer
        self._are_known = _is_stock_authz(self._authz) and all(map(_is_known, self._rules))
        # none of the known ones looks at a builder unless it has this
        self._names_builders = any(
            getattr(rule, "builder", None) is not None for rule in self._rules
        )
        self._answers: dict[Hashable, str | None] = {}
        self._buildsets: dict[int, BuildsetFacts] = {}
        self._names: dict[Hashable, tuple[str, ...]] = {}
        self._roles: set[str] | None = None

    async def read(self, targets: Iterable[Target]) -> None:
        """Read what decides about *targets* beside the rules."""
        ids = {request.buildset_id for request in map(_request_of, targets) if request is not None}
        if ids:
            self._buildsets = await self._master.db.pool.do(
                virtual_builder_names.facts_of_buildsets, sorted(ids)
            )

    async def refusal(self, target: Target) -> str | None:
        """Return why they may not do it to *target*, ``None`` if they may."""
        action, token = self._action, self._identity.token
        if isinstance(target, NewRequest) and target.branch is not None:
            action = replace(action, branch=target.branch)
        acts = self._acts(action, target)
        if token is not None:
            refused = token.refusal(action.right, action.branch, [act.builder for act in acts])
            if refused:
                return refused
        for act in acts:
            why = await self._answer(act)
            if why is not None:
                return why
        return None

    async def _answer(self, act: _Act) -> str | None:
        if not self._are_known:
            return await self._asked(act)
        question = act.question(self._names_builders)
        if question not in self._answers:
            self._answers[question] = await self._asked(act)
        return self._answers[question]

    async def _asked(self, act: _Act) -> str | None:
        """Return why the rules deny *act*, ``None`` if they do not."""
        authz = custom_code.watched(self._authz)
        try:
            if self._roles is None:
                self._roles = authz.getRolesFromUser(self._identity.user_info)
            authz.allowRules = [_Rule(rule, act, self._roles) for rule in self._rules]
            if requires_rule(self._authz, act.action, self._identity.token):
                authz.allowRules.append(_Nobody(no_rule(act.action)))
            with custom_code.named("what decides in www.authz", self._authz):
                await authz.assertUserAllowed(
                    act.path, act.action.permission.native, act.options, self._identity.user_info
                )
        except NativeForbidden as error:
            return said_by(error)
        return None

    def _acts(self, action: Action, target: Target) -> list[_Act]:
        """Return what to check against the rules; all of it must be allowed."""
        if isinstance(target, Builder):
            names = virtual_builder_names.names(self._master, target.name, {})
            return _all(_creating(action, target.name), names)
        if isinstance(target, NewRequest):
            return _all(_creating(action, target.builder.name), [target.name])
        request: RequestTarget = target.request if isinstance(target, BuildRow) else target
        number = target.build_id if isinstance(target, BuildRow) else target.request_id
        endpoint = action.permission.endpoint
        if endpoint == "builds" and not isinstance(target, BuildRow):
            # what failed may be a request without a build, or the parent of a build
            endpoint = "buildrequests"
        facts = self._buildsets[request.buildset_id]
        act = _Act(
            action,
            (endpoint, str(number)),
            {},
            target.buildername,
            request.buildset_id,
            state=target if isinstance(target, RequestState) else None,
            owner=facts.owner if self._authz.ownerRoleMatchers else None,
        )
        return _all(act, [request.buildername, *self._virtual_names(request.buildername, facts)])

    def _virtual_names(self, builder: str, facts: BuildsetFacts) -> tuple[str, ...]:
        """Return the names other than *builder*'s under which a request may be built."""
        key = (builder, json.dumps(facts.properties), facts.of_changes)
        if key not in self._names:
            self._names[key] = virtual_builder_names.names(
                self._master, builder, facts.properties, facts.of_changes
            )
        return self._names[key]


def _request_of(target: Target) -> RequestTarget | None:
    """Return the build request that *target* is or was built for; ``None`` if it is yet to be."""
    if isinstance(target, BuildRow):
        return target.request
    return None if isinstance(target, Builder | NewRequest) else target


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


def _creating(action: Action, builder: str) -> _Act:
    endpoint = action.permission.endpoint
    path = (endpoint, builder if endpoint == "builders" else FORCE_SCHEDULER)
    return _Act(action, path, {"builderNames": [builder]}, builder)


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


#: The classes of which is known what they look at. Of others, such as an operator's own, nobody
#: knows: they are asked about each target.
_KNOWN = frozenset(
    {
        AnyControlEndpointMatcher,
        AnyEndpointMatcher,
        BranchEndpointMatcher,
        EnableSchedulerEndpointMatcher,
        ForceBuildEndpointMatcher,
        RebuildBuildEndpointMatcher,
        SelfServeEndpointMatcher,
        StopBuildEndpointMatcher,
        ViewBuildsEndpointMatcher,
    }
)
#: Those that are never about reads. Buildbot may yet implement two of the others.
_OF_CONTROL = _KNOWN - {AnyEndpointMatcher, BranchEndpointMatcher, ViewBuildsEndpointMatcher}
#: The role matchers that never deny anything themselves.
_KNOWN_MATCHERS = frozenset(
    {RolesFromDomain, RolesFromEmails, RolesFromGroups, RolesFromOwner, RolesFromUsername}
)
#: What Buildbot sets of an ``Authz``; anything else of its own may be a method.
_OF_AUTHZ = frozenset({"allowRules", "master", "match", "ownerRoleMatchers", "roleMatchers"})


def _is_stock_authz(authz: Any) -> bool:
    """Return whether *authz* decides as Buildbot's own does."""
    return type(authz) is Authz and vars(authz).keys() <= _OF_AUTHZ


def allows_all(authz: Any) -> bool:
    """Return whether *authz* lets everybody do anything, as it has no rules."""
    return _is_stock_authz(authz) and not authz.allowRules


class ReadGuard:
    """Remembers what :func:`guards_reads` has found, until the rules are others."""

    def __init__(self) -> None:
        self._rules: list[Any] = []
        self._guards = True

    def guards(self, authz: Any) -> bool:
        """Return whether *authz*, whose rules may be changed at any time, guards reads."""
        rules = [authz, *((one, getattr(one, "defaultDeny", None)) for one in authz.allowRules)]
        if rules != self._rules:
            self._rules, self._guards = rules, guards_reads(authz)
        return self._guards


def guards_reads(authz: Any) -> bool:
    """Return whether *authz* may hide builds from some, so that it must be asked about each read.

    Most masters have rules, but hardly any rule denies reads.
    """
    if not _is_stock_authz(authz):
        return True
    matchers = (*authz.roleMatchers, *authz.ownerRoleMatchers)
    are_known = all(type(one) in _KNOWN_MATCHERS for one in matchers)
    return not are_known or not all(map(_denies_no_read, authz.allowRules))


def _denies_no_read(rule: Any) -> bool:
    if is_silent(rule):
        return True
    return _is_known(rule) and (type(rule) in _OF_CONTROL or not rule.defaultDeny)


def _is_known(rule: Any) -> bool:
    """Return whether *rule* matches as its class does, and that is known."""
    return type(rule) in _KNOWN and not any(name.startswith("match") for name in vars(rule))


def is_silent(rule: Any) -> bool:
    """Whether *rule* matches nothing, as its class says nothing of its own."""
    if not isinstance(rule, EndpointMatcherBase):
        return False
    # Buildbot's own match() asks for methods by their names
    names = set(vars(rule)).union(*map(vars, _own_bases(type(rule))))
    return not any(name.startswith(("match", "__getattr")) for name in names)


def _own_bases(kind: type[Any]) -> Iterator[type[Any]]:
    """Yield *kind* and its bases, without those of all rules."""
    return (base for base in kind.__mro__ if base not in EndpointMatcherBase.__mro__)


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
        # Buildbot would read the request and its builder, which were just read
        is_known = self.act.stands_in or self.act.state is not None
        if isinstance(self.rule, StopBuildEndpointMatcher) and not is_known:
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
