"""API tokens: what master.cfg says of them, and what they allow."""

from __future__ import annotations

import datetime
import fnmatch
import re
import zoneinfo
from collections.abc import Iterable
from typing import Any

from buildbot.interfaces import IRenderable

from buildbot_selfserve.config.checker import Checker
from buildbot_selfserve.params.texts import is_plain
from buildbot_selfserve.permissions import SET_ACTION
from buildbot_selfserve.permissions import action_words
from buildbot_selfserve.permissions import every_action

LONGEST_NAME = 100
_A_DATE = re.compile(r"\d{4}-\d\d-\d\d")


class SelfServeToken:
    """An API token: an opaque secret that stands for a name, within limits.

    :param name: who it is, to the rules of ``www.authz`` and in the journal
    :param secret: a ``util.Secret``, another renderable, or (discouraged) the text itself
    :param actions: the job requests that it may be used for, by their names in the journal
    :param branches: the branches, by their names in URLs
    :param builders: the builders, by name
    :param expires: when it ends: a date, a date with a time, or either as ISO text. It is good
        through a date. What names no offset from UTC is meant in the ``timezone`` of ``SelfServe``

    *actions*, *branches* and *builders* are lists of names, or of patterns as ``fnmatch`` knows
    them; ``None`` does not narrow. With no actions at all, a token is good for reading only.
    """

    _KEYS = ("name", "secret", "actions", "branches", "builders", "expires")

    def __init__(
        self,
        name: str = "",
        secret: Any = None,
        *unexpected: Any,
        actions: Iterable[str] | None = None,
        branches: Iterable[str] | None = None,
        builders: Iterable[str] | None = None,
        expires: str | datetime.date | None = None,
        **unknown: Any,
    ) -> None:
        check = Checker(f"SelfServeToken({name!r})")
        # what stands in a wrong place is not shown: it may be the secret
        check.require(
            not unexpected, "arguments", "...", "name, secret, and keywords after those two"
        )
        check.unknown(unknown, self._KEYS)
        check.require(
            isinstance(name, str)
            and 0 < len(name.strip()) <= len(name) <= LONGEST_NAME
            and is_plain(name),
            "name",
            name,
            f"a text of 1 to {LONGEST_NAME} characters",
        )
        check.secret("secret", _is_secret(secret), "a util.Secret, another renderable, or a text")
        self.name = name
        self.secret = secret
        self.actions = _names(check, "actions", actions)
        self.branches = _names(check, "branches", branches)
        self.builders = _names(check, "builders", builders)
        for pattern in self.actions or ():
            check.require(
                _names_an_action(pattern),
                "actions",
                pattern,
                f"names or patterns of {action_words(pattern)}",
            )
        self._expires = _moment(expires)
        check.require(
            expires is None or self._expires is not None,
            "expires",
            expires,
            "a date such as '2030-12-31', or with a time '2030-12-31T18:00+01:00'",
        )

    @property
    def via(self) -> str:
        """Return how the journal names the use of this token."""
        return f"token:{self.name}"

    def end(self, timezone: str) -> datetime.datetime | None:
        """Return the moment from which it is worth nothing, ``None`` if there is none."""
        end = self._expires
        if end is None or end.tzinfo is not None:
            return end
        return end.replace(tzinfo=zoneinfo.ZoneInfo(timezone))

    def is_for(self, action: str) -> bool:
        """Whether *action* is among those that it is good for."""
        return self.actions is None or _fits(action, self.actions)

    def refusal(self, action: str, branch: str, builders: Iterable[str] = ()) -> str:
        """Return why it is not good for *action* on *branch* with all of *builders*; or nothing."""
        wanted = (
            ("actions", self.actions, [action]),
            ("branches", self.branches, [branch]),
            ("builders", self.builders, builders),
        )
        for key, limits, names in wanted:
            if limits is not None and not all(_fits(name, limits) for name in names):
                only = ", ".join(limits) or "no"
                return (
                    f"token {self.name} is limited to the {key} {only}"
                    if limits
                    else (f"token {self.name} is for reading only")
                )
        return ""

    def role_matcher(self, roles: Iterable[str]) -> str:
        """Return what gives *roles* to it, among the ``roleMatchers`` of ``www.authz``."""
        return f"util.RolesFromUsername(roles={list(roles)!r}, usernames=[{self.name!r}])"

    def __repr__(self) -> str:
        return f"SelfServeToken(name={self.name!r}, secret=...)"


def _fits(name: str, patterns: Iterable[str]) -> bool:
    # the name itself first: brackets in it are a pattern to fnmatch
    return any(name == pattern or fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _is_secret(secret: object) -> bool:
    if isinstance(secret, str):
        return bool(secret.strip())
    return bool(IRenderable.providedBy(secret))


def _names(check: Checker, key: str, names: object) -> tuple[str, ...] | None:
    if names is None:
        return None
    fine = isinstance(names, list | tuple | set | frozenset) and all(
        isinstance(one, str) and one and is_plain(one) for one in names
    )
    check.require(fine, key, names, "a list of names, or None for any")
    if not fine:
        return ()
    assert isinstance(names, list | tuple | set | frozenset)
    return tuple(sorted(names) if isinstance(names, set | frozenset) else names)


def _names_an_action(pattern: str) -> bool:
    # whatever sets branches have are known later
    return SET_ACTION.fullmatch(pattern) is not None or any(
        _fits(action, [pattern]) for action in every_action()
    )


def _moment(expires: object) -> datetime.datetime | None:
    """Return the end of what *expires* says; ``None`` if it says nothing."""
    if isinstance(expires, str):
        text = expires.strip()
        if _A_DATE.fullmatch(text):
            return _parsed(datetime.date, text)
        # Python 3.10 does not know that Z is an offset
        return _parsed(datetime.datetime, re.sub("[zZ]$", "+00:00", text))
    return _end_of(expires)


def _parsed(kind: type[datetime.date], text: str) -> datetime.datetime | None:
    try:
        return _end_of(kind.fromisoformat(text))
    except ValueError:
        return None


def _end_of(value: object) -> datetime.datetime | None:
    if isinstance(value, datetime.datetime):
        return value
    if not isinstance(value, datetime.date):
        return None
    try:
        return datetime.datetime.combine(value + datetime.timedelta(1), datetime.time())
    except OverflowError:  # the last day of all
        return datetime.datetime.combine(value, datetime.time.max)
