"""Long answers in a reader process, sent piece by piece as their clients take them."""

from __future__ import annotations

import os
import pickle
import threading
from collections.abc import Callable

from buildbot_selfserve.readers import PIECE
from buildbot_selfserve.readers import Lengthy
from buildbot_selfserve.readers import frames
from buildbot_selfserve.readers.room import WINDOW
from buildbot_selfserve.readers.room import Room

#: The largest number of bytes to read from a pipe at once: as much as it holds.
MOST_READ = 2**16


class Outbox:
    """Holds long answers until the master reports that they are over.

    :param file: the file descriptor for the master's requests for pieces
    :param send: sends a frame to the master
    """

    def __init__(self, file: int, send: Callable[[int, int, bytes], None]) -> None:
        self._file = file
        self._send = send
        self._room = Room()
        #: by number of the question: number of the text, and the bytes of it that were sent
        self._going: dict[int, tuple[int, int]] = {}
        #: the question whose answer waits for room; 0 if there is none, or nobody wants it any more
        self._next = 0
        self._changed = threading.Condition()

    def put(self, number: int, answer: Lengthy, patient: bool) -> bool:
        """Start sending *answer*; return whether there was room for it.

        :param number: the number of its question
        :param patient: wait until there is room, and return True
        """
        with self._changed:
            while lacking := self._room.lacking(answer.text):
                if not patient:
                    return False
                self._next = number
                self._send(number, frames.WAITING, pickle.dumps(lacking))
                self._changed.wait()
                if self._next != number:
                    self._send(number, frames.PLAIN, pickle.dumps(None))
                    return True
            self._begin(number, answer)
            return True

    def work(self) -> None:
        """Send the requested pieces until the pipe is closed."""
        unpacker = frames.Unpacker()
        while data := os.read(self._file, MOST_READ):
            with self._changed:
                for number, kind, payload in unpacker.feed(data):
                    if kind == frames.MORE and number in self._going:
                        self._go_on(number, payload[0])
                    elif kind == frames.UNWANTED:
                        self._end(number)

    def _begin(self, number: int, answer: Lengthy) -> None:
        text_number = self._room.enter(answer.text)
        self._going[number] = (text_number, 0)
        head = (answer.value, len(answer.text), text_number)
        self._send(number, frames.BEGUN, pickle.dumps(head, pickle.HIGHEST_PROTOCOL))
        self._go_on(number, WINDOW)

    def _go_on(self, number: int, pieces: int) -> None:
        """Send up to *pieces* further pieces."""
        text_number, sent = self._going[number]
        text = self._room.text(text_number)
        for _ in range(pieces):
            if sent < len(text):
                self._send(number, frames.PIECE, text[sent : sent + PIECE])
                sent += PIECE
        self._going[number] = (text_number, sent)

    def _end(self, number: int) -> None:
        if number in self._going:
            self._room.leave(self._going.pop(number)[0])
        elif number == self._next:
            self._next = 0
        self._changed.notify()
