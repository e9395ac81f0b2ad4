"""Says how far a long run has come, a line for each step."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator


class Progress:
    """Lines such as ``[ 12%  1:23] sqlite: days``, on standard error.

    :param steps: how many there will be
    """

    def __init__(self, steps: int) -> None:
        self.steps = steps
        self.done = 0
        self.what = ""
        self._begun = time.monotonic()

    def say(self, text: str) -> None:
        """Write a line."""
        minutes, seconds = divmod(int(time.monotonic() - self._begun), 60)
        percent = min(100, 100 * self.done // self.steps)
        line = f"[{percent:3}% {minutes:3}:{seconds:02}] {self.what}{text}"
        print(line, file=sys.stderr, flush=True)

    @contextlib.contextmanager
    def step(self, text: str) -> Iterator[None]:
        """Say what is done in the block, and count it."""
        self.say(text)
        yield
        self.done += 1
