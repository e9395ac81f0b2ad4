"""Selectors: a read that takes them, on a real master, with the builders of its database."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_twisted
from buildbot.plugins import schedulers
from buildbot.plugins import util

from buildbot_selfserve import plugin
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Builders
from buildbot_selfserve.model import Selection
from buildbot_selfserve.params.declared import STATES
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.views.read_handler import resolve
from docs import generate
from tests import validating
from tests.harness import Config
from tests.harness import builder
from tests.harness import config

EVERY_DATABASE = True
JANITOR = "__Janitor"
#: What no master has now, but the database.
GONE = ["gone", "virtual [1]"]
ALL = ["Fast", "fast", "gone", "opt/mac #1", "slow", "virtual [1]"]


def selected_builders(
    ctx: Any, branch: Any, states: tuple[str, ...], selection: Selection
) -> Builders:
    """Return the builders that are selected, and the states."""
    names = [*filter(selection.takes, [*ALL, JANITOR]), *states]
    return Builders(branch, tuple(Builder(number, name) for number, name in enumerate(names)))


@pytest.fixture
def route(monkeypatch: Any) -> Any:
    """Declare one more route, as long as the test runs."""
    monkeypatch.setattr(ROUTES, "_routes", dict(ROUTES._routes))
    declare = ROUTES.declare(
        "GET", "/<branch>/selected", params=(STATES,), returns=Builders, selects=True
    )
    declare(selected_builders)
    validating.document.cache_clear()
    yield ROUTES["GET /<branch>/selected"]
    validating.document.cache_clear()


def tagged() -> Config:
    """Return the configuration of a master whose builders have tags, and which reads in threads.

    A process of readers would not know the route of this module.
    """
    made = config(util.SelfServe(readers=0))
    made["builders"] = [
        builder("fast", tags=["quick", "nightly"]),
        builder("Fast", tags=["Quick"]),
        builder("slow", tags=["nightly"]),
        builder("opt/mac #1"),
    ]
    every = [one.name for one in made["builders"]]
    made["schedulers"] = [schedulers.Triggerable(name="any", builderNames=every)]
    janitor = util.JanitorConfigurator(logHorizon=datetime.timedelta(weeks=4), hour=3)
    return {**made, "configurators": [janitor]}


@pytest.mark.parametrize("master", [tagged], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_read_is_about_the_builders_that_are_selected(route: Any, master: Any) -> None:
    for name in GONE:
        await master.master.data.updates.findBuilderId(name)
    await master.finished_build()

    async def get(*query: tuple[str, str]) -> Any:
        return await master.get(f"/self-serve/main/selected?{urlencode(query)}")

    async def names(*query: tuple[str, str]) -> list[str]:
        answer = await get(*query, ("states", "retry"))
        assert answer.status == 200, answer.text
        *found, state = answer.json
        assert state == "retry"
        return list(found)

    assert await names() == [*ALL, JANITOR]
    assert await names(("builders", ""), ("tags", " "), ("exclude_builders", "\n")) == [
        *ALL,
        JANITOR,
    ]
    assert await names(("builders", "*")) == ALL
    assert await names(("builders", "fast")) == ["fast"]
    assert await names(("builders", "virtual [1]")) == ["virtual [1]"]
    assert await names(("builders", "[Ff]ast\ngone")) == ["Fast", "fast", "gone"]
    assert await names(("builders", "fast"), ("builders", "g*")) == ["fast", "gone"]
    assert await names(("builders", '["opt/mac #1", "slow"]')) == ["opt/mac #1", "slow"]
    assert await names(("tags", "nightly")) == ["fast", "slow"]
    assert await names(("tags", "Quick"), ("tags", "nightly"), ("builders", "[!s]*")) == [
        "Fast",
        "fast",
    ]
    assert await names(("exclude_builders", "*a*"), ("exclude_builders", "gone")) == ["slow"]

    for parameter, text, similar in (
        ("builders", "fats", ["fast", "Fast"]),
        ("builders", "optmac*", ["opt/mac #1"]),
        ("builders", JANITOR, []),
        ("builders", "x" * 257, []),
        ("tags", "QUICK", ["quick", "Quick"]),
        ("exclude_builders", "slwo", ["slow"]),
    ):
        answer = await get((parameter, text))
        assert (answer.status, answer.json["msg"]) == (400, f"Bad {parameter}"), text
        for name in similar:
            assert name in answer.json["detail"].partition("similar names: ")[2]
    every = "\n".join(str(number) for number in range(1001))
    assert (await get(("builders", every))).json["msg"] == "Bad builders"
    answer = await get(("states", "failure"), ("states", "passed"))
    assert answer.json["msg"] == "Bad states"
    assert "retry" in answer.json["detail"]

    # a link to the same has all of them, too
    page = await master.get("/self-serve/main/builders?x=1&x=2", json=False)
    assert "builders?x=1&x=2&format=json" in str(page.header("link"))

    documentation = await master.get("/self-serve/api", json=False)
    assert "Default failure, exception." in documentation.text

    # as it is done for a job request
    databases = plugin.application._service.databases
    site = plugin.application._service.backend.site
    ask: Callable[..., Any] = databases.readers.ask
    selectors = {"builders": ("fast", "s*"), "tags": (), "exclude_builders": ("fast",)}
    found = await ask(resolve, site, {"branch": "main"}, selectors)
    assert found["branch"].name == "main"
    assert found["selection"].names == {"slow"}
    assert set(await ask(resolve, site, {"branch": "main"})) == {"branch"}
    with pytest.raises(BadParameter, match="Bad tags"):
        await ask(resolve, site, {"branch": "main"}, {**selectors, "tags": ("x",)})
    assert master.errors == []


def test_selectors_are_documented_as_lists(route: Any) -> None:
    operation = validating.document()["paths"][route.shown_path]["get"]
    schemas = {one["name"]: one["schema"] for one in operation["parameters"]}
    assert list(schemas) == ["branch", "states", "builders", "tags", "exclude_builders"]
    assert [one["type"] for one in schemas.values()] == ["string"] + ["array"] * 4
    section = generate._section(route)
    words = " or ".join(f"`{word}`" for word in STATES.choices)
    assert f"| `states` | query | list of {words} | `failure`, `exception` |" in section
    assert "| `tags` | query | list of 1 to 1000 texts |  |" in section
