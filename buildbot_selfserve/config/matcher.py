"""A rule for ``www.authz`` that matches job requests of self-serve only."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from buildbot.www.authz.endpointmatchers import EndpointMatcherBase
from twisted.internet import defer

from buildbot_selfserve.config.checker import Checker
from buildbot_selfserve.permissions import SET_ACTION
from buildbot_selfserve.permissions import action_words
from buildbot_selfserve.permissions import every_action
from buildbot_selfserve.permissions import set_action


class SelfServeEndpointMatcher(EndpointMatcherBase):
    """Matches job requests, for ``allowRules`` of ``util.Authz``, at its place among them.

    :param role: who may do what it matches
    :param action: the name of the job request in the journal, such as ``rebuild_build``
    :param branch: the name of the branch in URLs
    :param builder: the name of the builder
    :param defaultDeny: users without that role may not; otherwise the next rules are asked

    *action*, *branch* and *builder* are matched as ``stringsMatcher`` of ``util.Authz`` does it:
    by default as ``fnmatch`` patterns. ``None`` matches any. What Buildbot itself asks about never
    matches.
    """

    _KEYS = ("role", "action", "branch", "builder", "defaultDeny")

    def __init__(
        self,
        role: str,
        action: str | None = None,
        branch: str | None = None,
        builder: str | None = None,
        defaultDeny: bool = True,
        **unknown: Any,
    ) -> None:
        check = self._checker()
        check.unknown(unknown, self._KEYS)
        check.require(isinstance(role, str) and role, "role", role, "the name of a role")
        for key, value in (("action", action), ("branch", branch), ("builder", builder)):
            check.text(key, value)
        check.boolean("defaultDeny", defaultDeny)
        super().__init__(role=role, defaultDeny=defaultDeny)
        self.action = action
        self.branch = branch
        self.builder = builder

    @staticmethod
    def _checker() -> Checker:
        return Checker("SelfServeEndpointMatcher")

    def check_action(self, fits: Callable[[str, str], object], sets: Iterable[str]) -> None:
        """Report an action with which this rule would never match.

        :param fits: ``stringsMatcher`` of the ``util.Authz`` that the rule is in
        :param sets: the names of the sets that branches have
        """
        action = self.action
        if not isinstance(action, str):
            return
        names = [*every_action(), *map(set_action, sets)]
        if SET_ACTION.fullmatch(action):
            names.append(action)  # a set of a branch that is configured later
        try:
            fine = any(fits(name, action) for name in names)
        except Exception:  # of a pattern that is none, or of code of the operator's
            fine = False
        expected = f"a pattern for its stringsMatcher or a name of {action_words(action)}"
        self._checker().require(fine, "action", action, expected)

    def match(self, ep: Any, action: str = "get", options: Any = None) -> defer.Deferred[None]:
        """Return that no endpoint of Buildbot's own is meant, whatever it is."""
        return defer.succeed(None)

    def speaks_of(self, action: str, branch: str) -> bool:
        """Whether it is about *action* on *branch*, with one builder or another."""
        return self._fits(self.action, action) and self._fits(self.branch, branch)

    def speaks_of_builder(self, builder: str | None) -> bool:
        """Whether it is about *builder*."""
        return self.builder is None or (builder is not None and self._fits(self.builder, builder))

    def _fits(self, pattern: str | None, name: str) -> bool:
        return pattern is None or bool(self.authz.match(name, pattern))
