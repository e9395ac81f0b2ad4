"""Lets the metrics say what waits, which only a reader can find out."""

from __future__ import annotations

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.views.read_handler import queue_figures
from buildbot_selfserve.web.backend import Backend

#: Figures are good for so many seconds, and asked for no longer than this: metrics must be told
#: even where no reader answers.
GOOD_FOR, LONGEST = 5.0, 2.0


class QueueMetrics:
    """Finds out what waits when somebody asks for metrics.

    :param clock: the reactor
    """

    log = Logger()

    def __init__(self, backend: Backend, clock: IReactorTime) -> None:
        self._backend = backend
        self._clock = clock
        self._asked_at = -GOOD_FOR
        self._waiters: list[defer.Deferred[None]] = []
        self._is_asking = False

    async def refresh(self) -> None:
        """Return when the metrics say what waits, or it is too late to wait for that."""
        if self._clock.seconds() - self._asked_at < GOOD_FOR:
            return
        waiter: defer.Deferred[None] = defer.Deferred()
        waiter.addTimeout(LONGEST, self._clock, lambda result, _: self._forget())
        self._waiters.append(waiter)
        if not self._is_asking:
            self._is_asking = True
            defer.Deferred.fromCoroutine(self._ask()).addBoth(self._answered)
        await waiter

    async def _ask(self) -> None:
        backend = self._backend
        figures = None
        try:
            state = await backend.master_state()
            figures = await backend.readers.ask(queue_figures, backend.site, state, large=True)
        except SelfServeError:
            pass
        except Exception:
            self.log.failure("selfserve: what waits cannot be told to the metrics")
        self._asked_at = self._clock.seconds()
        backend.metrics.queue(figures)

    def _answered(self, result: object) -> None:
        self._is_asking = False
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.called:
                waiter.callback(None)

    def _forget(self) -> None:
        # what was true once is not told as if it were so now
        self._backend.metrics.queue(None)
