"""Checks after a reconfig whether waiting clients may still read."""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet import defer
from twisted.internet import task
from twisted.internet.interfaces import IReactorTime

from buildbot_selfserve.deferreds import Batcher
from buildbot_selfserve.errors import NotNow


class Client:
    """A waiting client.

    :param check: raises the error to send if the client may no longer wait
    :param leave: called once with that error
    """

    def __init__(
        self,
        clock: IReactorTime,
        check: Callable[[], Awaitable[None]],
        leave: Callable[[Exception], object],
    ) -> None:
        self._clock = clock
        self._check = check
        self._leave = leave
        self._checking: defer.Deferred[None] | None = None

    def check(self) -> None:
        """Check in the background, and retry until there is a result."""
        self.stop()
        self._checking = defer.Deferred.fromCoroutine(self._checked())
        self._checking.addErrback(lambda failure: failure.trap(defer.CancelledError))

    def stop(self) -> None:
        """Stop checking."""
        checking, self._checking = self._checking, None
        if checking is not None:
            checking.cancel()

    async def _checked(self) -> None:
        while True:
            try:
                return await self._check()
            except NotNow as error:  # for example while readers are being replaced
                await task.deferLater(self._clock, error.retry_after)
            except defer.CancelledError:
                raise  # the client has gone, or a new check has begun
            except Exception as error:
                self._leave(error)
                return None


class Clients:
    """The waiting clients of one master.

    :param clock: the reactor
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._guests: dict[Client, None] = {}

    @contextmanager
    def admitted(
        self, check: Callable[[], Awaitable[None]], leave: Callable[[Exception], object]
    ) -> Iterator[Client]:
        """Let ``check`` check a client, for as long as the context lasts.

        :param check: raises the error to send if the client may no longer wait
        :param leave: called once with that error
        """
        client = Client(self._clock, check, leave)
        self._guests[client] = None
        try:
            yield client
        finally:
            self._guests.pop(client, None)
            client.stop()

    def check(self) -> None:
        """Check all clients."""
        Batcher(self._clock).each(list(self._guests), self._check_one)

    def _check_one(self, client: Client) -> None:
        if client in self._guests:
            client.check()
