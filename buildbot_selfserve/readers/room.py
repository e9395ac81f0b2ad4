"""How many bytes of long answers are held at a time for clients that have not taken them yet."""

from __future__ import annotations

from buildbot_selfserve.readers import PIECE

#: Bytes of long answers that one reader holds, with what lies in the master of each. One answer
#: more is made and then waits; one that is longer than this is held when there is no other.
MOST_HELD = 64 * 2**20
#: So many pieces of each long answer lie in the master: 256 KiB.
WINDOW = 4


class Room:
    """Counts what is held. The same text for several clients is held once."""

    def __init__(self) -> None:
        self._most = MOST_HELD
        self._held = 0
        self._number = 0
        #: by number: the text, and for how many clients it is held
        self._texts: dict[int, tuple[bytes, int]] = {}

    def lacking(self, text: bytes) -> int:
        """Return how many bytes have to go before *text* can be held."""
        if not self._held:
            return 0
        new = 0 if self._same(text) else len(text)
        return max(0, self._held + new + _in_master(text) - self._most)

    def enter(self, text: bytes) -> int:
        """Hold *text*; return the number that it has."""
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
        """Return a text that is held."""
        return self._texts[number][0]

    def leave(self, number: int) -> None:
        """Let go of a text for one of its clients."""
        text, clients = self._texts[number]
        self._held -= _in_master(text)
        if clients > 1:
            self._texts[number] = (text, clients - 1)
        else:
            del self._texts[number]
            self._held -= len(text)

    def _same(self, text: bytes) -> int:
        """Return the number of the text that is *text*, 0 if there is none."""
        return next((number for number, (one, _) in self._texts.items() if one == text), 0)


def _in_master(text: bytes) -> int:
    return min(len(text), WINDOW * PIECE)
