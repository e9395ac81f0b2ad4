"""Rerunning what failed, and filling in what is missing: which builders, and each of them once."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.db.model import Model
from buildbot.plugins import schedulers
from buildbot.plugins import util
from twisted.internet import defer

from buildbot_selfserve.control import changes
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import execute
from buildbot_selfserve.control import insert_buildsets
from buildbot_selfserve.control.execute import marks
from buildbot_selfserve.control.insert_buildsets import Insertion
from buildbot_selfserve.control.reconcile import reconcile
from buildbot_selfserve.control.rights import Rights
from buildbot_selfserve.control.rights import everything
from buildbot_selfserve.errors import MasterStops
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import EXCEPTION
from buildbot_selfserve.model import FAILURE
from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import SUCCESS
from buildbot_selfserve.model import WARNINGS
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import NewBuildset
from buildbot_selfserve.model import NewChange
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import plan_from_json
from buildbot_selfserve.model import plan_to_json
from tests.harness import PASSWORD
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import Master
from tests.harness import builder
from tests.harness import config
from tests.plans import JOURNAL
from tests.plans import add_change
from tests.plans import changed
from tests.plans import contents
from tests.plans import ended
from tests.plans import outcomes

EVERY_DATABASE = "heavy"
BUILDERS = [f"b{number}" for number in range(12)]
AT = f"/self-serve/main/rev/{REVISION}"
FAILED, MISSING = f"{AT}/failed", f"{AT}/missing"
TOKENS: dict[str, dict[str, Any]] = {
    "rebuilds": {"actions": ["rebuild_build"]},
    "news": {"actions": ["new_build_at_revision"]},
    "of-b1": {"builders": ["b1"]},
    "elsewhere": {"branches": ["release"]},
}


def many(*rules: Any, **limits: int) -> Any:
    """Return what makes a master with many builders, of which schedulers build the first eight."""

    def make() -> Config:
        made = config(
            util.SelfServe(
                branches=[util.SelfServeBranch("main")],
                tokens=[
                    util.SelfServeToken(name, name * 9, **more) for name, more in TOKENS.items()
                ],
                limits=util.SelfServeLimits(**limits),
            ),
            auth=util.UserPasswordAuth({USER: PASSWORD, "bob": PASSWORD}),
        )
        if rules:
            made["www"]["authz"] = util.Authz(
                allowRules=list(rules),
                roleMatchers=[util.RolesFromUsername(["admins"], [USER])],
            )
        made["builders"] = [builder(name, tags=["even"][int(name[1:]) % 2 :]) for name in BUILDERS]
        made["schedulers"] = [
            schedulers.AnyBranchScheduler(name="any", builderNames=BUILDERS[:8], priority=3),
            schedulers.Triggerable(name="rest", builderNames=BUILDERS),
        ]
        return made

    return make


with_many = pytest.mark.parametrize("master", [many()], indirect=True)


def without_the_last() -> Config:
    """Return the configuration of a master that has the last builder no more."""
    found = many()()
    found["builders"].pop()
    found["schedulers"][1] = schedulers.Triggerable(name="rest", builderNames=BUILDERS[:-1])
    return found


async def post(master: Master, path: str, user: str | None = USER, **data: Any) -> Any:
    headers = {"Content-Type": "application/json"}
    if user in TOKENS:
        headers["Authorization"] = f"Bearer {user * 9}"
        user = None
    body = json.dumps(data).encode()
    return await master.request("POST", path, user=user, data=body, headers=headers)


async def dry(master: Master, path: str, **data: Any) -> list[tuple[str, str]]:
    answer = await post(master, path, dry_run="1", **data)
    assert answer.status == 200, answer.text
    return outcomes(answer.json)


def made(*names: str) -> list[tuple[str, str]]:
    return [(name, "would_create") for name in names]


def left(receipt: Any) -> dict[str, str]:
    """Return why each builder that was left out was."""
    return {
        one["buildername"]: one["msg"]
        for one in receipt["requests"]
        if one["outcome"] == "left_out"
    }


# -- what has failed


@with_many
@pytest_twisted.ensureDeferred
async def test_the_latest_result_of_each_builder_counts(master: Master) -> None:
    master.pause()
    history = {
        "b0": [FAILURE],
        "b1": [FAILURE, SUCCESS],
        "b2": [SUCCESS, FAILURE],
        "b3": [EXCEPTION],
        "b4": [WARNINGS],
        # what is no result takes none away
        "b5": [FAILURE, CANCELLED],
        "b6": [SUCCESS, RETRY],
        "b7": [RETRY, FAILURE, SKIPPED],
        "b8": [CANCELLED],
        "b9": [RETRY],
        "b10": [SKIPPED],
    }
    for name, results in history.items():
        for result in results:
            await ended(master, name, result)
    # one that never began counts as what became of it
    await ended(master, "b11", CANCELLED, built=False)
    # of another revision is another matter
    await ended(master, "b1", FAILURE, revision="e" * 40)
    assert await dry(master, FAILED) == made("b0", "b2", "b3", "b5", "b7")
    for states, names in (
        ("failure", ["b0", "b2", "b5", "b7"]),
        (["exception"], ["b3"]),
        ("warnings", ["b4"]),
        # what was to be retried was cancelled in the end
        (["cancelled"], ["b11", "b8", "b9"]),
        ("retry", []),
        (["exception", "warnings", "exception"], ["b3", "b4"]),
        ('["failure", "retry"]', ["b0", "b2", "b5", "b7"]),
    ):
        assert await dry(master, FAILED, states=states) == made(*names), states
    assert await dry(master, FAILED, builders="b[0-2]") == made("b0", "b2")
    assert await dry(master, FAILED, tags=["even"]) == made("b0", "b2")
    assert await dry(master, FAILED, exclude_builders="b?") == []
    for field, bad in (
        ("states", "success"),
        ("states", "Failure"),
        ("states", ["failure", "skipped"]),
        ("states", [1]),
        ("states", {}),
        ("builders", "c*"),
        ("tags", "odd"),
        ("count", 0),
    ):
        for more in ({}, {"dry_run": "1"}):
            answer = await post(master, FAILED, USER, **{field: bad}, **more)
            assert (answer.status, answer.json["msg"]) == (400, f"Bad {field}"), bad
    assert (await master.get("/self-serve/jobs")).json == []


@with_many
@pytest_twisted.ensureDeferred
async def test_asking_twice_reruns_nothing_twice(master: Master) -> None:
    master.pause()
    for name in ("b0", "b1", "b2"):
        await ended(master, name, FAILURE)
    pending = await master.add_request("b2")
    first = (await post(master, FAILED, count=2, priority=5)).json
    created = [one["request_id"] for one in first["requests"] if one["outcome"] == "created"]
    assert (len(created), left(first)) == (4, {"b2": "is pending"})
    assert first["msg"] == "4 builds requested, 1 left out"
    again = (await post(master, FAILED)).json
    assert again["status"] == "OK"
    assert again["msg"] == "Nothing is left to rerun, 3 left out"
    assert left(again) == dict.fromkeys(("b0", "b1", "b2"), "is pending")
    for one in created:
        assert (await master.data("buildrequests", one))["priority"] == 5
    master.resume()
    for one in (*created, pending):
        assert (await master.completed(one))["results"] == SUCCESS
    passed = (await post(master, FAILED)).json
    assert (passed["msg"], passed["requests"]) == ("Nothing failed", [])
    job = (await master.get(f"/self-serve/jobs/{passed['job_id']}")).json
    assert (job["status"], job["action"]) == ("ok", "rebuild_failed")


@pytest.mark.parametrize("path", [FAILED, MISSING])
@with_many
@pytest_twisted.ensureDeferred
async def test_at_once_nothing_is_made_twice(master: Master, path: str) -> None:
    master.pause()
    await add_change(master)
    for name in BUILDERS[:4]:
        await ended(master, name, FAILURE)
    sent = [defer.ensureDeferred(post(master, path)) for _ in range(6)]
    answers = [await one for one in sent]
    assert [one.status for one in answers] == [202] * 6
    requests = [one for answer in answers for one in answer.json["requests"]]
    created = [one["buildername"] for one in requests if one["outcome"] == "created"]
    names = BUILDERS[:4] if path == FAILED else BUILDERS[4:8]
    assert sorted(created) == names
    waiting = [one for one in await master.data("buildrequests") if not one["complete"]]
    assert len(waiting) == 4


@with_many
@pytest_twisted.ensureDeferred
async def test_what_was_virtual_is_rerun_under_its_name(master: Master) -> None:
    master.pause()
    for name, result in (("deploy", FAILURE), ("docs", SUCCESS)):
        await ended(master, "b0", result, virtual=name, properties=virtual(name))
    receipt = (await post(master, FAILED)).json
    (buildset_id,) = receipt["buildset_ids"]
    properties = await master.data("buildsets", buildset_id, "properties")
    assert properties["virtual_builder_name"] == ("deploy", "Scheduler")
    # that of the other one is not pending
    await ended(master, "b0", EXCEPTION, virtual="docs", properties=virtual("docs"))
    again = (await post(master, FAILED)).json
    assert left(again) == {"deploy": "is pending"}
    assert len([row for row in again["requests"] if row["outcome"] == "created"]) == 1


def virtual(name: str) -> dict[str, tuple[str, str]]:
    return {"virtual_builder_name": (name, "Scheduler")}


async def family(master: Master, parent: str, children: dict[str, int], **more: Any) -> int:
    """Let a parent have waited for children, and have failed; return its request."""
    request_id, build_id = await ended(master, parent, FAILURE, **more)
    for name, results in children.items():
        await ended(
            master,
            name,
            results,
            waited_for=True,
            parent_buildid=build_id,
            parent_relationship="Triggered from",
        )
    return request_id


@with_many
@pytest_twisted.ensureDeferred
async def test_of_what_a_parent_waited_for_the_parent_is_rerun_once(master: Master) -> None:
    master.pause()
    await family(master, "b0", {"b1": FAILURE, "b2": EXCEPTION, "b3": SUCCESS})
    receipt = (await post(master, FAILED)).json
    assert [one for one in outcomes(receipt) if one[1] == "created"] == [("b0", "created")]
    assert left(receipt) == dict.fromkeys(("b1", "b2"), "b0 waited for it and is rebuilt")
    assert len(receipt["buildset_ids"]) == 1
    # asked again, also of the children only: what helps them waits already
    for names in (["b1", "b2"], ["*"]):
        again = (await post(master, FAILED, builders=names)).json
        assert again["buildset_ids"] == []
        told = left(again)
        assert {told["b1"], told["b2"]} == {"b0 waited for it and has not ended"}


@with_many
@pytest_twisted.ensureDeferred
async def test_a_parent_at_another_revision_is_rerun_once(master: Master) -> None:
    master.pause()
    _, build_id = await ended(master, "b0", FAILURE, revision="e" * 40)
    relation: dict[str, Any] = {
        "parent_buildid": build_id,
        "parent_relationship": "T",
        "waited_for": True,
    }
    for name in ("b1", "b2"):
        await ended(master, name, FAILURE, **relation)
    assert outcomes((await post(master, FAILED, builders="b1")).json) == [
        ("b0", "created"),
        ("b1", "left_out"),
    ]
    for name in ("b1", "b2"):
        again = (await post(master, FAILED, builders=name)).json
        assert left(again) == {name: "b0 waited for it and has not ended"}
    assert (await post(master, FAILED)).json["buildset_ids"] == []


@with_many
@pytest_twisted.ensureDeferred
async def test_what_was_found_is_rerun_and_not_what_is_newest_by_now(master: Master) -> None:
    master.pause()
    await add_change(master)
    found = "got_revision", REVISION, "Git"
    _, build_id = await ended(master, "b0", FAILURE, revision=None)
    await master.master.data.updates.setBuildProperty(build_id, *found)
    # and the same of what waited for the failure
    _, parent = await ended(master, "b1", FAILURE, revision=None)
    await master.master.data.updates.setBuildProperty(parent, *found)
    await ended(
        master, "b2", FAILURE, waited_for=True, parent_buildid=parent, parent_relationship="T"
    )
    planned = await post(master, FAILED, dry_run="1", builders=["b0", "b2"])
    created = [one for one in planned.json["requests"] if one["outcome"] == "would_create"]
    assert [(one["buildername"], one["revision"]) for one in created] == [
        ("b0", REVISION),
        ("b1", REVISION),
    ]
    receipt = await post(master, FAILED, if_plan=planned.json["plan"], builders=["b0", "b2"])
    for one in receipt.json["buildset_ids"]:
        (stamp,) = (await master.data("buildsets", one))["sourcestamps"]
        assert (stamp["branch"], stamp["revision"]) == ("main", REVISION)
        assert stamp["repository"] == "https://example.org/repo"


@with_many
@pytest_twisted.ensureDeferred
async def test_the_outermost_parent_is_rerun_unless_it_goes_on(master: Master) -> None:
    master.pause()
    _, top_build = await ended(master, "b0", FAILURE)
    _, middle = await ended(
        master, "b1", FAILURE, waited_for=True, parent_buildid=top_build, parent_relationship="T"
    )
    await ended(
        master, "b2", FAILURE, waited_for=True, parent_buildid=middle, parent_relationship="T"
    )
    # nobody waited for this one
    await ended(
        master, "b3", FAILURE, waited_for=False, parent_buildid=middle, parent_relationship="T"
    )
    receipt = (await post(master, FAILED)).json
    created = [name for name, outcome in outcomes(receipt) if outcome == "created"]
    assert created == ["b0", "b3"]
    assert set(left(receipt)) == {"b1", "b2"}


@with_many
@pytest_twisted.ensureDeferred
async def test_a_builder_that_is_gone_is_left_out(master: Master) -> None:
    master.pause()
    for name in ("b0", "b11"):
        await ended(master, name, FAILURE)
    await master.reconfig(without_the_last)
    receipt = (await post(master, FAILED)).json
    assert outcomes(receipt) == [("b0", "created"), ("b11", "left_out")]
    assert left(receipt) == {"b11": "no master builds for it"}
    only = await post(master, FAILED, builders="b0")
    assert left(only.json) == {"b0": "is pending"}


# -- what is missing


@with_many
@pytest_twisted.ensureDeferred
async def test_what_has_no_result_is_filled_in(master: Master) -> None:
    master.pause()
    await add_change(master)
    await ended(master, "b0", SUCCESS)
    await ended(master, "b1", FAILURE)
    # collapsed, cancelled while it waited, cancelled while it ran, skipped by its own steps
    await ended(master, "b2", SKIPPED, built=False)
    await ended(master, "b3", CANCELLED, built=False)
    await ended(master, "b4", CANCELLED)
    await ended(master, "b5", SKIPPED)
    await master.add_request("b6")
    # b7 was never requested; b8 is nothing that a scheduler builds
    await ended(master, "b8", CANCELLED)
    receipt = (await post(master, MISSING)).json
    created = [name for name, outcome in outcomes(receipt) if outcome == "created"]
    assert created == ["b2", "b3", "b4", "b7"]
    assert left(receipt) == {"b6": "is pending"}
    assert receipt["msg"] == "4 builds requested, 1 left out"
    for one in receipt["requests"]:
        if one["outcome"] == "created":
            assert (await master.data("buildrequests", one["request_id"]))["priority"] == 3
    again = (await post(master, MISSING)).json
    assert again["msg"] == "Nothing is missing, 5 left out"
    assert again["status"] == "OK"
    assert set(left(again).values()) == {"is pending"}
    job = (await master.get(f"/self-serve/jobs/{receipt['job_id']}")).json
    assert (job["action"], job["status"]) == ("fill_missing", "ok")
    master.resume()
    for row in receipt["requests"]:
        if row["request_id"]:
            await master.completed(row["request_id"])
    await master.until(lambda: all_done(master), "all has ended")
    last = (await post(master, MISSING)).json
    assert (last["msg"], last["requests"]) == ("Nothing is missing", [])


async def all_done(master: Master) -> bool:
    return all(one["complete"] for one in await master.data("buildrequests"))


@with_many
@pytest_twisted.ensureDeferred
async def test_what_is_missing_may_be_selected(master: Master) -> None:
    master.pause()
    await add_change(master)
    assert await dry(master, MISSING) == made(*BUILDERS[:8])
    assert await dry(master, MISSING, tags="even", exclude_builders=["b4"]) == made(
        "b0", "b2", "b6"
    )
    # what no scheduler builds is not missing
    assert await dry(master, MISSING, builders="b9") == []
    receipt = (await post(master, MISSING, builders=["b1", "b2"], priority=-4)).json
    assert outcomes(receipt) == [("b1", "created"), ("b2", "created")]
    for one in receipt["requests"]:
        assert (await master.data("buildrequests", one["request_id"]))["priority"] == -4
    # one change is enough
    assert len(await master.data("changes")) == 1


@with_many
@pytest_twisted.ensureDeferred
async def test_a_retry_is_no_result_unless_it_waits(master: Master) -> None:
    master.pause()
    await add_change(master)
    for name in BUILDERS[2:8]:
        await ended(master, name, SUCCESS)
    await ended(master, "b0", RETRY)
    # it is built again when its worker is back
    request_id = await master.add_request("b1")
    db = master.master.db
    await db.buildrequests.claimBuildRequests([request_id])
    builder_id = await master.master.data.updates.findBuilderId("b1")
    build_id, _ = await db.builds.addBuild(
        builder_id, request_id, None, master.master.masterid, "x"
    )
    await db.builds.finishBuild(build_id, RETRY)
    await db.buildrequests.unclaimBuildRequests([request_id])
    receipt = (await post(master, MISSING)).json
    assert outcomes(receipt) == [("b0", "created"), ("b1", "left_out")]
    assert await dry(master, FAILED, states="retry") == [("b1", "left_out")]


# -- who may


@pytest.mark.parametrize(
    "master", [many(util.RebuildBuildEndpointMatcher(builder="b1", role="admins"))], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_who_may_not_rebuild_one_reruns_the_rest(master: Master) -> None:
    master.pause()
    for name in ("b0", "b1"):
        await ended(master, name, FAILURE)
    planned = await post(master, FAILED, "bob", dry_run="1")
    assert outcomes(planned.json) == [("b0", "would_create"), ("b1", "denied")]
    receipt = (await post(master, FAILED, "bob", if_plan=planned.json["plan"])).json
    assert outcomes(receipt) == [("b0", "created"), ("b1", "denied")]
    for told in (planned.json, receipt):
        assert told["requests"][-1]["msg"] == "you need to have role 'admins'"
    before = await contents(master)
    for more in ({"dry_run": "1"}, {}):
        answer = await post(master, FAILED, "bob", builders="b1", **more)
        assert answer.status == 403, answer.text
        assert changed(before, await contents(master)) <= (JOURNAL if not more else set())
    assert outcomes((await post(master, FAILED, builders="b1")).json) == [("b1", "created")]


@pytest.mark.parametrize(
    "master", [many(util.ForceBuildEndpointMatcher(builder="b[12]", role="admins"))], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_who_may_not_build_with_one_fills_in_the_rest(master: Master) -> None:
    master.pause()
    await add_change(master)
    path = f"{MISSING}?dry_run=1"
    planned = await post(master, path, "bob", builders="b[0-2]")
    assert outcomes(planned.json) == [
        ("b0", "would_create"),
        ("b1", "denied"),
        ("b2", "denied"),
    ]
    receipt = await post(master, MISSING, "bob", builders="b[0-2]", if_plan=planned.json["plan"])
    assert outcomes(receipt.json) == [("b0", "created"), ("b1", "denied"), ("b2", "denied")]
    for more in ({"dry_run": "1"}, {}):
        answer = await post(master, MISSING, "bob", builders="b1", **more)
        assert answer.status == 403, answer.text


@with_many
@pytest_twisted.ensureDeferred
async def test_tokens_may_do_what_they_may_do_one_by_one(master: Master) -> None:
    master.pause()
    await add_change(master)
    for name in ("b0", "b1"):
        await ended(master, name, FAILURE)
    for token, failed, missing in (
        ("rebuilds", made("b0", "b1"), None),
        ("news", None, made(*BUILDERS[2:8])),
        ("of-b1", [("b0", "denied"), ("b1", "would_create")], None),
        ("elsewhere", None, None),
    ):
        for path, expected in ((FAILED, failed), (MISSING, missing)):
            answer = await post(master, path, token, dry_run="1")
            told = outcomes(answer.json) if answer.status == 200 else None
            assert told == expected, (token, path, answer.text)
            done = await post(master, path, token, if_plan="0" * 32)
            assert done.status == (403 if expected is None else 412), (token, path)


RULE = util.RebuildBuildEndpointMatcher(builder="b2", role="admins")


@pytest.mark.parametrize("master", [many(RULE)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_rule_is_asked_about_the_request_and_not_about_a_build_of_its_id(
    master: Master,
) -> None:
    """A request that was cancelled before it was built has no build to ask about."""
    for name in ("b0", "b1"):
        await master.finished_build(name)
    master.pause()
    waiting = await master.add_request("b2")
    await master.add_request("b3")
    await master.request("DELETE", AT, user=USER)
    answer = await post(master, FAILED, "bob", states="cancelled")
    assert sorted((one["buildername"], one["outcome"]) for one in answer.json["requests"]) == [
        ("b2", "denied"),
        ("b3", "created"),
    ]
    denied = await post(master, "/self-serve/main/request", "bob", request_id=waiting)
    assert denied.status == 403


@with_many
@pytest_twisted.ensureDeferred
async def test_a_parent_on_another_branch_is_not_rebuilt_from_here(master: Master) -> None:
    elsewhere = {
        "branch": "release",
        "revision": "e" * 40,
        "repository": "https://example.org/repo",
        "codebase": "",
        "project": "",
    }
    await master.finished_build("b9", branch="release", sourcestamps=[elsewhere])
    (parent,) = await master.data("builds")
    await ended(master, "b1", FAILURE, parent_buildid=parent["buildid"], waited_for=True)
    master.pause()
    answer = await post(master, FAILED)
    (one,) = answer.json["requests"]
    assert (one["buildername"], one["outcome"]) == ("b1", "left_out")
    assert one["msg"] == "b9 waited for it and builds another branch, release"


@with_many
@pytest_twisted.ensureDeferred
async def test_what_was_half_inserted_is_completed(master: Master) -> None:
    """Without transactions, a buildset may be there and lack its requests."""
    master.pause()
    await master.add_request("b9")
    rights = Rights(master.master, everything)
    builders = tuple(
        [Builder(await master.master.data.updates.findBuilderId(one), one) for one in BUILDERS[:3]]
    )
    admitted = await rights.admitted(NewBuildset((1,), builders, {}, "r"))
    assert admitted is not None
    order = Order(7, USER, 0.0, lambda: None)
    given = [
        Insertion(number, admitted, [1], marks(order, number, admitted)) for number in range(3)
    ]
    do = master.master.db.pool.do
    begun: list[int] = []
    made = await do(insert_buildsets._insert, 7, given[:2], begun)
    lost = list(made[0].request_ids.values())[1]
    requests = Model.buildrequests

    def lose(connection: sa.Connection) -> None:
        with connection.begin():
            connection.execute(requests.delete().where(requests.c.id == lost))

    await do(lose)
    new, *again = await do(insert_buildsets._insert, 7, [given[2], *given[:2]], begun)
    assert new.insertion is given[2]
    assert [one.buildset_id for one in again] == [one.buildset_id for one in made]
    assert [sorted(one.request_ids) for one in again] == [sorted(one.request_ids) for one in made]
    assert len(await master.data("buildrequests")) == 10


async def interrupted(master: Master, *buildsets: tuple[str, ...]) -> Job:
    """Leave a rerun after its first buildset; return it.

    :param buildsets: the builders of each buildset; by default, three with one builder each
    """
    found = {
        name: Builder(await master.master.data.updates.findBuilderId(name), name)
        for name in BUILDERS
    }
    plan = Plan(
        buildsets=tuple(
            NewBuildset((1,), tuple(found[name] for name in names), {}, "r", is_copy=True)
            for names in buildsets or [(name,) for name in BUILDERS[:3]]
        )
    )
    job = Job(9, "rebuild_failed", USER, "basic", "", int(time.time()), "main", {})
    order = Order(9, USER, 0.0, lambda: None)
    rights = Rights(master.master, everything)
    first = await rights.admitted(plan.buildsets[0])
    assert first is not None
    given = Insertion(0, first, [1], marks(order, 0, first))
    await insert_buildsets.insert(master.master, rights, 9, [given])
    return replace(job, plan=plan_to_json(plan))


@with_many
@pytest_twisted.ensureDeferred
async def test_what_others_requested_meanwhile_is_not_built_twice(master: Master) -> None:
    master.pause()
    await master.add_request("b9")  # the sourcestamp is there
    job = await interrupted(master)
    for name in ("b0", "b1"):  # b0 is made, and stays as it is
        await master.add_request(name)
    effect = await reconcile(master.master, job, lambda: None)
    assert [(one.buildername, one.outcome) for one in effect.requests] == [
        ("b0", "created"),
        ("b2", "created"),
        ("b1", "left_out"),
    ]
    assert (effect.msg, effect.errors) == ("2 builds requested, 1 left out", False)


@with_many
@pytest_twisted.ensureDeferred
async def test_a_master_that_stops_again_leaves_the_rest_to_its_next_start(master: Master) -> None:
    master.pause()
    await master.add_request("b9")
    job = await interrupted(master)

    def stops() -> None:
        raise MasterStops

    with pytest.raises(MasterStops):
        await reconcile(master.master, job, stops)
    effect = await reconcile(master.master, job, lambda: None)
    assert effect.msg == "3 builds requested"


@pytest.mark.parametrize(
    ("buildsets", "expected", "msg"),
    [
        ([("b0", "b11"), ("b1",)], ["b0", "b11", "b1"], "3 builds requested"),
        ([("b0",), ("b11",), ("b1", "b11")], ["b0", "b1"], "2 builds requested, 1 left out"),
    ],
    ids=["made before", "not made"],
)
@with_many
@pytest_twisted.ensureDeferred
async def test_a_builder_that_is_gone_meanwhile_is_left_out(
    master: Master, buildsets: list[tuple[str, ...]], expected: list[str], msg: str
) -> None:
    master.pause()
    await master.add_request("b9")
    job = await interrupted(master, *buildsets)
    await master.reconfig(without_the_last)
    effect = await reconcile(master.master, job, lambda: None)
    created = [one.buildername for one in effect.requests if one.outcome == "created"]
    assert (created, effect.msg, effect.errors) == (expected, msg, False)


@with_many
@pytest_twisted.ensureDeferred
async def test_what_cannot_be_created_is_told_beside_all_that_was(
    master: Master, monkeypatch: Any
) -> None:
    master.pause()
    await master.add_request("b9")
    job = await interrupted(master)
    insert = insert_buildsets.insert
    monkeypatch.setattr(execute, "BATCH", 1)

    async def insert_but_b2(master: Any, rights: Rights, job_id: int, given: Any) -> Any:
        if given[0].buildset.builders[0].name == "b2":
            raise ValueError
        return await insert(master, rights, job_id, given)

    monkeypatch.setattr(insert_buildsets, "insert", insert_but_b2)
    effect = await reconcile(master.master, job, lambda: None)
    assert [(one.buildername, one.outcome) for one in effect.requests] == [
        ("b0", "created"),
        ("b1", "created"),
    ]
    assert (effect.msg, effect.errors) == ("Interrupted: 2 of 3 builds requested", True)
    master.errors.clear()


@with_many
@pytest_twisted.ensureDeferred
async def test_a_property_is_no_mark_whose_name_differs_in_case(master: Master) -> None:
    master.pause()
    await ended(master, "b0", FAILURE)
    given = {"Selfserve_Key": "mine", "SELFSERVE_JOB": "yours"}
    receipt = (await post(master, FAILED, properties=given)).json
    numbers = await master.master.db.pool.do(current_state.numbers_made, receipt["job_id"], 0)
    assert numbers == {0: receipt["buildset_ids"][0]}


@with_many
@pytest_twisted.ensureDeferred
async def test_files_that_others_gave_meanwhile_stay(master: Master) -> None:
    master.pause()
    await master.add_request("b9")
    job = await interrupted(master)
    place = Sourcestamp("main", "", "https://example.org/repo", "")
    before, after = (
        NewChange(REVISION, place, USER, "requested", files=(name,)) for name in ("a.c", "b.c")
    )
    await changes.record(master.master, before)
    await changes.record(master.master, after)
    plan = replace(plan_from_json(job.plan or ""), changes=(before,))
    effect = await reconcile(master.master, replace(job, plan=plan_to_json(plan)), lambda: None)
    assert effect.msg == "3 builds requested"
    assert (await changes.newest(master.master, REVISION, place)).files == ["b.c"]
