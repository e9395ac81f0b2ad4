"""Every private attribute of Buildbot's that self-serve touches is still there."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
from buildbot.changes.changes import Change
from buildbot.changes.filter import ChangeFilter
from buildbot.locks import BaseLock
from buildbot.locks import MasterLock
from buildbot.plugins import schedulers
from buildbot.process.botmaster import BotMaster
from buildbot.process.build import Build
from buildbot.process.buildstep import BuildStep
from buildbot.secrets.providers.file import SecretInAFile
from buildbot.util.codebase import AbsoluteSourceStampsMixin
from buildbot.util.service import BuildbotService
from twisted.internet import defer

import buildbot_selfserve
from buildbot_selfserve import buildbot_private

PACKAGE = Path(buildbot_selfserve.__file__).parent


@pytest_twisted.ensureDeferred
async def test_a_running_master_is_initialized(master: Any) -> None:
    assert buildbot_private.is_initialized(master.master) is True


def test_a_service_keeps_what_it_was_configured_with(tmp_path: Path) -> None:
    provider = SecretInAFile(str(tmp_path), strip=False)
    arguments, named = buildbot_private.config_arguments(provider)
    assert arguments == (str(tmp_path),)
    assert named == {"strip": False}


def test_a_scheduler_forgets_its_last_codebases() -> None:
    scheduler = schedulers.SingleBranchScheduler(
        "s", builderNames=["b"], change_filter=ChangeFilter(branch="main"), treeStableTimer=None
    )
    assert isinstance(scheduler, AbsoluteSourceStampsMixin)
    assert hasattr(scheduler, "_lastCodebases")
    scheduler._lastCodebases = {"app": {"revision": "old"}}
    buildbot_private.forget_last_codebases(scheduler)
    assert scheduler._lastCodebases is None


def test_a_scheduler_that_keeps_no_codebases_is_left_alone() -> None:
    kept = object()
    buildbot_private.forget_last_codebases(kept)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({"branch": "main"}, {"main"}),
        ({"branch": ["main", "release"]}, {"main", "release"}),
        ({"branch": None}, set()),
        ({"branch_re": "rel.*"}, set()),
        ({"branch_fn": lambda name: True}, set()),
        ({"project": "main"}, set()),
    ],
)
def test_a_filter_tells_its_branches(given: dict[str, Any], named: set[str]) -> None:
    assert buildbot_private.branches_of_filter(ChangeFilter(**given)) == named


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"branch": "main"}, True),
        ({"branch_not_eq": "main"}, False),
        ({"branch_re": "ma"}, True),
        ({"branch": "other", "project": "p"}, False),
        ({"branch": "main", "project": "q", "filter_fn": lambda change: 1 / 0}, True),
        ({"codebase": "lib"}, False),
        ({"property_eq": {"branch": "x"}}, True),
        ({}, True),
    ],
)
def test_a_filter_takes_parts_of_a_change(given: dict[str, Any], taken: bool) -> None:
    change = Change(who="", files=[], comments="", branch="main", codebase="app", project="p")
    parts = ("branch", "codebase")
    assert buildbot_private.takes_parts(ChangeFilter(**given), change, parts) is taken
    assert buildbot_private.takes_parts(None, change, parts) is True


def test_no_filter_names_no_branch() -> None:
    assert buildbot_private.branches_of_filter(None) == set()


def test_a_service_can_have_another_master() -> None:
    service, master = BuildbotService(name="one"), object()
    same = buildbot_private.with_master(service, master)
    assert same.master is master
    assert isinstance(same, BuildbotService)
    same.mark = 1
    assert service.mark == 1  # it is the same object in all else


@pytest_twisted.ensureDeferred
async def test_a_master_tells_of_its_builders(master: Any) -> None:
    botmaster = master.master.botmaster
    by_id = buildbot_private.builders_by_id(botmaster)
    assert {builder.name for builder in by_id.values()} == {"fast", "slow", "opt/mac #1"}
    assert all(botmaster.getBuilderById(one) is builder for one, builder in by_id.items())
    botmaster._pending_builderids.add(7)
    botmaster.brd._pending_builders.append("fast")
    assert buildbot_private.builders_to_look_at(botmaster) == ({7}, {"fast"})
    botmaster._pending_builderids.clear()
    botmaster.brd._pending_builders.clear()
    botmaster.add_in_progress_buildrequest(5)
    assert buildbot_private.starting_requests(botmaster) == {5}
    botmaster.remove_in_progress_buildrequest(5)
    assert buildbot_private.starting_requests(botmaster) == frozenset()


def test_a_master_that_is_not_configured_yet_has_no_builders() -> None:
    assert buildbot_private.builders_by_id(BotMaster()) == {}


@pytest_twisted.ensureDeferred
async def test_a_worker_tells_why_nothing_starts_there(master: Any) -> None:
    worker = master.master.workers.workers["worker"]
    assert buildbot_private.pause(worker) == (False, None)
    worker.pause("new disk")
    assert buildbot_private.pause(worker) == (True, "new disk")
    assert buildbot_private.is_graceful(worker) is False
    worker._graceful = True
    assert buildbot_private.is_graceful(worker) is True
    worker._graceful = False


@pytest_twisted.ensureDeferred
async def test_a_build_tells_its_builder_and_that_it_waits_for_nothing(master: Any) -> None:
    await master.running_build(await master.add_request("slow"))
    builder = master.master.botmaster.builders["slow"]
    (build,) = builder.building
    assert buildbot_private.builder_of(build) == await builder.getBuilderId()
    await master.until(lambda: not build._is_substantiating, "its worker is there")
    assert buildbot_private.waits_for_worker(build) is False
    assert buildbot_private.lock_waited_for(build) is None
    await master.until(lambda: build.currentStep, "its step runs")
    assert buildbot_private.lock_of_step(build.currentStep) is None


def test_a_lock_tells_how_it_is_used_and_who_waits_for_it() -> None:
    lock, access = BaseLock("one", 3), MasterLock("one").access
    assert buildbot_private.lock_use(lock) == (False, 0)
    lock.claim(holder := object(), access("counting", 2))
    assert buildbot_private.lock_use(lock) == (False, 2)
    build, step = SimpleNamespace(), SimpleNamespace()
    exclusive = access("exclusive")
    deferred = lock.waitUntilMaybeAvailable(build, exclusive)
    build._acquiringLock = (lock, exclusive, deferred)
    assert buildbot_private.lock_waited_for(build) is lock
    lock.waitUntilMaybeAvailable(step, exclusive)
    step._waitingForLocks, step._acquiringLocks = True, [(lock, exclusive, None)]
    assert buildbot_private.lock_of_step(step) is lock
    lock.release(holder, access("counting", 2))
    lock.claim(build, exclusive)
    assert buildbot_private.lock_use(lock) == (True, 0)
    assert buildbot_private.lock_waited_for(build) is None


def test_builds_and_steps_have_these_attributes() -> None:
    for name in ("_acquiringLock", "_is_substantiating", "_builderid"):
        assert f"self.{name} = " in inspect.getsource(Build)
    assert BuildStep._waitingForLocks is False
    assert "self._acquiringLocks" in inspect.getsource(BuildStep)


def private_attributes(tree: ast.Module) -> list[ast.Attribute]:
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr[:1] == "_" and node.attr[:2] != "__"
    ]


def private_of_others(tree: ast.Module) -> set[str]:
    """Return the private attributes that a module uses, but those of its own classes."""
    every = private_attributes(tree)
    own = {
        node.attr
        for node in every
        if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
    }
    return {node.attr for node in every} - own


def test_private_attributes_of_others_are_touched_there_alone() -> None:
    found = {
        str(path.relative_to(PACKAGE)): private_of_others(ast.parse(path.read_text("utf-8")))
        for path in PACKAGE.rglob("*.py")
        # the client knows nothing of Buildbot
        if path.name != "buildbot_private.py" and "client" not in path.parts
    }
    of_python = {"_make", "_replace", "_exit"}  # of named tuples and of os
    assert {name: which - of_python for name, which in found.items() if which - of_python} == {}


@pytest_twisted.ensureDeferred
async def test_a_distributor_does_not_see_what_is_held(master: Any) -> None:
    brd = master.master.botmaster.brd
    asked: list[tuple[str, list[int]]] = []
    ids: set[int] = set()

    def held(builder: Any, requests: Any) -> Any:
        asked.append((builder.name, [one["buildrequestid"] for one in requests]))
        assert all({"buildsetid", "priority", "waited_for"} <= set(one) for one in requests)
        return defer.succeed(ids)

    end = buildbot_private.filter_requests(brd, held)
    again = buildbot_private.filter_requests(brd, held)
    master.pause()
    first, second = await master.add_request(), await master.add_request(branch="b")
    ids.add(first)
    master.resume()
    await master.completed(second)
    assert not (await master.data("buildrequests", first))["claimed"]
    await master.until(lambda: asked[-1] == ("fast", [first]), "it is asked of what is left")
    assert ("fast", [second]) in asked  # once more, right before it starts
    # the inner one ends first, as if somebody had wrapped it
    number = len(asked)
    end()
    await master.add_request(branch="c")
    await master.until(lambda: len(asked) > number, "the other one is asked")
    again()
    ids.clear()
    master.master.botmaster.maybeStartBuildsForAllBuilders()
    await master.completed(first)
