"""Reader processes, as the master sees them: asked over pipes, replaced when they die or hang."""

from __future__ import annotations

import contextlib
import math
import os
import pickle
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet import defer
from twisted.internet import error
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

from buildbot_selfserve.errors import AskOtherwise
from buildbot_selfserve.errors import DatabaseAway
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.errors import still_loading
from buildbot_selfserve.errors import too_late
from buildbot_selfserve.readers import GRACE
from buildbot_selfserve.readers import MOST_WAITING
from buildbot_selfserve.readers import Away
from buildbot_selfserve.readers import ReaderError
from buildbot_selfserve.readers import frames
from buildbot_selfserve.readers import unheard
from buildbot_selfserve.readers.bodies import Delivery
from buildbot_selfserve.readers.bodies import PipedBody
from buildbot_selfserve.readers.slow_clients import make_room

#: Attempts of a read: it is repeated once if its reader dies.
ATTEMPTS = 2
#: Seconds before a reader that did not live for LONG_LIFE seconds is replaced; the last repeats.
BACKOFF = (0.1, 0.5, 2.0, 5.0)
LONG_LIFE = 10.0
#: Seconds by which the timer of a read may be early: more than any is (``clock.EARLY``).
TOLERANCE = 0.01
#: A timer that is so many seconds late tells that the reactor stood still. What came meanwhile lies
#: in the pipes, which are read after the timers, a little in each turn: so long that may take.
STOOD_STILL = 0.5
#: Seconds that a reader has to make its state: it may have a long history to read.
LONGEST_START = 600.0
#: Seconds between two looks for clients to cut off while an answer waits for room.
ROOM_INTERVAL = 1.0
#: Twisted reads so many bytes of a pipe in a turn of the reactor (``fdesc.readFromFD``). If there
#: are more, they are read at once, unless so many frames have come already.
READ_AT_ONCE = 8192
ENOUGH = 8
#: The child finds its modules where we found ours; sys.path[0] would be the master's folder.
_BOOTSTRAP = (
    "import sys; sys.path[:] = sys.argv[1:];"
    " from buildbot_selfserve.readers.child import main; main()"
)


def _pickled(value: Any) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


class _Kept:
    """A value that questions in a row have for their first argument: it is sent once."""

    def __init__(self, value: Any) -> None:
        self.value = value
        self.frame = frames.packed(0, frames.KEPT, _pickled(value))


class _Question:
    """A question on its way.

    :param payload: whether it begins with what is kept, function and arguments, pickled
    :param large: in which lane it is
    """

    def __init__(self, number: int, payload: bytes, large: bool, kept: _Kept | None) -> None:
        self.number = number
        self.payload = payload
        self.large = large
        self.kept = kept
        #: its answer was made, and waits until so many bytes of others were taken
        self.lacking = 0
        self.attempts = 0
        self.asked_at = 0.0
        #: when it is given up
        self.due = 0.0
        self.answer: defer.Deferred[Any] = defer.Deferred()


class ProcessReaders:
    """Reads in processes of our own.

    :param reactor: spawns them, and tells the time
    :param count: how many there are
    :param open_state: called in each process with *arguments*; returns the first argument of
        every function that is asked
    :param timeout: seconds after which a read that has not answered is given up; a reader that
        has worked on one for so long is replaced
    :param away: called with each error that says that a database does not answer
    """

    log = Logger()

    def __init__(
        self,
        reactor: Any,
        count: int,
        open_state: Callable[..., Any],
        arguments: tuple[Any, ...],
        timeout: float,
        away: Away = unheard,
    ) -> None:
        self.reactor = reactor
        self.timeout = timeout
        self.away = away
        self.first_frame = frames.packed(0, frames.PLAIN, pickle.dumps((open_state, arguments)))
        self.restarts = 0
        self.sent = 0
        self._number = 0
        self._last: Any = None
        self._kept: _Kept | None = None
        self._stopping = False
        self._clock: Any = None
        self._readers = [_Reader(self) for _ in range(count)]
        for reader in self._readers:
            reader.start()

    @property
    def pids(self) -> list[int]:
        """Return the ids of the processes that live now."""
        return [reader.pid for reader in self._readers if reader.pid is not None]

    @property
    def unanswered(self) -> int:
        """Return how many questions wait for their answer."""
        return sum(reader.unanswered for reader in self._readers)

    def ask(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        large: bool = False,
        waits: bool = False,
    ) -> defer.Deferred[Any]:
        """Return what ``function(state, *arguments)`` returns (``Readers.ask``)."""
        reader = min(self._readers, key=lambda one: one.burden(large))
        if reader.is_full(large):
            return defer.fail(Unavailable("Too many reads at once", retry_after=1))
        self._number = self._number % (2**32 - 1) + 1
        kept = self._keep(arguments[0]) if arguments else None
        if kept is not None:
            arguments = arguments[1:]
        payload = _pickled((kept is not None, function, arguments))
        question = _Question(self._number, payload, large, kept)
        question.due = self.reactor.seconds() + self.timeout
        reader.ask(question, waits)
        if self._clock is None:
            self._clock = self.reactor.callLater(self.timeout, self._give_up, question.due)

        def ended(result: Any) -> Any:
            reader.forget(question)
            return result

        return question.answer.addBoth(ended)

    def _give_up(self, planned: float) -> None:
        """Give up the questions that are overdue; look again when the next one is.

        A timer for each of thousands a second would cost more than to write them into a pipe.
        """
        self._clock = None
        now = self.reactor.seconds()
        if now - planned > STOOD_STILL:
            # once: the next time is as planned, however late it comes
            self._clock = self.reactor.callLater(STOOD_STILL, self._give_up, math.inf)
            return
        # those that were given up before are still worked on
        open_ones = [
            (reader, question)
            for reader in self._readers
            for question in reader.questions()
            if not question.answer.called
        ]
        dues = [question.due for _, question in open_ones if question.due > now]
        if dues:
            self._clock = self.reactor.callLater(min(dues) - now, self._give_up, min(dues))
        for reader, question in open_ones:
            # a callback that hears of a question given up may stop us, or let go of others
            if question.due <= now and not question.answer.called:
                late = (too_late, None, self.timeout) if reader.is_ready else (still_loading, None)
                defer.execute(*late).chainDeferred(question.answer)

    def _keep(self, value: Any) -> _Kept | None:
        """Return how *value* is referred to, if two questions in a row have begun with it."""
        if self._kept is None or self._kept.value is not value:
            if self._last is not value:
                self._last = value
                return None
            self._kept = _Kept(value)
        return self._kept

    def set_timeout(self, seconds: float) -> None:
        """Give up questions after so many *seconds*, also those that wait."""
        for reader in self._readers:
            for question in reader.questions():
                question.due += seconds - self.timeout
        self.timeout = seconds
        if self._clock is not None:
            self._clock.reset(0)  # the next one is due at another time

    def stop(self) -> defer.Deferred[None]:
        """End the processes; return when they have ended."""
        self._stopping = True
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None
        done = defer.DeferredList([reader.stop() for reader in self._readers])
        return done.addCallback(lambda _: None)

    def died(self, reader: _Reader, lived: float) -> None:
        """Replace a reader that has died after *lived* seconds."""
        if self._stopping:
            return
        reader.deaths = 0 if lived > LONG_LIFE else reader.deaths + 1
        wait = BACKOFF[min(reader.deaths, len(BACKOFF)) - 1] if reader.deaths else 0
        self.log.warn("selfserve: a reader died, another one starts in {wait} s", wait=wait)
        self.reactor.callLater(wait, self._replace, reader)

    def _replace(self, reader: _Reader) -> None:
        if not self._stopping:
            self.restarts += 1
            reader.start()


class _Reader:
    """One place for a process.

    :ivar lanes: the questions that it has not answered, by whether they are large, and in their
        order by their numbers: it works on the first of each lane
    :ivar is_ready: whether there is a process, and it has its state
    """

    def __init__(self, readers: ProcessReaders) -> None:
        self.readers = readers
        self.lanes: dict[bool, dict[int, _Question]] = {False: {}, True: {}}
        self.deaths = 0
        self.is_ready = False
        self._pipe: _Pipe | None = None
        self._started = 0.0
        #: it may hang in this one
        self._suspect: _Question | None = None
        #: long answers on their way, by the numbers of their questions
        self._bodies: dict[int, PipedBody] = {}
        self._room_look: Any = None
        #: by lane
        self._kept: dict[bool, _Kept] = {}

    @property
    def pid(self) -> int | None:
        return None if self._pipe is None else self._pipe.transport.pid

    @property
    def unanswered(self) -> int:
        return sum(map(len, self.lanes.values()))

    def is_full(self, large: bool) -> bool:
        """Whether no more questions may wait in a lane."""
        return len(self.lanes[large]) >= MOST_WAITING[large]

    def burden(self, large: bool) -> tuple[bool, bool, int, int]:
        """Return what is less for the reader that answers a question sooner.

        One that is busy answers before one that is not there yet: to load may take minutes.
        """
        return self.is_full(large), not self.is_ready, len(self.lanes[large]), self.unanswered

    def questions(self) -> list[_Question]:
        """Return the questions that it has not answered."""
        return [question for lane in self.lanes.values() for question in lane.values()]

    def start(self) -> None:
        """Start a process, and ask it what the last one has left."""
        reactor = self.readers.reactor
        self._started = reactor.seconds()
        self._kept = {}
        pipe = _Pipe(self)
        command = [sys.executable, "-c", _BOOTSTRAP, *sys.path]
        files = {**dict.fromkeys((*frames.LANES.values(), frames.OUTBOX), "w"), 1: "r", 2: "r"}
        try:
            reactor.spawnProcess(pipe, sys.executable, command, env=os.environ, childFDs=files)
        except OSError:
            # no memory, files or processes are left, which may pass
            self.readers.log.failure("selfserve: a reader cannot be started")
            self.readers.died(self, 0)
            return
        self._pipe = pipe
        pipe.write(frames.LANES[False], self.readers.first_frame)
        for question in self.questions():
            self._send(question)

    def ask(self, question: _Question, waits: bool) -> None:
        """Ask *question* as soon as there is a process: a busy one need not have it at once."""
        lane = self.lanes[question.large]
        waits = waits or bool(lane)
        lane[question.number] = question
        if self._pipe is not None:
            self._send(question, now=not waits)

    def _send(self, question: _Question, now: bool = True) -> None:
        assert self._pipe is not None
        question.attempts += 1
        question.lacking = 0
        question.asked_at = self.readers.reactor.seconds()
        large, kept = question.large, question.kept
        frame = frames.packed(question.number, frames.PLAIN, question.payload)
        if kept is not None and kept is not self._kept.get(large):
            self._kept[large] = kept
            frame = kept.frame + frame
        self._pipe.write(frames.LANES[large], frame, now)

    def answered(self, number: int, kind: int, payload: bytes) -> None:
        """Take an answer, or that the process begins to answer now."""
        if number == frames.READY:
            self.is_ready = True
            for waiting in self.questions():
                waiting.asked_at = self.readers.reactor.seconds()
            return
        if kind == frames.PIECE:
            if number in self._bodies:
                self._bodies[number].feed(payload)
            return
        lane = next((lane for lane in self.lanes.values() if number in lane), None)
        if lane is None:
            if kind in (frames.WAITING, frames.BEGUN):
                # it was begun before the process heard that nobody wants it
                self._tell_unwanted(number, frames.OUTBOX)
            return
        if kind == frames.WAITING:
            self._waits(lane[number], pickle.loads(payload))
            return
        question = lane.pop(number)
        if lane:
            # the next one of its lane begins now
            _first(lane).asked_at = self.readers.reactor.seconds()
        if kind == frames.BEGUN:
            self._deliver(question, *pickle.loads(payload))
            return
        if question.answer.called:
            return
        value = pickle.loads(payload)
        if isinstance(value, DatabaseAway):
            self.readers.away(value)
        if kind == frames.PLAIN:
            question.answer.callback(value)
        else:
            told = isinstance(value, AskOtherwise | SelfServeError)
            question.answer.errback(Failure(value if told else ReaderError(value)))

    def _deliver(self, question: _Question, value: Any, length: int, text_number: int) -> None:
        """Give out a long answer, whose pieces follow."""
        number, pipe = question.number, self._pipe

        def want(pieces: int) -> None:
            if pipe is not None:
                pipe.write(frames.OUTBOX, frames.packed(number, frames.MORE, bytes([pieces])))

        def over() -> None:
            self._bodies.pop(number, None)
            if pipe is not None:
                pipe.write(frames.OUTBOX, frames.packed(number, frames.UNWANTED, b""))

        clock = self.readers.reactor
        body = self._bodies[number] = PipedBody(length, text_number, clock, want, over)
        if question.answer.called:
            body.stop()
        else:
            question.answer.callback(Delivery(value, body))

    def _waits(self, question: _Question, lacking: int) -> None:
        """Note that an answer waits for so many bytes of room, and see to it that it gets them."""
        question.lacking = lacking
        if question.answer.called:
            self._unwanted(question)
        elif self._room_look is None:
            self._make_room(question)

    def _make_room(self, question: _Question) -> None:
        """Cut off slow clients while *question* waits for room; look again a little later."""
        self._room_look = None
        if self.lanes[True].get(question.number) is question and not question.answer.called:
            make_room(list(self._bodies.values()), question.lacking)
            clock = self.readers.reactor
            self._room_look = clock.callLater(ROOM_INTERVAL, self._make_room, question)

    def _unwanted(self, question: _Question) -> None:
        file = frames.OUTBOX if question.lacking else frames.LANES[question.large]
        self._tell_unwanted(question.number, file)

    def _tell_unwanted(self, number: int, file: int) -> None:
        assert self._pipe is not None
        self._pipe.write(file, frames.packed(number, frames.UNWANTED, b""))

    def forget(self, question: _Question) -> None:
        """Let go of a question that nobody waits for any more.

        The one that the process works on stays until its answer comes; if it has had the whole
        time for itself, and its answer does not come a moment later, the process hangs, and is
        killed.
        """
        lane = self.lanes[question.large]
        if lane.get(question.number) is not question:
            return
        if self._pipe is None:
            del lane[question.number]
            return
        worked_on = _first(lane)
        if question.lacking:
            self._unwanted(question)  # and then it is answered that it is nothing any more
        elif worked_on is not question or not self.is_ready:
            del lane[question.number]
            self._unwanted(question)
        if self._hangs(worked_on) and worked_on is not self._suspect:
            # its answer may lie in the pipe
            self._suspect = worked_on
            self.readers.reactor.callLater(STOOD_STILL, self._judge, self._pipe, worked_on)

    def _judge(self, pipe: _Pipe, worked_on: _Question) -> None:
        """Kill the process of *pipe* if it still hangs in a question."""
        self._suspect = None
        lane = self.lanes[worked_on.large]
        is_there = lane.get(worked_on.number) is worked_on or not self.is_ready
        if pipe is self._pipe and is_there and self._hangs(worked_on):
            self.readers.log.warn("selfserve: a reader hangs and is killed")
            pipe.kill()

    def _hangs(self, worked_on: _Question) -> bool:
        now = self.readers.reactor.seconds()
        if not self.is_ready:
            return bool(now - self._started > LONGEST_START)
        if worked_on.lacking:
            return False  # it waits for clients
        return bool(now - worked_on.asked_at >= self.readers.timeout - TOLERANCE)

    def ended(self) -> None:
        """Note that the process has ended, and give up the questions that outlived two."""
        self._pipe = None
        self.is_ready = False
        for body in list(self._bodies.values()):
            body.lose()
        for question in self.questions():
            if question.answer.called:
                del self.lanes[question.large][question.number]
            elif question.attempts >= ATTEMPTS:
                del self.lanes[question.large][question.number]
                question.answer.errback(
                    Unavailable("The reader process died twice during this read")
                )
        self.readers.died(self, self.readers.reactor.seconds() - self._started)

    def stop(self) -> defer.Deferred[None]:
        """End the process; return when it has ended."""
        for question in self.questions():
            if not question.answer.called:
                question.answer.errback(Unavailable("Self-serve is shutting down"))
        return defer.succeed(None) if self._pipe is None else self._pipe.stop()


def _first(lane: dict[int, _Question]) -> _Question:
    return next(iter(lane.values()))


class _Pipe(ProcessProtocol):
    """The pipes to one process."""

    transport: Any
    log = Logger()

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self._unpacker = frames.Unpacker()
        self._stopped: defer.Deferred[None] | None = None
        #: by file: the frames that wait for the end of this turn of the reactor
        self._held: dict[int, list[bytes]] = {}

    def write(self, file: int, frame: bytes, now: bool = True) -> None:
        """Write to the pipe that a reader has as *file*.

        A process that has just died has no pipe any more; its questions are asked again.

        :param now: write at once as far as the pipe takes it, else when the reactor has been
            through everything that has happened by now, with all frames that have come until then:
            to wake a process takes as long as many of them
        """
        held = self._held.setdefault(file, [])
        held.append(frame)
        if now:
            self.send(file)
        elif len(held) == 1:
            self._reader.readers.reactor.callLater(0, self.send, file)

    def send(self, file: int) -> None:
        """Write what waits, if it was not written meanwhile."""
        frame = b"".join(self._held.pop(file, ()))
        writer = self.transport.pipes.get(file)
        if writer is None or not frame:
            return
        self._reader.readers.sent += 1
        if not writer.dataBuffer:
            # what the pipe takes need not go through the reactor, which would be told twice that
            # there is something to write, and that there is nothing more
            sent = writer.writeSomeData(frame)
            if sent == len(frame):
                return
            if isinstance(sent, int):  # else the pipe is closed, and is told so again
                frame = frame[sent:]
        writer.write(frame)
        writer.doWrite()

    def outReceived(self, data: bytes) -> None:
        """Take what has come, and more of what else would take a turn of the reactor for each part.

        Few answers at a time: what each of them sets off takes longer than to read it.
        """
        answers, wanted = self._take(data), READ_AT_ONCE
        while len(data) == wanted and answers < ENOUGH:
            wanted = max(READ_AT_ONCE, self._unpacker.lacking)
            data = self._read(wanted)
            answers += self._take(data)

    def _take(self, data: bytes) -> int:
        """Take *data*; return how many frames it has completed."""
        count = 0
        for number, kind, payload in self._unpacker.feed(data):
            self._reader.answered(number, kind, payload)
            count += 1
        return count

    def _read(self, most: int) -> bytes:
        """Return what has come by now; nothing where the pipe has ended, which the reactor sees."""
        source = self.transport.pipes.get(1)
        try:
            return b"" if source is None else os.read(source.fileno(), most)
        except OSError:
            return b""

    def errReceived(self, data: bytes) -> None:
        self.log.warn("selfserve: a reader says: {text}", text=data.decode("utf-8", "replace"))

    def processEnded(self, reason: Failure) -> None:
        self._reader.ended()
        if self._stopped is not None:
            self._stopped.callback(None)

    def kill(self) -> None:
        with contextlib.suppress(error.ProcessExitedAlready):
            self.transport.signalProcess("KILL")

    def stop(self) -> defer.Deferred[None]:
        """End the process: it ends by itself when its input does."""
        self._stopped = defer.Deferred()
        for file in (*frames.LANES.values(), frames.OUTBOX):
            self.transport.closeChildFD(file)
        overdue = self._reader.readers.reactor.callLater(GRACE, self.kill)

        def ended(result: None) -> None:
            if overdue.active():
                overdue.cancel()

        return self._stopped.addCallback(ended)
