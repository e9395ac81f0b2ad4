"""Refuses job requests that come from pages of other sites.

Buildbot's session cookie has no SameSite attribute, so a browser sends it with a form that any
page anywhere posts to us.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlparse

from twisted.web.server import Request

from buildbot_selfserve.errors import Forbidden

#: Browsers leave these out of an Origin.
DEFAULT_PORTS = {"http": 80, "https": 443}
#: A host that is nobody's (RFC 2606): what fits it fits everybody.
ANYBODY = ("anybody.invalid", "http://anybody.invalid", "https://anybody.invalid")
#: What a pattern says of the port, after a colon or behind a star.
_PORT = re.compile(r":(?:[^:/\[\]]|\[[^\]]*\])*\Z|(?:[0-9?]|\[[^\]]*\])+\Z")


def require_same_site(master: Any, request: Request, via: str) -> None:
    """Check that no page of another site can have sent *request*.

    The first header that is there decides: Origin, Sec-Fetch-Site, Referer. Without any of them it
    was no browser of today; then credentials that a browser adds by itself are not enough.

    :param via: how the user was authenticated
    :raises Forbidden: a page of another site sent it, or may have
    """
    if via.startswith("token:"):
        return  # no browser adds one by itself
    origins = request.requestHeaders.getRawHeaders(b"origin")
    if origins:
        fine = all(is_trusted(master, origin.decode("latin-1")) for origin in origins)
        _require(fine, "its Origin is not this site")
        return
    site = request.getHeader(b"sec-fetch-site")
    if site:
        _require(site.lower() in (b"same-origin", b"none"), "its Sec-Fetch-Site says so")
        return
    referer = request.getHeader(b"referer")
    if referer:
        _require(is_trusted(master, referer.decode("latin-1")), "its Referer is not this site")
        return
    if via == "session" and request.getHeader(b"x-requested-with") is None:
        raise Forbidden(
            "Cannot tell which site sent this request",
            "with a session cookie, also send an Origin or X-Requested-With header",
        )


def _require(fine: bool, why: str) -> None:
    if not fine:
        raise Forbidden(
            "Cross-site request", f"{why}; add trusted sites to c['www']['allowed_origins']"
        )


def origin_of(request: Request) -> str | None:
    """Return the Origin header of *request*, if there is exactly one."""
    origins = request.requestHeaders.getRawHeaders(b"origin", [])
    return origins[0].decode("latin-1") if len(origins) == 1 else None


def is_trusted(master: Any, url: str) -> bool:
    """Whether a page at *url* may act as its visitor.

    It may if it is ours, as long as ``allowed_origins`` lets it, or if a pattern there names it. A
    pattern that everybody fits names nobody.
    """
    origin = _origin(url)
    if origin is None:
        return False
    patterns = _patterns(master)
    if origin == _origin(master.config.buildbotURL):
        return _fits(origin, patterns)
    return _fits(origin, [one for one in patterns if not _fits_everybody(one)])


def may_read(master: Any, url: str) -> bool:
    """Whether scripts of a page at *url* may read what anybody may read."""
    origin = _origin(url)
    return origin is not None and _fits(origin, _patterns(master))


def _patterns(master: Any) -> list[str]:
    # the same setting and default as Buildbot's REST API has (buildbot/www/rest.py)
    allowed = master.config.www.get("allowed_origins")
    if allowed is None:
        return [_origin(master.config.buildbotURL) or ""]
    return [str(one).lower() for one in allowed]


def _fits(origin: str, patterns: Iterable[str]) -> bool:
    # an exact match first: the brackets of an IPv6 address are a pattern to fnmatch
    return any(
        origin == _origin(pattern) or fnmatch.fnmatchcase(origin, pattern) for pattern in patterns
    )


def _fits_everybody(pattern: str) -> bool:
    """Whether *pattern* fits any host, whatever it says of the scheme and of the port."""
    portless = (pattern, _PORT.sub("", pattern))
    hosts = (one.rpartition("://")[2] for one in portless)
    return any(
        fnmatch.fnmatchcase(anybody, one) for one in (*portless, *hosts) for anybody in ANYBODY
    )


def _origin(url: str) -> str | None:
    """Return scheme, host and port of *url* as browsers write them, ``None`` if it has none."""
    try:
        parts = urlparse(url.lower())
        port = parts.port
    except ValueError:
        return None
    if not parts.scheme or not parts.hostname:
        return None
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = port is None or port == DEFAULT_PORTS.get(parts.scheme)
    return f"{parts.scheme}://{host}" + ("" if usual else f":{port}")
