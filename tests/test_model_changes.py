"""The changes that change filters are asked with: like those that there are."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import schedulers
from buildbot.plugins import util

from buildbot_selfserve.control.model_changes import InventedChange
from buildbot_selfserve.control.model_changes import model_changes
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Sourcestamp
from tests.harness import REVISION
from tests.harness import Config
from tests.harness import config

MAIN = Branch("main", ("main",))
APP, LIB = "https://example.org/app", "https://example.org/lib"
OTHER = "fedcba0987654321fedcba0987654321fedcba09"
SAID = {
    "author": "Eve <eve@x.org>",
    "committer": "Bob <bob@x.org>",
    "comments": "Mend it",
    "category": "pull",
    "project": "p",
    "files": ["b.c", "a.c"],
}
PROPERTIES = {"target": ("linux", "Change"), "level": ({"a": [1]}, "Change")}


def codebases() -> Config:
    made = config()
    both: dict[str, Any] = {"app": {"repository": APP}, "lib": {}}
    made["schedulers"].append(
        schedulers.AnyBranchScheduler(name="both", builderNames=["fast"], codebases=both)
    )
    made["codebaseGenerator"] = lambda change: "app"
    return made


def told(change: Any) -> dict[str, Any]:
    """Return what filters look at."""
    return {
        "author": change.who,
        "committer": change.committer,
        "comments": change.comments,
        "category": change.category,
        "project": change.project,
        "files": change.files,
    }


@pytest.mark.parametrize("master", [codebases], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_change_is_like_the_one_that_is_nearest(master: Any) -> None:
    made: list[int] = []
    for codebase, repository in (("app", APP), ("lib", LIB)):
        made.insert(
            0,
            await master.master.db.changes.addChange(
                branch="main",
                revision=REVISION,
                codebase=codebase,
                repository=repository,
                revlink="https://x/" + REVISION,
                properties=PROPERTIES,
                **{**SAID, "project": codebase},
            ),
        )
    every = master.master.allSchedulers()

    async def of(*change_ids: int, **more: Any) -> list[Any]:
        found: list[Any] = await model_changes(
            master.master, MAIN, change_ids, schedulers=every, **more
        )
        return found

    lib, app = await of(*made)
    assert (lib.number, app.number) == tuple(made)
    assert told(app) == {**SAID, "project": "app", "files": ["a.c", "b.c"]}
    # of a revision that has a change it is this one
    (same,) = await of(made[1], revision=REVISION)
    assert same is app

    where = Sourcestamp("main", "app", APP, "newer")
    (like,) = await of(*made, revision=OTHER, places=[where])
    assert told(like) == told(app)
    assert (like.revision, like.number, like.revlink) == (OTHER, None, "")
    assert (like.branch, like.codebase, like.repository) == ("main", "app", APP)
    assert like.properties.asDict() == PROPERTIES
    # in another place: like that of the same codebase, else like the newest
    fork, third = await of(
        *made,
        revision=OTHER,
        places=[
            Sourcestamp("main", "app", "https://x/fork", "f"),
            Sourcestamp(None, "third", "", ""),
        ],
    )
    assert (fork.repository, fork.project, fork.category) == ("https://x/fork", "f", "pull")
    assert (third.codebase, third.project, third.branch) == ("third", "lib", None)

    (given,) = await of(
        made[1],
        revision=REVISION,
        author="ada",
        comments="Try",
        category="",
        project="q",
        files=[],
    )
    assert given.number is None
    assert told(given) == {
        "author": "ada",
        "committer": SAID["committer"],
        "comments": "Try",
        "category": "",
        "project": "q",
        "files": [],
    }
    assert given.properties.asDict() == PROPERTIES


@pytest.mark.parametrize("master", [codebases], indirect=True)
@pytest_twisted.ensureDeferred
async def test_without_any_change_one_is_made_of_what_is_configured(master: Any) -> None:
    every = [one for one in master.master.allSchedulers() if one.name == "both"]
    found = await model_changes(master.master, MAIN, [999], schedulers=every, category="pull")
    assert all(isinstance(one, InventedChange) for one in found)
    places = [(one.branch, one.codebase, one.repository, one.category) for one in found]
    assert places == [("main", "app", APP, "pull"), ("main", "lib", "", "pull")]
    narrow = Branch("b", (None, ""), ("lib",), ("p", "q"), (LIB, "https://x/2"))
    found = await model_changes(master.master, narrow, [], schedulers=every)
    assert [(one.branch, one.codebase, one.repository, one.project) for one in found] == [
        (None, "lib", LIB, "p"),
        (None, "lib", "https://x/2", "p"),
    ]
    known = Sourcestamp("main", "app", "https://x/fork", "f")
    (one,) = await model_changes(master.master, MAIN, [], schedulers=(), places=[known])
    assert (one.repository, one.project, one.who, one.files) == ("https://x/fork", "f", "", [])
    only = util.ChangeFilter(filter_fn=lambda change: change.properties["x"] is None)
    with pytest.raises(KeyError):
        only.filter_change(one)
