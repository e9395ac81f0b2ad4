"""What the operator's guide says of builds that look back: reporters, cancelling, collapsing."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import reporters
from buildbot.plugins import schedulers
from buildbot.plugins import util
from buildbot.reporters.base import ReporterBase

from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import FAILURE
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import SUCCESS
from tests import documented
from tests.harness import PASSWORD
from tests.harness import USER
from tests.harness import Config
from tests.harness import Master
from tests.harness import builder
from tests.harness import config
from tests.plans import add_change
from tests.plans import ended
from tests.push_history import sha


def recipes() -> dict[str, Any]:
    """Return what the lines define that the guide leads to."""
    names: dict[str, Any] = {"c": {}}
    exec((documented.DOCS / "recipes" / "backfills.cfg").read_text("utf-8"), names)
    assert len(names["c"]["services"]) == 2
    return names


RECIPES = recipes()


class Collects(ReporterBase):
    """A reporter that keeps the revisions that it is to tell of."""

    def __init__(self, name: str, generators: list[Any]) -> None:
        super().__init__(generators=generators)
        self.name = name
        self.told: list[str] = []

    def sendMessage(self, reports: list[dict[str, Any]]) -> None:
        for report in reports:
            (build,) = report["builds"]
            self.told.append(build["properties"]["revision"][0])


def farm(collapse: Any = None, canceller: Any = None) -> Any:
    """Return what makes a master whose builder fails at some revisions."""

    def make() -> Config:
        made = config(
            util.SelfServe(branches=[util.SelfServeBranch("main")]),
            auth=util.UserPasswordAuth({USER: PASSWORD}),
        )
        made["builders"] = [builder("tests", util.Interpolate("exit %(prop:fails:-0)s"))]
        made["schedulers"] = [
            schedulers.SingleBranchScheduler(
                name="push",
                change_filter=util.ChangeFilter(
                    branch="main", filter_fn=lambda change: "docs" not in change.files
                ),
                builderNames=["tests"],
            )
        ]
        if collapse is not None:
            made["collapseRequests"] = collapse
        generators = {
            "stock": reporters.BuildStatusGenerator(mode="change"),
            "recipe": RECIPES["PushesOnly"](mode="change"),
        }
        made["services"] = [Collects(name, [one]) for name, one in generators.items()]
        if canceller is not None:
            filters = [(["tests"], util.SourceStampFilter(branch_eq=["main"]))]
            made["services"].append(canceller("canceller", filters))
        return made

    return make


async def push(master: Master, name: str) -> None:
    """Push a revision, of which schedulers hear."""
    before = len(await master.data("buildrequests"))
    await master.add_change(
        author="Ada <ada@example.org>",
        revision=sha(name),
        branch="main",
        comments=f"Change {name}",
        repository="https://example.org/repo",
        files=["a.c"],
    )

    async def asked() -> bool:
        return len(await master.data("buildrequests")) > before

    await master.until(asked, "it is to be built")


async def backfill(master: Master, **data: Any) -> list[int]:
    answer = await master.post(
        "/self-serve/main/backfill", user=USER, data={"builder_name": "tests", **data}
    )
    assert answer.status == 202, answer.text
    return [one["request_id"] for one in answer.json["requests"] if one["outcome"] == "created"]


async def results(master: Master, request_id: int) -> int | None:
    request = await master.data("buildrequests", request_id)
    found: int | None = request["results"] if request["complete"] else None
    return found


async def built(master: Master, name: str, fails: bool) -> None:
    properties = {"branch": ("main", "x"), "fails": (int(fails), "x")}
    await master.finished_build("tests", revision=sha(name), properties=properties)


@pytest.mark.parametrize("master", [farm()], indirect=True)
@pytest_twisted.ensureDeferred
async def test_reporters_leave_out_what_looks_back(master: Master) -> None:
    for name in "abcd":
        await add_change(master, sha(name))
    await built(master, "a", fails=False)
    await built(master, "d", fails=True)
    ids = await backfill(master, order="oldest")
    for request_id in ids:
        await master.completed(request_id)
    # builds of b and c have passed, as the one of a did; those who wait for d know that it fails
    await add_change(master, sha("e"))
    await built(master, "e", fails=True)
    await add_change(master, sha("f"))
    await built(master, "f", fails=False)
    stock, recipe = (
        master.master.service_manager.namedServices[name] for name in ("stock", "recipe")
    )
    # the number before that of e is one of an older revision
    await master.until(lambda: len(stock.told) == 4, "all is told of")
    await master.until(lambda: len(recipe.told) == 2, "all is told of")
    assert stock.told == [sha("d"), sha("b"), sha("e"), sha("f")]
    assert recipe.told == [sha("d"), sha("f")]
    assert master.errors == []


async def waiting_backfill(master: Master) -> list[int]:
    """Let two builds that look back wait, behind nothing."""
    master.pause()
    for name in "abcd":
        await add_change(master, sha(name))
    for name, ends in (("a", SUCCESS), ("d", FAILURE)):
        await ended(master, "tests", ends, revision=sha(name))
    ids = await backfill(master)
    assert len(ids) == 2
    return ids


@pytest.mark.parametrize("master", [farm(canceller=util.OldBuildCanceller)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_the_stock_canceller_does_to_them(master: Master) -> None:
    ids = await waiting_backfill(master)
    await push(master, "e")
    for request_id in ids:
        await master.completed(request_id)
    assert [await results(master, one) for one in ids] == [CANCELLED] * 2
    # who asks again gets them
    assert len(await backfill(master, revision=sha("d"))) == 2


@pytest.mark.parametrize("master", [farm(False, RECIPES["SparingCanceller"])], indirect=True)
@pytest_twisted.ensureDeferred
async def test_the_canceller_of_the_guide_spares_them(master: Master) -> None:
    ids = await waiting_backfill(master)
    await push(master, "e")
    (first,) = (
        one["buildrequestid"]
        for one in await master.data("buildrequests")
        if not one["complete"] and one["buildrequestid"] not in ids
    )
    await push(master, "f")
    # it still does what it is for
    await master.completed(first)
    assert await results(master, first) == CANCELLED
    assert [await results(master, one) for one in ids] == [None, None]
    await master.until(lambda: master.errors == [], "nothing failed")


@pytest.mark.parametrize(
    "master",
    [farm(canceller=util.OldBuildCanceller), farm(canceller=RECIPES["SparingCanceller"])],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_looking_back_may_end_the_build_of_a_push(master: Master) -> None:
    master.pause()
    for name, ends in (("a", SUCCESS), ("d", FAILURE)):
        for one in {"a": "abc", "d": "d"}[name]:
            await add_change(master, sha(one))
        await ended(master, "tests", ends, revision=sha(name))
    await push(master, "e")
    (waits,) = (
        one["buildrequestid"] for one in await master.data("buildrequests") if not one["complete"]
    )
    # another change, of which nothing is built
    change = {
        "author": "Ada",
        "files": ["docs"],
        "comments": "",
        "branch": "main",
        "revision": sha("f"),
        "repository": "https://example.org/repo",
        "codebase": "",
        "project": "",
    }
    change_id = await master.master.db.changes.addChange(**change)
    master.master.mq.produce(
        ("changes", str(change_id), "new"), await master.data("changes", change_id)
    )
    ids = await backfill(master, revision=sha("d"))
    spares = (
        type(master.master.service_manager.namedServices["canceller"]) is not util.OldBuildCanceller
    )
    if not spares:
        await master.completed(waits)
    assert await results(master, waits) == (None if spares else CANCELLED)
    assert [await results(master, one) for one in ids] == [None, None]


async def always(master: Any, builder: Any, one: Any, other: Any) -> bool:
    return True


@pytest.mark.parametrize(
    "master",
    [farm(), farm(True), farm(util.collapse_spare(True)), farm(util.collapse_spare(always))],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_a_newer_push_collapses_none_of_them(master: Master) -> None:
    ids = await waiting_backfill(master)
    await push(master, "e")
    await push(master, "f")

    async def collapsed() -> bool:
        requests = await master.data("buildrequests")
        return [one["results"] for one in requests if one["complete"]].count(SKIPPED) == 1

    # as pushes do to each other
    await master.until(collapsed)
    assert [await results(master, one) for one in ids] == [None, None]


@pytest.mark.parametrize("master", [farm(always)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_was_collapsed_is_asked_for_again(master: Master) -> None:
    ids = await waiting_backfill(master)
    await push(master, "e")
    for request_id in ids:
        await master.completed(request_id)
    assert [await results(master, one) for one in ids] == [SKIPPED] * 2
    assert len(await backfill(master, revision=sha("d"))) == 2
