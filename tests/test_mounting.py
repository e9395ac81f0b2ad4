"""Where it answers: after reconfigs, and behind a proxy that takes a prefix away."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from buildbot.interfaces import IRenderable
from buildbot.plugins import util
from twisted.internet import defer
from zope.interface import implementer

from tests.harness import USER
from tests.harness import config


def at(*arguments: Any, **more: Any) -> Any:
    return lambda: config(util.SelfServe(*arguments, **more))


async def answers(master: Any, path: str) -> bool:
    answer = await master.get(f"{path}/branches")
    if answer.status == 404:
        return False
    assert answer.status == 200
    return True


@pytest_twisted.ensureDeferred
async def test_it_moves_with_its_path(master: Any) -> None:
    assert await answers(master, "/self-serve")
    await master.reconfig(at(path="buildapi/self-serve"))
    assert await answers(master, "/buildapi/self-serve")
    assert not await answers(master, "/self-serve")
    assert (await master.get("/buildapi")).status == 404
    await master.reconfig(at(path="buildapi"))
    assert await answers(master, "/buildapi")
    assert not await answers(master, "/buildapi/self-serve")
    await master.reconfig(config)
    assert await answers(master, "/self-serve")
    assert master.errors == []


@implementer(IRenderable)
class Late:
    """A URL that is known when the test says so, like one of a slow provider of secrets."""

    def __init__(self) -> None:
        self.asked: defer.Deferred[str] = defer.Deferred()

    def getRenderingFor(self, _properties: Any) -> defer.Deferred[str]:
        """Return the URL, once it is known."""
        return self.asked


@pytest_twisted.ensureDeferred
async def test_a_database_that_is_not_configured_any_more_is_not_opened(master: Any) -> None:
    build = await master.finished_build()
    fields = {"build_id": build["buildid"]}

    async def rebuilt() -> bool:
        answer = await master.post("/self-serve/main/build", user=USER, data=fields)
        return bool(answer.status == 202)

    late = Late()
    await master.reconfig(at(db_url=late))
    assert await rebuilt()  # where it was until then
    await master.reconfig(config)
    late.asked.callback("sqlite:///late.sqlite")
    assert await rebuilt()
    assert [job["job_id"] for job in (await master.get("/self-serve/jobs")).json] == [2, 1]


@pytest_twisted.ensureDeferred
async def test_it_goes_and_comes_back_with_the_configuration(master: Any) -> None:
    build = await master.finished_build()
    await master.reconfig(lambda: config(None))
    assert not await answers(master, "/self-serve")
    await master.reconfig(config)
    assert await answers(master, "/self-serve")

    async def rebuilt() -> bool:
        fields = {"build_id": build["buildid"]}
        answer = await master.post("/self-serve/main/build", user=USER, data=fields)
        return bool(answer.status == 202)

    await master.until(rebuilt, "the journal is ready again")
    assert master.errors == []


@pytest.mark.parametrize("master", [lambda: config(None)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_it_can_be_added_to_a_running_master(master: Any) -> None:
    assert not await answers(master, "/self-serve")
    await master.reconfig(config)
    assert await answers(master, "/self-serve")


@pytest_twisted.ensureDeferred
async def test_a_reconfig_changes_what_is_configured(master: Any) -> None:
    build = await master.finished_build()
    await master.reconfig(
        at(max_count=2, branches=[util.SelfServeBranch("m", branch="main")], timeout=20)
    )
    assert list((await master.get("/self-serve/branches")).json) == ["m"]
    fields = {"build_id": build["buildid"], "count": 3}

    async def refused() -> bool:
        answer = await master.post("/self-serve/m/build", user=USER, data=fields)
        return bool(answer.status == 400 and answer.json["msg"] == "Bad count")

    await master.until(refused)


@pytest.mark.parametrize(
    "selfserve",
    [{"path": "x", "tokens": ["s3cret"]}, "self-serve", ["x"], 7],
)
@pytest_twisted.ensureDeferred
async def test_other_values_are_refused_and_not_published(master: Any, selfserve: Any) -> None:
    await master.reconfig(lambda: config(selfserve))
    assert "must be util.SelfServe(...)" in master.log
    assert "s3cret" not in (await master.get("/config")).text
    assert "s3cret" not in (await master.get("/", json=False)).text


@pytest_twisted.ensureDeferred
async def test_visitors_see_the_path_and_nothing_else(master: Any) -> None:
    await master.reconfig(at(path="a/b", db_url=None, max_count=77, timeout=13))
    published = (await master.get("/config")).json["plugins"]
    assert published == {"selfserve": {"path": "a/b"}}
    index = await master.get("/", json=False)
    assert '"selfserve": {"path": "a/b"}' in index.text


def prefixed() -> Any:
    return {**config(), "buildbotURL": "https://ci.example.org/bb/"}


@pytest.mark.parametrize("master", [prefixed], indirect=True)
@pytest_twisted.ensureDeferred
async def test_links_carry_the_prefix_that_a_proxy_takes_away(master: Any) -> None:
    build = await master.finished_build()
    answer = await master.get("/self-serve/jobs/")
    assert answer.header("location") == "/bb/self-serve/jobs"
    fields = {"build_id": build["buildid"]}
    receipt = await master.post("/self-serve/main/build", user=USER, data=fields)
    assert receipt.json["job_url"] == "/bb/self-serve/jobs/1"
    page = await master.get("/self-serve/main", json=False)
    for link in (
        'href="/bb/self-serve/main/build/1"',
        'href="/bb/plugins/selfserve/selfserve.css?v=',
        'href="/bb/self-serve/main?format=json"',
        'href="https://ci.example.org/bb/#/builders/',
        'href="/bb/auth/login?redirect=%2Fself-serve%2Fmain"',
    ):
        assert link in page.text
    headers = {"Origin": "https://ci.example.org"}
    answer = await master.post("/self-serve/main/build", user=USER, data=fields, headers=headers)
    assert answer.status == 202
