"""Predicts from the rules of ``www.authz`` what a user may do, before a target is known.

Nothing here looks anything up. Where a rule depends on the builder or on the owner of what it would
be about, the verdict says so, and ``authorization.require_allowed`` knows when there is a target.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from buildbot.www.authz.authz import Forbidden as NativeForbidden
from buildbot.www.authz.endpointmatchers import AnyControlEndpointMatcher
from buildbot.www.authz.endpointmatchers import AnyEndpointMatcher
from buildbot.www.authz.endpointmatchers import EnableSchedulerEndpointMatcher
from buildbot.www.authz.endpointmatchers import ForceBuildEndpointMatcher
from buildbot.www.authz.endpointmatchers import RebuildBuildEndpointMatcher
from buildbot.www.authz.endpointmatchers import StopBuildEndpointMatcher

from buildbot_selfserve.auth import authorization
from buildbot_selfserve.auth import custom_code
from buildbot_selfserve.auth.authentication import Identity
from buildbot_selfserve.auth.authorization import Action
from buildbot_selfserve.clock import next_turn
from buildbot_selfserve.config import SelfServeEndpointMatcher
from buildbot_selfserve.control import virtual_builder_names
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Decision
from buildbot_selfserve.model import Selection

ALLOWED = Decision(True)
LOG_IN = Decision(False, "log in first")
#: So many builders are asked about before others have their turn: two milliseconds, with ten rules
#: that name builders.
BATCH = 10
#: So many of the builders that are denied are named.
MOST_NAMED = 20
#: The native actions that these rules are about; of others' rules nobody knows.
_NATIVE: dict[type[Any], tuple[str, ...]] = {
    StopBuildEndpointMatcher: ("stop", "cancel"),
    RebuildBuildEndpointMatcher: ("rebuild",),
    ForceBuildEndpointMatcher: ("force",),
    EnableSchedulerEndpointMatcher: (),
}
#: How Buildbot and we refuse somebody without a role.
_NEEDS_ROLE = re.compile(r"you need to have role '[^']*'(?: or '[^']*')*")
_QUOTED = re.compile(r"'([^']*)'")
_EVERYTHING = (AnyEndpointMatcher, AnyControlEndpointMatcher)
_WORDS = {
    "builder": "the builder",
    "owner": "who owns it",
    "target": "the target",
}


def decision(master: Any, identity: Identity, action: Action, *, require_login: bool) -> Decision:
    """Return whether *identity* may do *action*, as far as that can be told without a target."""
    if identity.name is None and require_login:
        return LOG_IN
    try:
        return _Preview(master, identity, action).decision()
    except NativeForbidden as error:  # of a role matcher
        return Decision(False, authorization.said_by(error))


async def of_builders(
    master: Any,
    identity: Identity,
    decided: Mapping[Action, Decision],
    selection: Selection,
) -> dict[str, Decision]:
    """Return whether *identity* may do something to, or with, the builders that are selected.

    :param decided: what was decided of each action without a target
    :return: decisions by action
    """
    names = sorted(selection.names or ())
    found = {}
    same: dict[Any, Decision] = {}
    for action, before in decided.items():
        if before is LOG_IN:
            found[action.name] = before
        elif not names:
            found[action.name] = Decision(False, "no builder is selected")
        elif before.allowed is not None:
            found[action.name] = _of_each(dict.fromkeys(names, before))
        else:
            preview = _Preview(master, identity, action)
            if preview.key not in same:
                same[preview.key] = await preview.of_builders(names)
            found[action.name] = same[preview.key]
    return found


def _of_each(decisions: Mapping[str, Decision]) -> Decision:
    """Return what follows from the *decisions* on each builder, by its name."""
    names: dict[str, list[str]] = {}
    for name, one in decisions.items():
        if one.allowed is False:
            names.setdefault(one.why, []).append(name)
    denied = "; ".join(f"{_listed(its)}: {why}" for why, its in names.items())
    if all(one.allowed is False for one in decisions.values()):
        return Decision(False, denied)
    depends = frozenset[str]().union(*(one.depends_on for one in decisions.values()))
    if denied:
        depends |= {"builder"}
    return _depending(depends, denied)


def _listed(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def _depending(depends: frozenset[str], denied: str = "") -> Decision:
    """Return the decision that depends on what *depends* has, or is allowed.

    :param denied: of what it is known that it is denied, and why
    """
    if not depends:
        return ALLOWED
    named = tuple(word for word in _WORDS if word in depends)
    why = f"depends on {' and '.join(_WORDS[word] for word in named)}"
    return Decision(None, f"{why}; {denied}" if denied else why, named)


async def of_targets(
    master: Any, identity: Identity, actions: Iterable[Action], found: Mapping[str, Any]
) -> dict[str, Decision]:
    """Return whether *identity*, who may do *actions* to something, may do them to what is *found*.

    :return: verdicts by action
    """
    decisions = {}
    for action in actions:
        try:
            await authorization.require_allowed(
                master, identity, action, found[action.permission.noun or ""]
            )
            decisions[action.name] = ALLOWED
        except Forbidden as error:
            denied = Decision(False, error.msg)
            decisions[action.name] = _advised(denied, master.www.authz, identity)
    return decisions


def _advised(decision: Decision, authz: Any, identity: Identity) -> Decision:
    """Return *decision* with what gives a token the role that it needs.

    Nobody but the operator can give it one, and only in master.cfg.
    """
    needed = _NEEDS_ROLE.match(decision.why)
    if identity.token is None or decision.allowed is not False or needed is None:
        return decision
    of_owners = _of_owners(authz)
    roles = [role for role in _QUOTED.findall(needed[0]) if role not in of_owners]
    if not roles:
        return decision
    line = identity.token.role_matcher(roles)
    return Decision(False, f"{decision.why}; in roleMatchers of www.authz, {line} gives it one")


def _of_owners(authz: Any) -> set[str]:
    """Return the roles that owners have."""
    return {matcher.role for matcher in authz.ownerRoleMatchers}


@dataclass(frozen=True)
class Needs:
    """What the rules ask of somebody for an action.

    :param roles: roles of which one is needed; empty if none is
    :param always: whatever it is about
    """

    roles: tuple[str, ...]
    always: bool


def needs(authz: Any, identity: Identity, action: Action) -> Needs:
    """Return what the rules of *authz* ask of *identity*, in addition to what they have.

    Roles of owners are none of it: who has one always is taken for the owner of everything. Where
    the rules ask for nothing else, it is the roles of the rules before.
    """
    walk = _Walk(authz, identity, action)
    ends = list(walk.ends())
    of_owners = _of_owners(authz)
    asked = [end.role for end in ends if end.role is not None]
    others = [role for role in asked if role not in of_owners]
    if asked and not others:
        others = [rule.role for rule, _, has_role in walk.rules if not has_role]
    roles = dict.fromkeys(role for role in others if role not in of_owners)
    return Needs(tuple(roles), len(asked) == len(ends))


class _Preview:
    """What somebody's token and the rules say of one action.

    The rules are looked at once, and may be asked about many builders.
    """

    def __init__(self, master: Any, identity: Identity, action: Action) -> None:
        self._master = master
        self._identity = identity
        self._action = action
        self._authz = master.www.authz
        with custom_code.named("what decides in www.authz", self._authz):
            self._walk = _Walk(self._authz, identity, action)

    def decision(self, builder: str | None = None) -> Decision:
        """Return whether it is allowed.

        :param builder: the name of the builder that it would be about, or of a virtual one
        """
        depends = frozenset[str]()
        token = self._identity.token
        if token is not None:
            named = () if builder is None else (builder,)
            refusal = token.refusal(self._action.right, self._action.branch, named)
            if refusal:
                return Decision(False, refusal)
            if token.builders is not None and builder is None:
                depends = frozenset({"builder"})
        with custom_code.named("what decides in www.authz", self._authz):
            ends = list(self._walk.ends(builder))
        return _advised(_combined(ends, depends), self._authz, self._identity)

    @property
    def key(self) -> Any:
        """Return what other actions share of which the same is to be said."""
        rules = [(id(rule), depends) for rule, depends, _ in self._walk.rules]
        asks = any("target" in depends for _, depends in rules)
        return (tuple(rules), self._action if asks else self._action.permission.native)

    async def of_builders(self, names: Sequence[str]) -> Decision:
        """Return whether it is allowed for the builders of these *names*."""
        each = {}
        for number, name in enumerate(names):
            if number % BATCH == 0:
                await next_turn(self._master.reactor)
            each[name] = await self._of_builder(name)
        return _of_each(each)

    async def _of_builder(self, name: str) -> Decision:
        """Return whether it is allowed for the builder *name*, whatever its builds are called."""
        other_names = virtual_builder_names.names(self._master, name, {})
        found = [self.decision(one) for one in (name, *other_names)]
        denied = next((one for one in found if one.allowed is False), None)
        unclear = next((one for one in found if one.allowed is None), ALLOWED)
        forces = self._action.permission.native == "force"
        if denied is None and "target" in unclear.depends_on and forces:
            # a builder is all that there is to know: a rule of the operator's own may be asked
            return await self._asked(Builder(0, name))
        return denied or unclear

    async def _asked(self, target: Builder) -> Decision:
        try:
            await authorization.require_allowed(self._master, self._identity, self._action, target)
        except Forbidden as error:
            return _advised(Decision(False, error.msg), self._authz, self._identity)
        return ALLOWED


@dataclass(frozen=True)
class _End:
    """A possible decision of the rules.

    :param role: what is missing when they deny it; ``None`` when they allow it
    :param depends_on: what it depends on that they end so
    :param why: why it is denied where no role is missing
    """

    role: str | None
    depends_on: frozenset[str]
    why: str = ""


def _combined(ends: list[_End], depends: frozenset[str]) -> Decision:
    missing = list(dict.fromkeys(end.role for end in ends if end.role is not None))
    if len({end.role is None for end in ends}) == 2:
        depends = depends.union(*(end.depends_on for end in ends))
    elif missing:
        return Decision(False, _lack(missing, ends))
    return _depending(depends)


def _lack(missing: Sequence[str], ends: Iterable[_End]) -> str:
    """Return what those lack who are denied it."""
    roles = [role for role in missing if role]
    if roles:
        return f"you need to have role {' or '.join(map(repr, roles))}"
    return next(end.why for end in ends if end.why)


class _Walk:
    """Walks through the rules as ``Authz.assertUserAllowed`` does, whatever the target is."""

    def __init__(self, authz: Any, identity: Identity, action: Action) -> None:
        self.authz = custom_code.watched(authz)
        self.action = action
        requires = authorization.requires_rule(authz, action, identity.token)
        #: what those are told whom no rule lets do it; ``None`` if they may
        self.missing = authorization.no_rule(action) if requires else None
        roles = self.authz.getRolesFromUser(identity.user_info)
        # who has no address owns nothing (buildbot/www/authz/roles.py, RolesFromOwner)
        self.owner_roles = (
            [matcher.role for matcher in authz.ownerRoleMatchers]
            if identity.user_info.get("email")
            else []
        )
        #: each with what it depends on whether it matches, and whether the user has its role
        self.rules = [
            (rule, depends, self._has(roles, rule))
            for rule in authz.allowRules
            if (depends := self._depends(rule)) is not None
        ]

    def ends(self, builder: str | None = None) -> Iterator[_End]:
        """Yield the possible decisions.

        :param builder: the name of the builder, if that is known
        """
        so_far = frozenset[str]()  # what it depends on that we are here
        may_own = False
        for rule, depends, has_role in self.rules:
            if builder is not None and "builder" in depends:
                if not self._is_about(rule, builder):
                    continue
                depends = depends - {"builder"}
            may_own = may_own or self._knows_owner(rule)
            if has_role:
                yield _End(None, so_far | depends)
            elif may_own and self._has(self.owner_roles, rule):
                yield _End(None, so_far | depends | {"owner"})
                depends = depends | {"owner"}
                if rule.defaultDeny:
                    yield _End(rule.role, so_far | depends)
            elif rule.defaultDeny:
                yield _End(rule.role, so_far | depends)
            else:
                continue
            if not depends:
                return
            if depends == {"owner"} and rule.defaultDeny:
                return
            so_far |= depends
        if self.missing is None:
            yield _End(None, so_far)
        else:
            yield _End("", so_far, self.missing)

    def _has(self, roles: Any, rule: Any) -> bool:
        return any(self.authz.match(role, rule.role) for role in roles)

    def _depends(self, rule: Any) -> frozenset[str] | None:
        """Return on what it depends whether *rule* matches; ``None`` if it never does."""
        if any(
            isinstance(rule, kind) and authorization.is_stock(rule, kind) for kind in _EVERYTHING
        ):
            return frozenset()
        if isinstance(rule, SelfServeEndpointMatcher):
            if not rule.speaks_of(self.action.right, self.action.branch):
                return None
            return frozenset() if rule.builder is None else frozenset({"builder"})
        for kind, actions in _NATIVE.items():
            if isinstance(rule, kind) and authorization.is_stock(rule, kind):
                if self.action.permission.native not in actions:
                    return None
                return frozenset() if rule.builder is None else frozenset({"builder"})
        # what another says is known to it alone
        return None if authorization.is_silent(rule) else frozenset({"target"})

    def _is_about(self, rule: Any, builder: str) -> bool:
        if isinstance(rule, SelfServeEndpointMatcher):
            return rule.speaks_of_builder(builder)
        return bool(self.authz.match(builder, rule.builder))

    def _knows_owner(self, rule: Any) -> bool:
        has_owner = self.action.permission.native not in ("force", "hold")
        return has_owner and not isinstance(rule, _EVERYTHING)
