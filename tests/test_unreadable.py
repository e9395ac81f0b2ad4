"""Who may not read cannot tell what exists: every answer is the same, byte for byte."""

from __future__ import annotations

import html
import re
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted
from buildbot.plugins import util

from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.routes import Route
from tests.harness import PASSWORD
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import config
from tests.hostile import EXISTING

TOKEN = "a-secret-of-more-than-twenty-characters"
BOB: tuple[str, dict[str, str]] = ("bob", {})
ROBOT = (None, {"Authorization": f"Bearer {TOKEN}"})
NOBODY: tuple[None, dict[str, str]] = (None, {})
#: Values of a noun that do not exist, are too long or cannot be any; EXISTING has one of each.
OTHERS = ("none", "999999", "f" * 300, "a\tb", "a\x00b")


def guarded(*rules: Any) -> Callable[[], Config]:
    rules = (*rules, util.AnyEndpointMatcher(role="staff"))

    def make() -> Config:
        return config(
            util.SelfServe(tokens=[util.SelfServeToken("robot", TOKEN)]),
            auth=util.UserPasswordAuth({USER: PASSWORD, "bob": PASSWORD}),
            authz=util.Authz(
                allowRules=list(rules),
                roleMatchers=[util.RolesFromUsername(roles=["staff"], usernames=[USER])],
            ),
        )

    return make


def texts_of(route: Route) -> Iterator[dict[str, str]]:
    """Yield what may stand in the path of *route*: all that exists, then each of it spoilt."""
    yield {noun: EXISTING[noun] for noun in route.nouns}
    for spoilt in route.nouns:
        for other in OTHERS:
            yield {noun: EXISTING[noun] for noun in route.nouns} | {spoilt: other}


def path_of(route: Route, texts: dict[str, str]) -> str:
    path = re.sub("<([a-z_]+)>", lambda noun: quote(texts[noun[1]], safe=""), route.path)
    return f"/self-serve{path}".rstrip("/")


def bodies_of(route: Route) -> list[dict[str, str]]:
    """Return what may be sent to *route*: good values, those of what is not there, bad ones."""
    if route.method == "GET":
        return [{}]
    good = {
        "build_id": "1",
        "request_id": "1",
        "priority": "1",
        "builder_name": "fast",
        "revision": REVISION,
    }
    names = [param.name for param in route.params]
    return [
        {name: good[name] for name in names if name in good},
        dict.fromkeys(names, "9" * 7),
        dict.fromkeys(names, "a\tb" + "x" * 300),
        {},
    ]


def seen(answer: Any, path: str, texts: dict[str, str]) -> Any:
    """Return what a client sees of *answer*, without what it has sent itself."""
    body = answer.body.decode()
    for text in (quote(path, safe=""), html.escape(path), path):
        body = body.replace(text, "PATH")
    branch = f"/self-serve/{quote(texts.get('branch', ''), safe='')}"
    for text in (quote(branch, safe=""), branch) if "branch" in texts else ():
        body = re.sub(f'{re.escape(text)}(?=["&%])', "BRANCH", body)
    headers = {
        name: values
        for name, values in answer.headers.getAllRawHeaders()
        if name.lower() not in (b"date", b"content-length")
    }
    return answer.status, sorted(headers.items()), body


async def answers(master: Any, route: Route, who: Any, form: str) -> dict[Any, Any]:
    """Ask *route* in every way; return what is seen, with an example of each."""
    user, credentials = who
    found: dict[Any, Any] = {}
    for texts in texts_of(route):
        path = path_of(route, texts)
        for data in bodies_of(route):
            headers = {"Accept": form, "Referer": "x", **credentials}
            more = {"data": data} if data else {}
            answer = await master.request(
                route.method, path, json=False, user=user, headers=headers, **more
            )
            found.setdefault(repr(seen(answer, path, texts)), (texts, data))
    return found


@pytest.mark.parametrize("master", [guarded()], indirect=True)
@pytest_twisted.ensureDeferred
async def test_who_may_not_read_is_answered_the_same_whatever_there_is(master: Any) -> None:
    await master.finished_build()
    made = await master.post("/self-serve/main/build", user=USER, data={"build_id": "1"})
    assert made.status == 202  # so that there is a job, too
    for route in ROUTES:
        for who, status, form in (
            (BOB, 403, "application/json"),
            (NOBODY, 401, "application/json"),
            (ROBOT, 403, "text/html"),
        ):
            found = await answers(master, route, who, form)
            assert len(found) == 1, (route.name, found)
            (one,) = found
            assert one.startswith(f"({status}, "), (route.name, one)
    # who may read is told
    assert (await master.get("/self-serve/none", user=USER)).status == 404
    assert master.errors == []


@pytest.mark.parametrize(
    "master",
    [
        # they may do something, if they know to what
        guarded(util.ForceBuildEndpointMatcher(role="*", builder="slow", defaultDeny=False)),
        guarded(util.SelfServeEndpointMatcher(role="none", builder="slow", defaultDeny=False)),
    ],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_rules_about_builders_tell_nothing_either(master: Any) -> None:
    await master.finished_build()
    master.pause()
    for route in ROUTES:
        if route.method == "POST":
            found = await answers(master, route, BOB, "application/json")
            assert len(found) == 1, (route.name, found)
    assert [row["status"] for row in (await master.get("/self-serve/jobs", user=USER)).json] == []
    assert master.errors == []
