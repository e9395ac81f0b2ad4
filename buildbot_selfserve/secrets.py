"""Reads secrets from the providers of the master's present configuration.

Buildbot's own manager of secrets may give others. It is reconfigured after the web server, and not
at all when something before it fails; it keeps what a ``SecretInAFile`` has read once, and holds on
to the first of several providers of one class (buildbot/util/service.py).
"""

from __future__ import annotations

import copy
import socket
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from buildbot.process.properties import Properties
from buildbot.secrets.providers.file import SecretInAFile
from buildbot.secrets.secret import SecretDetails
from twisted.internet import defer
from twisted.internet import error as internet_error
from twisted.internet import threads
from twisted.python.failure import Failure

from buildbot_selfserve import buildbot_private
from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.deferreds import SharedCall
from buildbot_selfserve.deferreds import independent
from buildbot_selfserve.override import Override

#: Seconds that a secret may take to be read.
PATIENCE = 10.0
#: What is raised where a server is not there, or takes too long.
_SILENCE = (
    defer.TimeoutError,
    defer.CancelledError,
    ConnectionError,
    TimeoutError,
    socket.gaierror,
    internet_error.ConnectError,
    internet_error.ConnectionClosed,
    internet_error.DNSLookupError,
    internet_error.TimeoutError,
)


class Secrets:
    """The secrets of one master; what has been read is shared until :meth:`renew`."""

    def __init__(self, master: Any) -> None:
        self._master = master
        self._config: Any = None
        self._providers: list[_File | _Other] = []
        self._reading = SharedCall(monotonic(master.reactor))

    def renew(self) -> None:
        """Read again when the next secret is asked for."""
        self._reading = SharedCall(monotonic(self._master.reactor))

    def render(self, value: Any) -> defer.Deferred[Any]:
        """Return what *value*, a text or a renderable of master.cfg, stands for outside of builds.

        For a text nothing is read. It fails with whatever keeps a secret from being read, or after
        ``PATIENCE``; :func:`why_unread` and :func:`is_silent` tell what that means.
        """
        if isinstance(value, str):
            return defer.succeed(value)
        config = self._master.config
        if self._config is not config:
            self._config = config
            self._providers = [_within(self._master, one) for one in _providers_of(config)]
            self.renew()
        manager = _Manager(self._providers, self._reading)
        properties = Properties()
        properties.master = Override(
            self._master, namedServices={**self._master.namedServices, "secrets": manager}
        )
        return independent(properties.render(value)).addTimeout(
            PATIENCE, monotonic(self._master.reactor)
        )


def why_unread(failure: Failure) -> str:
    """Return why a secret cannot be read, without anything that could be one."""
    if failure.check(KeyError):
        return "no secrets provider has its secret"
    if failure.check(defer.TimeoutError, defer.CancelledError):
        return f"its secret took longer than {PATIENCE:g} seconds"
    return f"its secret cannot be read ({type(failure.value).__name__})"


def is_silent(error: BaseException | None) -> bool:
    """Whether something is not known because a server does not answer, and not because it is gone.

    Libraries put errors of their own around those of a connection.
    """
    return any(isinstance(one, _SILENCE) for one in _causes(error))


def _causes(cause: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        yield cause
        cause = cause.__cause__ or cause.__context__


def _providers_of(config: Any) -> list[Any]:
    given = config.secretsProviders
    return list(given.values() if isinstance(given, dict) else given)


class _Manager:
    """The secrets of some providers (as buildbot/secrets/manager.py).

    :param reading: in which each of them is read once
    """

    def __init__(self, providers: Sequence[_File | _Other], reading: SharedCall) -> None:
        self._providers = providers
        self._reading = reading

    def get(self, name: str) -> defer.Deferred[Any]:
        """Return the secret *name* of the first provider that has one, or ``None``."""
        return defer.Deferred.fromCoroutine(self._get(name))

    async def _get(self, name: str) -> Any:
        for one in self._providers:
            provider = await self._reading.ask(id(one), one.ready)
            value = await defer.maybeDeferred(provider.get, name)
            if value is not None:
                return SecretDetails(type(provider).__name__, name, value)
        return None


def _within(master: Any, provider: Any) -> _File | _Other:
    kind = _File if isinstance(provider, SecretInAFile) else _Other
    return kind(master, provider)


class _File:
    """A ``SecretInAFile``, whose files are read each time."""

    def __init__(self, master: Any, provider: SecretInAFile) -> None:
        self._reactor = master.reactor
        self._provider = provider

    def ready(self) -> defer.Deferred[Any]:
        """Return a copy of the provider that has read its files now."""
        pool = self._reactor.getThreadPool()
        return threads.deferToThreadPool(self._reactor, pool, _reread, self._provider)


def _reread(provider: SecretInAFile) -> SecretInAFile:
    """Return a copy of *provider* that has read its files now; an empty one if it cannot."""
    fresh = copy.copy(provider)
    if type(fresh).loadSecrets is SecretInAFile.loadSecrets:
        # one file that cannot be read must not hide the others
        fresh.loadSecrets = _load_each
    arguments, named = buildbot_private.config_arguments(provider)
    try:
        fresh.reconfigService(*arguments, **named)
    except (OSError, UnicodeDecodeError):
        fresh.secrets = {}
    return fresh


def _load_each(dirname: str, suffixes: Sequence[str], strip: bool) -> dict[str, str]:
    """Return the secrets in a folder (as ``SecretInAFile.loadSecrets``) but those of bad files."""
    found: dict[str, str] = {}
    for path in Path(dirname).iterdir():
        for suffix in suffixes:
            if not path.name.endswith(suffix):
                continue
            try:
                text = path.read_text(encoding="utf-8")
            except (OSError, UnicodeDecodeError):
                continue
            found[path.name.removesuffix(suffix)] = text.rstrip("\r\n") if strip else text
    return found


class _Other:
    """A provider of another class: the very object that the configuration names.

    Where Buildbot goes on with an earlier one in its place, it is configured here, and not started.
    """

    def __init__(self, master: Any, provider: Any) -> None:
        self._master = master
        self._provider = provider
        self._configured: Any = None

    def ready(self) -> defer.Deferred[Any]:
        """Return the provider, configured as it is now."""
        if self._provider.parent is not None:
            return defer.succeed(self._provider)
        return defer.Deferred.fromCoroutine(self._configure())

    async def _configure(self) -> Any:
        if self._configured is None:
            one = buildbot_private.with_master(self._provider, self._master)
            try:
                await one.reconfigServiceWithSibling(one)
            finally:
                one.configured = False  # for Buildbot it is not
            self._configured = one
        return self._configured
