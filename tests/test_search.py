"""The search over everything, and what leads from Buildbot's pages to ours."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_twisted
from buildbot.plugins import schedulers
from buildbot.plugins import util

from tests.harness import REVISION
from tests.harness import Config
from tests.harness import builder
from tests.harness import config

EVERY_DATABASE = "heavy"

OTHER = "abcdef" + "0" * 34
ADA, GRACE = "Ada Lovelace <ada@example.org>", "Grace Hopper <grace@example.org>"
VIRTUAL = {"virtual_builder_name": ("virtual/one", "test")}


def several() -> Config:
    made = config()
    names = ["Linux-32", "linux-64", "3", "idle"]
    made["builders"] += map(builder, names)
    made["schedulers"].append(schedulers.Triggerable(name="more", builderNames=names))
    return made


def narrowed() -> Config:
    """Return a configuration in which what is in another repository is on no branch."""
    here = util.SelfServeBranch("main", repository="https://example.org/repo")
    nothing = util.SelfServeBranch("trunk", branch=None)
    return config(util.SelfServe(branches=[here, nothing]))


async def add_change(master: Any, revision: str | None, author: str, branch: str = "main") -> int:
    """Record a change where ``add_request`` asks for builds; return its id."""
    change_id: int = await master.master.data.updates.addChange(
        files=["a.c"],
        comments="Say it",
        author=author,
        revision=revision,
        branch=branch,
        repository="https://example.org/repo",
        codebase="",
        project="",
    )
    return change_id


async def found(master: Any, path: str, **query: Any) -> Any:
    """Return what JSON and a browser are told: the JSON, the status, and where it leads."""
    url = f"/self-serve{path}?{urlencode(query)}"
    told = await master.get(url)
    page = await master.get(url, json=False)
    assert (told.status, page.status) in ((200, 200), (200, 302), (400, 400), (404, 404))
    return told.json, page.status, page.header("location")


async def leads_to(master: Any, **query: Any) -> str:
    """Return where ``/goto`` leads."""
    told, status, location = await found(master, "/goto", **query)
    assert status == 302, told
    assert told == {"url": location}
    there = str(location).partition("#")[0]
    assert (await master.get(there)).status == 200, there
    return str(location).removeprefix("/self-serve")


@pytest.mark.parametrize("master", [several], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_buildbot_shows_leads_to_our_pages(master: Any) -> None:
    build = await master.finished_build("linux-64", branch="feature/x")
    number, build_id = build["number"], build["buildid"]
    builder_id, request_id = build["builderid"], build["buildrequestid"]
    here = "/feature%2Fx"
    assert await leads_to(master, build=build_id) == f"{here}/build/{build_id}"
    assert await leads_to(master, request=request_id) == f"{here}/request/{request_id}"
    for one in (builder_id, "linux-64"):
        assert await leads_to(master, builder=one, number=number) == f"{here}/build/{build_id}"
        assert await leads_to(master, builder=one) == f"{here}/builders#builder-{builder_id}"
    # a builder leads to the branch where it was last requested
    master.pause()
    await master.add_request("linux-64", branch="newer")
    assert await leads_to(master, builder="linux-64") == f"/newer/builders#builder-{builder_id}"
    # a number is an id before it is a name
    three = (await master.data("builders", "3"))["builderid"]
    await master.add_request("3", branch="three")
    if three != 3:
        assert "builder-3" in await leads_to(master, builder=builder_id if builder_id == 3 else 3)
    await master.add_request("fast", properties={**VIRTUAL, "branch": ("virtual", "Change")})
    master.resume()
    change_id = await add_change(master, OTHER.upper(), ADA, "feature/x")
    assert await leads_to(master, change=change_id) == f"{here}/rev/{OTHER}"
    without = await add_change(master, None, ADA, "feature/x")
    assert await leads_to(master, change=without) == here


@pytest_twisted.ensureDeferred
async def test_the_builds_of_a_virtual_builder_lead_to_where_they_were_requested(
    master: Any,
) -> None:
    build = await master.finished_build(branch="virtual", properties=VIRTUAL)
    name = (await master.data("builders", build["builderid"]))["name"]
    assert name == "virtual/one"
    of_build = f"/virtual/build/{build['buildid']}"
    assert await leads_to(master, builder=name, number=build["number"]) == of_build
    there = await leads_to(master, builder=name)
    assert there == f"/virtual/builders#builder-{build['builderid']}"


@pytest.mark.parametrize("master", [several], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_does_not_exist_leads_nowhere_and_says_so(master: Any) -> None:
    await master.finished_build()
    for query, msg in (
        ({"build": 4711}, "Build 4711 not found"),
        ({"build": 2**31 - 1}, f"Build {2**31 - 1} not found"),
        ({"request": 4711}, "Request 4711 not found"),
        ({"change": 4711}, "Change 4711 not found"),
        ({"builder": "nobody's"}, "Builder nobody's not found"),
        ({"builder": "4711"}, "Builder 4711 not found"),
        ({"builder": "9" * 40}, f"Builder {'9' * 40} not found"),
        ({"builder": "idle"}, "Builder idle not found"),
        ({"builder": "FAST"}, "Builder FAST not found"),
        ({"builder": "fast", "number": 4711}, "Build 4711 of builder fast not found"),
        ({"builder": "idle", "number": 1}, "Build 1 of builder idle not found"),
    ):
        told, status, _ = await found(master, "/goto", **query)
        assert (status, told["msg"]) == (404, msg)
        assert told["detail"]
    for query, msg in (
        ({}, "Bad build"),
        ({"build": ""}, "Bad build"),
        ({"build": 1, "request": 1}, "Bad request"),
        ({"change": 1, "builder": "fast"}, "Bad builder"),
        ({"build": 0}, "Bad build"),
        ({"build": "1x"}, "Bad build"),
        ({"build": 1, "number": 1}, "Bad number"),
        ({"number": 1}, "Bad build"),
        ({"builder": "fast", "number": "one"}, "Bad number"),
    ):
        told, status, _ = await found(master, "/goto", **query)
        assert (status, told["msg"]) == (400, msg), query
        assert told["detail"]


@pytest.mark.parametrize("master", [narrowed], indirect=True)
@pytest_twisted.ensureDeferred
async def test_only_branches_that_are_configured_are_led_to(master: Any) -> None:
    ours = await master.finished_build()
    stamp = {"branch": "main", "revision": OTHER, "codebase": "", "project": "", "repository": "x"}
    elsewhere = await master.finished_build(sourcestamps=[stamp])
    trunk = await master.finished_build(branch=None)
    other = await master.finished_build(branch="other")
    assert await leads_to(master, build=ours["buildid"]) == f"/main/build/{ours['buildid']}"
    assert await leads_to(master, build=trunk["buildid"]) == f"/trunk/build/{trunk['buildid']}"
    for build in (elsewhere, other):
        _, status, _ = await found(master, "/goto", build=build["buildid"])
        assert status == 404
    # of the requests of its builder, the newest that is on one of them
    assert (await leads_to(master, builder="fast")).startswith("/trunk/builders#")


@pytest.mark.parametrize("master", [several], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_search_finds_revisions_builders_authors_and_branches(master: Any) -> None:
    master.pause()
    await add_change(master, REVISION, ADA)
    await add_change(master, OTHER, GRACE)
    await master.until(lambda: _has_requests(master, 2), "the scheduler has fired")
    await master.add_request(branch="linux/next")
    there = f"/self-serve/main/rev/{OTHER}"
    # what is found once is opened
    for query, location in (
        ({"q": " abcdef "}, there),
        ({"q": "ABCDEF00"}, there),
        ({"q": OTHER, "branch": "main"}, there),
        ({"q": "grace"}, "/self-serve/user/Grace%20Hopper%20%3Cgrace%40example.org%3E/pushes"),
        ({"q": "linux/n"}, "/self-serve/linux%2Fnext/pushes"),
        # it is on two branches, of which one is asked for
        ({"q": REVISION, "branch": "linux/next"}, f"/self-serve/linux%2Fnext/rev/{REVISION}"),
        # on another one than is asked for
        ({"q": OTHER, "branch": "linux/next"}, there),
    ):
        assert (await found(master, "/search", **query))[1:] == (302, location)
    told, status, _ = await found(master, "/search", q="LINUX")
    assert status == 200
    assert [one["buildername"] for one in told["builders"]] == ["Linux-32", "linux-64"]
    assert [one["branch"] for one in told["branches"]] == ["linux/next"]
    assert (told["revisions"], told["authors"]) == ([], [])
    told, _, _ = await found(master, "/search", q="example.org")
    assert [one["author"] for one in told["authors"]] == [ADA, GRACE]
    told, status, _ = await found(master, "/search", q=REVISION[:7])
    assert status == 200
    assert {one["branch"] for one in told["revisions"]} == {"main", "linux/next"}
    told, status, _ = await found(master, "/search", q="nowhere at all")
    assert (status, [*told.values()]) == (200, [[]] * 8)
    assert (await found(master, "/search", q=" "))[0]["msg"] == "Bad q"
    told, status, _ = await found(master, "/search", q="x", branch="no/where")
    assert (status, told["msg"]) == (404, "Branch no/where not found")


@pytest_twisted.ensureDeferred
async def test_a_build_or_request_is_found_by_its_id(master: Any) -> None:
    await master.finished_build()
    build = await master.finished_build()
    build_id, request_id = build["buildid"], build["buildrequestid"]
    # the two ids are the same here; whatever they are, each kind is found by its own
    of_build = f"/self-serve/main/build/{build_id}"
    of_request = f"/self-serve/main/request/{request_id}"
    for text in (f"build {build_id}", f"Build #{build_id}", f" build{build_id} "):
        assert (await found(master, "/search", q=text))[1:] == (302, of_build)
    assert (await found(master, "/search", q=f"request {request_id}"))[1:] == (302, of_request)
    told, status, _ = await found(master, "/search", q=str(build_id))
    row = {"buildername": "fast", "branch": "main"}
    assert (status, build_id) == (200, request_id)
    assert told["builds"] == [{"build_id": build_id, **row, "url": of_build}]
    assert told["requests"] == [{"request_id": request_id, **row, "url": of_request}]
    for text in ("build 4711", "build 0", "4711", "9" * 40, "builds 1", "build 1 x"):
        told, _, _ = await found(master, "/search", q=text)
        assert (told["builds"], told["requests"]) == ([], [])


@pytest_twisted.ensureDeferred
async def test_a_recent_push_is_found_by_its_subject(master: Any) -> None:
    await add_change(master, OTHER, ADA)
    await add_change(master, OTHER, GRACE)
    there = f"/self-serve/main/rev/{OTHER}"
    assert (await found(master, "/search", q="SAY it"))[1:] == (302, there)
    told, _, _ = await found(master, "/search", q="say")
    push = {"branch": "main", "revision": OTHER, "subject": "Say it", "url": there}
    assert told["pushes"] == [push]
    # a name is not taken for what mentions it
    await master.add_request(branch="say")
    assert (await found(master, "/search", q="say"))[1:] == (302, "/self-serve/say/pushes")


def crowded() -> Config:
    made = config()
    names = [f"crowd-{number:02}" for number in range(25)]
    made["builders"] += map(builder, names)
    made["schedulers"].append(schedulers.Triggerable(name="more", builderNames=names))
    return made


@pytest.mark.parametrize("master", [crowded], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_search_says_that_there_is_more_and_shows_it(master: Any) -> None:
    told, _, _ = await found(master, "/search", q="crowd")
    assert (len(told["builders"]), told["more"]) == (20, ["builders"])
    page = await master.get("/self-serve/search?q=crowd", json=False)
    assert "There are more builders than these 20." in page.text
    assert 'href="/self-serve/search?q=crowd&amp;limit=200"' in page.text
    told, _, _ = await found(master, "/search", q="crowd", limit=200)
    assert (len(told["builders"]), told["more"]) == (25, [])
    page = await master.get("/self-serve/search?q=crowd&limit=200", json=False)
    assert ("crowd-24" in page.text, 'id="more"' in page.text) == (True, False)
    assert (await found(master, "/search", q="crowd", limit=0))[0]["msg"] == "Bad limit"


async def _has_requests(master: Any, count: int) -> bool:
    return len(await master.data("buildrequests")) >= count
