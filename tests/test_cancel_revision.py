"""Cancelling everything at a revision, and what is told to stop but does not at once."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import schedulers
from buildbot.plugins import util
from twisted.internet import reactor
from twisted.internet import task

from buildbot_selfserve.control import cancel
from buildbot_selfserve.control import cancel_pending
from buildbot_selfserve.control import current_state
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import config
from tests.steps import Deaf
from tests.steps import deaf_build
from tests.steps import with_stubborn_master

EVERY_DATABASE = "heavy"
SUCCESS, RETRY, CANCELLED = 0, 5, 6
AT = f"/self-serve/main/rev/{REVISION}"


@pytest_twisted.ensureDeferred
async def test_everything_at_the_revision_ends_and_nothing_else(master: Any) -> None:
    running = await master.add_request("slow")
    build = await master.running_build(running)
    master.pause()
    pending = [
        await master.add_request("fast", properties={"n": (n, "Scheduler")}) for n in range(3)
    ]
    behind = await master.add_request("slow", properties={"n": (1, "Scheduler")})
    elsewhere = await master.add_request("fast", branch="other")
    later = await master.add_request("fast", revision="e" * 40, properties={"n": (9, "Scheduler")})
    seen: list[Any] = []
    consumer = await master.master.mq.startConsuming(
        lambda key, event: seen.append(key), (None, None, "complete")
    )
    answer = await master.request("DELETE", AT, user=USER)
    assert answer.status == 202, answer.text
    outcomes = {one["request_id"]: one["outcome"] for one in answer.json["requests"]}
    assert outcomes == {
        **dict.fromkeys([*pending, behind], "cancelled"),
        running: "stopped",
    }
    assert answer.json["msg"] == "5 requests: 4 cancelled, 1 stopped"
    for request_id in outcomes:
        request = await master.data("buildrequests", request_id)
        assert (request["complete"], request["results"]) == (True, CANCELLED)
        assert request["complete_at"] is not None
        assert ("buildrequests", str(request_id), "complete") in seen
        complete = ("buildsets", str(request["buildsetid"]), "complete")
        # the buildset of the build is Buildbot's to complete, a moment after the request
        await master.until(lambda complete=complete: complete in seen, "the buildset is complete")
        assert (await master.data("buildsets", request["buildsetid"]))["results"] == CANCELLED
    consumer.stopConsuming()
    # of what waited, nothing came to run in between
    assert [one["buildid"] for one in await master.data("builds")] == [build["buildid"]]
    master.resume()
    for request_id in (elsewhere, later):
        assert (await master.completed(request_id))["results"] == SUCCESS
    job = (await master.get(f"/self-serve/jobs/{answer.json['job_id']}")).json
    assert (job["action"], job["what"]) == (
        "cancel_revision",
        {"branch": "main", "revision": REVISION},
    )
    again = await master.request("DELETE", AT[:-30], user=USER)
    assert (again.status, again.json["requests"]) == (202, [])
    assert again.json["msg"] == "Nothing was left to cancel"


@with_stubborn_master
@pytest_twisted.ensureDeferred
async def test_reads_that_take_long_leave_the_database_to_others(
    master: Any, monkeypatch: Any
) -> None:
    running = await deaf_build(master)
    read, reads = current_state.request_states, []

    async def slowly(*arguments: Any) -> Any:
        reads.append(arguments)
        await task.deferLater(reactor, 0.2)
        return await read(*arguments)

    monkeypatch.setattr(current_state, "request_states", slowly)
    answer = await master.request("DELETE", f"/self-serve/main/request/{running}", user=USER)
    assert answer.json["msg"] == f"Request {running} is told to stop, but not stopped yet"
    # one in 2.2 of the 4 seconds, one at their end, and those to plan
    assert 2 <= len(reads) <= 6


@pytest_twisted.ensureDeferred
async def test_what_somebody_else_has_stopped_was_not_stopped_here(master: Any) -> None:
    request_id = await master.add_request("slow")
    build = await master.running_build(request_id)
    await master.master.data.control("stop", {}, ("builds", build["buildid"]))
    await master.completed(request_id)
    state = await current_state.request_state(master.master, request_id)
    assert state is not None
    theirs, ours = (cancel.ended(state, told) for told in ((), (build["buildid"],)))
    assert (theirs.outcome, theirs.msg) == ("already_complete", "ended with cancelled")
    assert ours.outcome == "stopped"


@pytest_twisted.ensureDeferred
async def test_a_buildset_of_several_requests_completes_with_the_last(master: Any) -> None:
    master.pause()
    ids = [await master.master.data.updates.findBuilderId(name) for name in ("fast", "slow")]
    stamp = {
        "branch": "main",
        "revision": REVISION,
        "repository": "",
        "codebase": "",
        "project": "",
    }
    buildset_id, requests = await master.master.data.updates.addBuildset(
        waited_for=False, scheduler="any", sourcestamps=[stamp], reason="", builderids=ids
    )
    path = f"/self-serve/main/request/{requests[ids[0]]}"
    await master.request("DELETE", path, user=USER)
    assert not (await master.data("buildsets", buildset_id))["complete"]
    await master.request("DELETE", AT, user=USER)
    buildset = await master.data("buildsets", buildset_id)
    assert (buildset["complete"], buildset["results"]) == (True, CANCELLED)


@pytest_twisted.ensureDeferred
async def test_of_much_that_is_cancelled_each_buildset_is_told_once(
    master: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(cancel_pending, "BATCH", 1)
    master.pause()
    ids = [await master.add_request(properties={"n": (n, "Scheduler")}) for n in range(3)]
    buildsets = [(await master.data("buildrequests", one))["buildsetid"] for one in ids]
    seen: list[int] = []
    consumer = await master.master.mq.startConsuming(
        lambda key, event: seen.append(int(key[1])), ("buildsets", None, "complete")
    )
    await master.request("DELETE", AT, user=USER)
    consumer.stopConsuming()
    assert seen == buildsets


def ruled() -> Any:
    """Only builds of the fast builder may be stopped by ada, and only it be forced."""
    made = config()
    rules = [
        util.StopBuildEndpointMatcher(builder="fast", role="devs"),
        util.StopBuildEndpointMatcher(role="nobody"),
        util.ForceBuildEndpointMatcher(builder="fast", role="devs"),
        util.ForceBuildEndpointMatcher(role="nobody"),
    ]
    made["www"]["authz"] = util.Authz(
        allowRules=rules,
        roleMatchers=[util.RolesFromUsername(roles=["devs"], usernames=[USER])],
    )
    made["builders"][1].tags = made["builders"][0].tags = ["nightly"]
    made["schedulers"][0] = schedulers.AnyBranchScheduler(name="any", builderNames=["fast", "slow"])
    return made


@pytest.mark.parametrize("master", [ruled], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_one_may_not_do_is_denied_and_the_rest_is_done(master: Any) -> None:
    master.pause()
    fast, slow = await master.add_request("fast"), await master.add_request("slow")
    answer = await master.request("DELETE", AT, user=USER)
    outcomes = {one["request_id"]: one["outcome"] for one in answer.json["requests"]}
    assert (answer.status, outcomes) == (202, {fast: "cancelled", slow: "denied"})
    (why,) = (one["msg"] for one in answer.json["requests"] if one["outcome"] == "denied")
    assert why == "you need to have role 'nobody'"
    assert not (await master.data("buildrequests", slow))["complete"]
    answer = await master.request("DELETE", AT, user=USER)
    assert (answer.status, answer.json["msg"]) == (
        403,
        "You may not cancel anything at this revision",
    )
    for path in (AT, f"{AT}/nightly"):
        answer = await master.post(path, user=USER)
        assert answer.status == 202, answer.text
        made = {one["buildername"]: one["outcome"] for one in answer.json["requests"]}
        assert made == {"fast": "created", "slow": "denied"}
        (why,) = (one["msg"] for one in answer.json["requests"] if one["outcome"] == "denied")
        assert why == "you need to have role 'nobody'"
    answer = await master.post(f"/self-serve/main/builders/slow/{REVISION}", user=USER)
    assert answer.status == 403
    answer = await master.post(f"/self-serve/main/builders/fast/{REVISION}", user=USER)
    assert answer.status == 202
    slow_ones = [one for one in await master.data("buildrequests") if one["buildrequestid"] == slow]
    assert len(await master.data("buildrequests")) == 5
    assert len(slow_ones) == 1


# -- what is followed


async def told_to_stop(master: Any) -> tuple[int, Any]:
    """Cancel a request whose build does not end; return its id and that of the job."""
    request_id = await deaf_build(master)
    answer = await master.request("DELETE", f"/self-serve/main/request/{request_id}", user=USER)
    assert [one["outcome"] for one in answer.json["requests"]] == ["stop_sent"]
    return request_id, answer.json["job_id"]


async def final_outcome(master: Any, job_id: int) -> Any:
    async def outcome() -> Any:
        job = (await master.get(f"/self-serve/jobs/{job_id}")).json
        (one,) = job["complete_data"]["body"]["requests"]
        return one if one["outcome"] != "stop_sent" else None

    return await master.until(outcome, "the journal tells how it ended")


@with_stubborn_master
@pytest.mark.parametrize("noun", ["request", "build"])
@pytest_twisted.ensureDeferred
async def test_the_journal_tells_when_a_stop_came_late(master: Any, noun: str) -> None:
    request_id = await deaf_build(master)
    row = (await master.get(f"/self-serve/main/request/{request_id}")).json
    number = request_id if noun == "request" else row["build_ids"][0]
    answer = await master.request("DELETE", f"/self-serve/main/{noun}/{number}", user=USER)
    assert answer.json["msg"].startswith(f"{noun.capitalize()} {number} is told to stop")
    job_id = answer.json["job_id"]
    page = await master.get(f"/self-serve/jobs/{job_id}", json=False)
    assert '<meta http-equiv="refresh"' in page.text
    Deaf.may_end = True
    outcome = await final_outcome(master, job_id)
    assert (outcome["outcome"], outcome["request_id"]) == ("stopped", request_id)
    job = (await master.get(f"/self-serve/jobs/{job_id}")).json
    assert (job["status"], job["complete_data"]["body"]["msg"]) == (
        "ok",
        f"{noun.capitalize()} {number} is stopped",
    )
    page = await master.get(f"/self-serve/jobs/{job_id}", json=False)
    assert '<meta http-equiv="refresh"' not in page.text


@with_stubborn_master
@pytest_twisted.ensureDeferred
async def test_a_stop_that_a_lost_worker_undoes_is_followed_up(master: Any) -> None:
    request_id, job_id = await told_to_stop(master)
    # Buildbot gives such a build the result RETRY and lets its request wait again
    master.master.workers.workers["worker"].conn.loseConnection()
    Deaf.may_end = True
    outcome = await final_outcome(master, job_id)
    assert (outcome["outcome"], outcome["request_id"]) == ("cancelled", request_id)
    request = await master.data("buildrequests", request_id)
    assert (request["complete"], request["results"]) == (True, CANCELLED)
    (build,) = await master.data("buildrequests", request_id, "builds")
    assert build["results"] == RETRY
