"""Bisections on a real master."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from buildbot.plugins import worker
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task

from buildbot_selfserve.control import current_state
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.jobs import ongoing
from buildbot_selfserve.journal.budgets import HOUR
from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import Limits
from tests import test_gone_masters as gone
from tests.bisected import HERE
from tests.bisected import Checkout
from tests.bisected import Held
from tests.bisected import Judge
from tests.bisected import all_built
from tests.bisected import begin
from tests.bisected import begin_paused
from tests.bisected import bisected
from tests.bisected import bisection
from tests.bisected import broken_from
from tests.bisected import ended
from tests.bisected import fetched
from tests.bisected import fetching
from tests.bisected import jobs
from tests.bisected import judge
from tests.bisected import judged
from tests.bisected import push
from tests.bisected import pushed
from tests.bisected import renamed
from tests.bisected import revision
from tests.bisected import with_held_builds
from tests.harness import PASSWORD
from tests.harness import USER
from tests.harness import Master
from tests.plans import JOURNAL
from tests.plans import changed
from tests.plans import contents
from tests.test_limits import age

EVERY_DATABASE = "heavy"
on_judged = pytest.mark.parametrize("master", [judged], indirect=True)


@on_judged
@pytest_twisted.ensureDeferred
async def test_the_culprit_is_found(master: Master) -> None:
    broken_from(5)
    await pushed(master, 12)
    receipt = await begin(master)
    assert receipt["status"] == "OK"
    assert receipt["msg"] == "Bisecting 10 revisions: 1 build requested"
    assert receipt["completed_at"] is None
    found = await ended(master, receipt["job_id"])
    assert found["status"] == "found"
    assert found["culprit"]["revision"] == revision(5)
    assert found["culprit"]["author"] == "Author 5 <a5@example.org>"
    assert found["culprit"]["subject"] == "Change 5"
    assert (found["good"], found["bad"]) == (revision(0), revision(11))
    assert found["candidates"] == [revision(number) for number in range(1, 11)]
    assert len(Judge.built) == found["builds"] <= 6 + 2
    job = (await master.get(f"/self-serve/jobs/{receipt['job_id']}")).json
    assert (job["action"], job["status"]) == ("bisect", "ok")
    assert job["what"]["revision"] == revision(11)
    assert len(job["complete_data"]["body"]["requests"]) == found["builds"]
    # the revisions that it has built tell of it
    built = {one["revision"] for one in job["complete_data"]["body"]["requests"]}
    for number in (0, 1, 5, 11):
        path = f"/self-serve/jobs?revision={revision(number)}"
        is_listed = receipt["job_id"] in [one["job_id"] for one in (await master.get(path)).json]
        assert is_listed == (revision(number) in built or number in (5, 11))
    page = await master.get(f"/self-serve/main/rev/{revision(5)}", json=False)
    assert f">{revision(5)[:12]}</a> by Author 5 broke it: Change 5" in page.text


@on_judged
@pytest_twisted.ensureDeferred
async def test_who_asks_twice_joins_the_first(master: Master) -> None:
    first = await begin_paused(master)
    again = await begin(master, revision=revision(5)[:8], good=revision(0))
    assert again == first
    other = await begin(master, good=revision(0), confirm="2")
    assert other["job_id"] != first["job_id"]
    listed = (await master.get("/self-serve/jobs")).json
    assert [job["status"] for job in listed] == ["running", "ok", "running"]
    assert f"Job {first['job_id']} bisects this" in listed[1]["complete_data"]["body"]["msg"]
    master.resume()
    assert (await ended(master, first["job_id"]))["culprit"]["revision"] == revision(3)
    assert (await ended(master, other["job_id"]))["culprit"]["revision"] == revision(3)
    # each result served both
    assert sorted(Judge.built.count(edge) for edge in (2, 3)) == [3, 4]
    assert len(Judge.built) <= 3 + 2 * 2 + 1


@on_judged
@pytest_twisted.ensureDeferred
async def test_two_that_share_revisions_build_them_once(master: Master) -> None:
    broken_from(5)
    await pushed(master, 12)
    await master.finished_build("judged", revision=revision(9))
    Judge.built.clear()
    master.pause()
    first = await begin(master, good=revision(0), revision=revision(11))
    second = await begin(master, good=revision(0), revision=revision(9))
    assert first["job_id"] != second["job_id"]
    # the second waits for what the first has requested, in the middle of both
    assert (len(first["requests"]), second["requests"]) == (1, [])
    master.resume()
    for one in (first, second):
        found = await ended(master, one["job_id"])
        assert (found["status"], found["culprit"]["revision"]) == ("found", revision(5))
    assert {Judge.built.count(number) for number in Judge.built} <= {1, 2}
    assert {number for number in Judge.built if Judge.built.count(number) > 1} <= {4, 5}
    assert all(one["complete"] for one in await master.data("buildrequests"))


@on_judged
@pytest_twisted.ensureDeferred
async def test_one_goes_on_when_the_other_that_it_waits_for_is_stopped(master: Master) -> None:
    broken_from(5)
    await pushed(master, 12)
    master.pause()
    first = await begin(master)
    second = await begin(master, confirm="2")
    assert second["requests"] == []
    await master.request("DELETE", f"{HERE}/{first['job_id']}", user=USER)
    assert (await bisection(master, first["job_id"]))["status"] == "cancelled"
    master.resume()
    found = await ended(master, second["job_id"])
    assert (found["status"], found["culprit"]["revision"]) == ("found", revision(5))
    assert len(Judge.built) == found["builds"] <= 4 + 2 + 4


@pytest.mark.parametrize("master", [fetching], indirect=True)
@pytest_twisted.ensureDeferred
async def test_edges_that_were_built_without_their_names_are_built_again(master: Master) -> None:
    broken_from(3)
    await push(master, 8)
    await fetched(master, (0, 2, 6, 7))
    await master.finished_build("judged", revision=revision(3)[:8])
    Judge.built.clear()
    found = await bisected(master, good=revision(0), revision=revision(6))
    assert (found["status"], found["culprit"]["revision"]) == ("found", revision(3))
    assert sorted(Judge.built) == [2, 3]


@pytest.mark.parametrize("master", [lambda: judged(max_bisections=1)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_no_more_than_the_operator_allows_go_on_at_once(master: Master) -> None:
    first = await begin_paused(master)
    fields = {"builder_name": "judged", "confirm": "0"}
    answer = await master.post(HERE, user=USER, data=fields)
    assert (answer.status, answer.json["msg"]) == (429, "1 bisection at once are enough")
    assert answer.header("retry-after")
    master.resume()
    await ended(master, first["job_id"])
    assert (await bisected(master, confirm="0"))["status"] == "found"


@on_judged
@pytest_twisted.ensureDeferred
async def test_what_is_known_needs_no_build(master: Master) -> None:
    broken_from(1)
    await pushed(master, 2)
    receipt = await begin(master, confirm="0")
    assert receipt["completed_at"]
    assert receipt["msg"] == f"{revision(1)[:12]} by Author 1 <a1@example.org> broke it: Change 1"
    found = await bisection(master, receipt["job_id"])
    assert (found["status"], found["culprit"]["revision"]) == ("found", revision(1))
    assert (found["builds"], found["left_steps"], found["next"]) == (0, 0, None)
    assert [one["state"] for one in found["tested"]] == ["passed", "failed"]
    assert Judge.built == []
    jobs_at = (await master.get(f"/self-serve/jobs?revision={revision(1)}")).json
    assert [one["job_id"] for one in jobs_at] == [receipt["job_id"]]


@on_judged
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_built_is_tried_three_times(master: Master) -> None:
    broken_from(4, unbuildable=[3, 4])
    await pushed(master, 8)
    found = await bisected(master)
    assert found["status"] == "range_only"
    assert (found["low"], found["high"]) == (revision(2), revision(5))
    assert max(Judge.built.count(number) for number in (3, 4)) <= 3
    assert found["culprit"] is None
    states = {one["revision"]: one["state"] for one in found["tested"]}
    assert states[revision(3)] == states[revision(4)] == "exception"


def with_checkout() -> Any:
    """Return the configuration of a master whose builds get their sources first."""
    made = judged()
    for one in made["builders"]:
        one.factory = util.BuildFactory([Checkout(haltOnFailure=True), Judge()])
    return made


@pytest.mark.parametrize(
    ("away", "status", "low", "high"), [((2, 3), "found", 4, 5), ((3, 4, 5), "range_only", 2, 6)]
)
@pytest.mark.parametrize("master", [with_checkout], indirect=True)
@pytest_twisted.ensureDeferred
async def test_who_was_pushed_away_has_broken_nothing(
    master: Master,
    monkeypatch: pytest.MonkeyPatch,
    away: tuple[int, ...],
    status: str,
    low: int,
    high: int,
) -> None:
    monkeypatch.setattr(Checkout, "pushed_away", frozenset(away))
    broken_from(5)
    await pushed(master, 8)
    found = await bisected(master)
    assert (found["status"], found["low"], found["high"]) == (status, revision(low), revision(high))
    states = {one["revision"]: one["state"] for one in found["tested"]}
    assert {states.get(revision(number), "exception") for number in away} == {"exception"}


class Absent(Judge):
    """Loses its worker in the middle of the first build of a revision."""

    lost_at = 3

    async def run(self) -> int:
        result = await super().run()
        assert self.build is not None
        if Judge.built[-1] == self.lost_at and Judge.built.count(self.lost_at) == 1:
            self.build.workerforbuilder.worker.conn.loseConnection()
            await self.interrupted
            return RETRY
        return result

    def startStep(self, remote: Any) -> Any:
        self.interrupted: defer.Deferred[None] = defer.Deferred()
        return super().startStep(remote)

    def interrupt(self, reason: Any) -> Any:
        self.interrupted.callback(None)
        return super().interrupt(reason)


def with_a_spare_worker() -> Any:
    made = judged()
    made["workers"].append(worker.LocalWorker("spare"))
    for one in made["builders"]:
        one.workernames.append("spare")
        one.factory = util.BuildFactory([Absent()])
    return made


@pytest.mark.parametrize("master", [with_a_spare_worker], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_worker_that_is_lost_costs_one_build(master: Master) -> None:
    broken_from(4)
    await pushed(master, 8)
    found = await bisected(master)
    assert (found["status"], found["culprit"]["revision"]) == ("found", revision(4))
    assert Judge.built.count(Absent.lost_at) == 3  # one that was lost, one that counts, one again
    assert len(Judge.built) == found["builds"] + 1


@on_judged
@pytest_twisted.ensureDeferred
async def test_an_edge_that_does_not_hold_is_flaky(master: Master) -> None:
    judge(lambda number, before: 2 if number == 3 or (number == 2 and not before) else 0)
    await pushed(master, 4)
    found = await bisected(master)
    assert found["status"] == "flaky"
    states = {one["revision"]: one["state"] for one in found["tested"]}
    assert states[revision(2)] == "flaky"


@on_judged
@pytest_twisted.ensureDeferred
async def test_who_stops_it_cancels_what_waits(master: Master) -> None:
    receipt = await begin_paused(master)
    (request,) = receipt["requests"]
    path = f"{HERE}/{receipt['job_id']}"
    planned = (await master.request("DELETE", f"{path}?dry_run=1", user=USER)).json
    assert [one["outcome"] for one in planned["requests"]] == ["would_cancel"]
    assert (await bisection(master, receipt["job_id"]))["status"] == "running"
    stopped = await master.request("DELETE", path, user=USER)
    assert stopped.status == 202
    assert stopped.json["msg"] == (
        f"Bisection {receipt['job_id']} stopped: Request {request['request_id']} is cancelled"
    )
    found = await bisection(master, receipt["job_id"])
    assert (found["status"], found["msg"]) == ("cancelled", f"Stopped by {USER}")
    master.resume()
    done = await master.completed(request["request_id"])
    assert done["results"] == 6
    again = await master.request("DELETE", path, user=USER)
    assert again.json["msg"] == f"Bisection {receipt['job_id']} has already ended"
    assert Judge.built == []
    await master.until(lambda: not jobs().ongoing.rows, "nobody goes on with it")


@on_judged
@pytest_twisted.ensureDeferred
async def test_a_builder_that_is_renamed_ends_it(master: Master) -> None:
    receipt = await begin_paused(master)
    await master.reconfig(renamed)
    found = await ended(master, receipt["job_id"])
    assert found["status"] == "failed"
    assert found["msg"] == "Builder judged is no longer configured"
    done = await master.completed(receipt["requests"][0]["request_id"])
    assert done["results"] == 6
    job = (await master.get(f"/self-serve/jobs/{receipt['job_id']}")).json
    assert job["status"] == "failed"


@pytest.mark.parametrize("master", [with_held_builds], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_builder_that_is_renamed_while_it_builds_ends_it(master: Master) -> None:
    broken_from(3)
    await pushed(master, 6)
    with Held.one():
        receipt = await begin(master)
        await Held.begun
        await master.reconfig(lambda: with_held_builds("renamed"))
        found = await ended(master, receipt["job_id"])
    assert (found["status"], found["msg"]) == ("failed", "Builder judged is no longer configured")
    # what runs ends by itself, and nothing follows. Buildbot forgets the request of that build
    await master.until(lambda: all_built(master), "it has ended")
    assert len(Judge.built) == 1
    # under its new name it can be bisected
    for number in (0, 5):
        await master.finished_build("renamed", revision=revision(number))
    assert (await bisected(master, "renamed"))["culprit"]["revision"] == revision(3)


@on_judged
@pytest_twisted.ensureDeferred
async def test_a_plan_says_what_would_be_built_first(master: Master) -> None:
    broken_from(3)
    await pushed(master, 6)
    data = {"builder_name": "judged", "properties": '{"mode": "full"}'}
    before = await contents(master)
    planned = await master.post(HERE, user=USER, data={**data, "dry_run": "1"})
    assert (planned.status, planned.json["status"]) == (200, "PLANNED")
    assert planned.json["msg"] == "Bisecting 4 revisions: 1 build would be requested"
    (one,) = planned.json["requests"]
    assert (one["revision"], one["priority"]) == (revision(3), -1)
    unchanged = {*JOURNAL, "buildrequests", "selfserve_leases"}
    assert not changed(before, await contents(master)) & unchanged
    receipt = await begin(master, **{**data, "if_plan": planned.json["plan"]})
    buildset = await master.data("buildsets", receipt["buildset_ids"][0])
    assert buildset["sourcestamps"][0]["revision"] == revision(3)
    properties = await master.data("buildsets", buildset["bsid"], "properties")
    assert properties["mode"] == ("full", "Self-serve")
    assert properties["selfserve_range"] == (receipt["job_id"], "Self-serve")
    # builds without these properties say nothing, so that both ends are built, too
    found = await ended(master, receipt["job_id"])
    assert found["culprit"]["revision"] == revision(3)


@on_judged
@pytest_twisted.ensureDeferred
async def test_what_is_wrong_is_said(master: Master) -> None:
    broken_from(3)
    await pushed(master, 6)
    await master.finished_build("judged", revision=revision(1))
    Judge.built.clear()
    for fields, status, msg in (
        ({}, 400, "Bad builder_name"),
        ({"builder_name": "nobody"}, 404, "Builder nobody not found on branch main"),
        ({"builder_name": "judged", "confirm": "-1"}, 400, "Bad confirm"),
        ({"builder_name": "judged", "max": "101"}, 400, "Bad max"),
        ({"builder_name": "judged", "max": "2"}, 400, "No good revision within 2"),
        ({"builder_name": "judged", "revision": revision(1)}, 400, "Bad revision"),
        ({"builder_name": "judged", "good": revision(5)}, 400, "Bad good"),
        ({"builder_name": "other"}, 400, "No failed revision within 6"),
    ):
        answer = await master.post(HERE, user=USER, data=fields)
        assert (answer.status, answer.json["msg"]) == (status, msg), fields
        # that is for backfills only
        assert "force" not in answer.json.get("detail", "")
    for method in ("GET", "DELETE"):
        answer = await master.request(method, f"{HERE}/99", user=USER)
        assert (answer.status, answer.json["msg"]) == (
            404,
            "Bisection 99 not found on branch main",
        )
    assert Judge.built == []


def restricted() -> Any:
    """Return the configuration of a master where only some may bisect, and nobody ``other``."""
    made = judged()
    made["www"]["authz"] = util.Authz(
        allowRules=[
            util.ForceBuildEndpointMatcher(builder="other", role="admins"),
            util.SelfServeEndpointMatcher(action="bisect", role="bisectors"),
        ],
        roleMatchers=[util.RolesFromUsername(roles=["bisectors"], usernames=[USER])],
    )
    made["www"]["auth"] = util.UserPasswordAuth({USER: PASSWORD, "bob": PASSWORD})
    return made


@pytest.mark.parametrize("master", [restricted], indirect=True)
@pytest_twisted.ensureDeferred
async def test_who_may_not_may_neither_begin_nor_stop_one(master: Master) -> None:
    broken_from(3)
    await pushed(master, 6, "other")
    for number in (0, 5):
        await master.finished_build("judged", revision=revision(number))
    master.pause()
    receipt = await begin(master)
    path = f"{HERE}/{receipt['job_id']}"
    fields = {"builder_name": "judged", "confirm": "0"}
    assert (await master.post(HERE, data=fields)).status == 401
    assert (await master.post(HERE, user="bob", data=fields)).status == 403
    assert (await master.request("DELETE", path, user="bob")).status == 403
    other = {"builder_name": "other"}
    assert (await master.post(HERE, user=USER, data=other)).status == 403
    assert (await bisection(master, receipt["job_id"]))["status"] == "running"
    assert (await master.request("DELETE", path, user=USER)).status == 202


@on_judged
@pytest_twisted.ensureDeferred
async def test_another_life_of_the_master_goes_on_with_it(master: Master) -> None:
    broken_from(7)
    await pushed(master, 12)
    master.pause()
    receipt = await begin(master)
    for _ in range(3):
        await jobs().begin_anew()
        assert not jobs().ongoing.rows
        await jobs().left_open.of_this_master()
        await jobs().left_open.of_this_master()
        assert len(jobs().ongoing.rows) == 1
    master.resume()
    found = await ended(master, receipt["job_id"])
    assert (found["status"], found["culprit"]["revision"]) == ("found", revision(7))
    assert len(Judge.built) == found["builds"] <= 6 + 2


@on_judged
@pytest_twisted.ensureDeferred
async def test_what_another_master_has_claimed_and_never_builds_is_built_again(
    master: Master,
) -> None:
    broken_from(7)
    await pushed(master, 12)
    master.pause()
    other = await gone.another(master)
    receipt = await begin(master)
    (request,) = receipt["requests"]
    await gone.builds(master, other, request["request_id"])
    master.resume()
    # as long as it lives, it may end its build
    jobs().ongoing.look()
    await master.until(lambda: not any_woken(), "it has looked")
    assert len((await bisection(master, receipt["job_id"]))["tested"]) == 3
    await gone.dies(master, other)
    jobs().ongoing.look()
    found = await ended(master, receipt["job_id"])
    assert (found["status"], found["culprit"]["revision"]) == ("found", revision(7))
    # by the request that was there
    assert len(Judge.built) == found["builds"] <= 6 + 2
    assert (await master.completed(request["request_id"]))["claimed_by_masterid"] != other


@on_judged
@pytest_twisted.ensureDeferred
async def test_what_another_master_gives_up_without_a_word_is_built(
    master: Master, monkeypatch: Any
) -> None:
    monkeypatch.setattr(ongoing, "INTERVAL", 0.2)
    receipt = await begin_paused(master)
    (request,) = receipt["requests"]
    other = await gone.another(master)
    build_id = await gone.builds(master, other, request["request_id"])
    master.resume()
    distributor = master.master.botmaster.brd
    await master.until(lambda: not distributor.active, "builders have looked for work")
    # as a master does that starts again after it was killed
    db = master.master.db
    await db.builds.finishBuild(build_id, RETRY)
    await db.buildrequests._unclaim_buildrequests_for_master([request["request_id"]], other)
    assert (await ended(master, receipt["job_id"]))["status"] == "found"


@pytest.mark.parametrize("number", [5, 6])
@on_judged
@pytest_twisted.ensureDeferred
async def test_what_others_wait_for_in_vain_is_not_waited_for(master: Master, number: int) -> None:
    broken_from(6)
    await pushed(master, 12)
    master.pause()
    other = await gone.another(master)
    request_id = await master.add_request("judged", revision=revision(number))
    await gone.builds(master, other, request_id)
    receipt = await begin(master)
    assert receipt["requests"] == []
    master.resume()
    await gone.dies(master, other)
    jobs().ongoing.look()
    found = await ended(master, receipt["job_id"])
    assert (found["status"], found["culprit"]["revision"]) == ("found", revision(6))
    # it is somebody else's
    assert not (await master.data("buildrequests", request_id))["complete"]


def any_woken() -> bool:
    """Whether a bisection is about to look again."""
    return any(one.woken for one in jobs().ongoing._followed.values())


@on_judged
@pytest_twisted.ensureDeferred
async def test_a_database_that_is_away_is_outlasted(master: Master, monkeypatch: Any) -> None:
    receipt = await begin_paused(master)
    failed = []

    async def fail(ctx: Any, job: Any, made: Any) -> Any:
        failed.append(job.job_id)
        raise OSError("the database is away")

    kind = ongoing.Kind(fail, ongoing.KINDS["bisect"].last_step)
    monkeypatch.setattr(ongoing, "FIRST_RETRY", 0.01)
    with monkeypatch.context() as patched:
        patched.setattr(ongoing, "KINDS", {"bisect": kind})
        jobs().ongoing.look()
        await master.until(lambda: len(failed) > 1, "it was tried again")
    master.resume()
    assert (await ended(master, receipt["job_id"]))["status"] == "found"


@on_judged
@pytest_twisted.ensureDeferred
async def test_a_step_reads_once_what_was_requested(master: Master, monkeypatch: Any) -> None:
    await begin_paused(master)
    numbers_made, kind = current_state.numbers_made, ongoing.KINDS["bisect"]
    reads: list[int] = []
    steps: list[int] = []

    def read(connection: Any, job_id: int, since: int) -> dict[int, int]:
        reads.append(job_id)
        return numbers_made(connection, job_id, since)

    async def next_step(ctx: Any, job: Any, made: Any) -> Any:
        step = await kind.next_step(ctx, job, made)
        steps.append(len(reads))
        reads.clear()
        return step

    monkeypatch.setattr(current_state, "numbers_made", read)
    monkeypatch.setattr(ongoing, "KINDS", {"bisect": ongoing.Kind(next_step, kind.last_step)})
    await master.until(lambda: (jobs().ongoing.look(), len(steps) > 1)[1], "two steps")
    assert steps[1] == 1  # the first may have begun before


@on_judged
@pytest_twisted.ensureDeferred
async def test_what_always_fails_ends_it(master: Master, monkeypatch: Any) -> None:
    receipt = await begin_paused(master)

    async def fail(ctx: Any, job: Any, made: Any) -> Any:
        raise RuntimeError("a mistake")

    kind = ongoing.Kind(fail, ongoing.KINDS["bisect"].last_step)
    for name, value in (("FIRST_RETRY", 0.001), ("LAST_RETRY", 0.01), ("SETTLING", 0)):
        monkeypatch.setattr(ongoing, name, value)
    monkeypatch.setattr(ongoing, "KINDS", {"bisect": kind})
    jobs().ongoing.look()
    found = await ended(master, receipt["job_id"])
    assert found["status"] == "failed"
    assert found["msg"] == "the master could not go on with it; its log says why"


@pytest.mark.parametrize("error", [RuntimeError("a mistake"), Unavailable("not now")])
@on_judged
@pytest_twisted.ensureDeferred
async def test_events_do_not_end_the_pause_after_a_failure(
    master: Master, monkeypatch: Any, error: Exception
) -> None:
    receipt = await begin_paused(master)
    failed = []

    async def fail(ctx: Any, job: Any, made: Any) -> Any:
        failed.append(job.job_id)
        raise error

    monkeypatch.setattr(ongoing, "SETTLING", 0)
    for name in ("FIRST_RETRY", "LAST_RETRY"):
        monkeypatch.setattr(ongoing, name, 60.0)
    (one,) = jobs().ongoing._followed.values()
    with monkeypatch.context() as patched:
        patched.setattr(
            ongoing, "KINDS", {"bisect": ongoing.Kind(fail, ongoing.KINDS["bisect"].last_step)}
        )
        jobs().ongoing.look()
        await master.until(lambda: failed and one._waiter is not None, "a step fails, and it waits")
        attempts = len(failed)
        for number in range(20):
            topic = ("builds", str(number), "finished")
            master.master.mq.produce(topic, {"builderid": one.builder_id})
            await task.deferLater(reactor, 0.02)
        assert one.woken
        assert len(failed) == attempts
    # a reconfig ends it
    master.resume()
    await master.reconfig(judged)
    assert (await ended(master, receipt["job_id"]))["status"] == "found"


@on_judged
@pytest_twisted.ensureDeferred
async def test_it_is_tried_for_as_long_as_it_takes(master: Master, monkeypatch: Any) -> None:
    await pushed(master, 6)
    master.pause()
    await begin(master)
    (one,) = jobs().ongoing._followed.values()

    async def fail(one: Any) -> bool:
        raise RuntimeError("its turn cannot be taken")

    monkeypatch.setattr(jobs().ongoing, "_in_turn", fail)
    one.failures = 5000
    assert await jobs().ongoing._tried(one) == ongoing.LAST_RETRY


def frugal() -> Any:
    """Return the configuration of a master where a user may make two builds an hour."""
    return judged(limits=util.SelfServeLimits(builds_per_hour=2))


@pytest.mark.parametrize("master", [frugal], indirect=True)
@pytest_twisted.ensureDeferred
async def test_it_waits_for_the_budget_of_its_user(master: Master, monkeypatch: Any) -> None:
    broken_from(7)
    await pushed(master, 12)
    receipt = await begin(master)

    async def waits() -> bool:
        return "it goes on later" in (await bisection(master, receipt["job_id"]))["msg"]

    await master.until(waits, "it waits")
    assert len(Judge.built) == 2
    jobs().limits = Limits()
    jobs().ongoing.look()
    assert (await ended(master, receipt["job_id"]))["status"] == "found"


async def rebuild(master: Master, count: int = 1) -> Any:
    data = {"build_id": 1, "count": count}
    return await master.post("/self-serve/main/build", user=USER, data=data)


@pytest.mark.parametrize("master", [frugal], indirect=True)
@pytest_twisted.ensureDeferred
async def test_later_steps_count_when_they_are_taken(master: Master) -> None:
    broken_from(7)
    await pushed(master, 12)
    master.pause()
    job_id = (await begin(master))["job_id"]
    await age(master, 2 * HOUR)  # what the first step builds no longer counts
    assert (await rebuild(master)).status == 202
    master.resume()

    async def waits() -> bool:
        return "it goes on later" in (await bisection(master, job_id))["msg"]

    await master.until(waits, "it waits")
    # one is left, and the job of two hours ago took it
    assert len(Judge.built) == 3
    refused = await rebuild(master)
    assert (refused.status, refused.json["msg"]) == (429, "1 build requested, 0 left of 2 per hour")
    jobs().limits = Limits(20)
    jobs().ongoing.look()
    assert (await ended(master, job_id))["status"] == "found"
    # the end of the job counts nothing again
    left = 20 - (len(Judge.built) - 1)
    refused = await rebuild(master, 20)
    assert refused.json["msg"] == f"20 builds requested, {left} left of 20 per hour"


@on_judged
@pytest_twisted.ensureDeferred
async def test_its_page_shows_the_range_as_a_strip(master: Master) -> None:
    receipt = await begin_paused(master)
    path = f"{HERE}/{receipt['job_id']}"
    page = (await master.get(path, json=False, headers={"Accept": "text/html"})).text
    assert page.count('class="square') == 6
    assert 'class="square pending"' in page
    assert "looking for it" in page.lower()
    assert 'name="_method" value="DELETE"' in page
    journal = (await master.get(f"/self-serve/jobs/{receipt['job_id']}?format=html")).text
    assert f'href="{path}">See how far it has come</a>' in journal
    master.resume()
    await ended(master, receipt["job_id"])
    page = (await master.get(path, json=False, headers={"Accept": "text/html"})).text
    assert f"{revision(3)[:12]}</a> by Author 3 broke it: Change 3" in page
    assert 'name="_method" value="DELETE"' not in page
    assert "Rebuilds to confirm it</dt><dd>1 each of the last good and of the first bad" in page
    # the job request leads to what was found, too
    found = f'rev/{revision(3)}">{revision(3)[:12]}</a> by Author 3 broke it: Change 3'
    for where in (f"/self-serve/jobs/{receipt['job_id']}", "/self-serve/jobs"):
        page = (await master.get(f"{where}?format=html")).text
        assert found in page, where
    job = (await master.get(f"/self-serve/jobs/{receipt['job_id']}?format=html")).text
    assert "See what was tested</a>" in job
    assert "<dt>Bad revision</dt>" in job


@on_judged
@pytest_twisted.ensureDeferred
async def test_a_key_that_is_sent_again_returns_the_receipt(master: Master) -> None:
    broken_from(3)
    await pushed(master, 6)
    master.pause()
    more: Any = {"data": {"builder_name": "judged"}, "headers": {"Idempotency-Key": "k"}}
    first = await master.post(HERE, user=USER, **more)
    again = await master.post(HERE, user=USER, **more)
    assert again.json == first.json
    assert len((await master.get("/self-serve/jobs")).json) == 1
