"""Pushes, health and the last green revision over HTTP, of builds that a real master has run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import schedulers
from buildbot.plugins import util

from tests.harness import USER
from tests.harness import Config
from tests.harness import Master
from tests.harness import builder
from tests.harness import config
from tests.push_history import sha

EVERY_DATABASE = "heavy"
MAIN = "/self-serve/main"
#: While this file is there, builds of "linux" fail.
BROKEN = "broken-linux"


def with_pushes() -> Config:
    """Return the configuration of a master that builds two builders at each push to main."""
    made = config(util.SelfServe())
    broken = f"! test -e ${{PWD%/workers/*}}/{BROKEN}"
    made["builders"] = [builder("linux", broken), builder("mac", tags=["slow"]), builder("win")]
    made["schedulers"] = [
        schedulers.SingleBranchScheduler(
            name="push",
            change_filter=util.ChangeFilter(branch="main"),
            builderNames=["linux", "mac"],
        ),
        schedulers.Triggerable(name="rest", builderNames=["win"]),
    ]
    return made


with_master = pytest.mark.parametrize("master", [with_pushes], indirect=True)


class Told:
    """A master, what is pushed to it, and what it says of that."""

    def __init__(self, master: Master, folder: Path) -> None:
        self.master = master
        self.broken = folder / BROKEN

    async def push(self, name: str, author: str = "Ada <ada@example.org>", **more: Any) -> None:
        """Push, and wait until all is built."""
        await self.master.add_change(
            author=author,
            revision=sha(name),
            branch=more.pop("branch", "main"),
            comments=f"Change {name}\n\nMore.",
            files=["a.c", "b.c"],
            repository="https://example.org/repo",
            **more,
        )
        await self.ended()

    async def ended(self) -> None:
        """Wait until nothing waits or runs, and something has been built."""

        async def check() -> bool:
            requests = await self.master.data("buildrequests")
            changes = await self.master.data("changes")
            asked = {one["buildsetid"] for one in requests}
            return len(asked) >= len(changes) and all(one["complete"] for one in requests)

        await self.master.until(check, "all is built")

    async def json(self, path: str, status: int = 200) -> Any:
        answer = await self.master.get(path)
        assert answer.status == status, answer.text
        return answer.json

    async def health(self, name: str, query: str = "") -> Any:
        return await self.json(f"{MAIN}/rev/{sha(name)}/health{query}")

    async def changes(self, name: str) -> dict[str, tuple[str, str, int]]:
        found = await self.health(name)
        return {
            one["buildername"]: (one["state"], one["change"], one["attempts"])
            for one in found["builders"]
        }

    async def compared(self, build_id: int) -> str | None:
        """Return how the page of a build compares its failure, if it does."""
        answer = await self.master.get(f"{MAIN}/build/{build_id}?format=html")
        found = re.search(r'id="compared">(.*?)</p>', answer.text, re.DOTALL)
        return " ".join(re.sub("<[^>]*>", "", found.group(1)).split()) if found else None


def next_of(answer: Any) -> str | None:
    """Return the path that the Link header leads to."""
    found = re.search(r'<([^>]*)>; rel="next"', answer.header("link") or "")
    return found.group(1) if found else None


@with_master
@pytest_twisted.ensureDeferred
async def test_from_a_push_to_its_repair(master: Master, tmp_path: Path) -> None:
    told = Told(master, tmp_path)
    await told.push("a")
    told.broken.touch()
    await told.push("b", "Bob <bob@example.org>")
    assert await told.changes("b") == {
        "linux": ("failed", "regressed", 1),
        "mac": ("passed", "passing", 1),
    }
    found = await told.health("b")
    assert (found["revision"], found["base"]) == (sha("b"), sha("a"))
    assert (found["verdict"], found["counts"]) == ("failed", {"failed": 1, "passed": 1})
    linux = found["builders"][0]
    assert (linux["base_state"], linux["base_revision"], linux["distance"]) == (
        "passed",
        sha("a"),
        1,
    )
    assert linux["failed_step"] == "shell"
    build = await master.data("builds", linux["build_id"])
    assert linux["url"] == f"{master.url}/#/builders/{build['builderid']}/builds/{build['number']}"
    green = await told.json(f"{MAIN}/last_green")
    assert (green["revision"], green["distance"]) == (sha("a"), 1)
    green = await told.json(f"{MAIN}/last_green?builders=m*")
    assert (green["revision"], green["distance"]) == (sha("b"), 0)
    green = await told.json(f"{MAIN}/last_green?tags=slow")
    assert green["distance"] == 0
    short = {name: sha(name)[:12] for name in "abc"}
    regression = f"Regression: passed at {short['a']}, push {short['b']} may have broken it"
    assert await told.compared(linux["build_id"]) == regression
    assert await told.compared(found["builders"][1]["build_id"]) is None
    await told.push("c")
    assert (await told.changes("c"))["linux"] == ("failed", "still_failing", 1)
    failed_at_c = (await told.health("c"))["builders"][0]["build_id"]
    assert await told.compared(failed_at_c) == f"Failed before, too, last at {short['b']}"
    # rerun when it is repaired
    told.broken.unlink()
    path = f"{MAIN}/rev/{sha('c')}/failed"
    receipt = await master.post(path, user=USER)
    assert [one["buildername"] for one in receipt.json["requests"]] == ["linux"]
    await told.ended()
    assert await told.changes("c") == {
        "linux": ("passed", "flaky", 2),
        "mac": ("passed", "passing", 1),
    }
    flaky = f"Flaky here: passed and failed at {short['c']}"
    assert await told.compared(failed_at_c) == flaky
    done = await told.json(f"{MAIN}/rev/{sha('c')}/is_done?stableDelay=0")
    assert (done["verdict"], done["flaky"]) == ("passed", ["linux"])
    # with a base of one's own
    compared = await told.health("b", f"?base={sha('c')[:8]}")
    assert compared["base"] == sha("c")
    assert [(one["change"], one["distance"]) for one in compared["builders"]] == [
        ("regressed", None),
        ("passing", None),
    ]
    await _the_list_of_pushes(told)
    await _what_was_not_asked_for(told)


@with_master
@pytest_twisted.ensureDeferred
async def test_the_page_says_how_many_pushes_may_have_broken_it(
    master: Master, tmp_path: Path
) -> None:
    told = Told(master, tmp_path)
    for name in "abcd":
        await master.add_change(author="ada", revision=sha(name), branch="side")
    for name in "acd":
        if name == "c":
            told.broken.touch()
        path = f"/self-serve/side/builders/linux/{sha(name)}"
        (made,) = (await master.post(path, user=USER)).json["requests"]
        await master.completed(made["request_id"])
    pages = {}
    for name in "cd":
        answer = await master.get(f"/self-serve/side/rev/{sha(name)}?format=html")
        pages[name] = " ".join(re.sub(r"<[^>]*>", "", answer.text).split())
    since = f"regression: passed at {sha('a')[:12]}, any of 2 pushes since then may have broken it"
    assert since in pages["c"]
    # nothing is compared with what was not built
    assert "compared with" not in pages["c"]
    assert f"compared with {sha('c')[:12]}, the push before it" in pages["d"]
    assert "may have broken it" not in pages["d"]


async def _the_list_of_pushes(told: Told) -> None:
    pushes = await told.json(f"{MAIN}/pushes")
    assert [one["revision"] for one in pushes] == [sha("c"), sha("b"), sha("a")]
    assert [one["verdict"] for one in pushes] == ["passed", "failed", "passed"]
    newest = pushes[0]
    assert (newest["author"], newest["subject"]) == ("Ada <ada@example.org>", "Change c")
    assert (newest["files"], newest["change_ids"]) == (2, [3])
    assert newest["url"] == f"{told.master.url}{MAIN}/rev/{sha('c')}"
    assert "branch" not in newest
    assert pushes[1]["counts"] == {"failed": 1, "passed": 1}
    for push in pushes:
        health = await told.json(f"{MAIN}/rev/{push['revision']}/health")
        same = ("buildername", "state", "change", "build_id", "request_id", "attempts")
        assert push["builders"] == [{one: its[one] for one in same} for its in health["builders"]]
        assert (push["verdict"], push["counts"]) == (health["verdict"], health["counts"])
    # page by page
    for path in (f"{MAIN}/pushes?limit=1", "/self-serve/user/ada@example.org/pushes?limit=1"):
        found: list[str] = []
        link: str | None = path
        while link is not None:
            answer = await told.master.get(link)
            found += [one["revision"] for one in answer.json]
            link = next_of(answer)
        expected = [one["revision"] for one in pushes]
        assert found == (expected if path.startswith(MAIN) else [sha("c"), sha("a")])
    of_bob = await told.json(f"{MAIN}/pushes?author=BOB@example.org")
    assert [one["revision"] for one in of_bob] == [sha("b")]
    assert of_bob[0]["builders"][0]["change"] == "regressed"
    own = await told.json("/self-serve/user/bob@example.org/pushes")
    assert own == [{**of_bob[0], "branch": "main"}]
    assert await told.json("/self-serve/user/nobody/pushes") == []


async def _what_was_not_asked_for(told: Told) -> None:
    """A revision of which only one builder was asked for: the other is missing."""
    body = json.dumps({}).encode()
    path = f"{MAIN}/builders/linux/{sha('d')}"
    answer = await told.master.post(
        path, user=USER, data=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status == 202, answer.text
    await told.ended()
    found = await told.health("d")
    states = {one["buildername"]: (one["state"], one["change"]) for one in found["builders"]}
    assert states == {"linux": ("passed", "passing"), "mac": ("missing", "unknown")}
    assert found["verdict"] == "passed"
    pushes = await told.json(f"{MAIN}/pushes?limit=1")
    assert [one["revision"] for one in pushes] == [sha("d")]


@with_master
@pytest_twisted.ensureDeferred
async def test_what_is_asked_wrongly(master: Master, tmp_path: Path) -> None:
    told = Told(master, tmp_path)
    told.broken.touch()
    await told.push("a")
    health = f"{MAIN}/rev/{sha('a')}/health"
    user = "/self-serve/user/ada@example.org/pushes"
    for path, msg, names in (
        (f"{health}?base=nothing", "Bad base", "branch main"),
        (f"{health}?base=", "Bad base", "base"),
        (f"{MAIN}/pushes?before={sha('b')}", "Bad before", "branch main"),
        (f"{MAIN}/pushes?limit=0", "Bad limit", "limit"),
        (f"{MAIN}/pushes?limit=101", "Bad limit", "limit"),
        (f"{MAIN}/pushes?limit=x", "Bad limit", "limit"),
        (f"{user}?before={sha('b')}", "Bad before", "before"),
        (f"{user}?before={sha('a')}&before_branch=side", "Bad before", "before"),
        (f"{MAIN}/last_green?max=0", "Bad max", "max"),
        (f"{MAIN}/last_green?builders=linx", "Bad builders", "linux"),
        (f"{MAIN}/last_green?tags=nothing", "Bad tags", "nothing"),
    ):
        answer = await told.json(path, 400)
        assert answer["status"] == "FAILED"
        assert answer["msg"] == msg, path
        assert names in json.dumps(answer), path
    for path, msg in (
        (f"{MAIN}/rev/{sha('b')}/health", f"Revision {sha('b')} not found on branch main"),
        ("/self-serve/other/pushes", "Branch other not found"),
        ("/self-serve/other/last_green", "Branch other not found"),
        (f"{MAIN}/last_green?builders=linux", "No green revision on branch main"),
    ):
        assert (await told.json(path, 404))["msg"] == msg
    # how far it looked
    answer = await told.json(f"{MAIN}/last_green?builders=linux&max=7", 404)
    assert "1 revision" in json.dumps(answer)
    # blanks around what somebody pastes
    for query in (f"before=%20{sha('a')}%20", f"before={sha('a')[:8].upper()}"):
        assert await told.json(f"{MAIN}/pushes?{query}") == []
        assert await told.json(f"{user}?{query}") == []
    assert len(await told.json(f"{MAIN}/pushes?author=%20ada@example.org%20")) == 1


@with_master
@pytest_twisted.ensureDeferred
async def test_what_waits_and_runs(master: Master, tmp_path: Path) -> None:
    told = Told(master, tmp_path)
    await told.push("a")
    master.pause()
    data = master.master.data.updates
    await data.addChange(author="ada", revision=sha("b"), branch="main", files=[], comments="")

    async def verdict() -> Any:
        return (await told.json(f"{MAIN}/pushes"))[0]

    async def requested() -> bool:
        return len((await verdict())["builders"]) == 2

    await master.until(requested, "the scheduler has asked for builds")
    waiting = await verdict()
    assert (waiting["verdict"], waiting["counts"]) == ("pending", {"pending": 2})
    assert [one["build_id"] for one in waiting["builders"]] == [None, None]
    found = await told.health("b")
    assert {one["change"] for one in found["builders"]} == {"unknown"}
    assert {one["base_revision"] for one in found["builders"]} == {None}
    assert "/#/buildrequests/" in found["builders"][0]["url"]
    master.resume()
    await told.ended()
    assert (await verdict())["verdict"] == "passed"
