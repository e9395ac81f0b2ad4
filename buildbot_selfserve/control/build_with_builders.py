"""Builds a revision with a set of builders, or with one."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from buildbot.process.properties import Properties

from buildbot_selfserve.control import changes
from buildbot_selfserve.control import create_buildsets
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import revision_sourcestamps
from buildbot_selfserve.control.rights_and_budgets import Admission
from buildbot_selfserve.control.rights_and_budgets import NewBuildset
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import BuilderSet
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import Sourcestamp

#: The source of properties that somebody gave, as the web UI shows it.
GIVEN = "Self-serve: given"


async def build_set(
    master: Any, order: Order, revision: AnyRevision, chosen: BuilderSet, *, priority: int
) -> Effect:
    """Build *revision* with a set of builders, in one buildset.

    It has the properties of the schedulers that the set was taken from.

    :raises Refused: the set has no builders
    :raises Forbidden: the user may build with none of them
    """
    if not chosen.builders:
        raise Refused(
            f"Set {chosen.name} of branch {chosen.branch.name} has no builders",
            f"tag builders with {chosen.name!r}, or set sets= of its SelfServeBranch",
        )
    admission = Admission(master, order)
    usable = await admission.usable([builder.builder_id for builder in chosen.builders], {})
    builders = [builder for builder in chosen.builders if builder.builder_id in usable]
    if not builders and admission.denied:
        raise Forbidden("You may not build with any of the builders")
    named = [one for one in master.allSchedulers() if one.name in chosen.schedulers]
    related = named or _building_with(master, builders)
    where, stamps = await revision_sourcestamps.sourcestamps(revision, related)
    marks = create_buildsets.new_marks(order, 0)
    properties = dict(marks)
    if named:
        told = await _told(master, revision.revision, where, stamps, marks)
        properties = {**await _rendered(told, named), **marks}
    buildset = _buildset(order, stamps, builders, properties, priority)
    return await _made(master, admission, buildset)


async def build(
    master: Any,
    order: Order,
    revision: AnyRevision,
    builder: Builder,
    *,
    priority: int,
    properties: Mapping[str, Any] | None,
    files: list[str] | None,
) -> Effect:
    """Build *revision* with one builder.

    :param properties: of the build, by name
    :param files: names of changed files; they reach steps only through a change of the revision
    """
    await create_buildsets.require_configured(master, builder.builder_id, builder.name)
    where, stamps = await revision_sourcestamps.sourcestamps(
        revision, _building_with(master, [builder])
    )
    given = {name: (value, GIVEN) for name, value in (properties or {}).items()}
    given |= create_buildsets.new_marks(order, 0)
    buildset = _buildset(order, stamps, [builder], given, priority)
    admission = Admission(master, order)
    await admission.require_some(buildset)
    await admission.reserve({"": 1})
    if files is not None:
        await _tell_files(master, order, revision.revision, where, files)
    return await _made(master, admission, buildset)


def _buildset(
    order: Order,
    stamps: Sequence[Mapping[str, Any]],
    builders: Sequence[Builder],
    properties: Mapping[str, tuple[Any, str]],
    priority: int,
) -> NewBuildset:
    return NewBuildset(
        sourcestamps=stamps,
        builder_ids=[builder.builder_id for builder in builders],
        properties=properties,
        reason=create_buildsets.requested_by(order),
        priority=priority,
    )


async def _made(master: Any, admission: Admission, buildset: NewBuildset) -> Effect:
    """Add *buildset*; say what became of it.

    :raises Forbidden: the user may build with none of its builders
    """
    await admission.require_some(buildset)
    await create_buildsets.add_buildsets(master, admission, [buildset])
    if not admission.made:
        raise Unavailable("Timed out before anything was done")
    states = await current_state.request_states(master, admission.made)
    return create_buildsets.created(states, admission=admission)


async def _tell_files(
    master: Any,
    order: Order,
    revision: str,
    where: Sequence[Sourcestamp],
    files: list[str],
) -> None:
    """Make the newest change of *revision* name the *files*."""
    for place in where:
        newest = await changes.newest(master, revision, place)
        if newest is None or sorted(newest.files) != sorted(files):
            await changes.record(master, order, revision, place, files)


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


async def _told(
    master: Any,
    revision: str,
    where: Iterable[Sourcestamp],
    stamps: Iterable[Mapping[str, Any]],
    marks: Mapping[str, tuple[Any, str]],
) -> Properties:
    """Return what a scheduler's properties are told of the buildset that they are for.

    As when it builds changes itself (buildbot/schedulers/base.py, addBuildsetForSourceStamps).
    """
    models = [await changes.newest(master, revision, place) for place in where]
    told = Properties()
    told.master = master
    told.changes = [
        await master.data.get(("changes", str(model.changeid))) for model in models if model
    ]
    whole = {change["codebase"]: change["sourcestamp"] for change in told.changes}
    told.sourcestamps = [whole.get(stamp["codebase"], stamp) for stamp in stamps]
    for change in told.changes:
        told.updateFromProperties(Properties.fromDict(change["properties"]))
    told.updateFromProperties(Properties.fromDict(dict(marks)))
    return told


async def _rendered(told: Properties, schedulers: Iterable[Any]) -> dict[str, tuple[Any, str]]:
    """Return the properties of *schedulers* as their buildsets have them."""
    rendered: dict[str, tuple[Any, str]] = {}
    for scheduler in schedulers:
        renderer = Properties()
        renderer.updateFromProperties(scheduler.properties)
        renderer.updateFromProperties(told)
        renderer.master = told.master
        renderer.sourcestamps, renderer.changes = told.sourcestamps, told.changes
        rendered |= await renderer.render(scheduler.properties.asDict())
    return rendered
