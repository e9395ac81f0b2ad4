"""Reads the branches: those that are configured, or else those that Buildbot has seen."""

from __future__ import annotations

import bisect
import fnmatch
import re
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.binary_collation import binary_collation
from buildbot_selfserve.history.context import History
from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.history.index import can_be_named
from buildbot_selfserve.history.index import load_branches
from buildbot_selfserve.history.index import near
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import ListedBranch
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import Sourcestamp

_codebase_branches = Model.codebase_branches


def branch(history: History, name: str) -> Branch | None:
    """Return the branch that URLs call *name*, or ``None``."""
    site = history.site
    found = site.branch(name)
    if found is None or name in site.named_branches or name in site.hinted_branches:
        return found
    if history.facts.is_branch(name) and _has_any(history.facts, found):
        return found
    query = sa.select(_codebase_branches.c.id).where(
        binary_collation(_codebase_branches.c.name, name)
    )
    there = name and history.connection.execute(query.limit(1)).first()
    return found if there else None


def _has_any(facts: Facts, branch: Branch) -> bool:
    """Return whether any sourcestamp with the name of *branch* belongs to it."""
    return not branch.is_narrowed or facts.has_places(branch)


def listed_branches(history: History, search: str | None = None) -> Sequence[ListedBranch]:
    """Return all branches, the one with the latest activity first.

    The result is lazy, as there may be thousands: it creates a ``ListedBranch`` on access.

    :param search: only branches whose names contain this text; case is ignored
    """
    facts, site = history.facts, history.site
    load_branches(history.connection, facts)
    hinted = filter(can_be_named, site.hinted_branches)
    unmoved = sorted(one for one in hinted if not facts.is_branch(one))
    if site.branches is None and search is None:
        return _Newest(facts.count_branches() + len(unmoved), facts.newest_branches, unmoved)
    found: list[tuple[str, int | None]] = []
    if site.patterns:
        known = [*facts.newest_branches(0, None), *((name, None) for name in unmoved)]
        found = _by_patterns(facts, site, known)
    for name, one in sorted(site.named_branches.items()):
        bisect.insort(found, (name, facts.moved(one.branches)), key=lambda one: -(one[1] or 0))
    if search is not None:
        found = [one for one in found if _fits(one[0], search)]
    return _Configured(site, found)


def _by_patterns(
    facts: Facts, site: Site, known: Sequence[tuple[str, int | None]]
) -> list[tuple[str, int | None]]:
    """Return the *known* branches that match the configured patterns, each with its last activity.

    There may be thousands.
    """
    others = [one for one in known if one[0] not in site.named_or_taken]
    if "*" in {one.name for one in site.patterns} and not any(
        one.is_narrowed for one in site.patterns
    ):
        return others
    left = {name for name, _ in others}
    kept: set[str] = set()
    for pattern in site.patterns:
        fits = re.compile(fnmatch.translate(pattern.name)).match
        every = pattern.name == "*"
        fitting = left if every else {one for one in left if fits(one) or one == pattern.name}
        left = left - fitting
        if pattern.is_narrowed:
            fitting = fitting & {*facts.branches_within(pattern), *site.hinted_branches}
        kept |= fitting
    return [one for one in others if one[0] in kept]


class _Configured(Sequence[ListedBranch]):
    """Branches with their configuration, created on access."""

    def __init__(self, site: Site, moved: Sequence[tuple[str, int | None]]) -> None:
        self._site = site
        self._moved = moved

    def __len__(self) -> int:
        return len(self._moved)

    def __getitem__(self, wanted: Any) -> Any:
        if not isinstance(wanted, slice):
            return self[wanted : wanted + 1][0]
        named = ((self._site.branch(name), moved) for name, moved in self._moved[wanted])
        return [ListedBranch(one, moved) for one, moved in named if one is not None]

    def __iter__(self) -> Iterator[ListedBranch]:
        return iter(self[:])


def branches_of(site: Site, places: Iterable[Sourcestamp]) -> list[Branch]:
    """Return the branches that any of *places* belongs to, configured branches first."""
    places = list(places)
    named = site.named_branches.values()
    found = [one for one in named if any(place.belongs(one) for place in places)]
    for name in dict.fromkeys(place.branch for place in places if place.branch):
        other = None if name in site.named_branches else site.branch(name)
        if other is not None and any(place.belongs(other) for place in places):
            found.append(other)
    return found


def names_near(history: History, text: str, count: int) -> Sequence[str]:
    """Return the *count* branch names that are nearest to *text* in alphabetical order."""
    site = history.site
    names = set(site.named_branches)
    if site.patterns:
        load_branches(history.connection, history.facts)
        others = {*site.hinted_branches, *history.facts.branches_near(text, count)}
        names.update(name for name in others if site.branch(name) is not None)
    return near(sorted(names), text, count)


class _Newest(Sequence[ListedBranch]):
    """Branches with the latest activity first, created on access.

    :param newest: takes a begin and an end; returns the names of that slice of the branches with
        activity, and the times of their last activity
    :param unmoved: the names of the branches without activity; these come last
    """

    def __init__(
        self,
        length: int,
        newest: Callable[[int, int | None], list[tuple[str, int]]],
        unmoved: Sequence[str],
    ) -> None:
        self._length = length
        self._newest = newest
        self._unmoved = unmoved

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[ListedBranch]:
        return iter(self[:])

    def __getitem__(self, wanted: Any) -> Any:
        if not isinstance(wanted, slice):
            return self[wanted : wanted + 1][0]
        begin, end, _ = wanted.indices(self._length)
        moved = self._length - len(self._unmoved)
        some = [_listed(*one) for one in self._newest(begin, min(end, moved))]
        return some + [
            _listed(name, None)
            for name in self._unmoved[max(0, begin - moved) : max(0, end - moved)]
        ]


def _fits(name: str, search: str | None) -> bool:
    return search is None or search.casefold() in name.casefold()


def _listed(name: str, moved: int | None) -> ListedBranch:
    return ListedBranch(_unconfigured(name), moved)


def _unconfigured(name: str) -> Branch:
    return Branch(name=name, branches=(name,))
