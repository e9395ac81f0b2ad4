"""Freezes what lives long, so that Python's garbage collector does not scan it again and again.

The collector now and then looks at all objects there are, and everything stands still meanwhile: a
tenth of a second in a master with 300 builders. What is there once the master is configured stays
until it is configured anew, so that nothing is to be found in it. It is put aside, and the looks
that remain take as long as what has come since.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any
from typing import Protocol

#: Seconds after a configuration was read in which what it has replaced is let go of.
SETTLED = 5.0


class _Call(Protocol):
    def active(self) -> bool: ...

    def cancel(self) -> None: ...


class GcFreeze:
    """Puts aside what stays, and takes it back.

    :param call_later: calls a function after so many seconds, as a reactor does
    """

    def __init__(self, call_later: Callable[[float, Callable[[], Any]], _Call]) -> None:
        self._call_later = call_later
        self._call: _Call | None = None
        self._is_ours = False

    def freeze_when_idle(self) -> None:
        """Put aside what there is, once the master has come to rest.

        What an earlier configuration has left is looked for before, which takes as long as any
        such look. Where somebody else has put things aside, they know what they do.
        """
        self._cancel()
        self._call = self._call_later(SETTLED, self._freeze)

    def stop(self) -> None:
        """Take back what was put aside."""
        self._cancel()
        if self._is_ours:
            self._is_ours = False
            gc.unfreeze()

    def _cancel(self) -> None:
        if self._call is not None and self._call.active():
            self._call.cancel()

    def _freeze(self) -> None:
        if self._is_ours:
            gc.unfreeze()
        elif gc.get_freeze_count():
            return
        gc.collect()
        gc.freeze()
        self._is_ours = True
