"""Search, and links from Buildbot's pages to ours."""

from __future__ import annotations

from typing import Any

from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import NotFound
from buildbot_selfserve.history.search import PAGES
from buildbot_selfserve.history.search import page_of_numbered_build
from buildbot_selfserve.history.search import search_results
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Destination
from buildbot_selfserve.model import SearchResults
from buildbot_selfserve.params.declared import GOTO_BUILD
from buildbot_selfserve.params.declared import GOTO_BUILDER
from buildbot_selfserve.params.declared import GOTO_CHANGE
from buildbot_selfserve.params.declared import GOTO_NUMBER
from buildbot_selfserve.params.declared import GOTO_REQUEST
from buildbot_selfserve.params.declared import ON_BRANCH
from buildbot_selfserve.params.declared import SEARCH_LIMIT
from buildbot_selfserve.params.declared import SEARCHED
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import declare


@declare(
    "GET",
    "/search",
    params=(SEARCHED, ON_BRANCH, SEARCH_LIMIT),
    returns=SearchResults,
    template="search.html",
)
def search(
    ctx: ReadContext, q: str, branch: Branch | None = None, limit: int = 20
) -> SearchResults:
    """Find a revision, or builders, authors and branches with a text in their names.

    A build or request is found by its id, a recent push by its subject. The answer says of which
    kinds there are more than limit. A browser that searches for what is found once gets its page.
    """
    return search_results(ctx.history, q, branch, limit)


@declare(
    "GET",
    "/goto",
    params=(GOTO_BUILD, GOTO_REQUEST, GOTO_CHANGE, GOTO_BUILDER, GOTO_NUMBER),
    returns=Destination,
)
def goto(
    ctx: ReadContext,
    build: int | None,
    request: int | None,
    change: int | None,
    builder: str | None,
    number: int | None,
) -> Destination:
    """Lead on to the page of a build, request, change or builder that Buildbot's pages show.

    Give one of them; for a build, its id, or the builder and the number that Buildbot's URLs have.
    A builder leads to the branch where it was last requested.
    """
    kind, asked = _asked(build=build, request=request, change=change, builder=builder)
    if number is None:
        return _found(PAGES[kind](ctx.history, asked), f"{kind.capitalize()} {asked}")
    if kind != "builder":
        raise BadParameter("number", "left out, unless builder is given")
    found = page_of_numbered_build(ctx.history, asked, number)
    return _found(found, f"Build {number} of builder {asked}")


def _asked(**given: Any) -> tuple[str, Any]:
    """Return the one thing that is *given*, and its kind.

    :raises BadParameter: there is none, or more than one
    """
    kinds = [kind for kind, value in given.items() if value is not None]
    if len(kinds) == 1:
        return kinds[0], given[kinds[0]]
    if kinds:
        raise BadParameter(kinds[1], f"left out, because {kinds[0]} is given")
    raise BadParameter("build", "given, unless request, change or builder is")


def _found(page: Destination | None, what: str) -> Destination:
    """Return the *page* that was found.

    :raises NotFound: there is none
    """
    if page is None:
        raise NotFound(
            f"{what} not found", "it does not exist, or was never requested on a branch shown here"
        )
    return page
