"""Finds the builders and schedulers of this master that build a branch."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Literal

from buildbot.changes.changes import Change
from buildbot.schedulers.dependent import Dependent
from buildbot.schedulers.timed import NightlyBase
from buildbot.schedulers.timed import NightlyTriggerable
from buildbot.schedulers.timed import Timed
from buildbot.steps.trigger import Trigger
from twisted.logger import Logger

from buildbot_selfserve import buildbot_private
from buildbot_selfserve.clock import Pause
from buildbot_selfserve.control.changes import log_failed_filter
from buildbot_selfserve.control.model_changes import InventedChange
from buildbot_selfserve.control.model_changes import model_changes
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Setup
from buildbot_selfserve.model import SetupBasis

_log = Logger()

#: How a scheduler reacts to changes: it takes one, refuses all, fails, or the answer depends on
#: fields that an invented change does not have.
Reaction = Literal["takes", "refuses", "fails", "unclear"]

#: The methods of a scheduler that add buildsets (buildbot/schedulers/base.py); a class in
#: master.cfg may override one to choose builders.
_ADDING = ("addBuildsetForChanges", "addBuildsetForSourceStamps")


def watched_branches(master: Any) -> tuple[str, ...]:
    """Return the sorted branches that the schedulers' change filters name."""
    filters = (getattr(one, "change_filter", None) for one in master.allSchedulers())
    return tuple(sorted(set[str]().union(*map(buildbot_private.branches_of_filter, filters))))


@dataclass(frozen=True)
class _Configured:
    """The parts of a configuration that do not depend on the branch.

    :param names: the configured builders of each scheduler
    :param deciding: the schedulers that choose their builders when they build
    :param dependents: for each scheduler, the Dependent schedulers that build after its builds have
        passed
    :param triggers: for each builder, the schedulers that its Trigger steps name
    :param builder_branches: the builders with a property ``branch``, and its value
    """

    schedulers: list[Any]
    names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    deciding: set[str] = field(default_factory=set)
    dependents: dict[str, list[str]] = field(default_factory=dict)
    triggers: dict[str, tuple[str, ...]] = field(default_factory=dict)
    builder_branches: list[tuple[str, str]] = field(default_factory=list)

    def of_kind(self, kind: type) -> list[Any]:
        """Return the schedulers that are instances of a class."""
        return [one for one in self.schedulers if isinstance(one, kind)]

    def builders_of(self, schedulers: Iterable[str]) -> tuple[str, ...]:
        """Return the sorted builders that are configured in *schedulers*."""
        return tuple(sorted({name for one in schedulers for name in self.names[one]}))

    def reached(self, begin: Iterable[str]) -> set[str]:
        """Return the schedulers in *begin*, and all that they start in turn.

        Builders start the schedulers that their Trigger steps name; schedulers start their
        dependents.
        """
        reached: set[str] = set()
        left = [*begin]
        while left:
            scheduler = left.pop()
            if scheduler in reached or scheduler not in self.names:
                continue
            reached.add(scheduler)
            left += self.dependents.get(scheduler, ())
            for builder in self.names[scheduler]:
                left += self.triggers.get(builder, ())
        return reached


class BranchSetups:
    """Finds the builders and schedulers of branches in one configuration of a master.

    Change filters are the only code from master.cfg that runs. A failing filter is logged once.

    With hundreds of schedulers and builders this takes a while; the reactor gets a turn every few
    milliseconds.
    """

    def __init__(self, master: Any) -> None:
        self._master = master
        self._known: _Configured | None = None

    async def setup(self, basis: SetupBasis) -> Setup:
        """Return what this master is configured to build on the branch of *basis*."""
        pause = Pause(self._master.reactor)
        known = self._known = self._known or await self._configured(pause)
        watching = [one for one in known.schedulers if builds_changes(one)]
        watching = [one for one in watching if one.name not in basis.disabled]
        changes = await model_changes(
            self._master,
            basis.branch,
            basis.models,
            schedulers=watching,
            places=basis.places,
            revision=basis.revision,
        )
        reactions: dict[str, Reaction] = {}
        for one in watching:
            reactions[one.name] = self._reaction(one, changes)
            await pause.if_due()
        timed = []
        for one in known.of_kind(Timed):
            timed += [one] if self._covers(one, basis.branch, changes) else []
            await pause.if_due()
        started = {one.name for one in (*known.of_kind(Timed), *watching)}
        return _setup(known, reactions, timed, started)

    async def _configured(self, pause: Pause) -> _Configured:
        """Return the parts of the configuration that do not depend on the branch."""
        known = _Configured(list(self._master.allSchedulers()))
        for one in known.schedulers:
            known.names[one.name] = configured_names(one)
            if decides_later(one):
                known.deciding.add(one.name)
            if isinstance(one, Dependent) and one.upstream_name is not None:
                known.dependents.setdefault(one.upstream_name, []).append(one.name)
            await pause.if_due()
        by_factory: dict[int, tuple[str, ...]] = {}
        for builder in self._master.config.builders:
            key = id(builder.factory)
            if key not in by_factory:
                by_factory[key] = tuple(_triggered_by(builder.factory))
            known.triggers[builder.name] = by_factory[key]
            if isinstance(builder.properties.get("branch"), str):
                known.builder_branches.append((builder.name, builder.properties["branch"]))
            await pause.if_due()
        return known

    def _reaction(self, scheduler: Any, changes: Iterable[Change]) -> Reaction:
        """Return how *scheduler* reacts to *changes*."""
        found: set[Reaction] = set()
        for change in changes:
            found.add(self._reaction_to(scheduler, change))
            if "takes" in found:
                return "takes"
        return "fails" if "fails" in found else "unclear" if "unclear" in found else "refuses"

    def _reaction_to(self, scheduler: Any, change: Change) -> Reaction:
        try:
            if accepts(scheduler, change):
                return "takes"
            if not isinstance(change, InventedChange):
                return "refuses"
            return "unclear" if _accepts_as_far_as_known(scheduler, change) else "refuses"
        except Exception:
            log_failed_filter(scheduler)
            return "fails"

    def _covers(self, scheduler: Any, branch: Branch, changes: Sequence[Change]) -> bool:
        """Return whether a timed *scheduler* builds *branch*.

        Its own branch decides, else the branches of its codebases, else its change filter.
        """
        codebases = [
            one
            for name, one in scheduler.codebases.items()
            if (branch.codebases is None or name in branch.codebases) and _is_there(one, branch)
        ]
        named = {one.get("branch") for one in codebases} - {None}
        if scheduler.branch is not Timed.NoBranch:
            named = {scheduler.branch}
        elif not named:
            return bool(codebases) and self._reaction(scheduler, changes) in ("takes", "unclear")
        return (
            bool(codebases)
            and not named.isdisjoint(branch.branches)
            and any(_may_be_in(scheduler, change) for change in changes)
        )


def _setup(
    known: _Configured,
    reactions: Mapping[str, Reaction],
    timed: Sequence[Any],
    started: Iterable[str],
) -> Setup:
    """Return the ``Setup`` of a branch.

    :param reactions: the reactions of the schedulers that build changes
    :param timed: the timed schedulers of the branch
    :param started: all schedulers that are started by changes or at times
    """
    taking, unclear = _with(reactions, "takes"), _with(reactions, "unclear")
    # a triggered scheduler counts for the branches of the builders that trigger it
    triggered = {one.name for one in known.of_kind(NightlyTriggerable)}
    triggered &= {name for names in known.triggers.values() for name in names}
    reached = known.reached({*taking, *(one.name for one in timed)} - triggered)
    nightly = {one.name for one in timed if isinstance(one, NightlyBase)}
    reachable = known.builders_of(reached) or known.builders_of(known.reached(unclear))
    everywhere = known.builders_of(known.reached(started))
    return Setup(
        builder_branches=tuple(known.builder_branches),
        reacting=known.builders_of(taking),
        undecided=tuple(sorted(known.deciding & taking)),
        failing=tuple(sorted(_with(reactions, "fails"))),
        unclear=tuple(sorted(unclear)),
        reachable=reachable,
        elsewhere=tuple(sorted(set(everywhere) - set(reachable))),
        nightly=tuple(sorted(nightly - (triggered - reached))),
        schedulers=tuple(known.names.items()),
        deciding=tuple(sorted(known.deciding)),
    )


def _with(reactions: Mapping[str, Reaction], reaction: Reaction) -> set[str]:
    return {name for name, one in reactions.items() if one == reaction}


def _triggered_by(factory: Any) -> Iterator[str]:
    """Yield the schedulers that the Trigger steps of *factory* name as plain strings."""
    for step in getattr(factory, "steps", ()):
        kind = getattr(step, "step_class", None)
        if not (isinstance(kind, type) and issubclass(kind, Trigger)):
            continue
        given = step.kwargs.get("schedulerNames", step.args[0] if step.args else ())
        if isinstance(given, list | tuple):
            yield from (name for name in given if isinstance(name, str))


def configured_names(scheduler: Any) -> tuple[str, ...]:
    """Return the builder names that are configured in *scheduler*, without renderables."""
    names = getattr(scheduler, "builderNames", ())
    if not isinstance(names, list | tuple):
        return ()
    return tuple(name for name in names if isinstance(name, str))


def decides_later(scheduler: Any) -> bool:
    """Return whether *scheduler* chooses builders when it builds, by a renderable or a method."""
    names = getattr(scheduler, "builderNames", ())
    methods = (getattr(scheduler, one, None) for one in _ADDING)
    return len(configured_names(scheduler)) != (len(names) if _is_list(names) else -1) or any(
        not str(one.__module__).startswith("buildbot.") for one in methods if one is not None
    )


def _is_list(names: object) -> bool:
    return isinstance(names, list | tuple)


def _is_there(codebase: Mapping[str, str], branch: Branch) -> bool:
    """Return whether a *codebase* of a scheduler can be in a repository of *branch*."""
    repository = codebase.get("repository")
    return not repository or branch.repositories is None or repository in branch.repositories


def _may_be_in(scheduler: Any, change: Change) -> bool:
    """Return whether *scheduler* may build in the codebase and repository of *change*."""
    if not isinstance(change, InventedChange) and change.codebase not in scheduler.codebases:
        return False
    return not change.repository or buildbot_private.takes_parts(
        scheduler.change_filter, change, ("repository",)
    )


def builds_changes(scheduler: Any) -> bool:
    """Return whether *scheduler* builds changes; a timed scheduler only remembers them."""
    return hasattr(scheduler, "change_filter") and not isinstance(scheduler, Timed)


def accepts(scheduler: Any, change: Change) -> bool:
    """Return whether *scheduler* would take *change*.

    This decides as the scheduler does (buildbot/schedulers/base.py, _changeCallback).

    :raises Exception: any exception of a function in master.cfg
    """
    if change.codebase not in scheduler.codebases:
        return False
    return not scheduler.change_filter or bool(scheduler.change_filter.filter_change(change))


def _accepts_as_far_as_known(scheduler: Any, change: Change) -> bool:
    """Return whether *scheduler* takes the branch and the codebase of *change*.

    :raises Exception: any exception of a function in master.cfg
    """
    change_filter = scheduler.change_filter
    functions = (
        (getattr(change_filter, "branch_fn", None), change.branch),
        (getattr(change_filter, "codebase_fn", None), change.codebase),
    )
    return (
        change.codebase in scheduler.codebases
        and buildbot_private.takes_parts(change_filter, change, ("branch", "codebase"))
        and all(function is None or function(value) for function, value in functions)
    )
