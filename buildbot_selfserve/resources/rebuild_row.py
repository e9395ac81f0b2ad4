"""Rebuilds a build or a build request: both job requests mean the same of a row."""

from __future__ import annotations

from typing import Any

from buildbot_selfserve.control.planners.rebuild import rebuild
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Row
from buildbot_selfserve.resources.context import Answer
from buildbot_selfserve.resources.context import JobContext
from buildbot_selfserve.resources.given_properties import require_same_branch


async def rebuild_row(
    ctx: JobContext,
    branch: Branch,
    row: Row,
    priority: int,
    count: int,
    properties: dict[str, Any] | None,
    same_revision: bool,
) -> Answer:
    """Build *row* again, *count* times.

    :raises BadParameter: *properties* name another branch
    """
    require_same_branch(properties, branch)
    return await ctx.jobs.run(
        rebuild,
        row,
        priority=priority,
        count=count,
        properties=properties,
        same_revision=same_revision or None,  # the journal has what was asked for
    )
