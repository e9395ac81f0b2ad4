"""Plans holds and their ends."""

from __future__ import annotations

import time
from collections.abc import Iterable

from buildbot_selfserve.control import held_requests
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.control.planners.context import convergent
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.journal import holds as journal_holds
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Hold
from buildbot_selfserve.model import HoldChange
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import Selection

#: The largest number of holds of a branch.
MOST_HOLDS = 50
#: The largest number of denied builders to name in an error.
MOST_NAMED = 5


@convergent
async def hold(
    ctx: PlanContext,
    branch: Branch,
    selection: Selection,
    *,
    reason: str,
    expires: int,
    above: int | None,
) -> Plan:
    """Plan to keep pending requests of *branch* from starting until *expires*.

    :param expires: epoch seconds
    :param above: requests with this priority or a higher one start anyway
    :raises Forbidden: the user may not hold all these builders
    :raises Refused: the branch has too many holds
    """
    await _require_rights(ctx, selection)
    made = _new(branch, selection, reason, ctx.who, expires, above)
    its = await _holds_of(ctx, branch)
    before = tuple(one for one in its if one.key == made.key)
    if not before and len(its) >= MOST_HOLDS:
        raise Refused(f"Branch {branch.name} has {len(its)} holds already", "end some of them")
    waiting = await ctx.read(held_requests.of_holds, [made], await ctx.holds.aliases())
    return Plan(holding=HoldChange(made, before, tuple(waiting)))


@convergent
async def release(ctx: PlanContext, branch: Branch, selection: Selection) -> Plan:
    """Plan to end the holds of *branch*: all, or the hold with the same selectors.

    :raises Forbidden: the user may not hold all builders of these holds
    """
    its = await _holds_of(ctx, branch)
    if any(selection.patterns.values()):
        wanted = _new(branch, selection, "", "", 0, None).key
        its = [one for one in its if one.key == wanted]
    if not its:
        await _require_rights(ctx, selection)
        return Plan(nothing=f"Branch {branch.name} has no such hold")
    for one in its:
        await _require_rights(ctx, one.selection)
    waiting = await ctx.read(held_requests.of_holds, its, await ctx.holds.aliases())
    return Plan(holding=HoldChange(None, tuple(its), tuple(waiting)))


def _new(
    branch: Branch, selection: Selection, reason: str, who: str, expires: int, above: int | None
) -> Hold:
    patterns = selection.patterns
    return Hold(
        branch.name,
        reason,
        who,
        int(time.time()),
        expires,
        builders=patterns.get("builders", ()),
        tags=patterns.get("tags", ()),
        exclude_builders=patterns.get("exclude_builders", ()),
        above=above,
        names=selection.names if patterns.get("builders") or patterns.get("tags") else None,
        excluded=selection.excluded,
    )


async def _holds_of(ctx: PlanContext, branch: Branch) -> list[Hold]:
    """Return the holds in force on *branch* from the journal."""
    every: Iterable[Hold] = await ctx.holds.write(journal_holds.every)
    now = time.time()
    return [one for one in every if one.branch == branch.name and one.lasts(now)]


async def _require_rights(ctx: PlanContext, selection: Selection) -> None:
    """Check that the user may hold each of the selected builders.

    :raises Forbidden: the user may not hold all of them
    """
    built = await ctx.rights.built_names()
    names = built if selection.names is None else selection.names
    wanted = [Builder(0, name) for name in sorted(names - selection.excluded)]
    denied = await ctx.rights.denied_of(wanted)
    if denied:
        more = len(denied) - MOST_NAMED
        named = ", ".join(one.name for one in denied[:MOST_NAMED]) + (
            f" and {more} more" if more > 0 else ""
        )
        raise Forbidden("You may not hold all of these builders", f"not allowed: {named}")
