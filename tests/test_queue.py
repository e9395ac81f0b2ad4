"""The queue: what waits on a branch and on all, for which workers, for how long, and for whom."""

from __future__ import annotations

import time
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import schedulers
from buildbot.plugins import worker
from twisted.internet import defer

from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import set_priority
from buildbot_selfserve.history.queue import percentiles
from buildbot_selfserve.model import NewPriority
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import Master
from tests.harness import builder
from tests.harness import config
from tests.harness import outcomes

EVERY_DATABASE = "heavy"
HIGHEST = 2**31 - 1


def two_pools() -> Config:
    made = config()
    made["collapseRequests"] = False
    made["workers"].append(worker.LocalWorker("other"))
    elsewhere = builder("elsewhere", "sleep 60", tags=["far"])
    elsewhere.workernames = ["other"]
    made["builders"].append(elsewhere)
    made["schedulers"].append(schedulers.Triggerable(name="more", builderNames=["elsewhere"]))
    return made


with_pools = pytest.mark.parametrize("master", [two_pools], indirect=True)


async def queue(master: Master, path: str = "/pending") -> Any:
    answer = await master.get(f"/self-serve{path}")
    assert answer.status == 200, answer.text
    return answer.json


@with_pools
@pytest_twisted.ensureDeferred
async def test_what_waits_is_told_by_builder_workers_and_request(master: Master) -> None:
    assert await queue(master) == {
        "waiting": 0,
        "oldest": None,
        "builders": [],
        "worker_sets": [],
        "requests": [],
    }
    owned = {"branch": ("main", "Change"), "owner": ("ada@example.org", "Force")}
    running = await master.add_request("elsewhere", properties=owned)
    await master.running_build(running)
    mine = await master.add_request("elsewhere", properties=owned)
    other = await master.add_request("elsewhere", branch="feature/x", priority=3)
    branchless = await master.add_request("elsewhere", branch=None, properties={})
    for one in master.master.workers.workers.values():
        one.pause("stocktaking")
    slow = await master.add_request("slow")
    whole = await queue(master)
    assert whole["waiting"] == 4
    assert 0 <= whole["oldest"] < 60
    by_name = {one["buildername"]: one for one in whole["builders"]}
    assert by_name["elsewhere"]["waiting"] == 3
    assert by_name["elsewhere"]["running"] == 1
    assert by_name["elsewhere"]["p50"] is not None
    assert by_name["elsewhere"]["reasons"] == {"worker_paused": 3}
    assert by_name["elsewhere"]["owners"] == {"ada@example.org": 1, "": 2}
    assert by_name["slow"]["p50"] is None
    sets = {tuple(one["workers"]): one for one in whole["worker_sets"]}
    assert (sets["other",]["waiting"], sets["other",]["busy"]) == (3, 1)
    assert sets["worker",]["builders"] == ["slow"]
    assert [one["request_id"] for one in whole["requests"]] == [other, mine, branchless, slow]
    rows = {one["request_id"]: one for one in whole["requests"]}
    assert rows[mine]["reason"]["code"] == "worker_paused"
    assert "stocktaking" in rows[mine]["reason"]["msg"]
    assert (rows[mine]["branch"], rows[mine]["owner"]) == ("main", "ada@example.org")
    assert (rows[mine]["revision"], rows[mine]["buildset_reason"]) == (REVISION, "a push")
    assert rows[other]["branch"] == "feature/x"
    assert rows[branchless]["branch"] == ""
    # one branch, and some builders
    assert {one["request_id"] for one in (await queue(master, "/main/pending"))["requests"]} == {
        mine,
        slow,
    }
    some = await queue(master, "/main/pending?builders=else*&tags=far")
    assert [one["request_id"] for one in some["requests"]] == [mine]
    assert (await queue(master, "/pending?exclude_builders=elsewhere"))["waiting"] == 1
    wrong = await master.get("/self-serve/pending?builders=nothing*")
    assert (wrong.status, wrong.json["msg"]) == (400, "Bad builders")
    assert (await master.get("/self-serve/nowhere/pending")).status == 404
    page = await master.get("/self-serve/pending", json=False)
    assert page.status == 200
    assert "4 requests wait" in page.text
    # one has no branch that it could be asked on, and two are the next of their builders
    assert page.text.count("Build next") == 1
    assert f'/main/request/{mine}" class="inline"' in page.text


def with_what_never_starts() -> Config:
    made = config()
    made["workers"].append(worker.Worker("away", "secret"))
    lost, far = builder("lost"), builder("far")
    lost.workernames, far.workernames = [], ["away", "worker"]
    made["builders"] += [lost, far]
    made["schedulers"].append(schedulers.Triggerable(name="more", builderNames=["lost", "far"]))
    return made


@pytest.mark.parametrize("master", [with_what_never_starts], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_can_start_comes_first_and_who_is_away_is_said(master: Master) -> None:
    await master.finished_build("fast")
    master.pause()
    first = await master.add_request("lost", priority=9)
    far = await master.add_request("far")
    fast = await master.add_request("fast")
    found = await queue(master)
    assert [one["request_id"] for one in found["requests"]] == [far, fast, first]
    assert [one["reason"]["fatal"] for one in found["requests"]] == [False, False, True]
    away = {tuple(one["workers"]): one["not_connected"] for one in found["worker_sets"]}
    assert away == {(): [], ("away", "worker"): ["away"], ("worker",): []}
    html = (await master.get("/self-serve/pending", json=False)).text
    assert '0 of 2<span class="narrow"> busy</span>, <span class="bad">1 not connected<' in html
    assert "It will never start as things are</td>" in html
    waits = next(one for one in found["builders"] if one["buildername"] == "fast")
    assert waits["p50"] == waits["p90"]
    assert f">nine in ten up to {waits['p90']}s</td>" in html


@pytest_twisted.ensureDeferred
async def test_a_request_is_on_the_branch_of_any_of_its_codebases(master: Master) -> None:
    master.pause()
    where = {"repository": "", "project": "", "revision": None}
    stamps = [
        {**where, "codebase": "a library", "branch": None},
        {**where, "codebase": "the program", "branch": "main", "revision": REVISION},
    ]
    await master.add_change(author=USER, files=[], comments="", **stamps[1])
    request_id = await master.add_request("slow", sourcestamps=stamps)
    for path in ("/main/pending", "/pending"):
        told = await queue(master, f"{path}?builders=slow")
        (row,) = told["requests"]
        assert told["builders"][0]["owners"] == {row["owner"]: 1} == {USER: 1}
        assert (row["request_id"], row["branch"]) == (request_id, "main")
        assert row["revision"] == REVISION


@with_pools
@pytest_twisted.ensureDeferred
async def test_the_next_is_one_more_than_the_highest(master: Master) -> None:
    await master.running_build(await master.add_request("slow"))
    first, second = [await master.add_request("slow", priority=n) for n in (4, 0)]
    elsewhere = await master.add_request("fast", priority=50)
    path = f"/self-serve/main/request/{second}"

    async def put(path: str, **fields: Any) -> Any:
        return await master.request("PUT", path, user=USER, json=True, data=fields)

    planned = await put(f"{path}?dry_run=1", priority="next")
    assert planned.json["requests"][0]["priority"] == 5
    answer = await put(path, priority=" next ", if_plan=planned.json["plan"])
    assert outcomes(answer.json) == {second: "reprioritized"}
    assert answer.json["msg"] == f"Request {second} has priority 5"
    assert (await queue(master))["requests"][0]["request_id"] in (second, elsewhere)
    job = await master.get(f"/self-serve/jobs/{answer.json['job_id']}")
    assert job.json["what"]["priority"] == "next"
    answer = await put(f"/self-serve/main/request/{first}", priority="next")
    assert answer.json["msg"] == f"Request {first} has priority 6"
    # whoever was planned first is not before one that was asked for after it
    planned_long_ago = NewPriority(second, "slow", 6, is_next=True)
    _, wanted = await set_priority.reprioritize(master.master, [planned_long_ago])
    assert wanted == {second: 7}
    assert (await put(path, priority=str(HIGHEST))).status == 202
    assert (await put(path, priority="next")).json["msg"].endswith(f"priority {HIGHEST}")
    refused = await put(f"/self-serve/main/request/{first}", priority="next")
    assert (refused.status, refused.json["msg"]) == (400, "Bad priority")
    for wrong in ("Next", "nextt", "", "1.5"):
        answer = await put(path, priority=wrong)
        assert (answer.status, answer.json["msg"]) == (400, "Bad priority")


@with_pools
@pytest_twisted.ensureDeferred
async def test_all_that_waits_at_a_revision_is_built_next_in_its_order(master: Master) -> None:
    await master.running_build(await master.add_request("slow"))
    first, second = [await master.add_request("slow") for _ in range(2)]
    elsewhere = await master.add_request("slow", priority=5, revision="b" * 40)
    path = f"/self-serve/main/rev/{REVISION}"

    async def put(path: str, **fields: Any) -> Any:
        return await master.request("PUT", path, user=USER, json=True, data=fields)

    planned = await put(f"{path}?dry_run=1", priority="next")
    assert {one["outcome"] for one in planned.json["requests"]} == {"would_reprioritize"}
    answer = await put(path, priority="next", if_plan=planned.json["plan"])
    assert outcomes(answer.json) == {first: "reprioritized", second: "reprioritized"}
    rows = [await master.data("buildrequests", one) for one in (first, second, elsewhere)]
    assert [one["priority"] for one in rows] == [7, 6, 5]
    job = await master.get(f"/self-serve/jobs/{answer.json['job_id']}")
    assert (job.json["action"], job.json["what"]["priority"]) == ("reprioritize_revision", "next")
    some = await put(path, priority="-3", builders="fast")
    assert (some.status, some.json["msg"]) == (202, "Nothing is pending")
    refused = await put(path, priority="soon")
    assert (refused.status, refused.json["msg"]) == (400, "Bad priority")


@with_pools
@pytest_twisted.ensureDeferred
async def test_what_waits_at_a_revision_is_not_compared_with_all_the_rest(
    master: Master, monkeypatch: Any
) -> None:
    """Thousands of requests would keep the reactor from all else for seconds."""
    master.pause()
    ids = [await master.add_request("slow") for _ in range(3)]

    def compare(one: Any, other: Any) -> bool:
        raise AssertionError

    monkeypatch.setattr(current_state.RequestState, "__eq__", compare)
    path = f"/self-serve/main/rev/{REVISION}"
    answer = await master.request("PUT", path, user=USER, data={"priority": "1"})
    assert outcomes(answer.json) == dict.fromkeys(ids, "reprioritized"), answer.text


@with_pools
@pytest_twisted.ensureDeferred
async def test_what_is_built_next_is_read_once_for_each_builder(master: Master) -> None:
    """With thousands of requests of a builder, SQLite had no time for others for minutes."""
    master.pause()
    ids = [await master.add_request("slow") for _ in range(4)]
    looks: list[str] = []

    def note(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if statement.startswith("SELECT buildrequests.id, buildrequests.priority"):
            looks.append(statement)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        path = f"/self-serve/main/rev/{REVISION}"
        answer = await master.request("PUT", path, user=USER, data={"priority": "next"})
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
    assert outcomes(answer.json) == dict.fromkeys(ids, "reprioritized"), answer.text
    rows = [await master.data("buildrequests", one) for one in ids]
    assert [one["priority"] for one in rows] == [4, 3, 2, 1]
    assert len(looks) == 2  # to plan, and to write


@pytest.mark.writes_at_once
@with_pools
@pytest_twisted.ensureDeferred
async def test_of_two_that_are_next_at_once_one_comes_after_the_other(master: Master) -> None:
    master.pause()
    ids = [await master.add_request("slow") for _ in range(6)]
    work = [
        defer.Deferred.fromCoroutine(
            set_priority.reprioritize(master.master, [NewPriority(one, "slow", 1, is_next=True)])
        )
        for one in ids
    ]
    given = [wanted[one] for one, (_, wanted) in zip(ids, [await one for one in work], strict=True)]
    assert sorted(given) == [1, 2, 3, 4, 5, 6]
    rows = [await master.data("buildrequests", one) for one in ids]
    assert [one["priority"] for one in rows] == given


@with_pools
@pytest_twisted.ensureDeferred
async def test_nobody_may_say_what_is_built_next_without_a_right(master: Master) -> None:
    master.pause()
    request_id = await master.add_request("slow")
    path = f"/self-serve/main/request/{request_id}"
    assert (await master.request("PUT", path, data={"priority": "next"})).status == 401
    assert (await master.data("buildrequests", request_id))["priority"] == 0
    page = await master.get("/self-serve/main/pending", json=False)
    assert "Build next" not in page.text


@with_pools
@pytest_twisted.ensureDeferred
async def test_at_most_200_requests_are_listed_and_all_are_counted(master: Master) -> None:
    master.pause()
    first = await master.add_request("slow")
    builder_id = (await master.data("buildrequests", first))["builderid"]

    def add(connection: Any) -> None:
        now = int(time.time())
        for _ in range(250):
            connection.execute(
                sa.text(
                    "INSERT INTO buildrequests (buildsetid, builderid, priority, complete, results,"
                    " submitted_at, waited_for)"
                    f" VALUES (1, {builder_id}, 0, 0, -1, {now - 7200}, 0)"
                )
            )
        connection.commit()

    await master.master.db.pool.do(add)
    found = await queue(master)
    assert (found["waiting"], len(found["requests"])) == (251, 200)
    assert found["oldest"] >= 7200
    assert sum(found["builders"][0]["reasons"].values()) == 251
    assert found["requests"][0]["request_id"] == first


@pytest.mark.parametrize(
    ("waits", "told"),
    [
        ([], (None, None)),
        ([3], (3, 3)),
        ([1, 9], (1, 9)),
        (range(100, 0, -1), (50, 90)),
    ],
)
def test_percentiles(waits: Any, told: Any) -> None:
    assert percentiles(waits) == told
