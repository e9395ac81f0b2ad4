"""Determines the sourcestamps of builds at a revision."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from twisted.internet import defer

from buildbot_selfserve import buildbot_private
from buildbot_selfserve.control import changes
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Sourcestamp


def of(revision: AnyRevision, schedulers: Iterable[Any]) -> tuple[Sourcestamp, ...]:
    """Return the places of *revision*, one for each codebase.

    :param schedulers: the schedulers that may build it; they determine its codebases, if neither
        the configuration nor the branch's history does
    :raises Refused: the revision may be in several places
    """
    if revision.known or len(revision.sourcestamps) == 1:
        return revision.sourcestamps
    found = revision.sourcestamps or possible_places(revision.branch, schedulers)
    if len(found) == 1:
        return found
    raise Refused(
        f"Revision {revision.revision} is unknown, and could be in several codebases or"
        " repositories",
        f"{', '.join(_named(found))}; choose one with codebase= or repository= of SelfServeBranch",
    )


async def as_pushed(master: Any, revision: AnyRevision) -> AnyRevision:
    """Return *revision*; if it is unknown, with the projects that pushes to its branch have.

    The newest sourcestamp there may have a project that a user gave for another revision.
    """
    if revision.known:
        return revision
    every = [await master.db.changes.getChange(one) for one in revision.models]
    requested = {
        (one.codebase, one.repository): one
        for one in every
        if one is not None and changes.is_requested(one)
    }
    found = []
    for place in revision.sourcestamps:
        if place.where in requested:
            pushed = await changes.pushed_before(master, requested[place.where])
            configured = revision.branch.projects or ("",)
            place = place._replace(project=pushed.project if pushed else configured[0])
        found.append(place)
    return replace(revision, sourcestamps=tuple(found))


def possible_places(branch: Branch, schedulers: Iterable[Any]) -> tuple[Sourcestamp, ...]:
    """Return the places that a branch without history may have.

    They are determined from its configuration and *schedulers*; there is at least one.
    """
    repositories: dict[str, set[str]] = {}
    for scheduler in schedulers:
        for codebase, defaults in getattr(scheduler, "codebases", {}).items():
            repositories.setdefault(codebase, set()).add(defaults.get("repository") or "")
    project = branch.projects[0] if branch.projects else ""
    found = []
    for codebase in branch.codebases or sorted(repositories) or [""]:
        named = repositories.get(codebase, set()) - {""}
        for repository in branch.repositories or sorted(named) or [""]:
            found.append(Sourcestamp(branch.branches[0], codebase, repository, project))
    return tuple(found)


def _named(places: Sequence[Sourcestamp]) -> Iterator[str]:
    """Yield a name for each of *places* that tells it from the others."""
    repositories = [one.repository for one in places]
    for one in places:
        if not one.repository:
            yield f"codebase {one.codebase!r}"
        elif repositories.count(one.repository) > 1:
            yield f"{one.repository} (codebase {one.codebase!r})"
        else:
            yield one.repository


async def sourcestamps(
    revision: AnyRevision, schedulers: Iterable[Any]
) -> tuple[tuple[Sourcestamp, ...], list[dict[str, Any]]]:
    """Return the places of *revision*, and the sourcestamps of a build there.

    Further codebases get the defaults of the schedulers that use them: a source step without a
    sourcestamp in its codebase fails.

    :param schedulers: the schedulers that build with the same builders
    """
    where = of(revision, schedulers)
    stamps = {place.codebase: place.at(revision.revision) for place in where}
    further: dict[str, list[Mapping[str, Any]]] = {}
    for scheduler in schedulers:
        codebases = getattr(scheduler, "codebases", {})
        if not stamps.keys() & codebases.keys():
            continue
        with noted_anew(scheduler):
            for codebase in codebases.keys() - stamps.keys():
                # some schedulers return a value, others a Deferred
                defaults = await defer.maybeDeferred(scheduler.getCodebaseDict, codebase)
                further.setdefault(codebase, []).append(defaults)
    for codebase, several in further.items():
        # the first with any value: a ForceScheduler leaves all to its user
        defaults = max(several, key=lambda one: any(one.values()))
        stamps[codebase] = {
            "branch": defaults.get("branch") or None,
            "revision": defaults.get("revision") or None,
            "repository": defaults.get("repository") or "",
            "project": "",
            "codebase": codebase,
        }
    return where, [stamps[codebase] for codebase in sorted(stamps)]


@contextmanager
def noted_anew(scheduler: Any) -> Iterator[None]:
    """Make *scheduler* read its codebases' last revisions again, if another master runs it.

    They are dropped before and after, so that neither this call nor a later activation of the
    scheduler on this master uses stale values.
    """
    if scheduler.active:
        yield
        return
    buildbot_private.forget_last_codebases(scheduler)
    try:
        yield
    finally:
        buildbot_private.forget_last_codebases(scheduler)
