"""What builds a branch is worked out in the reactor: for branches that there are, and for few."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted
from buildbot.plugins import schedulers
from buildbot.plugins import util
from twisted.internet import defer

from buildbot_selfserve.control.branch_setup import BranchSetups
from buildbot_selfserve.web import backend
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import config

#: The branches that the operator's function was asked about.
ASKED: list[Any] = []
MADE_UP = ("nowhere", "x" * 300, "x" * 5000, "a\0b", "mai", "main x", "(a+)+$")


def filtered() -> Config:
    """Return a master whose scheduler has a function of the operator's."""
    ASKED.clear()

    def wanted(change: Any) -> bool:
        assert change.revision in (None, REVISION)
        ASKED.append(change.branch)
        return True

    found = config()
    found["schedulers"][0] = schedulers.AnyBranchScheduler(
        name="any", builderNames=["fast"], change_filter=util.ChangeFilter(filter_fn=wanted)
    )
    return found


@pytest.mark.parametrize("master", [filtered], indirect=True)
@pytest_twisted.ensureDeferred
async def test_no_function_of_the_operators_sees_a_branch_that_is_made_up(master: Any) -> None:
    await master.finished_build()
    for name in MADE_UP:
        branch = f"/self-serve/{quote(name, safe='')}"
        missing = {"status": "FAILED", "msg": f"Branch {name} not found"}
        for path in ("/builders", f"/new?revision={REVISION}", "/permissions"):
            answer = await master.get(branch + path, user=USER)
            assert (answer.status, {**missing, **answer.json}) == (404, {**answer.json, **missing})
            page = await master.get(branch + path, user=USER, json=False)
            assert page.status == 404
        for path in (f"/rev/{REVISION}/nightly", f"/builders/fast/{REVISION}"):
            answer = await master.post(branch + path, user=USER)
            assert (answer.status, answer.json["msg"]) == (404, missing["msg"])
    assert ASKED == []
    for text in ("made-up", "f" * 40):
        answer = await master.get(f"/self-serve/main/new?revision={text}")
        assert answer.json["reacting"] == ["fast"]
    assert (await master.get("/self-serve/main/builders")).json == ["fast"]
    assert ASKED == ["main"]
    assert master.errors == []


@pytest.mark.parametrize("master", [filtered], indirect=True)
@pytest_twisted.ensureDeferred
async def test_the_branches_that_were_last_asked_for_are_remembered(
    master: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(backend, "MOST_REMEMBERED", 2)
    for branch in ("a", "b", "c"):
        await master.finished_build(branch=branch)
    for branch in ("a", "b", "a", "nowhere", "c", "a", "b"):
        await master.get(f"/self-serve/{branch}/builders")
    assert ASKED == ["a", "b", "c", "b"]


def both() -> Config:
    """Return a master whose scheduler asks for the slow builder, too."""
    found = config()
    builders = ["fast", "slow"]
    found["schedulers"][0] = schedulers.AnyBranchScheduler(name="any", builderNames=builders)
    return found


@pytest_twisted.ensureDeferred
async def test_what_was_worked_out_before_a_reconfig_is_not_remembered(
    master: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def builders() -> Any:
        return (await master.get("/self-serve/main/builders")).json

    await master.finished_build()
    begun, gate = defer.Deferred[None](), defer.Deferred[None]()
    setup = BranchSetups.setup

    async def held_up(setups: BranchSetups, basis: Any) -> Any:
        found = await setup(setups, basis)
        begun.callback(None)
        await gate
        return found

    with monkeypatch.context() as patch:
        patch.setattr(BranchSetups, "setup", held_up)
        early = defer.ensureDeferred(builders())
        await begun
    await master.reconfig(both)
    assert await builders() == ["fast", "slow"]
    gate.callback(None)
    await early
    assert await builders() == ["fast", "slow"]
