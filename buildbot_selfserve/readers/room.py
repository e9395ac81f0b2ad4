"""Limits the bytes of long answers that are held for clients that have not taken them yet."""

from __future__ import annotations

from buildbot_selfserve.readers import PIECE

#: The largest number of bytes of long answers that one reader holds, including their pieces in the
#: master. One further answer may be made, and waits; an answer longer than this is held if it is
#: the only one.
MOST_HELD = 64 * 2**20
#: The number of pieces of each long answer that lie in the master: 256 KiB.
WINDOW = 4


class Room:
    """Counts the bytes held. Equal texts for several clients are held once."""

    def __init__(self) -> None:
        self._most = MOST_HELD
        self._held = 0
        self._number = 0
        #: by number: the text, and the number of its clients
        self._texts: dict[int, tuple[bytes, int]] = {}

    def lacking(self, text: bytes) -> int:
        """Return the number of bytes that must be freed before *text* can be held."""
        if not self._held:
            return 0
        new = 0 if self._same(text) else len(text)
        return max(0, self._held + new + _in_master(text) - self._most)

    def enter(self, text: bytes) -> int:
        """Hold *text*; return its number."""
        number = self._same(text)
        if not number:
            self._number += 1
            number = self._number
            self._texts[number] = (text, 0)
            self._held += len(text)
        same, clients = self._texts[number]
        self._texts[number] = (same, clients + 1)
        self._held += _in_master(text)
        return number

    def text(self, number: int) -> bytes:
        """Return a held text by number."""
        return self._texts[number][0]

    def leave(self, number: int) -> None:
        """Release a text for one of its clients."""
        text, clients = self._texts[number]
        self._held -= _in_master(text)
        if clients > 1:
            self._texts[number] = (text, clients - 1)
        else:
            del self._texts[number]
            self._held -= len(text)

    def _same(self, text: bytes) -> int:
        """Return the number of the held text equal to *text*, 0 if there is none."""
        return next((number for number, (one, _) in self._texts.items() if one == text), 0)


def _in_master(text: bytes) -> int:
    return min(len(text), WINDOW * PIECE)
