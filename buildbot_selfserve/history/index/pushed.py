"""Keeps what is known of revisions in the lines of branches, until something else is."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from buildbot_selfserve.history.index.push_order import Position

#: So many revisions are kept at most.
MOST_KEPT = 20_000

Places = frozenset[int]


class Pushed(NamedTuple):
    """A revision in the line of a branch.

    :param stamp_ids: its sourcestamps there, without those with a patch
    :param build_ids: builds that have found it
    :param change_ids: its changes that Buildbot still has
    :param codebases: those that it is of
    :param by_hand: it never had a change: it was only asked for
    :param buildset_ids: the buildsets of its sourcestamps, without those with a patch
    """

    position: Position
    revision: str
    stamp_ids: tuple[int, ...]
    build_ids: tuple[int, ...]
    change_ids: tuple[int, ...]
    codebases: frozenset[str]
    by_hand: bool
    buildset_ids: tuple[int, ...]


_NOTHING: Mapping[Places, Pushed | None] = MappingProxyType({})


class KeptPushed:
    """What stands in lines, by revision and the numbers of the places that are a branch.

    ``None`` of a revision that is in no line there. To find all of it out takes much longer than to
    read what was built, and every question looks back over the same revisions. Whatever is taken in
    of a revision makes it forgotten.
    """

    def __init__(self) -> None:
        self._kept: dict[str, dict[Places, Pushed | None]] = {}

    def __bool__(self) -> bool:
        return bool(self._kept)

    def of(self, revision: str) -> Mapping[Places, Pushed | None]:
        """Return what is kept of a revision."""
        return self._kept.get(revision, _NOTHING)

    def keep(self, revision: str, places: Places, pushed: Pushed | None) -> None:
        """Keep what stands in the line of *places*."""
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept.setdefault(revision, {})[places] = pushed

    def forget(self, revisions: Iterable[str]) -> None:
        """Forget what is kept of *revisions*."""
        for one in revisions:
            self._kept.pop(one, None)

    def clear(self) -> None:
        """Forget everything."""
        self._kept.clear()
