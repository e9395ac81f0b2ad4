"""Redirects from Buildbot's login and logout back to the page of ours that led there.

By themselves they end at ``buildbotURL#/self-serve/...``, which takes a script to lead on from, and
a login at an OAuth provider forgets where it began.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs
from urllib.parse import unquote

from twisted.web.resource import IResource
from twisted.web.resource import Resource
from twisted.web.server import Request

from buildbot_selfserve.model import Site

#: Where Buildbot has login and logout, under its root.
_AUTH = b"auth"
#: What ``authentication.door_url`` asks to be led back to: whatever our path is, it begins so.
_OURS = re.compile(r"/self-serve(|[/?][!-~]*)", re.ASCII)


class LoginRedirects:
    """Leads those who log in or out back to where they came from, while we are mounted.

    :param site: returns where our pages are
    """

    def __init__(self, master: Any, site: Callable[[], Site]) -> None:
        self._master = master
        self._site = site

    def install(self, web_root: Resource) -> None:
        """Stand before Buildbot's own resource for it, where there is one by now."""
        self.remove(web_root)
        theirs = web_root.children.get(_AUTH)
        if theirs is not None:
            web_root.putChild(_AUTH, _Auth(theirs, self._lead_back))

    def remove(self, web_root: Resource) -> None:
        """Restore Buildbot's own resource."""
        ours = web_root.children.get(_AUTH)
        if isinstance(ours, _Auth):
            web_root.putChild(_AUTH, ours.theirs)

    def _lead_back(self, request: Any) -> None:
        """Let *request* end on the page that it names, where Buildbot would show one of its own."""
        rest = _asked_for(request)
        if rest is None:
            return
        theirs = request.redirect

        def redirect(url: bytes) -> None:
            # on the way to an OAuth provider it leads elsewhere first
            is_end = url.partition(b"#")[0].decode("latin-1") == self._master.config.buildbotURL
            theirs((self._site().root + rest).encode("ascii") if is_end else url)

        request.redirect = redirect


class _Auth(Resource):
    """Hands each request to Buildbot's resource, after *prepare* was called with it."""

    def __init__(self, theirs: IResource, prepare: Callable[[Request], None]) -> None:
        Resource.__init__(self)
        self.theirs = theirs
        self._prepare = prepare

    def getChildWithDefault(self, path: bytes, request: Any) -> IResource:
        self._prepare(request)
        child: IResource = self.theirs.getChildWithDefault(path, request)
        return child

    def render(self, request: Any) -> Any:
        return self.theirs.render(request)


def _asked_for(request: Request) -> str | None:
    """Return what follows our root in the URL that *request* asks to be led back to.

    A provider of OAuth gives it back in ``state`` (buildbot/www/oauth2.py, getLoginURL).

    :return: ``None`` if that is no page of ours
    """
    asked = _first(request, b"redirect")
    if not asked:
        asked = parse_qs(_first(request, b"state")).get("redirect", [""])[0]
    found = _OURS.fullmatch(asked)
    if found is None:
        return None
    rest = found[1]
    segments = unquote(rest.partition("?")[0]).replace("\\", "/").split("/")
    # a browser would take these as steps up, and so out of our pages
    return None if "#" in rest or {".", ".."} & set(segments) else rest


def _first(request: Request, name: bytes) -> str:
    values: list[bytes] = (request.args or {}).get(name, [b""])
    return values[0].decode("latin-1")
