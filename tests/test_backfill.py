"""Backfills: what is missing between a good and a bad revision is built, each of it once."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import schedulers
from buildbot.plugins import util
from lxml import html
from twisted.internet import defer

from buildbot_selfserve.control.planners import backfill as backfill_planner
from buildbot_selfserve.control.reconcile import reconcile
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import EXCEPTION
from buildbot_selfserve.model import FAILURE
from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import SUCCESS
from buildbot_selfserve.model import WARNINGS
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import plan_to_json
from tests import bisected
from tests import test_gone_masters as gone
from tests.bisected import Held
from tests.bisected import Judge
from tests.bisected import all_built
from tests.bisected import broken_from
from tests.bisected import jobs
from tests.bisected import with_held_builds
from tests.harness import PASSWORD
from tests.harness import USER
from tests.harness import Config
from tests.harness import Master
from tests.harness import builder
from tests.harness import config
from tests.plans import JOURNAL
from tests.plans import add_change
from tests.plans import changed
from tests.plans import check_done
from tests.plans import check_planned
from tests.plans import check_receipts
from tests.plans import contents
from tests.plans import ended
from tests.plans import watch_executor
from tests.push_history import sha

EVERY_DATABASE = "heavy"
BACKFILL = "/self-serve/main/backfill"


def farm(*rules: Any, **selfserve: Any) -> Any:
    """Return what makes a master with a builder of pushes, and some that are not."""

    def make() -> Config:
        made = config(
            util.SelfServe(branches=[util.SelfServeBranch("main")], **selfserve),
            auth=util.UserPasswordAuth({USER: PASSWORD, "bob": PASSWORD}),
        )
        if rules:
            made["www"]["authz"] = util.Authz(
                allowRules=list(rules),
                roleMatchers=[util.RolesFromUsername(roles=["admins"], usernames=["bob"])],
            )
        made["builders"] = [builder(name) for name in ("linux", "mac", "child", "lender")]
        made["schedulers"] = [
            schedulers.SingleBranchScheduler(
                name="push",
                change_filter=util.ChangeFilter(branch="main"),
                builderNames=["linux", "mac"],
                properties={"flavor": "plain"},
            ),
            schedulers.Triggerable(name="rest", builderNames=["child", "lender"]),
        ]
        return made

    return make


def with_master(*rules: Any, **selfserve: Any) -> Any:
    return pytest.mark.parametrize("master", [farm(*rules, **selfserve)], indirect=True)


async def push(master: Master, names: str, **more: Any) -> None:
    """Push revisions, of which no scheduler hears."""
    for name in names:
        await add_change(master, sha(name), comments=f"Change {name}", **more)


async def result(master: Master, name: str, results: int, on: str = "linux", **more: Any) -> int:
    """Let a builder have built a revision; return the request."""
    request_id, _ = await ended(master, on, results, revision=sha(name), **more)
    return request_id


async def pushed(master: Master, names: str, good: str, bad: str, on: str = "linux") -> None:
    """Push revisions of which one passed and one failed; no builds start from now on."""
    master.pause()
    await push(master, names)
    await result(master, good, SUCCESS, on)
    await result(master, bad, FAILURE, on)


async def backfill(master: Master, status: int = 202, user: str = USER, **data: Any) -> Any:
    """Send a job request that asks for all at once; return its answer as JSON."""
    sent = {"builder_name": "linux", "order": "oldest", **data}
    answer = await master.post(BACKFILL, user=user, data=sent)
    assert answer.status == status, answer.text
    return answer.json


def told(receipt: Any, names: str = "abcdefghij", *outcomes: str) -> str:
    """Return the revisions that a receipt tells of as created, or with another outcome."""
    known = {sha(name): name for name in names}
    wanted = outcomes or ("created", "would_create")
    return "".join(
        known[one["revision"]] for one in receipt["requests"] if one["outcome"] in wanted
    )


async def properties(master: Master, request_id: int) -> dict[str, Any]:
    request = await master.data("buildrequests", request_id)
    found = await master.data("buildsets", request["buildsetid"], "properties")
    return {name: value for name, (value, _) in found.items()}


async def built_at(master: Master, request_id: int) -> dict[str, str]:
    """Return the revisions that a request builds, by codebase."""
    request = await master.data("buildrequests", request_id)
    buildset = await master.data("buildsets", request["buildsetid"])
    return {one["codebase"]: one["revision"] for one in buildset["sourcestamps"]}


def created(receipt: Any) -> list[int]:
    return [one["request_id"] for one in receipt["requests"] if one["outcome"] == "created"]


@with_master()
@pytest_twisted.ensureDeferred
async def test_what_is_missing_is_built_and_nothing_twice(master: Master) -> None:
    await pushed(master, "abcdefg", "a", "g")
    await result(master, "d", EXCEPTION)
    await result(master, "b", SUCCESS, "mac")
    receipt = await backfill(master)
    assert receipt["msg"] == "4 builds requested, 1 left out"
    assert told(receipt) == "bcef"
    ids = created(receipt)
    assert ids == sorted(ids)
    for request_id in ids:
        request = await master.data("buildrequests", request_id)
        assert request["priority"] == -1
        found = await properties(master, request_id)
        assert found["selfserve_range"] == found["selfserve_job"] == receipt["job_id"]
        assert found["owner"] == USER
    left = [one for one in receipt["requests"] if one["outcome"] == "left_out"]
    assert [(one["revision"], one["msg"]) for one in left] == [(sha("d"), "has 1 result")]
    job = (await master.get(f"/self-serve/jobs/{receipt['job_id']}")).json
    assert (job["action"], job["status"]) == ("backfill", "ok")
    what = {"builder_name": "linux", "max": 19, "times": 1, "order": "oldest"}
    assert job["what"] == {"branch": "main", **what}
    again = await backfill(master)
    assert (again["msg"], created(again)) == ("Nothing is missing, 5 left out", [])


@with_master()
@pytest_twisted.ensureDeferred
async def test_two_at_once_build_nothing_twice(master: Master) -> None:
    await pushed(master, "abcde", "a", "e")
    both = [defer.ensureDeferred(backfill(master)) for _ in range(2)]
    # one of them names the end that the other one finds
    both.append(defer.ensureDeferred(backfill(master, revision=sha("e"))))
    receipts = await defer.gatherResults(both)
    assert sorted(len(created(one)) for one in receipts) == [0, 0, 3]


@with_master()
@pytest_twisted.ensureDeferred
async def test_the_order(master: Master) -> None:
    await pushed(master, "abcdefghi", "a", "i")
    for order, expected in (("newest", "hgfedcb"), ("oldest", "bcdefgh"), ("halving", "eg")):
        plan = check_planned(await planned(master, order=order))
        assert told(plan) == expected
    # what comes later is not left out, but the outcome in JSON is that of the contract
    begun = "Requesting 7 builds, 2 now and 5 later"
    assert plan["msg"] == f"{begun}: 2 builds would be requested"
    assert [one["outcome"] for one in plan["requests"]].count("left_out") == 5
    data = {"builder_name": "linux", "order": "halving", "dry_run": "1"}
    page = await master.post(BACKFILL, user=USER, json=False, data=data)
    assert page.status == 200, page.text
    assert f"<strong>{begun}: 2 builds would be requested</strong>" in page.text
    assert "<h2>Build later: 5 revisions</h2>" in page.text
    assert "Leave alone" not in page.text
    # what is known divides, and what waits does, too
    await result(master, "e", FAILURE)
    await master.add_request("linux", revision=sha("g"))
    assert told(check_planned(await planned(master, order="halving", good=sha("a")))) == "ch"


@with_master()
@pytest_twisted.ensureDeferred
async def test_few_wait_at_a_time_and_each_revision_is_built(master: Master) -> None:
    await pushed(master, "abcdefghi", "a", "i")
    receipt = await backfill(master, order="halving")
    assert told(receipt) == "eg"
    assert receipt["status"] == "OK"
    job_id = receipt["job_id"]
    # the same again joins it
    again = await backfill(master, order="halving")
    assert again["job_id"] == job_id
    seen: list[str] = []
    most = 0

    async def own() -> list[Any]:
        requests = await master.data("buildrequests")
        return [
            one
            for one in requests
            if (await properties(master, one["buildrequestid"])).get("selfserve_range") == job_id
        ]

    # somebody asks for one of the others
    await result(master, "c", SUCCESS)
    master.resume()

    async def over() -> bool:
        nonlocal most
        most = max(most, sum(not one["complete"] for one in await own()))
        job = (await master.get(f"/self-serve/jobs/{job_id}")).json
        return bool(job["status"] == "ok")

    await master.until(over, "it ends")
    assert most <= 2
    for one in await own():
        seen += (await built_at(master, one["buildrequestid"])).values()
    assert sorted(seen) == sorted(map(sha, "bdefgh"))
    job = (await master.get(f"/self-serve/jobs/{job_id}")).json
    body = job["complete_data"]["body"]
    assert body["msg"] == "6 builds requested"
    assert sorted(one["revision"] for one in body["requests"]) == sorted(seen)
    assert master.errors == []


@with_master()
@pytest_twisted.ensureDeferred
async def test_what_another_master_has_claimed_and_never_builds_is_built(master: Master) -> None:
    await pushed(master, "abcdefg", "a", "g")
    other = await gone.another(master)
    receipt = await backfill(master, order="halving")
    claimed = created(receipt)
    for request_id in claimed:
        await gone.builds(master, other, request_id)
    master.resume()
    await gone.dies(master, other)
    jobs().ongoing.look()
    assert (await over(master, receipt["job_id"]))["msg"] == "5 builds requested"
    for request_id in claimed:
        assert (await master.data("buildrequests", request_id))["results"] == SUCCESS


def without_linux() -> Config:
    made = farm()()
    made["builders"] = [one for one in made["builders"] if one.name != "linux"]
    made["schedulers"][0].builderNames.remove("linux")
    return made


@pytest.mark.parametrize("waiting", [2, 3])
@with_master()
@pytest_twisted.ensureDeferred
async def test_a_builder_that_is_gone_ends_it(
    master: Master, monkeypatch: Any, waiting: int
) -> None:
    await pushed(master, "abcde", "a", "e")
    receipt = await backfill(master, order="halving")
    monkeypatch.setattr(backfill_planner, "AT_ONCE", waiting)
    jobs().ongoing.look()

    async def all_wait() -> bool:
        requests = await master.data("buildrequests")
        return sum(not one["complete"] for one in requests) == waiting

    await master.until(all_wait, "so many wait")
    await master.reconfig(without_linux)
    body = await over(master, receipt["job_id"])
    assert (body["errors"], body["msg"]) == (True, "Builder linux is no longer configured")
    assert all(one["complete"] for one in await master.data("buildrequests"))


@pytest.mark.parametrize("master", [with_held_builds], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_builder_that_is_renamed_while_it_builds_ends_it(master: Master) -> None:
    broken_from(3)
    await bisected.pushed(master, 5)
    with Held.one(free=2):
        receipt = await backfill(master, order="halving", builder_name="judged")
        await Held.begun  # the last one
        await master.reconfig(lambda: with_held_builds("renamed"))
        body = await over(master, receipt["job_id"])
    assert (body["errors"], body["msg"]) == (True, "Builder judged is no longer configured")
    await master.until(lambda: all_built(master), "the last one has ended")
    assert sorted(Judge.built) == [1, 2, 3]


async def over(master: Master, job_id: int) -> Any:
    """Wait until a job request has ended; return what the journal says of it."""

    async def check() -> Any:
        return (await master.get(f"/self-serve/jobs/{job_id}")).json["complete_data"]

    return (await master.until(check, "it ends"))["body"]


@with_master()
@pytest_twisted.ensureDeferred
async def test_who_cancels_one_of_its_builds_stops_it(master: Master) -> None:
    await pushed(master, "abcdefghi", "a", "i")
    receipt = await backfill(master, order="halving")
    for request_id in created(receipt):
        await master.request("DELETE", f"/self-serve/main/request/{request_id}", user=USER)
    body = await over(master, receipt["job_id"])
    assert body["msg"] == "2 builds requested; stopped, as one was cancelled"
    # asked for again it makes them
    assert len(created(await backfill(master, order="newest"))) == 7


async def planned(master: Master, **data: Any) -> Any:
    sent = {"builder_name": "linux", "order": "oldest", "dry_run": "1", **data}
    return await master.post(BACKFILL, user=USER, data=sent)


@with_master()
@pytest_twisted.ensureDeferred
async def test_what_was_built_without_its_name_is_built_again_by_it(master: Master) -> None:
    await pushed(master, "abcd", "a", "d")
    _, build_id = await ended(master, "linux", SUCCESS, revision=None)
    await master.master.data.updates.setBuildProperty(build_id, "got_revision", sha("b"), "Git")
    await ended(master, "linux", SUCCESS, revision=sha("c")[:7])
    receipt = await backfill(master, times=2, good=sha("a"))
    assert told(receipt) == "bc"
    stamps = [await built_at(master, one) for one in created(receipt)]
    assert stamps == [{"": sha("b")}, {"": sha("c")}]
    assert created(await backfill(master, times=2, good=sha("a"))) == []


@with_master()
@pytest_twisted.ensureDeferred
async def test_what_counts_as_a_result(master: Master) -> None:
    await pushed(master, "abcdefghij", "a", "j")
    for name, results in zip(
        "bcdefg", (CANCELLED, SKIPPED, RETRY, WARNINGS, EXCEPTION, FAILURE), strict=True
    ):
        await result(master, name, results)
    await result(master, "h", CANCELLED, built=False)
    await master.add_request("linux", revision=sha("i"))
    receipt = await backfill(master, good=sha("a"))
    assert told(receipt) == "bcdh"
    msgs = {one["revision"]: one["msg"] for one in receipt["requests"] if one["msg"]}
    assert msgs[sha("i")] == "1 is pending or running"
    # now each has one, or is about to
    twice = await backfill(master, good=sha("a"), times=2)
    assert told(twice) == "bcdefghi"
    thrice = await backfill(master, good=sha("a"), times=4)
    assert told(thrice) == "".join(name * 2 for name in "bcdefghi")


@with_master()
@pytest_twisted.ensureDeferred
async def test_a_plan_is_what_is_done(master: Master, monkeypatch: Any) -> None:
    done = watch_executor(monkeypatch)
    await pushed(master, "abcdef", "a", "f")
    await result(master, "c", FAILURE)
    before = await contents(master)
    first = check_planned(await planned(master, times=2, priority=7))
    assert changed(before, await contents(master)) == set()
    assert check_planned(await planned(master, times=2, priority=7))["plan"] == first["plan"]
    # something is built meanwhile
    await result(master, "d", SUCCESS, on="mac")
    assert check_planned(await planned(master, times=2, priority=7))["plan"] == first["plan"]
    await result(master, "e", SUCCESS)
    stale = {"times": 2, "priority": 7, "good": sha("a"), "if_plan": first["plan"]}
    refused = await backfill(master, 412, **stale)
    again = check_planned(await planned(master, times=2, priority=7, good=sha("a")))
    assert refused["plan"] == again["plan"]
    receipt = await backfill(master, **{**stale, "if_plan": again["plan"]})
    check_receipts(again, receipt)
    (carried_out,) = done
    await check_done(master, carried_out, receipt)
    assert {one["priority"] for one in again["requests"] if "priority" in one} == {7}


@with_master()
@pytest_twisted.ensureDeferred
async def test_how_far_back(master: Master) -> None:
    await pushed(master, "abcdefg", "a", "g")
    before = await contents(master)
    refused = await backfill(master, 400, max=4)
    assert refused["msg"] == "No good revision within 4"
    assert refused["detail"].endswith("raise max, name a good one, or take them all with force=1")
    for more in (
        {"good": sha("a"), "max": 4},
        {"good": sha("g")},
        {"revision": sha("a"), "good": sha("c")},
    ):
        refused = await backfill(master, 400, **more)
        assert refused["msg"] == "Bad good", refused
    assert changed(before, await contents(master)) <= JOURNAL
    assert told(await backfill(master, max=4, force="1", order="newest")) == "fedc"
    assert told(await backfill(master, max=5, order="newest")) == "b"


@with_master()
@pytest_twisted.ensureDeferred
async def test_nothing_lies_between(master: Master) -> None:
    await pushed(master, "ab", "a", "b")
    assert (await backfill(master))["msg"] == "Nothing is missing"
    refused = await backfill(master, 400, builder_name="mac")
    assert refused["msg"] == "No failed revision within 2"


@pytest.mark.parametrize(
    ("data", "status", "msg"),
    [
        ({"builder_name": ""}, 400, "Bad builder_name"),
        ({"builder_name": "nobody"}, 404, "Builder nobody not found on branch main"),
        ({"revision": "1234567"}, 404, "Revision 1234567 not found on branch main"),
        ({"good": "1234567"}, 404, "Revision 1234567 not found on branch main"),
        ({"max": "0"}, 400, "Bad max"),
        ({"max": "101"}, 400, "Bad max"),
        ({"times": "0"}, 400, "Bad times"),
        ({"times": "101"}, 400, "Bad times"),
        ({"order": "random"}, 400, "Bad order"),
        ({"priority": "x"}, 400, "Bad priority"),
        ({"force": "perhaps"}, 400, "Bad force"),
    ],
)
@with_master()
@pytest_twisted.ensureDeferred
async def test_bad_parameters(master: Master, data: Any, status: int, msg: str) -> None:
    await pushed(master, "abc", "a", "c")
    before = await contents(master)
    assert (await backfill(master, status, **data))["msg"] == msg
    assert changed(before, await contents(master)) == set()


@with_master(backfill_priority=-7)
@pytest_twisted.ensureDeferred
async def test_the_priority_that_is_configured(master: Master) -> None:
    await pushed(master, "abcd", "a", "d")
    plan = check_planned(await planned(master))
    assert {one["priority"] for one in plan["requests"]} == {-7}
    (first, _) = created(await backfill(master))
    assert (await master.data("buildrequests", first))["priority"] == -7


LINUX_IS_FOR_ADMINS = util.ForceBuildEndpointMatcher(builder="linux", role="admins")
BACKFILLS_ARE_FOR_ADMINS = util.SelfServeEndpointMatcher(action="backfill", role="admins")


@pytest.mark.parametrize(
    "master", [farm(LINUX_IS_FOR_ADMINS), farm(BACKFILLS_ARE_FOR_ADMINS)], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_rules_for_the_builder_and_for_backfills(master: Master) -> None:
    await pushed(master, "abc", "a", "c")
    await result(master, "a", SUCCESS, "mac")
    await result(master, "c", FAILURE, "mac")
    before = await contents(master)
    await backfill(master, 403)
    await backfill(master, 403, dry_run="1")
    answer = await master.post(BACKFILL, data={"builder_name": "linux"})
    assert answer.status == 401
    assert changed(before, await contents(master)) <= JOURNAL
    assert told(await backfill(master, user="bob")) == "b"
    is_general = BACKFILLS_ARE_FOR_ADMINS in master.master.www.authz.allowRules
    await backfill(master, 403 if is_general else 202, builder_name="mac")
    # other builds are no backfills
    path = f"/self-serve/main/builders/mac/{sha('b')}"
    assert (await master.post(path, user=USER)).status == 202


TOKENS = [
    util.SelfServeToken("backfills", "b" * 30, actions=["backfill"], builders=["linux"]),
    util.SelfServeToken("builds", "n" * 30, actions=["new_build_for_builder"]),
]


@with_master(tokens=TOKENS)
@pytest_twisted.ensureDeferred
async def test_tokens_name_backfills(master: Master) -> None:
    await pushed(master, "abc", "a", "c")

    async def status(secret: str, name: str) -> int:
        headers = {"Authorization": f"Bearer {secret * 30}"}
        answer = await master.post(BACKFILL, headers=headers, data={"builder_name": name})
        return answer.status

    assert await status("n", "linux") == 403
    assert await status("b", "mac") == 403
    assert await status("b", "linux") == 202


@with_master(limits=util.SelfServeLimits(builds_per_hour=3))
@pytest_twisted.ensureDeferred
async def test_builds_count_against_the_budget(master: Master) -> None:
    await pushed(master, "abcdef", "a", "f")
    await backfill(master, 429)
    await backfill(master, 429, dry_run="1")
    assert len(created(await backfill(master, good=sha("b")))) == 3


@with_master()
@pytest_twisted.ensureDeferred
async def test_each_revision_is_built_as_it_was_or_as_the_one_before_it(master: Master) -> None:
    master.pause()
    await push(master, "abcde")
    given = {"flavor": ("old", "push"), "buildid": ("1", "x"), "revision": ("a", "x")}
    await result(master, "a", SUCCESS, properties=given)
    await result(
        master, "c", CANCELLED, properties={"flavor": ("own", "push"), "revision": ("c", "x")}
    )
    await result(
        master, "e", FAILURE, properties={"flavor": ("new", "push"), "selfserve_range": (1, "x")}
    )
    receipt = await backfill(master)
    assert told(receipt) == "bcd"
    found = [await properties(master, one) for one in created(receipt)]
    assert [one["flavor"] for one in found] == ["old", "own", "own"]
    assert [one.get("revision") for one in found] == [None, "c", None]
    assert all(len(one["buildid"]) == 14 for one in found)
    for name, one in zip("bcd", created(receipt), strict=True):
        assert await built_at(master, one) == {"": sha(name)}


@with_master()
@pytest_twisted.ensureDeferred
async def test_where_nothing_was_ever_built(master: Master) -> None:
    master.pause()
    await push(master, "abcd")
    receipt = await backfill(master, revision=sha("d"), good=sha("a"))
    assert told(receipt) == "bc"
    assert await built_at(master, created(receipt)[0]) == {"": sha("b")}
    forced = await backfill(master, builder_name="mac", revision=sha("c"), force="1")
    assert told(forced) == "ab"


def two_codebases() -> Config:
    made = farm()()
    scheduler = schedulers.AnyBranchScheduler(
        name="push",
        builderNames=["linux", "mac"],
        codebases={"x": {"repository": "x"}, "y": {"repository": "y", "branch": "main"}},
    )
    made["schedulers"][0] = scheduler
    return made


@pytest.mark.parametrize("master", [two_codebases], indirect=True)
@pytest_twisted.ensureDeferred
async def test_two_codebases(master: Master) -> None:
    master.pause()

    def stamps(x: str, y: str) -> list[Any]:
        return [
            {
                "branch": "main",
                "revision": sha(name),
                "repository": where,
                "codebase": where,
                "project": "",
            }
            for where, name in (("x", x), ("y", y))
        ]

    for name, where in zip("abcdefg", "xyxyxyx", strict=True):
        await push(master, name, codebase=where, repository=where)
    await result(master, "a", SUCCESS, sourcestamps=stamps("a", "b"))
    await result(master, "e", CANCELLED, sourcestamps=stamps("e", "d"))
    await result(master, "g", FAILURE, sourcestamps=stamps("g", "f"))
    receipt = await backfill(master, revision=sha("g"))
    assert told(receipt) == "ce"
    found = [await built_at(master, one) for one in created(receipt)]
    # what was there when the one before it was built
    assert found == [{"x": sha("c"), "y": sha("b")}, {"x": sha("e"), "y": sha("d")}]
    again = await backfill(master, revision=sha("g"))
    assert created(again) == []


@with_master()
@pytest_twisted.ensureDeferred
async def test_virtual_builders(master: Master) -> None:
    master.pause()
    await push(master, "abcd")
    virtual = {"virtual_builder_name": ("deploy", "Scheduler")}
    for name, results in (("a", SUCCESS), ("d", FAILURE)):
        await result(master, name, results, "lender", virtual="deploy", properties=virtual)
    await result(master, "b", SUCCESS, "lender")
    receipt = await backfill(master, builder_name="deploy")
    assert told(receipt) == "bc"
    for request_id in created(receipt):
        assert (await properties(master, request_id))["virtual_builder_name"] == "deploy"
        request = await master.data("buildrequests", request_id)
        assert (await master.data("builders", request["builderid"]))["name"] == "lender"
    assert created(await backfill(master, builder_name="deploy")) == []
    # one that was a builder once is no virtual one
    await result(master, "a", SUCCESS, "gone")
    await backfill(master, 404, builder_name="gone")


@pytest.mark.parametrize(
    "master", [farm(util.ForceBuildEndpointMatcher(builder="deploy", role="admins"))], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_rules_for_a_virtual_builder(master: Master) -> None:
    master.pause()
    await push(master, "abc")
    virtual = {"virtual_builder_name": ("deploy", "Scheduler")}
    for name, results in (("a", SUCCESS), ("c", FAILURE)):
        await result(master, name, results, "lender", virtual="deploy", properties=virtual)
        await result(master, name, results, "linux", properties=virtual)
    await backfill(master, 403, builder_name="deploy")
    # nor under another name
    await backfill(master, 403)
    assert len(created(await backfill(master, user="bob"))) == 1


@with_master()
@pytest_twisted.ensureDeferred
async def test_what_others_trigger_is_not_built_by_itself(master: Master) -> None:
    master.pause()
    await push(master, "abc")
    for name, results in (("a", SUCCESS), ("c", FAILURE)):
        _, parent_id = await ended(master, "mac", SUCCESS, revision=sha(name))
        await result(
            master,
            name,
            results,
            "child",
            parent_buildid=parent_id,
            parent_relationship="Triggered from",
            properties={"artifact": (name, "Trigger")},
        )
    refused = await backfill(master, 400, builder_name="child")
    assert refused["msg"] == "Builder child is triggered by builds of mac"
    assert "backfill mac" in refused["detail"]


@with_master()
@pytest_twisted.ensureDeferred
async def test_it_counts_what_a_backfill_has_built(master: Master) -> None:
    await pushed(master, "abcde", "a", "e")
    marked = {"selfserve_range": (1, "Self-serve")}
    # one that failed is a result, and begins no other range by itself
    await result(master, "c", FAILURE, properties=marked)
    assert told(await backfill(master)) == "bd"


@with_master()
@pytest_twisted.ensureDeferred
async def test_what_was_cut_short_is_done_to_its_end(master: Master, monkeypatch: Any) -> None:
    done = watch_executor(monkeypatch)
    await pushed(master, "abcdef", "a", "f")
    first = await backfill(master)
    (carried_out,) = done
    job = Job(
        first["job_id"],
        "backfill",
        USER,
        "basic",
        "",
        int(time.time()),
        "main",
        {},
        plan=plan_to_json(carried_out.plan),
    )
    again = await reconcile(master.master, job, lambda: None)
    assert sorted(one.request_id or 0 for one in again.requests) == created(first)
    # none of another plan is there, and somebody has asked for one of its revisions meanwhile
    other = plan_to_json(replace(carried_out.plan, buildsets=carried_out.plan.buildsets[:1]))
    taken = await reconcile(master.master, replace(job, job_id=99, plan=other), lambda: None)
    assert taken.msg == "Interrupted: nothing was done"
    assert json.loads(other)["buildsets"][0]["looks_back"] is True


@with_master()
@pytest_twisted.ensureDeferred
async def test_from_the_page_of_a_revision(master: Master) -> None:
    await pushed(master, "abcdef", "b", "e")
    await result(master, "a", SUCCESS, "mac")
    await result(master, "b", FAILURE, "mac")
    await result(master, "f", FAILURE, "linux")
    forms: dict[str, dict[str, dict[str, str]]] = {}
    for name in "bef":
        page = await master.get(f"/self-serve/main/rev/{sha(name)}", json=False, user=USER)
        found = html.fromstring(page.text).xpath("//form[contains(@action, '/backfill')]")
        forms[name] = {
            form.fields["builder_name"]: dict(form.fields)
            for form in found
            if form.xpath(".//button")[0].text == "Find out since when"
        }
    # what passed right before needs no looking back
    assert forms["b"] == {}
    assert forms["e"]["linux"]["max"] == "2"
    assert forms["f"]["linux"]["max"] == "100"
    plan = await master.post(
        BACKFILL,
        json=False,
        user=USER,
        data=forms["e"]["linux"],
        headers={"Accept": "text/html"},
    )
    assert plan.status == 200, plan.text
    text = html.fromstring(plan.text).text_content()
    assert "find out since when" in text
    assert "2 builds would be requested" in text
    (form,) = html.fromstring(plan.text).xpath("//form[@id='confirm']")
    done = await master.post(
        BACKFILL, json=False, user=USER, data=dict(form.fields), headers={"Accept": "text/html"}
    )
    assert done.status == 303
    job = await master.get(done.header("location").removeprefix(master.url), json=False)
    page = html.fromstring(job.text).text_content()
    assert "looked back over the builds of linux before" in " ".join(page.split())
    assert sha("c")[:12] in page


@with_master()
@pytest_twisted.ensureDeferred
async def test_a_rebuild_of_such_a_build_is_an_ordinary_one(master: Master) -> None:
    await pushed(master, "abc", "a", "c")
    (request_id,) = created(await backfill(master))
    answer = await master.post(
        "/self-serve/main/request", user=USER, data={"request_id": request_id}
    )
    (copy,) = created(answer.json)
    assert "selfserve_range" not in await properties(master, copy)
    reserved = await master.post(
        "/self-serve/main/request",
        user=USER,
        data={"request_id": request_id, "properties": '{"selfserve_range": 1}'},
    )
    assert (reserved.status, reserved.json["msg"]) == (400, "Bad properties")
