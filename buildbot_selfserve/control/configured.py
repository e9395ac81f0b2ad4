"""What this master is configured to build, and when."""

from __future__ import annotations

from typing import Any

from buildbot.changes.changes import Change
from twisted.logger import Logger

from buildbot_selfserve.model import Branch

_log = Logger()


def watched_branches(master: Any) -> tuple[str, ...]:
    """Return the branches that the change filters of the schedulers name, sorted.

    A filter that matches by a regular expression or a function names none; the others keep their
    values in objects of a private class (buildbot/util/ssfilter.py, _FilterExactMatch).
    """
    names: set[str] = set()
    for scheduler in master.allSchedulers():
        for one in getattr(getattr(scheduler, "change_filter", None), "filters", ()):
            if getattr(one, "prop", None) == "branch" and type(one).__name__ == "_FilterExactMatch":
                names.update(value for value in one.values if isinstance(value, str) and value)
    return tuple(sorted(names))


def builder_branches(master: Any) -> tuple[tuple[str, str], ...]:
    """Return the builders that have a property ``branch``, with its value."""
    return tuple(
        (builder.name, builder.properties["branch"])
        for builder in master.config.builders
        if isinstance(builder.properties.get("branch"), str)
    )


def reacting_builders(master: Any, branch: Branch) -> tuple[str, ...]:
    """Return the builders whose schedulers would react to a change on *branch*, sorted.

    Schedulers that choose their builders only when they start them (a renderable) are left out.
    """
    names: set[str] = set()
    for scheduler in master.allSchedulers():
        watched = isinstance(scheduler.builderNames, list | tuple) and _reacts(scheduler, branch)
        if watched:
            names.update(name for name in scheduler.builderNames if isinstance(name, str))
    return tuple(sorted(names))


def _reacts(scheduler: Any, branch: Branch) -> bool:
    """Whether *scheduler* would take a change on *branch*.

    As it decides itself (buildbot/schedulers/base.py, _changeCallback).
    """
    if not hasattr(scheduler, "change_filter") or not scheduler.enabled:
        return False
    codebases = scheduler.codebases if branch.codebase is None else [branch.codebase]
    return any(
        _takes(scheduler, _change(branch, text, codebase))
        for text in branch.branches
        for codebase in codebases
    )


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


def _takes(scheduler: Any, change: Change) -> bool:
    if change.codebase not in scheduler.codebases:
        return False
    try:
        return not scheduler.change_filter or bool(scheduler.change_filter.filter_change(change))
    except Exception:
        # an operator's own function, given a change that has not happened
        _log.failure("selfserve: the change filter of {name} failed", name=scheduler.name)
        return False
