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
from collections import deque
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple

from buildbot_selfserve.history.index.columns import Pairs

#: The sourcestamps of more places than this are sorted together, if they are few.
MOST_PLACES, FEW_STAMPS = 50, 2000
#: A change that comes so late that so many with higher ids are known stands behind these.
MOST_RECENT = 1000
#: Buildbot's ids have so many bits.
_ID_BITS = 31


class Position(NamedTuple):
    """Where something stands: what came later is greater.

    :param key: the id of the newest sourcestamp at that time
    :param order: among those of the same key: 0 is the sourcestamp of that id; of others the id of
        the change, or of the build request whose build has found the revision
    :param stamp_id: the sourcestamp; 0 where a build has found the revision
    :param found: the number of that in what builds have found; -1 for a sourcestamp
    """

    key: int
    order: int
    stamp_id: int
    found: int = -1


class FirstChange(NamedTuple):
    """The first change of a sourcestamp, and what was the newest sourcestamp of changes before."""

    change_id: int
    stamp_id: int
    place: int
    newest_before: int


class Line:
    """The order of all sourcestamps, and of what builds have found, by the numbers of places."""

    def __init__(self) -> None:
        self._stamps: dict[int, array[int]] = {}
        #: the numbers of what builds have found, under their keys and orders
        self._found: dict[int, Pairs] = {}
        #: sourcestamps that stand elsewhere than their ids say, also by themselves
        self._moved_in: dict[int, list[Position]] = {}
        self._moved: dict[int, Position] = {}
        #: the newest sourcestamp that has a change
        self.newest_changed = 0
        #: the newest changes: those that come later may have lower ids
        self._recent: deque[FirstChange] = deque(maxlen=MOST_RECENT)

    def add_stamps(self, place: int, stamp_ids: Sequence[int]) -> None:
        """Add sourcestamps that name a revision, in the order of their ids."""
        ids = self._stamps.setdefault(place, array("i"))
        if stamp_ids and (not ids or stamp_ids[0] > ids[-1]):
            ids.extend(stamp_ids)
            return
        for stamp_id in stamp_ids:
            ids.insert(bisect.bisect_left(ids, stamp_id), stamp_id)

    def add_changes(self, changes: Iterable[tuple[int, int, int]]) -> bool:
        """Note the first changes of sourcestamps: change, sourcestamp, number of the place.

        Return whether others may stand elsewhere now, too.
        """
        late = False
        for change_id, stamp_id, place in changes:
            if self._recent and change_id < self._recent[-1].change_id:
                self._add_late(change_id, stamp_id, place)
                late = True
            else:
                self._add(change_id, stamp_id, place)
        return late

    def _add_late(self, change_id: int, stamp_id: int, place: int) -> None:
        """Note a change of which the id is no order in time: it was committed after others."""
        later: list[FirstChange] = []
        while self._recent and self._recent[-1].change_id > change_id:
            later.append(self._recent.pop())
            self._forget(later[-1])
            self.newest_changed = later[-1].newest_before
        self._add(change_id, stamp_id, place)
        for one in reversed(later):
            if one.stamp_id != stamp_id:
                self._add(one.change_id, one.stamp_id, one.place)

    def _add(self, change_id: int, stamp_id: int, place: int) -> None:
        self._recent.append(FirstChange(change_id, stamp_id, place, self.newest_changed))
        if stamp_id < self.newest_changed:
            # it was there before its change: somebody had asked for it by hand
            position = Position(self.newest_changed, change_id, stamp_id)
            self._moved[stamp_id] = position
            bisect.insort(self._moved_in.setdefault(place, []), position)
        self.newest_changed = max(stamp_id, self.newest_changed)

    def _forget(self, change: FirstChange) -> None:
        position = self._moved.pop(change.stamp_id, None)
        if position is not None:
            self._moved_in[change.place].remove(position)

    def forget_change(self, stamp_id: int, place: int) -> None:
        """Note that a sourcestamp has no change any more."""
        self._forget(FirstChange(0, stamp_id, place, 0))

    def add_found(self, place: int, positions: Iterable[Position]) -> None:
        """Note where something stands that builds have found in a place."""
        pairs = ((_both(one.key, one.order), one.found) for one in positions)
        self._found.setdefault(place, Pairs(long=True)).add(pairs)

    def position(self, stamp_id: int) -> Position:
        """Return where a sourcestamp stands."""
        return self._moved.get(stamp_id) or Position(stamp_id, 0, stamp_id)

    def older(self, places: Collection[int], than: Position | None) -> Iterator[Position]:
        """Yield what stands in *places*, the newest first; only what is older *than* that."""
        stamps = [self._stamps[one] for one in places if one in self._stamps]
        if len(stamps) > MOST_PLACES and sum(map(len, stamps)) < FEW_STAMPS:
            stamps = [array("i", sorted(itertools.chain(*stamps)))]
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


def found_at(key: int, request_id: int, number: int) -> Position:
    """Return where something stands that a build of a request has found."""
    return Position(key, request_id, 0, number)


def _both(key: int, order: int) -> int:
    return key << _ID_BITS | order


def _older_found(found: Pairs, than: Position | None) -> Iterator[Position]:
    below = None if than is None else _both(than.key, than.order) + 1
    for both, number in found.descending(below):
        position = found_at(both >> _ID_BITS, both & ((1 << _ID_BITS) - 1), number)
        if than is None or position < than:
            yield position


def _older_moved(moved: Sequence[Position], than: Position | None) -> Iterator[Position]:
    end = len(moved) if than is None else bisect.bisect_left(moved, than)
    for where in range(end - 1, -1, -1):
        yield moved[where]
