"""The frames that go through the pipes: a number, a kind and pickled bytes.

Unpickling is safe: both ends run this code, and no other process can write to the pipes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

#: number of the question, kind of the frame, length of the payload
HEADER = struct.Struct(">IBI")

#: Kinds of frames: a question or its answer; an exception of a function; an answer that nobody
#: wants (any more); an argument that later questions refer to. For a long answer: it needs this
#: many bytes of room; its begin; a piece; a request for this many pieces.
PLAIN, RAISED, UNWANTED, KEPT, WAITING, BEGUN, PIECE, MORE = range(8)

#: The reader's file descriptors for questions with small (False) and large (True) answers. Each
#: lane reads its own: a thread that passed questions on would wait for the other threads at each
#: question.
LANES = {False: 0, True: 3}
#: The reader's file descriptor for the master's requests for pieces of long answers.
OUTBOX = 4

#: The number of the frame that reports that a reader has its state; no question has it.
READY = 0

Frame = tuple[int, int, bytes]


def packed(number: int, kind: int, payload: bytes) -> bytes:
    """Return the bytes of a frame."""
    return HEADER.pack(number, kind, len(payload)) + payload


class Unpacker:
    """Assembles frames from the data of a pipe.

    Data is joined once, when a frame is complete: a large answer comes in hundreds of reads.
    """

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._have = 0
        self._wanted = HEADER.size
        self._header: tuple[int, int, int] | None = None

    @property
    def lacking(self) -> int:
        """Return the number of bytes missing from the next frame or its header."""
        return self._wanted - self._have

    def feed(self, piece: bytes) -> Iterator[Frame]:
        """Add data, and yield the frames that it completes."""
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
