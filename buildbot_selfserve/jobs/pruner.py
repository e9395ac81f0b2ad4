"""Deletes rows of the journal that are older than configured, in the background."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from twisted.internet import defer
from twisted.internet import task
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from buildbot_selfserve.errors import NotNow
from buildbot_selfserve.journal import prune
from buildbot_selfserve.outages import Outage

DAY = 86_400
#: Seconds between two transactions while there is more to delete, to let other writers in.
PAUSE = 1.0
#: Seconds until the next attempt if the master is starting or its database is away.
RETRY = 60.0
#: Seconds until the next search if nothing is left to delete.
INTERVAL = 3600.0


class Pruner:
    """Deletes old rows; all masters that share the journal may do so at once.

    :param clock: the reactor
    :param write: runs ``function(connection, *arguments)`` on the journal's database, outside the
        reactor
    :param check_available: raises :class:`NotNow` if the journal cannot be written now
    :param keep_days: returns the number of days to keep a closed row, ``None`` for forever
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        write: Callable[..., Awaitable[Any]],
        check_available: Callable[[], Awaitable[None]],
        keep_days: Callable[[], float | None],
    ) -> None:
        self._clock = clock
        self._write = write
        self._check_available = check_available
        self._keep_days = keep_days
        self._outage = Outage(clock, "old jobs are deleted again")
        self._pause: defer.Deferred[None] | None = None
        self._woken = False
        self._stopping = False
        self._deleted = 0

    def start(self) -> None:
        """Start deleting old rows."""
        running = defer.Deferred.fromCoroutine(self._until_stopped())
        running.addErrback(
            lambda why: self.log.failure("selfserve: stopped deleting old jobs", why)
        )

    def look(self) -> None:
        """Search soon: the journal was opened, or the configuration may have changed."""
        self._woken = True
        if self._pause is not None:
            self._pause.cancel()

    def stop(self) -> None:
        """Stop searching; a transaction that has begun is completed."""
        self._stopping = True
        self.look()

    async def _until_stopped(self) -> None:
        while not self._stopping:
            self._woken = False
            seconds = await self._pruned()
            if not self._woken:
                await self._wait(seconds)

    async def _wait(self, seconds: float) -> None:
        self._pause = task.deferLater(self._clock, seconds)
        with suppress(defer.CancelledError):
            await self._pause
        self._pause = None

    async def _pruned(self) -> float:
        """Delete some old rows; return the seconds until the next search."""
        try:
            more = await self._prune()
        except NotNow:
            return RETRY
        except Exception as error:
            self._outage.failed("old jobs cannot be deleted, trying again", error)
            return RETRY
        self._outage.end()
        if more:
            return PAUSE
        if self._deleted:
            self.log.info("selfserve: deleted {n} old jobs", n=self._deleted)
            self._deleted = 0
        return INTERVAL

    async def _prune(self) -> bool:
        """Delete some old rows; return whether there may be more."""
        if self._keep_days() is None:
            return False
        await self._check_available()
        days = self._keep_days()  # read again, as a reconfig may have changed it
        if days is None or self._stopping:
            return False
        now = int(time.time())
        deleted: int = await self._write(prune.prune, int(now - days * DAY), now)
        self._deleted += deleted
        return deleted == prune.BATCH
