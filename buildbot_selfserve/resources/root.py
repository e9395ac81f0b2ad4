"""The root, and this API's own documentation."""

from __future__ import annotations

from buildbot_selfserve.history import pushes
from buildbot_selfserve.history.branches import listed_branches
from buildbot_selfserve.model import ApiDocument
from buildbot_selfserve.model import Health
from buildbot_selfserve.model import Manual
from buildbot_selfserve.model import RouteText
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import ROUTES
from buildbot_selfserve.routes import declare

#: So many branches are named here; there may be very many.
MOST_BRANCHES = 100


def newest_pushes(ctx: ReadContext) -> dict[str, Health]:
    """Return the newest pushes of the branches that the root names, by the branches' names."""
    branches = listed_branches(ctx.history)[:MOST_BRANCHES]
    return pushes.newest_pushes(ctx.history, [one.branch for one in branches])


@declare("GET", "/", beside=newest_pushes, returns=Manual, template="root.html")
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
