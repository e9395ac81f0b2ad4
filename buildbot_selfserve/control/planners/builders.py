"""Plans builds of a revision with one builder, or with a set of builders."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from buildbot_selfserve.control import changes
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control.planners import revision_sourcestamps
from buildbot_selfserve.control.planners.ask_scheduler import Asked
from buildbot_selfserve.control.planners.ask_scheduler import Failed
from buildbot_selfserve.control.planners.ask_scheduler import let_end
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.control.planners.context import requested_by
from buildbot_selfserve.control.planners.new_builds import GivenChange
from buildbot_selfserve.control.planners.new_builds import narrow
from buildbot_selfserve.control.planners.new_builds import new_change
from buildbot_selfserve.control.planners.unrecorded import Unrecorded
from buildbot_selfserve.control.rights import no_builder
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import BuilderSet
from buildbot_selfserve.model import NewBuildset
from buildbot_selfserve.model import NewChange
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import Selection


async def build_set(
    ctx: PlanContext,
    revision: AnyRevision,
    chosen: BuilderSet,
    selection: Selection,
    *,
    priority: int,
) -> Plan:
    """Plan builds of *revision* with a set of builders.

    There is one buildset for each scheduler in the set, with its properties and codebases, and one
    for all other builders.

    :raises Refused: the set has no builders
    :raises Forbidden: the user may build with none of them
    """
    if not chosen.builders and not any(part.undecided for part in chosen.parts):
        raise Refused(
            f"Set {chosen.name} of branch {chosen.branch.name} has no builders",
            f"tag builders with {chosen.name!r}, or correct sets= of its SelfServeBranch",
        )
    revision = await revision_sourcestamps.as_pushed(ctx.master, revision)
    planned: list[NewBuildset] = []
    outcomes: list[RequestOutcome] = []
    writes: list[Any] = []
    codebases: set[str] = set()
    for part in chosen.parts:
        if part.scheduler is None:
            planned.append(await of_builders(ctx, revision, part.builders, priority=priority))
            continue
        asked = await _of_scheduler(ctx, revision, part.scheduler, priority, codebases)
        planned += asked.buildsets
        writes += asked.gate.writes
        if asked.failed is not None:
            outcomes.append(RequestOutcome(None, "", "failed", (), asked.failed.msg))
    narrowed = [narrow(one, lambda _, builder: selection.takes(builder.name)) for one in planned]
    wanted = [one for one in narrowed if one.builders]
    ctx.rights.expect(revision.branch, codebases)
    admitted = await ctx.rights.admitted_of(wanted)
    if not admitted:
        raise _why_nothing(ctx, chosen, outcomes)
    untouched = (*ctx.rights.untouched(admitted), *outcomes)
    return Plan(buildsets=tuple(admitted), untouched=untouched, writes=tuple(writes))


def _why_nothing(
    ctx: PlanContext, chosen: BuilderSet, outcomes: Sequence[RequestOutcome]
) -> Forbidden | Refused:
    if ctx.rights.denied:
        return no_builder()
    why = "; ".join(one.msg for one in outcomes) or "its schedulers chose none of the builders"
    return Refused(f"Set {chosen.name} of branch {chosen.branch.name} would build nothing", why)


async def _of_scheduler(
    ctx: PlanContext, revision: AnyRevision, name: str, priority: int, codebases: set[str]
) -> Asked:
    """Ask the scheduler *name* what it would build; add the codebases to *codebases*.

    Buildbot's change of the revision is used if there is one; none is recorded.
    """
    (scheduler,) = (one for one in ctx.master.allSchedulers() if one.name == name)
    unrecorded = Unrecorded(ctx.master)
    try:
        asked = Asked(
            ctx,
            scheduler,
            unrecorded,
            names=await ctx.rights.builder_names(),
            revision=revision.shown,
            priority=priority,
        )
        where = [
            place
            for place in revision_sourcestamps.of(revision, [scheduler])
            if place.codebase in scheduler.codebases
        ]
        codebases.update(place.codebase for place in where)
        if not where:
            msg = f"scheduler {name} builds in no codebase of this revision"
            asked.failed = Failed(msg, Refused(msg))
            return asked
        found = [await changes.newest(ctx.master, revision.revision, place) for place in where]
        if all(found):
            await asked.build_changes([one.changeid for one in found])
        else:
            await asked.build_sourcestamps([place.at(revision.revision) for place in where])
        await let_end(ctx, [asked])
        return asked
    finally:
        unrecorded.forget()


async def of_builders(
    ctx: PlanContext,
    revision: AnyRevision,
    builders: Sequence[Builder],
    *,
    priority: int,
) -> NewBuildset:
    """Return a buildset of *revision* with *builders*, in the codebases of their schedulers.

    :raises Refused: the revision may be in several places
    """
    related = _building_with(ctx.master, builders)
    _, stamps = await revision_sourcestamps.sourcestamps(revision, related)
    return NewBuildset(
        sourcestamps=tuple(stamps),
        builders=tuple(builders),
        properties={},
        reason=requested_by(ctx.who),
        priority=priority,
        revision=revision.shown,
    )


async def build(
    ctx: PlanContext,
    revision: AnyRevision,
    builder: Builder,
    *,
    priority: int,
    properties: Mapping[str, Any] | None,
    files: list[str] | None,
) -> Plan:
    """Plan one build of *revision* with one builder.

    :param properties: properties of the build, by name
    :param files: names of changed files; they reach steps only through a change of the revision
    :raises Refused: no master has the builder
    :raises Forbidden: the user may not build with the builder
    """
    await require_configured(ctx.master, builder)
    revision = await revision_sourcestamps.as_pushed(ctx.master, revision)
    buildset = await of_builders(ctx, revision, [builder], priority=priority)
    given = current_state.given(properties or {})
    admitted = await ctx.rights.require(replace(buildset, properties=given))
    new_changes: list[NewChange] = []
    if files is not None:
        related = _building_with(ctx.master, [builder])
        new_changes = await _with_files(ctx, revision, related, files)
    return Plan(
        changes=tuple(new_changes),
        buildsets=(admitted,),
        untouched=tuple(ctx.rights.untouched([admitted])),
    )


async def require_configured(master: Any, builder: Builder) -> None:
    """Check that any master has *builder*.

    :raises Refused: none has, so a request would wait forever
    """
    found = await master.data.get(("builders", str(builder.builder_id)))
    if found is None or not found["masterids"]:
        raise Refused(
            f"Builder {builder.name} is no longer configured",
            "no master would build a request for it",
        )


async def _with_files(
    ctx: PlanContext, revision: AnyRevision, related: Sequence[Any], files: Sequence[str]
) -> list[NewChange]:
    """Return the changes to record so that the newest change of *revision* has these *files*.

    :param related: the schedulers that build with the same builder
    """
    found = []
    for place in revision_sourcestamps.of(revision, related):
        newest = await changes.newest(ctx.master, revision.revision, place)
        if newest is None:
            new, _ = await new_change(ctx, revision, place, related, GivenChange(files=files))
            found.append(new)
        elif sorted(newest.files) != sorted(files):
            found.append(changes.with_files(newest, revision.revision, place, files))
    return found


def _building_with(master: Any, builders: Iterable[Builder]) -> list[Any]:
    """Return the schedulers that name one of *builders*."""
    names = {builder.name for builder in builders}
    return [
        scheduler
        for scheduler in master.allSchedulers()
        if hasattr(scheduler, "getCodebaseDict")
        and isinstance(scheduler.builderNames, list | tuple)
        and names.intersection(name for name in scheduler.builderNames if isinstance(name, str))
    ]
