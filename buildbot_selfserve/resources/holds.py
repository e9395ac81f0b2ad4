"""Holds: what of a branch does not start for a while."""

from __future__ import annotations

from buildbot_selfserve.control import held_requests
from buildbot_selfserve.control.planners import hold as planners
from buildbot_selfserve.history.builders import builders_of
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BranchHold
from buildbot_selfserve.model import Holds
from buildbot_selfserve.model import Receipt
from buildbot_selfserve.model import Selection
from buildbot_selfserve.params.declared import ABOVE
from buildbot_selfserve.params.declared import EXPIRES
from buildbot_selfserve.params.declared import HOLD_REASON
from buildbot_selfserve.permissions import HOLD
from buildbot_selfserve.permissions import RELEASE
from buildbot_selfserve.resources.context import Answer
from buildbot_selfserve.resources.context import JobContext
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import declare


def hold_page(ctx: ReadContext, branch: Branch) -> tuple[str, ...]:
    """Return the names of the builders of *branch*, for its form."""
    return tuple(one.name for one in builders_of(ctx.history, branch).builders)


@declare(
    "GET",
    "/<branch>/hold",
    needs_master_state=True,
    page_needs_setup=True,
    beside=hold_page,
    offers=(HOLD, RELEASE),
    returns=Holds,
    template="holds.html",
)
def branch_holds(ctx: ReadContext, branch: Branch) -> Holds:
    """List the holds of this branch, and how many pending requests each keeps from starting."""
    holds = ctx.journal.holds(branch)
    numbers = held_requests.numbers(ctx.history, holds, ctx.master_state.aliases)
    return Holds(branch, tuple(map(BranchHold, holds, numbers)))


@declare(
    "PUT",
    "/<branch>/hold",
    params=(HOLD_REASON, EXPIRES, ABOVE),
    selects=True,
    permission=HOLD,
    returns=Receipt,
)
async def hold(
    ctx: JobContext,
    branch: Branch,
    selection: Selection,
    reason: str,
    expires: int,
    above: int | None,
) -> Answer:
    """Keep pending requests of this branch from starting, until expires.

    New requests may be made, and wait as well; builds that run go on, with the builds that they
    trigger and wait for. A hold with the same selectors is replaced.
    """
    return await ctx.jobs.run(
        planners.hold, branch, selection, reason=reason, expires=expires, above=above
    )


@declare(
    "DELETE",
    "/<branch>/hold",
    selects=True,
    permission=RELEASE,
    returns=Receipt,
)
async def release(ctx: JobContext, branch: Branch, selection: Selection) -> Answer:
    """End the hold of this branch that has these selectors; without any, end all of its holds."""
    return await ctx.jobs.run(planners.release, branch, selection)
