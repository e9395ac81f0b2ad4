"""Rows of the journal that pass from one life of a master to another, or to another master."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import util
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task

from buildbot_selfserve import plugin
from buildbot_selfserve.control import cancel
from buildbot_selfserve.control import insert_buildsets
from buildbot_selfserve.jobs import close_row
from buildbot_selfserve.jobs import left_open
from buildbot_selfserve.journal import store
from buildbot_selfserve.journal.tables import jobs
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Ending
from buildbot_selfserve.model import HeldRequest
from buildbot_selfserve.model import Hold
from buildbot_selfserve.model import HoldChange
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import NewBuildset
from buildbot_selfserve.model import NewChange
from buildbot_selfserve.model import NewPriority
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import plan_from_json
from buildbot_selfserve.model import plan_to_json
from tests.harness import ANSWER_SECONDS
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import config
from tests.harness import outcomes
from tests.harness import patient
from tests.test_gone_masters import another
from tests.test_gone_masters import last_heard

EVERY_DATABASE = "heavy"
#: Seconds after which nobody waits for what is held back.
BRIEF = 5


def brief() -> Any:
    return config(util.SelfServe(timeout=BRIEF))


def more_patient() -> Any:
    return config(util.SelfServe(timeout=ANSWER_SECONDS + 1))


with_patience = pytest.mark.parametrize("master", [patient], indirect=True)


def service() -> Any:
    return plugin.application._service


async def write(function: Any, *arguments: Any) -> Any:
    return await service().databases.write(function, *arguments)


async def left(masterid: int, request_id: int, *outcome: RequestOutcome) -> int:
    """Leave the row of a job that cancels a request, closed with an outcome if there is one.

    That of this master is of this life, so that it is not taken over before it is whole.
    """
    ours = masterid == service()._master.masterid
    life = service().jobs.incarnation if ours else "another's"

    def leave(connection: Any) -> int:
        what = {"branch": "main", "brid": request_id}
        job = Job(0, "cancel_request", USER, "basic", "", 1, "main", what)
        opened = store.open_job(connection, job, masterid, life)
        assert isinstance(opened, store.Opened)
        if outcome:
            closed = replace(opened.job, status="ok", completed_at=2, requests=outcome)
            store.close_job(connection, closed)
        return opened.job.job_id

    return int(await write(leave))


class Gate:
    """Holds an act back before it makes something."""

    def __init__(self, monkeypatch: Any) -> None:
        self._insert, self._gate = insert_buildsets.insert, defer.Deferred[None]()
        self.reached = 0
        monkeypatch.setattr(insert_buildsets, "insert", self)

    async def __call__(self, *arguments: Any) -> Any:
        self.reached += 1
        if self.reached == 1:
            await self._gate
        return await self._insert(*arguments)

    def open(self) -> None:
        self._gate.callback(None)


async def rebuild_begun(master: Any, monkeypatch: Any) -> tuple[int, Gate, Any]:
    """Begin to rebuild a build; return its id, what holds that back, and what gets the receipt."""
    build_id = (await master.finished_build())["buildid"]
    gate = Gate(monkeypatch)
    sent = rebuild(master, build_id)
    await master.until(lambda: gate.reached, "it has begun")
    return build_id, gate, sent


def rebuild(master: Any, build_id: int) -> Any:
    fields, headers = {"build_id": str(build_id)}, {"Idempotency-Key": "k"}
    asked = master.request(
        "POST", "/self-serve/main/build", user=USER, data=fields, headers=headers
    )
    return defer.ensureDeferred(asked)


async def job(master: Any, job_id: int) -> Any:
    return (await master.get(f"/self-serve/jobs/{job_id}")).json


# -- from a master that has gone


@with_patience
@pytest_twisted.ensureDeferred
async def test_a_master_that_stops_ends_its_jobs_itself(master: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(plugin, "GONE_INTERVAL", 0)
    other, request_id = await another(master), await master.add_request("slow")
    job_id = await left(other, request_id)
    # what a master does before its services stop, and so before its jobs have ended
    await master.master.data.updates.masterStopped("another:/away", other)
    for _ in range(2):
        await service()._reconcile_of_gone()
        assert (await job(master, job_id))["status"] == "running"
    monkeypatch.setattr(service().config, "timeout", 0)
    await service()._reconcile_of_gone()
    assert (await job(master, job_id))["status"] == "failed"


@pytest_twisted.ensureDeferred
async def test_a_master_that_was_there_in_between_has_not_gone(master: Any) -> None:
    async def gone() -> set[int]:
        await task.deferLater(reactor, 0.3)
        return set(await service()._gone_masters.gone(0.2))

    other = await another(master)
    updates = master.master.data.updates
    assert await gone() == set()
    await updates.masterStopped("another:/away", other)
    assert await gone() == set()
    assert await gone() == {other}
    await last_heard(master, other, 5)
    await updates.masterStopped("another:/away", other)
    assert await gone() == set()
    assert await gone() == {other}


@with_patience
@pytest.mark.parametrize("is_closed", [True, False])
@pytest_twisted.ensureDeferred
async def test_who_loses_a_row_says_what_the_row_says(
    master: Any, monkeypatch: Any, is_closed: bool
) -> None:
    _, gate, sent = await rebuild_begun(master, monkeypatch)
    master.pause()

    def settle(connection: Any) -> None:
        """Do what another master does that thinks this one has gone."""
        (taken,) = store.take_over(connection, {master.master.masterid}, 99, "another")
        ended = replace(taken, status="failed", completed_at=3, errors=True, msg="as it stands")
        if is_closed:
            store.close_job(connection, ended)

    await write(settle)
    gate.open()
    answer = await sent
    (row,) = (await master.get("/self-serve/jobs")).json
    assert answer.json["job_id"] == row["job_id"]
    if is_closed:
        assert (answer.status, answer.json["status"]) == (202, "FAILED")
        assert answer.json["msg"] == row["complete_data"]["body"]["msg"] == "as it stands"
        assert answer.json["requests"] == row["complete_data"]["body"]["requests"] == []
    else:
        assert (answer.status, row["status"]) == (503, "running")
    # what it made all the same is told where operators look
    (made,) = (one for one in await master.data("buildrequests") if not one["complete"])
    told = f"1 build requested, [({made['buildrequestid']}, 'created')]"
    assert f"job {row['job_id']} is not ours any more" in master.log
    assert told in master.log


# -- from another release


def as_newer(read: list[Any]) -> list[Any]:
    """Return objects with a field more, as a newer release may write them."""
    return [{**one, "newer": True} for one in read]


async def rewrite(job_id: int, column: str, change: Callable[[Any], Any]) -> None:
    """Write what *change* makes of the JSON in a column of a job's row."""

    def work(connection: Any) -> None:
        at = jobs.c.id == job_id
        text = connection.execute(sa.select(jobs.c[column]).where(at)).scalar_one()
        values = {column: json.dumps(change(json.loads(text or "{}")))}
        connection.execute(jobs.update().where(at).values(values))
        connection.commit()

    await write(work)


def test_what_a_newer_release_has_added_to_a_plan_is_left_out() -> None:
    stamp = Sourcestamp("main", "", "", "https://example.org/repo")
    hold = Hold("main", "why", USER, 1, 2, ("f*",), names=frozenset({"fast"}))
    plan = Plan(
        changes=(NewChange(REVISION, stamp, "ada", "a change", files=("a.c",)),),
        buildsets=(NewBuildset((1,), (Builder(1, "fast"),), {}, "a reason"),),
        endings=(Ending(1, "fast", running=True, build_ids=(2,)),),
        priorities=(NewPriority(3, "fast", 4),),
        holding=HoldChange(hold, waiting=(HeldRequest(5, "fast"),)),
        untouched=(RequestOutcome(6, "fast", "denied", (7,)),),
    )
    newer = json.loads(plan_to_json(plan))
    newer["buildsets"][0]["builders"] = as_newer(newer["buildsets"][0]["builders"])
    for part in ("changes", "buildsets", "endings", "priorities", "untouched"):
        newer[part] = as_newer(newer[part])
    newer["holding"]["hold"]["newer"] = True
    assert plan_from_json(json.dumps({**newer, "newer": True})) == plan


@pytest_twisted.ensureDeferred
async def test_what_a_newer_release_has_left_is_gone_on_with(master: Any) -> None:
    master.pause()
    other = await another(master)
    done, waits = [
        await master.add_request("slow", properties={"n": (n, "Scheduler")}) for n in range(2)
    ]
    await master.request("DELETE", f"/self-serve/main/request/{done}", user=USER)
    job_id = await left(other, done)
    endings = tuple(Ending(one, "slow", running=False) for one in (done, waits))
    planned = json.loads(plan_to_json(Plan(endings=endings)))
    await rewrite(job_id, "plan", lambda _: {**planned, "endings": as_newer(planned["endings"])})
    followed = await left(other, 1, RequestOutcome(1, "slow", "waiting"))
    requests = as_newer([vars(RequestOutcome(1, "slow", "waiting"))])
    await rewrite(followed, "result", lambda read: {**read, "requests": requests})
    assert await service().jobs.left_open.of_gone_masters({other}) == 2
    ended = await job(master, job_id)
    assert outcomes(ended["complete_data"]["body"]) == dict.fromkeys((done, waits), "cancelled")


@with_patience
@pytest_twisted.ensureDeferred
async def test_a_row_that_cannot_be_reconciled_keeps_no_other_from_it(
    master: Any, monkeypatch: Any
) -> None:
    """Nor does it stay open for ever."""
    monkeypatch.setattr(close_row, "RETRIES", (0.1,))
    monkeypatch.setattr(left_open, "LONGEST_CLOSING", 0.5)
    master.pause()
    other = await another(master)
    broken, away, whole = [await left(other, await master.add_request("slow")) for _ in range(3)]
    await rewrite(broken, "plan", lambda _: {"of": "another release"})
    reconcile = service().jobs._closing._reconcile

    async def while_away(one: Job) -> Any:
        if one.job_id == away and is_away:
            raise sa.exc.OperationalError("SELECT", {}, Exception("it is away"))
        return await reconcile(one)

    is_away = True
    monkeypatch.setattr(service().jobs._closing, "_reconcile", while_away)
    # one that the database cannot be asked about is tried until it can be
    assert await service().jobs.left_open.of_gone_masters({other}) == 3
    assert (await job(master, away))["status"] == "running"
    for one, msg in (
        (whole, "Interrupted: nothing was done"),
        (broken, "Interrupted: the master could not finish it; its log says why"),
    ):
        row = await master.until(partial(ended, master, one), "it is closed")
        assert (row["status"], row["complete_data"]["body"]["msg"]) == ("failed", msg)
    assert f"job {broken} cannot be reconciled, it is closed as interrupted" in master.log
    # nor does it keep others from being taken over
    later = await left(other, 1)
    assert await service().jobs.left_open.of_gone_masters({other}) == 1
    assert (await job(master, later))["status"] == "failed"
    is_away = False
    await master.until(partial(ended, master, away), "it is closed, too")
    master.errors.clear()


async def ended(master: Any, job_id: int) -> Any:
    found = await job(master, job_id)
    return None if found["status"] == "running" else found


# -- from an earlier life


@with_patience
@pytest_twisted.ensureDeferred
async def test_what_an_earlier_life_left_is_gone_on_with_once(
    master: Any, monkeypatch: Any
) -> None:
    followed: list[int] = []
    follow = cancel.follow

    async def following(of: Any, job: Job) -> Any:
        followed.append(job.job_id)
        return await follow(of, job)

    monkeypatch.setattr(cancel, "follow", following)
    master.pause()
    request_id = await master.add_request("slow")
    seen: list[Any] = []
    await master.master.mq.startConsuming(
        lambda key, event: seen.append(key[2]), ("buildrequests", str(request_id), None)
    )
    waiting = RequestOutcome(request_id, "slow", "waiting")
    job_id = await left(master.master.masterid, request_id, waiting)
    await service().jobs.begin_anew()
    settle = service().jobs.left_open.of_this_master
    settled = await defer.gatherResults([defer.ensureDeferred(settle()) for _ in range(2)])
    assert sorted(settled) == [0, 1]

    async def outcome() -> Any:
        told = outcomes((await job(master, job_id))["complete_data"]["body"])
        return told if told != {request_id: "waiting"} else None

    told = await master.until(outcome, "it is cancelled")
    assert told == {request_id: "cancelled"}
    assert followed == [job_id]
    assert seen.count("cancel") == 1


@with_patience
@pytest_twisted.ensureDeferred
async def test_a_reconfig_leaves_what_is_followed_to_who_follows_it(
    master: Any, monkeypatch: Any
) -> None:
    followed: list[int] = []

    async def following(of: Any, job: Job) -> Any:
        followed.append(job.job_id)
        await defer.Deferred[None]()

    monkeypatch.setattr(cancel, "follow", following)
    waiting = RequestOutcome(1, "slow", "waiting")
    job_id = await left(master.master.masterid, 1, waiting)
    await service().jobs.begin_anew()
    await service().jobs.left_open.of_this_master()
    for make in (more_patient, patient):
        await master.reconfig(make)
        await master.until(lambda: service().databases.ready, "it is open again")
    # when this is done, what the opening did is done too
    await service().jobs.left_open.of_this_master()
    assert followed == [job_id]


@pytest_twisted.ensureDeferred
async def test_what_was_taken_over_though_that_failed_is_gone_on_with(
    master: Any, monkeypatch: Any
) -> None:
    """A connection may break just after a commit; nobody is told then what was committed."""
    other = await another(master)
    job_ids = [await left(other, 1) for _ in range(2)]
    take_over = store.take_over

    def unconfirmed(*arguments: Any) -> Any:
        take_over(*arguments)
        raise sa.exc.InvalidRequestError("the connection broke")

    monkeypatch.setattr(store, "take_over", unconfirmed)
    with pytest.raises(sa.exc.InvalidRequestError):
        await service().jobs.left_open.of_gone_masters({other})
    master.errors.clear()  # the pool's
    monkeypatch.setattr(store, "take_over", take_over)
    assert await service().jobs.left_open.of_gone_masters(set()) == 2
    assert [(await job(master, one))["status"] for one in job_ids] == ["failed"] * 2
    assert await service().jobs.left_open.of_gone_masters(set()) == 0


# -- a journal that moves


async def statuses() -> dict[int, str]:
    def look(connection: Any) -> dict[int, str]:
        found = connection.execute(sa.select(jobs.c.id, jobs.c.status))
        return {one.id: one.status for one in found}

    return dict(await write(look))


def at(folder: Path, timeout: int = ANSWER_SECONDS) -> Any:
    url = f"sqlite:///{folder}/journal.sqlite"
    return lambda: config(util.SelfServe(timeout=timeout, db_url=url))


@with_patience
@pytest_twisted.ensureDeferred
async def test_a_journal_moves_when_what_runs_has_ended(
    master: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    build_id, gate, sent = await rebuild_begun(master, monkeypatch)
    await master.reconfig(at(tmp_path))
    refused = await rebuild(master, build_id)
    assert (refused.status, refused.json["msg"]) == (503, "The journal is not ready")
    assert list((await statuses()).values()) == ["running"]
    gate.open()
    answer = await sent
    assert answer.status == 202, answer.text
    await master.until(lambda: service().databases.ready, "it has moved")
    assert await statuses() == {}
    await master.reconfig(patient)
    await master.until(lambda: service().databases.ready, "it has moved back")
    assert await statuses() == {answer.json["job_id"]: "ok"}


@pytest.mark.parametrize("master", [brief], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_does_not_end_before_its_journal_moves_writes_no_row_elsewhere(
    master: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    _, gate, sent = await rebuild_begun(master, monkeypatch)
    await master.reconfig(at(tmp_path, BRIEF))
    await master.until(lambda: service().databases.ready, "it has moved")
    job_id = await left(master.master.masterid, 1)
    gate.open()
    answer = await sent
    # nobody can write here how it ended
    assert (answer.status, answer.json["job_id"]) == (503, job_id)
    assert await statuses() == {job_id: "running"}
    await master.reconfig(brief)
    await master.until(lambda: service().databases.ready, "it has moved back")

    async def ended() -> Any:
        return (await statuses())[job_id] == "ok"

    await master.until(ended, "it is settled with what it did in the end")
