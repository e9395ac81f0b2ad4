"""Dry runs beside acts: what is shown is written nowhere, and what is done is what was shown."""

from __future__ import annotations

import json
import time
from collections.abc import Awaitable
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import schedulers
from buildbot.plugins import util
from lxml import html
from twisted.internet import defer
from twisted.internet import reactor as _reactor
from twisted.internet import task

from buildbot_selfserve.control import execute
from buildbot_selfserve.control import insert_buildsets
from buildbot_selfserve.model import EXCEPTION
from buildbot_selfserve.model import FAILURE
from buildbot_selfserve.model import SUCCESS
from buildbot_selfserve.resources import ROUTES
from tests.bisected import begun_bisection
from tests.harness import PASSWORD
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import Master
from tests.harness import builder
from tests.harness import config
from tests.plans import JOURNAL
from tests.plans import Events
from tests.plans import add_change
from tests.plans import changed
from tests.plans import check_done
from tests.plans import check_planned
from tests.plans import check_receipts
from tests.plans import contents
from tests.plans import ended
from tests.plans import outcomes
from tests.plans import watch_executor

EVERY_DATABASE = "heavy"
reactor: Any = _reactor
LINUX = ["linux1", "linux2", "linux3"]
TOKENS = {
    "rebuilder": {"actions": ["rebuild_build"]},
    "builder": {"actions": ["new_build_at_revision"]},
    "of-linux1": {"builders": ["linux1"]},
}


class Twice(schedulers.AnyBranchScheduler):
    """Makes two buildsets of each change, and remembers how many."""

    async def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        """Build with each of the builders by itself."""
        made = await self.getState("made", 0)
        for name in self.builderNames:
            more = {"builderNames": [name], "priority": 7}
            found = await super().addBuildsetForChanges(**{**kwargs, **more})
            made += 1
        await self.setState("made", made)
        return found


def shown() -> Config:
    """Return a master whose schedulers do what operators let them do."""
    made = config()
    made["builders"] = [
        *(builder(name, tags=["unix"]) for name in LINUX),
        builder("mac", tags=["unix"]),
        builder("win"),
        builder("slow", "sleep 60"),
        builder("night"),
    ]
    rendered = {"asked": util.Interpolate("%(kw:x)s", x="y"), "kind": "push"}
    made["schedulers"] = [
        schedulers.AnyBranchScheduler(
            name="push", builderNames=LINUX[:2], properties=rendered, priority=2
        ),
        schedulers.AnyBranchScheduler(name="chooses", builderNames=util.Transform(lambda: ["mac"])),
        Twice(name="twice", builderNames=["win", "linux3"]),
        schedulers.Nightly(
            name="nightly", branch="main", builderNames=["night"], hour=3, properties={"at": 3}
        ),
        schedulers.Triggerable(name="rest", builderNames=["slow"]),
    ]
    sets = {"nightly": ["scheduler:nightly"], "units": ["linux1", "win"]}
    branches = [util.SelfServeBranch("main", sets=sets)]
    made["www"]["auth"] = util.UserPasswordAuth({USER: PASSWORD, "bob": PASSWORD})
    made["www"]["authz"] = util.Authz(
        allowRules=[util.SelfServeEndpointMatcher(role="holders", action="hold")],
        roleMatchers=[util.RolesFromUsername(["holders"], [USER])],
    )
    made["www"]["plugins"] = {
        "selfserve": util.SelfServe(
            branches=branches,
            max_bisections=1000,
            tokens=[util.SelfServeToken(name, name * 9, **more) for name, more in TOKENS.items()],
        )
    }
    return made


with_plans = pytest.mark.parametrize("master", [shown], indirect=True)


# -- every verb


@dataclass
class Scene:
    """A revision that something was built at, and something waits at.

    :param build: one of linux1 that failed; *request* is its request
    :param pending: a request of linux2 that waits
    :param before: the revision before it
    :param bisection: one that somebody has begun
    """

    revision: str
    build: int
    request: int
    pending: int
    before: str
    bisection: int


async def scene(master: Master, number: int) -> Scene:
    revision, before = f"{number:02d}" * 20, f"{number - 1:02d}" * 20
    if number in (1, 10):  # before others, that is the revision of another scene
        await add_change(master, before, category="push")
    await add_change(master, revision, category="push", properties={"level": (1, "Change")})
    properties = {"branch": ("main", "Change"), "debug": (1, "Force"), "keep": ([1, "x"], "Force")}
    request, build = await ended(
        master, "linux1", FAILURE, revision=revision, properties=properties, priority=4
    )
    assert build is not None
    pending = await master.add_request("linux2", revision=revision)
    bisection = await begun_bisection(before, revision)
    return Scene(revision, build, request, pending, before, bisection)


@dataclass
class Verb:
    """A job request, and what its dry run says that it would do.

    :param path: behind the branch, with the ids of a scene
    :param planned: builders and outcomes
    :param tables: those that the act writes, besides those that all acts write
    """

    route: str
    path: str
    data: dict[str, Any]
    planned: list[tuple[str, str]]
    tables: set[str] = field(default_factory=set)

    @property
    def method(self) -> str:
        return self.route.split()[0]

    def send(self, at: Scene) -> tuple[str, str, dict[str, Any]]:
        """Return method, path and body."""
        ids = vars(at)
        data = {
            key: text.format(**ids) if isinstance(text, str) and text[:1] == "{" else text
            for key, text in self.data.items()
        }
        return self.method, "/self-serve/main" + self.path.format(**ids), data


CREATE, CANCEL, STOP = "would_create", "would_cancel", "would_stop"
PUSHED = [("linux1", CREATE), ("linux2", CREATE), ("linux3", CREATE), ("mac", CREATE)]
NEW_TABLES = {
    "buildsets",
    "buildrequests",
    "buildset_properties",
    "buildset_sourcestamps",
}
CHANGED = {"debug": None, "keep": [2], "added": {"a": 1}}
VERBS = [
    Verb(
        "POST /<branch>/build",
        "/build",
        {"build_id": "{build}", "priority": 6},
        [("linux1", CREATE)],
        NEW_TABLES,
    ),
    Verb(
        "POST /<branch>/request",
        "/request",
        {"request_id": "{request}", "count": 3, "properties": CHANGED},
        [("linux1", CREATE)] * 3,
        NEW_TABLES,
    ),
    Verb("DELETE /<branch>/request/<request>", "/request/{pending}", {}, [("linux2", CANCEL)]),
    Verb("DELETE /<branch>/request/<request>", "/request/{request}", {}, [("linux1", "left_out")]),
    Verb("DELETE /<branch>/build/<build>", "/build/{build}", {}, [("linux1", "left_out")]),
    Verb(
        "PUT /<branch>/request/<request>",
        "/request/{pending}",
        {"priority": 9},
        [("linux2", "would_reprioritize")],
    ),
    Verb(
        "PUT /<branch>/rev/<revision>",
        "/rev/{revision}",
        {"priority": "next"},
        [("linux2", "would_reprioritize")],
    ),
    Verb("DELETE /<branch>/rev/<revision>", "/rev/{revision}", {}, [("linux2", CANCEL)]),
    Verb(
        "DELETE /<branch>/rev/<revision>",
        "/rev/{revision}",
        {"builders": "linux*", "tags": ["unix"], "exclude_builders": ["linux1"]},
        [("linux2", CANCEL)],
    ),
    Verb("DELETE /<branch>/rev/<revision>", "/rev/{revision}", {"builders": "mac"}, []),
    Verb(
        "POST /<branch>/rev/<any_revision>",
        "/rev/{revision}",
        {"properties": {"given": [1]}},
        [*PUSHED, ("win", CREATE)],
        {*NEW_TABLES, "object_state", "objects"},
    ),
    Verb(
        "POST /<branch>/rev/<any_revision>",
        "/rev/{revision}",
        {"builders": ["linux1", "win"], "priority": 3},
        [("linux1", CREATE), ("win", CREATE)],
        {*NEW_TABLES, "object_state", "objects"},
    ),
    Verb(
        "POST /<branch>/rev/<any_revision>",
        "/rev/unheard-of",
        {"properties": {"of": "the change"}, "files": ["a.c", "b/c.h"], "category": "by hand"},
        [*PUSHED, ("win", CREATE)],
        {
            *NEW_TABLES,
            "object_state",
            "objects",
            "changes",
            "change_files",
            "change_properties",
            "sourcestamps",
        },
    ),
    Verb(
        "POST /<branch>/rev/<any_revision>/<builder_set>",
        "/rev/{revision}/nightly",
        {"priority": 5},
        [("night", CREATE)],
        NEW_TABLES,
    ),
    Verb(
        "POST /<branch>/rev/<any_revision>/<builder_set>",
        "/rev/{revision}/units",
        {"exclude_builders": "mac"},
        [("linux1", CREATE), ("win", CREATE)],
        NEW_TABLES,
    ),
    Verb(
        "POST /<branch>/builders/<builder>/<any_revision>",
        "/builders/slow/{revision}",
        {"properties": {"x": None, "y": "z"}, "files": ["only.c"], "priority": -3},
        [("slow", CREATE)],
        {*NEW_TABLES, "changes", "change_files", "change_properties"},
    ),
    Verb(
        "POST /<branch>/builders",
        "/builders",
        {"builder_name": "slow", "revision": "{revision}"},
        [("slow", CREATE)],
        NEW_TABLES,
    ),
    Verb(
        "POST /<branch>/rev/<revision>/failed",
        "/rev/{revision}/failed",
        {"count": 2, "priority": 1, "properties": CHANGED},
        [("linux1", CREATE)] * 2,
        NEW_TABLES,
    ),
    Verb(
        "POST /<branch>/rev/<revision>/failed",
        "/rev/{revision}/failed",
        {"states": "warnings"},
        [],
    ),
    Verb(
        "POST /<branch>/rev/<revision>/missing",
        "/rev/{revision}/missing",
        {"priority": 8},
        [("linux2", "left_out"), ("linux3", CREATE), ("mac", CREATE), ("win", CREATE)],
        {*NEW_TABLES, "object_state", "objects"},
    ),
    Verb(
        "POST /<branch>/rev/<revision>/missing",
        "/rev/{revision}/missing",
        {"tags": "unix"},
        [("linux2", "left_out"), ("linux3", CREATE), ("mac", CREATE)],
        {*NEW_TABLES, "object_state", "objects"},
    ),
    Verb(
        "PUT /<branch>/hold",
        "/hold",
        {"reason": "r", "expires": int(time.time()) + 86_400, "builders": ["night"]},
        [("night", "would_hold")],
        {"selfserve_holds"},
    ),
    Verb(
        "DELETE /<branch>/hold",
        "/hold",
        {"builders": ["night"]},
        [("night", "would_release")],
        {"selfserve_holds"},
    ),
    Verb("DELETE /<branch>/hold", "/hold", {}, []),
    Verb(
        "POST /<branch>/backfill",
        "/backfill",
        {"builder_name": "slow", "revision": "{revision}", "max": 2, "force": "1", "priority": 2},
        [("slow", CREATE)] * 2,
        NEW_TABLES,
    ),
    Verb(
        "POST /<branch>/backfill",
        "/backfill",
        {"builder_name": "linux1", "max": 3, "force": "1", "times": 2, "order": "newest"},
        [("linux1", CREATE)] * 3,
        NEW_TABLES,
    ),
    Verb("DELETE /<branch>/bisect/<bisection>", "/bisect/{bisection}", {}, []),
    # it goes on, and so comes last
    Verb(
        "POST /<branch>/bisect",
        "/bisect",
        {"builder_name": "slow", "revision": "{revision}", "good": "{before}"},
        [("slow", CREATE)] * 2,
        NEW_TABLES,
    ),
]


def test_every_job_request_is_planned_here() -> None:
    assert {verb.route for verb in VERBS} == {one.name for one in ROUTES if one.method != "GET"}


async def send(
    master: Master, method: str, path: str, data: dict[str, Any], *, user: str = USER, **more: Any
) -> Any:
    """Send a job request, whose body is JSON."""
    headers = {"Content-Type": "application/json", **more.pop("headers", {})}
    body = json.dumps(data).encode()
    return await master.request(method, path, user=user, data=body, headers=headers, **more)


@with_plans
@pytest_twisted.ensureDeferred
async def test_what_is_done_is_what_was_shown(master: Master, monkeypatch: Any) -> None:
    master.pause()
    done, events = watch_executor(monkeypatch), Events(master, monkeypatch)
    for number, verb in enumerate(VERBS, 10):
        events.keys.clear()
        at = await scene(master, number)
        method, path, data = verb.send(at)
        # Buildbot tells of what the scene has a moment later
        await master.until(lambda: events.told_of(2), "all is told of")
        events.keys.clear()
        before = await contents(master)
        answers = [
            check_planned(await send(master, method, f"{path}?dry_run={text}", data))
            for text in ("1", "true")
        ]
        page = await send(master, method, f"{path}?dry_run=1&format=html", data)
        assert events.keys == [], verb
        planned = answers[0]
        assert page.status == 200, page.text
        assert planned["msg"] in html.fromstring(page.text).text_content()
        # asked twice it is the same, and written nowhere
        assert answers[0] == answers[1], verb
        after = await contents(master)
        assert changed(before, after) == set(), verb
        assert outcomes(planned) == verb.planned, verb
        answer = await send(master, method, path, {**data, "if_plan": planned["plan"]})
        assert answer.status == 202, (verb, answer.text)
        receipt = answer.json
        assert receipt["status"] == "OK", (verb, receipt)
        check_receipts(planned, receipt)
        carried_out = done.pop()
        assert carried_out.plan.text == planned["plan"]
        await check_done(master, carried_out, receipt)
        after = await contents(master)
        assert not done
        if verb.tables:
            assert changed(before, after) >= verb.tables - {"objects"}, verb
            assert changed(before, after) <= {*verb.tables, *JOURNAL}, verb
        made = len(after["buildrequests"]) - len(before["buildrequests"])
        assert made == carried_out.plan.builds
        assert len(after["changes"]) - len(before["changes"]) == len(carried_out.plan.changes)
        (job,) = (await master.get("/self-serve/jobs?num=1")).json
        assert job["job_id"] == receipt["job_id"]
        if job["status"] != "running":
            assert job["complete_data"]["body"]["requests"] == receipt["requests"]
    assert master.errors == []


@with_plans
@pytest_twisted.ensureDeferred
async def test_what_would_be_made_is_shown_with_all_that_tells(master: Master) -> None:
    master.pause()
    at = await scene(master, 1)
    path = f"/self-serve/main/rev/{at.revision}"
    planned = check_planned(await send(master, "POST", path, {"dry_run": True}))
    told = {one["buildername"]: one for one in planned["requests"]}
    assert {name: one["priority"] for name, one in told.items()} == {
        "linux1": 2,
        "linux2": 2,
        "linux3": 7,
        "mac": 0,
        "win": 7,
    }
    assert {one["revision"] for one in told.values()} == {at.revision}
    assert planned["msg"] == "5 builds would be requested"
    # what they were before is what they copy, and nothing else
    fields = {"build_id": at.build, "properties": CHANGED, "dry_run": "1"}
    planned = check_planned(await send(master, "POST", "/self-serve/main/build", fields))
    (one,) = planned["requests"]
    assert (one["buildername"], one["revision"], one["priority"]) == ("linux1", at.revision, 0)
    # the newest commit is what is built where no revision is named, whatever was found before
    _, build_id = await ended(master, "linux1", FAILURE, revision=None)
    await master.master.data.updates.setBuildProperty(build_id, "got_revision", at.revision, "Git")
    fields = {"build_id": build_id, "dry_run": "1"}
    planned = check_planned(await send(master, "POST", "/self-serve/main/build", fields))
    assert [one["revision"] for one in planned["requests"]] == [None]


@with_plans
@pytest_twisted.ensureDeferred
async def test_a_rebuild_keeps_the_sources_of_what_it_does_not_change(master: Master) -> None:
    master.pause()
    at = await scene(master, 1)
    old = await master.data("buildrequests", at.request)
    before = dict(await master.data("buildsets", old["buildsetid"], "properties"))
    for path, fields in (
        ("/build", {"build_id": at.build}),
        ("/request", {"request_id": at.request}),
        (f"/rev/{at.revision}/failed", {}),
    ):
        body = {**fields, "properties": CHANGED}
        receipt = (await send(master, "POST", f"/self-serve/main{path}", body)).json
        (buildset_id,) = receipt["buildset_ids"]
        found = await master.data("buildsets", buildset_id, "properties")
        mine = ("owner", "selfserve_job", "selfserve_key")
        assert {name: pair for name, pair in found.items() if name not in mine} == {
            "branch": ("main", "Change"),
            "keep": ([2], "Self-serve"),
            "added": ({"a": 1}, "Self-serve"),
        }, path
        # what fails is to be rebuilt again
        (request_id,) = (one["request_id"] for one in receipt["requests"])
        await send(master, "DELETE", f"/self-serve/main/request/{request_id}", {})
    assert dict(await master.data("buildsets", old["buildsetid"], "properties")) == before
    for name in (
        "selfserve_job",
        "owner",
        "virtual_builder_name",
        "virtual_builder_tags",
        "scheduler",
    ):
        body = {"build_id": at.build, "properties": {name: None}}
        for more in ({}, {"dry_run": "1"}):
            answer = await send(master, "POST", "/self-serve/main/build", {**body, **more})
            assert (answer.status, answer.json["msg"]) == (400, "Bad properties"), name


@with_plans
@pytest_twisted.ensureDeferred
async def test_what_runs_would_be_stopped_and_is(master: Master, monkeypatch: Any) -> None:
    done = watch_executor(monkeypatch)
    ways: list[Callable[[Any], str]] = [
        lambda build: f"/build/{build['buildid']}",
        lambda build: f"/request/{build['buildrequestid']}",
        lambda build: f"/rev/{REVISION}",
    ]
    for way in ways:
        build = await master.running_build(await master.add_request("slow"))
        path = f"/self-serve/main{way(build)}"
        before = await contents(master)
        # a DELETE has no body with many clients
        planned = check_planned(await master.request("DELETE", f"{path}?dry_run=1", user=USER))
        # its step goes on by itself
        assert changed(before, await contents(master)) <= {"builds", "steps", "logs", "logchunks"}
        (one,) = planned["requests"]
        assert (one["outcome"], one["request_id"]) == (STOP, build["buildrequestid"])
        assert one["build_ids"] == [build["buildid"]]
        answer = await master.request("DELETE", f"{path}?if_plan={planned['plan']}", user=USER)
        assert outcomes(answer.json) == [("slow", "stopped")]
        check_receipts(planned, answer.json)
        await check_done(master, done.pop(), answer.json)
        again = check_planned(await master.request("DELETE", f"{path}?dry_run=1", user=USER))
        assert {one["outcome"] for one in again["requests"]} <= {"left_out"}
        assert again["plan"] != planned["plan"]


# -- if_plan


async def of_revision(master: Master, at: Scene) -> None:
    await master.add_request("mac", revision=at.revision)


async def of_pending(master: Master, at: Scene) -> None:
    await send(master, "DELETE", f"/self-serve/main/request/{at.pending}", {})


async def of_failed(master: Master, at: Scene) -> None:
    await ended(master, "mac", EXCEPTION, revision=at.revision)


async def of_missing(master: Master, at: Scene) -> None:
    await ended(master, "mac", SUCCESS, revision=at.revision)


async def of_schedulers(master: Master, at: Scene) -> None:
    for row in await master.data("schedulers"):
        if row["name"] == "push":
            enable = ("enable", {"enabled": False}, ("schedulers", row["schedulerid"]))
            await master.master.data.control(*enable)


async def of_the_change(master: Master, at: Scene) -> None:
    await add_change(master, at.revision, files=["other.c"], properties={"level": (2, "Change")})


#: What makes the plan another one.
STALE: list[tuple[str, str, dict[str, Any], Callable[[Master, Scene], Awaitable[None]]]] = [
    ("DELETE", "/rev/{revision}", {}, of_revision),
    ("DELETE", "/request/{pending}", {}, of_pending),
    ("POST", "/rev/{revision}/failed", {}, of_failed),
    ("POST", "/rev/{revision}/missing", {}, of_missing),
    ("POST", "/rev/{revision}", {}, of_schedulers),
    ("POST", "/builders/slow/{revision}", {"files": ["src/a.c"]}, of_the_change),
]


@with_plans
@pytest_twisted.ensureDeferred
async def test_a_plan_of_an_older_state_is_not_carried_out(master: Master) -> None:
    master.pause()
    for number, (method, path, data, interfere) in enumerate(STALE, 10):
        at = await scene(master, number)
        path = "/self-serve/main" + path.format(**vars(at))
        seen = check_planned(await send(master, method, path, {**data, "dry_run": "1"}))
        await interfere(master, at)
        before = await contents(master)
        answer = await send(master, method, path, {**data, "if_plan": seen["plan"]})
        assert answer.status == 412, (path, answer.text)
        assert answer.json["status"] == "FAILED"
        assert changed(before, await contents(master)) == set()
        now = check_planned(await send(master, method, path, {**data, "dry_run": "1"}))
        assert now["plan"] != seen["plan"], path
        assert answer.json["plan"] == now["plan"]
        assert answer.json["requests"] == now["requests"]
        again = await send(master, method, path, {**data, "if_plan": now["plan"]})
        assert again.status == 202, (path, again.text)


@with_plans
@pytest_twisted.ensureDeferred
async def test_what_is_no_plan_is_none_of_any_verb(master: Master) -> None:
    master.pause()
    at = await scene(master, 1)
    before = await contents(master)
    for verb in VERBS:
        method, path, data = verb.send(at)
        answer = await send(master, method, path, {**data, "if_plan": "0" * 32})
        assert answer.status == 412, (verb, answer.text)
        planned = check_planned(await send(master, method, path, {**data, "dry_run": "1"}))
        assert answer.json["plan"] == planned["plan"]
        # neither an empty plan nor two of them is the act
        for text in ("", ["a", "b"], [], 7):
            answer = await send(master, method, path, {**data, "if_plan": text})
            assert answer.status in (400, 412), (verb, text, answer.text)
        # it is not the act that is done where both are given
        both = {**data, "dry_run": "1", "if_plan": planned["plan"]}
        assert check_planned(await send(master, method, path, both)) == planned
    assert changed(before, await contents(master)) == set()


@with_plans
@pytest_twisted.ensureDeferred
async def test_the_same_key_with_a_plan_is_the_same_job(master: Master) -> None:
    master.pause()
    at = await scene(master, 1)
    path, key = f"/self-serve/main/rev/{at.revision}/failed", {"Idempotency-Key": "k"}
    planned = check_planned(await send(master, "POST", path, {"dry_run": "1"}, headers=key))
    data = {"if_plan": planned["plan"]}
    sent = [defer.ensureDeferred(send(master, "POST", path, data, headers=key)) for _ in range(3)]
    answers = [await one for one in sent]
    assert [one.status for one in answers] == [202] * 3
    assert len({one.body for one in answers}) == 1
    # nothing failed is left now, and yet it is the receipt of then
    again = await send(master, "POST", path, data, headers=key)
    assert (again.status, again.json) == (202, answers[0].json)
    assert outcomes(again.json) == [("linux1", "created")]
    # another job request under this key is refused, and so is its dry run
    before = await contents(master)
    for more in ({}, {"dry_run": "1"}):
        other = await send(master, "POST", path, {"priority": 1, **more}, headers=key)
        assert other.status == 422, (more, other.text)
    assert changed(before, await contents(master)) == set()


# -- what is refused


REFUSED: list[tuple[int, str, str, dict[str, Any], dict[str, Any]]] = [
    (400, "POST", "/build", {}, {}),
    (400, "POST", "/build", {"build_id": "{build}", "count": 0}, {}),
    (400, "POST", "/build", {"build_id": "{build}", "priority": "high"}, {}),
    (400, "POST", "/request", {"request_id": "{request}", "properties": [1]}, {}),
    (400, "PUT", "/request/{pending}", {}, {}),
    (400, "PUT", "/request/{request}", {"priority": 1}, {}),
    (400, "POST", "/rev/{revision}", {"builders": "lunix*"}, {}),
    (400, "POST", "/rev/{revision}", {"category": "other"}, {}),
    (400, "POST", "/rev/{revision}", {"builders": "slow"}, {}),
    (400, "POST", "/rev/{revision}/failed", {"states": "failed"}, {}),
    (400, "POST", "/rev/{revision}/failed", {"properties": {"owner": "eve"}}, {}),
    (400, "POST", "/rev/{revision}/pgo", {}, {}),
    (400, "POST", "/builders/slow/{revision}", {"files": {"a": 1}}, {}),
    (400, "DELETE", "/rev/{revision}", {"tags": "nix"}, {}),
    (401, "POST", "/build", {"build_id": "{build}"}, {"user": None}),
    (401, "POST", "/rev/{revision}/missing", {}, {"user": "eve"}),
    (403, "POST", "/rev/{revision}", {}, {"headers": {"Origin": "https://elsewhere.example"}}),
    (404, "POST", "/build", {"build_id": 4711}, {}),
    (404, "POST", "/request", {"request_id": 4711}, {}),
    (404, "DELETE", "/request/4711", {}, {}),
    (404, "DELETE", "/build/4711", {}, {}),
    (404, "DELETE", "/rev/unheard-of", {}, {}),
    (404, "POST", "/rev/unheard-of/failed", {}, {}),
    (404, "POST", "/rev/unheard-of/missing", {}, {}),
    (404, "POST", "/rev/{revision}/no-set", {}, {}),
    (404, "POST", "/builders/none/{revision}", {}, {}),
    (413, "POST", "/builders/slow/{revision}", {"properties": {"x": "x" * 2_000_000}}, {}),
    (415, "POST", "/rev/{revision}", {}, {"headers": {"Content-Type": "text/plain"}}),
]


@with_plans
@pytest_twisted.ensureDeferred
async def test_what_is_refused_is_refused_when_it_is_only_planned(master: Master) -> None:
    master.pause()
    at = await scene(master, 1)
    before = await contents(master)
    for status, method, path, data, more in REFUSED:
        ids = vars(at)
        path = "/self-serve/main" + path.format(**ids)
        data = {
            key: text.format(**ids) if isinstance(text, str) and text[:1] == "{" else text
            for key, text in data.items()
        }
        planned = await send(master, method, f"{path}?dry_run=1", data, **more)
        assert planned.status == status, (path, data, planned.text)
        assert changed(before, await contents(master)) == set(), path
        answer = await send(master, method, path, data, **more)
        assert (answer.status, answer.json) == (status, planned.json), (path, data)
        after = await contents(master)
        assert changed(before, after) <= JOURNAL, path
        before = after
    jobs = (await master.get("/self-serve/jobs")).json
    # the bisection of the scene goes on
    assert [one["status"] for one in jobs if one["action"] != "bisect"] == ["failed"] * 4


#: What neither turns a dry run on nor off.
NO_SWITCH: tuple[Any, ...] = (
    *("maybe", "", "2", "yes", "True", " 1", "1 ", "01"),
    *(None, [], [1, 0], 1.0, {}),
)


@with_plans
@pytest_twisted.ensureDeferred
async def test_what_is_neither_a_dry_run_nor_none_is_never_the_act(master: Master) -> None:
    master.pause()
    at = await scene(master, 1)
    before = await contents(master)
    for verb in VERBS:
        method, path, data = verb.send(at)
        for text in NO_SWITCH:
            answer = await send(master, method, path, {**data, "dry_run": text})
            assert (answer.status, answer.json["msg"]) == (400, "Bad dry_run"), (verb, text)
        for query in ("dry_run=maybe", "dry_run=", "dry_run", "dry_run=0&dry_run=1", "dry_run=-"):
            answer = await send(master, method, f"{path}?{query}", data)
            assert (answer.status, answer.json["msg"]) == (400, "Bad dry_run"), (verb, query)
        # in both places, and not the same
        answer = await send(master, method, f"{path}?dry_run=0", {**data, "dry_run": "1"})
        assert (answer.status, answer.json["msg"]) == (400, "Bad dry_run"), verb
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    body = b"_method=DELETE&dry_run=1"
    path = f"/self-serve/main/rev/{at.revision}"
    planned = await master.request("POST", path, user=USER, data=body, headers=form)
    assert outcomes(check_planned(planned)) == [("linux2", CANCEL)]
    assert changed(before, await contents(master)) == set()


def few() -> Config:
    made = shown()
    limits = util.SelfServeLimits(builds_per_hour=4, job_requests_per_minute=3)
    made["www"]["plugins"] = {"selfserve": util.SelfServe(limits=limits)}
    return made


@pytest.mark.parametrize("master", [few], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_dry_run_takes_nothing_and_says_what_is_left(master: Master) -> None:
    master.pause()
    at = await scene(master, 1)
    before = await contents(master)
    path, all_of_it = "/self-serve/main/build", f"/self-serve/main/rev/{at.revision}"
    for _ in range(5):
        fields = {"build_id": at.build, "count": 4, "dry_run": "1"}
        check_planned(await send(master, "POST", path, fields))
    for more in ({"dry_run": "1"}, {}):
        # five builds are one too many; all or nothing
        answer = await send(master, "POST", all_of_it, more)
        assert (answer.status, answer.json["msg"]) == (
            429,
            "5 builds requested, 4 left of 4 per hour",
        )
        assert answer.header("retry-after")
        assert changed(before, await contents(master)) <= {*JOURNAL, "selfserve_askers"}
    for _ in range(2):
        await send(master, "DELETE", all_of_it, {})
    before = await contents(master)
    for more in ({"dry_run": "1"}, {}):
        answer = await send(master, "DELETE", all_of_it, more)
        assert answer.status == 429, answer.text
        assert answer.json["msg"] == "More than 3 job requests in a minute"
        # whose turn it is stands in a row of its own
        may_change = set() if more else {"selfserve_askers"}
        assert changed(before, await contents(master)) <= may_change


class Broken(schedulers.AnyBranchScheduler):
    """Adds a buildset that no database takes."""

    async def addBuildsetForChanges(self, **kwargs: Any) -> Any:
        """Build with a sourcestamp that lacks something, or with too long a name."""
        stamps = [{"branch": "main", "revision": REVISION, "codebase": ""}]
        properties: dict[str, Any] = {}
        if self.name == "long":
            stamps = [{**stamps[0], "project": "", "repository": ""}]
            properties = {"x" * 300: (1, "Broken")}
        (found,) = [
            one for one in await self.master.data.get(("builders",)) if one["name"] == "win"
        ]
        return await self.master.data.updates.addBuildset(
            waited_for=False,
            scheduler=self.name,
            sourcestamps=stamps,
            properties=properties,
            builderids=[found["builderid"]],
        )


def with_broken() -> Config:
    made = shown()
    broken = [Broken(name=name, builderNames=["win"]) for name in ("short", "long")]
    made["schedulers"] = [*broken, *made["schedulers"]]
    return made


@pytest.mark.parametrize("master", [with_broken], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_no_database_takes_fails_one_scheduler(master: Master) -> None:
    master.pause()
    path = f"/self-serve/main/rev/{REVISION}"
    await add_change(master, REVISION)
    planned = check_planned(await send(master, "POST", path, {"dry_run": "1"}))
    answer = await send(master, "POST", path, {"if_plan": planned["plan"]})
    assert (answer.status, answer.json["status"]) == (202, "FAILED")
    made = [one["buildername"] for one in answer.json["requests"] if one["outcome"] == "created"]
    assert sorted(made) == ["linux1", "linux2", "linux3", "mac", "win"]
    failed = [f"scheduler {name} failed, see the master's log" for name in ("long", "short")]
    for told in (planned, answer.json):
        left = [one["msg"] for one in told["requests"] if one["outcome"] == "left_out"]
        assert sorted(left) == failed


# -- plans that take long, or are disturbed


def hasty() -> Config:
    return config(util.SelfServe(timeout=3))


def slow_batches(monkeypatch: Any, seconds: float, failures: int = 0) -> None:
    """Let each few inserts take so long; let some fail, after the first ones."""
    insert, called = insert_buildsets.insert, []

    async def slowly(*arguments: Any) -> Any:
        called.append(arguments)
        await task.deferLater(reactor, seconds)
        if 2 < len(called) <= 2 + failures:
            raise sa.exc.OperationalError("INSERT", {}, Exception("it is away"))
        return await insert(*arguments)

    monkeypatch.setattr(execute, "BATCH", 5)
    monkeypatch.setattr(insert_buildsets, "insert", slowly)


@pytest.mark.parametrize("master", [hasty], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_was_begun_is_ended_after_the_answer(master: Master, monkeypatch: Any) -> None:
    build = await master.finished_build()
    master.pause()
    slow_batches(monkeypatch, 0.6)
    key, fields = {"Idempotency-Key": "k"}, {"build_id": build["buildid"], "count": 40}
    answer = await send(master, "POST", "/self-serve/main/build", fields, headers=key)
    assert answer.status == 503, answer.text
    assert answer.header("retry-after")
    path = f"/self-serve/jobs/{answer.json['job_id']}"
    assert (await master.get(path)).json["status"] == "running"

    async def over() -> Any:
        job = (await master.get(path)).json
        return job if job["status"] != "running" else None

    job = await master.until(over, "the rest is made")
    assert (job["status"], job["complete_data"]["body"]["msg"]) == ("ok", "40 builds requested")
    assert len(await master.data("buildrequests")) == 41
    again = await send(master, "POST", "/self-serve/main/build", fields, headers=key)
    assert (again.status, again.json["job_id"]) == (202, job["job_id"])
    assert len({one["request_id"] for one in again.json["requests"]}) == 40
    assert len(await master.data("buildrequests")) == 41


@with_plans
@pytest_twisted.ensureDeferred
async def test_what_failed_in_the_middle_is_ended(master: Master, monkeypatch: Any) -> None:
    master.pause()
    at = await scene(master, 1)
    slow_batches(monkeypatch, 0, failures=2)
    fields = {"build_id": at.build, "count": 23}
    answer = await send(master, "POST", "/self-serve/main/build", fields)
    assert (answer.status, answer.json["status"]) == (202, "OK"), answer.text
    assert answer.json["msg"] == "23 builds requested"
    assert len({one["request_id"] for one in answer.json["requests"]}) == 23
    waiting = [one for one in await master.data("buildrequests") if not one["complete"]]
    assert len(waiting) == 24


# -- in a browser


def fields_of(page: Any) -> tuple[str, list[tuple[str, str]]]:
    """Return where the form of a plan leads, and what it sends."""
    (form,) = (one for one in html.fromstring(page.text).forms if one.get("id") == "confirm")
    assert form.method == "POST"
    return form.action, [(one.name, one.value) for one in form.inputs if one.name]


@with_plans
@pytest_twisted.ensureDeferred
async def test_a_browser_confirms_what_it_has_seen(master: Master) -> None:
    master.pause()
    headers = {"Accept": "text/html", "Content-Type": "application/x-www-form-urlencoded"}

    async def submit(path: str, sent: list[tuple[str, str]]) -> Any:
        body = urlencode(sent).encode()
        return await master.request("POST", path, json=False, user=USER, headers=headers, data=body)

    cases: list[tuple[str, str, list[tuple[str, str]], int]] = [
        ("/rev/{revision}", "", [("_method", "DELETE")], 1),
        ("/rev/{revision}", "?builders=linux2", [("_method", "DELETE")], 1),
        ("/rev/{revision}", "", [("builders", "linux*"), ("builders", "mac")], 4),
        ("/rev/{revision}/failed", "", [("count", "2"), ("properties", '{"x": "a & <b>"}')], 2),
        ("/rev/{revision}/missing", "", [("exclude_builders", "linux*\nwin")], 1),
        ("/build", "", [("build_id", "{build}"), ("priority", "")], 1),
    ]
    for number, (path, query, sent, targets) in enumerate(cases, 10):
        at = await scene(master, number)
        path = "/self-serve/main" + path.format(**vars(at))
        sent = [(name, text.replace("{build}", str(at.build))) for name, text in sent]
        before = await contents(master)
        page = await submit(path + query, [*sent, ("dry_run", "1")])
        assert page.status == 200, page.text
        assert changed(before, await contents(master)) == set()
        action, fields = fields_of(page)
        assert "dry_run" not in dict(fields)
        assert dict(fields)["if_plan"]
        done = await submit(action, fields)
        assert done.status == 303, (path, query, done.status)
        job = (await master.get(str(done.header("location")))).json
        assert len(job["complete_data"]["body"]["requests"]) >= targets, job
        # what it has seen is over: another plan, and nothing done
        before = await contents(master)
        stale = await submit(path + query, [*sent, ("if_plan", "0" * 32)])
        assert stale.status == 412
        assert "The plan has changed" in stale.text
        assert changed(before, await contents(master)) == set()
