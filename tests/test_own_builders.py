"""What self-serve offers can be asked for: none of Buildbot's own builders, no impossible name."""

from __future__ import annotations

import datetime
import re
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util

from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import config

JANITOR = "__Janitor"


def cleaned(**branch: Any) -> Callable[[], Config]:
    """Return a master with a janitor, and one configured branch if *branch* says something."""

    def make() -> Config:
        branches = [util.SelfServeBranch("main", **branch)] if branch else None
        made = config(util.SelfServe(branches=branches))
        janitor = util.JanitorConfigurator(logHorizon=datetime.timedelta(weeks=4), hour=3)
        return {**made, "configurators": [janitor]}

    return make


@pytest.mark.parametrize(
    "master",
    [
        cleaned(),
        cleaned(builders=[re.compile(".*")], sets={"every": [re.compile("")]}),
        cleaned(builders=[JANITOR, "fast"], sets={"every": [JANITOR, "scheduler:__Janitor"]}),
    ],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_none_of_buildbots_own_builders_is_offered(master: Any) -> None:
    await master.finished_build()
    master.pause()
    await master.add_request(JANITOR)  # which has "built" the branch
    assert JANITOR in [one["name"] for one in await master.data("builders")]
    for path in ("/builders", f"/new?revision={REVISION}", "/permissions", ""):
        for more in ({}, {"json": False, "headers": {"Accept": "text/html"}}):
            answer = await master.get(f"/self-serve/main{path}", user=USER, **more)
            assert answer.status == 200
            if path:
                assert JANITOR not in answer.text, path
    assert (await master.get("/self-serve/search?q=janitor")).json["builders"] == []
    before = len(await master.data("buildsets"))
    for path, data in (
        (f"/builders/{JANITOR}/{REVISION}", {}),
        ("/builders", {"builder_name": JANITOR, "revision": REVISION}),
    ):
        answer = await master.post(f"/self-serve/main{path}", user=USER, data=data)
        assert answer.status == 404
        assert answer.json["msg"] == f"Builder {JANITOR} not found on branch main"
    answer = await master.post(f"/self-serve/main/rev/{REVISION}/every", user=USER)
    made = [one["buildername"] for one in answer.json.get("requests", ())]
    assert JANITOR not in made
    assert len(await master.data("buildsets")) == before + bool(made)
    assert master.errors == []


@pytest_twisted.ensureDeferred
async def test_every_branch_that_is_listed_is_there(master: Any) -> None:
    names = ["main", "a\tb", "a\nb", "a\x7fb", "a\x85b", "b" * 256, "c" * 257, "d e", "ü/%2F?#"]
    for name in names:
        await master.add_request(branch=name, revision="f" * 40)
    listed = (await master.get("/self-serve/branches")).json
    assert set(listed) == {"main", "b" * 256, "d e", "ü/%2F?#"}
    found = (await master.get(f"/self-serve/branches?revision={'f' * 40}")).json
    assert set(found) == set(listed)
    for name in names:
        answer = await master.get(f"/self-serve/{quoted(name)}")
        assert answer.status == (200 if name in listed else 404)
        assert name in listed or "similar" not in answer.text
    page = await master.get("/self-serve", json=False, headers={"Accept": "text/html"})
    assert "a\tb" not in page.text
    assert "%09" not in page.text
    assert master.errors == []


def quoted(name: str) -> str:
    return "".join(f"%{byte:02X}" for byte in name.encode())
