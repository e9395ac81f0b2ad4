"""The root, and this API's own documentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from buildbot_selfserve.history import pushes
from buildbot_selfserve.history.branches import listed_branches
from buildbot_selfserve.model import ApiDocument
from buildbot_selfserve.model import Health
from buildbot_selfserve.model import Hold
from buildbot_selfserve.model import Manual
from buildbot_selfserve.model import RouteText
from buildbot_selfserve.resources.branches import held
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import ROUTES
from buildbot_selfserve.routes import declare

#: So many branches are named here; there may be very many.
MOST_BRANCHES = 100


class RootPage(NamedTuple):
    """What only the page of the root shows, by the names of branches.

    :param newest: the newest push of each branch that it names
    :param held: the hold of each branch that is held
    """

    newest: Mapping[str, Health]
    held: Mapping[str, Hold]


def root_page(ctx: ReadContext) -> RootPage:
    """Return what only the page of the root shows."""
    branches = listed_branches(ctx.history)[:MOST_BRANCHES]
    newest = pushes.newest_pushes(ctx.history, [one.branch for one in branches])
    return RootPage(newest, held(ctx))


@declare("GET", "/", beside=root_page, returns=Manual, template="root.html")
def manual(ctx: ReadContext) -> Manual:
    """List the routes of this API, and the most recently active branches."""
    return _manual(ctx)


@declare("GET", "/api", returns=Manual, template="api.html")
def api(ctx: ReadContext) -> Manual:
    """Return the same as the root; its page documents the routes."""
    return _manual(ctx)


@declare("GET", "/openapi.json", returns=ApiDocument)
def openapi(ctx: ReadContext) -> ApiDocument:
    """Return the OpenAPI 3.1 document of this API, for tools and client generators.

    It is always JSON, whatever the Accept header says.
    """
    return ApiDocument(ctx.openapi())


def _manual(ctx: ReadContext) -> Manual:
    routes = tuple(
        RouteText(route.method, route.shown_path, route.text, route.parameters())
        for route in ROUTES
    )
    branches = listed_branches(ctx.history)
    newest = branches[:MOST_BRANCHES]
    return Manual(routes, newest, len(branches) - len(newest))
