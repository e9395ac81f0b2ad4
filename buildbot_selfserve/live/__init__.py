"""Lets clients wait: long polls until something has ended, and streams of events.

Runs in the reactor and is driven by Buildbot's own events, of this master and of the others. It
knows nothing of HTTP and nothing of SQL: what it must look up it asks readers for, through
functions that it is given, once for all who wait for the same thing.
"""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime

from buildbot_selfserve.deferreds import SharedCall
from buildbot_selfserve.live.connection_limit import ConnectionLimit
from buildbot_selfserve.live.listeners import Listeners
from buildbot_selfserve.live.listeners import LookUp
from buildbot_selfserve.live.long_poll import LongPoll
from buildbot_selfserve.live.mq_consumer import MqConsumer
from buildbot_selfserve.live.mq_consumer import MqEvent
from buildbot_selfserve.live.recheck_access import Clients
from buildbot_selfserve.model import NEW_REQUEST
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Event
from buildbot_selfserve.model import WaitCondition


class Live:
    """The clients that wait at one master.

    :param clock: the reactor
    :param look_up: asks a reader for the sourcestamps of build requests
    """

    def __init__(self, clock: IReactorTime, look_up: LookUp) -> None:
        self.connections = ConnectionLimit()
        self._guests = Clients(clock)
        self._holder = LongPoll(clock)
        self._listeners = Listeners(clock, look_up)
        self._events = MqConsumer(self._happened)

    @property
    def held(self) -> int:
        """Return how many long polls wait now."""
        return self._holder.waiting

    @property
    def listening_now(self) -> int:
        """Return how many clients listen to events."""
        return len(self._listeners)

    def start(self, start_consuming: Callable[..., Any]) -> None:
        """Start to listen to Buildbot's events.

        :param start_consuming: that of the master's message queue
        """
        self._events.start(start_consuming)

    def reconfigured(self) -> None:
        """Check all long polls again, and whether each client may still wait."""
        self._listeners.mute()  # no events until that is known
        self._guests.check()
        self._holder.look_again()

    async def stop(self) -> None:
        """Turn all clients away, and stop listening."""
        self._holder.stop()
        self._listeners.release()
        await self._events.stop()

    async def hold(
        self,
        client: str,
        key: Hashable,
        look: Callable[[], Awaitable[WaitCondition]],
        seconds: float,
        check: Callable[[], Awaitable[None]],
    ) -> SharedCall:
        """Return when the answer to *key* is worth asking for, or after so many *seconds*.

        :param client: its address, so that no client takes all places
        :param look: asks a reader; called once for all clients that wait for *key*
        :param check: called after a reconfig; raises the error for a client that may no longer wait
        :raises TooMany: this client waits too often already
        :raises Unavailable: too many wait, or the master stops
        :raises SelfServeError: what the first look raised, or *check*
        """
        told: list[Exception] = []
        with self.connections.taken(client):
            held = defer.Deferred.fromCoroutine(self._holder.hold(key, look, seconds))

            def leave(error: Exception) -> None:
                told.append(error)
                held.cancel()

            with self._guests.admitted(check, leave):
                try:
                    return await held
                except defer.CancelledError:
                    if told:
                        raise told[0] from None
                    raise

    @contextmanager
    def listening(
        self,
        client: str,
        branch: Branch,
        hear: Callable[[Sequence[Event]], None],
        check: Callable[[], Awaitable[Branch]],
    ) -> Iterator[defer.Deferred[None]]:
        """Call *hear* with the events on *branch*, for as long as the context lasts.

        The Deferred that it provides fires when there will be no more events.

        :param check: called after a reconfig; returns what the branch is now, or raises if the
            client may not listen any more
        :raises TooMany: this client waits too often already
        :raises Unavailable: too many wait
        """
        with self.connections.taken(client), self._listeners.listening(branch, hear) as listener:

            async def again() -> None:
                self._listeners.hear_again(listener, await check())

            with self._guests.admitted(again, lambda _: self._listeners.end(listener)):
                yield listener.over

    def _happened(self, event: MqEvent) -> None:
        self._listeners.happened(event)
        if event.begins:
            self._holder.ended(NEW_REQUEST)
        if event.ends:
            self._holder.ended(event.what)
