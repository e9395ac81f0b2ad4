"""A reader process: a pipe with questions for each lane, answers on standard output.

It ends when the master's end of a pipe is closed, however the master ended.
"""

from __future__ import annotations

import gc
import os
import pickle
import select
import signal
import sys
import threading
import traceback
from typing import Any
from typing import BinaryIO

from buildbot_selfserve.errors import AskOtherwise
from buildbot_selfserve.errors import LargeAnswer
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.readers import Lengthy
from buildbot_selfserve.readers import frames
from buildbot_selfserve.readers.outbox import MOST_READ
from buildbot_selfserve.readers.outbox import Outbox

#: Seconds after which a thread lets the other one run: a small answer is not to wait for the
#: encoding of a large one. SQLite lets go of Python at each record, and a small answer would wait
#: for so long each time that it takes it up again; Python's own 5 ms are far too long for that.
SWITCH_INTERVAL = 0.0001

#: So many new objects are looked through at once: an answer is made of thousands, and hardly any of
#: them is left when it is sent. What is left takes memory until then.
YOUNG = 10_000


def main() -> None:
    """Answer questions until standard input ends."""
    # Ctrl-C in the master's terminal is the master's business
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.setswitchinterval(SWITCH_INTERVAL)
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what anything prints goes into the log
    try:
        _serve(_Answers(answers))
    finally:
        os._exit(0)  # a thread may wait for a database for ever


def _serve(answers: _Answers) -> None:
    small, large = (_Lane(large) for large in (False, True))
    first = small.first()
    if first is None:
        return
    open_state, arguments = pickle.loads(first)
    gc.disable()  # what is made now stays: to look for garbage in it takes longer than to make it
    state = open_state(*arguments)
    gc.freeze()
    gc.set_threshold(YOUNG)
    gc.enable()
    answers.send(frames.READY, frames.PLAIN, b"")
    outbox = Outbox(frames.OUTBOX, answers.send)
    threading.Thread(target=outbox.work, daemon=True).start()
    for lane in (small, large):
        threading.Thread(target=lane.work, args=(state, answers, outbox), daemon=True).start()
    # both may be busy when the master ends; without any event, this waits for that alone
    master_ends = select.poll()
    master_ends.register(frames.LANES[False], 0)
    master_ends.poll()


class _Lane:
    """Takes questions from a pipe, and answers one after the other.

    :param is_large: whether the next one may wait until clients have taken earlier answers
    """

    def __init__(self, is_large: bool) -> None:
        self._is_large = is_large
        self._file = file = frames.LANES[is_large]
        self._unpacker = frames.Unpacker()
        #: by their numbers: what they begin with, and what they are, pickled
        self._waiting: dict[int, tuple[tuple[Any, ...], bytes]] = {}
        self._kept: tuple[Any, ...] = ()
        self._more = select.poll()
        self._more.register(file, select.POLLIN)

    def first(self) -> bytes | None:
        """Return what comes before all questions; ``None`` if the pipe ends."""
        return self._waiting.pop(frames.READY)[1] if self._take() else None

    def work(self, state: Any, answers: _Answers, outbox: Outbox) -> None:
        """Answer until the pipe ends."""
        while self._take():
            number = next(iter(self._waiting))
            kind, value = _answer(state, *self._waiting.pop(number))
            if isinstance(value, Lengthy):
                if outbox.put(number, value, self._is_large):
                    value = None  # it is not kept here until the next answer is made
                    continue
                kind, value = frames.RAISED, LargeAnswer()
            answers.send(number, kind, pickle.dumps(value, pickle.HIGHEST_PROTOCOL))

    def _take(self) -> bool:
        """Take all that has come, and wait until there is a question; False if the pipe ends."""
        while not self._waiting or self._more.poll(0):
            data = os.read(self._file, MOST_READ)
            if not data:
                return False
            for number, kind, payload in self._unpacker.feed(data):
                if kind == frames.UNWANTED:
                    self._waiting.pop(number, None)
                elif kind == frames.KEPT:
                    self._kept = (pickle.loads(payload),)
                else:
                    self._waiting[number] = (self._kept, payload)
        return True


def _answer(state: Any, kept: tuple[Any, ...], payload: bytes) -> tuple[int, Any]:
    refers, function, arguments = pickle.loads(payload)
    try:
        return frames.PLAIN, function(state, *(kept if refers else ()), *arguments)
    except (AskOtherwise, SelfServeError) as error:
        return frames.RAISED, error
    except Exception:
        return frames.RAISED, traceback.format_exc()


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
