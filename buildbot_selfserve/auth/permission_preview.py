"""Predicts from the rules of ``www.authz`` what a user may do, before a target is known.

Nothing here looks anything up. Where a rule depends on the builder or on the owner of what it would
be about, the verdict says so, and ``authorization.require_allowed`` knows when there is a target.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from buildbot.www.authz.endpointmatchers import AnyControlEndpointMatcher
from buildbot.www.authz.endpointmatchers import AnyEndpointMatcher
from buildbot.www.authz.endpointmatchers import EnableSchedulerEndpointMatcher
from buildbot.www.authz.endpointmatchers import EndpointMatcherBase
from buildbot.www.authz.endpointmatchers import ForceBuildEndpointMatcher
from buildbot.www.authz.endpointmatchers import RebuildBuildEndpointMatcher
from buildbot.www.authz.endpointmatchers import StopBuildEndpointMatcher
from twisted.internet import task

from buildbot_selfserve.auth import authorization
from buildbot_selfserve.auth import custom_code
from buildbot_selfserve.auth.authentication import Identity
from buildbot_selfserve.auth.authorization import Action
from buildbot_selfserve.config import SelfServeEndpointMatcher
from buildbot_selfserve.control import virtual_builder_names
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Decision
from buildbot_selfserve.model import Selection

ALLOWED = Decision(True)
LOG_IN = Decision(False, "log in first")
#: So many builders are asked about before others have their turn: about a millisecond.
BATCH = 20
#: So many of the builders that are denied are named.
MOST_NAMED = 20
#: The native actions that these rules are about; of others' rules nobody knows.
_NATIVE: dict[type[Any], tuple[str, ...]] = {
    StopBuildEndpointMatcher: ("stop", "cancel"),
    RebuildBuildEndpointMatcher: ("rebuild",),
    ForceBuildEndpointMatcher: ("force",),
    EnableSchedulerEndpointMatcher: (),
}
_EVERYTHING = (AnyEndpointMatcher, AnyControlEndpointMatcher)
_WORDS = {
    "builder": "the builder",
    "owner": "who owns it",
    "target": "the target",
}


def decision(
    master: Any,
    identity: Identity,
    action: Action,
    *,
    require_login: bool,
    builder: str | None = None,
) -> Decision:
    """Return whether *identity* may do *action*, as far as that can be told without a target.

    :param builder: the name of the builder, or of the virtual one, that it would be about
    """
    if identity.name is None and require_login:
        return LOG_IN
    token = identity.token
    depends = frozenset[str]()
    if token is not None:
        named = () if builder is None else (builder,)
        refusal = token.refusal(action.right, action.branch, named)
        if refusal:
            return Decision(False, refusal)
        if token.builders is not None and builder is None:
            depends = frozenset({"builder"})
    authz = master.www.authz
    with custom_code.named("what decides in www.authz", authz):
        ends = list(_Walk(authz, identity, action, builder).ends())
    return _combined(ends, depends)


async def of_builders(
    master: Any,
    identity: Identity,
    decided: Mapping[Action, Decision],
    selection: Selection,
    *,
    require_login: bool,
) -> dict[str, Decision]:
    """Return whether *identity* may do something to, or with, the builders that are selected.

    :param decided: what was decided of each action without a target
    :return: decisions by action
    """
    names = sorted(selection.names or ())
    found = {}
    for action, before in decided.items():
        if before is LOG_IN:
            found[action.name] = before
        elif not names:
            found[action.name] = Decision(False, "no builder is selected")
        elif before.allowed is not None:
            found[action.name] = _of_each(dict.fromkeys(names, before))
        else:
            each = {}
            for number, name in enumerate(names):
                if number % BATCH == 0:
                    await task.deferLater(master.reactor, 0)  # others have their turn
                each[name] = await _of_builder(
                    master, identity, action, name, require_login=require_login
                )
            found[action.name] = _of_each(each)
    return found


async def _of_builder(
    master: Any, identity: Identity, action: Action, name: str, *, require_login: bool
) -> Decision:
    """Return whether *identity* may do *action* with the builder *name*, whatever it is called."""
    other_names = virtual_builder_names.names(master, name, {})
    found = [
        decision(master, identity, action, require_login=require_login, builder=one)
        for one in (name, *other_names)
    ]
    denied = next((one for one in found if one.allowed is False), None)
    unclear = next((one for one in found if one.allowed is None), ALLOWED)
    if denied is None and "target" in unclear.depends_on and action.permission.native == "force":
        # a builder is all that there is to know of it: a rule of the operator's own may be asked
        try:
            await authorization.require_allowed(master, identity, action, Builder(0, name))
        except Forbidden as error:
            return Decision(False, error.msg)
        return ALLOWED
    return denied or unclear


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
            decisions[action.name] = Decision(False, error.msg)
    return decisions


@dataclass(frozen=True)
class _End:
    """A possible decision of the rules.

    :param role: what is missing when they deny it; ``None`` when they allow it
    :param depends_on: what it depends on that they end so
    """

    role: str | None
    depends_on: frozenset[str]


def _combined(ends: list[_End], depends: frozenset[str]) -> Decision:
    missing = list(dict.fromkeys(end.role for end in ends if end.role is not None))
    if len({end.role is None for end in ends}) == 2:
        depends = depends.union(*(end.depends_on for end in ends))
    elif missing:
        return Decision(False, f"you need to have role {' or '.join(map(repr, missing))}")
    return _depending(depends)


class _Walk:
    """Walks through the rules as ``Authz.assertUserAllowed`` does, whatever the target is.

    :param builder: the name of its builder, if that is known
    """

    def __init__(
        self, authz: Any, identity: Identity, action: Action, builder: str | None = None
    ) -> None:
        self.builder = builder
        self.authz = custom_code.watched(authz)
        self.rules = authz.allowRules
        self.action = action
        self.roles = self.authz.getRolesFromUser(identity.user_info)
        # who has no address owns nothing (buildbot/www/authz/roles.py, RolesFromOwner)
        self.owner_roles = (
            [matcher.role for matcher in authz.ownerRoleMatchers]
            if identity.user_info.get("email")
            else []
        )

    def ends(self) -> Iterator[_End]:
        """Yield the possible decisions."""
        so_far = frozenset[str]()  # what it depends on that we are here
        may_own = False
        for rule in self.rules:
            depends = self._depends(rule)
            if depends is None:
                continue
            may_own = may_own or self._knows_owner(rule)
            if self._has(self.roles, rule):
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
        yield _End(None, so_far)

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
            if self.builder is not None and not rule.speaks_of_builder(self.builder):
                return None
            return self._depends_on_builder(rule)
        for kind, actions in _NATIVE.items():
            if isinstance(rule, kind) and authorization.is_stock(rule, kind):
                if self.action.permission.native not in actions:
                    return None
                if self.builder is not None and rule.builder is not None:
                    return frozenset() if rule.authz.match(self.builder, rule.builder) else None
                return self._depends_on_builder(rule)
        # one that says nothing of its own matches nothing; what another says is known to it alone
        silent = type(rule).match is EndpointMatcherBase.match and not any(
            name.startswith("match_") for name in dir(rule)
        )
        return None if silent else frozenset({"target"})

    def _depends_on_builder(self, rule: Any) -> frozenset[str]:
        known = rule.builder is None or self.builder is not None
        return frozenset() if known else frozenset({"builder"})

    def _knows_owner(self, rule: Any) -> bool:
        return self.action.permission.native != "force" and not isinstance(rule, _EVERYTHING)
