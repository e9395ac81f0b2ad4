"""Plans new builds at a revision, as the schedulers that watch its branch would request them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any

from buildbot.changes.changes import Change

from buildbot_selfserve.control import changes
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control.branch_setup import accepts
from buildbot_selfserve.control.branch_setup import builds_changes
from buildbot_selfserve.control.model_changes import model_changes
from buildbot_selfserve.control.planners import revision_sourcestamps
from buildbot_selfserve.control.planners.ask_scheduler import LATER
from buildbot_selfserve.control.planners.ask_scheduler import Asked
from buildbot_selfserve.control.planners.ask_scheduler import Failed
from buildbot_selfserve.control.planners.ask_scheduler import let_end
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.control.planners.context import requested_by
from buildbot_selfserve.control.planners.unrecorded import Unrecorded
from buildbot_selfserve.control.rights import no_builder
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import NewBuildset
from buildbot_selfserve.model import NewChange
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import Selection
from buildbot_selfserve.model import Sourcestamp

#: Returns whether to build a buildset with one of its builders.
Wants = Callable[[NewBuildset, Builder], bool]


@dataclass(frozen=True)
class GivenChange:
    """The user's values for a change that Buildbot does not have; ``None`` if not given.

    :param properties: change filters see them, and the builds of the job request have them; they
        are not recorded, as all builds of the revision would have them then
    """

    category: str | None = None
    project: str | None = None
    properties: Mapping[str, Any] | None = None
    files: Sequence[str] | None = None


async def new_builds(
    ctx: PlanContext,
    revision: AnyRevision,
    selection: Selection,
    *,
    priority: int | None,
    properties: Mapping[str, Any] | None,
    files: list[str] | None,
    category: str | None,
    project: str | None,
) -> Plan:
    """Plan what the schedulers that watch the branch would build at *revision*.

    Buildbot's change of the revision is used; if there is none, a change modelled on the branch's
    newest one is recorded. The schedulers are asked directly: an announced change would make them
    build later, and nothing would tell if none did.

    :param selection: the builders to build with
    :param priority: ``None`` for the schedulers' own priorities
    :param properties: properties to set on the builds
    :raises Refused: no scheduler would build the revision, or all that would have failed
    :raises Forbidden: the user may build with none of the builders
    """
    given = GivenChange(category, project, properties, files)
    planned = await of_schedulers(
        ctx,
        revision,
        lambda _, builder: selection.takes(builder.name),
        given,
        priority=priority,
    )
    if planned.is_empty:
        raise why_nothing(ctx, revision, planned)
    return planned.plan


@dataclass(frozen=True)
class Planned:
    """The buildsets that schedulers would add.

    :param plan: the plan with the wanted and allowed buildsets
    :param failed: the schedulers that failed
    :param unwanted: schedulers would build, but only with unwanted builders
    """

    plan: Plan
    failed: Sequence[Failed] = ()
    unwanted: bool = False

    @property
    def is_empty(self) -> bool:
        """Return whether nothing would be built."""
        return not self.plan.buildsets


async def of_schedulers(
    ctx: PlanContext,
    revision: AnyRevision,
    wanted: Wants,
    given: GivenChange,
    *,
    priority: int | None,
) -> Planned:
    """Ask the schedulers that watch the branch what they would build at *revision*.

    :param wanted: returns whether to build a buildset with one of its builders
    :raises Refused: no scheduler takes the revision
    """
    revision = await revision_sourcestamps.as_pushed(ctx.master, revision)
    unrecorded = Unrecorded(ctx.master)
    try:
        takers = await _takers(ctx, revision, given, unrecorded)
        ctx.rights.expect(revision.branch, {place.codebase for place in takers.change_ids})
        names = await ctx.rights.builder_names()
        asked = []
        for scheduler in takers.schedulers:
            one = Asked(
                ctx,
                scheduler,
                unrecorded,
                names=names,
                revision=revision.shown,
                priority=priority,
                given=current_state.given(given.properties or {}),
            )
            await one.build_changes(takers.changes_of(scheduler))
            asked.append(one)
        await let_end(ctx, asked)
        return await _planned(ctx, asked, takers, wanted)
    finally:
        unrecorded.forget()


async def _planned(
    ctx: PlanContext,
    asked: Sequence[Asked],
    takers: _Takers,
    wanted: Wants,
) -> Planned:
    made = [buildset for one in asked for buildset in one.buildsets]
    chosen = [narrowed for one in made if (narrowed := narrow(one, wanted)).builders]
    admitted = await ctx.rights.admitted_of(chosen)
    failed = [one.failed for one in asked if one.failed is not None]
    outcomes = [
        *(RequestOutcome(None, "", "failed", (), one.msg) for one in failed),
        # it is unknown whether these would have taken the revision
        *(RequestOutcome(None, "", "left_out", (), one.msg) for one in takers.failed),
    ]
    plan = Plan(
        changes=tuple(takers.new_changes) if admitted else (),
        buildsets=tuple(admitted),
        untouched=(*ctx.rights.untouched(admitted), *outcomes),
        writes=tuple(write for one in asked for write in one.gate.writes),
    )
    return Planned(plan, failed, unwanted=any(one.builders for one in made) and not chosen)


def narrow(buildset: NewBuildset, wanted: Wants) -> NewBuildset:
    """Return *buildset* with its *wanted* builders only."""
    return replace(
        buildset, builders=tuple(one for one in buildset.builders if wanted(buildset, one))
    )


def with_nothing(plan: Plan, msg: str) -> Plan:
    """Return *plan*; if it has no buildsets, with *msg* and without other writes."""
    return plan if plan.buildsets else replace(plan, nothing=msg, writes=())


def why_nothing(ctx: PlanContext, revision: AnyRevision, planned: Planned) -> Exception:
    """Return the error that explains why no scheduler would build *revision*."""
    where = f"revision {revision.revision} on branch {revision.branch.name}"
    for failed in planned.failed:
        if isinstance(failed.error, LATER):
            return failed.error
    if planned.failed:
        # the full message goes to the journal
        why = "; ".join(failed.msg for failed in planned.failed)
        return Refused(f"No scheduler could build {where}: {why}")
    if ctx.rights.denied:
        return no_builder()
    why = "the schedulers that accept it chose no builders"
    if planned.unwanted:
        why = "the schedulers that accept it chose other builders"
    return Refused(f"No scheduler builds {where}", why)


@dataclass
class _Takers:
    """The schedulers that would take a revision's changes.

    :param schedulers: the schedulers, in the order of the configuration
    :param change_ids: the change in each place, recorded or not
    :param new_changes: the changes to record
    :param failed: the schedulers whose change filters failed
    """

    schedulers: list[Any] = field(default_factory=list)
    places: dict[str, list[Sourcestamp]] = field(default_factory=dict)
    change_ids: dict[Sourcestamp, int] = field(default_factory=dict)
    new_changes: list[NewChange] = field(default_factory=list)
    failed: list[Failed] = field(default_factory=list)

    def changes_of(self, scheduler: Any) -> list[int]:
        """Return the ids of the changes that *scheduler* would take."""
        return [self.change_ids[place] for place in self.places[scheduler.name]]


async def _takers(
    ctx: PlanContext, revision: AnyRevision, given: GivenChange, unrecorded: Unrecorded
) -> _Takers:
    """Return the schedulers that would take a change of *revision*.

    :raises Refused: no scheduler would take it
    """
    watching = await _watching(ctx.master)
    takers = _Takers()
    for place in revision_sourcestamps.of(revision, watching):
        change = await _change(ctx, revision, place, watching, given, unrecorded, takers)
        for scheduler in watching:
            if _takes(scheduler, change, takers):
                takers.places.setdefault(scheduler.name, []).append(place)
    takers.schedulers = [one for one in watching if one.name in takers.places]
    if not takers.schedulers:
        why = "; ".join(one.msg for one in takers.failed)
        raise Refused(
            f"No scheduler builds revision {revision.revision} on branch {revision.branch.name}",
            why or "no enabled scheduler has a change filter that accepts it",
        )
    return takers


async def _change(
    ctx: PlanContext,
    revision: AnyRevision,
    place: Sourcestamp,
    watching: Iterable[Any],
    given: GivenChange,
    unrecorded: Unrecorded,
    takers: _Takers,
) -> Any:
    """Return the change in *place* for change filters; note it in *takers*.

    :raises BadParameter: there is a change already, and *given* differs from it
    """
    there = await changes.newest(ctx.master, revision.revision, place)
    if there is None:
        new, shown = await new_change(ctx, revision, place, watching, given)
        seen = changes.own_properties(shown.properties.asDict())
        number = unrecorded.change_id(replace(new, properties=seen))
    else:
        _require_nothing_given(given)
        if given.files is None or sorted(given.files) == sorted(there.files):
            takers.change_ids[place] = there.changeid
            shown = await changes.as_change(ctx.master, there)
            return _with_given(shown, given) if changes.is_requested(there) else shown
        new = changes.with_files(there, revision.revision, place, given.files)
        shown, number = changes.to_be(new), unrecorded.change_id(new, there.sourcestampid)
    takers.new_changes.append(new)
    takers.change_ids[place] = number
    return shown


def _require_nothing_given(given: GivenChange) -> None:
    for name, value in (("category", given.category), ("project", given.project)):
        if value is not None:
            raise BadParameter(name, "left out, since Buildbot has a change of this revision")


async def new_change(
    ctx: PlanContext,
    revision: AnyRevision,
    place: Sourcestamp,
    schedulers: Iterable[Any],
    given: GivenChange,
) -> tuple[NewChange, Change]:
    """Return a change of *revision* to record, and the same change for change filters.

    The change is modelled on the branch's newest one, with the *given* values. As the author and
    files of the revision are unknown, the user is recorded as its author.
    """
    (like,) = await model_changes(
        ctx.master,
        revision.branch,
        revision.models,
        schedulers=schedulers,
        places=[place],
        revision=revision.revision,
        category=given.category,
        project=given.project,
        files=given.files,
    )
    new = NewChange(
        revision.revision,
        place._replace(project=like.project),
        author=ctx.who,
        comments=requested_by(ctx.who),
        category=like.category,
        properties=changes.own_properties(like.properties.asDict()),
        files=tuple(given.files or ()),
    )
    return new, _with_given(like, given)


def _with_given(change: Change, given: GivenChange) -> Change:
    """Return *change* with the *given* properties, for change filters."""
    shown = copy.deepcopy(change)  # Buildbot caches it, and a shallow copy would share its values
    shown.properties.update(dict(given.properties or {}), "Change")
    return shown


def _takes(scheduler: Any, change: Any, takers: _Takers) -> bool:
    """Return whether *scheduler* would take *change*; note a failure in *takers*."""
    try:
        return accepts(scheduler, change)
    except Exception as error:
        changes.log_failed_filter(scheduler)
        msg = f"the change filter of scheduler {scheduler.name} failed, see the master's log"
        takers.failed.append(Failed(msg, error))
        return False


async def _watching(master: Any) -> list[Any]:
    """Return the enabled schedulers that build changes.

    The database is read for this: a scheduler instance knows it only in the master where it is
    active.
    """
    disabled = {row["name"] for row in await master.data.get(("schedulers",)) if not row["enabled"]}
    return [
        scheduler
        for scheduler in master.allSchedulers()
        if builds_changes(scheduler) and scheduler.name not in disabled
    ]
