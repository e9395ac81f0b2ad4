"""Patterns among the configured branches: what they say holds for each branch that fits."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted
from buildbot.plugins import schedulers
from buildbot.plugins import util

from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import config

ONE, TWO = "https://example.org/one", "https://example.org/two"
MARK = "https://x/{revision}"


def branch(name: str, builder: str = "", **more: Any) -> Any:
    sets = {"nightly": [builder]} if builder else None
    return util.SelfServeBranch(name, repo=name, sets=sets, **more)


def with_branches(*branches: Any, watched: Any = None) -> Any:
    def make() -> Config:
        made = config(util.SelfServe(branches=list(branches)))
        if watched is not None:
            made["schedulers"].append(
                schedulers.SingleBranchScheduler(name="one", branch=watched, builderNames=["slow"])
            )
        return made

    return make


async def request_on(master: Any, name: str | None, repository: str = ONE, **more: Any) -> None:
    stamp = {"branch": name, "revision": REVISION, "repository": repository, "codebase": ""}
    await master.add_request("slow", sourcestamps=[{"project": "", **stamp, **more}])


async def listed(master: Any) -> dict[str, str]:
    """Return what is configured for each branch: by which entry, as its ``repo`` tells."""
    found = (await master.get("/self-serve/branches")).json
    return {name: one["repo"] for name, one in found.items()}


async def nightly(master: Any, name: str) -> list[str]:
    path = f"/self-serve/{quote(name, safe='')}/new?revision={REVISION}"
    found: list[str] = (await master.get(path)).json["sets"]["nightly"]
    return found


async def status(master: Any, name: str) -> int:
    found: int = (await master.get(f"/self-serve/{quote(name, safe='')}")).status
    return found


NAMED = with_branches(
    branch("main", "fast"),
    branch("trunk", branch=["master", None]),
    branch("release/*", "slow"),
    branch("pull/[0-9]*"),
    branch("b[1]"),  # which is b1, or itself
    branch("release/1.?", "fast"),  # the first one counts
    branch("*", "opt/mac #1"),
    branch("release/9", "fast"),  # its name counts before all patterns
    watched="watched",
)


@pytest.mark.parametrize("master", [NAMED], indirect=True)
@pytest_twisted.ensureDeferred
async def test_the_first_entry_that_fits_says_how_a_branch_is(master: Any) -> None:
    master.pause()
    others = (
        "release/1.0",
        "Release/1.0",
        "pull/7",
        "pull/x",
        "master",
        "release/9",
        "*",
        "a[1]",
        "b1",
        "b[1]",
    )
    for name in ("main", *others):
        await request_on(master, name)
    await request_on(master, None)
    assert await listed(master) == {
        "main": "main",
        "trunk": "trunk",  # "master" has its name in URLs from it
        "release/1.0": "release/*",
        "Release/1.0": "*",
        "pull/7": "pull/[0-9]*",
        "pull/x": "*",
        "release/9": "release/9",
        "*": "*",
        "a[1]": "*",
        "b1": "b[1]",
        "b[1]": "b[1]",
        "watched": "*",
    }
    assert await nightly(master, "main") == ["fast"]
    assert await nightly(master, "release/1.0") == ["slow"]
    assert await nightly(master, "release/9") == ["fast"]
    assert await nightly(master, "watched") == ["opt/mac #1"]
    for name in ("master", "release/2", "nowhere", "release/*"):
        assert await status(master, name) == 404, name
    page = (await master.get("/self-serve/branches?search=RELEASE", json=False)).text
    assert "release/1.0" in page
    assert "pull/7" not in page
    # a 404 names what is near, and only that
    near = (await master.get("/self-serve/releas%2F1.0")).json
    assert "release/1.0" in near["detail"]
    missing = (await master.get("/self-serve/mastr")).json
    assert "master" not in missing.get("detail", "")
    elsewhere = await master.get(f"/self-serve/watched/rev/{REVISION}")
    assert "release/1.0" in elsewhere.json["detail"]
    assert "master" not in elsewhere.json["detail"]
    decisions = (await master.get("/self-serve/main/permissions", user=USER)).json
    assert "new_nightly_at_revision" in str(decisions)


ONLY_NAMED = with_branches(branch("main"), watched="watched")
NARROWED = with_branches(
    branch("main", repository=ONE),
    branch("*", repository=[TWO, "https://example.org/three"], project=["p", ""]),
    watched="watched",
)


@pytest.mark.parametrize("master", [ONLY_NAMED], indirect=True)
@pytest_twisted.ensureDeferred
async def test_without_a_pattern_only_what_is_named_is_there(master: Any) -> None:
    await request_on(master, "dev")
    assert await listed(master) == {"main": "main"}
    assert await status(master, "dev") == 404


@pytest.mark.parametrize("master", [NARROWED], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_pattern_stands_for_branches_of_its_repositories_only(master: Any) -> None:
    master.pause()
    await request_on(master, "main", TWO)
    await request_on(master, "in-one", ONE)
    await request_on(master, "in-two", TWO)
    await request_on(master, "in-three", "https://example.org/three", project="p")
    await request_on(master, "of-another", TWO, project="q")
    assert sorted(await listed(master)) == ["in-three", "in-two", "main", "watched"]
    assert await status(master, "in-two") == 200
    for name in ("in-one", "of-another"):
        assert await status(master, name) == 404
    assert (await master.get("/self-serve/main")).json == []
    assert len((await master.get("/self-serve/in-three")).json) == 1
    # where one branch is in two of them, both count
    await request_on(master, "both", TWO)
    await request_on(master, "both", "https://example.org/three")
    await request_on(master, "both", ONE)
    assert len((await master.get("/self-serve/both")).json) == 2


MANY = with_branches(branch("main"), branch("*"))


@pytest.mark.parametrize("master", [MANY], indirect=True)
@pytest_twisted.ensureDeferred
async def test_pages_of_many_branches_are_cut(master: Any) -> None:
    master.pause()
    for number in range(12):
        await request_on(master, f"b{number:02}")
    found = (await master.get("/self-serve/branches?limit=5&offset=10")).json
    assert len(found) == 3
    root = (await master.get("/self-serve", json=False)).text
    assert "b11" in root
    builders = (await master.get("/self-serve/b03/builders")).json
    assert builders == ["fast", "slow"]
