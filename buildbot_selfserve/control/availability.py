"""Checks in bounded time whether the master can run job requests now.

While the database hangs, every call into the master's pool blocks one of its few threads. So there
is one probe at a time, and all callers wait for it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime

from buildbot_selfserve import buildbot_private
from buildbot_selfserve.errors import DatabaseAway
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.errors import reason

#: Seconds after which a database that does not answer counts as unavailable.
PROBE_TIMEOUT = 2.0


class Availability:
    """Checks whether the master and its database can take a job request.

    :param away: called with each error that says that the database does not answer
    """

    def __init__(
        self, master: Any, clock: IReactorTime, away: Callable[[DatabaseAway], None]
    ) -> None:
        self.master = master
        self.clock = clock
        self._away = away
        self._probing = False
        self._waiters: list[defer.Deferred[None]] = []

    async def check(self) -> None:
        """Check that the master can take a job request now.

        :raises DatabaseAway: the master's database does not answer
        :raises Unavailable: the master is starting or shutting down
        """
        master = self.master
        if master.botmaster.shuttingDown or not buildbot_private.is_initialized(master):
            raise Unavailable("The master is starting or shutting down")
        if not master.db.pool.running:
            raise Unavailable("The master is shutting down")
        waiter: defer.Deferred[None] = defer.Deferred()
        self._waiters.append(waiter)
        waiter.addTimeout(PROBE_TIMEOUT, self.clock)
        if not self._probing:
            self._probe()
        try:
            await waiter
        except defer.CancelledError:
            raise
        except Exception as error:
            away = DatabaseAway("master", _why(error))
            self._away(away)
            raise away from error
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _probe(self) -> None:
        self._probing = True

        def answered(result: Any) -> None:
            self._probing = False
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.callback(result)  # a Failure calls the errback

        self.master.db.pool.do(_ping).addBoth(answered)


def _why(error: Exception) -> str:
    if isinstance(error, defer.TimeoutError):
        return f"nothing came within {PROBE_TIMEOUT:g} seconds"
    return reason(error)


def _ping(connection: sa.Connection) -> None:
    connection.execute(sa.select(1)).scalar()
