"""Logs what is unavailable, and why; and when it is back.

What fails is tried every few seconds, or whenever a client asks. The log is to say it once.
"""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Collection

import sqlalchemy as sa
from twisted.internet import defer
from twisted.internet import task
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from buildbot_selfserve.errors import DatabaseAway
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.errors import reason

#: Seconds after which the same reason is logged again.
AGAIN = 300.0
#: So many reasons are remembered: there are few, unless they tell of the time or a port.
MOST_REASONS = 10
#: Seconds between two looks whether a database answers again.
LOOK_INTERVAL = 10.0
#: Errors that say all in one line; of others the log has the traceback, too.
_PLAIN = (SelfServeError, OSError, sa.exc.DBAPIError, sa.exc.TimeoutError)


class Outage:
    """Logs that one thing is unavailable: at first, for each other reason, and now and then.

    :param over: what is logged when it is back
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, over: str) -> None:
        self._clock = clock
        self._over = over
        #: when each reason that was logged may be logged again, the oldest first
        self._again_at: dict[str, float] = {}

    def failed(self, trouble: str, error: BaseException) -> None:
        """Log *trouble* with the reason that *error* gives, unless that was logged lately."""
        said, now = f"{trouble}: {reason(error)}", self._clock.seconds()
        is_new = said not in self._again_at
        again_at = self._again_at.pop(said, now)
        is_due = now >= again_at
        self._again_at[said] = now + AGAIN if is_due else again_at
        if len(self._again_at) > MOST_REASONS:
            del self._again_at[next(iter(self._again_at))]
        if not is_due:
            return
        if is_new and not isinstance(error, _PLAIN):
            self.log.failure("selfserve: {said}", Failure(error), said=said)
        else:
            self.log.error("selfserve: {said}", said=said)

    def end(self) -> None:
        """Log that it is back, if it was unavailable."""
        if self._again_at:
            self._again_at = {}
            self.log.info("selfserve: {over}", over=self._over)


class DatabaseOutages:
    """Logs outages of the master's database and of the journal's, and looks for their end.

    :param name: returns the name of a database in the log, by whose it is
    :param look: asks all that uses a database, and returns whose do not answer
    """

    def __init__(
        self,
        clock: IReactorTime,
        name: Callable[[str], str],
        look: Callable[[], Awaitable[Collection[str]]],
    ) -> None:
        self._clock = clock
        self._name = name
        self._look = look
        self._outages: dict[str, Outage] = {}
        self._looking: defer.Deferred[None] | None = None

    def away(self, error: DatabaseAway) -> None:
        """Log that a database does not answer, and look from now on until it does."""
        name = self._name(error.whose)
        if error.whose not in self._outages:
            self._outages[error.whose] = Outage(self._clock, f"{name} answers again")
        self._outages[error.whose].failed(f"{name} does not answer", error)
        if self._looking is None:
            self._looking = defer.Deferred.fromCoroutine(self._until_over())
            self._looking.addErrback(lambda failure: failure.trap(defer.CancelledError))

    def forget(self) -> None:
        """Look no more: other databases are opened, or the master stops."""
        self._outages = {}
        looking, self._looking = self._looking, None
        if looking is not None:
            looking.cancel()

    async def _until_over(self) -> None:
        while self._outages:
            await task.deferLater(self._clock, LOOK_INTERVAL)
            try:
                away = await self._look()
            except defer.CancelledError:
                raise
            except Exception:
                continue  # it is not known: somebody is busy, or the master starts or stops
            for whose in self._outages.keys() - away:
                self._outages.pop(whose).end()
        self._looking = None
