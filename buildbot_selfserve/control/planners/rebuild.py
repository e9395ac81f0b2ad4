"""Plans rebuilds of a build or request, and reruns of failures at a revision."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from buildbot_selfserve.control import current_state
from buildbot_selfserve.control.planners.builders import require_configured
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.control.planners.context import convergent
from buildbot_selfserve.control.planners.fill_missing import shown_name
from buildbot_selfserve.control.planners.originals import Original
from buildbot_selfserve.control.planners.originals import as_found
from buildbot_selfserve.control.planners.originals import is_rebuilt
from buildbot_selfserve.control.planners.originals import originals
from buildbot_selfserve.control.planners.originals import originals_and_rebuilt
from buildbot_selfserve.control.planners.originals import roots
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.history.revisions import results_at
from buildbot_selfserve.model import MARKS
from buildbot_selfserve.model import BuilderResult
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import NewBuildset
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import Properties
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import Row
from buildbot_selfserve.model import Selection
from buildbot_selfserve.model import Target
from buildbot_selfserve.model import one_spelling

#: The number of properties that rebuilds of rebuilds may add up to: Buildbot takes seconds to begin
#: a build with ten thousand.
MOST_PROPERTIES = 1000


async def rebuild(
    ctx: PlanContext,
    row: Row,
    *,
    priority: int,
    count: int,
    properties: Mapping[str, Any] | None,
    same_revision: bool | None = None,
) -> Plan:
    """Plan *count* copies of the request of *row*, with its properties and sourcestamps.

    The request is copied, not the build, because the build of a virtual builder has another
    builder.

    :param properties: values that replace the request's properties; ``None`` removes a property
    :param same_revision: build what its build found where its sourcestamps name no revision
    :raises Refused: no master has the builder any more, or there is no revision that was found
    :raises Forbidden: the user may not rebuild it
    """
    request_id = row.request.request_id
    original = (await originals(ctx.master, [request_id])).get(request_id)
    if original is None:
        raise Refused(f"Request {request_id} no longer exists")
    await require_configured(ctx.master, original.builder)
    # without a revision of its own, it builds the newest commit, whatever a build of it has found
    revision = row.revision if row.request.revision else None
    if same_revision and revision is None:
        original, revision = await _at_found(ctx, original, row)
    buildset = _copy(ctx, original, row, revision, priority, count, properties or {})
    return Plan(buildsets=(await ctx.rights.require(buildset),))


async def _at_found(ctx: PlanContext, original: Original, row: Row) -> tuple[Original, str]:
    """Return *original* with the revision that a build of it has found, and that revision.

    :raises Refused: there is none
    """
    request_id = original.request_id
    its = {request_id: _builds(row, original)}
    found = (await as_found(ctx.master, {request_id: original}, its))[request_id]
    pairs = zip(original.built, found.built, strict=True)
    revisions = [new for (_, old), (_, new) in pairs if new and not old]
    if not revisions:
        what = f"build {row.build_id}" if isinstance(row, BuildRow) else f"request {row.request_id}"
        raise Refused(
            f"It is not known which revision {what} has built",
            "without same_revision, the newest commit is built",
        )
    return found, row.revision or one_spelling(revisions[0])


@convergent
async def rerun_failed(
    ctx: PlanContext,
    revision: Revision,
    selection: Selection,
    *,
    states: Collection[str],
    priority: int,
    count: int,
    properties: Mapping[str, Any] | None,
) -> Plan:
    """Plan to rerun failures at *revision*, with one request for each builder.

    Builders with a pending or running request there are left alone, so sending this job request
    twice builds nothing twice. A request that a parent waited for is rerun with its outermost
    parent.

    :param states: the latest results to rerun, as states
    :param selection: only these builders
    :raises Forbidden: the user may rebuild none of them
    """
    results = await ctx.read(results_at, revision)
    failed = [
        one for one in results if one.state in states and selection.takes(one.lending_builder)
    ]
    left = [one for one in failed if not one.open]
    for one in failed:
        if one.open:
            ctx.rights.leave_out(one.buildername, "left_out", f"is {one.open}")
    opened = {one.buildername: one.open for one in results if one.open}
    planned = await _reruns(ctx, left, opened, revision, priority, count, properties or {})
    admitted = await ctx.rights.admitted_of(planned)
    if planned and not admitted:
        raise Forbidden("You may not rebuild any of the builds")
    return Plan(
        buildsets=tuple(admitted),
        untouched=tuple(ctx.rights.untouched(admitted)),
        nothing="Nothing failed" if not failed else "Nothing is left to rerun",
    )


async def _reruns(
    ctx: PlanContext,
    results: Iterable[BuilderResult],
    opened: Mapping[str, str],
    revision: Revision,
    priority: int,
    count: int,
    properties: Mapping[str, Any],
) -> list[NewBuildset]:
    """Return a buildset for each of *results*, or for its outermost parent.

    :param opened: ``pending`` or ``running`` for each builder with an open request at the revision,
        by name
    """
    rows = {one.request_id: one for one in results}
    by_root: dict[int, tuple[Original, list[BuilderResult]]] = {}
    found, rebuilt = await originals_and_rebuilt(ctx.master, rows)
    for request_id, root in (await roots(ctx.master, found)).items():
        by_root.setdefault(root.request_id, (root, []))[1].append(rows[request_id])
    copied = {request_id: root for request_id, (root, _) in by_root.items()}
    builds = {
        one: _builds(rows[one].row if one in rows else None, root) for one, root in copied.items()
    }
    as_built = await as_found(ctx.master, copied, builds)
    planned = []
    for request_id, (_, its) in by_root.items():
        own, root = rows.get(request_id), as_built[request_id]
        name = shown_name(root.properties, root.buildername)
        if own is None and (why := _not_here(root, revision)):
            for one in its:
                ctx.rights.leave_out(one.buildername, "left_out", f"{name} waited for it and {why}")
            continue
        goes_on = not root.complete or name in opened or is_rebuilt(root, rebuilt)
        for one in its:
            if one is not own:
                _say_of_child(ctx, one, name, ended=not goes_on)
        if not root.built_for:
            ctx.rights.leave_out(root.buildername, "left_out", "no master builds for it")
        elif own is not None or not goes_on:
            target: Target = root if own is None or own.row is None else own.row
            shown = _revision(root, revision) if own is None else revision.revision
            planned.append(_copy(ctx, root, target, shown, priority, count, properties))
    return planned


def _builds(row: Row | None, original: Original) -> Sequence[int]:
    """Return the build that *row* is, or else all builds of the request."""
    return [row.build_id] if isinstance(row, BuildRow) else original.build_ids


def _not_here(root: Original, revision: Revision) -> str:
    """Return why a parent of a failure at *revision* is not rebuilt, empty if it is."""
    branches = [branch for branch, _ in root.built]
    if not any(branch in revision.branch.branches for branch in branches):
        return f"builds another branch, {branches[0] or 'none'}" if branches else "builds no branch"
    return ""


def _revision(root: Original, revision: Revision) -> str | None:
    """Return the revision that *root* builds on the branch of *revision*."""
    return next((text for branch, text in root.built if branch in revision.branch.branches), None)


def _say_of_child(ctx: PlanContext, one: BuilderResult, parent: str, ended: bool) -> None:
    how = "is rebuilt" if ended else "has not ended"
    msg = f"{parent} waited for it and {how}"
    ctx.rights.leave_out(one.buildername, "left_out", msg)


def _copy(
    ctx: PlanContext,
    original: Original,
    target: Target,
    revision: str | None,
    priority: int,
    count: int,
    changed: Mapping[str, Any],
) -> NewBuildset:
    """Return a buildset that copies *original*.

    :param target: the target of the permission check
    :param changed: properties to set; ``None`` removes a property
    """
    return NewBuildset(
        sourcestamps=original.sourcestamps,
        builders=(original.builder,),
        properties=_changed(original.properties, changed),
        reason=f"Self-serve: Rebuilt by {ctx.who}",
        priority=priority,
        revision=revision,
        count=count,
        more=original.more,
        is_copy=True,
        copied=target,
    )


def _changed(copied: Properties, changed: Mapping[str, Any]) -> Properties:
    """Return the *copied* properties with the *changed* ones applied, without marks.

    :raises BadParameter: they would be too many
    """
    kept = {
        name: pair for name, pair in copied.items() if name not in changed and name not in MARKS
    }
    given = {name: value for name, value in changed.items() if value is not None}
    result = {**kept, **current_state.given(given)}
    if len(result) > max(MOST_PROPERTIES, len(copied)):
        raise BadParameter(
            "properties", f"so few that the new build has at most {MOST_PROPERTIES} of them"
        )
    return result
