"""The API tokens of the configuration with their secrets, read again at every reconfig."""

from __future__ import annotations

import datetime
import hashlib
import hmac
import itertools
import time
from collections.abc import Sequence
from typing import Any

from twisted.internet import defer
from twisted.internet import task
from twisted.logger import Logger
from twisted.python.failure import Failure

from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.config import SelfServeToken
from buildbot_selfserve.deferreds import independent
from buildbot_selfserve.errors import Unauthorized
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.secrets import PATIENCE
from buildbot_selfserve.secrets import Secrets
from buildbot_selfserve.secrets import is_silent
from buildbot_selfserve.secrets import why_unread

#: Seconds after which a secret that could not be read is tried again; the last one repeats.
RETRIES = (2.0, 10.0, 60.0, 300.0)
#: A secret of fewer characters can be guessed; it works, and is warned of.
SHORTEST = 20


class Tokens:
    """Finds the API token that a client sends.

    A token whose secret is not known is good for nothing. While that is because a server of
    secrets does not answer, what might be its secret is not called wrong either.

    :param secrets: reads those of the configuration of now
    """

    log = Logger()

    def __init__(self, master: Any, secrets: Secrets) -> None:
        self._master = master
        self._secrets = secrets
        self._tokens: tuple[SelfServeToken, ...] = ()
        self._timezone = "UTC"
        self._digests: dict[str, bytes] = {}
        # why the others are good for nothing, and which of them may be good when a server answers
        self._missing: dict[str, str] = {}
        self._silent: set[str] = set()
        self._loading: defer.Deferred[None] | None = None
        # how often it was stopped
        self._generation = 0
        # fires when all secrets have been tried once
        self._known: defer.Deferred[None] = defer.Deferred()

    def __bool__(self) -> bool:
        return bool(self._tokens)

    def configure(self, tokens: Sequence[SelfServeToken], timezone: str) -> None:
        """Use only these tokens; none is valid before :meth:`load` has read its secret."""
        self.stop()
        self._tokens = tuple(tokens)
        self._timezone = timezone
        self._forget()

    def load(self) -> None:
        """Read the secrets in the background; what cannot be read is tried again and again.

        Requests that come meanwhile wait until all have been tried once.
        """
        self.stop()
        self._forget()
        for token in self._tokens:
            if self._ended(token) is not None:
                self.log.warn("selfserve: API token {name} has expired", name=token.name)
        self._loading = defer.Deferred.fromCoroutine(self._load(self._generation))
        self._loading.addErrback(self._over)

    def stop(self) -> None:
        """Read no more."""
        self._generation += 1
        loading, self._loading = self._loading, None
        if loading is not None:
            loading.cancel()

    def _forget(self) -> None:
        self._digests, self._missing, self._silent = {}, {}, set()
        if self._known.called:
            self._known = defer.Deferred()

    async def named_by(self, secret: bytes) -> SelfServeToken:
        """Return the token whose secret this is.

        :raises Unauthorized: it is nobody's, or has expired
        :raises Unavailable: the secrets are still being read, or a server of secrets is silent
        """
        digest = _digest(secret)
        found = self._find(digest)
        if found is None:
            await self._until_loaded()
            found = self._find(digest)
        if found is None and (self._silent or self._master.initLock.locked):
            # it may be good in a moment; the lock is held for as long as a reconfig takes
            raise Unavailable("The API tokens are not loaded yet", retry_after=1)
        if found is None:
            raise Unauthorized("Wrong API token")
        ended = self._ended(found)
        if ended is not None:
            raise Unauthorized(
                f"API token {found.name} has expired",
                f"it expired at {ended.isoformat()}; use a new one",
            )
        return found

    def _ended(self, token: SelfServeToken) -> datetime.datetime | None:
        """Return when *token* has expired, ``None`` if it has not."""
        end = token.end(self._timezone)
        return end if end is not None and end.timestamp() <= time.time() else None

    def _find(self, digest: bytes) -> SelfServeToken | None:
        found: SelfServeToken | None = None
        for token in self._tokens:  # all of them: how long it takes tells nothing
            if hmac.compare_digest(self._digests.get(token.name, b""), digest):
                found = found or token
        return found

    async def _until_loaded(self) -> None:
        if self._known.called:
            return
        try:
            await independent(self._known).addTimeout(PATIENCE, monotonic(self._master.reactor))
        except defer.TimeoutError:
            raise Unavailable("The API tokens are not loaded yet") from None

    async def _load(self, generation: int) -> None:
        await self._read(self._tokens, generation)
        if not self._known.called:
            self._known.callback(None)
        complained: set[str] = set()
        for seconds in itertools.chain(RETRIES, itertools.repeat(RETRIES[-1])):
            for name in sorted(self._missing.keys() - complained):
                why = self._missing[name]
                self.log.error("selfserve: API token {name} is refused: {why}", name=name, why=why)
            for name in sorted(complained - self._missing.keys()):
                self.log.info("selfserve: API token {name} is good now", name=name)
            complained = set(self._missing)
            if not complained:
                return
            await task.deferLater(monotonic(self._master.reactor), seconds)
            self._secrets.renew()
            again = [token for token in self._tokens if token.name in complained]
            await self._read(again, generation)

    def _over(self, failure: Failure) -> None:
        if not failure.check(defer.CancelledError):
            self.log.failure("selfserve: the secrets of API tokens cannot be read", failure)

    async def _read(self, tokens: Sequence[SelfServeToken], generation: int) -> None:
        """Read the secrets of *tokens*, and note those that have none.

        :raises CancelledError: it was stopped since *generation*
        """

        def read(result: object, token: SelfServeToken) -> None:
            if generation == self._generation:
                self._take(token, result)

        tried = []
        for token in tokens:
            one = defer.maybeDeferred(self._secrets.render, token.secret)
            tried.append(one.addBoth(read, token))
        await defer.DeferredList(tried)
        if generation != self._generation:
            # the list ends as if nothing was when it is cancelled
            raise defer.CancelledError
        self._refuse_copies()

    def _take(self, token: SelfServeToken, result: object) -> None:
        """Note the secret of *token*, or why it has none."""
        name = token.name
        self._missing.pop(name, None)
        self._silent.discard(name)
        if isinstance(result, Failure):
            self._missing[name] = why_unread(result)
            if is_silent(result.value):
                self._silent.add(name)
        elif not isinstance(result, str) or not result.strip():
            self._missing[name] = "its secret is empty, or no text"
        else:
            self._digests[name] = _digest(result.encode("utf-8", "surrogatepass"))
            if len(result.strip()) < SHORTEST:
                self.log.warn(
                    "selfserve: the secret of API token {name} is short enough to be guessed;"
                    " selfserve-token makes better ones",
                    name=name,
                )

    def _refuse_copies(self) -> None:
        """Refuse a secret that an earlier token already has."""
        first: dict[bytes, str] = {}
        for token in self._tokens:
            digest = self._digests.get(token.name)
            if digest is None:
                continue
            name = first.setdefault(digest, token.name)
            if name != token.name:
                del self._digests[token.name]
                self._missing[token.name] = f"its secret is that of token {name}, too"


def _digest(secret: bytes) -> bytes:
    # of one length whatever the secrets are; and those do not stay in memory
    return hashlib.sha256(secret.strip()).digest()
