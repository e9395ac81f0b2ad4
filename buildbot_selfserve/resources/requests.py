"""Build requests: look at one, cancel it."""

from __future__ import annotations

from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Receipt
from buildbot_selfserve.model import RequestDetail
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.permissions import CANCEL_REQUEST
from buildbot_selfserve.resources.context import JobContext
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import declare


@declare("GET", "/<branch>/request/<request>", returns=RequestDetail, template="request.html")
def request_detail(ctx: ReadContext, branch: Branch, request: RequestRow) -> RequestDetail:
    """One build request, with its properties and its builds."""
    return ctx.history.request_detail(branch, request)


@declare(
    "DELETE",
    "/<branch>/request/<request>",
    permission=CANCEL_REQUEST,
    returns=Receipt,
    template="job.html",
)
async def cancel_request(ctx: JobContext, branch: Branch, request: RequestRow) -> Receipt:
    """Cancel this build request, or stop its build when it runs already."""
    return await ctx.jobs.run("cancel_request", ctx.control.cancel_request, request)
