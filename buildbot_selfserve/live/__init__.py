"""Lets clients wait: answers that are held back until something has ended, and who listens.

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

from buildbot_selfserve.live.changes import Listeners
from buildbot_selfserve.live.changes import LookUp
from buildbot_selfserve.live.events import Event
from buildbot_selfserve.live.events import Events
from buildbot_selfserve.live.holding import Holder
from buildbot_selfserve.live.seats import Seats
from buildbot_selfserve.model import NEW_REQUEST
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Change
from buildbot_selfserve.model import Outlook
from buildbot_selfserve.waiting import Moment


class Live:
    """Everybody who waits at one master.

    :param clock: the reactor
    :param look_up: asks a reader for the sourcestamps of build requests
    """

    def __init__(self, clock: IReactorTime, look_up: LookUp) -> None:
        self.seats = Seats()
        self._holder = Holder(clock)
        self._listeners = Listeners(clock, look_up)
        self._events = Events(self._happened)

    @property
    def held(self) -> int:
        """Return how many answers are held back now."""
        return self._holder.waiting

    @property
    def listening_now(self) -> int:
        """Return how many listen to what happens."""
        return len(self._listeners)

    def start(self, start_consuming: Callable[..., Any]) -> None:
        """Hear of what happens.

        :param start_consuming: that of the master's message queue
        """
        self._events.start(start_consuming)

    def release(self) -> None:
        """Let everybody go: what they wait for may have got another meaning."""
        self._holder.release()
        self._listeners.release()

    async def stop(self) -> None:
        """Turn everybody away, and hear of nothing any more."""
        self._holder.stop()
        self._listeners.release()
        await self._events.stop()

    async def hold(
        self,
        client: str,
        key: Hashable,
        look: Callable[[], Awaitable[Outlook]],
        seconds: float,
    ) -> Moment:
        """Return when the answer to *key* is worth asking for, or after so many *seconds*.

        :param client: who waits, so that no one takes all places
        :param look: asks a reader how things are; called once for all who wait for *key*
        :raises TooMany: this client waits too often already
        :raises Unavailable: too many wait, or the master stops
        :raises SelfServeError: what the first look raised
        """
        with self.seats.taken(client):
            return await self._holder.hold(key, look, seconds)

    @contextmanager
    def listening(
        self, client: str, branch: Branch, hear: Callable[[Sequence[Change]], None]
    ) -> Iterator[defer.Deferred[None]]:
        """Call *hear* with what happens on *branch*, for as long as the context lasts.

        What it gives fires when nothing will be told any more.

        :raises TooMany: this client waits too often already
        :raises Unavailable: too many wait
        """
        with self.seats.taken(client), self._listeners.listening(branch, hear) as over:
            yield over

    def _happened(self, event: Event) -> None:
        self._listeners.happened(event)
        if event.begins:
            self._holder.ended(NEW_REQUEST)
        if event.ends:
            self._holder.ended(event.what)
