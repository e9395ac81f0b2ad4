"""Build requests: look at one, rebuild it, cancel it, change its priority."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from typing import Literal
from typing import NamedTuple

from buildbot_selfserve.control.explain import queue
from buildbot_selfserve.control.planners import cancel
from buildbot_selfserve.control.planners import priority as priorities
from buildbot_selfserve.history import builds
from buildbot_selfserve.history.builders import is_built
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Receipt
from buildbot_selfserve.model import RequestDetail
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Why
from buildbot_selfserve.params.declared import CHANGED_PROPERTIES
from buildbot_selfserve.params.declared import COUNT
from buildbot_selfserve.params.declared import NEW_PRIORITY
from buildbot_selfserve.params.declared import PRIORITY
from buildbot_selfserve.params.declared import REQUEST_ID
from buildbot_selfserve.params.declared import SAME_REVISION
from buildbot_selfserve.permissions import CANCEL_REQUEST
from buildbot_selfserve.permissions import REBUILD_REQUEST
from buildbot_selfserve.permissions import REPRIORITIZE
from buildbot_selfserve.resources.context import Answer
from buildbot_selfserve.resources.context import JobContext
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.resources.rebuild_row import rebuild_row
from buildbot_selfserve.routes import declare


class RequestPage(NamedTuple):
    """What only the page of a request shows.

    :param is_built: it can be built again
    :param why: why it waits; ``None`` once it is complete
    """

    is_built: bool
    why: Why | None


def request_page(ctx: ReadContext, branch: Branch, request: RequestRow) -> RequestPage:
    """Return what only the page of *request* shows."""
    why = None if request.complete else queue.why(ctx.history, ctx.master_state, request)
    return RequestPage(is_built(ctx.history, request.builder_id), why)


@declare(
    "GET",
    "/<branch>/request/<request>",
    page_needs_master_state=True,
    beside=request_page,
    offers=(REBUILD_REQUEST, CANCEL_REQUEST, REPRIORITIZE),
    returns=RequestDetail,
    template="request.html",
)
def request_detail(ctx: ReadContext, branch: Branch, request: RequestRow) -> RequestDetail:
    """Return one build request, with its properties, its builds and what was done to it."""
    detail = builds.request_detail(ctx.history, branch, request)
    build_ids = [build.build_id for build in detail.builds]
    return replace(detail, jobs=ctx.journal.jobs_of_request(request, build_ids))


@declare(
    "GET",
    "/<branch>/request/<request>/why",
    needs_master_state=True,
    returns=Why,
    template="why.html",
)
def request_why(ctx: ReadContext, branch: Branch, request: RequestRow) -> Why:
    """Return why this build request waits, what matters most first.

    It names the cause, or says that it is not known. What other masters know is only told as far
    as the database has it.
    """
    return queue.why(ctx.history, ctx.master_state, request)


@declare(
    "DELETE",
    "/<branch>/request/<request>",
    permission=CANCEL_REQUEST,
    returns=Receipt,
)
async def cancel_request(ctx: JobContext, branch: Branch, request: RequestRow) -> Answer:
    """Cancel this build request, or stop its build if it is already running."""
    return await ctx.jobs.run(cancel.cancel_request, request)


@declare(
    "POST",
    "/<branch>/request",
    params=(REQUEST_ID, PRIORITY, COUNT, CHANGED_PROPERTIES, SAME_REVISION),
    permission=REBUILD_REQUEST,
    returns=Receipt,
)
async def rebuild_request(
    ctx: JobContext,
    branch: Branch,
    request: RequestRow,
    priority: int,
    count: int,
    properties: dict[str, Any] | None,
    same_revision: bool,
) -> Answer:
    """Build this build request again, count times.

    Each new build has the sourcestamps of the old request, and its properties but for those that
    are given.
    """
    return await rebuild_row(ctx, branch, request, priority, count, properties, same_revision)


@declare(
    "PUT",
    "/<branch>/request/<request>",
    params=(NEW_PRIORITY,),
    permission=REPRIORITIZE,
    returns=Receipt,
)
async def reprioritize(
    ctx: JobContext, branch: Branch, request: RequestRow, priority: int | Literal["next"]
) -> Answer:
    """Change the priority of this pending build request.

    Requests with a higher priority are built first; most have 0. With next, it is built before all
    that wait for its builder now.
    """
    return await ctx.jobs.run(priorities.reprioritize, request, priority=priority)
