"""Job requests that must not be done at once have their turns, also on several masters."""

from __future__ import annotations

import time
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import util
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task

from buildbot_selfserve import plugin
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.jobs import left_open
from buildbot_selfserve.jobs import turns
from buildbot_selfserve.journal import leases
from buildbot_selfserve.journal import store
from buildbot_selfserve.journal.leases import Lease
from buildbot_selfserve.journal.tables import leases as table
from buildbot_selfserve.model import FAILURE
from buildbot_selfserve.model import Job
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import Master
from tests.harness import config
from tests.plans import ended

EVERY_DATABASE = "heavy"
FAILED = f"/self-serve/main/rev/{REVISION}/failed"
JOB = Job(0, "rebuild_failed", USER, "basic", "", 0, "main", {"revision": REVISION})
NAME = turns.lease_name(JOB)


def hasty() -> Config:
    """Return the configuration of a master that waits for a turn for 1.6 seconds."""
    return config(util.SelfServe(branches=[util.SelfServeBranch("main")], timeout=2))


with_hasty = pytest.mark.parametrize("master", [hasty], indirect=True)


def write(master: Master, function: Any, *arguments: Any) -> Any:
    return master.master.db.pool.do(function, *arguments)


async def held(master: Master) -> list[tuple[str, str]]:
    """Return the leases that are held, and by whom."""

    def look(connection: sa.Connection) -> list[tuple[str, str]]:
        return [tuple(row) for row in connection.execute(sa.select(table.c.name, table.c.holder))]

    found: list[tuple[str, str]] = await write(master, look)
    return found


async def all_given_back(master: Master) -> None:
    """Wait until no lease is held, which may be a moment after the answer."""

    async def is_so() -> bool:
        return await held(master) == []

    await master.until(is_so, "all leases are given back")


async def rerun(master: Master) -> Any:
    return await master.post(FAILED, user=USER)


async def with_failure(master: Master) -> int:
    """Let something have failed; return the number of requests that there are."""
    master.pause()
    await ended(master, "fast", FAILURE)
    return len(await master.data("buildrequests"))


@with_hasty
@pytest_twisted.ensureDeferred
async def test_one_holds_a_lease_until_it_gives_no_sign_of_life(master: Master) -> None:
    assert await write(master, leases.take, NAME, "a") == Lease("a")
    assert await write(master, leases.take, NAME, "a") == Lease("a")  # a connection has broken
    assert await write(master, leases.take, NAME, "b") == Lease("a")
    assert await write(master, leases.renew, NAME, "a")
    assert await write(master, leases.take, NAME, "b", Lease("a")) == Lease("a", 1)
    assert not await write(master, leases.renew, NAME, "b")
    await write(master, leases.give_back, NAME, "b")
    assert await write(master, leases.take, NAME, "b", Lease("a", 1)) == Lease("b")
    assert await write(master, leases.take, NAME, "c", Lease("a", 1)) == Lease("b")
    assert not await write(master, leases.renew, NAME, "a")
    await write(master, leases.give_back, NAME, "a")
    assert await held(master) == [(NAME, "b")]
    await write(master, leases.give_back, NAME, "b")
    assert await held(master) == []
    assert await write(master, leases.take, NAME, "c", Lease("b")) == Lease("c")


@with_hasty
@pytest_twisted.ensureDeferred
async def test_who_holds_it_is_waited_for_and_then_nothing_is_done(master: Master) -> None:
    before = await with_failure(master)
    await write(master, leases.take, NAME, "another master")
    renewing = task.LoopingCall(write, master, leases.renew, NAME, "another master")
    renewing.start(0.3)
    begun = time.monotonic()
    answer = await rerun(master)
    assert time.monotonic() - begun > 1.5
    assert (answer.status, answer.json["msg"], answer.json["detail"]) == (
        503,
        "Another job request for the same target has not ended yet",
        "nothing was done",
    )
    assert answer.header("retry-after")
    assert len(await master.data("buildrequests")) == before
    assert (await master.get("/self-serve/jobs")).json == []
    # what is only looked at waits for nobody, nor does what is about another revision
    dry = await master.post(FAILED, user=USER, data={"dry_run": "1"})
    assert dry.json["msg"] == "1 build would be requested"
    await master.add_request(revision="e" * 40)
    assert (await master.post(FAILED.replace(REVISION, "e" * 40), user=USER)).status == 202
    renewing.stop()
    await write(master, leases.give_back, NAME, "another master")
    assert (await rerun(master)).json["msg"] == "1 build requested"
    await all_given_back(master)


@with_hasty
@pytest_twisted.ensureDeferred
async def test_who_was_killed_in_its_turn_is_not_waited_for_for_ever(
    master: Master, monkeypatch: Any
) -> None:
    before = await with_failure(master)
    monkeypatch.setattr(turns, "PATIENCE", 2.0)
    await write(master, leases.take, NAME, "who was killed")
    # longer than anybody waits for an answer; but the master remembers
    assert (await rerun(master)).status == 503
    for _ in range(10):  # a busy machine may need more than one
        answer = await rerun(master)
        if answer.status != 503:
            break
    assert (answer.status, answer.json["msg"]) == (202, "1 build requested")
    assert (await rerun(master)).json["msg"] == "Nothing is left to rerun, 1 left out"
    assert len(await master.data("buildrequests")) == before + 1
    await all_given_back(master)


@with_hasty
@pytest_twisted.ensureDeferred
async def test_who_was_taken_for_dead_does_nothing(master: Master, monkeypatch: Any) -> None:
    before = await with_failure(master)
    real = leases.take

    def taken_at_once(connection: sa.Connection, name: str, holder: str, *more: Any) -> Any:
        found = real(connection, name, holder, *more)
        assert real(connection, name, "another master", found).holder == "another master"
        return found

    monkeypatch.setattr(leases, "take", taken_at_once)
    answer = await rerun(master)
    assert (answer.status, answer.json["detail"]) == (503, "Interrupted: nothing was done")
    assert len(await master.data("buildrequests")) == before
    assert await held(master) == [(NAME, "another master")]
    (job,) = (await master.get("/self-serve/jobs")).json
    assert job["status"] == "failed"


def test_all_who_wait_are_told_when_the_journal_is_closed() -> None:
    is_closed = False

    def closing(function: Any, connection: object, *arguments: Any) -> defer.Deferred[Any]:
        if is_closed:
            raise Unavailable("Self-serve is starting or shutting down")
        return defer.succeed(Lease(arguments[0]) if function is leases.take else True)

    ours = turns.Turns(task.Clock(), closing)
    turn, *others = (defer.Deferred.fromCoroutine(ours.take(JOB, 100)) for _ in range(4))
    assert isinstance(turn.result, turns.Turn)
    is_closed = True
    ended: list[Any] = []
    defer.Deferred.fromCoroutine(turn.result.end()).addBoth(ended.append)
    for one in others:
        one.addBoth(ended.append)
    assert ended[0] is None
    assert [one.check(Unavailable) for one in ended[1:]] == [Unavailable] * 3
    assert ours._queues == {}


@with_hasty
@pytest_twisted.ensureDeferred
async def test_what_was_left_open_goes_on_in_its_turn(master: Master, monkeypatch: Any) -> None:
    await with_failure(master)
    left = plugin.application._service.backend.jobs.left_open
    opened = await write(master, store.open_job, JOB, 77, "a life that has ended")
    await write(master, leases.take, NAME, "another master")
    monkeypatch.setattr(turns, "PATIENCE", 60.0)
    going_on = defer.Deferred.fromCoroutine(left.of_gone_masters({77}))
    await task.deferLater(reactor, 0.5)
    path = f"/self-serve/jobs/{opened.job.job_id}"
    assert (await master.get(path)).json["status"] == "running"
    await write(master, leases.give_back, NAME, "another master")
    assert await going_on == 1
    job = (await master.get(path)).json
    assert (job["status"], await held(master)) == ("failed", [])
    # it is closed in the end
    monkeypatch.setattr(left_open, "LONGEST_WAIT", 0.5)
    await write(master, leases.take, NAME, "another master")
    opened = await write(master, store.open_job, JOB, 77, "a life that has ended")
    assert await left.of_gone_masters({77}) == 1
    path = f"/self-serve/jobs/{opened.job.job_id}"
    assert (await master.get(path)).json["status"] == "failed"
