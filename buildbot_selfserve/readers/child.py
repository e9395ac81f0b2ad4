"""A reader process: questions on standard input, answers on standard output.

It ends when the master's end of the pipe is closed, however the master ended.
"""

from __future__ import annotations

import gc
import os
import pickle
import queue
import signal
import sys
import threading
import traceback
from typing import Any
from typing import BinaryIO

from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.readers import Lengthy
from buildbot_selfserve.readers import frames

#: Seconds after which a thread lets the other one run: a small answer is not to wait for the
#: encoding of a large one. Python's own 5 ms are long for that.
SWITCH_INTERVAL = 0.0005

#: number of the question, function, arguments
_Question = tuple[int, Any, tuple[Any, ...]]


def main() -> None:
    """Answer questions until standard input ends."""
    # Ctrl-C in the master's terminal is the master's business
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(SWITCH_INTERVAL)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what anything prints goes into the log
    try:
        _serve(sys.stdin.buffer, _Answers(answers))
    finally:
        os._exit(0)  # a thread may wait for a database for ever


def _serve(questions: BinaryIO, answers: _Answers) -> None:
    first = _read(questions)
    if first is None:
        return
    open_state, arguments = pickle.loads(first[2])
    gc.disable()  # what is made now stays: to look for garbage in it takes longer than to make it
    state = open_state(*arguments)
    gc.freeze()
    gc.enable()
    answers.send(frames.READY, frames.PLAIN, b"")
    unwanted: set[int] = set()
    lanes: dict[bool, queue.SimpleQueue[_Question]] = {}
    for large in (False, True):
        lanes[large] = queue.SimpleQueue()
        arguments = (state, lanes[large], answers, unwanted)
        threading.Thread(target=_work, args=arguments, daemon=True).start()
    kept: tuple[Any, ...] = ()
    while True:
        frame = _read(questions)
        if frame is None:
            return
        number, kind, payload = frame
        if kind == frames.UNWANTED:
            unwanted.add(number)
        elif kind == frames.KEPT:
            kept = (pickle.loads(payload),)
        else:
            large, refers, function, arguments = pickle.loads(payload)
            arguments = (*kept, *arguments) if refers else arguments
            lanes[large].put((number, function, arguments))


def _read(questions: BinaryIO) -> frames.Frame | None:
    header = questions.read(frames.HEADER.size)
    if len(header) < frames.HEADER.size:
        return None
    number, kind, length = frames.HEADER.unpack(header)
    return number, kind, questions.read(length)


def _work(
    state: Any,
    lane: queue.SimpleQueue[_Question],
    answers: _Answers,
    unwanted: set[int],
) -> None:
    while True:
        number, function, arguments = lane.get()
        if number in unwanted:
            unwanted.discard(number)
            continue
        try:
            kind, value = frames.PLAIN, function(state, *arguments)
        except SelfServeError as error:
            kind, value = frames.RAISED, error
        except Exception:
            kind, value = frames.RAISED, traceback.format_exc()
        if isinstance(value, Lengthy):
            for piece in value.pieces:
                answers.send(number, frames.PIECE, piece)
            value = Lengthy(value.value, ())
        answers.send(number, kind, pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


class _Answers:
    """Standard output, to which both lanes write."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._lock = threading.Lock()

    def send(self, number: int, kind: int, payload: bytes) -> None:
        left = memoryview(frames.packed(number, kind, payload))
        with self._lock:
            while left:
                left = left[self._file.write(left) :]
