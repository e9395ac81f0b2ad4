"""Those who wait, and whether they still may when the master was configured anew."""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager

from twisted.internet import defer
from twisted.internet import task
from twisted.internet.interfaces import IReactorTime

from buildbot_selfserve.errors import NotNow
from buildbot_selfserve.waiting import Pace


class Guest:
    """Somebody who waits.

    :param check: raises what they are to be told if they may not go on
    :param leave: called with that, once
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
        """Ask whether they still may, in the background and until somebody knows."""
        self.stop()
        self._checking = defer.Deferred.fromCoroutine(self._checked())
        self._checking.addErrback(lambda failure: failure.trap(defer.CancelledError))

    def stop(self) -> None:
        """Ask no more."""
        checking, self._checking = self._checking, None
        if checking is not None:
            checking.cancel()

    async def _checked(self) -> None:
        while True:
            try:
                return await self._check()
            except NotNow as error:  # as while readers are exchanged
                await task.deferLater(self._clock, error.retry_after)
            except defer.CancelledError:
                raise  # they have gone, or are asked about anew
            except Exception as error:
                self._leave(error)
                return None


class Guests:
    """All who wait at one master.

    :param clock: the reactor
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._guests: dict[Guest, None] = {}

    @contextmanager
    def admitted(
        self, check: Callable[[], Awaitable[None]], leave: Callable[[Exception], object]
    ) -> Iterator[Guest]:
        """Let somebody wait for as long as the context lasts.

        :param check: raises what they are to be told if they may not go on
        :param leave: called with that, once
        """
        guest = Guest(self._clock, check, leave)
        self._guests[guest] = None
        try:
            yield guest
        finally:
            self._guests.pop(guest, None)
            guest.stop()

    def check(self) -> None:
        """Ask for everybody whether they still may wait."""
        Pace(self._clock).each(list(self._guests), self._check_one)

    def _check_one(self, guest: Guest) -> None:
        if guest in self._guests:
            guest.check()
