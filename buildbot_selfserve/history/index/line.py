"""Keeps the order of the revisions in each place: of the pushes, as far as Buildbot knows them.

Revisions stand in the order in which their first changes came. One without a change stands where
its first request was made, and one that only builds have found where the first of those was asked
for. The ids of sourcestamps tell all of this: a sourcestamp is made when the first change or
request of it is. So they are the keys here, and a revision whose change came later than that has
another key.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
from array import array
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple

from buildbot_selfserve.history.index.columns import Pairs

#: The sourcestamps of more places than this are sorted together.
MOST_PLACES = 50


class Position(NamedTuple):
    """Where something stands: what came later is greater.

    :param key: the id of the newest sourcestamp at that time
    :param order: among those of the same key; 0 is the sourcestamp of that id
    :param stamp_id: the sourcestamp; 0 where a build has found the revision
    :param found: the number of that in what builds have found; -1 for a sourcestamp
    """

    key: int
    order: int
    stamp_id: int
    found: int = -1


class Line:
    """The order of all sourcestamps, and of what builds have found, by the numbers of places."""

    def __init__(self) -> None:
        self._stamps: dict[int, array[int]] = {}
        #: the numbers of what builds have found, under their keys
        self._found: dict[int, Pairs] = {}
        #: sourcestamps that stand elsewhere than their ids say, also by themselves
        self._moved_in: dict[int, list[Position]] = {}
        self._moved: dict[int, Position] = {}
        self._newest_changed = 0

    def add_stamp(self, stamp_id: int, place: int) -> None:
        """Add a sourcestamp that names a revision."""
        ids = self._stamps.setdefault(place, array("q"))
        if not ids or stamp_id > ids[-1]:
            ids.append(stamp_id)
        else:
            ids.insert(bisect.bisect_left(ids, stamp_id), stamp_id)

    def add_change(self, change_id: int, stamp_id: int, place: int) -> None:
        """Note the first change of a sourcestamp; changes come in the order of their ids."""
        if stamp_id < self._newest_changed:
            # it was there before its change: somebody had asked for it by hand
            position = Position(self._newest_changed, change_id, stamp_id)
            self._moved[stamp_id] = position
            bisect.insort(self._moved_in.setdefault(place, []), position)
        self._newest_changed = max(stamp_id, self._newest_changed)

    def add_found(self, place: int, found: Iterable[tuple[int, int]]) -> None:
        """Note what builds have found in a place.

        :param found: the newest sourcestamp when a build was asked for, and the number under which
            it is known what it has found
        """
        self._found.setdefault(place, Pairs()).add(found)

    def position(self, stamp_id: int) -> Position:
        """Return where a sourcestamp stands."""
        return self._moved.get(stamp_id) or Position(stamp_id, 0, stamp_id)

    def older(self, places: Collection[int], than: Position | None) -> Iterator[Position]:
        """Yield what stands in *places*, the newest first; only what is older *than* that."""
        stamps = [self._stamps[one] for one in places if one in self._stamps]
        if len(stamps) > MOST_PLACES:  # each has few
            stamps = [array("q", sorted(itertools.chain(*stamps)))]
        found = [self._found[one] for one in places if one in self._found]
        moved = [self._moved_in[one] for one in places if one in self._moved_in]
        return heapq.merge(
            *(self._older_stamps(one, than) for one in stamps),
            *(_older_found(one, than) for one in found),
            *(_older_moved(one, than) for one in moved),
            reverse=True,
        )

    def _older_stamps(self, ids: array[int], than: Position | None) -> Iterator[Position]:
        end = len(ids)
        if than is not None:
            end = bisect.bisect_left(ids, than.key + (than.order > 0))
        for where in range(end - 1, -1, -1):
            if ids[where] not in self._moved:
                yield Position(ids[where], 0, ids[where])


def found_at(key: int, number: int) -> Position:
    """Return where something stands that a build has found."""
    return Position(key, number + 1, 0, number)


def _older_found(found: Pairs, than: Position | None) -> Iterator[Position]:
    for key, number in found.descending(None if than is None else than.key + 1):
        position = found_at(key, number)
        if than is None or position < than:
            yield position


def _older_moved(moved: Sequence[Position], than: Position | None) -> Iterator[Position]:
    end = len(moved) if than is None else bisect.bisect_left(moved, than)
    for where in range(end - 1, -1, -1):
        yield moved[where]
