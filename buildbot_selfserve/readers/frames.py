"""What goes through the pipes: a number, a kind and pickled bytes.

Both ends are ours and run the same code, and nobody else can write to the pipes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

#: number of the question, kind of the frame, length of what follows
HEADER = struct.Struct(">IBI")

#: Kinds of frames: a question or its answer, what a function raised, an answer nobody wants (any
#: more), an argument that questions to come refer to. Of a long answer: it waits for so many bytes
#: of room, it begins, a piece of it, so many more pieces are wanted.
PLAIN, RAISED, UNWANTED, KEPT, WAITING, BEGUN, PIECE, MORE = range(8)

#: The descriptors in a reader from which small questions come, and large ones. Each lane waits for
#: its own: a thread that hands questions on would wait for the other threads at each of them.
LANES = {False: 0, True: 3}
#: The descriptor in a reader from which comes what the master wants of long answers.
OUTBOX = 4

#: The number of the frame that says that a reader has its state; no question has it.
READY = 0

Frame = tuple[int, int, bytes]


def packed(number: int, kind: int, payload: bytes) -> bytes:
    """Return a frame as bytes."""
    return HEADER.pack(number, kind, len(payload)) + payload


class Unpacker:
    """Makes frames of the pieces that a pipe brings.

    Pieces are joined once, when a frame is whole: a large answer comes in hundreds of them.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._have = 0
        self._wanted = HEADER.size
        self._header: tuple[int, int, int] | None = None

    @property
    def lacking(self) -> int:
        """Return how many bytes must come before there is another frame, or its header."""
        return self._wanted - self._have

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """Take a piece, and yield the frames that it completes."""
        self._pieces.append(piece)
        self._have += len(piece)
        while self._have >= self._wanted:
            whole = b"".join(self._pieces)
            taken, rest = whole[: self._wanted], whole[self._wanted :]
            self._pieces, self._have = [rest], len(rest)
            if self._header is None:
                self._header = HEADER.unpack(taken)
                self._wanted = self._header[2]
                continue
            number, kind, _ = self._header
            self._header, self._wanted = None, HEADER.size
            yield number, kind, taken
