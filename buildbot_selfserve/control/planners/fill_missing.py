"""Plans the missing builds of a revision: what schedulers would build and has no result."""

from __future__ import annotations

from collections.abc import Mapping

from buildbot_selfserve.control import virtual_builder_names
from buildbot_selfserve.control.planners import new_builds
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.control.planners.context import convergent
from buildbot_selfserve.control.rights import no_builder
from buildbot_selfserve.history import History
from buildbot_selfserve.history.revisions import known_revisions
from buildbot_selfserve.history.revisions import results_at
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import BuilderResult
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import Selection


@convergent
async def fill_missing(
    ctx: PlanContext, revision: Revision, selection: Selection, *, priority: int | None
) -> Plan:
    """Plan what the branch's schedulers would build at *revision* and has no result there.

    These are builders that were never requested, or whose requests were collapsed or cancelled, but
    not those whose build ran and skipped itself.

    :param priority: ``None`` for the schedulers' own priorities
    :param selection: only these builders
    :raises Forbidden: the user may build with none of these builders
    """
    results, any_revision = await ctx.read(_results_and_any, revision)
    by_name = {one.buildername: one for one in results}
    planned = await new_builds.of_schedulers(
        ctx,
        any_revision,
        lambda buildset, builder: (
            selection.takes(builder.name)
            and _is_missing(ctx, by_name, shown_name(buildset.properties, builder.name))
        ),
        new_builds.GivenChange(),
        priority=priority,
    )
    plan = planned.plan
    if not plan.buildsets and ctx.rights.denied:
        raise no_builder()
    if not plan.buildsets and planned.failed:
        raise new_builds.why_nothing(ctx, any_revision, planned)
    return new_builds.with_nothing(plan, "Nothing is missing")


def _results_and_any(
    history: History, revision: Revision
) -> tuple[list[BuilderResult], AnyRevision]:
    """Return each builder's result at *revision*, and the revision as it can be built."""
    return results_at(history, revision), known_revisions(history, [revision])[0]


def shown_name(properties: Mapping[str, tuple[object, str]], name: str) -> str:
    """Return the builder name, maybe virtual, under which a request is built."""
    value, _ = properties.get(virtual_builder_names.PROPERTY, (None, ""))
    return name if value is None else str(value)


def _is_missing(ctx: PlanContext, by_name: Mapping[str, BuilderResult], name: str) -> bool:
    """Return whether builder *name* has no result; if a build is open, note it as left out."""
    its = by_name.get(name)
    if its is None:
        return True
    if its.open and not its.has_result:
        ctx.rights.leave_out(name, "left_out", f"is {its.open}")
    return not (its.open or its.has_result)
