"""Sets of builders: what they have of which scheduler, and of what is tagged."""

from __future__ import annotations

import re
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import schedulers
from buildbot.plugins import steps
from buildbot.plugins import util

from buildbot_selfserve import plugin
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.views.read_handler import resolve
from tests.harness import REVISION
from tests.harness import Config
from tests.harness import builder
from tests.harness import config

ROUTE = ROUTES["POST /<branch>/rev/<any_revision>/<builder_set>"]
#: The parts of a set: a scheduler or none, and builders; "..." for what is decided later.
Parts = list[tuple[str | None, list[str]]]


async def parts(master: Any, name: str, branch: str = "main") -> Parts:
    """Return the parts of a set, as what builds it gets them."""
    backend = plugin.application._service.backend
    texts = {"branch": branch, "builder_set": name}
    site = await backend.site_for(ROUTE, texts)
    found = (await backend.readers.ask(resolve, site, texts))["builder_set"]
    return [
        (one.scheduler, [each.name for each in one.builders] + ["..."] * one.undecided)
        for one in found.parts
    ]


async def possible(master: Any, branch: str = "main") -> Any:
    return (await master.get(f"/self-serve/{branch}/new?revision={REVISION}")).json


@util.renderer
def by_day(properties: Any) -> list[str]:
    return ["w1"]


class Choosing(schedulers.Nightly):
    """A class of an operator's, which chooses among its builders when it builds."""

    def addBuildsetForSourceStamps(self, **more: Any) -> Any:
        return super().addBuildsetForSourceStamps(**more)


def nightlies() -> Config:
    """Return a master with timed schedulers of every kind."""
    made = config(
        util.SelfServe(
            branches=[
                util.SelfServeBranch("main"),
                util.SelfServeBranch("dev"),
                util.SelfServeBranch("none", branch=None),
                util.SelfServeBranch(
                    "set",
                    sets={
                        "nightly": ["scheduler:of-main", "scheduler:decides", re.compile("^w")],
                        "later": ["scheduler:decides"],
                        "gone": ["scheduler:gone", "nobody"],
                    },
                ),
            ]
        )
    )
    made["builders"] = [builder(f"w{number}") for number in range(9)]
    made["builders"][0].tags = ["nightly"]
    made["builders"][8].properties["branch"] = "dev"
    step = steps.Trigger(schedulerNames=["triggered", "of-dev-triggered"])
    made["builders"][1].factory.addStep(step)
    at = {"hour": 3}
    only_main = util.ChangeFilter(branch="main")
    made["schedulers"] = [
        schedulers.Nightly(name="of-main", branch="main", builderNames=["w1", "w2"], **at),
        schedulers.Nightly(name="of-dev", branch="dev", builderNames=["w3"], **at),
        schedulers.Nightly(name="of-none", branch=None, builderNames=["w7"], **at),
        schedulers.Nightly(
            name="of-codebase", codebases={"": {"branch": "main"}}, builderNames=["w2"], **at
        ),
        schedulers.Nightly(name="of-any", builderNames=["w4", "w8"], **at),
        schedulers.Nightly(name="of-lib", codebases=["lib"], builderNames=["w4"], **at),
        schedulers.Nightly(
            name="filtered", change_filter=only_main, builderNames=("w5",), onlyIfChanged=True, **at
        ),
        schedulers.Nightly(name="decides", branch="main", builderNames=by_day, **at),
        Choosing(name="chooses", branch="main", builderNames=["w5"], **at),
        schedulers.NightlyTriggerable(name="triggered", builderNames=["w6"], **at),
        schedulers.NightlyTriggerable(
            name="of-dev-triggered", codebases={"": {"branch": "dev"}}, builderNames=["w7"], **at
        ),
        schedulers.NightlyTriggerable(name="untriggered", builderNames=["w7"], **at),
        schedulers.NightlyTriggerable(name="lib", codebases=["lib"], builderNames=["w7"], **at),
        schedulers.SingleBranchScheduler(name="push", branch="main", builderNames=["w0", "w1"]),
    ]
    return made


@pytest.mark.parametrize("master", [nightlies], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_set_has_a_part_for_each_scheduler(master: Any) -> None:
    of_main: Parts = [
        ("chooses", ["w5", "..."]),
        ("decides", ["..."]),
        ("filtered", ["w5"]),
        ("of-any", ["w4"]),
        ("of-codebase", ["w2"]),
        ("of-main", ["w1", "w2"]),
        ("triggered", ["w6"]),
        ("untriggered", ["w7"]),
        (None, ["w0"]),
    ]
    assert await parts(master, "nightly") == of_main
    assert await parts(master, "nightly", "dev") == [
        ("of-any", ["w4", "w8"]),
        ("of-dev", ["w3"]),
        ("untriggered", ["w7"]),
    ]
    assert await parts(master, "nightly", "none") == [
        ("of-any", ["w4"]),
        ("of-none", ["w7"]),
        ("untriggered", ["w7"]),
    ]
    assert await parts(master, "nightly", "set") == [
        ("of-main", ["w1", "w2"]),
        ("decides", ["..."]),
        (None, ["w0", "w3", "w4", "w5", "w6", "w7", "w8"]),
    ]
    assert await parts(master, "gone", "set") == []
    found = await possible(master, "set")
    assert found["sets"]["later"] == []
    assert found["undecided_sets"] == {"later": ["decides"], "nightly": ["decides"]}
    text = (await master.get(f"/self-serve/set/new?revision={REVISION}", json=False)).text
    assert "what scheduler decides decides when building" in text
    assert "has no builders" in text  # "gone"


def tagged() -> Config:
    """Return a master whose branches each have their own builders of the same tags."""
    made = config()
    made["builders"] = [
        builder(f"{branch}-{kind}", tags=["pgo"])
        for branch in ("main", "beta")
        for kind in ("push", "timed", "triggered", "built")
    ]
    made["builders"].append(builder("main-untagged"))
    made["schedulers"] = [
        schedulers.ForceScheduler(name="force", builderNames=[one.name for one in made["builders"]])
    ]
    for branch in ("main", "beta"):
        named = next(one for one in made["builders"] if one.name == f"{branch}-push")
        named.factory.addStep(steps.Trigger(schedulerNames=[f"{branch}-triggered"]))
        made["schedulers"] += [
            schedulers.SingleBranchScheduler(
                name=branch, branch=branch, builderNames=[f"{branch}-push"]
            ),
            schedulers.Periodic(
                name=f"{branch}-timed",
                branch=branch,
                periodicBuildTimer=3600_000,
                builderNames=[f"{branch}-timed"],
            ),
            schedulers.Triggerable(
                name=f"{branch}-triggered", builderNames=[f"{branch}-triggered"]
            ),
        ]
    every = util.SelfServeBranch("every", sets={"pgo": ["tag:pgo"]})
    branches = [util.SelfServeBranch("main"), util.SelfServeBranch("beta"), every]
    made["www"]["plugins"] = {"selfserve": util.SelfServe(branches=branches)}
    return made


@pytest.mark.parametrize("master", [tagged], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_is_tagged_is_in_the_sets_of_the_branches_that_reach_it(master: Any) -> None:
    master.pause()

    async def are_in_the_set(branch: str, *also: str) -> None:
        expected = {*also, *(f"{branch}-{kind}" for kind in ("push", "timed", "triggered"))}
        assert await parts(master, "pgo", branch) == [(None, sorted(expected))]

    # what nothing but a ForceScheduler names, and has built nothing, may be meant for any branch
    for branch in ("main", "beta"):
        await are_in_the_set(branch, "main-built", "beta-built")
    master.resume()
    for branch in ("main", "beta"):
        await master.finished_build(f"{branch}-built", branch=branch)
    for branch in ("main", "beta"):
        await are_in_the_set(branch, f"{branch}-built")
    ((_, every),) = await parts(master, "pgo", "every")
    assert len(every) == 8


def repositories() -> Config:
    """Return a master with one branch name in two repositories, and in two codebases."""
    made = config(
        util.SelfServe(
            branches=[
                util.SelfServeBranch("a", branch="main", repository=A),
                util.SelfServeBranch("b", branch="main", repository=[B, "https://x/c"]),
                util.SelfServeBranch("lib", branch="main", codebase=["lib", "more"]),
                util.SelfServeBranch("*", sets={"night": ["scheduler:of-b", "scheduler:of-b"]}),
            ]
        )
    )
    made["codebaseGenerator"] = lambda change: ""
    at = {"hour": 3, "builderNames": ["fast"]}
    of_b = util.ChangeFilter(repository=B)
    made["schedulers"] = [
        schedulers.Triggerable(name="rest", builderNames=["slow", "opt/mac #1"]),
        schedulers.Nightly(name="of-a", codebases={"": {"repository": A, "branch": "main"}}, **at),
        schedulers.Nightly(name="of-b", branch="main", change_filter=of_b, **at),
        schedulers.Nightly(name="of-lib", branch="main", codebases=["lib"], **at),
        schedulers.Nightly(name="of-all", branch="main", codebases=["", "lib"], **at),
    ]
    return made


A, B = "https://example.org/a", "https://example.org/b"


@pytest.mark.parametrize("master", [repositories], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_nightly_of_another_repository_or_codebase_is_not_the_branchs(master: Any) -> None:
    for revision, repository in (("a" * 40, A), ("b" * 40, B)):
        await master.master.db.changes.addChange(
            author="eve",
            branch="main",
            revision=revision,
            repository=repository,
            project="p",
            files=["a.c"],
        )
    fast = ["fast"]
    assert await parts(master, "nightly", "a") == [("of-a", fast), ("of-all", fast)]
    assert await parts(master, "nightly", "b") == [("of-all", fast), ("of-b", fast)]
    assert await parts(master, "nightly", "lib") == [("of-all", fast), ("of-lib", fast)]
    await master.add_request(branch="dev")
    assert await parts(master, "night", "dev") == [("of-b", fast)]
    assert await parts(master, "nightly", "dev") == []
