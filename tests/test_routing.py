"""Where the path of a GET leads, which is looked up once for each path."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import pytest
from twisted.web.server import Request

from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.routes import Route
from buildbot_selfserve.web import routing

#: What may stand in one segment, decoded.
TEXTS = ("main", "a/b", "50%", "%2F", "ü ?#", "1", "jobs", "a;b=c", "..", "+", "{x}", "<y>")


@pytest.fixture(scope="module")
def resource() -> Any:
    async def endpoint(route: Route, request: Request, texts: dict[str, str]) -> bytes:
        return b""

    def refuse(request: Request, error: SelfServeError) -> bytes:
        return b""

    def again(request: Request) -> None:
        return None

    return routing.resource(
        ROUTES, endpoint, again, refuse, lambda: "/self-serve", lambda request: None
    )


def by_klein(resource: Any, segments: tuple[str, ...]) -> Any:
    """Return what Klein would call for a GET, and with which texts."""
    path = "/" + "/".join(quote(text, safe="") for text in segments)
    rule, texts = resource._app.url_map.bind("localhost").match(path, "GET", return_rule=True)
    return rule.endpoint, {name.removeprefix("text_of_"): text for name, text in texts.items()}


def segments_of(route: Route, text: str) -> tuple[str, ...]:
    parts = route.path.strip("/").split("/") if route.path != "/" else []
    return tuple(text if part.startswith("<") else part for part in parts)


@pytest.mark.parametrize("text", TEXTS)
def test_a_get_finds_what_klein_finds(resource: Any, text: str) -> None:
    for route in ROUTES:
        if route.method == "GET":
            segments = segments_of(route, text)
            found, texts = resource._found(segments)
            assert (found.name, texts) == by_klein(resource, segments)
            assert tuple(texts) == found.nouns


@pytest.mark.parametrize(
    "segments", [("a", "b", "c", "d", "e", "f", "g", "h"), ("main", "nothing")]
)
def test_what_leads_nowhere_is_left_to_klein(resource: Any, segments: tuple[str, ...]) -> None:
    assert resource._found(segments) is None


def test_what_only_takes_job_requests_is_left_to_klein(resource: Any) -> None:
    paths = {route.path for route in ROUTES if route.method == "GET"}
    only = [route for route in ROUTES if route.path not in paths]
    assert only
    for route in only:
        found = resource._found(segments_of(route, "1"))
        # /<branch>/rev/<revision>/<set> may be what another path says in words
        assert found is None or found[0].method == "GET"


def test_paths_that_clients_make_up_take_little_memory(resource: Any) -> None:
    assert resource._remembered.cache_info().maxsize == routing.MOST_REMEMBERED
    assert routing.MOST_REMEMBERED * routing.LONGEST_REMEMBERED < 1e6
