"""The cases in which a row is not just a build of a branch."""

from __future__ import annotations

import gzip
import re
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import schedulers
from buildbot.plugins import steps
from buildbot.plugins import util
from buildbot.process.buildstep import BuildStep
from buildbot.process.results import RETRY
from buildbot.process.results import SUCCESS

from tests import harness
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import builder
from tests.harness import config

EVERY_DATABASE = "heavy"


def stamp(branch: str | None, revision: str | None, codebase: str = "") -> dict[str, Any]:
    return {
        "branch": branch,
        "revision": revision,
        "repository": f"https://example.org/{codebase}",
        "codebase": codebase,
        "project": "",
    }


def reached(*names: str) -> Any:
    """Return schedulers from which all builders can be reached."""
    return [schedulers.Triggerable(name="all", builderNames=list(names))]


def with_factory(*its_steps: Any, **more: Any) -> Any:
    """Return a configuration whose builder ``fast`` has these steps."""
    made = config(**more)
    made["builders"][0].factory = util.BuildFactory(list(its_steps))
    return made


async def states(master: Any, path: str) -> list[str]:
    """Return what each row is: the build's or the request's status, newest first."""
    return [
        f"{'build' if 'build_id' in row else 'request'} {row.get('status', 'pending')}"
        for row in (await master.get(f"/self-serve{path}")).json
    ]


class OnceAgain(BuildStep):
    """Asks for a retry as often as it is told to, and then succeeds."""

    tries = 0

    async def run(self) -> int:
        OnceAgain.tries -= 1
        return RETRY if OnceAgain.tries >= 0 else SUCCESS


@pytest.mark.parametrize("master", [lambda: with_factory(OnceAgain())], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_request_with_several_builds(master: Any) -> None:
    OnceAgain.tries = 1
    request_id = await master.add_request()
    await master.completed(request_id)
    assert await states(master, f"/main/rev/{REVISION}") == ["build 0", "build 5"]
    detail = (await master.get(f"/self-serve/main/request/{request_id}")).json
    assert detail["build_ids"] == [1, 2]
    done = (await master.get(f"/self-serve/main/rev/{REVISION}/is_done?stableDelay=0")).json
    assert (done["job_complete"], done["job_passed"], done["builds"]) == (True, True, 2)


@pytest_twisted.ensureDeferred
async def test_a_request_that_was_collapsed_is_over(master: Any) -> None:
    master.pause()
    first = await master.add_request()
    await master.add_request()
    rows = (await master.get(f"/self-serve/main/rev/{REVISION}")).json
    skipped = next(row for row in rows if row["request_id"] == first)
    assert (skipped["complete"], skipped["status"]) == (1, 3)
    assert skipped["endtime"] == skipped["complete_at"]
    assert "build_id" not in skipped
    done = (await master.get(f"/self-serve/main/rev/{REVISION}/is_done?stableDelay=0")).json
    assert (done["skipped"], done["pending"]) == (1, 1)


def two_codebases() -> Any:
    return config(
        util.SelfServe(
            branches=[
                util.SelfServeBranch("app", branch="main", codebase="app"),
                util.SelfServeBranch("lib", branch="main", codebase="lib"),
                util.SelfServeBranch("main"),
            ]
        )
    )


@pytest.mark.parametrize("master", [two_codebases], indirect=True)
@pytest_twisted.ensureDeferred
async def test_the_codebase_of_the_branch_decides(master: Any) -> None:
    both = [stamp("main", "a" * 40, "app"), stamp("main", "b" * 40, "lib")]
    request_id = await master.add_request(sourcestamps=both)
    await master.completed(request_id)
    for branch, revision in (("app", "a" * 40), ("lib", "b" * 40)):
        (row,) = (await master.get(f"/self-serve/{branch}")).json
        assert (row["branch"], row["revision"]) == (branch, revision)
        assert len((await master.get(f"/self-serve/{branch}/rev/{revision}")).json) == 1
    assert (await master.get(f"/self-serve/app/rev/{'b' * 40}")).status == 404
    # where no codebase is meant, there is still one row for a build
    assert len((await master.get("/self-serve/main")).json) == 1


def nameless_branches() -> Any:
    branches = [
        util.SelfServeBranch("default", branch=[None, ""]),
        util.SelfServeBranch("main"),
    ]
    found = steps.SetProperty(property="got_revision", value="f00dfeedcafe" * 3 + "f00d")
    return with_factory(found, selfserve=util.SelfServe(branches=branches))


@pytest.mark.parametrize("master", [nameless_branches], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_branch_or_a_revision_may_have_no_name(master: Any) -> None:
    for branch in (None, ""):
        await master.finished_build(branch=branch, revision=None)
    rows = (await master.get("/self-serve/default")).json
    assert [row["revision"] for row in rows] == ["f00dfeedcafe" * 3 + "f00d"] * 2
    # under the revision that the build found
    assert len((await master.get("/self-serve/default/rev/f00dfe")).json) == 2
    assert (await master.get("/self-serve/main/rev/f00dfe")).status == 404
    done = (await master.get("/self-serve/default/rev/f00dfeedcafe/is_done?stableDelay=0")).json
    assert (done["job_complete"], done["builds"]) == (True, 2)
    # a pending one has not found any yet
    master.pause()
    await master.add_request(branch=None, revision=None)
    assert len((await master.get("/self-serve/default")).json) == 3
    assert len((await master.get("/self-serve/default/rev/f00dfe")).json) == 2


def got_by_codebase() -> Any:
    found = steps.SetProperty(
        property="got_revision", value={"app": "abc123def0" * 4, "lib": "999999f"}
    )
    branches = [util.SelfServeBranch("main", codebase="app")]
    return with_factory(found, selfserve=util.SelfServe(branches=branches))


@pytest.mark.parametrize("master", [got_by_codebase], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_build_may_find_a_revision_in_each_codebase(master: Any) -> None:
    both = [stamp("main", None, "app"), stamp("main", None, "lib")]
    await master.completed(await master.add_request(sourcestamps=both))
    (row,) = (await master.get("/self-serve/main/rev/abc123")).json
    assert row["revision"] == "abc123def0" * 4
    assert (await master.get("/self-serve/main/rev/999999f")).status == 404
    again = {"build_id": row["build_id"], "same_revision": "1"}
    receipt = await master.post("/self-serve/main/build", user=USER, data=again)
    buildset = await master.data("buildsets", receipt.json["buildset_ids"][0])
    assert {one["codebase"]: one["revision"] for one in buildset["sourcestamps"]} == {
        "app": "abc123def0" * 4,
        "lib": "999999f",
    }


def got_the_same() -> Any:
    found = steps.SetProperty(
        property="got_revision", value={"app": "abc123def0" * 4, "lib": "abc123def0" * 4}
    )
    return with_factory(found)


@pytest.mark.parametrize("master", [got_the_same], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_build_that_finds_what_it_was_asked_for_is_told_of_once(master: Any) -> None:
    both = [stamp("main", None, "app"), stamp("main", "abc123def0" * 4, "lib")]
    await master.completed(await master.add_request(sourcestamps=both))
    assert len((await master.get("/self-serve/main/rev/abc123")).json) == 1
    done = (await master.get("/self-serve/main/rev/abc123/is_done?stableDelay=0")).json
    assert (done["builds"], done["failed"]) == (1, 0)


def nothing_scheduled() -> Any:
    made = config()
    names = [one.name for one in made["builders"]]
    return {**made, "schedulers": [schedulers.Triggerable(name="rest", builderNames=names)]}


@pytest.mark.parametrize("master", [nothing_scheduled], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_revision_that_no_scheduler_takes_is_not_done(master: Any) -> None:
    await master.add_change(
        author="ada", files=[], comments="", revision="facade" * 6, branch="main", repository="r"
    )
    path = f"/self-serve/main/rev/{'facade' * 6}"
    assert (await master.get(path)).json == []
    for query in ("", "?wait=1&stableDelay=0"):
        done = (await master.get(f"{path}/is_done{query}")).json
        assert (done["job_complete"], done["verdict"]) == (False, "pending")
    page = await master.get(f"{path}/is_done", json=False)
    assert (page.status, "Not built yet" in page.text) == (200, True)
    # no chart and no table of nothing
    page = await master.get(path, json=False)
    assert (page.status, "Not built yet" in page.text) == (200, True)
    assert "<h2>Timeline" not in page.text
    assert "<table" not in page.text
    # it can be built all the same
    builder = f"/self-serve/main/builders/fast/{'facade' * 6}"
    assert (await master.post(builder, user=USER)).status == 202


@pytest_twisted.ensureDeferred
async def test_a_database_in_memory_is_followed_too(tmp_path: Any, monkeypatch: Any) -> None:
    async with harness.running_master(tmp_path, monkeypatch, db_url="sqlite://") as master:
        for revision in ("aaaaaa1", "bbbbbb2"):
            build = await master.finished_build(revision=revision)
            (row,) = (await master.get(f"/self-serve/main/rev/{revision}")).json
            assert row["build_id"] == build["buildid"]
        fields = {"build_id": build["buildid"]}
        receipt = await master.post("/self-serve/main/build", user=USER, data=fields)
        assert receipt.status == 202
        (made,) = receipt.json["requests"]
        row = (await master.get(f"/self-serve/main/request/{made['request_id']}")).json
        assert row["revision"] == "bbbbbb2"


@pytest_twisted.ensureDeferred
async def test_a_revision_that_was_asked_for_counts_not_the_one_that_was_found(master: Any) -> None:
    build = await master.finished_build(revision="feedface" * 5)
    await master.master.data.updates.setBuildProperty(
        build["buildid"], "got_revision", "deadbeef" * 5, "a test"
    )
    assert (await master.get(f"/self-serve/main/rev/{'deadbeef' * 5}")).status == 404


@pytest_twisted.ensureDeferred
async def test_a_virtual_builders_build_has_its_own_builder(master: Any) -> None:
    properties = {
        "virtual_builder_name": ("virtual", "x"),
        "virtual_builder_tags": ([], "x"),
    }
    build = await master.finished_build(properties=properties)
    row = (await master.get(f"/self-serve/main/build/{build['buildid']}")).json
    assert row["buildername"] == "virtual"
    assert row["requests"][0]["buildername"] == "fast"
    # rebuilding goes to the builder that the request was for
    fields = {"build_id": build["buildid"]}
    receipt = (await master.post("/self-serve/main/build", user=USER, data=fields)).json
    assert receipt["requests"][0]["buildername"] == "fast"


@pytest_twisted.ensureDeferred
async def test_a_master_that_is_gone_keeps_its_name(master: Any) -> None:
    build = await master.finished_build()
    gone = await master.master.db.masters.findMasterId("gone:/away")
    builds = master.master.db.model.builds

    def move(connection: Any) -> None:
        with connection.begin():
            connection.execute(
                builds.update().where(builds.c.id == build["buildid"]).values(masterid=gone)
            )

    await master.master.db.pool.do(move)
    row = (await master.get(f"/self-serve/main/build/{build['buildid']}")).json
    assert row["claimed_by_name"] == "gone:/away"


BASE = "https://example.org/r/"


def linked() -> Any:
    base = BASE
    return config(
        util.SelfServe(
            branches=[
                util.SelfServeBranch("main", revlink=lambda revision: base + revision),
                util.SelfServeBranch("other", revlink="https://example.org/t/{revision}"),
            ]
        )
    )


@pytest.mark.parametrize("master", [linked], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_revision_is_linked_by_a_template_or_a_function_of_master_cfg(master: Any) -> None:
    await master.finished_build()
    await master.finished_build(branch="other")
    page = await master.get(f"/self-serve/main/rev/{REVISION}", json=False)
    assert f'href="{BASE}{REVISION}"' in page.text
    page = await master.get(f"/self-serve/other/rev/{REVISION}", json=False)
    assert f'href="https://example.org/t/{REVISION}"' in page.text


# -- builders


def by_property() -> Any:
    made = config()
    made["builders"] = [
        builder("z-main", properties={"branch": "main"}),
        builder("a-main", properties={"branch": "main"}),
        builder("other", properties={"branch": "other"}),
        builder("any"),
    ]
    made["schedulers"] = reached("z-main", "a-main", "other", "any")
    return made


@pytest.mark.parametrize("master", [by_property], indirect=True)
@pytest_twisted.ensureDeferred
async def test_builders_say_by_a_property_which_branch_is_theirs(master: Any) -> None:
    await master.finished_build("any")
    assert (await master.get("/self-serve/main/builders")).json == ["a-main", "z-main"]
    page = await master.get("/self-serve/main/builders", json=False)
    assert "a-main" in page.text


def by_scheduler() -> Any:
    made = config()
    made["builders"] = [builder("on-main"), builder("on-release"), builder("on-any"), builder("x")]
    made["schedulers"] = [
        *reached("x"),
        schedulers.SingleBranchScheduler(
            name="main", change_filter=util.ChangeFilter(branch="main"), builderNames=["on-main"]
        ),
        schedulers.SingleBranchScheduler(
            name="release",
            change_filter=util.ChangeFilter(branch_re="release-.*"),
            builderNames=["on-release"],
        ),
        schedulers.AnyBranchScheduler(name="any", builderNames=["on-any"]),
    ]
    return made


@pytest.mark.parametrize("master", [by_scheduler], indirect=True)
@pytest_twisted.ensureDeferred
async def test_else_those_count_whose_schedulers_would_react_and_those_that_built_it(
    master: Any,
) -> None:
    # a branch that nothing was built on yet, but that a change filter names
    assert (await master.get("/self-serve/main/builders")).json == ["on-any", "on-main"]
    await master.finished_build("x", branch="release-1")
    found = (await master.get("/self-serve/release-1/builders")).json
    assert found == ["on-any", "on-release", "x"]


def by_history() -> Any:
    made = config()
    made["schedulers"] = reached("fast", "slow", "opt/mac #1")
    return made


@pytest.mark.parametrize("master", [by_history], indirect=True)
@pytest_twisted.ensureDeferred
async def test_else_those_that_have_built_it_and_exist(master: Any) -> None:
    await master.finished_build("opt/mac #1")
    await master.finished_build("fast", branch="other")
    assert (await master.get("/self-serve/main/builders")).json == ["opt/mac #1"]

    def without() -> Any:
        made = by_history()
        made["builders"].pop()
        made["schedulers"] = reached("fast", "slow")
        return made

    await master.reconfig(without)
    assert (await master.get("/self-serve/main/builders")).json == []
    # its history stays
    (row,) = (await master.get("/self-serve/main")).json
    assert row["buildername"] == "opt/mac #1"


def by_configuration() -> Any:
    builders = ["slow", re.compile("^opt/"), "tag:quick", "no-such-builder"]
    made = config(util.SelfServe(branches=[util.SelfServeBranch("main", builders=builders)]))
    made["builders"][0] = builder("fast", tags=["quick"])
    return made


@pytest.mark.parametrize("master", [by_configuration], indirect=True)
@pytest_twisted.ensureDeferred
async def test_the_configuration_may_name_the_builders(master: Any) -> None:
    names = (await master.get("/self-serve/main/builders")).json
    assert names == ["fast", "opt/mac #1", "slow"]


# -- branches


@pytest.mark.parametrize("master", [by_scheduler], indirect=True)
@pytest_twisted.ensureDeferred
async def test_branches_are_those_that_were_seen_or_are_watched(master: Any) -> None:
    await master.finished_build("x", branch="seen")
    await master.finished_build("x", branch="Seen")
    await master.finished_build("x", branch=None)
    listed = (await master.get("/self-serve/branches")).json
    assert sorted(listed) == ["Seen", "main", "seen"]
    for branch in listed:
        assert (await master.get(f"/self-serve/{branch}")).status == 200
    assert (await master.get("/self-serve/SEEN")).status == 404
    assert len((await master.get("/self-serve/seen")).json) == 1


# -- users


async def change(master: Any, author: str, revision: str, branch: str = "main") -> None:
    """Record a change as a change source does; its scheduler builds it."""
    await master.add_change(
        author=author,
        files=["a"],
        comments="",
        revision=revision,
        branch=branch,
        repository="https://example.org/",
        src="git",
    )

    async def built() -> bool:
        answer = await master.get(f"/self-serve/{branch}/rev/{revision}/is_done?stableDelay=0")
        return bool(answer.status == 200 and answer.json["job_complete"])

    await master.until(built, f"the change of {author} is built")


async def builds_of(master: Any, user: str, branch: str = "main") -> list[str]:
    answer = await master.get(f"/self-serve/{branch}/user/{user}")
    assert answer.status == 200
    return [row["revision"] for row in answer.json["builds"]]


def built_at_once() -> Any:
    made = config()
    made["schedulers"][0] = schedulers.AnyBranchScheduler(
        name="any", treeStableTimer=None, builderNames=["fast"]
    )
    return made


@pytest.mark.parametrize("master", [built_at_once], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_user_is_an_author_or_the_address_of_one(master: Any) -> None:
    await change(master, "Grace Hopper <grace@example.org>", "1" * 40)
    await change(master, "grace@example.org", "2" * 40)
    await change(master, "Margaret <not-grace@example.org>", "3" * 40)
    await change(master, "Grace <grace@example.org>", "4" * 40, branch="other")
    assert await builds_of(master, "grace@example.org") == ["2" * 40, "1" * 40]
    assert await builds_of(master, "Grace Hopper <grace@example.org>") == ["1" * 40]
    assert await builds_of(master, "grace@example.org", "other") == ["4" * 40]
    for same in ("GRACE@example.org", "grace@EXAMPLE.org%20"):
        assert await builds_of(master, same) == ["2" * 40, "1" * 40]
    for nobody in ("grace@example", "%25", "%25grace%25", "Grace Hopper", "grace hopper"):
        assert await builds_of(master, nobody) == []
    (row,) = (await master.get(f"/self-serve/main/rev?revision={'2' * 6}")).json
    assert row["requests"][0]["owner"] == "grace@example.org"
    page = await master.get("/self-serve/main/user/grace@example.org", json=False)
    assert "Finished (2)" in page.text


@pytest_twisted.ensureDeferred
async def test_a_user_has_also_what_was_asked_for_here(master: Any) -> None:
    build = await master.finished_build()
    assert await builds_of(master, USER) == []
    fields = {"build_id": build["buildid"]}
    receipt = (await master.post("/self-serve/main/build", user=USER, data=fields)).json
    await master.completed(receipt["requests"][0]["request_id"])
    assert await builds_of(master, USER) == [REVISION]
    (row,) = (await master.get(f"/self-serve/main/user/{USER}")).json["builds"]
    assert row["requests"][0]["owner"] == USER
    master.pause()
    await master.post("/self-serve/main/build", user=USER, data=fields)
    mine = (await master.get(f"/self-serve/main/user/{USER}")).json
    assert (len(mine["builds"]), len(mine["running"]), len(mine["pending"])) == (1, 0, 1)


# -- long lists


@pytest_twisted.ensureDeferred
async def test_a_long_list_is_had_in_parts(master: Any) -> None:
    master.pause()
    ids = [await master.add_request(revision=f"{number:040}") for number in range(5)]
    ids.reverse()
    everything = await master.get("/self-serve/main")
    assert [row["request_id"] for row in everything.json] == ids
    assert everything.header("link") is None
    seen, path = [], "/self-serve/main?limit=2"
    while path:
        part = await master.get(path)
        seen += [row["request_id"] for row in part.json]
        links = part.headers.getRawHeaders("link", [])
        following = [link for link in links if 'rel="next"' in link]
        path = following[0].partition(">")[0].lstrip("<") if following else ""
    assert seen == ids
    page = await master.get("/self-serve/main?limit=2&offset=2", json=False)
    assert "Rows 3 to 4 of 5" in page.text
    for query in ("limit=0", "limit=50001", "limit=x", "offset=-1"):
        assert (await master.get(f"/self-serve/main?{query}")).status == 400


@pytest_twisted.ensureDeferred
async def test_the_owner_is_the_author_of_the_newest_change_in_any_codebase(master: Any) -> None:
    master.pause()
    stamps = [stamp("main", "1" * 40, "a"), stamp("main", "2" * 40, "b")]
    request_id = await master.add_request(sourcestamps=stamps)
    for author, changed in (("ada", 1), ("bob", 0), ("cay", 1)):
        await master.add_change(author=author, files=[], comments="", **stamps[changed])
        for path in (f"/main/request/{request_id}", "/main/rev/1111111", "/main/rev/2222222"):
            answer = (await master.get(f"/self-serve{path}")).json
            row = answer[0] if isinstance(answer, list) else answer
            assert (row["request_id"], row["owner"]) == (request_id, author)
        told = (await master.get("/self-serve/main/pending")).json
        assert told["builders"][0]["owners"] == {author: 1}


@pytest_twisted.ensureDeferred
async def test_an_answer_is_packed_for_who_can_unpack_it(master: Any) -> None:
    await master.finished_build()
    packed = await master.raw("/self-serve?format=json", {"Accept-Encoding": "gzip, br"})
    plain = await master.raw("/self-serve?format=json", {})
    assert gzip.decompress(packed.body) == plain.body
    assert packed.header("content-encoding") == "gzip"
    assert plain.header("content-encoding") is None
    assert packed.header("etag") != plain.header("etag")
    again = {"Accept-Encoding": "gzip", "If-None-Match": str(packed.header("etag"))}
    assert (await master.raw("/self-serve?format=json", again)).status == 304
    refused = await master.raw("/self-serve?format=json", {"Accept-Encoding": "gzip;q=0"})
    assert refused.body == plain.body
