"""Why a build request waits: each cause is made on a real master, and has to be named."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import schedulers
from buildbot.plugins import steps
from buildbot.plugins import util
from buildbot.plugins import worker
from buildbot.process.builder import enforceChosenWorker
from buildbot.worker.latent import AbstractLatentWorker
from twisted.internet import defer

from buildbot_selfserve import plugin
from buildbot_selfserve.control.explain import collect
from tests.harness import Config
from tests.harness import config


class Sleepy(AbstractLatentWorker):
    """A latent worker that takes as long to start as the test likes."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.started: defer.Deferred[bool] = defer.Deferred()
        self.stopped: defer.Deferred[bool] = defer.succeed(True)

    def start_instance(self, build: Any) -> Any:
        return self.started

    def stop_instance(self, fast: bool = False) -> Any:
        return self.stopped


class Choosy(worker.LocalWorker):
    """A worker that suits no build."""

    builds_may_be_incompatible = True

    def isCompatibleWithBuild(self, build_props: Any) -> Any:
        return defer.succeed(False)


class Locked(worker.LocalWorker):
    """A worker whose locks are nobody's business."""

    def locksAvailable(self) -> bool:
        return False


def with_builders(*builders: Any, workers: Any = (), **more: Any) -> Callable[[], Config]:
    """Return what makes a configuration with what these functions make beside the usual."""

    def make() -> Config:
        made = config()
        made["collapseRequests"] = False
        made["workers"] += [one() for one in workers]
        more_builders = [one() for one in builders]
        made["builders"] += more_builders
        names = [one.name for one in more_builders]
        made["schedulers"].append(schedulers.Triggerable(name="more", builderNames=names))
        made.update({name: one() for name, one in more.items()})
        return made

    return make


def on(
    workers: list[str], name: str = "b", command: str = "true", **more: Any
) -> Callable[[], Any]:
    def make() -> Any:
        factory = util.BuildFactory([steps.ShellCommand(command=["sh", "-c", command])])
        given = {key: one() if key == "locks" else one for key, one in more.items()}
        return util.BuilderConfig(name=name, workernames=workers, factory=factory, **given)

    return make


def local(name: str, **more: Any) -> Callable[[], Any]:
    return lambda: worker.LocalWorker(
        name, **{k: v() if k == "locks" else v for k, v in more.items()}
    )


def running_on(make: Callable[[], Config]) -> Any:
    return pytest.mark.parametrize("master", [make], indirect=True)


async def ask(master: Any, request_id: int) -> Any:
    """Return why a request waits, as it is answered; nothing of Buildbot's must change by it."""
    before = known_objects(master)
    answer = await master.get(f"/self-serve/main/request/{request_id}/why")
    assert answer.status == 200, answer.text
    assert known_objects(master) == before
    return answer.json


def known_objects(master: Any) -> Any:
    """Return what a question could create: services, locks, and the locks of workers."""
    services = master.master.botmaster.namedServices
    of_workers = {
        name: sorted(one.locks)
        for name, one in services.items()
        if hasattr(one, "maxCountForWorker")
    }
    return sorted(services), of_workers


async def first(master: Any, request_id: int, code: str) -> Any:
    """Return the first reason why a request waits, which must be *code*, perhaps in a moment."""

    async def found() -> Any:
        told = await ask(master, request_id)
        assert told["reasons"] or told["state"] == "running", told
        reason = told["reasons"][0] if told["reasons"] else {"code": None}
        if reason["code"] not in (code, "starting", None):
            pytest.fail(f"not {code}: {json.dumps(told['reasons'])}")
        return reason if reason["code"] == code else None

    return await master.until(found, f"{request_id} waits for {code}")


async def let_time_pass(master: Any, request_id: int) -> None:
    """Let a request have waited for some minutes."""

    def write(connection: Any) -> None:
        earlier = "UPDATE buildrequests SET submitted_at = submitted_at - 300 WHERE id = "
        connection.execute(sa.text(f"{earlier}{request_id}"))
        connection.commit()

    await master.master.db.pool.do(write)


async def stop(master: Any, request_id: int) -> None:
    """Stop the builds of a request."""
    for one in await master.data("buildrequests", request_id, "builds"):
        key = ("control", "builds", str(one["buildid"]), "stop")
        master.master.mq.produce(key, {"reason": ""})


def master_locks(master: Any) -> list[Any]:
    services = master.master.botmaster.namedServices.values()
    return [one for one in services if hasattr(one, "owners")]


def worker_of(master: Any, name: str) -> Any:
    return master.master.workers.workers[name]


async def connected(master: Any, name: str, builder_name: str) -> None:
    """Wait until a worker is ready for a builder."""
    ready = master.master.botmaster.builders[builder_name]
    await master.until(
        lambda: [one for one in ready.workers if one.worker.workername == name], f"{name} is ready"
    )


# -- the workers


@running_on(with_builders(on(["worker"], command="sleep 60")))
@pytest_twisted.ensureDeferred
async def test_its_worker_is_busy(master: Any) -> None:
    build = await master.running_build(await master.add_request("b"))
    told = await ask(master, waiting := await master.add_request("b"))
    assert (told["request_id"], told["state"]) == (waiting, "pending")
    assert (told["position"], told["ahead"]) == (1, 0)
    assert told["eta"] is None
    assert told["eta_reason"]
    (reason,) = told["reasons"]
    assert (reason["code"], reason["workers"]) == ("workers_busy", ["worker"])
    assert [one["build_id"] for one in reason["builds"]] == [build["buildid"]]
    assert (reason["blocking"], reason["capacity"], reason["fatal"]) == (True, True, False)
    running = await ask(master, build["buildrequestid"])
    assert (running["state"], running["position"], running["reasons"]) == ("running", None, [])


@running_on(
    with_builders(
        on(["one"], "slow1", "sleep 60"),
        on(["one"]),
        on(["one"], "needy", locks=lambda: [LOCK.access("exclusive")]),
        on(["worker"], "holder", "sleep 60", locks=lambda: [LOCK.access("exclusive")]),
        workers=[local("one", max_builds=1)],
    )
)
@pytest_twisted.ensureDeferred
async def test_its_worker_has_as_many_builds_as_it_takes(master: Any) -> None:
    build = await master.running_build(await master.add_request("slow1"))
    early = await master.add_request("b")
    reason = await first(master, early, "workers_busy")
    assert [one["build_id"] for one in reason["builds"]] == [build["buildid"]]
    # another builder's request for the same worker comes first
    urgent = await master.add_request("slow1", priority=5)
    # but not one that waits for something else, too
    await master.running_build(await master.add_request("holder"))
    await master.add_request("needy", priority=9)
    late = await master.add_request("b")
    told = await ask(master, late)
    assert [one["code"] for one in told["reasons"]] == ["behind", "workers_busy", "behind"]
    assert told["reasons"][0]["requests"] == [early]
    assert told["reasons"][2]["requests"] == [urgent]
    assert "slow1" in told["reasons"][2]["msg"]
    # the queue says the same
    rows = (await master.get("/self-serve/pending")).json["requests"]
    assert [one["reason"] for one in rows if one["request_id"] == late] == told["reasons"][:1]


@pytest_twisted.ensureDeferred
async def test_its_worker_is_paused_or_shuts_down_or_is_in_quarantine(master: Any) -> None:
    one = worker_of(master, "worker")
    await connected(master, "worker", "fast")
    one.pause("new disk")
    request_id = await master.add_request()
    reason = await first(master, request_id, "worker_paused")
    assert "new disk" in reason["msg"]
    assert reason["workers"] == ["worker"]
    # one that another master was faster with stays where those are that start
    master.master.botmaster.add_in_progress_buildrequest(request_id)
    await first(master, request_id, "worker_paused")
    # it is what matters also where others come first
    second = await ask(master, await master.add_request("slow"))
    assert second["reasons"][0]["code"] == "worker_paused"
    one._paused = False
    one.putInQuarantine()
    reason = await first(master, request_id, "worker_quarantined")
    assert abs(reason["until"] - time.time()) < 60
    one.stopQuarantineTimer()
    await master.completed(request_id)
    one._graceful = True
    request_id = await master.add_request()
    reason = await first(master, request_id, "worker_graceful")
    assert not reason["fatal"]
    await one.disconnect()
    await first(master, request_id, "no_worker_connected")  # it is down
    one._graceful = False


@running_on(with_builders(on(["never", "nor"]), workers=[local("never"), local("nor")]))
@pytest_twisted.ensureDeferred
async def test_no_worker_is_connected(master: Any) -> None:
    for name in ("never", "nor"):
        await connected(master, name, "b")
        await worker_of(master, name).disconnect()
    request_id = await master.add_request("b")
    reason = await first(master, request_id, "no_worker_connected")
    assert (reason["workers"], reason["capacity"]) == (["never", "nor"], True)
    # where one is there, that one matters
    worker_of(master, "nor").pause("away")
    told = await ask(master, request_id)
    codes = [one["code"] for one in told["reasons"]]
    assert codes[0] == "worker_paused"
    assert "no_worker_connected" in codes


@running_on(
    with_builders(
        on(["worker", "away"], command="sleep 60"),
        workers=[local("away")],
    )
)
@pytest_twisted.ensureDeferred
async def test_one_worker_is_busy_and_another_away(master: Any) -> None:
    await connected(master, "away", "b")
    await worker_of(master, "away").disconnect()
    await master.running_build(await master.add_request("b"))
    told = await ask(master, await master.add_request("b"))
    assert [one["code"] for one in told["reasons"]] == ["workers_busy", "worker_not_connected"]
    assert told["reasons"][1]["workers"] == ["away"]


def without_workers() -> Any:
    made = on(["worker"])()
    made.workernames = []
    return made


@running_on(with_builders(without_workers))
@pytest_twisted.ensureDeferred
async def test_the_builder_has_no_workers(master: Any) -> None:
    request_id = await master.add_request("b")
    reason = await first(master, request_id, "builder_has_no_workers")
    assert reason["fatal"]
    assert reason["capacity"]
    # another master may have some
    await add_master(master, request_id, "worker")
    told = await ask(master, request_id)
    assert [one["code"] for one in told["reasons"]] == ["unknown", "builder_has_no_workers"]
    assert not any(one["fatal"] for one in told["reasons"])


@running_on(
    with_builders(on(["sleepy"]), on(["sleepy"], "c"), workers=[lambda: Sleepy("sleepy", None)])
)
@pytest_twisted.ensureDeferred
async def test_a_latent_worker_starts(master: Any) -> None:
    sleepy = worker_of(master, "sleepy")
    request_id = await master.add_request("b")
    reason = await first(master, request_id, "worker_starting")
    assert reason["workers"] == ["sleepy"]
    # it starts for that one, and so not for another builder's
    other = await first(master, waiting := await master.add_request("c"), "worker_starting")
    assert other["builds"][0]["buildername"] == "b"
    # it stops slowly, and meanwhile it is wanted again
    sleepy.stopped = defer.Deferred()
    await stop(master, request_id)
    sleepy.started.callback(False)
    await master.completed(request_id)
    sleepy.stopQuarantineTimer()
    sleepy.botmaster.maybeStartBuildsForWorker("sleepy")

    async def stopping() -> Any:
        (reason,) = (await ask(master, waiting))["reasons"]
        return reason["code"] == "worker_starting" and "stops first" in reason["msg"]

    await master.until(stopping, "it stops first")
    await stop(master, waiting)
    sleepy.pause("")
    sleepy.stopped.callback(True)
    await master.until(lambda: not sleepy.building, "nothing starts any more")
    # one that is disconnected has left its builders
    sleepy.unpause()
    sleepy.stopQuarantineTimer()
    sleepy.disconnect()
    await first(master, await master.add_request("c"), "no_worker_connected")


@running_on(
    with_builders(
        on(["choosy"]),
        on(["locked"], "c"),
        workers=[lambda: Choosy("choosy"), lambda: Locked("locked")],
    )
)
@pytest_twisted.ensureDeferred
async def test_a_worker_of_the_operators_takes_only_some_builds(master: Any) -> None:
    await connected(master, "choosy", "b")
    reason = await first(master, await master.add_request("b"), "unknown")
    assert reason["workers"] == ["choosy"]
    await connected(master, "locked", "c")
    reason = await first(master, await master.add_request("c"), "held_back_by_configuration")
    assert reason["workers"] == ["locked"]


@pytest_twisted.ensureDeferred
async def test_a_worker_does_not_know_a_new_builder_yet(master: Any) -> None:
    await connected(master, "worker", "fast")
    known: defer.Deferred[None] = defer.Deferred()
    connection = worker_of(master, "worker").conn
    connection.remotePrint = lambda message: known
    done = defer.ensureDeferred(master.reconfig(with_builders(on(["worker"]))))
    try:
        await master.until(lambda: "b" in master.master.botmaster.builders, "it is there")
        reason = await first(master, await master.add_request("b"), "worker_starting")
        assert "not ready for builder b" in reason["msg"]
    finally:
        del connection.remotePrint
        known.callback(None)
    await done


# -- locks

LOCK: Any = util.MasterLock("the lock")
COUNTED = util.MasterLock("three", maxCount=3)
DISK = util.WorkerLock("disk", maxCount=1, maxCountForWorker={"large": 2})


def held(lock: Any, amount: int = 1, mode: str = "counting") -> Callable[[], Any]:
    return lambda: [lock.access(mode, amount)]


@running_on(
    with_builders(
        on(["worker"], "holder", "sleep 60", locks=held(LOCK, mode="exclusive")),
        on(["other"], locks=held(LOCK)),
        on(["other"], "free", locks=held(util.MasterLock("nobody's"))),
        workers=[local("other")],
    )
)
@pytest_twisted.ensureDeferred
async def test_another_build_holds_its_lock(master: Any) -> None:
    build = await master.running_build(await master.add_request("holder"))
    reason = await first(master, await master.add_request("b"), "lock_held")
    assert reason["locks"] == ["the lock"]
    assert [one["build_id"] for one in reason["builds"]] == [build["buildid"]]
    assert not reason["capacity"]
    assert not reason["fatal"]
    # a lock that nobody has used yet is none to wait for, and is not made by the question
    worker_of(master, "other").pause("")
    told = await ask(master, await master.add_request("free"))
    assert [one["code"] for one in told["reasons"]] == ["worker_paused"]


@running_on(
    with_builders(
        on(["worker"], "holder", "sleep 60", locks=held(COUNTED, 2)),
        on(["other"], locks=held(COUNTED, 2)),
        on(["other"], "small", "sleep 60", locks=held(COUNTED, 1)),
        on(["other"], "large", locks=held(COUNTED, 4)),
        workers=[local("other")],
    )
)
@pytest_twisted.ensureDeferred
async def test_a_lock_has_too_little_left(master: Any) -> None:
    await master.running_build(await master.add_request("holder"))
    reason = await first(master, await master.add_request("b"), "lock_held")
    assert reason["locks"] == ["three"]
    await master.running_build(await master.add_request("small"))  # there is enough for that
    # also while its worker is busy, or away
    reason = await first(master, await master.add_request("large"), "lock_held")
    assert reason["fatal"]
    worker_of(master, "other").pause("")
    reason = await first(master, await master.add_request("large"), "lock_held")
    assert reason["fatal"]


@running_on(
    with_builders(
        on(["worker"], "holder", "sleep 60", locks=held(DISK)),
        on(["worker"], locks=held(DISK)),
        on(["large"], "holder2", "sleep 60", locks=held(DISK)),
        on(["large"], "c", "sleep 60", locks=held(DISK)),
        workers=[local("large")],
    )
)
@pytest_twisted.ensureDeferred
async def test_a_lock_of_a_worker_is_held(master: Any) -> None:
    build = await master.running_build(await master.add_request("holder"))
    reason = await first(master, await master.add_request("b"), "lock_held")
    assert (reason["locks"], reason["workers"]) == (["disk"], ["worker"])
    assert reason["capacity"]
    assert [one["build_id"] for one in reason["builds"]] == [build["buildid"]]
    await master.running_build(await master.add_request("holder2"))
    await master.running_build(await master.add_request("c"))  # the large one has two


@running_on(
    with_builders(
        on(["a"], "holder", "sleep 60"),
        on(["b"]),
        workers=[local("a", locks=held(LOCK)), local("b", locks=held(LOCK))],
    )
)
@pytest_twisted.ensureDeferred
async def test_a_worker_needs_a_lock_itself(master: Any) -> None:
    build = await master.running_build(await master.add_request("holder"))
    reason = await first(master, await master.add_request("b"), "lock_held")
    assert reason["locks"] == ["the lock"]
    assert [one["build_id"] for one in reason["builds"]] == [build["buildid"]]


@running_on(
    with_builders(
        on(["worker"], command="sleep 60", locks=held(LOCK)),
        on(["other"], "c", "sleep 60", locks=held(LOCK)),
        workers=[local("other")],
    )
)
@pytest_twisted.ensureDeferred
async def test_its_build_waits_for_a_lock(master: Any) -> None:
    for name in ("worker", "other"):
        await connected(master, name, {"worker": "b", "other": "c"}[name])
    # both start before either has the lock
    ids = [await master.add_request(name) for name in ("b", "c")]
    await master.until(lambda: master_locks(master), "the lock is there")

    async def waiting() -> Any:
        told = [await ask(master, one) for one in ids]
        return [one for one in told if one["reasons"][:1] and "locks" in one["reasons"][0]]

    (told,) = await master.until(waiting, "one of the two waits")
    (reason,) = told["reasons"]
    assert (told["state"], reason["code"]) == ("running", "acquiring_locks")
    assert reason["locks"] == ["the lock"]
    other = sum(ids) - told["request_id"]
    builds = await master.data("buildrequests", other, "builds")
    assert [one["build_id"] for one in reason["builds"]] == [builds[0]["buildid"]]


@util.renderer
def rendered(props: Any) -> Any:
    return [LOCK.access("exclusive")]


@running_on(
    with_builders(
        on(["worker"], "holder", "sleep 60", locks=held(LOCK, mode="exclusive")),
        on(["other"], locks=lambda: rendered),
        workers=[local("other")],
    )
)
@pytest_twisted.ensureDeferred
async def test_locks_that_depend_on_the_build_are_not_known(master: Any) -> None:
    await master.running_build(await master.add_request("holder"))
    reason = await first(master, await master.add_request("b"), "unknown")
    assert "locks" in reason["settings"]


def with_locked_step(name: str, workers: list[str]) -> Callable[[], Any]:
    def make() -> Any:
        step = steps.ShellCommand(command=["sleep", "60"], locks=[LOCK.access("exclusive")])
        factory = util.BuildFactory([step])
        return util.BuilderConfig(name=name, workernames=workers, factory=factory)

    return make


@running_on(
    with_builders(
        with_locked_step("holder", ["worker"]),
        with_locked_step("b", ["other"]),
        on(["worker"], "c", locks=held(LOCK)),
        workers=[local("other")],
    )
)
@pytest_twisted.ensureDeferred
async def test_a_step_of_its_build_waits_for_a_lock(master: Any) -> None:
    build = await master.running_build(await master.add_request("holder"))
    await master.until(
        lambda: any(one.owners for one in master_locks(master)), "the step has the lock"
    )
    request_id = await master.add_request("b")
    reason = await first(master, request_id, "acquiring_locks")
    assert "Step shell" in reason["msg"]
    assert reason["locks"] == ["the lock"]
    assert [one["build_id"] for one in reason["builds"]] == [build["buildid"]]
    # the step also keeps builds from starting
    reason = await first(master, await master.add_request("c"), "lock_held")
    assert [one["build_id"] for one in reason["builds"]] == [build["buildid"]]
    assert reason["msg"].endswith(", and wanted by build 2 of b")


def with_parents() -> Config:
    step = steps.Trigger(schedulerNames=["child"], waitForFinish=True)

    def parent(name: str) -> Callable[[], Any]:
        factory = util.BuildFactory([step])
        return lambda: util.BuilderConfig(name=name, workernames=["two"], factory=factory)

    made = with_builders(
        parent("p"), parent("q"), on(["two"], "child"), workers=[local("two", max_builds=2)]
    )()
    made["schedulers"].append(schedulers.Triggerable(name="child", builderNames=["child"]))
    return made


@running_on(with_parents)
@pytest_twisted.ensureDeferred
async def test_builds_wait_for_what_needs_their_worker(master: Any) -> None:
    await connected(master, "two", "child")
    worker_of(master, "two").pause("")
    parents = [await master.add_request(name) for name in ("p", "q")]

    async def children() -> Any:
        found = [one for one in await master.requests() if one["waited_for"]]
        return [one["buildrequestid"] for one in found] if len(found) == 2 else None

    worker_of(master, "two").unpause()
    ids = await master.until(children, "both wait")
    # nobody waits for the last one, and yet it cannot start either
    for request_id in (*ids, await master.add_request("child")):
        told = await ask(master, request_id)
        assert told["reasons"][0]["code"] == "workers_busy"
        assert told["reasons"][0]["fatal"]
        assert "deadlock" in told["reasons"][0]["msg"]
        assert told["eta_reason"] == "It will never start as things are"
    for request_id in parents:
        told = await ask(master, request_id)
        assert told["eta_reason"] == "It waits for requests that it keeps from starting"
    for request_id in parents:
        await stop(master, request_id)


# -- the operator's own functions: never called, and only blamed if a worker is free

_called: list[str] = []


def refuses(*arguments: Any) -> Any:
    _called.append("")
    return None


def cannot(*arguments: Any) -> bool:
    _called.append("")
    return False


@pytest.mark.parametrize(
    ("master", "setting"),
    [
        (with_builders(on(["worker"], nextBuild=refuses)), "nextBuild"),
        (with_builders(on(["worker"], nextWorker=refuses)), "nextWorker"),
        (with_builders(on(["worker"], canStartBuild=cannot)), "canStartBuild"),
        (with_builders(on(["worker"]), select_next_worker=lambda: refuses), "select_next_worker"),
    ],
    indirect=["master"],
)
@pytest_twisted.ensureDeferred
async def test_the_configuration_holds_it_back(master: Any, setting: str) -> None:
    await connected(master, "worker", "b")
    _called.clear()
    request_id = await master.add_request("b")
    await master.until(lambda: _called, "the master has looked")
    calls = len(_called)
    reason = await first(master, request_id, "held_back_by_configuration")
    assert reason["settings"] == [setting]
    assert len(_called) == calls
    worker_of(master, "worker").pause("")
    told = await ask(master, request_id)
    assert [one["code"] for one in told["reasons"]] == ["worker_paused"]


def without_b(_: Any, builders: Any) -> Any:
    return [one for one in builders if one.name != "b"]


@running_on(with_builders(on(["worker"]), prioritizeBuilders=lambda: without_b))
@pytest_twisted.ensureDeferred
async def test_the_master_does_not_look_at_a_builder(master: Any) -> None:
    await connected(master, "worker", "b")
    await let_time_pass(master, request_id := await master.add_request("b"))
    reason = await first(master, request_id, "unknown")
    assert reason["settings"] == ["prioritizeBuilders"]


_undecided: list[defer.Deferred[None]] = []


def decides_late(*arguments: Any) -> Any:
    if _undecided:
        return None
    _undecided.append(defer.Deferred())
    return _undecided[0]


@running_on(
    with_builders(
        on(["worker"], "slow1", nextWorker=decides_late), on(["other"]), workers=[local("other")]
    )
)
@pytest_twisted.ensureDeferred
async def test_another_builder_keeps_the_master_from_looking(master: Any) -> None:
    _undecided.clear()
    await connected(master, "worker", "slow1")
    await connected(master, "other", "b")
    await master.add_request("slow1")
    await master.until(lambda: _undecided, "the master has asked")
    await let_time_pass(master, request_id := await master.add_request("b"))
    try:
        reason = await first(master, request_id, "unknown")
        assert "is choosing builds" in reason["msg"]
    finally:
        _undecided[0].callback(None)  # or the master never stops
    await master.completed(request_id)


@running_on(
    with_builders(
        on(["worker", "other"], command="sleep 60", canStartBuild=enforceChosenWorker),
        workers=[local("other")],
    )
)
@pytest_twisted.ensureDeferred
async def test_it_asks_for_a_worker_that_cannot(master: Any) -> None:
    await connected(master, "other", "b")
    worker_of(master, "other").pause("")
    wanted = {"properties": {"workername": ("other", "me")}}
    reason = await first(master, await master.add_request("b", **wanted), "worker_paused")
    assert reason["workers"] == ["other"]
    # it keeps nothing else from the other worker
    await master.running_build(await master.add_request("b"))
    told = await ask(master, await master.add_request("b"))
    assert [one["code"] for one in told["reasons"]] == ["workers_busy", "worker_paused"]
    wanted = {"properties": {"workername": ("nobody", "me")}}
    request_id = await master.add_request("b", **wanted)
    reason = await first(master, request_id, "held_back_by_configuration")
    assert reason["fatal"]
    assert reason["workers"] == ["nobody"]


@pytest_twisted.ensureDeferred
async def test_a_worker_of_the_operators_own_class_decides(master: Any) -> None:
    await connected(master, "worker", "fast")
    master.pause()
    reason = await first(master, await master.add_request(), "held_back_by_configuration")
    assert reason["workers"] == ["worker"]


# -- the master


@running_on(with_builders(on(["worker"], command="sleep 60")))
@pytest_twisted.ensureDeferred
async def test_the_master_shuts_down(master: Any) -> None:
    running = await master.add_request("b")
    build = await master.running_build(running)
    botmaster = master.master.botmaster
    done = botmaster.cleanShutdown(stopReactor=False)
    reason = await first(master, await master.add_request(), "master_shutting_down")
    assert reason["masters"] == [master.master.name]
    botmaster.cancelCleanShutdown()
    stop = ("control", "builds", str(build["buildid"]), "stop")
    master.master.mq.produce(stop, {"reason": ""})
    await done


@running_on(
    with_builders(on(["worker"], command="sleep 60"), on(["other"], "c"), workers=[local("other")])
)
@pytest_twisted.ensureDeferred
async def test_a_shutdown_that_was_cancelled_lasts_until_its_builds_end(master: Any) -> None:
    await connected(master, "other", "c")
    await master.running_build(running := await master.add_request("b"))
    done = master.master.botmaster.cleanShutdown(stopReactor=False)
    master.master.botmaster.cancelCleanShutdown()
    reason = await first(master, await master.add_request("c"), "distribution_stopped")
    assert "cancelled" in reason["msg"]
    await stop(master, running)
    await done


@pytest_twisted.ensureDeferred
async def test_the_master_starts_no_builds(master: Any) -> None:
    brd = master.master.botmaster.brd
    await brd.disownServiceParent()
    await first(master, await master.add_request(), "distribution_stopped")
    await brd.setServiceParent(master.master.botmaster)


@pytest_twisted.ensureDeferred
async def test_no_master_has_the_builder(master: Any) -> None:
    reason = await first(master, await master.add_request("gone"), "builder_not_on_this_master")
    assert reason["fatal"]
    assert "masters" not in reason


@pytest_twisted.ensureDeferred
async def test_a_build_is_starting(master: Any) -> None:
    request_id = await master.add_request("slow")
    master.master.botmaster.add_in_progress_buildrequest(request_id)
    await connected(master, "worker", "slow")
    told = await ask(master, request_id)
    assert told["reasons"][0]["code"] == "starting"
    assert not told["reasons"][0]["blocking"]


@pytest_twisted.ensureDeferred
async def test_the_master_that_has_claimed_it_is_gone(master: Any) -> None:
    await connected(master, "worker", "slow")
    master.pause()
    request_id = await master.add_request("slow")

    def claim(connection: Any) -> None:
        add = "INSERT INTO masters (name, name_hash, active, last_active) VALUES ('old', 'x', 0, 1)"
        connection.execute(sa.text(add))
        connection.execute(
            sa.text(
                "INSERT INTO buildrequest_claims (brid, masterid, claimed_at)"
                f" SELECT {request_id}, id, 1 FROM masters WHERE name = 'old'"
            )
        )
        connection.commit()

    await master.master.db.pool.do(claim)
    reason = await first(master, request_id, "master_gone")
    assert reason["masters"] == ["old"]
    assert reason["fatal"]

    def begin(connection: Any) -> None:
        connection.execute(
            sa.text(
                "INSERT INTO builds (number, builderid, buildrequestid, masterid, started_at,"
                " state_string, locks_duration_s)"
                " SELECT 1, builderid, buildrequests.id, masters.id, 1, 'building', 0"
                " FROM buildrequests, masters"
                f" WHERE buildrequests.id = {request_id} AND masters.name = 'old'"
            )
        )
        connection.commit()

    await master.master.db.pool.do(begin)
    told = await ask(master, request_id)
    (reason,) = told["reasons"]
    assert (reason["code"], reason["fatal"]) == ("master_gone", False)
    assert told["eta_reason"] == reason["msg"]


@running_on(with_builders(on(["away"]), workers=[local("away")]))
@pytest_twisted.ensureDeferred
async def test_another_master_has_its_worker(master: Any) -> None:
    await connected(master, "away", "b")
    await worker_of(master, "away").disconnect()
    request_id = await master.add_request("b")
    await first(master, request_id, "no_worker_connected")
    await add_master(master, request_id, "away")
    told = await ask(master, request_id)
    assert [one["code"] for one in told["reasons"]] == ["unknown", "no_worker_connected"]
    assert told["reasons"][0]["masters"] == ["far"]
    (row,) = (await master.get("/self-serve/pending")).json["requests"]
    assert row["reason"]["code"] == "unknown"


async def add_master(master: Any, request_id: int, worker_name: str) -> None:
    """Let another master have the builder of a request, and a worker for it."""
    builder_id = (await master.data("buildrequests", request_id))["builderid"]
    worker_id = worker_of(master, worker_name).workerid

    def add(connection: Any) -> None:
        for statement in (
            "INSERT INTO masters (id, name, name_hash, active, last_active)"
            " VALUES (77, 'far', 'x', 1, 1)",
            f"INSERT INTO builder_masters (id, builderid, masterid) VALUES (77, {builder_id}, 77)",
            f"INSERT INTO configured_workers (buildermasterid, workerid) VALUES (77, {worker_id})",
            f"INSERT INTO connected_workers (masterid, workerid) VALUES (77, {worker_id})",
        ):
            connection.execute(sa.text(statement))
        connection.commit()

    await master.master.db.pool.do(add)


# -- what comes before it


@running_on(with_builders(on(["worker"], command="sleep 60")))
@pytest_twisted.ensureDeferred
async def test_others_of_its_builder_come_first(master: Any) -> None:
    await master.running_build(await master.add_request("b"))
    early, late = [await master.add_request("b") for _ in range(2)]
    urgent = await master.add_request("b", priority=2)
    told = await ask(master, late)
    assert (told["position"], told["ahead"]) == (3, 2)
    behind, busy = told["reasons"]
    assert (behind["code"], behind["requests"]) == ("behind", [urgent, early])
    assert behind["capacity"]
    assert busy["code"] == "workers_busy"
    assert (await ask(master, urgent))["position"] == 1


@running_on(with_builders(on(["worker"], nextBuild=refuses)))
@pytest_twisted.ensureDeferred
async def test_no_position_is_told_where_a_function_decides(master: Any) -> None:
    request_id = await master.add_request("b")
    assert (await ask(master, request_id))["position"] == 1
    await master.add_request("b")
    told = await ask(master, request_id)
    assert (told["position"], told["ahead"]) == (None, None)


@pytest_twisted.ensureDeferred
async def test_a_request_that_has_ended_waits_for_nothing(master: Any) -> None:
    request_id = (await master.finished_build())["buildrequestid"]
    told = await ask(master, request_id)
    assert (told["state"], told["reasons"], told["position"]) == ("success", [], None)
    missing = await master.get("/self-serve/main/request/999/why")
    assert missing.status == 404
    assert missing.json["msg"] == "Request 999 not found on branch main"


@running_on(with_builders(on(["worker"], command="sleep 60")))
@pytest_twisted.ensureDeferred
async def test_pages_say_why(master: Any) -> None:
    await master.running_build(await master.add_request("b"))
    request_id = await master.add_request("b")
    for path in (f"request/{request_id}", f"request/{request_id}/why", "pending"):
        page = await master.get(f"/self-serve/main/{path}", json=False)
        assert page.status == 200
        assert "Worker worker is busy with build 1 of b" in page.text
    page = await master.get(f"/self-serve/main/request/{request_id}", json=False)
    assert "It is number 1 of what waits for its builder" in page.text
    assert "Change priority" in page.text


@pytest_twisted.ensureDeferred
async def test_a_reconfig_is_followed(master: Any) -> None:
    await connected(master, "worker", "slow")
    await master.running_build(await master.add_request("slow"))
    request_id = await master.add_request("slow", priority=1)
    await first(master, request_id, "workers_busy")
    make = with_builders(on(["other"], nextBuild=refuses), workers=[local("other")])
    await master.reconfig(make)
    await connected(master, "other", "b")
    await first(master, await master.add_request("b"), "held_back_by_configuration")
    await master.reconfig(lambda: without(config(), "slow"))
    reason = await first(master, request_id, "builder_not_on_this_master")
    assert reason["fatal"]


def without(made: Config, name: str) -> Config:
    """Return a configuration without one of its builders."""
    made["builders"] = [one for one in made["builders"] if one.name != name]
    names = [one.name for one in made["builders"]]
    made["schedulers"] = [schedulers.AnyBranchScheduler(name="any", builderNames=names)]
    return made


# -- how it is taken down


@pytest_twisted.ensureDeferred
async def test_all_who_ask_at_once_share_one_state(master: Any) -> None:
    states = collect.MasterStates(master.master, plugin.application._service.holds)
    asked = [defer.Deferred.fromCoroutine(states.pickled()) for _ in range(5)]
    asked[2].addErrback(lambda _: None)
    asked[2].cancel()
    first_one = await asked[0]
    assert all([(await asked[at]) is first_one for at in (1, 3, 4)])


@pytest_twisted.ensureDeferred
async def test_what_changes_is_seen_at_once(master: Any) -> None:
    await connected(master, "worker", "fast")
    worker_of(master, "worker").pause("a")
    request_id = await master.add_request()
    for reason in ("b", "c", "d"):
        worker_of(master, "worker").pause(reason)
        await first(master, request_id, "worker_paused")
        assert reason in (await ask(master, request_id))["reasons"][0]["msg"]
