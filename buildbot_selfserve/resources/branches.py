"""Branches, and what happened on one."""

from __future__ import annotations

import datetime

from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Branches
from buildbot_selfserve.model import Day
from buildbot_selfserve.params.declared import DATE
from buildbot_selfserve.params.declared import WITH_REVISION
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import declare


@declare(
    "GET",
    "/branches",
    params=(WITH_REVISION,),
    large=True,
    returns=Branches,
    template="branches.html",
)
def branches(ctx: ReadContext, revision: str | None) -> Branches:
    """The branches, with the repositories that they live in; all, or those with a revision."""
    every = ctx.history.branches()
    if revision is None:
        return Branches(every)
    found = tuple(ctx.history.revisions_on(every, revision))
    names = {one.branch.name for one in found}
    return Branches(tuple(one for one in every if one.name in names), revision, found)


@declare(
    "GET", "/<branch>", params=(DATE,), large=True, paged=True, returns=Day, template="day.html"
)
def branch_day(ctx: ReadContext, branch: Branch, date: datetime.date | None) -> Day:
    """The builds and requests of one day on this branch: finished, running and pending.

    A build belongs to the day on which it started. What still runs or waits belongs to today.
    """
    return ctx.history.day(branch, date)
