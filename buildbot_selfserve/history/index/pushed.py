"""Caches revisions with their positions, until new rows of them are added."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from buildbot_selfserve.history.index.push_order import Position

#: The largest number of revisions to keep.
MOST_KEPT = 20_000

Places = frozenset[int]


class Pushed(NamedTuple):
    """A revision as pushed to a branch.

    :param stamp_ids: its sourcestamps on the branch, without those with a patch
    :param build_ids: the builds that found it
    :param change_ids: its changes that Buildbot has not deleted
    :param codebases: the codebases of its sourcestamps
    :param by_hand: it never had a change, only requests
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
    """A cache of ``Pushed``, by revision and by the numbers of a branch's places.

    The value is ``None`` for a revision that the branch does not have. Computing a ``Pushed`` takes
    much longer than reading its builds, and every GET looks back over the same revisions. A
    revision is dropped when rows of it are added.
    """

    def __init__(self) -> None:
        self._kept: dict[str, dict[Places, Pushed | None]] = {}

    def __bool__(self) -> bool:
        return bool(self._kept)

    def of(self, revision: str) -> Mapping[Places, Pushed | None]:
        """Return the cached values of a revision."""
        return self._kept.get(revision, _NOTHING)

    def keep(self, revision: str, places: Places, pushed: Pushed | None) -> None:
        """Cache the value of a revision for the branch with *places*."""
        if len(self._kept) >= MOST_KEPT:
            self._kept.clear()
        self._kept.setdefault(revision, {})[places] = pushed

    def forget(self, revisions: Iterable[str]) -> None:
        """Drop the cached values of *revisions*."""
        for one in revisions:
            self._kept.pop(one, None)

    def clear(self) -> None:
        """Drop all cached values."""
        self._kept.clear()
