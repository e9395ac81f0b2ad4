"""What would build a revision: schedulers are asked with a change like the newest of the branch."""

from __future__ import annotations

import time
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import schedulers
from buildbot.plugins import steps
from buildbot.plugins import util

from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import builder
from tests.harness import config

EVERY_DATABASE = "heavy"
UNKNOWN = "0123456789abcdef0123456789abcdef01234567"
REPOSITORY = "https://example.org/app"
#: What the filters of a picky master ask for.
PULL: dict[str, Any] = {
    "repository": REPOSITORY,
    "project": "app",
    "category": "pull",
    "author": "Eve <eve@x.org>",
}
DAY = 86_400


async def add_change(master: Any, revision: str = REVISION, **more: Any) -> int:
    """Record a change, of which no scheduler is told."""
    given = {"branch": "main", "author": "eve", "comments": "Mend it", "files": ["a.c"], **more}
    change_id: int = await master.master.db.changes.addChange(revision=revision, **given)
    return change_id


async def possible(master: Any, revision: str = UNKNOWN, branch: str = "main") -> Any:
    answer = await master.get(f"/self-serve/{branch}/new?revision={revision}")
    assert answer.status == 200, answer.text
    return answer.json


async def page(master: Any, revision: str = UNKNOWN) -> str:
    answer = await master.get(f"/self-serve/main/new?revision={revision}", json=False)
    text: str = answer.text
    return " ".join(text.split())


async def builders(master: Any, branch: str = "main") -> list[str]:
    found: list[str] = (await master.get(f"/self-serve/{branch}/builders")).json
    return found


def first_file(change: Any) -> str:
    found: str = change.files[0]
    return found


FILTERS: dict[str, dict[str, Any]] = {
    "of-repository": {"repository": REPOSITORY},
    "of-repository-re": {"repository_re": ".*/app$"},
    "of-project": {"project": ["app", "lib"]},
    "of-project-fn": {"project_fn": lambda project: project == "app"},
    "of-category": {"category": "pull"},
    "of-category-fn": {"category_fn": lambda category: category.startswith("pull")},
    "of-property": {"property_eq": {"target": "linux"}},
    "of-properties": {"filter_fn": lambda change: change.properties["target"] == "linux"},
    "of-author": {"filter_fn": lambda change: "@" in change.who},
    "of-files": {"filter_fn": lambda change: first_file(change).endswith(".c")},
    "of-branch": {"branch": "main"},
    "of-another": {"branch": "other", "category": "pull"},
    "of-no-project": {"project": "", "category": "push"},
}


def picky() -> Config:
    """Return a master whose schedulers ask for all that a change can say."""
    made = config(util.SelfServe(branches=[util.SelfServeBranch("main")]))
    made["builders"] = [builder(name) for name in FILTERS]
    made["schedulers"] = [
        schedulers.AnyBranchScheduler(
            name=name, builderNames=[name], change_filter=util.ChangeFilter(**asked)
        )
        for name, asked in FILTERS.items()
    ]
    return made


@pytest.mark.parametrize("master", [picky], indirect=True)
@pytest_twisted.ensureDeferred
async def test_schedulers_are_asked_with_a_change_like_the_newest(master: Any) -> None:
    found = await possible(master)
    assert found["reacting"] == ["of-branch"]
    # these raise where there is no category, property or file
    assert found["failing"] == ["of-category-fn", "of-files", "of-properties"]
    unclear = {"of-repository", "of-repository-re", "of-project", "of-project-fn", "of-category"}
    unclear |= {"of-property", "of-author", "of-no-project"}
    assert found["unclear"] == sorted(unclear)
    text = await page(master)
    assert "The change filter of scheduler of-files failed" in text
    assert "Scheduler of-author may build it" in text

    await add_change(master, properties={"target": ("linux", "Change")}, **PULL)
    asked = sorted(set(FILTERS) - {"of-another", "of-no-project"})
    for revision in (REVISION, UNKNOWN):
        found = await possible(master, revision)
        assert (found["reacting"], found["failing"], found["unclear"]) == (asked, [], [])
    assert await builders(master) == asked
    answer = await master.post(f"/self-serve/main/rev/{REVISION}", user=USER)
    assert sorted(one["buildername"] for one in answer.json["requests"]) == asked

    # a revision has a change of its own, and a newer one of the branch counts for the others
    await add_change(master, "e" * 40, category="push", repository=REPOSITORY)
    assert (await possible(master, REVISION))["reacting"] == asked
    pushed = ["of-branch", "of-files", "of-no-project", "of-repository", "of-repository-re"]
    for revision in ("e" * 40, UNKNOWN):
        assert (await possible(master, revision))["reacting"] == pushed
    for name in ("of-properties", "of-files", "of-category-fn"):
        assert master.log.count(f"the change filter of {name} failed") == 1
    await disable(master, "of-files")
    assert (await possible(master))["reacting"] == [one for one in pushed if one != "of-files"]


async def disable(master: Any, name: str) -> None:
    (row,) = [one for one in await master.data("schedulers") if one["name"] == name]
    path = ("schedulers", row["schedulerid"])
    await master.master.data.control("enable", {"enabled": False}, path)


def trigger(*names: Any, **more: Any) -> Any:
    return steps.Trigger(schedulerNames=list(names), **more)


def triggering() -> Config:
    """Return a master that triggers builders from builders, some of which nobody can foresee."""
    branch = util.SelfServeBranch("main", repository=[REPOSITORY, "https://example.org/fork"])
    made = config(util.SelfServe(branches=[branch, util.SelfServeBranch("fresh")]))

    @util.renderer
    def by_day(properties: Any) -> list[str]:
        return ["chosen"]

    names = ["top", "low", "lower", "after", "chosen", "guessed", "elsewhere", "old", "unrelated"]
    made["builders"] = [builder(name) for name in names]
    top, low = made["builders"][:2]
    top.factory.addStep(trigger("low", util.Property("which")))
    top.factory.addStep(steps.Trigger(schedulerNames=["gone", "cycle"], waitForFinish=True))
    low.factory.addStep(trigger("lower"))
    pushed = schedulers.AnyBranchScheduler(
        name="pushed",
        builderNames=["top"],
        change_filter=util.ChangeFilter(repository=REPOSITORY, project="app"),
    )
    made["schedulers"] = [
        pushed,
        schedulers.Triggerable(name="low", builderNames=["low"]),
        schedulers.Triggerable(name="lower", builderNames=["lower"]),
        schedulers.Triggerable(name="cycle", builderNames=["top"]),
        schedulers.Dependent(name="after", upstream=pushed, builderNames=["after"]),
        schedulers.AnyBranchScheduler(name="deciding", builderNames=by_day),
        schedulers.Triggerable(name="guessed", builderNames=["guessed", "unrelated"]),
        schedulers.SingleBranchScheduler(
            name="other", branch="other", builderNames=["elsewhere", "old"]
        ),
    ]
    return made


@pytest.mark.parametrize("master", [triggering], indirect=True)
@pytest_twisted.ensureDeferred
async def test_the_builders_of_a_branch_are_those_that_anything_starts_there(master: Any) -> None:
    # nothing is known of it but what may build it
    assert await builders(master, "fresh") == ["after", "low", "lower", "top"]
    await add_change(master, **{**PULL, "category": None})
    assert await builders(master) == ["after", "low", "lower", "top"]
    found = await possible(master)
    assert (found["reacting"], found["undecided"]) == (["top"], ["deciding"])
    assert found["lately"] == {}
    assert "Scheduler deciding decides on its builders when it builds." in await page(master)

    stamp = {"branch": "main", "revision": REVISION, "repository": REPOSITORY, "codebase": ""}
    made = {"project": "app", **stamp}
    for name, scheduler in (("chosen", "deciding"), ("guessed", "guessed"), ("old", "guessed")):
        given = {"scheduler": (scheduler, "Scheduler"), "branch": ("main", "Change")}
        await master.add_request(name, sourcestamps=[made], properties=given)
    assert await builders(master) == ["after", "chosen", "guessed", "low", "lower", "old", "top"]
    assert (await possible(master))["lately"] == {"deciding": ["chosen"]}
    assert "in its last builds on this branch it chose chosen" in await page(master)

    # what was long ago counts no more
    rows = await master.data("buildsets")
    then = int(time.time()) - 31 * DAY
    (old,) = [one["bsid"] for one in rows if await asks_for(master, one["bsid"], "old")]
    await forget_readers(master, old, then)
    assert await builders(master) == ["after", "chosen", "guessed", "low", "lower", "top"]


async def asks_for(master: Any, buildset_id: int, name: str) -> bool:
    builder_id = (await master.data("builders", name))["builderid"]
    requests = await master.data("buildrequests")
    return any((r["buildsetid"], r["builderid"]) == (buildset_id, builder_id) for r in requests)


async def forget_readers(master: Any, buildset_id: int, then: int) -> None:
    """Let a buildset have been asked for *then*; start the readers anew, which knew better."""
    table = master.master.db.model.buildsets

    def move(connection: Any) -> None:
        query = table.update().where(table.c.id == buildset_id).values(submitted_at=then)
        connection.execute(query)
        connection.commit()

    await master.master.db.pool.do(move)
    made = master.loader.make()
    made["www"]["plugins"]["selfserve"].readers = 2
    await master.reconfig(lambda: made)
    await master.until(lambda: is_there(master), "the readers are there again")


async def is_there(master: Any) -> bool:
    return (await master.get("/self-serve/branches")).status == 200


def projects() -> Config:
    """Return a master whose commits say which projects they touch."""
    plain = util.SelfServeBranch("main", codebase="", repository=REPOSITORY)
    of_one = util.SelfServeBranch("llvm", branch="main", project=["llvm", "clang,llvm"])
    return config(util.SelfServe(branches=[plain, of_one]))


@pytest.mark.parametrize("master", [projects], indirect=True)
@pytest_twisted.ensureDeferred
async def test_only_repository_and_codebase_tell_places_apart(master: Any) -> None:
    for number, project in enumerate(("clang", "clang,llvm", "llvm")):
        revision = f"{number}" * 40
        given = {"repository": REPOSITORY, "project": project}
        await add_change(master, revision, **given)
        stamp = {"branch": "main", "revision": revision, "codebase": "", **given}
        await master.add_request(sourcestamps=[stamp])
    answer = await master.post(f"/self-serve/main/rev/{UNKNOWN}", user=USER)
    assert answer.status == 202, answer.text
    stamps = await master.data("sourcestamps")
    (made,) = [one for one in stamps if one["revision"] == UNKNOWN]
    assert (made["repository"], made["project"]) == (REPOSITORY, "llvm")
    assert len((await master.get(f"/self-serve/main/rev/{'0' * 40}")).json) == 1
    missing = await master.get(f"/self-serve/llvm/rev/{'0' * 40}")
    assert missing.status == 404
    assert len((await master.get(f"/self-serve/llvm/rev/{'1' * 40}")).json) == 1


def several() -> Config:
    both = {"app": {"repository": REPOSITORY}, "lib": {"repository": REPOSITORY}}
    made = config(util.SelfServe(branches=[util.SelfServeBranch("main")]))
    made["codebaseGenerator"] = lambda change: "app"
    made["schedulers"][0] = schedulers.AnyBranchScheduler(
        name="any", builderNames=["fast"], codebases=both
    )
    return made


@pytest.mark.parametrize("master", [several], indirect=True)
@pytest_twisted.ensureDeferred
async def test_where_a_revision_may_be_is_named_so_that_one_can_choose(master: Any) -> None:
    answer = await master.post(f"/self-serve/main/rev/{UNKNOWN}", user=USER)
    assert answer.status == 400
    assert answer.json["detail"] == (
        f"{REPOSITORY} (codebase 'app'), {REPOSITORY} (codebase 'lib'); choose one with codebase="
        " or repository= of SelfServeBranch"
    )


@pytest_twisted.ensureDeferred
async def test_a_change_that_was_deleted_is_no_model(master: Any) -> None:
    first = await add_change(master, "a" * 40, category="x")
    second = await add_change(master, "b" * 40, category="y")
    assert first < second
    assert (await possible(master))["reacting"] == ["fast"]
    table = master.master.db.model.changes
    await master.master.db.pool.do(lambda c: (c.execute(sa.delete(table)), c.commit()))
    assert (await possible(master, branch="main"))["reacting"] == ["fast"]
