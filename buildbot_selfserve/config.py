"""What master.cfg says, checked while it is read.

Mistakes are reported through ``buildbot.config.error``, so that ``buildbot checkconfig`` names all
of them at once. Nothing here may leak: Buildbot publishes the values of ``c['www']['plugins']`` to
every visitor, and of ours only ``getConfigDict()``, which is the path.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import cloudpickle
import sqlalchemy as sa
from buildbot import config as buildbot_config
from buildbot.interfaces import IConfigured
from buildbot.interfaces import IRenderable
from zope.interface import implementer

from buildbot_selfserve.model import Branch
from buildbot_selfserve.params import is_plain

#: First segments under the web root that are Buildbot's own (buildbot/www/service.py, setupSite,
#: and the files of buildbot-www).
RESERVED = frozenset(
    {
        "api",
        "assets",
        "auth",
        "avatar",
        "browser-warning-list.js",
        "browser-warning.css",
        "browser-warning.js",
        "change_hook",
        "config",
        "favicon.ico",
        "fonts",
        "icon.png",
        "icon.svg",
        "img",
        "index.html",
        "manifest.json",
        "plugins",
        "robots.txt",
        "sse",
        "static",
        "ws",
    }
)
_SEGMENT = re.compile(r"[A-Za-z0-9_.~-]+")

_ANY = object()


class _Checker:
    """Collects what is wrong with the arguments of one constructor."""

    def __init__(self, owner: str) -> None:
        self.owner = owner

    def require(self, fine: object, key: str, value: object, expected: str) -> None:
        """Report *value* of *key* unless it is *fine*."""
        if not fine:
            buildbot_config.error(f"{self.owner}: {key}={value!r} must be {expected}")

    def unknown(self, arguments: Mapping[str, object], known: Iterable[str]) -> None:
        """Report arguments that do not exist."""
        for key in arguments:
            buildbot_config.error(
                f"{self.owner}: there is no argument {key!r}; it takes {', '.join(known)}"
            )

    def boolean(self, key: str, value: object) -> None:
        self.require(isinstance(value, bool), key, value, "True or False")

    def text(self, key: str, value: object, *, optional: bool = True) -> None:
        fine = (value is None and optional) or (isinstance(value, str) and is_plain(value))
        self.require(fine, key, value, "a text" + (" or None" if optional else ""))

    def number(self, key: str, value: object, minimum: float, maximum: float) -> None:
        fine = isinstance(value, int | float) and not isinstance(value, bool)
        fine = fine and minimum <= value <= maximum  # type: ignore[operator]
        self.require(fine, key, value, f"a number from {minimum:g} to {maximum:g}")

    def whole(self, key: str, value: object, minimum: int, maximum: int) -> None:
        fine = isinstance(value, int) and not isinstance(value, bool)
        fine = fine and minimum <= value <= maximum  # type: ignore[operator]
        self.require(fine, key, value, f"a whole number from {minimum} to {maximum}")


class SelfServeBranch:
    """One branch that self-serve shows, and which sourcestamps belong to it.

    :param name: the name in URLs
    :param branch: the branch in sourcestamps: a text, ``None``, or a list of those; default *name*
    :param codebase: only sourcestamps of this codebase, where one branch name lives in several;
        *project* and *repository* likewise
    :param repo: the repository as ``/branches`` shows it; *repo_type* says of which kind it is
    :param builders: builder names, ``re.compile(...)`` or ``'tag:NAME'``; ``None``: worked out
    :param sets: named groups of builders, ``{'nightly': [...], 'pgo': [...]}``; an entry is a
        builder name, a regular expression, ``'tag:NAME'`` or ``'scheduler:NAME'``
    :param revlink: a link to a revision: a template with ``{revision}`` or a callable that takes it
    """

    _KEYS = (
        "name",
        "branch",
        "codebase",
        "project",
        "repository",
        "repo",
        "repo_type",
        "builders",
        "sets",
        "revlink",
    )

    def __init__(
        self,
        name: str,
        *,
        branch: Any = _ANY,
        codebase: str | None = None,
        project: str | None = None,
        repository: str | None = None,
        repo: str = "",
        repo_type: str = "git",
        builders: list[Any] | None = None,
        sets: dict[str, list[Any]] | None = None,
        revlink: str | Callable[[str], str] | None = None,
        **unknown: Any,
    ) -> None:
        check = _Checker(f"SelfServeBranch({name!r})")
        check.unknown(unknown, self._KEYS)
        check.require(
            isinstance(name, str) and 0 < len(name) <= 256 and is_plain(name),
            "name",
            name,
            "a text of 1 to 256 characters",
        )
        branches = [str(name)] if branch is _ANY else branch
        branches = list(branches) if isinstance(branches, list | tuple) else [branches]
        check.require(
            branches and all(one is None or isinstance(one, str) for one in branches),
            "branch",
            branch,
            "a text, None, or a list of those",
        )
        for key, value in (
            ("codebase", codebase),
            ("project", project),
            ("repository", repository),
        ):
            check.text(key, value)
        check.text("repo", repo, optional=False)
        check.text("repo_type", repo_type, optional=False)
        self._check_builders(check, "builders", builders, ("tag:",))
        check.require(
            sets is None or (isinstance(sets, dict) and all(map(_is_set_name, sets))),
            "sets",
            sets,
            "a dict of names (small letters, digits, - and _) and lists of builders",
        )
        for key, entries in sets.items() if isinstance(sets, dict) else ():
            self._check_builders(check, f"sets[{key!r}]", entries, ("tag:", "scheduler:"))
        check.require(
            _is_revlink(revlink), "revlink", revlink, "a text with {revision}, or a callable"
        )
        self.name = name
        self.branch = Branch(
            name=name,
            branches=tuple(branches),
            codebase=codebase,
            project=project,
            repository=repository,
            repo=repo,
            repo_type=repo_type,
            revlink=_pickled(check, revlink),
            builders=tuple(builders) if isinstance(builders, list | tuple) else None,
            sets=tuple(
                (key, tuple(entries))
                for key, entries in (sets.items() if isinstance(sets, dict) else ())
                if isinstance(entries, list | tuple)
            ),
        )

    @staticmethod
    def _check_builders(
        check: _Checker, key: str, entries: object, prefixes: tuple[str, ...]
    ) -> None:
        def fine(entry: object) -> bool:
            if isinstance(entry, re.Pattern):
                return True
            if not isinstance(entry, str) or not entry:
                return False
            # a prefix with nothing behind it, or where it means nothing, would match no builder
            return entry not in prefixes and (
                not entry.startswith("scheduler:") or "scheduler:" in prefixes
            )

        named = " or ".join(f"{prefix}NAME" for prefix in prefixes)
        check.require(
            (entries is None and key == "builders")
            or (isinstance(entries, list | tuple) and all(map(fine, entries))),
            key,
            entries,
            f"a list of builder names, re.compile(...) or {named}",
        )


def _is_set_name(name: object) -> bool:
    return isinstance(name, str) and re.fullmatch(r"[a-z0-9_-]{1,64}", name) is not None


def _is_revlink(revlink: object) -> bool:
    if revlink is None or callable(revlink):
        return True
    try:
        return isinstance(revlink, str) and (
            revlink.format(revision="a") != revlink.format(revision="b")
        )
    except (LookupError, ValueError, AttributeError, TypeError):
        return False


def _pickled(check: _Checker, revlink: str | Callable[[str], str] | None) -> str | bytes | None:
    """Return *revlink* so that it can go to a reader process.

    Functions of master.cfg are in no module that a process could import; cloudpickle takes along
    what they are.
    """
    if not callable(revlink):
        return revlink
    try:
        pickled: bytes = cloudpickle.dumps(revlink)
    except Exception as error:
        check.require(False, "revlink", revlink, f"a callable that can be pickled ({error})")
        return None
    return pickled


@implementer(IConfigured)
class SelfServe:
    """The value of ``c['www']['plugins']['selfserve']``; every argument has a default.

    :param path: where it answers under the master's web root; several segments are allowed
    :param branches: list of :class:`SelfServeBranch`; ``None``: the branches this master knows
    :param require_login: job requests need a known user, also under ``NoAuth``
    :param tokens: API tokens (none yet)
    :param max_count: largest ``count`` of a rebuild
    :param timeout: seconds after which a job request that cannot be finished is answered
    :param db_url: where the journal lives; ``None``: in the master's own database
    :param readers: how many readers run beside the reactor; ``0``: threads in the master
    :param timezone: whose midnight ``date=`` means
    """

    _KEYS = (
        "path",
        "branches",
        "require_login",
        "tokens",
        "max_count",
        "timeout",
        "db_url",
        "readers",
        "timezone",
    )

    def __init__(
        self,
        *unexpected: Any,
        path: str = "self-serve",
        branches: list[SelfServeBranch] | None = None,
        require_login: bool = True,
        tokens: list[Any] | None = None,
        max_count: int = 100,
        timeout: float = 10,
        db_url: str | None = None,
        readers: int = 1,
        timezone: str = "UTC",
        **unknown: Any,
    ) -> None:
        check = _Checker("SelfServe")
        if unexpected:
            buildbot_config.error(
                f"SelfServe: {unexpected[0]!r} needs a keyword; it takes {', '.join(self._KEYS)}"
            )
        check.unknown(unknown, self._KEYS)
        self.segments = _segments(check, path)
        self.branches = _branches(check, branches)
        check.boolean("require_login", require_login)
        check.require(not tokens, "tokens", "...", "empty: API tokens are not supported yet")
        check.whole("max_count", max_count, 1, 10000)
        check.number("timeout", timeout, 1, 600)
        check.require(_is_db_url(db_url), "db_url", "...", "a database URL, a renderable or None")
        check.whole("readers", readers, 0, 16)
        check.require(_is_timezone(timezone), "timezone", timezone, "a name such as Europe/Berlin")
        self.require_login = require_login
        self.max_count = max_count
        self.timeout = timeout
        self.db_url = db_url
        self.readers = readers
        self.timezone = timezone

    @property
    def path(self) -> str:
        """Return the mount path without slashes around it."""
        return "/".join(self.segments)

    def getConfigDict(self) -> dict[str, Any]:
        """Return all that visitors may see (buildbot/www/config.py publishes it)."""
        return {"path": self.path}

    def __repr__(self) -> str:
        # Buildbot may print its configuration; db_url can hold a password
        return f"SelfServe(path={self.path!r})"


def _segments(check: _Checker, path: object) -> tuple[str, ...]:
    segments = tuple(path.strip("/").split("/")) if isinstance(path, str) else ()
    fine = segments and all(
        _SEGMENT.fullmatch(segment) and segment not in (".", "..") for segment in segments
    )
    check.require(fine, "path", path, "one or several plain URL segments, such as 'self-serve'")
    check.require(
        not segments or segments[0] not in RESERVED,
        "path",
        path,
        "another name: this one is Buildbot's own",
    )
    return segments


def _branches(check: _Checker, branches: object) -> tuple[SelfServeBranch, ...] | None:
    if branches is None:
        return None
    fine = isinstance(branches, list | tuple) and all(
        isinstance(one, SelfServeBranch) for one in branches
    )
    check.require(fine, "branches", branches, "a list of util.SelfServeBranch(...) or None")
    if not fine:
        return ()
    assert isinstance(branches, list | tuple)
    names = [one.name for one in branches]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    check.require(not twice, "branches", twice, "branches of different names")
    return tuple(branches)


def _is_db_url(db_url: object) -> bool:
    if db_url is None or IRenderable.providedBy(db_url):
        return True
    try:
        return isinstance(db_url, str) and bool(sa.engine.make_url(db_url))
    except (sa.exc.ArgumentError, ValueError):
        # make_url lets the ValueError of a bad port escape
        return False


def _is_timezone(timezone: object) -> bool:
    try:
        return isinstance(timezone, str) and bool(zoneinfo.ZoneInfo(timezone))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False


def configured(value: object) -> SelfServe:
    """Return the configuration that *value* of ``c['www']['plugins']['selfserve']`` stands for.

    :raises buildbot.config.ConfigErrors: it is none
    """
    if isinstance(value, SelfServe):
        return value
    if value is True or value is None or value == {}:
        return SelfServe()
    buildbot_config.error(
        "c['www']['plugins']['selfserve'] must be util.SelfServe(...), True or {}: "
        "other values would be published to every visitor",
        always_raise=True,
    )
    raise AssertionError("unreachable")
