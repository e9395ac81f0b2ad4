"""The frames that go through the pipes: a number, a kind and pickled bytes.

Unpickling is safe: both ends run this code, and no other process can write to the pipes.
"""

from __future__ import annotations

import struct

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

    What has come is joined when a frame is complete: a large answer comes in hundreds of reads.
    Of what is joined only payloads are copied, and in the end what is left of it: hundreds of small
    frames come in one read.
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

    def feed(self, piece: bytes) -> list[Frame]:
        """Add data; return the frames that it completes."""
        self._pieces.append(piece)
        self._have += len(piece)
        if self._have < self._wanted:
            return []
        whole, begin = b"".join(self._pieces), 0
        frames: list[Frame] = []
        while self._have >= self._wanted:
            end = begin + self._wanted
            self._have -= self._wanted
            if self._header is None:
                self._header = HEADER.unpack_from(whole, begin)
                self._wanted = self._header[2]
            else:
                number, kind, _ = self._header
                frames.append((number, kind, whole[begin:end]))
                self._header, self._wanted = None, HEADER.size
            begin = end
        self._pieces = [whole[begin:]] if self._have else []
        return frames
