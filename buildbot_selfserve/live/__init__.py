"""Lets clients wait: long polls, which end when builds have ended, and streams of events.

This code runs in the reactor and is driven by the messages of Buildbot's message queue, from all
masters. It uses neither HTTP nor SQL: it asks readers through the functions passed in, once for all
clients that wait for the same thing.
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
    """The waiting clients of one master.

    :param clock: the reactor
    :param look_up: reads the sourcestamps of build requests in a reader
    """

    def __init__(self, clock: IReactorTime, look_up: LookUp) -> None:
        self.connections = ConnectionLimit()
        self._guests = Clients(clock)
        self._holder = LongPoll(clock)
        self._listeners = Listeners(clock, look_up)
        self._events = MqConsumer(self._happened)

    @property
    def held(self) -> int:
        """Return the number of waiting long polls."""
        return self._holder.waiting

    @property
    def listening_now(self) -> int:
        """Return the number of clients that listen to events."""
        return len(self._listeners)

    def start(self, start_consuming: Callable[..., Any]) -> None:
        """Start consuming Buildbot's messages.

        :param start_consuming: ``startConsuming`` of the master's message queue
        """
        self._events.start(start_consuming)

    def reconfigured(self) -> None:
        """Check all long polls again, and check whether each client may still wait."""
        self._listeners.mute()  # no events until clients are checked
        self._guests.check()
        self._holder.look_again()

    async def stop(self) -> None:
        """Turn all clients away, and stop consuming messages."""
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
        """Wait until the read *key* is worth repeating, or for at most *seconds*.

        :param client: its address, so that one client cannot take all places
        :param look: reads the wait condition in a reader; called once for all clients that wait for
            *key*
        :param check: called after a reconfig; raises the error to send if the client may no longer
            wait
        :raises TooMany: this client has too many waiting requests already
        :raises Unavailable: too many clients wait, or the master is stopping
        :raises SelfServeError: raised by the first call of *look*, or by *check*
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

        The context is a Deferred that fires when there will be no more events.

        :param check: called after a reconfig; returns the branch as now configured, or raises if
            the client may no longer listen
        :raises TooMany: this client has too many waiting requests already
        :raises Unavailable: too many clients wait
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
