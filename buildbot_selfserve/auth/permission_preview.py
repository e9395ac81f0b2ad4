"""Predicts from the rules of ``www.authz`` what a user may do, before a target is known.

Nothing here looks anything up. Where a rule depends on the builder or on the owner of what it would
be about, the verdict says so, and ``authorization.require_allowed`` knows when there is a target.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildbot.www.authz.endpointmatchers import AnyControlEndpointMatcher
from buildbot.www.authz.endpointmatchers import AnyEndpointMatcher
from buildbot.www.authz.endpointmatchers import EnableSchedulerEndpointMatcher
from buildbot.www.authz.endpointmatchers import EndpointMatcherBase
from buildbot.www.authz.endpointmatchers import ForceBuildEndpointMatcher
from buildbot.www.authz.endpointmatchers import RebuildBuildEndpointMatcher
from buildbot.www.authz.endpointmatchers import StopBuildEndpointMatcher

from buildbot_selfserve.auth import authorization
from buildbot_selfserve.auth import custom_code
from buildbot_selfserve.auth.authentication import Identity
from buildbot_selfserve.auth.authorization import Action
from buildbot_selfserve.config import SelfServeEndpointMatcher
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.model import Decision

ALLOWED = Decision(True)
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


def decision(master: Any, identity: Identity, action: Action, *, require_login: bool) -> Decision:
    """Return whether *identity* may do *action*, as far as that can be told without a target."""
    if identity.name is None and require_login:
        return Decision(False, "log in first")
    token = identity.token
    depends = frozenset[str]()
    if token is not None:
        refusal = token.refusal(action.right, action.branch)
        if refusal:
            return Decision(False, refusal)
        if token.builders is not None:
            depends = frozenset({"builder"})
    authz = master.www.authz
    with custom_code.named("what decides in www.authz", authz):
        ends = list(_Walk(authz, identity, action).ends())
    return _combined(ends, depends)


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
    if not depends:
        return ALLOWED
    named = tuple(word for word in _WORDS if word in depends)
    return Decision(None, f"depends on {' and '.join(_WORDS[word] for word in named)}", named)


class _Walk:
    """Walks through the rules as ``Authz.assertUserAllowed`` does, whatever the target is."""

    def __init__(self, authz: Any, identity: Identity, action: Action) -> None:
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
            return frozenset() if rule.builder is None else frozenset({"builder"})
        for kind, actions in _NATIVE.items():
            if isinstance(rule, kind) and authorization.is_stock(rule, kind):
                if self.action.permission.native not in actions:
                    return None
                return frozenset() if rule.builder is None else frozenset({"builder"})
        # one that says nothing of its own matches nothing; what another says is known to it alone
        silent = type(rule).match is EndpointMatcherBase.match and not any(
            name.startswith("match_") for name in dir(rule)
        )
        return None if silent else frozenset({"target"})

    def _knows_owner(self, rule: Any) -> bool:
        return self.action.permission.native != "force" and not isinstance(rule, _EVERYTHING)
