"""New builds at a revision: by the schedulers that watch the branch, by a set, by one builder."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import schedulers
from buildbot.plugins import util
from buildbot.process.buildrequest import BuildRequestCollapser
from buildbot.process.buildstep import BuildStep
from twisted.internet import defer

from buildbot_selfserve.control import insert_buildsets
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import builder
from tests.harness import config

EVERY_DATABASE = "heavy"
SUCCESS = 0
OTHER = "fedcba0987654321fedcba0987654321fedcba09"


def at(revision: str = REVISION, branch: str = "main") -> str:
    return f"/self-serve/{branch}/rev/{revision}"


async def changes_of(master: Any, revision: str) -> list[Any]:
    return [one for one in await master.data("changes") if one["revision"] == revision]


async def buildset_of(master: Any, outcome: Any) -> Any:
    request = await master.data("buildrequests", outcome["request_id"])
    return await master.data("buildsets", request["buildsetid"])


async def properties_of(master: Any, outcome: Any) -> Any:
    buildset = await buildset_of(master, outcome)
    return await master.data("buildsets", buildset["bsid"], "properties")


async def nothing_was_made(master: Any) -> None:
    assert await master.data("buildsets") == []
    assert await master.data("changes") == []


# -- what the schedulers would build


def watched() -> Any:
    """A master with schedulers of every kind that may or may not build a change on main."""
    made = config()
    made["builders"] = [builder(f"b{number}") for number in range(8)]
    made["codebaseGenerator"] = lambda change: "app"

    @util.renderer
    def by_branch(properties: Any) -> list[str]:
        return ["b2", "b3"]

    both = {"app": {"repository": "https://example.org/app"}, "lib": {"branch": "stable"}}
    made["schedulers"] = [
        schedulers.SingleBranchScheduler(
            name="main",
            branch="main",
            treeStableTimer=3600,
            builderNames=["b0", "b1"],
            codebases=both,
            properties={"kind": "full", "owner": "nobody"},
        ),
        schedulers.AnyBranchScheduler(name="late", builderNames=by_branch, codebases=["app"]),
        schedulers.SingleBranchScheduler(
            name="other", branch="other", builderNames=["b4"], codebases=["app"]
        ),
        schedulers.SingleBranchScheduler(
            name="lib", branch="main", builderNames=["b5"], codebases=["lib"]
        ),
        schedulers.Nightly(
            name="nightly", branch="main", builderNames=["b6"], codebases=["app"], hour=3
        ),
        schedulers.Triggerable(name="triggered", builderNames=["b7"], codebases=["app"]),
    ]
    branch = util.SelfServeBranch(
        "main", codebase="app", repository="https://example.org/app", project="p"
    )
    made["www"]["plugins"] = {"selfserve": util.SelfServe(branches=[branch])}
    return made


@pytest.mark.parametrize("master", [watched], indirect=True)
@pytest_twisted.ensureDeferred
async def test_schedulers_build_a_revision_that_nobody_knows(master: Any) -> None:
    planned = await master.post(at(), user=USER, data={"dry_run": "1"})
    assert planned.json["known"] is False
    sent = {"user": USER, "data": {"priority": "4"}, "headers": {"Idempotency-Key": "once"}}
    answer = await master.post(at(), **sent)
    assert answer.status == 202, answer.text
    receipt = answer.json
    assert receipt["known"] is False
    made = {one["buildername"]: one for one in receipt["requests"]}
    assert sorted(made) == ["b0", "b1", "b2", "b3"]
    assert {one["outcome"] for one in receipt["requests"]} == {"created"}
    assert len(receipt["buildset_ids"]) == 2
    (change,) = await changes_of(master, REVISION)
    assert (change["author"], change["branch"], change["codebase"]) == (USER, "main", "app")
    assert (change["repository"], change["project"]) == ("https://example.org/app", "p")
    stamps = {
        one["codebase"]: one for one in (await buildset_of(master, made["b0"]))["sourcestamps"]
    }
    assert stamps["app"]["revision"] == REVISION
    assert (stamps["lib"]["branch"], stamps["lib"]["revision"]) == ("stable", None)
    for name, one in made.items():
        request = await master.completed(one["request_id"])
        assert (request["results"], request["priority"]) == (SUCCESS, 4)
        buildset = await buildset_of(master, one)
        assert buildset["reason"] == "Self-serve: Requested by ada"
        properties = await properties_of(master, one)
        assert properties["owner"][0] == USER
        assert properties["selfserve_job"][0] == receipt["job_id"]
        assert re.fullmatch("[0-9]{14}", properties["buildid"][0])
        assert re.fullmatch("[0-9a-f]{32}", properties["builduid"][0])
        assert properties["scheduler"][0] == ("main" if name in ("b0", "b1") else "late")
    assert (await properties_of(master, made["b0"]))["kind"] == ("full", "Scheduler")
    job = (await master.get(f"/self-serve/jobs/{receipt['job_id']}")).json
    assert job["action"] == "new_build_at_revision"
    assert job["what"] == {"branch": "main", "revision": REVISION, "priority": 4}
    # it is known by now; the first receipt says what it was then
    assert (await master.post(at(), **sent)).json["known"] is False


@pytest.mark.parametrize("master", [watched], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_change_is_not_recorded_with_what_makes_a_build_anothers(master: Any) -> None:
    of_one_build = {f"virtual_builder_{name}": (5, "Change") for name in ("project", "tags")}
    await master.master.db.changes.addChange(
        author="eve",
        branch="main",
        revision=OTHER,
        codebase="app",
        project="p",
        repository="https://example.org/app",
        files=[],
        properties={"kind": ("fix", "Change"), **of_one_build},
    )
    answer = await master.post(at(), user=USER)
    assert answer.status == 202, answer.text
    (change,) = await changes_of(master, REVISION)
    assert change["properties"] == {"kind": ("fix", "Change")}


def by_kind() -> Any:
    """A master with a scheduler for all changes, and one for changes of a kind."""
    made = config()
    made["schedulers"].append(
        schedulers.AnyBranchScheduler(
            name="pulls",
            builderNames=["opt/mac #1"],
            change_filter=util.ChangeFilter(property_eq={"kind": "pull"}),
        )
    )
    made["www"]["plugins"] = {"selfserve": util.SelfServe(branches=[util.SelfServeBranch("main")])}
    return made


async def pushed(master: Any, revision: str) -> None:
    await master.master.db.changes.addChange(
        author="eve",
        branch="main",
        revision=revision,
        repository="https://example.org/repo",
        project="p",
        category="push",
        files=[],
        properties={"level": (1, "Change")},
    )


async def build_properties(master: Any, answer: Any) -> dict[str, dict[str, Any]]:
    """Return the properties of the builds that a job request made, by builder."""
    assert answer.status == 202, answer.text
    found = {}
    for one in answer.json["requests"]:
        await master.completed(one["request_id"])
        (build,) = await master.data("buildrequests", one["request_id"], "builds")
        found[one["buildername"]] = dict(
            await master.data("builds", build["buildid"], "properties")
        )
    return found


@pytest.mark.parametrize("master", [by_kind], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_is_given_for_one_revision_is_not_handed_on(master: Any) -> None:
    await pushed(master, OTHER)
    given = {"category": "x", "project": "q", "properties": '{"kind": "pull", "publish": "yes"}'}
    found = await build_properties(master, await master.post(at(), user=USER, data=given))
    assert sorted(found) == ["fast", "opt/mac #1"]
    for its in found.values():
        assert its["publish"] == ("yes", "Change")
        assert (its["level"], its["project"]) == ((1, "Change"), ("q", "Build"))
    (change,) = await changes_of(master, REVISION)
    assert change["properties"] == {"level": (1, "Change")}
    assert (change["category"], change["project"]) == ("x", "q")
    # others' builds of this revision, and what is recorded next, have nothing of it
    path = f"/self-serve/main/builders/slow/{REVISION}"
    answer = await master.post(path, user=USER)
    assert "publish" not in await properties_of(master, answer.json["requests"][0])
    new = "1" * 40
    (its,) = (await build_properties(master, await master.post(at(new), user=USER))).values()
    assert not {"publish", "kind"} & set(its)
    (change,) = await changes_of(master, new)
    assert (change["category"], change["project"]) == ("push", "p")
    assert change["properties"] == {"level": (1, "Change")}


@pytest.mark.parametrize("master", [by_kind], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_project_that_was_given_is_no_project_of_the_branch(master: Any) -> None:
    async def project(path: str) -> str:
        answer = await master.post(path, user=USER)
        assert answer.status == 202, answer.text
        (stamp,) = (await buildset_of(master, answer.json["requests"][0]))["sourcestamps"]
        return str(stamp["project"])

    given = {"category": "x", "project": "q"}
    assert (await master.post(at(), user=USER, data=given)).status == 202
    # nobody has pushed anything
    new = (f"{number}" * 40 for number in range(1, 10))
    assert await project(f"/self-serve/main/builders/slow/{next(new)}") == ""
    recorded = next(new)
    assert await project(at(recorded)) == ""
    (change,) = await changes_of(master, recorded)
    assert change["category"] is None
    await pushed(master, OTHER)
    assert (await master.post(at(next(new)), user=USER, data=given)).status == 202
    assert await project(f"/self-serve/main/builders/slow/{next(new)}") == "p"
    assert await project(at(next(new))) == "p"
    assert await project(at()) == "q"


@pytest.mark.parametrize("master", [by_kind], indirect=True)
@pytest_twisted.ensureDeferred
async def test_schedulers_see_the_properties_that_are_given(master: Any) -> None:
    await pushed(master, OTHER)
    for data, names in (
        ({"properties": '{"kind": "pull"}'}, ["fast", "opt/mac #1"]),
        ({"properties": '{"kind": "pull"}'}, ["fast", "opt/mac #1"]),
        ({}, ["fast"]),
    ):
        answer = await master.post(at(), user=USER, data=data)
        assert answer.status == 202, answer.text
        assert sorted(one["buildername"] for one in answer.json["requests"]) == names
    # of a push, they are those that it has
    answer = await master.post(at(OTHER), user=USER, data={"properties": '{"kind": "pull"}'})
    assert [one["buildername"] for one in answer.json["requests"]] == ["fast"]


@pytest_twisted.ensureDeferred
async def test_properties_of_rebuilds_do_not_add_up(master: Any) -> None:
    many = {f"p{number}": (number, "x") for number in range(1000)}
    request_id = await master.add_request("slow", properties=many)
    for given, status in (({"q": 1}, 400), ({"p0": 1}, 202), ({"p0": None, "q": 1}, 202)):
        data = {"request_id": request_id, "properties": json.dumps(given)}
        answer = await master.post("/self-serve/main/request", user=USER, data=data)
        assert answer.status == status, answer.text
        if status == 400:
            detail = "properties must be so few that the new build has at most 1000 of them"
            assert (answer.json["msg"], answer.json["detail"]) == ("Bad properties", detail)


@pytest.mark.parametrize("master", [watched], indirect=True)
@pytest_twisted.ensureDeferred
async def test_asking_twice_builds_twice_at_the_change_that_there_is(master: Any) -> None:
    master.pause()
    change_id = await master.master.db.changes.addChange(
        author="eve",
        branch="main",
        revision=REVISION,
        repository="https://example.org/app",
        codebase="app",
        project="p",
        files=["a.c"],
    )
    receipts = [(await master.post(at(REVISION[:8]), user=USER)).json for _ in range(2)]
    assert [len(one["requests"]) for one in receipts] == [4, 4]
    assert [one["known"] for one in receipts] == [True, True]
    (change,) = await changes_of(master, REVISION)
    assert change["changeid"] == change_id
    # what is asked for twice is not collapsed
    assert len(await master.data("buildrequests")) == 8
    master.resume()
    for one in (*receipts[0]["requests"], *receipts[1]["requests"]):
        assert (await master.completed(one["request_id"]))["results"] == SUCCESS
    assert len((await master.get(at())).json) == 8


@pytest.mark.parametrize("master", [watched], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_waits_is_not_compared_and_everybody_is_told(
    master: Any, monkeypatch: Any
) -> None:
    def compare(self: Any) -> None:
        raise AssertionError("with thousands that wait this takes seconds")

    monkeypatch.setattr(BuildRequestCollapser, "collapse", compare)
    told: list[tuple[tuple[str, ...], Any]] = []
    consumers = [
        await master.master.mq.startConsuming(lambda key, msg: told.append((key, msg)), topic)
        for topic in (("buildrequests", None, "new"), ("buildsets", None, "new"))
    ]
    receipt = (await master.post(at(), user=USER)).json
    for consumer in consumers:
        consumer.stopConsuming()
    assert len(receipt["requests"]) == 4
    requests = {key[1] for key, _ in told if key[0] == "buildrequests"}
    assert requests == {str(one["request_id"]) for one in receipt["requests"]}
    made_by = {msg["bsid"]: msg["scheduler"] for key, msg in told if key[0] == "buildsets"}
    assert sorted(made_by) == receipt["buildset_ids"]
    assert sorted(made_by.values()) == ["late", "main"]


@pytest.mark.parametrize("master", [watched], indirect=True)
@pytest_twisted.ensureDeferred
async def test_schedulers_that_are_disabled_build_nothing(master: Any) -> None:
    for row in await master.data("schedulers"):
        if row["name"] in ("main", "late"):
            await master.master.data.control(
                "enable", {"enabled": row["name"] == "main"}, ("schedulers", row["schedulerid"])
            )
    receipt = (await master.post(at(), user=USER)).json
    assert sorted(one["buildername"] for one in receipt["requests"]) == ["b0", "b1"]


def unusual() -> Any:
    """A master whose schedulers are not as those in the tutorial."""
    made = config()
    made["builders"] = [builder(f"b{number}") for number in range(9)]

    def by_number(names: Any, changes: Any) -> int:
        assert sorted(changes) == [""]
        return len(names) + names.index("b3") if names == ["b2", "b3", "b2"] else -1

    important = {"fileIsImportant": lambda change: False, "onlyImportant": True}
    plain = schedulers.AnyBranchScheduler(name="plain", builderNames=["b0"], codebases=[""])
    made["schedulers"] = [
        plain,
        schedulers.AnyBranchScheduler(
            name="unimportant", builderNames=("b1",), treeStableTimer=60, **important
        ),
        schedulers.AnyBranchScheduler(
            name="twice", builderNames=["b2", "b3", "b2"], priority=by_number
        ),
        schedulers.SingleBranchScheduler(
            name="mixed",
            change_filter=util.ChangeFilter(filter_fn=lambda change: change.branch == "main"),
            builderNames=["b4", util.Interpolate("b%(kw:five)s", five=5)],
            createAbsoluteSourceStamps=True,
        ),
        schedulers.AnyBranchScheduler(
            name="failing",
            change_filter=util.ChangeFilter(filter_fn=lambda change: 1 / 0),
            builderNames=["b6"],
        ),
        schedulers.Dependent(name="after", upstream=plain, builderNames=["b7"]),
        schedulers.Triggerable(name="triggered", builderNames=["b8"]),
        schedulers.Try_Jobdir(name="try", builderNames=["b8"], jobdir="jobs"),
        schedulers.ForceScheduler(name="force", builderNames=["b8"]),
        schedulers.NightlyTriggerable(name="night", builderNames=["b8"], hour=3),
    ]
    made["www"]["plugins"] = {
        "selfserve": util.SelfServe(
            branches=[util.SelfServeBranch("main")], limits=util.SelfServeLimits(builds_per_hour=6)
        )
    }
    return made


@pytest.mark.parametrize("master", [unusual], indirect=True)
@pytest_twisted.ensureDeferred
async def test_unusual_schedulers_build_what_they_watch(master: Any) -> None:
    answer = await master.post(at(), user=USER)
    assert answer.status == 202, answer.text
    outcomes = answer.json["requests"]
    made = {one["buildername"]: one for one in outcomes if one["outcome"] == "created"}
    assert answer.json["status"] == "OK", answer.text
    assert sorted(made) == ["b0", "b1", "b2", "b3", "b4", "b5"]
    (left,) = (one for one in outcomes if one["outcome"] != "created")
    assert (left["outcome"], left["request_id"], left["buildername"]) == ("left_out", None, "")
    assert left["msg"] == "the change filter of scheduler failing failed, see the master's log"
    for name, one in made.items():
        request = await master.completed(one["request_id"])
        assert request["priority"] == (4 if name in ("b2", "b3") else 0)
    # what waits for one of them follows it
    after = await master.until(lambda: requests_for(master, "b7"), "the dependent one is built")
    assert len(after) == 1


async def requests_for(master: Any, name: str) -> list[Any]:
    builder_id = (await master.data("builders", name))["builderid"]
    return [one for one in await master.data("buildrequests") if one["builderid"] == builder_id]


def unwatched() -> Any:
    made = config()
    made["schedulers"] = [
        schedulers.SingleBranchScheduler(name="one", branch="one", builderNames=["fast"]),
        schedulers.Triggerable(name="rest", builderNames=["slow", "opt/mac #1"]),
    ]
    branches = [util.SelfServeBranch("main"), util.SelfServeBranch("one")]
    made["www"]["plugins"] = {"selfserve": util.SelfServe(branches=branches)}
    return made


@pytest.mark.parametrize("master", [unwatched], indirect=True)
@pytest_twisted.ensureDeferred
async def test_no_scheduler_is_a_clear_refusal(master: Any) -> None:
    answer = await master.post(at(), user=USER)
    assert answer.status == 400
    assert answer.json["msg"] == f"No scheduler builds revision {REVISION} on branch main"
    await nothing_was_made(master)
    (job,) = (await master.get("/self-serve/jobs")).json
    assert (job["status"], job["complete_data"]["body"]["requests"]) == ("failed", [])


def broken() -> Any:
    """Two schedulers watch the branch; one cannot say its builders."""
    made = config()

    @util.renderer
    def no_names(properties: Any) -> list[str]:
        raise ValueError("an operator's mistake")

    made["schedulers"].append(schedulers.AnyBranchScheduler(name="broken", builderNames=no_names))
    return made


@pytest.mark.parametrize("master", [broken], indirect=True)
@pytest_twisted.ensureDeferred
async def test_one_scheduler_that_fails_is_told_of_and_the_others_build(master: Any) -> None:
    await master.finished_build()
    planned = (await master.post(at(), user=USER, data={"dry_run": "1"})).json
    assert planned["msg"] == "1 build would be requested, 1 scheduler failed"
    receipt = (await master.post(at(), user=USER)).json
    assert receipt["status"] == "FAILED"
    assert receipt["msg"] == "1 build requested, 1 scheduler failed"
    outcomes = {one["outcome"]: one for one in receipt["requests"]}
    assert outcomes["created"]["buildername"] == "fast"
    left = outcomes["left_out"]
    assert (left["request_id"], left["buildername"]) == (None, "")
    assert left["msg"] == "scheduler broken failed, see the master's log"
    # the plan has told the same of it
    assert [one for one in planned["requests"] if one["outcome"] == "left_out"] == [left]


def watched_only_by(names: Any, **limits: int) -> Any:
    """Return what makes a configuration with one scheduler, whose builders *names* returns."""

    def make() -> Any:
        made = config(
            util.SelfServe(
                branches=[util.SelfServeBranch("main")], limits=util.SelfServeLimits(**limits)
            )
        )
        made["schedulers"].pop(0)
        made["schedulers"].append(
            schedulers.AnyBranchScheduler(name="only", builderNames=util.Transform(names))
        )
        return made

    return make


def no_names() -> list[str]:
    raise ValueError("an operator's mistake")


async def nothing_was_built(master: Any, status: int, msg: str) -> Any:
    """Ask for new builds, which must be refused; return the answer."""
    answer = await master.post(at(), user=USER)
    assert (answer.status, answer.json["msg"]) == (status, msg)
    assert await master.data("buildsets") == []
    (job,) = (await master.get("/self-serve/jobs")).json
    assert (job["status"], job["complete_data"]["body"]["msg"]) == ("failed", msg)
    return answer


@pytest.mark.parametrize("master", [watched_only_by(no_names)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_if_every_scheduler_fails_nothing_is_accepted(master: Any) -> None:
    where = f"revision {REVISION} on branch main"
    why = "scheduler only failed, see the master's log"
    await nothing_was_built(master, 400, f"No scheduler could build {where}: {why}")
    assert any("an operator's mistake" in error for error in master.errors)


@pytest.mark.parametrize("master", [watched_only_by(list)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_if_no_scheduler_names_a_builder_nothing_is_accepted(master: Any) -> None:
    where = f"revision {REVISION} on branch main"
    answer = await nothing_was_built(master, 400, f"No scheduler builds {where}")
    assert answer.json["detail"] == "the schedulers that accept it chose no builders"


TOO_MANY = watched_only_by(lambda: ["fast", "slow"], builds_per_hour=1)


@pytest.mark.parametrize("master", [TOO_MANY], indirect=True)
@pytest_twisted.ensureDeferred
async def test_if_too_little_is_left_for_every_scheduler_it_is_too_many(master: Any) -> None:
    msg = "2 builds requested, 1 left of 1 per hour"
    answer = await nothing_was_built(master, 429, msg)
    assert answer.header("retry-after") == "3600"
    assert await changes_of(master, REVISION) == []


@pytest_twisted.ensureDeferred
async def test_if_the_database_fails_every_scheduler_asking_again_makes_sense(
    master: Any, monkeypatch: Any
) -> None:
    def fail(*asked: Any) -> None:
        raise sa.exc.OperationalError("INSERT", None, Exception("gone"))

    await master.finished_build()
    with monkeypatch.context() as patched:
        patched.setattr(insert_buildsets, "_insert", fail)
        answer = await master.post(at(), user=USER)
    assert (answer.status, answer.json["msg"]) == (503, "The master could not do this")
    assert answer.header("retry-after") is not None
    assert (await master.post(at(), user=USER)).json["msg"] == "1 build requested"


@pytest_twisted.ensureDeferred
async def test_a_revision_that_could_be_in_two_places_is_refused(master: Any) -> None:
    for repository in ("https://example.org/a", "https://example.org/b"):
        stamp = {"branch": "main", "revision": OTHER, "repository": repository, "codebase": ""}
        await master.add_request(sourcestamps=[{**stamp, "project": ""}])
    answer = await master.post(at("not-known"), user=USER)
    assert answer.status == 400
    assert (
        answer.json["msg"]
        == "Revision not-known is unknown, and could be in several codebases or repositories"
    )
    assert "https://example.org/a, https://example.org/b" in answer.json["detail"]


@pytest_twisted.ensureDeferred
async def test_a_revision_that_cannot_be_one_is_refused(master: Any) -> None:
    await master.finished_build()
    for text in ("x" * 257, "a%0Ab"):
        answer = await master.post(at(text), user=USER)
        assert (answer.status, answer.json["msg"]) == (400, "Bad revision")
    answer = await master.post(at(branch="nowhere"), user=USER)
    assert (answer.status, answer.json["msg"]) == (404, "Branch nowhere not found")


def forced() -> Any:
    """A master where one scheduler takes what is pushed, another what people ask for."""
    made = config()
    only = util.ChangeFilter(repository="https://example.org/app", project="p", category="push")
    made["schedulers"] = [
        schedulers.AnyBranchScheduler(name="pushed", builderNames=["fast"], change_filter=only),
        schedulers.ForceScheduler(name="force", builderNames=["fast", "slow", "opt/mac #1"]),
    ]
    branch = util.SelfServeBranch("main", sets={"nightly": ["opt/mac #1"]})
    made["www"]["plugins"] = {"selfserve": util.SelfServe(branches=[branch])}
    return made


@pytest.mark.parametrize("master", [forced], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_revision_is_where_its_change_is_and_not_where_somebody_forced_it(
    master: Any,
) -> None:
    await master.add_change(
        author="eve",
        branch="main",
        revision=REVISION,
        repository="https://example.org/app",
        project="p",
        category="push",
        files=["a.c"],
    )
    await master.until(lambda: master.data("buildsets"), "the push is built")
    asked = {"branch": "main", "revision": REVISION, "builderNames": ["fast"]}
    await master.master.data.control("force", asked, ("forceschedulers", "force"))
    stamps = await master.data("sourcestamps")
    assert sorted(one["repository"] for one in stamps) == ["", "https://example.org/app"]
    for path in (at(), at() + "/nightly", f"/self-serve/main/builders/fast/{REVISION}"):
        answer = await master.post(path, user=USER)
        assert answer.status == 202, f"{path}: {answer.text}"
        (stamp,) = (await buildset_of(master, answer.json["requests"][0]))["sourcestamps"]
        assert (stamp["repository"], stamp["project"]) == ("https://example.org/app", "p"), path
    assert len(await changes_of(master, REVISION)) == 1


# -- sets


def with_sets() -> Any:
    made = config()
    made["builders"] = [
        builder("n1", tags=["nightly"]),
        builder("n2", tags=["nightly"], properties={"branch": "other"}),
        builder("p1", tags=["pgo"]),
        builder("timed"),
        builder("re1"),
        builder("re2"),
    ]
    made["schedulers"] = [
        schedulers.Nightly(
            name="night",
            codebases={"": {"branch": "main"}},
            builderNames=["timed"],
            properties={"nightly": True},
            hour=3,
        ),
        schedulers.Triggerable(
            name="all", builderNames=["n1", "n2", "p1", "re1", "re2"], properties={"kind": "all"}
        ),
        schedulers.AnyBranchScheduler(name="push", builderNames=["n1", "n2", "p1"]),
    ]
    branches = [
        util.SelfServeBranch("main"),
        util.SelfServeBranch(
            "set",
            sets={"nightly": ["scheduler:night", re.compile("^re")], "empty": ["gone"]},
        ),
    ]
    made["www"]["plugins"] = {"selfserve": util.SelfServe(branches=branches)}
    return made


@pytest.mark.parametrize("master", [with_sets], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_set_is_built_in_a_buildset_for_each_part(master: Any) -> None:
    for path, action, names in (
        (at() + "/nightly", "new_nightly_at_revision", ["n1", "timed"]),
        (at() + "/pgo", "new_pgobuild_at_revision", ["p1"]),
        (at(branch="set") + "/nightly", "new_nightly_at_revision", ["re1", "re2", "timed"]),
    ):
        answer = await master.post(path, user=USER, data={"priority": 3})
        assert answer.status == 202, answer.text
        receipt = answer.json
        assert sorted(one["buildername"] for one in receipt["requests"]) == names
        # one for the scheduler, one for the other builders
        assert len(receipt["buildset_ids"]) == (2 if "timed" in names else 1)
        assert receipt["known"] is (names == ["p1"])
        for one in receipt["requests"]:
            assert one["outcome"] == "created"
            request = await master.completed(one["request_id"])
            assert (request["results"], request["priority"]) == (SUCCESS, 3)
        (stamp,) = (await buildset_of(master, receipt["requests"][0]))["sourcestamps"]
        assert (stamp["branch"], stamp["revision"]) == (path.split("/")[2], REVISION)
        job = (await master.get(f"/self-serve/jobs/{receipt['job_id']}")).json
        assert job["action"] == action
    # the properties of a scheduler that the set names are its own
    properties = await properties_of(master, receipt["requests"][0])
    assert properties["nightly"] == (True, "Scheduler")
    assert properties["owner"][0] == USER
    assert (await master.data("changes")) == []


@pytest.mark.parametrize("master", [with_sets], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_set_that_is_empty_or_unknown_is_refused(master: Any) -> None:
    answer = await master.post(at(branch="set") + "/empty", user=USER)
    assert (answer.status, answer.json["msg"]) == (400, "Set empty of branch set has no builders")
    answer = await master.post(at() + "/empty", user=USER)
    assert (answer.status, answer.json["msg"]) == (404, "Set empty not found on branch main")
    await nothing_was_made(master)
    possible = (await master.get(f"/self-serve/set/new?revision={REVISION}")).json
    assert possible["sets"] == {"empty": [], "nightly": ["re1", "re2", "timed"], "pgo": ["p1"]}
    assert possible["known"] is False


def with_renderables() -> Any:
    """A master with a set of a scheduler whose properties tell of what is built."""
    made = config()

    @util.renderer
    def told(properties: Any) -> dict[str, Any]:
        return {
            "files": properties.files,
            "authors": [change["author"] for change in properties.changes],
            "repositories": [stamp["repository"] for stamp in properties.sourcestamps],
            "at": properties.getSourceStamp()["revision"],
            "kind": properties.getProperty("kind"),
            "owner": properties.getProperty("owner"),
        }

    made["schedulers"].append(
        schedulers.Nightly(
            name="night",
            builderNames=["fast"],
            codebases={"": {"branch": "main", "repository": "https://example.org/app"}},
            properties={"told": told},
            hour=3,
        )
    )
    branch = util.SelfServeBranch("main", sets={"nightly": ["scheduler:night"]})
    made["www"]["plugins"] = {"selfserve": util.SelfServe(branches=[branch])}
    return made


@pytest.mark.parametrize("master", [with_renderables], indirect=True)
@pytest_twisted.ensureDeferred
async def test_the_properties_of_a_scheduler_may_tell_of_what_is_built(master: Any) -> None:
    await master.master.db.changes.addChange(
        author="eve",
        branch="main",
        revision=REVISION,
        repository="https://example.org/app",
        files=["a.c"],
        properties={"kind": ("fix", "Change")},
    )
    expected = {"repositories": ["https://example.org/app"], "owner": USER}
    for revision, more in (
        (REVISION, {"files": ["a.c"], "authors": ["eve"], "kind": "fix"}),
        (OTHER, {"files": [], "authors": [], "kind": None}),
    ):
        answer = await master.post(f"{at(revision)}/nightly", user=USER)
        assert answer.status == 202, answer.text
        properties = await properties_of(master, answer.json["requests"][0])
        assert properties["told"] == ({**expected, "at": revision, **more}, "Scheduler")
    assert len(await master.data("changes")) == 1


# -- one builder


class Curious(BuildStep):
    """Remembers what it finds."""

    name = "curious"
    found: dict[str, Any] = {}

    async def run(self) -> int:
        assert self.build is not None
        files = sorted(name for change in self.build.allChanges() for name in change.files)
        Curious.found = {
            "files": files,
            "x": self.getProperty("x"),
            "rev": self.getProperty("revision"),
        }
        return SUCCESS


def curious() -> Any:
    made = config()
    made["builders"][2].factory = util.BuildFactory([Curious()])
    made["www"]["plugins"] = {"selfserve": util.SelfServe(branches=[util.SelfServeBranch("main")])}
    return made


@pytest.mark.parametrize("master", [curious], indirect=True)
@pytest_twisted.ensureDeferred
async def test_any_builder_builds_with_properties_and_files(master: Any) -> None:
    path = f"/self-serve/main/builders/opt%2Fmac%20%231/{REVISION}"
    properties = {"x": [1, {"y": "ä\n"}], "branch": "main", "revision": REVISION[:12]}
    fields = {"properties": json.dumps(properties), "files": '["http://x/a.zip", "b"]'}
    answer = await master.post(path, user=USER, data={**fields, "priority": "-2"})
    assert answer.status == 202, answer.text
    assert answer.json["known"] is False
    (one,) = answer.json["requests"]
    request = await master.completed(one["request_id"])
    assert (request["results"], request["priority"]) == (SUCCESS, -2)
    assert Curious.found == {
        "files": ["b", "http://x/a.zip"],
        "x": properties["x"],
        "rev": REVISION,
    }
    stored = await properties_of(master, one)
    assert stored["x"] == (properties["x"], "Self-serve")
    assert stored["owner"][0] == USER
    assert re.fullmatch("[0-9a-f]{32}", stored["builduid"][0])
    job = (await master.get(f"/self-serve/jobs/{answer.json['job_id']}")).json
    assert job["action"] == "new_build_for_builder"
    assert job["what"] == {
        "branch": "main",
        "revision": REVISION,
        "builder_name": "opt/mac #1",
        "priority": -2,
        "properties": properties,
        "files": ["http://x/a.zip", "b"],
    }
    # the same files need no other change; other files do
    assert len(await changes_of(master, REVISION)) == 1
    await master.post(path, user=USER, data=fields)
    assert len(await changes_of(master, REVISION)) == 1
    body = {"properties": {"x": 2}, "files": ["c"], "builder_name": "opt/mac #1"}
    answer = await master.post(
        "/self-serve/main/builders",
        user=USER,
        data=json.dumps({**body, "revision": REVISION[:6]}).encode(),
        headers={"Content-Type": "application/json"},
    )
    assert (answer.status, answer.json["known"]) == (202, True), answer.text
    await master.completed(answer.json["requests"][0]["request_id"])
    assert Curious.found["files"] == ["c"]


@pytest.mark.parametrize("master", [curious], indirect=True)
@pytest.mark.parametrize(
    ("path", "files"),
    [
        (f"/self-serve/main/builders/fast/{REVISION}", '["a.c"]'),
        (f"/self-serve/main/rev/{REVISION}", '["a.c"]'),
        (f"/self-serve/main/rev/{REVISION}", None),
    ],
)
@pytest_twisted.ensureDeferred
async def test_those_that_ask_at_once_record_one_change(
    master: Any, path: str, files: str | None
) -> None:
    master.pause()
    data = {} if files is None else {"files": files}
    sent = [defer.ensureDeferred(master.post(path, user=USER, data=data)) for _ in range(4)]
    answers = [await one for one in sent]
    assert [answer.status for answer in answers] == [202] * 4
    assert len(await changes_of(master, REVISION)) == 1
    built = {one["request_id"] for answer in answers for one in answer.json["requests"]}
    assert len(built) == sum(len(answer.json["requests"]) for answer in answers) >= 4


@pytest.mark.parametrize("master", [curious], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_change_that_was_recorded_in_vain_is_told_of(master: Any, monkeypatch: Any) -> None:
    async def fails(*arguments: Any) -> Any:
        raise sa.exc.OperationalError("INSERT", {}, Exception("it is away"))

    path = f"/self-serve/main/builders/fast/{REVISION}"
    monkeypatch.setattr(insert_buildsets, "insert", fails)
    recorded = "Interrupted: 1 change recorded, no builds requested"
    # a new one; the same again; one that is like it, but for its files
    for files, number, told in (
        ("[]", 1, recorded),
        ("[]", 1, "Interrupted: nothing was done"),
        ('["c"]', 2, recorded),
    ):
        answer = await master.post(path, user=USER, data={"files": files})
        assert (answer.status, answer.json["detail"]) == (503, told)
        assert len(await changes_of(master, REVISION)) == number
        job = (await master.get(f"/self-serve/jobs/{answer.json['job_id']}")).json
        assert (job["status"], job["complete_data"]["body"]["msg"]) == ("failed", told)
    assert await master.data("buildsets") == []


@pytest.mark.parametrize("master", [curious], indirect=True)
@pytest_twisted.ensureDeferred
async def test_bad_properties_and_files_are_named_and_nothing_is_written(master: Any) -> None:
    path = f"/self-serve/main/builders/fast/{REVISION}"
    deep = "[" * 30 + "]" * 30
    for name, value in (
        ("properties", "["),
        ("properties", "[]"),
        ("properties", '{"owner": "eve"}'),
        ("properties", '{"scheduler": "x"}'),
        ("properties", '{"virtual_builder_name": "slow"}'),
        ("properties", '{"virtual_builder_project": ["x"]}'),
        ("properties", '{"virtual_builder_tags": 5}'),
        ("properties", '{"selfserve_job": 1}'),
        ("properties", '{"branch": "other"}'),
        ("properties", json.dumps({"revision": OTHER})),
        ("properties", json.dumps({"x" * 257: 1})),
        ("properties", '{"x": 1e999}'),
        ("properties", f'{{"x": {deep}}}'),
        ("properties", '{"x": ' + "[" * 10000),
        # six bytes each, as databases store it
        ("properties", json.dumps({"x": "ä" * 10_000}, ensure_ascii=False)),
        ("files", "{}"),
        ("files", '["a", 1]'),
        ("files", '"a"'),
    ):
        answer = await master.post(path, user=USER, data={name: value})
        assert (answer.status, answer.json["msg"]) == (400, f"Bad {name}"), value[:80]
    answer = await master.post(f"/self-serve/main/builders/gone/{REVISION}", user=USER)
    assert (answer.status, answer.json["msg"]) == (404, "Builder gone not found on branch main")
    await nothing_was_made(master)
    # and no builder came to be because somebody named it
    assert "gone" not in [row["name"] for row in await master.data("builders")]
    assert (await master.get("/self-serve/jobs")).json == []


@pytest.mark.parametrize("master", [curious], indirect=True)
@pytest_twisted.ensureDeferred
async def test_without_a_change_a_revision_is_in_a_repository_that_was_named(master: Any) -> None:
    await master.add_request()
    nowhere = {"repository": "", "project": "", "codebase": ""}
    await master.add_request(sourcestamps=[{"branch": "main", "revision": REVISION, **nowhere}])
    answer = await master.post(f"/self-serve/main/builders/fast/{REVISION}", user=USER)
    (stamp,) = (await buildset_of(master, answer.json["requests"][0]))["sourcestamps"]
    assert stamp["repository"] == "https://example.org/repo"


@pytest.mark.parametrize("master", [curious], indirect=True)
@pytest_twisted.ensureDeferred
async def test_every_database_takes_the_largest_property(master: Any) -> None:
    properties = {"x": "ä" * 9_999}
    answer = await master.post(
        f"/self-serve/main/builders/fast/{REVISION}",
        user=USER,
        data={"properties": json.dumps(properties, ensure_ascii=False)},
    )
    assert answer.status == 202, answer.text
    stored = await properties_of(master, answer.json["requests"][0])
    assert stored["x"][0] == properties["x"]


# -- further codebases

#: What a build at a revision of the codebase app needs besides.
LIB = {"repository": "https://example.org/lib", "branch": "stable"}


def with_two_codebases() -> Any:
    """A master with schedulers of every kind, each with a builder and a set of its name."""
    made = config()
    two: dict[str, Any] = {
        "codebases": {"app": {"repository": "https://example.org/app"}, "lib": LIB}
    }
    single = schedulers.SingleBranchScheduler(
        name="single", branch="main", builderNames=["single"], **two
    )
    made["schedulers"] = [
        single,
        schedulers.SingleBranchScheduler(
            name="absolute",
            branch="main",
            builderNames=["absolute"],
            createAbsoluteSourceStamps=True,
            **two,
        ),
        schedulers.AnyBranchScheduler(name="any", builderNames=["any"], **two),
        schedulers.Dependent(name="dependent", upstream=single, builderNames=["dependent"], **two),
        schedulers.Nightly(name="nightly", builderNames=["nightly"], hour=3, **two),
        schedulers.NightlyTriggerable(
            name="night-triggered", builderNames=["night-triggered"], hour=3, **two
        ),
        schedulers.Periodic(
            name="periodic",
            builderNames=["periodic"],
            periodicBuildTimer=3600,
            onlyIfChanged=True,
            createAbsoluteSourceStamps=True,
            **two,
        ),
        schedulers.Triggerable(name="triggered", builderNames=["triggered"], **two),
        schedulers.Try_Jobdir(name="try", builderNames=["try"], jobdir="jobs", **two),
    ]
    names = [one.name for one in made["schedulers"]]
    made["builders"] = [builder(name) for name in names]
    branch = util.SelfServeBranch(
        "main", codebase="app", sets={name: [f"scheduler:{name}"] for name in names}
    )
    made["www"]["plugins"] = {"selfserve": util.SelfServe(branches=[branch])}
    return made


async def lib_of(master: Any, receipt: Any) -> tuple[Any, ...]:
    """Return what the one build in *receipt* takes from the codebase lib."""
    (one,) = receipt["requests"]
    stamps = {
        stamp["codebase"]: stamp for stamp in (await buildset_of(master, one))["sourcestamps"]
    }
    assert stamps["app"]["revision"] == REVISION
    assert stamps["app"]["repository"] == "https://example.org/app"
    lib = stamps["lib"]
    return lib["repository"], lib["branch"], lib["revision"]


@pytest.mark.parametrize("master", [with_two_codebases], indirect=True)
@pytest_twisted.ensureDeferred
async def test_any_scheduler_says_what_a_build_takes_from_other_codebases(master: Any) -> None:
    names = [one.name for one in master.master.allSchedulers()]
    assert len(names) == 9
    for name in names:
        for path in (f"{at()}/{name}", f"/self-serve/main/builders/{name}/{REVISION}"):
            answer = await master.post(path, user=USER)
            assert answer.status == 202, f"{path}: {answer.text}"
            assert await lib_of(master, answer.json) == (LIB["repository"], "stable", None), path


def forced_first() -> Any:
    made = with_two_codebases()
    made["builders"] = [builder("single")]
    made["schedulers"] = [
        schedulers.ForceScheduler(name="force", builderNames=["single"], codebases=["app", "lib"]),
        made["schedulers"][0],
    ]
    return made


@pytest.mark.parametrize("master", [forced_first], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_scheduler_that_leaves_a_codebase_to_people_says_nothing_of_it(master: Any) -> None:
    answer = await master.post(f"/self-serve/main/builders/single/{REVISION}", user=USER)
    assert answer.status == 202, answer.text
    assert await lib_of(master, answer.json) == (LIB["repository"], "stable", None)


def elsewhere() -> Any:
    made = with_two_codebases()
    made["builders"] = [builder("absolute")]
    made["schedulers"] = [made["schedulers"][1]]
    return made


@pytest.mark.parametrize("master", [elsewhere], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_scheduler_of_another_master_says_what_it_has_noted_since(master: Any) -> None:
    (scheduler,) = master.master.allSchedulers()
    await master.until(lambda: scheduler.active, "the scheduler is active")
    # as it is in a master while another one has it
    await scheduler.deactivate()
    scheduler.active = False
    await master.master.data.updates.trySetSchedulerMaster(scheduler.serviceid, None)
    paths = (at(), f"{at()}/absolute", f"/self-serve/main/builders/absolute/{REVISION}")
    for number in range(2):
        noted = {"repository": "https://example.org/lib", "branch": "b", "revision": f"r{number}"}
        await scheduler.setState("lastCodebases", {"lib": {**noted, "lastChange": number}})
        for path in paths:
            answer = await master.post(path, user=USER)
            assert answer.status == 202, answer.text
            assert await lib_of(master, answer.json) == tuple(noted.values()), path
    scheduler.active = True
