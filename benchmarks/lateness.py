"""Measures how long a reactor is busy with something else."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.interfaces import IDelayedCall

reactor: Any = _reactor
#: Seconds between two ticks.
INTERVAL = 0.005


class Lateness:
    """How late a tick was that should come every 5 ms, while the ``with`` block ran.

    :ivar worst: the latest tick, in seconds after its time
    """

    def __init__(self) -> None:
        self.worst = 0.0
        self._due = 0.0
        self._next: IDelayedCall | None = None

    def __enter__(self) -> Lateness:
        self._wait()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        assert self._next is not None
        self._next.cancel()
        self._look()  # the block may end in a long stall

    def _wait(self) -> None:
        self._due = time.perf_counter() + INTERVAL
        self._next = reactor.callLater(INTERVAL, self._tick)

    def _tick(self) -> None:
        self._look()
        self._wait()

    def _look(self) -> None:
        self.worst = max(self.worst, time.perf_counter() - self._due)
