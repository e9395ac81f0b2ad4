"""What master.cfg says of self-serve as a whole."""

from __future__ import annotations

import re
import zoneinfo
from typing import Any
from typing import TypeVar

import sqlalchemy as sa
from buildbot import config as buildbot_config
from buildbot.interfaces import IConfigured
from buildbot.interfaces import IRenderable
from zope.interface import implementer

from buildbot_selfserve.config.branches import SelfServeBranch
from buildbot_selfserve.config.checker import Checker
from buildbot_selfserve.config.limits import SelfServeLimits
from buildbot_selfserve.config.tokens import SelfServeToken
from buildbot_selfserve.model import NO_LIMITS

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
_Named = TypeVar("_Named", SelfServeBranch, SelfServeToken)
_SEGMENT = re.compile(r"[A-Za-z0-9_.~-]+")


@implementer(IConfigured)
class SelfServe:
    """The value of ``c['www']['plugins']['selfserve']``; every argument has a default.

    :param path: where it answers under the master's web root; several segments are allowed
    :param branches: list of :class:`SelfServeBranch`, of which some may be patterns; ``None``: the
        branches this master knows
    :param require_login: job requests need a known user, also under ``NoAuth``
    :param tokens: list of :class:`SelfServeToken`
    :param max_count: largest ``count`` of a rebuild
    :param backfill_priority: of the builds of backfills, where none is asked for; the lower, the
        later: others go first
    :param limits: :class:`SelfServeLimits`; ``None``: everybody may ask for as much as they like
    :param timeout: seconds after which a job request that cannot be finished is answered
    :param db_url: where the journal lives; ``None``: in the master's own database
    :param keep_jobs: days for which the journal keeps job requests that have ended; ``None``: for
        ever
    :param readers: how many readers run beside the reactor; ``0``: threads in the master
    :param gc_freeze: Python's garbage collector leaves alone what stays until the next reconfig
    :param max_bisections: how many bisections may go on at once, on all masters together
    :param timezone: whose midnight ``date=`` means
    :param max_waiting: how many clients may wait at once for something to happen
    :param max_waiting_per_client: how many of those may come from one address
    """

    _KEYS = (
        "path",
        "branches",
        "require_login",
        "tokens",
        "max_count",
        "backfill_priority",
        "limits",
        "timeout",
        "db_url",
        "keep_jobs",
        "readers",
        "gc_freeze",
        "max_bisections",
        "timezone",
        "max_waiting",
        "max_waiting_per_client",
    )

    def __init__(
        self,
        *unexpected: Any,
        path: str = "self-serve",
        branches: list[SelfServeBranch] | None = None,
        require_login: bool = True,
        tokens: list[SelfServeToken] | None = None,
        max_count: int = 100,
        backfill_priority: int = -1,
        limits: SelfServeLimits | None = None,
        timeout: float = 10,
        db_url: str | None = None,
        keep_jobs: float | None = None,
        readers: int = 1,
        gc_freeze: bool = True,
        max_bisections: int = 4,
        timezone: str = "UTC",
        max_waiting: int = 1000,
        max_waiting_per_client: int = 600,
        **unknown: Any,
    ) -> None:
        check = Checker("SelfServe")
        check.keywords(unexpected, unknown, self._KEYS)
        self.segments = _segments(check, path)
        self.branches = _branches(check, branches)
        self.tokens = _tokens(check, tokens)
        check.boolean("require_login", require_login)
        check.whole("max_count", max_count, 1, 10000)
        check.whole("backfill_priority", backfill_priority, -(2**31), 2**31 - 1)
        check.require(
            limits is None or isinstance(limits, SelfServeLimits),
            "limits",
            limits,
            "util.SelfServeLimits(...) or None",
        )
        check.number("timeout", timeout, 1, 600)
        check.secret(
            "db_url",
            _is_db_url(db_url),
            "the URL of a database whose driver is installed, a renderable or None",
        )
        if keep_jobs is not None:
            check.number("keep_jobs", keep_jobs, 1, 36500)
        check.whole("readers", readers, 0, 16)
        check.boolean("gc_freeze", gc_freeze)
        check.whole("max_bisections", max_bisections, 0, 1000)
        check.require(_is_timezone(timezone), "timezone", timezone, "a name such as Europe/Berlin")
        check.whole("max_waiting", max_waiting, 0, 100000)
        check.whole("max_waiting_per_client", max_waiting_per_client, 0, 100000)
        self.require_login = require_login
        self.max_count = max_count
        self.backfill_priority = backfill_priority
        self.limits = limits.limits if isinstance(limits, SelfServeLimits) else NO_LIMITS
        self.timeout = timeout
        self.db_url = db_url
        self.keep_jobs = keep_jobs
        self.readers = readers
        self.gc_freeze = gc_freeze
        self.max_bisections = max_bisections
        self.timezone = timezone
        self.max_waiting = max_waiting
        self.max_waiting_per_client = max_waiting_per_client

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


def _segments(check: Checker, path: object) -> tuple[str, ...]:
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


def _branches(check: Checker, branches: object) -> tuple[SelfServeBranch, ...] | None:
    if branches is None:
        return None
    found = _named(check, "branches", branches, SelfServeBranch)
    fine = found is not None
    check.require(fine, "branches", branches, "a list of util.SelfServeBranch(...) or None")
    return found or ()


def _tokens(check: Checker, tokens: object) -> tuple[SelfServeToken, ...]:
    found = _named(check, "tokens", () if tokens is None else tokens, SelfServeToken)
    # a secret may stand where a token belongs
    check.secret("tokens", found is not None, "a list of util.SelfServeToken(...)")
    return found or ()


def _named(
    check: Checker, key: str, given: object, kind: type[_Named]
) -> tuple[_Named, ...] | None:
    """Return what is *given*, ``None`` if it is no list of that *kind*; report equal names."""
    if not isinstance(given, list | tuple) or not all(isinstance(one, kind) for one in given):
        return None
    names = [one.name for one in given]
    twice = sorted({str(name) for name in names if names.count(name) > 1})
    check.require(not twice, key, twice, f"{key} of different names")
    return tuple(given)


def _is_db_url(db_url: object) -> bool:
    if db_url is None or IRenderable.providedBy(db_url):
        return True
    try:
        return isinstance(db_url, str) and bool(database_url(db_url))
    except (sa.exc.ArgumentError, ValueError, ImportError):
        return False


def database_url(text: str) -> sa.URL:
    """Return *text* as the URL of a database that can be opened here, if its server is there.

    :raises sqlalchemy.exc.ArgumentError: it is none, or of a kind that there is not
    :raises ValueError: its port is no number, or it names no file
    :raises ImportError: its driver is not installed
    """
    url = sa.engine.make_url(text)
    url.get_dialect().import_dbapi()
    file = url.database or ""
    if url.get_backend_name() == "sqlite" and (
        file in ("", ":memory:") or file.startswith("file:")
    ):
        raise ValueError("no file")
    return url


def _is_timezone(timezone: object) -> bool:
    try:
        return isinstance(timezone, str) and bool(zoneinfo.ZoneInfo(timezone))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        return False


def mistake_in(value: object) -> str:
    """Return what is wrong with *value* of ``c['www']['plugins']['selfserve']``, if anything."""
    if isinstance(value, SelfServe) or value is True or value is None or value == {}:
        return ""
    return (
        "c['www']['plugins']['selfserve'] must be util.SelfServe(...), True or {}: "
        "other values would be published to every visitor"
    )


def configured_or_none(value: object) -> SelfServe | None:
    """Return the configuration that *value* stands for, ``None`` if it is none."""
    return None if mistake_in(value) else configured(value)


def configured(value: object) -> SelfServe:
    """Return the configuration that *value* of ``c['www']['plugins']['selfserve']`` stands for.

    :raises buildbot.config.ConfigErrors: it is none
    """
    mistake = mistake_in(value)
    if mistake:
        buildbot_config.error(mistake, always_raise=True)
    return value if isinstance(value, SelfServe) else SelfServe()
