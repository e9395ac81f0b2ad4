"""Holds: what of a branch does not start for a while, on real masters."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.config.errors import ConfigErrors
from buildbot.config.master import MasterConfig
from buildbot.plugins import schedulers
from buildbot.plugins import util
from lxml import html
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task
from twisted.internet import threads

from buildbot_selfserve import plugin
from buildbot_selfserve.client.deferred import TwistedClient
from buildbot_selfserve.control import enforce_holds
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.history import queue
from buildbot_selfserve.journal import holds as journal_holds
from buildbot_selfserve.permissions import HOLD
from buildbot_selfserve.statements import Statement
from tests.harness import PASSWORD
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import Master
from tests.harness import builder
from tests.harness import config
from tests.harness import running_master

BOB, ROOT = "bob", "root"
USERS = (USER, BOB, ROOT)
HOLD_PATH = "/self-serve/main/hold"


def branches() -> list[Any]:
    return [util.SelfServeBranch("main"), util.SelfServeBranch("*")]


def ruled(*rules: Any, selfserve: Any = True, builders: Any = (), **more: Any) -> Any:
    """Return what makes a configuration with these rules, in which ada is a lead, root an admin."""

    def make() -> Config:
        made = config(
            util.SelfServe(branches=branches()) if selfserve is True else selfserve,
            auth=util.UserPasswordAuth(dict.fromkeys(USERS, PASSWORD)),
            authz=util.Authz(
                allowRules=list(rules),
                roleMatchers=[
                    util.RolesFromUsername(["leads"], [USER]),
                    util.RolesFromUsername(["admins"], [ROOT]),
                ],
            ),
        )
        made["collapseRequests"] = False
        more_builders = [one() for one in builders]
        made["builders"] += more_builders
        names = [one.name for one in more_builders]
        made["schedulers"].append(schedulers.Triggerable(name="more", builderNames=names))
        made.update(more)
        return made

    return make


LEADS = util.SelfServeEndpointMatcher(role="leads", action="hold")
leading = pytest.mark.parametrize("master", [ruled(LEADS)], indirect=True)


def soon(seconds: float = 3600) -> int:
    return int(time.time() + seconds)


async def put(master: Master, user: str = USER, **sent: Any) -> Any:
    """Hold the branch, with something for what must be given."""
    sent = {"reason": "the lab moves", "expires": soon(), **sent}
    path = sent.pop("path", HOLD_PATH)
    return await master.request("PUT", path, user=user, data=sent)


async def held(master: Master, user: str = USER, **sent: Any) -> Any:
    answer = await put(master, user, **sent)
    assert answer.status == 202, answer.text
    return answer.json


async def release(master: Master, user: str = USER, **sent: Any) -> Any:
    return await master.request("DELETE", HOLD_PATH, user=user, data=sent)


async def why(master: Master, request_id: int, branch: str = "main") -> Any:
    answer = await master.get(f"/self-serve/{branch}/request/{request_id}/why")
    assert answer.status == 200, answer.text
    return answer.json["reasons"][0]


async def waits(master: Master, *request_ids: int) -> bool:
    """Return whether none of these requests was claimed when a later one has been built."""
    rows = [await master.data("buildrequests", one) for one in request_ids]
    builders = {(await master.data("builders", row["builderid"]))["name"] for row in rows}
    for name in builders - {"slow"}:
        await master.completed(await master.add_request(name, branch="marker"))
    rows = [await master.data("buildrequests", one) for one in request_ids]
    return not any(row["claimed"] for row in rows)


# -- what is held


@leading
@pytest_twisted.ensureDeferred
async def test_what_is_held_does_not_start_and_says_so_until_it_is_released(master: Any) -> None:
    expires = soon()
    receipt = await held(master, expires=expires)
    assert receipt["msg"].startswith("Branch main is held until ")
    first, second = await master.add_request(), await master.add_request("slow")
    other = await master.add_request(branch="other")
    await master.completed(other)
    assert await waits(master, first, second)
    told = await why(master, first)
    assert (told["code"], told["who"], told["until"]) == ("held", USER, expires)
    assert "the lab moves" in told["msg"]
    assert told["blocking"]
    assert not told["capacity"]
    assert not told["fatal"]
    waiting = (await master.get("/self-serve/main/pending")).json
    assert [one["reason"]["code"] for one in waiting["requests"]] == ["held", "held"]
    (hold,) = (await master.get(HOLD_PATH)).json
    assert hold["waiting"] == 2
    assert (hold["reason"], hold["expires"], hold["who"]) == ("the lab moves", expires, USER)
    ended = await release(master)
    assert ended.status == 202, ended.text
    assert ended.json["msg"] == "1 hold ended, 2 pending requests released"
    assert [one["outcome"] for one in ended.json["requests"]] == ["released", "released"]
    await master.completed(first)
    assert (await master.get(HOLD_PATH)).json == []
    jobs = (await master.get("/self-serve/jobs")).json
    assert [(one["action"], one["branch"], one["who"]) for one in jobs] == [
        ("release", "main", USER),
        ("hold", "main", USER),
    ]
    assert jobs[1]["what"]["reason"] == "the lab moves"
    await master.request("DELETE", f"/self-serve/main/request/{second}", user=USER)


@leading
@pytest_twisted.ensureDeferred
async def test_what_runs_goes_on_and_what_waits_is_held(master: Any) -> None:
    running = await master.add_request("slow")
    await master.running_build(running)
    master.pause()
    waiting = await master.add_request()
    receipt = await held(master)
    assert receipt["msg"].endswith(", 1 pending request held")
    assert [(one["request_id"], one["outcome"]) for one in receipt["requests"]] == [
        (waiting, "held")
    ]
    master.resume()
    assert await waits(master, waiting)
    (build,) = await master.data("buildrequests", running, "builds")
    assert not build["complete"]
    await master.request("DELETE", f"/self-serve/main/request/{running}", user=USER)


@leading
@pytest_twisted.ensureDeferred
async def test_what_a_running_build_waits_for_is_not_held(master: Any) -> None:
    await held(master)
    await master.completed(await master.add_request(waited_for=True))


@leading
@pytest_twisted.ensureDeferred
async def test_requests_pass_from_the_priority_that_is_named(master: Any) -> None:
    await held(master, above=10)
    low, high = await master.add_request(priority=9), await master.add_request(priority=10)
    await master.completed(high)
    assert await waits(master, low)
    path = f"/self-serve/main/request/{low}"
    answer = await master.request("PUT", path, user=USER, data={"priority": 11})
    assert answer.status == 202, answer.text
    await master.completed(low)


@pytest.mark.parametrize(
    ("sent", "starts", "stays"),
    [
        ({"builders": "fast"}, ["plain"], ["fast", "virtual"]),
        ({"builders": "fa*\nnothing*"}, None, ()),
        ({"exclude_builders": "fast"}, ["fast"], ["plain"]),
        ({"tags": "lab"}, ["fast"], ["plain"]),
        ({"builders": "*", "exclude_builders": "pl*"}, ["plain"], ["fast"]),
        ({"builders": "deploy"}, ["plain", "fast"], ["virtual"]),
        ({"exclude_builders": "deploy"}, ["virtual"], ["fast"]),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
@pytest.mark.parametrize(
    "master", [ruled(LEADS, builders=[lambda: builder("plain", tags=["lab"])])], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_selectors_say_which_builders(
    master: Any, sent: dict[str, Any], starts: list[str] | None, stays: list[str]
) -> None:
    await master.master.data.updates.findBuilderId("deploy")
    if starts is None:
        assert (await put(master, **sent)).json["msg"] == "Bad builders"
        return
    await held(master, **sent)
    virtual = {"virtual_builder_name": ("deploy", "Scheduler")}
    ids = {
        "fast": await master.add_request("fast"),
        "plain": await master.add_request("plain"),
        "virtual": await master.add_request("fast", properties=virtual),
    }
    for name in starts:
        await master.completed(ids[name])
    its = [ids[name] for name in stays]
    assert await waits(master, *its)
    for one in its:
        assert (await why(master, one))["code"] == "held"


@leading
@pytest_twisted.ensureDeferred
async def test_a_builder_that_a_reconfig_adds_is_held_if_its_name_fits(master: Any) -> None:
    await held(master, builders="f*")
    await master.reconfig(ruled(LEADS, builders=[lambda: builder("fresh")]))
    fresh = await master.add_request("fresh")
    assert await waits(master, fresh)


def several_branches(codebase: str | None) -> Callable[[], Config]:
    some = [
        util.SelfServeBranch("main", codebase=codebase),
        util.SelfServeBranch("none", branch=None),
        util.SelfServeBranch("release/*"),
    ]
    return ruled(LEADS, selfserve=util.SelfServe(branches=some))


@pytest.mark.parametrize("master", [several_branches("lib")], indirect=True)
@pytest_twisted.ensureDeferred
async def test_branches_are_those_of_the_configuration(master: Any) -> None:
    def stamps(branch: str | None, *codebases: str) -> list[dict[str, Any]]:
        more = {"revision": None, "repository": "", "project": ""}
        return [{"branch": branch, "codebase": one, **more} for one in codebases]

    old = await master.add_request(sourcestamps=stamps("release/1", ""))
    await master.completed(old)
    await held(master)
    await held(master, path="/self-serve/none/hold")
    await held(master, path="/self-serve/release%2F1/hold")
    passing = [
        await master.add_request(sourcestamps=stamps("main", "")),
        await master.add_request(sourcestamps=stamps("release/2", "")),
    ]
    staying = [
        await master.add_request(sourcestamps=stamps("main", "lib", "app")),
        await master.add_request(sourcestamps=stamps(None, "")),
        await master.add_request(sourcestamps=stamps("", "")),
        await master.add_request(sourcestamps=stamps("release/1", "")),
    ]
    for one in passing:
        await master.completed(one)
    assert await waits(master, *staying)


# -- beside what an operator has configured


class Operator:
    """An operator's functions, which answer at once or later."""

    def __init__(self, later: bool) -> None:
        self.later = later
        self.offered: list[set[str]] = []
        self.asked: list[str] = []
        self.refused: set[str] = set()
        self.sorted = 0

    def _answer(self, value: Any) -> Any:
        return task.deferLater(reactor, 0.01, lambda: value) if self.later else value

    def next_build(self, builder: Any, requests: Any) -> Any:
        self.offered.append({one.sources[""].branch for one in requests})
        return self._answer(max(requests, key=lambda one: one.id))

    def can_start(self, builder: Any, worker: Any, request: Any) -> Any:
        branch = request.sources[""].branch
        self.asked.append(branch)
        return self._answer(branch not in self.refused)

    def next_worker(self, builder: Any, workers: Any, request: Any) -> Any:
        return self._answer(workers[0])

    def sort(self, master: Any, builders: Any) -> Any:
        self.sorted += 1
        return self._answer(builders)


@pytest.fixture(params=[False, True], ids=["at once", "later"])
def operator(request: Any) -> Operator:
    return Operator(request.param)


@pytest.fixture
def make(operator: Operator) -> Callable[[], Config]:
    def chosen() -> Any:
        return builder(
            "chosen",
            nextBuild=operator.next_build,
            canStartBuild=operator.can_start,
            nextWorker=operator.next_worker,
        )

    return ruled(LEADS, builders=[chosen], prioritizeBuilders=operator.sort)


@pytest_twisted.ensureDeferred
async def test_an_operators_functions_choose_among_the_rest(
    tmp_path: Any, monkeypatch: Any, operator: Operator, make: Any
) -> None:
    async with running_master(tmp_path, monkeypatch, make) as master:
        await master.completed(await master.add_request("fast"))
        await held(master)
        operator.refused = {"refused"}
        first = await master.add_request("chosen")
        refused = await master.add_request("chosen", branch="refused")
        other = await master.add_request("chosen", branch="other")
        later = await master.add_request("chosen")  # what nextBuild would choose
        await master.completed(other)
        assert await waits(master, first, later, refused)
        assert not any("main" in one for one in operator.offered)
        both = {"refused", "other"}
        await master.until(lambda: both <= set(operator.asked), "it is asked about both")
        assert "main" not in operator.asked
        assert operator.sorted
        assert (await why(master, later))["code"] == "held"
        # neither is lost at a reconfig, with new objects for all of it
        await master.reconfig(make)
        again = await master.add_request("chosen", branch="other")
        await master.completed(again)
        assert await waits(master, first, later)
        assert (await release(master)).status == 202
        await master.completed(first)
        await master.completed(later)
        assert "main" in operator.asked
        assert not master.errors


@pytest_twisted.ensureDeferred
async def test_a_hold_counts_that_comes_while_an_operators_function_decides(
    tmp_path: Any, monkeypatch: Any
) -> None:
    deciding: list[defer.Deferred[bool]] = []

    def can_start(builder: Any, worker: Any, request: Any) -> Any:
        deciding.append(defer.Deferred())
        return deciding[-1]

    make = ruled(LEADS, builders=[lambda: builder("chosen", canStartBuild=can_start)])
    async with running_master(tmp_path, monkeypatch, make) as master:
        request_id = await master.add_request("chosen")
        await master.until(lambda: deciding, "it is asked")
        await held(master)
        deciding[0].callback(True)
        other = await master.add_request("chosen", branch="other")
        await master.until(lambda: len(deciding) > 1, "another is asked about")
        deciding[1].callback(True)
        await master.completed(other)
        assert not (await master.data("buildrequests", request_id))["claimed"]


@leading
@pytest_twisted.ensureDeferred
async def test_nothing_is_left_of_it_when_the_plugin_goes(master: Any) -> None:
    await held(master)
    request_id = await master.add_request()
    assert await waits(master, request_id)
    brd = master.master.botmaster.brd
    assert "createBuildChooser" in vars(brd)
    await master.reconfig(ruled(LEADS, selfserve=None))
    await master.completed(request_id)
    assert "createBuildChooser" not in vars(brd)


@leading
@pytest_twisted.ensureDeferred
async def test_a_reconfig_and_the_names_of_branches_change_nothing(master: Any) -> None:
    await held(master)
    await master.reconfig(ruled(LEADS))
    request_id = await master.add_request()
    assert await waits(master, request_id)


# -- when it ends


class WallClock:
    def __init__(self) -> None:
        self._real = time.time
        self.ahead = 0.0

    def time(self) -> float:
        return self._real() + self.ahead


@leading
@pytest_twisted.ensureDeferred
async def test_it_ends_by_itself(master: Any) -> None:
    expires = soon(6)
    await held(master, expires=expires)
    request_id = await master.add_request()
    row = await master.completed(request_id)
    assert row["claimed_at"].timestamp() >= expires
    assert (await master.get(HOLD_PATH)).json == []


@leading
@pytest_twisted.ensureDeferred
async def test_it_ends_when_the_clock_was_set_or_the_machine_slept(
    master: Any, monkeypatch: Any
) -> None:
    await held(master)
    request_id = await master.add_request()
    assert await waits(master, request_id)
    clock = WallClock()
    monkeypatch.setattr(time, "time", clock.time)
    clock.ahead = 7200.0
    await master.completed(request_id)


@pytest.mark.parametrize("ends", [False, pytest.param(True, marks=pytest.mark.heavy)])
@pytest_twisted.ensureDeferred
async def test_it_survives_a_restart_or_ends_meanwhile(
    tmp_path: Any, monkeypatch: Any, ends: bool
) -> None:
    make = ruled(LEADS)
    async with running_master(tmp_path, monkeypatch, make) as master:
        expires = soon(10 if ends else 3600)
        await held(master, expires=expires)
        request_id = await master.add_request()
        assert await waits(master, request_id)
    if ends:
        await task.deferLater(reactor, max(0.0, expires - time.time()))
    async with running_master(tmp_path, monkeypatch, make) as master:
        if ends:
            await master.completed(request_id)
            return
        other = await master.add_request(branch="other")
        await master.completed(other)
        assert await waits(master, request_id)
        assert (await why(master, request_id))["code"] == "held"


# -- asked again


@leading
@pytest_twisted.ensureDeferred
async def test_the_same_selectors_extend_or_replace(master: Any) -> None:
    first = await held(master, builders="fast", expires=soon(100))
    longer = await held(master, builders="fast", expires=soon(200))
    assert "is extended, until" in longer["msg"]
    other = await held(master, builders="fast", reason="another", expires=soon(150))
    assert "is replaced, until" in other["msg"]
    await held(master, builders="slow")
    found = (await master.get(HOLD_PATH)).json
    assert [(one["builders"], one["reason"]) for one in found] == [
        (["fast"], "another"),
        (["slow"], "the lab moves"),
    ]
    assert found[0]["job_id"] == other["job_id"] > first["job_id"]
    ended = await release(master, builders="fast")
    assert ended.json["msg"].startswith("1 hold ended")
    nothing = await release(master, builders="fast")
    assert (nothing.status, nothing.json["status"]) == (202, "OK")
    assert nothing.json["msg"] == "Branch main has no such hold"
    assert len((await master.get(HOLD_PATH)).json) == 1
    await held(master)
    assert (await release(master)).json["msg"].startswith("2 holds ended")


@leading
@pytest_twisted.ensureDeferred
async def test_a_dry_run_says_what_would_be_held_and_writes_nothing(master: Any) -> None:
    master.pause()
    request_id = await master.add_request()
    expires = soon()
    planned = (await put(master, expires=expires, dry_run="1")).json
    assert (planned["status"], planned["buildset_ids"]) == ("PLANNED", [])
    (entry,) = planned["requests"]
    assert (entry["request_id"], entry["outcome"]) == (request_id, "would_hold")
    assert "would be held until" in planned["msg"]
    assert (await master.get(HOLD_PATH)).json == []
    assert (await master.get("/self-serve/jobs")).json == []
    # what comes later belongs to it, too
    await master.add_request()
    await task.deferLater(reactor, 1.1)
    assert (await put(master, expires=expires, dry_run="1")).json["plan"] == planned["plan"]
    stale = await put(master, expires=expires + 1, if_plan=planned["plan"])
    assert stale.status == 412
    done = await held(master, expires=expires, if_plan=planned["plan"])
    assert [one["outcome"] for one in done["requests"]] == ["held", "held"]
    path = f"{HOLD_PATH}?dry_run=1"
    planned = (await master.request("DELETE", path, user=USER)).json
    assert planned["msg"] == "1 hold would end, 2 pending requests would be released"
    assert {one["outcome"] for one in planned["requests"]} == {"would_release"}
    assert len((await master.get(HOLD_PATH)).json) == 1


def in_threads() -> Config:
    """Return the configuration of a master whose readers are in this process."""
    return ruled(LEADS, selfserve=util.SelfServe(branches=branches(), readers=0))()


@pytest.mark.parametrize("master", [in_threads], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_is_pending_is_read_once_for_all_holds_and_workers_never(
    master: Any, monkeypatch: Any
) -> None:
    await held(master, builders="fast")
    await held(master, builders="slow")
    read: list[Statement] = []
    records = Statement._records

    def noted(statement: Statement, *arguments: Any) -> Any:
        read.append(statement)
        return records(statement, *arguments)

    monkeypatch.setattr(Statement, "_records", noted)
    assert len((await master.get(HOLD_PATH)).json) == 2
    assert read.count(queue._PENDING) == 1
    assert not {queue._MASTERS, queue._OPEN_BUILDS, queue._WORKERS}.intersection(read)


# -- bad input


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ({"reason": None}, "reason"),
        ({"reason": ""}, "reason"),
        ({"reason": "  "}, "reason"),
        ({"reason": "x" * 257}, "reason"),
        ({"reason": "a\0b"}, "reason"),
        ({"expires": None}, "expires"),
        ({"expires": ""}, "expires"),
        ({"expires": "tomorrow"}, "expires"),
        ({"expires": 0}, "expires"),
        ({"expires": -5}, "expires"),
        ({"expires": "2026-13-45T00:00:00Z"}, "expires"),
        ({"expires": "2026-11-29T18:00:00"}, "expires"),
        ({"expires": "2126-11-29"}, "expires"),
        ({"expires": "2020-01-01T00:00:00Z"}, "expires"),
        ({"expires": "9" * 40}, "expires"),
        ({"above": "high"}, "above"),
        ({"above": 2**31}, "above"),
        ({"builders": "no-such*"}, "builders"),
        ({"tags": "none"}, "tags"),
        ({"dry_run": "perhaps"}, "dry_run"),
    ],
    ids=str,
)
@leading
@pytest_twisted.ensureDeferred
async def test_bad_input_names_the_parameter(master: Any, sent: dict[str, Any], name: str) -> None:
    whole = {"reason": "r", "expires": soon(), **sent}
    data = {key: value for key, value in whole.items() if value is not None}
    answer = await master.request("PUT", HOLD_PATH, user=USER, data=data)
    assert (answer.status, answer.json["msg"]) == (400, f"Bad {name}"), answer.text
    assert name in answer.json["detail"]
    assert (await master.get(HOLD_PATH)).json == []
    assert (await master.get("/self-serve/jobs")).json == []


@leading
@pytest_twisted.ensureDeferred
async def test_the_end_is_read_in_every_spelling(master: Any) -> None:
    def iso(seconds: int, offset: str, form: str = "%Y-%m-%dT%H:%M:%S") -> str:
        sign = -1 if offset.startswith("-") else 1
        shift = 0 if offset in "zZ" else sign * int(offset[1:3]) * 3600
        return time.strftime(form, time.gmtime(seconds + shift)) + offset

    end = soon() // 60 * 60 + 60
    for spelled in (
        iso(end, "Z"),
        iso(end, "z"),
        iso(end, "+02:00"),
        iso(end, "-0500"),
        iso(end, "+00:00", "%Y-%m-%d %H:%M"),
        iso(end, ".123Z"[-1], "%Y-%m-%dT%H:%M:%S.123"),
        str(end),
        f" {end} ",
    ):
        await held(master, expires=spelled)
        (hold,) = (await master.get(HOLD_PATH)).json
        assert hold["expires"] == end, spelled
    late = await put(master, expires=soon(30 * 86400 + 60))
    assert (late.status, late.json["msg"]) == (400, "Bad expires")
    await held(master, expires=soon(30 * 86400 - 60))


@leading
@pytest_twisted.ensureDeferred
async def test_no_such_branch(master: Any) -> None:
    for method in ("GET", "PUT", "DELETE"):
        data = {"reason": "r", "expires": soon()} if method == "PUT" else None
        answer = await master.request(method, "/self-serve/nix/hold", user=USER, data=data)
        assert (answer.status, answer.json["msg"]) == (404, "Branch nix not found")


# -- who may

ANY = util.AnyControlEndpointMatcher(role="admins")
FORCE = util.ForceBuildEndpointMatcher(role="leads")
RULES: dict[str, tuple[list[Any], set[str]]] = {
    "no rules": ([], set(USERS)),
    "other rules": ([FORCE], set()),
    "anything": ([ANY], {ROOT}),
    "a rule": ([LEADS], {USER}),
    "a rule, then anything": (
        [util.SelfServeEndpointMatcher(role="leads", action="hold", defaultDeny=False), ANY],
        {USER, ROOT},
    ),
    "a rule before anything": ([LEADS, ANY], {USER}),
    "another branch": (
        [util.SelfServeEndpointMatcher(role="leads", action="hold", branch="stable")],
        set(),
    ),
    "another action": ([util.SelfServeEndpointMatcher(role="leads", action="cancel_*")], set()),
    "every job request": ([util.SelfServeEndpointMatcher(role="leads")], {USER}),
    "some builders": (
        [util.SelfServeEndpointMatcher(role="leads", action="hold", builder="fast")],
        set(),
    ),
}


@pytest.mark.parametrize(
    ("master", "may"),
    [(ruled(*rules), may) for rules, may in RULES.values()],
    ids=list(RULES),
    indirect=["master"],
)
@pytest_twisted.ensureDeferred
async def test_only_who_may_control_anything_or_has_a_rule(master: Any, may: set[str]) -> None:
    for user in USERS:
        for answer in (await put(master, user), await release(master, user)):
            assert answer.status == (202 if user in may else 403), (user, answer.text)
        told = (await master.get("/self-serve/main/permissions", user=user)).json["actions"]
        assert told["hold"]["allowed"] in ((True,) if user in may else (False, None)), user
    anonymous = await master.request("PUT", HOLD_PATH, data={"reason": "r", "expires": soon()})
    assert anonymous.status == 401
    assert (await master.get(HOLD_PATH)).json == []


@pytest.mark.parametrize("master", [ruled(*RULES["some builders"][0])], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_rule_for_some_builders_is_for_those(master: Any) -> None:
    assert (await put(master, builders="fast")).status == 202
    refused = await put(master, builders="fast\nslow")
    assert refused.status == 403
    assert "slow" in refused.text
    assert (await put(master, ROOT, builders="fast")).status == 403
    assert (await release(master, builders="fast")).status == 202


TOKENS = [
    util.SelfServeToken("holder", "s1", actions=["hold"]),
    util.SelfServeToken("anything", "s2"),
    util.SelfServeToken("other", "s3", actions=["cancel_*"]),
    util.SelfServeToken("stable", "s4", actions=["hold"], branches=["stable"]),
    util.SelfServeToken("some", "s5", actions=["hold"], builders=["fast"]),
]


@pytest.mark.parametrize(
    "master", [ruled(selfserve=util.SelfServe(tokens=TOKENS, branches=branches()))], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_a_token_may_if_it_names_the_action(master: Any) -> None:
    async def ask(secret: str, **sent: Any) -> int:
        data = {"reason": "r", "expires": soon(), **sent}
        headers = {"Authorization": f"Bearer {secret}"}
        answer = await master.request("PUT", HOLD_PATH, headers=headers, data=data)
        status: int = answer.status
        return status

    await master.completed(await master.add_request())
    await master.until(lambda: _reads_tokens(master), "the secrets are read")
    assert await ask("s1") == 202
    assert [await ask(one) for one in ("s3", "s4", "s5")] == [403] * 3
    assert await ask("s2") == 202  # there are no rules
    assert await ask("s5", builders="fast") == 202


async def _reads_tokens(master: Any) -> bool:
    headers = {"Authorization": "Bearer s1"}
    return bool((await master.get("/self-serve/main/hold", headers=headers)).status == 200)


# -- faults


@leading
@pytest_twisted.ensureDeferred
async def test_what_was_written_though_that_failed_is_held(master: Any, monkeypatch: Any) -> None:
    write = journal_holds.put
    failed: list[bool] = []

    def fail_once(connection: Any, hold: Any) -> bool:
        stands = write(connection, hold)
        if not failed:
            failed.append(hold)
            raise OSError("the connection broke just after the commit")
        return stands

    monkeypatch.setattr(journal_holds, "put", fail_once)
    receipt = await held(master)
    assert receipt["status"] == "OK"
    assert failed
    request_id = await master.add_request()
    assert await waits(master, request_id)
    assert (await release(master)).json["status"] == "OK"
    await master.completed(request_id)
    master.errors.clear()


@leading
@pytest_twisted.ensureDeferred
async def test_the_same_key_holds_once(master: Any) -> None:
    sent = {"data": {"reason": "r", "expires": soon()}, "headers": {"Idempotency-Key": "k"}}
    first, second = [await master.request("PUT", HOLD_PATH, user=USER, **sent) for _ in range(2)]
    assert first.json["job_id"] == second.json["job_id"]


@pytest.mark.parametrize(
    ("patience", "error"), [(1.0, Unavailable("It is away")), (3600.0, OSError("whatever it is"))]
)
@pytest_twisted.ensureDeferred
async def test_a_master_that_cannot_read_the_holds_starts_nothing_for_a_while(
    tmp_path: Any, monkeypatch: Any, patience: float, error: Exception
) -> None:
    is_away = [True]

    async def away(service: Any) -> Any:
        if is_away:
            raise error
        return await reads(service)

    monkeypatch.setattr(enforce_holds, "START_PATIENCE", patience)
    reads = plugin.SelfServeService._holds_now
    monkeypatch.setattr(plugin.SelfServeService, "_holds_now", away)
    async with running_master(tmp_path, monkeypatch, ruled(LEADS)) as master:
        request_id = await master.add_request()
        if patience > 60:
            await master.completed(await master.add_request(waited_for=True))
            assert not (await master.data("buildrequests", request_id))["claimed"]
            is_away.clear()
        await master.completed(request_id)
        if patience < 60:
            why = "builds start without them until they can: It is away\n"
            await task.deferLater(reactor, 2 * enforce_holds.INTERVAL)
            assert master.log.count(why) == 1
            is_away.clear()
        await master.until(lambda: "the holds are read again" in master.log, "they are read")
        # what is known stays so while it cannot be read
        if patience > 60:
            await held(master)
            is_away.append(True)
            await task.deferLater(reactor, enforce_holds.INTERVAL)
            service = plugin.application._service
            assert service is not None
            assert len(service.holds.now) == 1
            assert master.log.count("cannot be read, trying again: OSError: whatever it is") == 2
            assert "Traceback" not in master.log


# -- clients


@leading
@pytest_twisted.ensureDeferred
async def test_the_client_and_the_command_hold_and_release(master: Any) -> None:
    url = f"{master.url}/self-serve"
    client = TwistedClient(url, user=USER, password=PASSWORD)
    end = soon()
    plan = await client.hold("main", reason="r", expires=end, builders=["f*"], dry_run=True)
    receipt = await client.hold(
        "main", reason="r", expires=end, above=3, builders=["f*"], key="one"
    )
    assert plan["status"] == "PLANNED"
    assert receipt["status"] == "OK"
    (hold,) = await client.holds("main")
    assert (hold["builders"], hold["above"], hold["expires"]) == (["f*"], 3, end)

    async def run(*arguments: str) -> tuple[str, str, int]:
        own = {"SELFSERVE_URL": url, "SELFSERVE_USER": USER, "SELFSERVE_PASSWORD": PASSWORD}
        env = {**os.environ, **own}
        command = str(Path(sys.executable).with_name("selfserve"))
        done = await threads.deferToThread(
            subprocess.run, [command, *arguments], env=env, capture_output=True, text=True
        )
        return done.stdout, done.stderr, done.returncode

    out, error, status = await run(
        "hold", "main", "--reason", "the lab moves", "--for", "2h", "--above", "-5"
    )
    assert (status, error) == (0, "")
    assert out.startswith("Branch main is held until ")
    job_id = out.rpartition("(job ")[2].partition(")")[0]
    out, _, status = await run("holds", "main")
    assert "the lab moves" in out
    assert "priority -5" in out
    request_id = await master.add_request("slow", priority=-9)
    (hold,) = [one for one in await client.holds("main") if one["above"] == -5]
    until = time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(hold["expires"]))
    assert f"  Until: {until}\n" in (await run("job", job_id))[0]
    for told in (await run("why", "main", str(request_id)), await run("queue", "main")):
        assert f"the lab moves; not before {until}" in told[0]
    out, _, status = await run("release", "main", "--builders", "f*")
    assert (status, out.splitlines()[0][:12]) == (0, "1 hold ended")
    for arguments in (
        ("--reason", "r"),
        ("--reason", "r", "--for", "2h", "--until", "1"),
        ("--reason", "r", "--for", "soon"),
        ("--reason", "r", "--until", "tomorrow"),
        ("--for", "2h"),
    ):
        assert (await run("hold", "main", *arguments))[2] == 2, arguments
    assert [one["reason"] for one in await client.holds("main")] == ["the lab moves"]
    assert (await client.release("main"))["msg"].startswith("1 hold ended")


# -- pages


async def texts(master: Any, path: str, xpath: str) -> list[str]:
    """Return the texts of what *xpath* finds on a page."""
    page = await master.get(path, json=False, user=USER)
    assert page.status == 200, page.text
    found = html.fromstring(page.text).xpath(xpath)
    return [" ".join(one.text_content().split()) for one in found]


@leading
@pytest_twisted.ensureDeferred
async def test_all_that_says_that_something_is_held_says_until_when(master: Any) -> None:
    expires = soon(5 * 86400)
    until = time.strftime("%Y-%m-%d %H:%M", time.gmtime(expires))
    await held(master, expires=expires)
    request_id = await master.add_request()
    assert await waits(master, request_id)
    path = f"/self-serve/main/request/{request_id}"
    told = (await master.get(f"{path}/why")).json
    assert told["reasons"][0]["until"] == expires
    assert (told["eta"], told["eta_reason"]) == (None, f"It does not start before {until} UTC")
    reason = f"Branch main is held by {USER}: the lab moves; not before {until}"
    for where in (path, f"{path}/why"):
        assert await texts(master, where, "//p[@class='reason']") == [f"{reason}."]
        (eta,) = await texts(master, where, "//p[@class='eta faint']")
        assert eta == f"When it is done is not known. It does not start before {until} UTC."
    for where in ("/self-serve/pending", "/self-serve/main/pending"):
        rows = "//table[@id='requests']//td[@class='why']"
        assert await texts(master, where, rows) == [reason]
    at = f"/self-serve/main/rev/{REVISION}"
    assert await texts(master, at, "//span[@class='reason']") == [reason]
    for where in ("/self-serve", "/self-serve/branches"):
        assert await texts(master, where, "//th/a[@class='held']") == [f"held until {until}"]
    # of several holds, that of the whole branch matters most
    await held(master, builders="f*", expires=expires + 86400)
    assert await texts(master, "/self-serve", "//th/a[@class='held']") == [f"held until {until}"]
    await release(master, builders="")
    await release(master)
    await held(master, builders="f*", expires=expires)
    assert await texts(master, "/self-serve", "//a[@class='held']") == [
        f"partly held until {until}"
    ]


@pytest.mark.parametrize("master", [ruled(LEADS)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_every_page_of_the_branch_has_a_banner_with_a_button(master: Any) -> None:
    build = await master.finished_build()
    await held(master, builders="fast", reason="<b>the lab & more</b>")
    request_id = await master.add_request()
    for path in (
        "/pushes",
        "",
        "/builders",
        "/pending",
        f"/build/{build['buildid']}",
        f"/request/{request_id}",
        "/new?revision=abc",
        "/permissions",
    ):
        for user in (USER, BOB):
            page = await master.get(f"/self-serve/main{path}", json=False, user=user)
            (banner,) = html.fromstring(page.text).xpath("//section[@class='holds']")
            assert "<b>the lab & more</b>" in banner.text_content()
            assert len(banner.xpath(".//button")) == (user == USER), (path, user)
    elsewhere = await master.get("/self-serve/jobs", json=False)
    assert not html.fromstring(elsewhere.text).xpath("//section[@class='holds']")


@leading
@pytest_twisted.ensureDeferred
async def test_the_page_holds_and_releases_after_its_plan(master: Any) -> None:
    await master.finished_build()

    async def send(form: Any, **more: str) -> Any:
        fields = {**dict.fromkeys(form.fields, ""), **dict(form.form_values()), **more}
        return await master.post(form.get("action"), json=False, user=USER, data=fields)

    page = html.fromstring((await master.get(HOLD_PATH, json=False, user=USER)).text)
    planned = await send(page.xpath("//form[@id='hold']")[0], reason="a move")
    assert planned.status == 200
    plan = html.fromstring(planned.text)
    assert "would be held until" in plan.text_content()
    until = plan.xpath("//dt[.='Until']/following-sibling::dd[1]")[0].text
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d", until)
    headers = {"Accept": "text/html"}
    confirm = plan.xpath("//form[@id='confirm']")[0]
    done = await master.post(
        confirm.get("action"),
        json=False,
        user=USER,
        headers=headers,
        data=dict(confirm.form_values()),
    )
    assert done.status == 303, done.text
    job = await master.get(done.header("location"), json=False)
    assert f"<dt>Until</dt><dd>{until}</dd>" in job.text
    assert "held main" in job.text.replace("<", " <") or "held" in job.text
    page = html.fromstring((await master.get(HOLD_PATH, json=False, user=USER)).text)
    (ends,) = page.xpath("//table[@id='holds']//form")
    plan = html.fromstring((await send(ends)).text)
    confirm = plan.xpath("//form[@id='confirm']")[0]
    assert confirm.xpath(".//button")[0].text == "Release"
    done = await master.post(
        confirm.get("action"),
        json=False,
        user=USER,
        headers=headers,
        data=dict(confirm.form_values()),
    )
    assert done.status == 303, done.text
    assert (await master.get(HOLD_PATH)).json == []


def test_rules_and_tokens_know_the_action() -> None:
    for action in (HOLD.action, "release"):
        rule = util.SelfServeEndpointMatcher(role="r", action=action)
        made = {"www": {"authz": util.Authz(allowRules=[rule])}}
        with pytest.raises(ConfigErrors) as error:
            MasterConfig.loadFromDict(made, "master.cfg")
        assert any("release" in one for one in error.value.errors) == (action == "release")
