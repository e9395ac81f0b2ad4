"""Works out which builders and schedulers of this master build a branch."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from functools import cached_property
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
from buildbot_selfserve.control.model_changes import InventedChange
from buildbot_selfserve.control.model_changes import model_changes
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Setup
from buildbot_selfserve.model import SetupBasis

_log = Logger()

#: What the change filter of a scheduler says of changes: it takes one, none, it fails, or that
#: depends on what is not known of a change that is invented.
Reaction = Literal["takes", "refuses", "fails", "unclear"]

#: What adds the buildsets of a scheduler (buildbot/schedulers/base.py); a class of the operator's
#: may choose builders in one of them.
_ADDING = ("addBuildsetForChanges", "addBuildsetForSourceStamps")


def watched_branches(master: Any) -> tuple[str, ...]:
    """Return the branches that the change filters of the schedulers name, sorted."""
    filters = (getattr(one, "change_filter", None) for one in master.allSchedulers())
    return tuple(sorted(set[str]().union(*map(buildbot_private.branches_of_filter, filters))))


class BranchSetups:
    """Works out what builds branches in one configuration of a master.

    Of the operator's code only change filters run. One that fails is logged once.
    """

    def __init__(self, master: Any) -> None:
        self._master = master
        self._logged: set[str] = set()

    async def setup(self, basis: SetupBasis) -> Setup:
        """Return what this master is configured to build on the branch of *basis*."""
        branch = basis.branch
        watching = [
            one
            for one in self._schedulers
            if builds_changes(one) and one.name not in basis.disabled
        ]
        changes = await model_changes(
            self._master,
            branch,
            basis.models,
            schedulers=watching,
            places=basis.places,
            revision=basis.revision,
        )
        reactions = {one.name: self._reaction(one, changes) for one in watching}
        taking, unclear = _with(reactions, "takes"), _with(reactions, "unclear")
        timed = [one for one in self._of_kind(Timed) if self._covers(one, branch, changes)]
        covering = {one.name for one in timed}
        # what is triggered counts where it is triggered from
        triggered = {one.name for one in self._of_kind(NightlyTriggerable)} & self._triggered
        reached = self._reached(taking | covering - triggered)
        nightly = {one.name for one in timed if isinstance(one, NightlyBase)}
        return Setup(
            builder_branches=self._builder_branches,
            reacting=self._builders_of(taking),
            undecided=tuple(sorted(self._deciding & taking)),
            failing=tuple(sorted(_with(reactions, "fails"))),
            unclear=tuple(sorted(unclear)),
            reachable=self._builders_of(reached) or self._builders_of(self._reached(unclear)),
            nightly=tuple(sorted(nightly - (triggered - reached))),
            schedulers=tuple(self._names.items()),
            deciding=tuple(sorted(self._deciding)),
        )

    @cached_property
    def _schedulers(self) -> list[Any]:
        return list(self._master.allSchedulers())

    def _of_kind(self, kind: type) -> list[Any]:
        return [one for one in self._schedulers if isinstance(one, kind)]

    @cached_property
    def _names(self) -> dict[str, tuple[str, ...]]:
        """Return the builders that are configured in each scheduler."""
        return {one.name: configured_names(one) for one in self._schedulers}

    @cached_property
    def _deciding(self) -> frozenset[str]:
        """Return the schedulers that decide on their builders when they build."""
        return frozenset(one.name for one in self._schedulers if decides_later(one))

    @cached_property
    def _builder_branches(self) -> tuple[tuple[str, str], ...]:
        """Return the builders that have a property ``branch``, with its value."""
        return tuple(
            (builder.name, builder.properties["branch"])
            for builder in self._master.config.builders
            if isinstance(builder.properties.get("branch"), str)
        )

    def _builders_of(self, schedulers: Iterable[str]) -> tuple[str, ...]:
        return tuple(sorted({name for one in schedulers for name in self._names[one]}))

    def _reaction(self, scheduler: Any, changes: Iterable[Change]) -> Reaction:
        """Return whether *scheduler* would take one of *changes*."""
        found: set[Reaction] = {self._reaction_to(scheduler, change) for change in changes}
        order: tuple[Reaction, ...] = ("takes", "fails", "unclear")
        return next((one for one in order if one in found), "refuses")

    def _reaction_to(self, scheduler: Any, change: Change) -> Reaction:
        try:
            if accepts(scheduler, change):
                return "takes"
            known = _accepts_as_far_as_known(scheduler, change)
        except Exception:
            if scheduler.name not in self._logged:
                self._logged.add(scheduler.name)
                _log.failure("selfserve: the change filter of {name} failed", name=scheduler.name)
            return "fails"
        return "unclear" if known and isinstance(change, InventedChange) else "refuses"

    def _covers(self, scheduler: Any, branch: Branch, changes: Sequence[Change]) -> bool:
        """Whether a timed *scheduler* builds *branch*.

        Its own branch says so, else those of its codebases, else its change filter.
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

    def _reached(self, begin: Iterable[str]) -> set[str]:
        """Return the schedulers that *begin*, and those that these start, and so on.

        Builders start what their Trigger steps name, schedulers those that depend on them.
        """
        reached: set[str] = set()
        left = [*begin]
        while left:
            scheduler = left.pop()
            if scheduler in reached or scheduler not in self._names:
                continue
            reached.add(scheduler)
            left += self._dependents.get(scheduler, ())
            for builder in self._names[scheduler]:
                left += self._triggers.get(builder, ())
        return reached

    @cached_property
    def _dependents(self) -> dict[str, list[str]]:
        """Return the schedulers that build when another one's builds have passed."""
        found: dict[str, list[str]] = {}
        for one in self._of_kind(Dependent):
            if one.upstream_name is not None:
                found.setdefault(one.upstream_name, []).append(one.name)
        return found

    @cached_property
    def _triggers(self) -> dict[str, tuple[str, ...]]:
        """Return the schedulers that the Trigger steps of each builder name."""
        by_factory: dict[int, tuple[str, ...]] = {}
        found = {}
        for builder in self._master.config.builders:
            key = id(builder.factory)
            if key not in by_factory:
                by_factory[key] = tuple(_triggered_by(builder.factory))
            found[builder.name] = by_factory[key]
        return found

    @cached_property
    def _triggered(self) -> frozenset[str]:
        """Return the schedulers that any Trigger step names."""
        return frozenset(name for names in self._triggers.values() for name in names)


def _with(reactions: Mapping[str, Reaction], reaction: Reaction) -> set[str]:
    return {name for name, one in reactions.items() if one == reaction}


def _triggered_by(factory: Any) -> Iterator[str]:
    """Yield the names of schedulers in the Trigger steps of *factory*, as far as they are plain."""
    for step in getattr(factory, "steps", ()):
        kind = getattr(step, "step_class", None)
        if not (isinstance(kind, type) and issubclass(kind, Trigger)):
            continue
        given = step.kwargs.get("schedulerNames", step.args[0] if step.args else ())
        if isinstance(given, list | tuple):
            yield from (name for name in given if isinstance(name, str))


def configured_names(scheduler: Any) -> tuple[str, ...]:
    """Return the names of builders that are configured in *scheduler*, without renderables."""
    names = getattr(scheduler, "builderNames", ())
    if not isinstance(names, list | tuple):
        return ()
    return tuple(name for name in names if isinstance(name, str))


def decides_later(scheduler: Any) -> bool:
    """Whether *scheduler* decides on its builders when it builds: by a renderable or a method."""
    names = getattr(scheduler, "builderNames", ())
    methods = (getattr(scheduler, one, None) for one in _ADDING)
    return len(configured_names(scheduler)) != (len(names) if _is_list(names) else -1) or any(
        not str(one.__module__).startswith("buildbot.") for one in methods if one is not None
    )


def _is_list(names: object) -> bool:
    return isinstance(names, list | tuple)


def _is_there(codebase: Mapping[str, str], branch: Branch) -> bool:
    """Whether a *codebase* of a scheduler can be in a repository of *branch*."""
    repository = codebase.get("repository")
    return not repository or branch.repositories is None or repository in branch.repositories


def _may_be_in(scheduler: Any, change: Change) -> bool:
    """Whether *scheduler* builds in the codebase and repository of *change*, as far as known."""
    if not isinstance(change, InventedChange) and change.codebase not in scheduler.codebases:
        return False
    return not change.repository or buildbot_private.takes_parts(
        scheduler.change_filter, change, ("repository",)
    )


def builds_changes(scheduler: Any) -> bool:
    """Whether changes make *scheduler* build; a timed one only remembers them."""
    return hasattr(scheduler, "change_filter") and not isinstance(scheduler, Timed)


def accepts(scheduler: Any, change: Change) -> bool:
    """Whether *scheduler* would take *change*.

    As it decides itself (buildbot/schedulers/base.py, _changeCallback).

    :raises Exception: whatever a function of the operator's raises
    """
    if change.codebase not in scheduler.codebases:
        return False
    return not scheduler.change_filter or bool(scheduler.change_filter.filter_change(change))


def _accepts_as_far_as_known(scheduler: Any, change: Change) -> bool:
    """Whether *scheduler* would take *change* as far as its branch and codebase say.

    :raises Exception: whatever a function of the operator's raises
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


def takes(scheduler: Any, change: Change) -> bool:
    """Whether *scheduler* would take *change*; if its filter fails, that is logged."""
    try:
        return accepts(scheduler, change)
    except Exception:
        # an operator's own function
        _log.failure("selfserve: the change filter of {name} failed", name=scheduler.name)
        return False
