"""How much processor time something takes, on a machine that others use, too."""

from __future__ import annotations

import time
from collections.abc import Callable


def best_seconds(work: Callable[[], object], tries: int) -> float:
    """Return the processor time of this thread that *work* takes at best."""
    return min(_seconds(work) for _ in range(tries))


def _seconds(work: Callable[[], object]) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun
