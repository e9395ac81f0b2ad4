"""Deadlines go by real time, whatever somebody does to the clock of the machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from twisted.internet import defer
from twisted.internet import error
from twisted.internet import reactor
from twisted.internet import task

from buildbot_selfserve import clock
from buildbot_selfserve import plugin
from tests import harness

#: What somebody may do to the clock of the machine, in seconds.
JUMPS = [-600.0, 3600.0]


class WallClock:
    """The wall clock as the reactor and the whole process see it, which can be set."""

    def __init__(self) -> None:
        self._real = time.time
        self.offset = 0.0

    def time(self) -> float:
        return self._real() + self.offset


@pytest.fixture
def wall(monkeypatch: Any) -> Iterator[WallClock]:
    """Provide the wall clock; at the end the reactor gets the real one back."""
    wall = WallClock()
    monkeypatch.setattr(reactor, "seconds", wall.time)
    monkeypatch.setattr(time, "time", wall.time)
    for call in reactor.getDelayedCalls():
        # it keeps the clock that it was planned by
        monkeypatch.setattr(call, "seconds", wall.time)
    yield wall
    jump, wall.offset = wall.offset, 0.0
    for call in reactor.getDelayedCalls():
        call.reset(max(0.0, call.getTime() - jump - wall.time()))


@pytest.mark.parametrize("jump", JUMPS)
@pytest_twisted.ensureDeferred
async def test_a_timer_comes_in_time(wall: WallClock, jump: float) -> None:
    ours = clock.monotonic(reactor)
    begun = time.monotonic()
    waiting: defer.Deferred[None] = task.deferLater(ours, 1.5)
    putting_off = ours.callLater(0.1, lambda: None)
    putting_off.reset(60)
    wall.offset = jump
    await waiting
    assert 1.4 < time.monotonic() - begun < 1.5 + 2 * clock.LOOK_INTERVAL
    assert putting_off.active()
    putting_off.cancel()


@pytest.mark.parametrize("step", [0.15, 0.19, 3600.0])
@pytest_twisted.ensureDeferred
async def test_no_timer_comes_too_early(wall: WallClock, step: float) -> None:
    ours = clock.Clock(reactor)
    begun = time.monotonic()
    waiting: defer.Deferred[None] = task.deferLater(ours, 0.18)
    wall.offset = step
    await waiting
    assert time.monotonic() - begun > 0.18 - 2 * clock.EARLY


@pytest_twisted.ensureDeferred
async def test_a_timer_from_before_comes_in_time(request: Any) -> None:
    begun = time.monotonic()
    waiting: defer.Deferred[None] = task.deferLater(clock.monotonic(reactor), 1.5)
    request.getfixturevalue("wall").offset = min(JUMPS)
    await waiting
    assert time.monotonic() - begun < -min(JUMPS) / 2


@pytest_twisted.ensureDeferred
async def test_a_timer_comes_in_time_though_the_clock_is_set_again(wall: WallClock) -> None:
    ours = clock.Clock(reactor)
    begun = time.monotonic()
    for _ in range(2):
        wall.offset = 0.0
        waiting: defer.Deferred[None] = task.deferLater(ours, clock.LOOK_INTERVAL / 2)
        wall.offset = min(JUMPS)
        await waiting
    assert time.monotonic() - begun < -min(JUMPS) / 2


@pytest_twisted.ensureDeferred
async def test_a_turn_comes_in_time(wall: WallClock) -> None:
    begun = time.monotonic()
    turn = defer.ensureDeferred(clock.next_turn(reactor))
    wall.offset = min(JUMPS)
    await turn
    assert time.monotonic() - begun < -min(JUMPS) / 2


@pytest_twisted.ensureDeferred
async def test_a_jump_is_seen_though_the_thread_begins_late(
    wall: WallClock, monkeypatch: Any
) -> None:
    class Late(threading.Thread):
        def run(self) -> None:
            time.sleep(0.5)
            super().run()

    monkeypatch.setattr(threading, "Thread", Late)
    ours = clock.Clock(reactor)
    begun = time.monotonic()
    waiting: defer.Deferred[None] = task.deferLater(ours, 1)
    wall.offset = min(JUMPS)
    await waiting
    assert time.monotonic() - begun < -min(JUMPS) / 2


@pytest_twisted.ensureDeferred
async def test_it_is_a_clock_as_the_reactor_is() -> None:
    ours = clock.monotonic(reactor)
    assert clock.monotonic(reactor) is ours
    called: list[str] = []
    first = ours.callLater(0, called.append, "first")
    second = ours.callLater(0.05, called.append, "second")
    second.delay(60)
    assert second.getTime() - ours.seconds() > 59
    assert second in ours.getDelayedCalls()
    await task.deferLater(ours, 0.1)
    assert called == ["first"]
    assert not first.active()
    with pytest.raises(error.AlreadyCalled):
        first.cancel()
    second.cancel()
    assert second not in ours.getDelayedCalls()
    with pytest.raises(error.AlreadyCancelled):
        second.reset(1)


def impatient() -> Any:
    return harness.config(util.SelfServe(timeout=2))


@pytest.mark.parametrize("jump", JUMPS)
@pytest.mark.parametrize("master", [impatient], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_reader_that_hangs_is_given_up_and_replaced(
    master: Any, wall: WallClock, jump: float
) -> None:
    await master.add_request()
    assert (await master.get("/self-serve/main")).status == 200
    readers = plugin.application._service.backend.readers
    (pid,) = readers.pids
    os.kill(pid, signal.SIGSTOP)
    begun = time.monotonic()
    asked = defer.ensureDeferred(master.get("/self-serve/main/builders"))
    # what the reactor has planned before, such as each turn of Twisted's, would come too late
    await master.until(lambda: readers.unanswered, "the reader is asked")
    await task.deferLater(reactor, 0.1)
    wall.offset = jump
    assert (await asked).status == 503
    assert 1.8 < time.monotonic() - begun < -min(JUMPS) / 2
    while readers.pids == [pid] or not readers.restarts:
        assert time.monotonic() - begun < -min(JUMPS) / 2
        await task.deferLater(clock.monotonic(reactor), 0.1)
