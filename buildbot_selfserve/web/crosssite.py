"""Whether a job request comes from a page of this site, or from no page at all.

Buildbot's session cookie has no SameSite attribute, so a browser sends it with a form that any
page anywhere posts to us.
"""

from __future__ import annotations

import fnmatch
from typing import Any
from urllib.parse import urlparse

from twisted.web.server import Request

from buildbot_selfserve.errors import Forbidden


def require_same_site(master: Any, request: Request, via: str) -> None:
    """Return if no foreign page can have sent *request*.

    The first header that is there decides: Origin, Sec-Fetch-Site, Referer. Without any of them it
    was no browser of today; then credentials that a browser adds by itself are not enough.

    :param via: how the asker proved who they are
    :raises Forbidden: a foreign page sent it, or may have
    """
    origin = request.getHeader(b"origin")
    if origin is not None:
        _require(_is_ours(master, origin), "its Origin is not this site")
        return
    site = request.getHeader(b"sec-fetch-site")
    if site is not None:
        _require(site.lower() in (b"same-origin", b"none"), "its Sec-Fetch-Site says so")
        return
    referer = request.getHeader(b"referer")
    if referer is not None:
        _require(_is_ours(master, referer), "its Referer is not this site")
        return
    if via == "session" and request.getHeader(b"x-requested-with") is None:
        raise Forbidden(
            "It cannot be told which page sent this",
            "with a session cookie, send an Origin or an X-Requested-With header",
        )


def _require(fine: bool, why: str) -> None:
    if not fine:
        raise Forbidden(
            "Cross-site request", f"{why}; c['www']['allowed_origins'] names other trusted sites"
        )


def _is_ours(master: Any, url: bytes) -> bool:
    try:
        parts = urlparse(url.decode("latin-1"))
    except ValueError:
        return False
    own = urlparse(master.config.buildbotURL)
    # the same setting and default as Buildbot's REST API has (buildbot/www/rest.py)
    allowed = master.config.www.get("allowed_origins", [f"{own.scheme}://{own.netloc}"])
    origin = f"{parts.scheme}://{parts.netloc}".lower()
    # an exact match first: the brackets of an IPv6 address are a pattern to fnmatch
    return any(
        origin == one or fnmatch.fnmatchcase(origin, one)
        for one in (str(pattern).lower() for pattern in allowed)
    )
