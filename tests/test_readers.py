"""Readers: processes that are asked over pipes, and threads that are asked in the same way."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import signal
import subprocess
import sys
import termios
import threading
import time
import timeit
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task
from twisted.internet.process import ProcessWriter

from buildbot_selfserve import errors
from buildbot_selfserve.readers import GRACE
from buildbot_selfserve.readers import MOST_WAITING
from buildbot_selfserve.readers import PIECE
from buildbot_selfserve.readers import ReaderError
from buildbot_selfserve.readers import bodies
from buildbot_selfserve.readers import frames
from buildbot_selfserve.readers import processes as processes_module
from buildbot_selfserve.readers import room
from buildbot_selfserve.readers.bodies import Body
from buildbot_selfserve.readers.bodies import Delivery
from buildbot_selfserve.readers.processes import ProcessReaders
from buildbot_selfserve.readers.processes import _Pipe
from buildbot_selfserve.readers.threads import ThreadReaders
from tests import PATIENCE
from tests.in_readers import LONG
from tests.in_readers import TIGHT
from tests.in_readers import Configured
from tests.in_readers import chatter
from tests.in_readers import die
from tests.in_readers import die_once
from tests.in_readers import fail
from tests.in_readers import greet
from tests.in_readers import large_answer
from tests.in_readers import long_answer
from tests.in_readers import name_of
from tests.in_readers import open_never
from tests.in_readers import open_slowly
from tests.in_readers import open_state
from tests.in_readers import open_tight
from tests.in_readers import open_when_let
from tests.in_readers import refuse
from tests.in_readers import refuse_parameter
from tests.in_readers import text
from tests.in_readers import text_begun
from tests.in_readers import wait
from tests.in_readers import wait_for
from tests.in_readers import where
from tests.process_master import ProcessMaster

#: Seconds after which a question is given up that is to be, once its reader has started.
BRIEF = 3.0
#: Seconds in which there is to be room for an answer, or it is given up.
TIGHT_SECONDS = 6.0


def one_reader(kind: str, seconds: float, opening: Callable[[str], Any] = open_state) -> Any:
    """Return a reader in a process or a thread; a question is given up after so many *seconds*."""
    if kind == "processes":
        return ProcessReaders(reactor, 1, opening, ("Ada",), seconds)
    return ThreadReaders.of_our_own(reactor, open_state("Ada"), seconds)


@pytest_twisted.async_yield_fixture(params=["processes", "threads"])
async def readers(request: Any) -> Any:
    made = one_reader(request.param, PATIENCE)
    yield made
    await made.stop()


@pytest_twisted.async_yield_fixture
async def processes() -> Any:
    made = one_reader("processes", PATIENCE)
    yield made
    await made.stop()


@pytest_twisted.ensureDeferred
async def test_a_question_is_answered(readers: Any) -> None:
    assert await readers.ask(greet, "Hello") == "Hello, Ada"
    assert await readers.ask(greet, "Grüß dich") == "Grüß dich, Ada"


@given(
    payloads=st.lists(st.binary(max_size=40), max_size=30),
    reads=st.lists(st.integers(1, 60), min_size=1),
)
def test_frames_come_out_as_they_went_in(payloads: list[bytes], reads: list[int]) -> None:
    sent = [(number, number % 8, payload) for number, payload in enumerate(payloads)]
    data = b"".join(frames.packed(*frame) for frame in sent)
    unpacker, came_out = frames.Unpacker(), []
    sizes = cycle(reads)
    while data:
        size = next(sizes)
        came_out += unpacker.feed(data[:size])
        data = data[size:]
        # what is missing is told, as that much is read at once
        assert unpacker.lacking > 0
    assert came_out == sent
    assert unpacker.lacking == frames.HEADER.size


@pytest.mark.parametrize(
    ("size", "count", "read"),
    [(4, 40_000, 2**20), (2**25, 1, 8192)],
    ids=["many frames in a read", "a frame in many reads"],
)
def test_what_comes_is_copied_a_few_times_at_most(size: int, count: int, read: int) -> None:
    frame = frames.packed(1, frames.PLAIN, b"x" * size)
    whole = frame * count
    reads = [whole[at : at + read] for at in range(0, len(whole), read)]

    def unpack() -> None:
        unpacker = frames.Unpacker()
        assert sum(len(list(unpacker.feed(one))) for one in reads) == count

    def copy() -> None:
        joined = b"".join(reads)
        for at in range(0, len(joined), len(frame)):
            assert joined[at : at + len(frame)]

    # each frame, or each read, would be thousands of copies otherwise
    assert shortest(unpack) < 50 * shortest(copy)


def shortest(work: Callable[[], None]) -> float:
    """Return the seconds of a processor that *work* takes when nothing disturbs it."""
    return min(timeit.repeat(work, number=1, repeat=5, timer=time.process_time))


@pytest_twisted.ensureDeferred
async def test_large_answers_arrive_whole(readers: Any) -> None:
    for size in (0, 1, 65536, 5_000_000):
        assert await readers.ask(large_answer, size, large=True) == b"x" * size


def came(pipe: Any) -> int:
    """Return how many bytes lie in the pipe from a reader."""
    found = fcntl.ioctl(pipe.transport.pipes[1].fileno(), termios.FIONREAD, bytes(4))
    return int.from_bytes(found, sys.byteorder)


def write_what_is_left(pipe: Any, *, large: bool) -> None:
    """Write what waits for the end of this turn of the reactor."""
    pipe.send(frames.LANES[large])


def hold_up_until_came(pipe: Any, size: int) -> None:
    """Hold up the reactor until so many bytes lie in the pipe."""
    deadline = time.monotonic() + PATIENCE
    while came(pipe) < size and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest_twisted.ensureDeferred
async def test_what_has_come_takes_one_turn_of_the_reactor(
    processes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await processes.ask(greet, "Hello")
    turns: list[int] = []
    received = _Pipe.outReceived

    def counted(pipe: Any, data: bytes) -> None:
        turns.append(len(data))
        received(pipe, data)

    monkeypatch.setattr(_Pipe, "outReceived", counted)
    pipe = processes._readers[0]._pipe
    large = processes.ask(large_answer, 50_000)
    small = [processes.ask(greet, "Hello") for _ in range(3)]
    write_what_is_left(pipe, large=False)
    expected = [b"x" * 50_000, *["Hello, Ada"] * 3]
    size = sum(frames.HEADER.size + len(pickle.dumps(one, -1)) for one in expected)
    hold_up_until_came(pipe, size)
    assert [await one for one in (large, *small)] == expected
    assert len(turns) == 1


@pytest_twisted.ensureDeferred
async def test_a_busy_reader_is_woken_once_for_all_that_has_come(
    processes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await processes.ask(greet, "Hello")
    writes: list[int] = []
    write = ProcessWriter.writeSomeData

    def counted(writer: Any, data: bytes) -> Any:
        writes.append(len(data))
        return write(writer, data)

    monkeypatch.setattr(ProcessWriter, "writeSomeData", counted)
    asked = [processes.ask(greet, str(number)) for number in range(10)]
    # the first at once: an idle reader need not wait for the others
    assert len(writes) == 1
    unwanted = processes.ask(greet, "nobody")
    unwanted.addErrback(lambda _: None)
    unwanted.cancel()
    assert [await one for one in asked] == [f"{number}, Ada" for number in range(10)]
    assert len(writes) == 2
    # and an idle reader is asked at once again, unless the question waits for others
    sent = processes.sent
    assert await processes.ask(greet, "Hello") == "Hello, Ada"
    assert (len(writes), processes.sent) == (3, sent + 1)
    asked = [processes.ask(greet, str(number), waits=True) for number in range(3)]
    assert (len(writes), processes.sent) == (3, sent + 1)
    assert [await one for one in asked] == [f"{number}, Ada" for number in range(3)]
    assert (len(writes), processes.sent) == (4, sent + 2)


@pytest_twisted.ensureDeferred
async def test_a_long_text_comes_in_pieces(readers: Any) -> None:
    for size in (0, 256, 5_000_192):
        value, body = await readers.ask(long_answer, size, large=True)
        assert value == f"{size} long"
        assert body.length == size
        pieces = await pieces_of(body)
        assert b"".join(pieces) == bytes(range(256)) * (size // 256)
        assert all(len(piece) <= PIECE for piece in pieces)


async def pieces_of(body: Body) -> list[bytes]:
    """Return all that is left of *body*."""
    pieces: list[bytes] = []
    over: defer.Deferred[None] = defer.Deferred()

    def go_on() -> None:
        while (piece := body.take()) is not None:
            if not piece:
                over.callback(None)
                return
            pieces.append(piece)

    body.begin(go_on, lambda: over.errback(EOFError()))
    go_on()
    await over
    return pieces


# -- long answers that are not taken


@pytest_twisted.async_yield_fixture(params=["processes", "threads"])
async def tight(request: Any, monkeypatch: Any) -> Any:
    monkeypatch.setattr(room, "MOST_HELD", TIGHT)
    monkeypatch.setattr(bodies, "MEASURED", 1.0)
    made = one_reader(request.param, PATIENCE, open_tight)
    yield made
    await made.stop()


async def slowly(readers: Any, letter: str, **more: Any) -> tuple[Body, defer.Deferred[None]]:
    """Ask for a text; return it with a piece taken, and what fires when it is cut off."""
    _, body = await readers.ask(text, letter, **more)
    lost: defer.Deferred[None] = defer.Deferred()
    body.begin(lambda: None, lambda: lost.callback(None))
    while not body.take():
        await task.deferLater(reactor, 0.01)
    return body, lost


async def patiently(readers: Any, letter: str) -> Body:
    """Ask for a text until there is room for it: threads do not wait for that."""
    while True:
        with suppress(errors.Unavailable):
            return (await readers.ask(text, letter, large=True)).body
        await task.deferLater(reactor, 0.5)


@pytest_twisted.ensureDeferred
async def test_the_same_text_is_held_once(tight: Any) -> None:
    slow = [await slowly(tight, "a", large=True) for _ in range(4)]
    assert not any(lost.called for _, lost in slow)
    for body, _ in slow:
        assert sum(map(len, await pieces_of(body))) == LONG - PIECE


@pytest_twisted.ensureDeferred
async def test_one_who_is_too_slow_is_cut_off_when_others_wait(tight: Any) -> None:
    _, lost = await slowly(tight, "a", large=True)
    await task.deferLater(reactor, 4)  # even with what was taken at once, it is slow now
    assert not lost.called  # nobody waits
    begun = time.monotonic()
    body = await patiently(tight, "b")
    assert lost.called
    assert time.monotonic() - begun < 20
    assert b"".join(await pieces_of(body)) == b"b" * LONG


@pytest_twisted.ensureDeferred
async def test_an_answer_waits_for_room_and_small_ones_do_not(processes_tight: Any) -> None:
    body, lost = await slowly(processes_tight, "a", large=True)
    waiting = processes_tight.ask(text, "b", large=True)
    behind = processes_tight.ask(greet, "Hello", large=True)
    assert await processes_tight.ask(greet, "Hello") == "Hello, Ada"
    with pytest.raises(errors.LargeAnswer):
        await processes_tight.ask(text, "b")
    await task.deferLater(reactor, 0.5)
    assert not waiting.called
    assert not behind.called
    await pieces_of(body)
    _, second = await waiting
    assert not lost.called
    assert await behind == "Hello, Ada"
    assert b"".join(await pieces_of(second)) == b"b" * LONG


@pytest_twisted.ensureDeferred
async def test_one_that_waits_for_room_in_vain_is_given_up(processes_tight: Any) -> None:
    body, _ = await slowly(processes_tight, "a", large=True)
    waiting = processes_tight.ask(text, "b", large=True)
    gone = processes_tight.ask(text, "c", large=True)
    await task.deferLater(reactor, 0.2)
    gone.addErrback(lambda _: None)
    gone.cancel()
    take = task.LoopingCall(body.take)  # at some 160 KB a second
    take.start(0.4)
    (pid,) = processes_tight.pids
    behind = processes_tight.ask(text, "d", large=True)
    for one in (waiting, behind):
        with pytest.raises(errors.Unavailable):
            await one
    take.stop()
    body.stop()
    _, last = await processes_tight.ask(text, "e", large=True)
    assert b"".join(await pieces_of(last)) == b"e" * LONG
    assert processes_tight.pids == [pid]


@pytest_twisted.ensureDeferred
async def test_what_is_on_its_way_is_lost_with_its_reader(processes_tight: Any) -> None:
    _, lost = await slowly(processes_tight, "a", large=True)
    (pid,) = processes_tight.pids
    os.kill(pid, signal.SIGKILL)
    await lost
    assert isinstance(await processes_tight.ask(text, "a", large=True), Delivery)


@pytest.mark.parametrize("waits", [False, True], ids=["begun", "waits"])
@pytest_twisted.ensureDeferred
async def test_one_that_was_begun_when_its_client_went_takes_no_room(
    processes_tight: Any, tmp_path: Path, waits: bool
) -> None:
    held = (await processes_tight.ask(text, "a", large=True)).body if waits else None
    await processes_tight.ask(greet, "Hello", large=True)
    first = processes_tight.ask(greet, "Hello", large=True)
    gone = processes_tight.ask(text_begun, "b", str(tmp_path / "begun"), large=True)
    gone.addErrback(lambda _: None)
    write_what_is_left(processes_tight._readers[0]._pipe, large=True)
    hold_up_until_begun(tmp_path / "begun")
    gone.cancel()
    assert await first == "Hello, Ada"
    if held is not None:
        assert await processes_tight.ask(greet, "Still", large=True) == "Still, Ada"
        held.stop()
    for letter in "cd":
        _, body = await processes_tight.ask(text, letter, large=True)
        assert b"".join(await pieces_of(body)) == letter.encode() * LONG


def hold_up_until_begun(marker: Path) -> None:
    """Hold up the reactor until the reader has begun what leaves the marker."""
    deadline = time.monotonic() + PATIENCE
    while not marker.exists() and time.monotonic() < deadline:
        time.sleep(0.01)


@pytest_twisted.async_yield_fixture
async def processes_tight(monkeypatch: Any) -> Any:
    made = one_reader("processes", TIGHT_SECONDS, open_tight)
    await when_it_answers(made)
    yield made
    await made.stop()


@pytest_twisted.ensureDeferred
async def test_an_argument_that_stays_is_not_sent_again(processes: Any) -> None:
    Configured.sent = 0
    one, other = Configured("Bob"), Configured("Eve")
    for _ in range(20):
        assert await processes.ask(name_of, one, "Hello") == "Hello, Bob and Ada"
    assert Configured.sent <= 2
    # also when it is another one, now and then or from now on
    for configured in (one, other, one, other, other, other, one):
        answer = await processes.ask(name_of, configured, "Hello")
        assert answer == f"Hello, {configured.name} and Ada"
    # and by a reader that has never heard of it
    for pid in processes.pids:
        os.kill(pid, signal.SIGKILL)
    for _ in range(3):
        assert await processes.ask(name_of, other, "Hello") == "Hello, Eve and Ada"


@pytest_twisted.ensureDeferred
async def test_many_questions_at_once_get_each_its_answer(readers: Any) -> None:
    asked = [readers.ask(greet, str(number), large=number % 3 == 0) for number in range(300)]
    assert await defer.gatherResults(asked) == [f"{number}, Ada" for number in range(300)]


@pytest_twisted.ensureDeferred
async def test_what_a_function_raises_arrives_as_it_was(readers: Any) -> None:
    with pytest.raises(errors.NotFound) as refusal:
        await readers.ask(refuse)
    assert (refusal.value.msg, refusal.value.detail) == ("Nothing here", "nor there")
    with pytest.raises(errors.BadParameter) as bad:
        await readers.ask(refuse_parameter)
    assert (bad.value.msg, bad.value.detail) == ("Bad count", "count must be a number")
    with pytest.raises((ReaderError, ZeroDivisionError), match="on purpose"):
        await readers.ask(fail)
    assert await readers.ask(greet, "Still") == "Still, Ada"


@pytest_twisted.ensureDeferred
async def test_a_small_answer_does_not_wait_for_a_large_one(readers: Any, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    large = readers.ask(wait_for, str(gate), large=True)
    for _ in range(20):
        await readers.ask(greet, "Hello")
    assert not large.called
    gate.touch()
    assert await large == "waited"


async def when_it_answers(made: Any) -> int:
    """Return the pid of a reader that may still have to start."""
    for _ in range(60):
        try:
            pid: int = await made.ask(where)
        except errors.Unavailable:
            continue
        return pid
    raise AssertionError("no reader answers")


@pytest_twisted.async_yield_fixture(params=["processes", "threads"])
async def hasty(request: Any) -> Any:
    """A reader that has started, and is given up soon."""
    made = one_reader(request.param, BRIEF)
    await when_it_answers(made)
    yield made
    await made.stop()


@pytest_twisted.async_yield_fixture
async def hasty_processes() -> Any:
    made = one_reader("processes", BRIEF)
    await when_it_answers(made)
    yield made
    await made.stop()


@pytest_twisted.ensureDeferred
async def test_a_question_that_takes_too_long_is_given_up(hasty: Any) -> None:
    with pytest.raises(errors.Unavailable, match="did not answer within 3 seconds"):
        await hasty.ask(wait, BRIEF + 1)
    assert await when_it_answers(hasty)


@pytest_twisted.ensureDeferred
async def test_readers_follow_another_timeout(readers: Any) -> None:
    first = await when_it_answers(readers)
    readers.set_timeout(0.5)
    with pytest.raises(errors.Unavailable):
        await readers.ask(wait, 0.8)
    readers.set_timeout(PATIENCE)
    assert await readers.ask(wait, 0.8) == "waited"
    assert await readers.ask(where) == first


@pytest_twisted.ensureDeferred
async def test_what_waits_for_a_process_follows_another_timeout(hasty_processes: Any) -> None:
    longer = hasty_processes.ask(wait, BRIEF + 1)
    hasty_processes.set_timeout(PATIENCE)
    assert await longer == "waited"
    shorter = hasty_processes.ask(wait, 3600)
    begun = time.monotonic()
    hasty_processes.set_timeout(0.5)
    with pytest.raises(errors.Unavailable):
        await shorter
    assert time.monotonic() - begun < PATIENCE / 2


@pytest_twisted.ensureDeferred
async def test_a_reader_that_hangs_is_replaced(hasty_processes: Any) -> None:
    (first,) = hasty_processes.pids
    with pytest.raises(errors.Unavailable):
        await hasty_processes.ask(wait, 3600)
    assert await when_it_answers(hasty_processes) != first
    assert not psutil.pid_exists(first)


@pytest_twisted.ensureDeferred
async def test_a_reader_that_dies_again_and_again_is_replaced_later_each_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []
    monkeypatch.setattr(processes_module, "BACKOFF", (0.01, 0.02, 0.03))
    log = SimpleNamespace(warn=lambda text, wait: waits.append(wait))
    monkeypatch.setattr(ProcessReaders, "log", log)
    made = ProcessReaders(reactor, 1, open_never, ("Ada",), PATIENCE)
    while len(waits) < 4:
        await task.deferLater(reactor, 0.02)
    await made.stop()
    assert waits[:4] == [0.01, 0.02, 0.03, 0.03]


@pytest_twisted.ensureDeferred
async def test_a_reader_that_takes_long_to_start_is_not_replaced() -> None:
    made = ProcessReaders(reactor, 1, open_slowly, ("Ada",), 1.0)
    (pid,) = made.pids
    asked = [made.ask(greet, "Too early", large=large) for large in (False, True)]
    results = await defer.DeferredList(asked, consumeErrors=True)
    assert [fine for fine, _ in results] == [False, False]
    assert [str(failure.value.msg) for _, failure in results] == [
        "Self-serve is loading the history of builds"
    ] * 2
    assert await when_it_answers(made) == pid
    # but from then on it may hang
    with pytest.raises(errors.Unavailable):
        await made.ask(wait, 3600)
    while psutil.pid_exists(pid):
        await task.deferLater(reactor, 0.05)
    await made.stop()


async def one_of_two_loads(folder: Path) -> tuple[Any, int, Path]:
    """Return two readers, the pid of the second, and the file for which the first one waits."""
    gate = folder / "gate"
    gate.touch()
    made = ProcessReaders(reactor, 2, open_when_let, (str(gate),), PATIENCE)
    await defer.gatherResults([made.ask(wait, 0.1) for _ in range(2)])
    first, other = made.pids
    gate.unlink()
    os.kill(first, signal.SIGKILL)
    while first in made.pids:
        await task.deferLater(reactor, 0.02)
    return made, other, gate


@pytest_twisted.ensureDeferred
async def test_a_reader_that_has_died_or_loads_is_asked_nothing_while_there_is_another(
    tmp_path: Path,
) -> None:
    made, other, gate = await one_of_two_loads(tmp_path)
    # there is no process in its place at first, and then one that loads
    assert await made.ask(where) == other
    while len(made.pids) < 2:
        await task.deferLater(reactor, 0.02)
    busy = made.ask(wait, 0.2)
    for large in (False, True):
        assert await made.ask(where, large=large) == other
    await busy
    # from then on both are asked
    gate.touch()
    while len({*await defer.gatherResults([made.ask(where) for _ in range(2)])}) < 2:
        await task.deferLater(reactor, 0.02)
    await made.stop()


@pytest_twisted.ensureDeferred
async def test_while_all_readers_load_each_is_asked_its_share(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    made = ProcessReaders(reactor, 2, open_when_let, (str(gate),), PATIENCE)
    asked = defer.gatherResults([made.ask(where) for _ in range(6)])
    gate.touch()
    pids = await asked
    assert sorted(map(pids.count, set(pids))) == [3, 3]
    await made.stop()


@pytest_twisted.ensureDeferred
async def test_what_a_reader_has_no_room_for_waits_for_one_that_loads(
    tmp_path: Path, monkeypatch: Any
) -> None:
    made, other, gate = await one_of_two_loads(tmp_path)
    monkeypatch.setitem(MOST_WAITING, False, 2)
    busy = [made.ask(wait, 0.2) for _ in range(2)]
    waiting = [made.ask(where) for _ in range(2)]
    with pytest.raises(errors.Unavailable, match="Too many"):
        await made.ask(where)
    gate.touch()
    await defer.gatherResults(busy)
    pids = await defer.gatherResults(waiting)
    assert other not in pids
    assert set(pids) < set(made.pids)
    await made.stop()


@pytest_twisted.ensureDeferred
async def test_waiting_behind_others_is_no_hanging(hasty_processes: Any) -> None:
    (first,) = hasty_processes.pids
    waiting = [hasty_processes.ask(wait, BRIEF / 4) for _ in range(7)]
    results = await defer.DeferredList(waiting, consumeErrors=True)
    fine = [answered for answered, _ in results]
    assert fine == sorted(fine, reverse=True)
    assert set(fine) == {True, False}
    assert await when_it_answers(hasty_processes) == first


@pytest_twisted.ensureDeferred
async def test_working_on_after_somebody_has_gone_is_no_hanging(hasty_processes: Any) -> None:
    (first,) = hasty_processes.pids
    unwanted = hasty_processes.ask(wait, BRIEF * 0.8)
    unwanted.addErrback(lambda failure: failure.trap(defer.CancelledError))
    await task.deferLater(reactor, 0.2)
    next_one = hasty_processes.ask(wait, BRIEF * 0.6)
    unwanted.cancel()
    # it has waited for its turn most of the time
    with pytest.raises(errors.Unavailable):
        await next_one
    assert await when_it_answers(hasty_processes) == first


def stand_still(then: Callable[[], object] = bool) -> None:
    time.sleep(2.0)
    then()


@pytest.mark.parametrize(("question", "argument"), [(wait, 0.1), (large_answer, 60_000)])
@pytest_twisted.ensureDeferred
async def test_what_was_answered_while_the_reactor_stood_still_is_an_answer(
    question: Any, argument: Any
) -> None:
    made = ProcessReaders(reactor, 1, open_state, ("Ada",), 1.0)
    first = await when_it_answers(made)
    answer = made.ask(question, argument)
    # timers come after this, and what lies in the pipes after them
    reactor.callFromThread(stand_still)  # type: ignore[attr-defined]
    assert await answer == question({}, argument)
    assert (await when_it_answers(made), made.restarts) == (first, 0)
    await made.stop()


@pytest_twisted.ensureDeferred
async def test_a_reactor_that_stood_still_makes_no_reader_hang() -> None:
    made = ProcessReaders(reactor, 1, open_state, ("Ada",), 1.0)
    first = await when_it_answers(made)
    unwanted = made.ask(wait, 0.1)
    unwanted.addErrback(lambda failure: failure.trap(defer.CancelledError))
    reactor.callFromThread(stand_still, unwanted.cancel)  # type: ignore[attr-defined]
    await unwanted
    assert (await when_it_answers(made), made.restarts) == (first, 0)
    await made.stop()


@pytest_twisted.ensureDeferred
async def test_a_reader_that_cannot_be_started_is_tried_again(monkeypatch: Any) -> None:
    spawn = reactor.spawnProcess
    failures = [OSError(errno.EAGAIN, "no more processes"), OSError(errno.EMFILE, "no files")]

    def scarce(*arguments: Any, **more: Any) -> Any:
        if failures:
            raise failures.pop()
        return spawn(*arguments, **more)

    monkeypatch.setattr(reactor, "spawnProcess", scarce)
    made = ProcessReaders(reactor, 1, open_state, ("Ada",), PATIENCE)
    assert made.pids == []
    # who asks meanwhile waits
    assert await made.ask(greet, "Hello") == "Hello, Ada"
    assert (failures, made.unanswered) == ([], 0)
    await made.stop()


@pytest_twisted.ensureDeferred
async def test_many_large_questions_leave_room_for_small_ones(
    readers: Any, monkeypatch: Any
) -> None:
    await readers.ask(greet, "Hello")
    large = [readers.ask(wait, 0.01, large=True) for _ in range(MOST_WAITING[True] + 1)]
    refused = large.pop()
    with pytest.raises(errors.Unavailable, match="Too many"):
        await refused
    assert await readers.ask(greet, "Still") == "Still, Ada"
    await defer.gatherResults(large)


@pytest_twisted.ensureDeferred
async def test_what_hangs_in_a_thread_does_not_hold_up_the_reactor(monkeypatch: Any) -> None:
    let_go = threading.Event()
    made = ThreadReaders.of_our_own(reactor, {}, PATIENCE)
    hanging = made.ask(lambda state: let_go.wait(60))
    hanging.addErrback(lambda failure: None)
    await task.deferLater(reactor, 0.1)
    begun = time.monotonic()
    stopping = made.stop()
    assert time.monotonic() - begun < 1
    await stopping
    assert GRACE - 0.5 < time.monotonic() - begun < GRACE + PATIENCE
    let_go.set()


#: A program whose readers hang when it ends: in the end of the master, or without it.
HANGING = """
import sys, time
from twisted.internet import reactor
from buildbot_selfserve.readers.threads import ThreadReaders
readers = ThreadReaders.of_our_own(reactor, {}, 60)
readers.ask(lambda state: time.sleep(3600)).addErrback(lambda _: None)
def stop():
    done = readers.stop() if "stopped" in sys.argv else readers.ask(str)
    done.addBoth(lambda _: reactor.stop())
reactor.callLater(0.2, stop)
reactor.callLater(3, lambda: reactor.running and reactor.stop())
reactor.run()
"""


@pytest.mark.parametrize("how", ["stopped", "left"])
def test_what_hangs_in_a_thread_does_not_hold_up_the_end(how: str) -> None:
    subprocess.run([sys.executable, "-c", HANGING, how], check=True, timeout=PATIENCE / 5)


@pytest_twisted.ensureDeferred
async def test_a_question_whose_reader_is_killed_is_asked_again(tmp_path: Any) -> None:
    made = ProcessReaders(reactor, 1, open_state, ("Ada",), PATIENCE)
    assert await made.ask(die_once, str(tmp_path / "marker")) == "alive"
    await made.stop()


@pytest_twisted.ensureDeferred
async def test_a_question_that_kills_its_readers_is_given_up(processes: Any) -> None:
    with pytest.raises(errors.Unavailable, match="died twice"):
        await processes.ask(die)
    assert await processes.ask(greet, "Still") == "Still, Ada"


@pytest_twisted.ensureDeferred
async def test_what_is_printed_is_no_answer(processes: Any) -> None:
    assert await processes.ask(chatter) == "quiet"


@pytest_twisted.ensureDeferred
async def test_nobody_is_left_when_they_are_stopped() -> None:
    made = ProcessReaders(reactor, 2, open_state, ("Ada",), PATIENCE)
    (pid, other) = made.pids
    await made.ask(greet, "Hello")
    hanging = made.ask(wait, 3600)
    await made.stop()
    with pytest.raises(errors.Unavailable, match="shutting down"):
        await hanging
    assert not psutil.pid_exists(pid)
    assert not psutil.pid_exists(other)


@pytest_twisted.ensureDeferred
async def test_a_client_that_goes_away_takes_its_question_along(processes: Any) -> None:
    await processes.ask(greet, "Hello")
    first = processes.ask(wait, 0.5)
    unwanted = processes.ask(wait, 3600)
    unwanted.addErrback(lambda failure: failure.trap(defer.CancelledError))
    unwanted.cancel()
    assert await first == "waited"
    assert await processes.ask(greet, "Still") == "Still, Ada"


# -- in a master


@pytest.fixture
def process_master(tmp_path: Path) -> Iterator[ProcessMaster]:
    """Run a master that starts as users start theirs, as its readers do."""
    running = ProcessMaster(tmp_path, begin=subprocess.Popen)
    running.start()
    yield running
    running.stop()


def children_of(pid: int) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [one for one in found if "readers.child" in " ".join(one.cmdline())]


def test_a_master_has_one_reader_that_ends_with_it(process_master: ProcessMaster) -> None:
    (reader,) = children_of(process_master.pid)
    assert "state.sqlite" not in " ".join(reader.cmdline())
    process_master.stop()
    psutil.wait_procs([reader], PATIENCE)
    assert not reader.is_running()
    process_master.start()
    (reader,) = children_of(process_master.pid)
    process_master.kill()
    psutil.wait_procs([reader], PATIENCE)
    assert not reader.is_running()
    process_master.start()


def test_reconfigs_leave_the_reader_alone(process_master: ProcessMaster) -> None:
    (reader,) = children_of(process_master.pid)

    def reconfigs() -> int:
        return process_master.log.count("configuration update complete")

    for number in range(1, 4):
        process_master.reconfig()
        process_master.until(partial(_is, reconfigs, number), "the reconfig is done")
    assert children_of(process_master.pid) == [reader]
    assert process_master.get("/branches") == {}


def _is(count: Callable[[], int], number: int) -> bool:
    return count() == number


def test_a_reader_that_is_killed_is_replaced(process_master: ProcessMaster) -> None:
    (reader,) = children_of(process_master.pid)
    reader.kill()
    assert process_master.get("/branches") == {}
    (other,) = process_master.until(lambda: children_of(process_master.pid), "another is there")
    assert other.pid != reader.pid


def test_a_daemon_has_its_reader_too(tmp_path: Any) -> None:
    master = ProcessMaster(tmp_path, begin=subprocess.Popen)
    pid = master.start_daemon()
    (reader,) = children_of(pid)
    assert master.get("/branches") == {}
    master.command("restart")
    psutil.wait_procs([reader], PATIENCE)
    assert not reader.is_running()
    pid = int((tmp_path / "twistd.pid").read_text())
    (reader,) = master.until(lambda: children_of(pid), "the reader starts")
    assert master.until(lambda: master.get("/branches") == {}, "it answers")
    master.command("stop")
    psutil.wait_procs([reader], PATIENCE)
    assert not reader.is_running()


@pytest_twisted.ensureDeferred
async def test_a_reader_costs_the_reactor_nothing_while_it_works(processes: Any) -> None:
    """The reactor turns while a reader is busy: not a timing, but that it turns at all."""
    await processes.ask(greet, "Hello")
    turns = 0

    def turn() -> None:
        nonlocal turns
        turns += 1

    turning = task.LoopingCall(turn)
    turning.start(0.01)
    await processes.ask(wait, 0.5)
    turning.stop()
    assert turns > 10
