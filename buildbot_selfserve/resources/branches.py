"""Branches, and what happened on one."""

from __future__ import annotations

import datetime
from contextlib import suppress

from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.history.branches import listed_branches
from buildbot_selfserve.history.days import day
from buildbot_selfserve.history.revisions import candidates
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Branches
from buildbot_selfserve.model import Day
from buildbot_selfserve.model import Hold
from buildbot_selfserve.params.declared import DATE
from buildbot_selfserve.params.declared import SEARCH
from buildbot_selfserve.params.declared import WITH_REVISION
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import declare


def held(ctx: ReadContext) -> dict[str, Hold]:
    """Return the hold of each held branch by its name, of several the one that matters most.

    A hold of the whole branch does, then the one that ends last. There are none while the journal
    cannot be read.
    """
    found: list[Hold] = []
    with suppress(Unavailable):
        found = ctx.journal.all_holds()
    return {one.branch: one for one in sorted(found, key=lambda one: (one.is_whole, one.expires))}


@declare(
    "GET",
    "/branches",
    beside=held,
    params=(WITH_REVISION, SEARCH),
    large=True,
    paged=True,
    returns=Branches,
    template="branches.html",
)
def branches(ctx: ReadContext, revision: str | None, search: str | None) -> Branches:
    """List the branches and their repositories: all, or those with a revision.

    The most recently active branch comes first.
    """
    every = listed_branches(ctx.history, search)
    if revision is None:
        return Branches(every, search=search)
    found = tuple(candidates(ctx.history, [one.branch for one in every], revision))
    names = {one.branch.name for one in found}
    rows = tuple(one for one in every if one.branch.name in names)
    return Branches(rows, revision, found, search)


@declare(
    "GET", "/<branch>", params=(DATE,), large=True, paged=True, returns=Day, template="day.html"
)
def branch_day(ctx: ReadContext, branch: Branch, date: datetime.date | None) -> Day:
    """List the builds and requests of one day on this branch: finished, running and pending.

    A build belongs to the day on which it started. Running builds and pending requests belong to
    today.
    """
    return day(ctx.history, branch, date)
