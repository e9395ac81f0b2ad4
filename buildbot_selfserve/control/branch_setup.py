"""Works out which builders and schedulers of this master build a branch."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

from buildbot.changes.changes import Change
from buildbot.schedulers.timed import Nightly
from buildbot.schedulers.timed import Timed
from twisted.logger import Logger

from buildbot_selfserve import buildbot_private
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Setup

_log = Logger()


def watched_branches(master: Any) -> tuple[str, ...]:
    """Return the branches that the change filters of the schedulers name, sorted."""
    filters = (getattr(one, "change_filter", None) for one in master.allSchedulers())
    return tuple(sorted(set[str]().union(*map(buildbot_private.branches_of_filter, filters))))


def setup(master: Any, branch: Branch) -> Setup:
    """Return what this master is configured to build on *branch*.

    Schedulers that choose their builders only when they start them (a renderable) are left out.
    """
    by_scheduler = {one.name: _builder_names(one) for one in master.allSchedulers()}
    reacting = {one.name for one in master.allSchedulers() if _reacts(one, branch)}
    nightly = {one.name for one in master.allSchedulers() if _is_nightly(one, branch)}
    return Setup(
        builder_branches=_builder_branches(master),
        reacting=_of(by_scheduler, reacting),
        nightly=_of(by_scheduler, nightly),
        schedulers=tuple(by_scheduler.items()),
    )


def _builder_names(scheduler: Any) -> tuple[str, ...]:
    names = getattr(scheduler, "builderNames", ())
    if not isinstance(names, list | tuple):
        return ()
    return tuple(name for name in names if isinstance(name, str))


def _of(by_scheduler: Mapping[str, tuple[str, ...]], chosen: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted({name for one in chosen for name in by_scheduler[one]}))


def _builder_branches(master: Any) -> tuple[tuple[str, str], ...]:
    """Return the builders that have a property ``branch``, with its value."""
    return tuple(
        (builder.name, builder.properties["branch"])
        for builder in master.config.builders
        if isinstance(builder.properties.get("branch"), str)
    )


def _is_nightly(scheduler: Any, branch: Branch) -> bool:
    """Whether *scheduler* builds *branch* at certain times of the day."""
    if not isinstance(scheduler, Nightly):
        return False
    built = {one.get("branch") for one in scheduler.codebases.values()}
    return bool({scheduler.branch, *built} & set(branch.branches) - {None})


def _reacts(scheduler: Any, branch: Branch) -> bool:
    """Whether *scheduler* would take a change on *branch*."""
    if not builds_changes(scheduler) or not scheduler.enabled:
        return False
    codebases = scheduler.codebases if branch.codebase is None else [branch.codebase]
    return any(
        takes(scheduler, _change(branch, text, codebase))
        for text in branch.branches
        for codebase in codebases
    )


def builds_changes(scheduler: Any) -> bool:
    """Whether changes make *scheduler* build; a timed one only remembers them."""
    return hasattr(scheduler, "change_filter") and not isinstance(scheduler, Timed)


def _change(branch: Branch, text: str | None, codebase: str) -> Change:
    """Return a change that might happen on *branch*; nobody has made it."""
    return Change(
        who="",
        files=[],
        comments="",
        branch=text,
        codebase=codebase,
        project=branch.project or "",
        repository=branch.repository or "",
    )


def takes(scheduler: Any, change: Change) -> bool:
    """Whether *scheduler* would take *change*.

    As it decides itself (buildbot/schedulers/base.py, _changeCallback).
    """
    if change.codebase not in scheduler.codebases:
        return False
    try:
        return not scheduler.change_filter or bool(scheduler.change_filter.filter_change(change))
    except Exception:
        # an operator's own function, given a change that has not happened
        _log.failure("selfserve: the change filter of {name} failed", name=scheduler.name)
        return False
