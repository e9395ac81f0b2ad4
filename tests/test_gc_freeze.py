"""What stays in a master is put aside, so that Python's garbage collector need not look at it."""

from __future__ import annotations

import gc
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.task import Clock

from buildbot_selfserve.gc_freeze import SETTLED
from buildbot_selfserve.gc_freeze import GcFreeze
from tests.process_master import ProcessMaster


class Cycle:
    """Garbage that only the collector finds."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    gc.unfreeze()
    yield
    gc.unfreeze()


def test_what_is_there_when_the_master_has_come_to_rest_is_put_aside() -> None:
    clock = Clock()
    garbage = GcFreeze(clock.callLater)
    garbage.freeze_when_idle()
    clock.advance(SETTLED - 1)
    garbage.freeze_when_idle()
    clock.advance(SETTLED - 1)
    assert not gc.get_freeze_count()
    clock.advance(1)
    assert gc.get_freeze_count() > 10_000
    garbage.stop()
    assert not gc.get_freeze_count()
    assert not clock.getDelayedCalls()


def test_what_a_reconfig_has_replaced_is_let_go_of() -> None:
    clock = Clock()
    garbage = GcFreeze(clock.callLater)
    old: Any = Cycle()
    gone = weakref.ref(old)
    garbage.freeze_when_idle()
    clock.advance(SETTLED)
    del old
    gc.collect()
    assert gone() is not None
    garbage.freeze_when_idle()
    clock.advance(SETTLED)
    assert gone() is None
    garbage.stop()


def test_what_somebody_else_has_put_aside_stays_there() -> None:
    clock = Clock()
    gc.freeze()
    aside = gc.get_freeze_count()
    garbage = GcFreeze(clock.callLater)
    garbage.freeze_when_idle()
    clock.advance(SETTLED)
    garbage.stop()
    assert gc.get_freeze_count() >= aside - 100


def test_one_that_is_stopped_before_does_nothing() -> None:
    clock = Clock()
    garbage = GcFreeze(clock.callLater)
    garbage.freeze_when_idle()
    garbage.stop()
    clock.advance(SETTLED)
    assert not gc.get_freeze_count()


PROBED = """
import gc
from buildbot.util.service import BuildbotService
from twisted.internet import task

class Count(BuildbotService):
    def startService(self):
        self.loop = task.LoopingCall(self.say)
        self.loop.start(0.5)
        return super().startService()
    def say(self):
        print("put aside:", gc.get_freeze_count() > 10000, flush=True)

c["services"] = [Count(name="count")]
"""


@pytest.mark.parametrize("allowed", [True, pytest.param(False, marks=pytest.mark.heavy)])
def test_a_master_is_spared_if_its_operator_lets_us(tmp_path: Path, allowed: bool) -> None:
    selfserve = f"util.SelfServe(gc_freeze={allowed})"
    master = ProcessMaster(tmp_path, selfserve=selfserve, more=PROBED)
    master.start()
    try:
        if allowed:
            master.until(lambda: "put aside: True" in master.log, "it is spared")
        else:
            time.sleep(SETTLED + 1)
            assert "put aside: True" not in master.log
    finally:
        master.stop()
