"""Bisections: the revision that broke a builder, found by building those in between."""

from __future__ import annotations

from typing import Any

from buildbot_selfserve.control.planners import bisect as planners
from buildbot_selfserve.history.builds import states_of
from buildbot_selfserve.model import Bisection
from buildbot_selfserve.model import BisectionDetail
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Receipt
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import WantedRange
from buildbot_selfserve.params.declared import BAD
from buildbot_selfserve.params.declared import BUILT_BUILDER
from buildbot_selfserve.params.declared import CONFIRM
from buildbot_selfserve.params.declared import GOOD
from buildbot_selfserve.params.declared import MOST_BISECTED
from buildbot_selfserve.params.declared import PROPERTIES
from buildbot_selfserve.permissions import BISECT
from buildbot_selfserve.permissions import CANCEL_BISECT
from buildbot_selfserve.resources.context import Answer
from buildbot_selfserve.resources.context import JobContext
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.resources.given_properties import require_same_branch
from buildbot_selfserve.routes import declare


@declare(
    "POST",
    "/<branch>/bisect",
    params=(BUILT_BUILDER, BAD, GOOD, MOST_BISECTED, CONFIRM, PROPERTIES),
    permission=BISECT,
    needs_setup=True,
    returns=Receipt,
)
async def bisect(
    ctx: JobContext,
    branch: Branch,
    built_builder: Builder,
    max: int,
    confirm: int,
    properties: dict[str, Any] | None,
    revision: Revision | None = None,
    good: Revision | None = None,
) -> Answer:
    """Find the revision that broke a builder, by building as few of those in between as possible.

    This goes on after the answer: GET /{branch}/bisect/{job_id} says how far it has come. It uses
    every result that there is. A revision whose builds have no result, such as an exception or a
    checkout that failed, is tried three times, then another one is. Asking for the same builder and
    range with the same confirm and properties again, while it runs, joins it. With properties, only
    the bisection's own builds count, since others were built without them.
    """
    require_same_branch(properties, branch)
    return await ctx.jobs.run(
        planners.bisect,
        WantedRange(branch, built_builder, revision, good),
        max=max,
        confirm=confirm,
        properties=properties,
    )


@declare(
    "GET",
    "/<branch>/bisect/<bisection>",
    offers=(CANCEL_BISECT,),
    returns=BisectionDetail,
    template="bisection.html",
)
def bisection(ctx: ReadContext, branch: Branch, bisection: Bisection) -> BisectionDetail:
    """Return how far a bisection has come, or how it ended.

    The status is running, found, flaky (a revision did not say the same again), range_only (what
    lies between cannot be built), insufficient_data, cancelled or failed.
    """
    return BisectionDetail(bisection, states_of(ctx.history, bisection.open_requests))


@declare(
    "DELETE",
    "/<branch>/bisect/<bisection>",
    permission=CANCEL_BISECT,
    returns=Receipt,
)
async def cancel_bisection(ctx: JobContext, branch: Branch, bisection: Bisection) -> Answer:
    """Stop a bisection: what it has requested is cancelled, or stopped while it runs."""
    return await ctx.jobs.run(planners.cancel_bisection, bisection)
