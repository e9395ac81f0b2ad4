"""The API tokens of the configuration with their secrets, read again at every reconfig."""

from __future__ import annotations

import copy
import hashlib
import hmac
import itertools
import time
from collections.abc import Sequence
from typing import Any

from buildbot.process.properties import Properties
from buildbot.secrets.providers.file import SecretInAFile
from buildbot.secrets.secret import SecretDetails
from twisted.internet import defer
from twisted.internet import task
from twisted.internet import threads
from twisted.logger import Logger
from twisted.python.failure import Failure

from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.config import SelfServeToken
from buildbot_selfserve.errors import Unauthorized
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.instead import Instead
from buildbot_selfserve.waiting import independent

#: Seconds after which a secret that could not be read is tried again; the last one repeats.
RETRIES = (2.0, 10.0, 60.0, 300.0)
#: Seconds that a secret may take to be read.
PATIENCE = 10.0
#: A secret of fewer characters can be guessed; it works, and is warned of.
SHORTEST = 20


class Tokens:
    """Tells whose token it is that a client shows."""

    log = Logger()

    def __init__(self, master: Any) -> None:
        self._master = master
        self._tokens: tuple[SelfServeToken, ...] = ()
        self._timezone = "UTC"
        self._digests: dict[str, bytes] = {}
        self._loading: defer.Deferred[None] | None = None
        # how often it was stopped
        self._generation = 0
        # fires when all secrets have been tried once
        self._known: defer.Deferred[None] = defer.Deferred()

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def configure(self, tokens: Sequence[SelfServeToken], timezone: str) -> None:
        """Take these tokens and no others; none is good before :meth:`load` has read its secret."""
        self.stop()
        self._tokens = tuple(tokens)
        self._timezone = timezone
        self._digests = {}

    def load(self) -> None:
        """Read the secrets in the background; what cannot be read is tried again and again.

        Whoever comes meanwhile waits until all have been tried once.
        """
        self.stop()
        if self._known.called:
            self._known = defer.Deferred()
        self._loading = defer.Deferred.fromCoroutine(self._load(self._generation))
        self._loading.addErrback(self._over)

    def stop(self) -> None:
        """Read no more."""
        self._generation += 1
        loading, self._loading = self._loading, None
        if loading is not None:
            loading.cancel()

    async def named_by(self, secret: bytes) -> SelfServeToken:
        """Return the token whose secret this is.

        :raises Unauthorized: it is nobody's, or has expired
        :raises Unavailable: the secrets are still being read
        """
        await self._until_loaded()
        digest = _digest(secret)
        found: SelfServeToken | None = None
        for token in self._tokens:  # all of them: how long it takes tells nothing
            if hmac.compare_digest(self._digests.get(token.name, b""), digest):
                found = token
        if found is None and self._master.reconfig_active:
            # the providers of secrets come after the web server, so that it may be good in a moment
            raise Unavailable("The API tokens are not known yet", retry_after=1)
        if found is None:
            raise Unauthorized("Wrong API token")
        end = found.end(self._timezone)
        if end is not None and end.timestamp() <= time.time():
            raise Unauthorized(f"API token {found.name} has expired", f"at {end.isoformat()}")
        return found

    async def _until_loaded(self) -> None:
        if self._known.called:
            return
        try:
            await independent(self._known).addTimeout(PATIENCE, monotonic(self._master.reactor))
        except defer.TimeoutError:
            raise Unavailable("The API tokens are not known yet") from None

    async def _load(self, generation: int) -> None:
        missing = await self._read(self._tokens, generation)
        if not self._known.called:
            self._known.callback(None)
        complained = False
        for seconds in itertools.chain(RETRIES, itertools.repeat(RETRIES[-1])):
            if not missing:
                return
            await task.deferLater(monotonic(self._master.reactor), seconds)
            before, missing = missing, await self._read(list(missing), generation)
            if not complained:
                # not at once: in a reconfig the providers of secrets come after the web server
                for token, why in missing.items():
                    self.log.error(
                        "selfserve: API token {name} is refused: {why}", name=token.name, why=why
                    )
                complained = True
                continue
            for token in before.keys() - missing.keys():
                self.log.info("selfserve: API token {name} is good now", name=token.name)

    def _over(self, failure: Failure) -> None:
        if not failure.check(defer.CancelledError):
            self.log.failure("selfserve: the secrets of API tokens cannot be read", failure)

    async def _read(
        self, tokens: Sequence[SelfServeToken], generation: int
    ) -> dict[SelfServeToken, str]:
        """Read the secrets of *tokens*; return those that have none, and why.

        :raises CancelledError: it was stopped since *generation*
        """
        master = await with_fresh_secrets(self._master)
        results = await defer.DeferredList(
            [rendered(master, token.secret) for token in tokens],
            consumeErrors=True,
        )
        if generation != self._generation:
            # the list ends as if nothing was when it is cancelled
            raise defer.CancelledError
        missing = {}
        for token, (fine, result) in zip(tokens, results, strict=True):
            why = self._why_not(token, result) if fine else why_unread(result)
            if why:
                missing[token] = why
        return missing

    def _why_not(self, token: SelfServeToken, secret: object) -> str:
        """Take the *secret* of *token*; return why it cannot be taken, if so."""
        if not isinstance(secret, str) or not secret.strip():
            return "its secret is empty, or no text"
        digest = _digest(secret.encode("utf-8", "surrogatepass"))
        for name, other in self._digests.items():
            if name != token.name and hmac.compare_digest(other, digest):
                return f"its secret is that of token {name}, too"
        if len(secret.strip()) < SHORTEST:
            self.log.warn(
                "selfserve: the secret of API token {name} is short enough to be guessed;"
                " selfserve-token makes better ones",
                name=token.name,
            )
        self._digests[token.name] = digest
        return ""


def rendered(master: Any, value: Any) -> defer.Deferred[Any]:
    """Return what a renderable of master.cfg, such as a secret, stands for outside of builds.

    It fails with whatever keeps it from being read, or after ``PATIENCE``.
    """
    properties = Properties()
    properties.master = master
    done: defer.Deferred[Any] = properties.render(value)
    return done.addTimeout(PATIENCE, monotonic(master.reactor))


def _digest(secret: bytes) -> bytes:
    # of one length whatever the secrets are; and those do not stay in memory
    return hashlib.sha256(secret.strip()).digest()


def why_unread(failure: Failure) -> str:
    """Return why a secret cannot be read, without anything that could be one."""
    if failure.check(KeyError):
        return "no secrets provider has its secret"
    if failure.check(defer.TimeoutError, defer.CancelledError):
        return f"its secret took longer than {PATIENCE:g} seconds"
    return f"its secret cannot be read ({type(failure.value).__name__})"


class _Secrets:
    """The secrets of some providers (as buildbot/secrets/manager.py)."""

    def __init__(self, providers: Sequence[Any]) -> None:
        self._providers = providers

    def get(self, name: str) -> defer.Deferred[Any]:
        """Return the secret *name* of the first provider that has one, or ``None``."""
        return defer.Deferred.fromCoroutine(self._get(name))

    async def _get(self, name: str) -> Any:
        for provider in self._providers:
            value = await defer.maybeDeferred(provider.get, name)
            if value is not None:
                return SecretDetails(type(provider).__name__, name, value)
        return None


async def with_fresh_secrets(master: Any) -> Any:
    """Return *master* with its secrets as they are now, for :func:`rendered`.

    A ``SecretInAFile`` reads its files only when its own arguments change, so that a reconfig
    would leave it with the old ones (buildbot/util/service.py, reconfigServiceWithSibling).
    """
    pool = master.reactor.getThreadPool()
    providers = []
    for provider in master.namedServices.get("secrets") or ():
        if isinstance(provider, SecretInAFile):
            provider = await threads.deferToThreadPool(master.reactor, pool, _reread, provider)
        providers.append(provider)
    services = {**master.namedServices, "secrets": _Secrets(providers)}
    return Instead(master, namedServices=services)


def _reread(provider: SecretInAFile) -> SecretInAFile:
    """Return a copy of *provider* that has read its files now; an empty one if it cannot."""
    fresh = copy.copy(provider)
    try:
        fresh.reconfigService(*provider._config_args, **provider._config_kwargs)
    except (OSError, UnicodeDecodeError):
        fresh.secrets = {}
    return fresh
