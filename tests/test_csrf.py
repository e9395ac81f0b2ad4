"""Cross-site: which job requests may come from a page elsewhere, and are refused."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from twisted.web.server import Request
from twisted.web.test.requesthelper import DummyChannel

from buildbot_selfserve.auth.csrf import require_same_site
from buildbot_selfserve.errors import Forbidden

OURS = "https://ci.example.org/buildbot/"
EVERY_WAY = ("session", "basic", "remote_user", "anonymous")

ORIGIN = "its Origin is not this site"
FETCH = "its Sec-Fetch-Site says so"
REFERER = "its Referer is not this site"


def refusal(
    via: str = "session",
    headers: dict[str, str] | list[tuple[str, str]] | None = None,
    url: str = OURS,
    **www: Any,
) -> Forbidden | None:
    """Return how a job request with *headers* is refused, ``None`` if it is not."""
    request = Request(DummyChannel())
    for name, value in headers.items() if isinstance(headers, dict) else headers or ():
        request.requestHeaders.addRawHeader(name, value.encode("latin-1"))
    master = SimpleNamespace(config=SimpleNamespace(buildbotURL=url, www=www))
    try:
        require_same_site(master, request, via)
    except Forbidden as error:
        return error
    return None


@pytest.mark.parametrize("via", EVERY_WAY)
@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://ci.example.org"},
        {"Origin": "HTTPS://CI.Example.Org"},
        {"Origin": "https://ci.example.org:443"},
        {"Sec-Fetch-Site": "same-origin"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "Same-Origin"},
        {"Referer": "https://ci.example.org/"},
        {"Referer": "https://ci.example.org/buildbot/self-serve/main?date=2024-01-01"},
        {"Referer": "https://ci.example.org"},
        # the first header that is there decides
        {"Origin": "https://ci.example.org", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://ci.example.org", "Referer": "https://evil.example/"},
        {"Sec-Fetch-Site": "same-origin", "Referer": "https://evil.example/"},
    ],
)
def test_a_page_of_this_site_may(via: str, headers: dict[str, str]) -> None:
    assert refusal(via, headers) is None


@pytest.mark.parametrize("via", EVERY_WAY)
@pytest.mark.parametrize(
    ("headers", "why"),
    [
        ({"Origin": "https://evil.example"}, ORIGIN),
        ({"Origin": "null"}, ORIGIN),
        ({"Origin": ""}, ORIGIN),
        ({"Origin": "http://ci.example.org"}, ORIGIN),
        ({"Origin": "https://ci.example.org:8443"}, ORIGIN),
        ({"Origin": "https://example.org"}, ORIGIN),
        ({"Origin": "https://evil.ci.example.org"}, ORIGIN),
        ({"Origin": "https://ci.example.org.evil.example"}, ORIGIN),
        ({"Origin": "https://ci.example.org@evil.example"}, ORIGIN),
        ({"Origin": "https://evil.example#https://ci.example.org"}, ORIGIN),
        ({"Origin": "ci.example.org"}, ORIGIN),
        ({"Origin": "https://[evil"}, ORIGIN),
        ({"Origin": "https://ci.example.or\xe9"}, ORIGIN),
        ({"Sec-Fetch-Site": "cross-site"}, FETCH),
        ({"Sec-Fetch-Site": "same-site"}, FETCH),
        ({"Sec-Fetch-Site": "anything"}, FETCH),
        ({"Referer": "https://evil.example/https://ci.example.org/"}, REFERER),
        ({"Referer": "https://evil.example/?https://ci.example.org/"}, REFERER),
        ({"Referer": "https://ci.example.org:pass@evil.example/"}, REFERER),
        ({"Referer": "http://ci.example.org/"}, REFERER),
        ({"Referer": "about:blank"}, REFERER),
        # the first header that is there decides
        ({"Origin": "null", "Sec-Fetch-Site": "same-origin"}, ORIGIN),
        ({"Origin": "https://evil.example", "Referer": "https://ci.example.org/"}, ORIGIN),
        ({"Sec-Fetch-Site": "cross-site", "Referer": "https://ci.example.org/"}, FETCH),
        # which a page elsewhere cannot send without our leave, but a header that is there decides
        ({"Origin": "https://evil.example", "X-Requested-With": "XMLHttpRequest"}, ORIGIN),
    ],
)
def test_a_page_elsewhere_may_not(via: str, headers: dict[str, str], why: str) -> None:
    refused = refusal(via, headers)
    assert refused is not None
    assert refused.msg == "Cross-site request"
    assert refused.detail == f"{why}; add trusted sites to c['www']['allowed_origins']"


@pytest.mark.parametrize(
    ("via", "headers", "allowed"),
    [
        ("session", {}, False),
        ("session", {"X-Requested-With": "curl"}, True),
        ("session", {"X-Requested-With": ""}, True),
        ("basic", {}, True),
        ("remote_user", {}, True),
        ("anonymous", {}, True),
    ],
)
def test_without_a_word_of_its_page_a_session_is_not_enough(
    via: str, headers: dict[str, str], allowed: bool
) -> None:
    refused = refusal(via, headers)
    assert (refused is None) is allowed
    assert refused is None or "X-Requested-With" in refused.detail


@pytest.mark.parametrize(
    ("origin", "allowed_origins", "allowed"),
    [
        ("https://tools.example.org", ["https://tools.example.org"], True),
        ("https://tools.example.org", ["https://other.example.org"], False),
        ("https://tools.example.org", ["https://*.example.org"], True),
        ("https://TOOLS.example.org", ["https://Tools.Example.Org"], True),
        ("https://example.org", ["https://*.example.org"], False),
        ("https://evil.example/x.example.org", ["https://*.example.org"], False),
        ("https://evil.example?.example.org", ["https://*.example.org"], False),
        ("http://tools.example.org", ["https://*.example.org"], False),
        ("https://b.example", ["https://a.example", "https://b.example"], True),
        ("http://localhost:3000", ["http://localhost:3000"], True),
        ("http://localhost:3001", ["http://localhost:300?"], True),
        ("https://tools.example.org", ["https://*.org"], True),
        # what everybody fits names nobody in particular
        ("https://anything.example", ["*"], False),
        ("https://anything.example", ["https://*"], False),
        ("http://anything.example", ["*://*"], False),
        ("http://anything.example", ["http*"], False),
        ("http://anything.example:8080", ["http://*:*"], False),
        ("http://anything.example:8080", ["http://*:8080"], False),
        ("https://anything.example:8443", ["https://*:8443"], False),
        ("https://anything.example:8443", ["*:84??"], False),
        ("https://anything.example:8443", ["https://*8443"], False),
        ("https://anything.example:8443", ["https://?*:[0-9]*"], False),
        ("moz-extension://anything", ["moz-extension://*"], False),
        ("http://tools.example.org:8080", ["http://*.example.org:*"], True),
        ("http://tools.example.org:8080", ["*.example.org:8080"], True),
        ("http://[::1]:8080", ["http://[::1]:8080"], True),
        ("https://anything.example", ["*", "https://anything.example"], True),
        ("https://ci.example.org", ["*"], True),
        ("https://ci.example.org", [], False),
        # the setting takes the place of the default, as it does for Buildbot's REST API
        ("https://ci.example.org", ["https://tools.example.org"], False),
    ],
)
def test_the_operator_may_trust_other_sites(
    origin: str, allowed_origins: list[str], allowed: bool
) -> None:
    by_origin = refusal(headers={"Origin": origin}, allowed_origins=allowed_origins)
    assert (by_origin is None) is allowed
    by_referer = refusal(headers={"Referer": f"{origin}/"}, allowed_origins=allowed_origins)
    assert (by_referer is None) is allowed


@pytest.mark.parametrize(
    ("url", "origin", "allowed"),
    [
        ("http://localhost:8010/", "http://localhost:8010", True),
        ("http://localhost:8010/", "http://localhost", False),
        ("http://localhost:8010/", "http://127.0.0.1:8010", False),
        ("https://CI.example.org/", "https://ci.example.org", True),
        ("http://[::1]:8010/", "http://[::1]:8010", True),
        ("http://[::1]:8010/", "http://:8010", False),
    ],
)
def test_this_site_is_what_buildbot_says_its_url_is(url: str, origin: str, allowed: bool) -> None:
    assert (refusal(headers={"Origin": origin}, url=url) is None) is allowed


@pytest.mark.parametrize("others", [["https://evil.example"], ["null"], [""]])
def test_of_several_origins_none_may_be_foreign(others: list[str]) -> None:
    for origins in ([OURS, *others], [*others, OURS]):
        refused = refusal(headers=[("Origin", one) for one in origins])
        assert refused is not None
        assert ORIGIN in str(refused.detail)
    assert refusal(headers=[("Origin", OURS), ("Origin", OURS)]) is None
