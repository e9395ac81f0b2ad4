"""Waits and event streams outlast a reconfig, but not the rights of who waits."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task

from tests.harness import PASSWORD
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import config
from tests.test_live import Browser
from tests.test_live import live
from tests.test_live import opened
from tests.test_waiting import held
from tests.test_waiting import is_done
from tests.test_waiting import later

TOKEN = "a-secret-that-is-long-enough"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
CREDENTIALS = {"basic": f"Basic {BASIC}", "token": f"Bearer {TOKEN}"}
END = "\r\n0\r\n\r\n"


def read_by(*readers: str, password: str = PASSWORD, tokens: Any = (TOKEN,)) -> Any:
    """Return a master that *readers* may read."""

    def make() -> Config:
        return config(
            util.SelfServe(tokens=[util.SelfServeToken("robot", one) for one in tokens]),
            auth=util.UserPasswordAuth({USER: password}),
            authz=util.Authz(
                allowRules=[util.AnyEndpointMatcher(role="readers")],
                roleMatchers=[util.RolesFromUsername(roles=["readers"], usernames=list(readers))],
            ),
        )

    return make


async def asked(master: Any, who: str) -> defer.Deferred[Any]:
    """Ask for an answer that is held back."""
    before = live().held
    answer = later(master.get(is_done(60), headers={"Authorization": CREDENTIALS[who]}))
    await master.until(lambda: live().held > before, "it is held")
    return answer


async def listening(master: Any, who: str) -> Browser:
    return await opened(master, headers=f"Authorization: {CREDENTIALS[who]}\r\n")


async def builds_something(master: Any, browser: Browser) -> bool:
    """Let something happen; return whether that is told."""
    build = await master.finished_build()
    wanted = {"request_id": build["buildrequestid"], "build_id": build["buildid"]}
    await task.deferLater(reactor, 0.5)
    return wanted in browser.changes


@pytest.mark.parametrize(
    "other",
    [
        config,
        lambda: config(util.SelfServe(timeout=25)),  # readers are others
        lambda: config(util.SelfServe(max_waiting=0)),
        lambda: config(util.SelfServe(path="elsewhere")),
        lambda: config(util.SelfServe(db_url="sqlite:///other.sqlite")),
    ],
)
@pytest_twisted.ensureDeferred
async def test_they_outlast_a_reconfig(master: Any, other: Callable[[], Config]) -> None:
    master.pause()
    await master.add_request()
    answer, page = await held(master, is_done(60)), later(master.get(is_done(60), json=False))
    await master.until(lambda: live().held == 2, "both are held")
    browser = await opened(master)
    for make in (other, other):
        await master.reconfig(make)
    await task.deferLater(reactor, 0.5)
    assert not answer.called
    assert not page.called
    assert not browser.closed
    master.resume()
    response = await answer
    assert (response.status, response.json["job_complete"]) == (200, True)
    assert (await page).status == 200
    await master.until(lambda: browser.changes, "what has happened is told")
    assert END not in browser.text
    browser.transport.abortConnection()
    await master.until(lambda: live().listening_now == 0, "it is forgotten")
    assert live().connections._taken.total() == 0
    assert live()._guests._guests == {}
    assert master.errors == []


@pytest.mark.parametrize("master", [read_by(USER, "robot")], indirect=True)
@pytest.mark.parametrize(
    ("other", "told"),
    [
        (read_by("somebody"), {"basic": 403, "token": 403}),
        (read_by(USER), {"basic": 200, "token": 403}),
        (read_by("robot", password="another"), {"basic": 401, "token": 200}),
        (
            read_by(USER, "robot", tokens=["another-long-enough-secret"]),
            {"basic": 200, "token": 401},
        ),
    ],
)
@pytest_twisted.ensureDeferred
async def test_who_may_not_read_any_more_is_told_nothing(
    master: Any, other: Any, told: dict[str, int]
) -> None:
    master.pause()
    await master.add_request()
    answers = {who: await asked(master, who) for who in told}
    streams = {who: await listening(master, who) for who in told}
    await master.reconfig(other)
    gone = {who for who, status in told.items() if status != 200}
    for who in gone:
        await master.until(lambda who=who: streams[who].text.endswith(END), "the stream ends")
        # at once, and not at the end of the wait
        assert (await answers[who]).status == told[who]
        assert REVISION not in (await answers[who]).text
    master.resume()
    for who in told.keys() - gone:
        assert await builds_something(master, streams[who])
        assert (await answers[who]).json["job_complete"] is True
    assert all(streams[who].changes == [] for who in gone)
    for browser in streams.values():
        browser.transport.abortConnection()
    await master.until(lambda: live().listening_now == 0, "they are forgotten")
    assert master.errors == []


def only(name: str, branch: str) -> Callable[[], Config]:
    return lambda: config(util.SelfServe(branches=[util.SelfServeBranch(name, branch=branch)]))


@pytest.mark.parametrize("master", [only("main", "main")], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_branch_may_mean_something_else_or_nothing(master: Any) -> None:
    await master.add_request("slow")
    await master.finished_build(branch="trunk")
    answer, browser = await held(master, is_done(60)), await opened(master)
    await master.reconfig(only("main", "trunk"))
    build = await master.finished_build(branch="trunk")
    wanted = {"request_id": build["buildrequestid"], "build_id": build["buildid"]}
    await master.until(lambda: wanted in browser.changes, "what happens there is told")
    # all of it there has been built
    assert (await answer).json["job_complete"] is True
    await master.finished_build(branch="none", revision="f" * 40)
    await master.reconfig(only("other", "trunk"))
    await master.until(lambda: browser.text.endswith(END), "there is nothing to tell")
    assert master.errors == []


@pytest_twisted.ensureDeferred
async def test_they_end_with_the_plugin(master: Any) -> None:
    master.pause()
    await master.add_request()
    answer, browser = await held(master, is_done(60)), await opened(master)
    await master.reconfig(lambda: config(None))
    await master.until(lambda: browser.text.endswith(END), "the stream ends")
    assert (await answer).status == 503
    assert master.errors == []
