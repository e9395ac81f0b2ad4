"""Backfills: the builds that are missing between a good revision and a bad one."""

from __future__ import annotations

from buildbot_selfserve.control.planners import backfill as planners
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Receipt
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import WantedRange
from buildbot_selfserve.params.declared import BACKFILL_PRIORITY
from buildbot_selfserve.params.declared import BAD
from buildbot_selfserve.params.declared import BUILT_BUILDER
from buildbot_selfserve.params.declared import FORCE
from buildbot_selfserve.params.declared import GOOD
from buildbot_selfserve.params.declared import MOST_BETWEEN
from buildbot_selfserve.params.declared import ORDER
from buildbot_selfserve.params.declared import TIMES
from buildbot_selfserve.permissions import BACKFILL
from buildbot_selfserve.resources.context import Answer
from buildbot_selfserve.resources.context import JobContext
from buildbot_selfserve.routes import declare


@declare(
    "POST",
    "/<branch>/backfill",
    params=(BUILT_BUILDER, BAD, GOOD, MOST_BETWEEN, TIMES, ORDER, BACKFILL_PRIORITY, FORCE),
    permission=BACKFILL,
    needs_setup=True,
    returns=Receipt,
)
async def backfill(
    ctx: JobContext,
    branch: Branch,
    built_builder: Builder,
    max: int,
    times: int,
    order: str,
    priority: int | None,
    force: bool,
    revision: Revision | None = None,
    good: Revision | None = None,
) -> Answer:
    """Find out since when a builder fails: build what is missing between a good and a bad revision.

    Each revision between the two gets a build, unless it has a result, or one is pending or
    running. A failure is a result, as a success is; a build that was cancelled, skipped or retried
    is none. Sending this twice builds nothing twice. Revisions of other branches and codebases are
    left alone. The builds have the property selfserve_range, the id of this job request. With the
    order halving, at most two of them wait or run at a time: the job request goes on until all have
    been requested, and stops if one of them is cancelled.
    """
    return await ctx.jobs.run(
        planners.backfill,
        WantedRange(branch, built_builder, revision, good),
        max=max,
        times=times,
        order=order,
        priority=priority,
        force=force or None,  # the journal has what was asked for
    )
