"""What holds of every route, whatever it does: driven by the declarations.

A route with a noun, a parameter or a permission that this module does not know fails here, so that
none can be added without being tried.
"""

from __future__ import annotations

import re
import time
from typing import Any
from urllib.parse import quote
from urllib.parse import urlencode

import pytest_twisted

from buildbot_selfserve.params.kinds import Choice
from buildbot_selfserve.params.kinds import Choices
from buildbot_selfserve.params.kinds import Date
from buildbot_selfserve.params.kinds import Ending
from buildbot_selfserve.params.kinds import Flag
from buildbot_selfserve.params.kinds import Globs
from buildbot_selfserve.params.kinds import Int
from buildbot_selfserve.params.kinds import IntOrWord
from buildbot_selfserve.params.kinds import JsonObject
from buildbot_selfserve.params.kinds import Moment
from buildbot_selfserve.params.kinds import Names
from buildbot_selfserve.params.kinds import Param
from buildbot_selfserve.params.kinds import Text
from buildbot_selfserve.params.kinds import TextList
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.routes import Route
from tests.harness import REVISION
from tests.harness import USER

EVERY_DATABASE = "heavy"

#: A text for each noun that exists in the master here, one that does not, and what is then said.
EXISTING = {
    "branch": "main",
    "build": "1",
    "step": "1",
    "log": "stdio",
    "request": "1",
    "revision": REVISION,
    "job": "1",
    "user": USER,
    "anybody": USER,
    "any_revision": REVISION,
    "builder": "fast",
    "built_builder": "fast",
    "builder_set": "nightly",
    "bisection": "2",
}
#: So many job requests are in the journal then: a rebuild, a bisection, and its end.
FURNISHED = 3
MISSING = {
    "branch": ("no/where", "Branch no/where not found"),
    "build": ("4711", "Build 4711 not found on branch main"),
    "step": ("4711", "Step 4711 not found in build 1"),
    "log": ("no/where", "Log no/where not found in step shell of build 1"),
    "request": ("4711", "Request 4711 not found on branch main"),
    "revision": ("4711", "Revision 4711 not found on branch main"),
    "job": ("4711", "Job 4711 not found"),
    "builder": ("no/where", "Builder no/where not found on branch main"),
    "builder_set": ("nowhere", "Set nowhere not found on branch main"),
    "bisection": ("4711", "Bisection 4711 not found on branch main"),
    # whatever is no known revision is built as it is
    "any_revision": None,
    # a user without builds has none; nobody knows all users
    "user": None,
    "anybody": None,
    # they stand in bodies only
    "built_builder": None,
    "good": None,
}
#: Values that a parameter of a type must refuse; Text takes everything that can be stored.
BAD: dict[type[Param], list[str]] = {
    Int: ["x", "1.5", "-99999999999", "99999999999999999999", "\u0663"],
    IntOrWord: ["x", "1.5", "Next", "99999999999999999999"],
    Moment: ["x", "-1", "1.5", "2026-13-01", "20260101T", "1000-01-01"],
    Ending: ["x", "0", "2026-01-01", "2030-01-01T00:00", "99999999999"],
    Date: ["x", "2026-13-01", "20260101", "2026-W01-1", "1000-01-01"],
    Text: ["x" * 300, "a\nb"],
    Choice: ["x"],
    Choices: ["x", "failure,x", "Failure", "failure warnings", "[]", '["failure", 1]'],
    Flag: ["x", "2", "yes", "-1", "1.0"],
    Globs: ["x" * 300, "a\tb", "\n".join(map(str, range(101))), "no-builder*", "no-builder"],
    Names: ["x" * 300, "a\tb", "\n".join(map(str, range(11)))],
    JsonObject: ["x", "[1]", '{"owner": "eve"}', '{"": 1}', '{"x": NaN}', '{"x": "\\u0000"}'],
    TextList: ["x", "{}", "[1]", '[""]', '["a\\nb"]'],
}
#: A value for each parameter that must be given and names no noun.
NEEDED = {
    "priority": "1",
    "q": "nothing has this in its name",
    "reason": "The lab moves",
    "expires": str(int(time.time()) + 86_400),
}
#: What else a read must be asked for.
WANTED = {"GET /goto": {"build": "1"}}
METHODS = ("GET", "POST", "PUT", "DELETE")


def path_of(route: Route, **other: str) -> str:
    """Return the path of *route* to what exists, but for the *other* nouns."""
    texts = {**EXISTING, **other}
    path = re.sub("<([a-z_]+)>", lambda match: quote(texts[match[1]], safe=""), route.path)
    return f"/self-serve{path}".rstrip("/")


def fits(route: Route, other: Route) -> bool:
    """Whether *route* matches what the path of *other* matches."""
    theirs = re.sub("<[a-z_]+>", "x", other.path)
    return re.fullmatch(re.sub("<[a-z_]+>", "[^/]+", route.path), theirs) is not None


def url_of(route: Route, query: dict[str, str] | None = None, **other: str) -> str:
    """Return the path of *route* with the query that it needs, and with *query*."""
    needed = {**body_of(route), **WANTED.get(route.name, {})} if route.method == "GET" else {}
    whole = urlencode({**needed, **(query or {})})
    return path_of(route, **other) + (f"?{whole}" if whole else "")


def body_of(route: Route) -> dict[str, str]:
    """Return what the route needs in its body to be well-formed."""
    return {
        param.name: EXISTING[param.noun] if param.noun else NEEDED[param.name]
        for param in route.params
        if param.required
    }


async def furnish(master: Any) -> None:
    """Make what EXISTING names, unless it is there, and let nothing change any more."""
    if (await master.get("/self-serve/main/build/1")).status == 200:
        return
    build = await master.finished_build()
    assert (build["buildid"], build["buildrequestid"]) == (1, 1)
    answer = await master.post("/self-serve/main/build", user=USER, data={"build_id": 1})
    await master.completed(answer.json["requests"][0]["request_id"])
    await _bisect(master)


async def _bisect(master: Any) -> None:
    """Begin a bisection of two pushes, and stop it."""
    place = {"branch": "main", "codebase": "", "repository": "https://example.org/repo"}
    ends = {"good": REVISION, "revision": "c" * 40}
    built = len(await master.requests())
    for revision in (*ends.values(), "e" * 40):  # the last one stays green
        await master.add_change(revision=revision, author="Ada", comments="Add", **place)
        built += 1  # one at a time, so that none is collapsed

        async def all_are_built(built: int = built) -> bool:
            requests = await master.requests()
            return len(requests) == built and all(one["complete"] for one in requests)

        await master.until(all_are_built, "the push is built")
    master.pause()
    ends["builder_name"] = "slow"
    begun = await master.post("/self-serve/main/bisect", user=USER, data=ends)
    path = f"/self-serve/main/bisect/{begun.json['job_id']}"
    assert (await master.request("DELETE", path, user=USER)).status == 202
    assert path.endswith(f"/{EXISTING['bisection']}")
    master.resume()


def reads() -> list[Route]:
    """Return the reads that have an end; tests/test_live.py and test_metrics.py try the others."""
    return [route for route in ROUTES if route.method == "GET" and route.live is None]


def job_requests() -> list[Route]:
    return [route for route in ROUTES if route.method != "GET"]


@pytest_twisted.ensureDeferred
async def test_every_read_has_two_renderings_of_one_value(master: Any) -> None:
    await furnish(master)
    for route in reads():
        if route.template is None:
            continue
        path = url_of(route)
        json = await master.get(path)
        assert (json.status, json.header("content-type")) == (200, "application/json"), path
        assert json.json is not None
        page = await master.get(path, json=False)
        assert (page.status, page.header("content-type")) == (200, "text/html; charset=utf-8")
        assert page.text.startswith("<!DOCTYPE html>")
        links = ", ".join(page.headers.getRawHeaders("link", []))
        twin = url_of(route, {"format": "json"})
        assert f'<{twin}>; rel="alternate"; type="application/json"' in links
        assert f'href="{twin}"'.replace("&", "&amp;") in page.text
        assert (await master.get(twin, json=False)).json == json.json


@pytest_twisted.ensureDeferred
async def test_every_read_answers_head_tags_and_packs(master: Any) -> None:
    await furnish(master)
    for route in reads():
        for form in ("json", "html") if route.template else ("json",):
            url = url_of(route, {"format": form})
            whole = await master.raw(url, {})
            head = await master.request("HEAD", url)
            assert (head.status, head.body) == (200, b""), url
            tag = str(whole.header("etag"))
            assert (await master.raw(url, {"If-None-Match": f'"x", {tag}'})).status == 304, url
            assert (await master.raw(url, {"If-None-Match": '"x"'})).status == 200
            length = await master.content_length("HEAD", url)
            assert length == len(whole.body), url


@pytest_twisted.ensureDeferred
async def test_every_noun_that_is_missing_is_named(master: Any) -> None:
    await furnish(master)
    for route in ROUTES:
        for noun in route.nouns:
            if MISSING[noun] is None:
                continue
            text, msg = MISSING[noun]  # type: ignore[misc]
            path = url_of(route, None, **{noun: text})
            answer = await master.request(route.method, path, user=USER, data=body_of(route))
            assert (answer.status, answer.header("content-type")) == (404, "application/json")
            told = answer.json
            if noun in ("step", "log"):
                assert told.pop("detail").startswith("its ")
            assert told == {"status": "FAILED", "msg": msg}, path
            page = await master.request(
                route.method, path, user=USER, json=False, data=body_of(route)
            )
            assert (page.status, page.header("content-type")) == (404, "text/html; charset=utf-8")
            assert msg in page.text


@pytest_twisted.ensureDeferred
async def test_every_bad_value_of_every_parameter_is_named(master: Any) -> None:
    await furnish(master)
    for route in ROUTES:
        for param in route.all_params:
            for bad in BAD[type(param)]:
                path, more = url_of(route, {param.name: bad}), {}
                if route.method != "GET":
                    path = path_of(route)
                    more = {"data": {**body_of(route), param.name: bad}}
                answer = await master.request(route.method, path, user=USER, **more)
                what = f"{route.name} {param.name}={bad!r}"
                assert answer.status == 400, what
                assert answer.json["msg"] == f"Bad {param.name}", what
                assert answer.json["status"] == "FAILED"
        url = url_of(route, {"format": "xml"})
        answer = await master.request(route.method, url, user=USER)
        assert (answer.status, answer.json["msg"]) == (400, "Bad format"), route.name
    assert len((await master.get("/self-serve/jobs")).json) == FURNISHED


@pytest_twisted.ensureDeferred
async def test_every_path_refuses_the_methods_that_it_has_not(master: Any) -> None:
    await furnish(master)
    for route in ROUTES:
        # also those of a wider route: POST of /rev/<revision>/<set> fits /rev/<revision>/is_done
        has = {other.method for other in ROUTES if fits(other, route)}
        allowed = sorted(has | {"OPTIONS"} | ({"HEAD"} if "GET" in has else set()))
        for method in sorted({*METHODS, "PATCH"} - has):
            answer = await master.request(method, path_of(route), user=USER)
            assert answer.status == 405, f"{method} {route.path}"
            assert answer.header("allow") == ", ".join(allowed)
            assert answer.json["status"] == "FAILED"


@pytest_twisted.ensureDeferred
async def test_every_job_request_is_for_known_users_only(master: Any) -> None:
    await furnish(master)
    for route in job_requests():
        assert route.permission is not None
        for headers in ({}, {"Authorization": "Basic YWRhOndyb25n"}):
            answer = await master.request(
                route.method, path_of(route), data=body_of(route), headers=headers
            )
            assert answer.status == 401, route.name
            assert answer.header("www-authenticate") == 'Basic realm="buildbot"'
        headers = {"Origin": "https://evil.example"}
        answer = await master.request(
            route.method, path_of(route), user=USER, data=body_of(route), headers=headers
        )
        assert answer.status == 403, route.name
    assert len((await master.get("/self-serve/jobs")).json) == FURNISHED
