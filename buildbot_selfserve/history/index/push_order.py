"""Keeps the order of pushes: of the revisions in each place.

Revisions are ordered by the arrival of their first changes. A revision without a change is
positioned by its first request; a revision that only builds found, by the first request of these
builds. Buildbot creates a sourcestamp with its first change or request, so sourcestamp ids are the
keys of this order. A revision whose change came later than its sourcestamp has another key.
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
from buildbot_selfserve.history.index.columns import ascend

#: More places than this are sorted together if they have fewer sourcestamps than this.
MOST_PLACES, FEW_STAMPS = 50, 2000
#: A change that arrives after this many changes with higher ids is positioned after them.
MOST_RECENT = 1000
#: The number of bits of Buildbot's ids.
_ID_BITS = 31


class Position(NamedTuple):
    """The position of a revision; later positions are greater.

    :param key: the id of the newest sourcestamp when the revision came
    :param order: the order within the same key: 0 for the sourcestamp with that id, else the id of
        the change, or of the request whose build found the revision
    :param stamp_id: the sourcestamp; 0 if a build found the revision
    :param found: the row of the find in ``Builds``; -1 for a sourcestamp
    """

    key: int
    order: int
    stamp_id: int
    found: int = -1


class FirstChange(NamedTuple):
    """The first change of a sourcestamp, and the newest sourcestamp of earlier changes."""

    change_id: int
    stamp_id: int
    place: int
    newest_before: int


class Line:
    """The positions of all sourcestamps, and of revisions that builds found, by number of place."""

    def __init__(self) -> None:
        self._stamps: dict[int, array[int]] = {}
        #: for each place: rows of the finds in ``Builds``, by key and order
        self._found: dict[int, Pairs] = {}
        #: positions of sourcestamps with another key than their id: by place, and by sourcestamp
        self._moved_in: dict[int, list[Position]] = {}
        self._moved: dict[int, Position] = {}
        #: the highest sourcestamp id that has a change
        self.newest_changed = 0
        #: the newest changes, kept as later arrivals may have lower ids
        self._recent: deque[FirstChange] = deque(maxlen=MOST_RECENT)

    def add_stamps(self, place: int, stamp_ids: Sequence[int]) -> None:
        """Add sourcestamps that name a revision, ordered by id."""
        ids = self._stamps.setdefault(place, array("i"))
        if stamp_ids and (not ids or stamp_ids[0] > ids[-1]):
            ids.extend(stamp_ids)
            return
        for stamp_id in stamp_ids:
            ids.insert(bisect.bisect_left(ids, stamp_id), stamp_id)

    def extend(
        self, change_ids: Sequence[int], stamp_ids: Sequence[int], places: Sequence[int]
    ) -> bool:
        """Add many first changes; return False, and do nothing, if they are not in order.

        :param stamp_ids: the sourcestamp of each change, none of which has had a change
        """
        newest = self._recent[-1].change_id if self._recent else 0
        before = [self.newest_changed, *stamp_ids]
        if not (ascend([newest, *change_ids]) and ascend(before)):
            return False
        self.newest_changed = before.pop()
        kept = (its[-MOST_RECENT:] for its in (change_ids, stamp_ids, places, before))
        self._recent.extend(map(FirstChange._make, zip(*kept, strict=True)))
        return True

    def add_changes(self, changes: Iterable[tuple[int, int, int]]) -> bool:
        """Add first changes of sourcestamps.

        :param changes: change, sourcestamp, number of place

        :return: whether positions of other revisions may have changed
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
        """Add a change that was committed after changes with higher ids."""
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
            # the sourcestamp is older than its change: it was requested by hand
            position = Position(self.newest_changed, change_id, stamp_id)
            self._moved[stamp_id] = position
            bisect.insort(self._moved_in.setdefault(place, []), position)
        self.newest_changed = max(stamp_id, self.newest_changed)

    def _forget(self, change: FirstChange) -> None:
        position = self._moved.pop(change.stamp_id, None)
        if position is not None:
            self._moved_in[change.place].remove(position)

    def forget_change(self, stamp_id: int, place: int) -> None:
        """Note that a sourcestamp's changes were deleted."""
        self._forget(FirstChange(0, stamp_id, place, 0))

    def add_found(self, place: int, positions: Iterable[Position]) -> None:
        """Add positions of revisions that builds found in a place."""
        pairs = ((_both(one.key, one.order), one.found) for one in positions)
        self._found.setdefault(place, Pairs(long=True)).add(pairs)

    def position(self, stamp_id: int) -> Position:
        """Return the position of a sourcestamp."""
        return self._moved.get(stamp_id) or Position(stamp_id, 0, stamp_id)

    def older(self, places: Collection[int], than: Position | None) -> Iterator[Position]:
        """Yield the positions in *places*, newest first.

        :param than: yield only positions older than this one
        """
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

    def newer(self, places: Collection[int], than: Position) -> Iterator[Position]:
        """Yield the positions of sourcestamps in *places* that are newer than *than*, oldest first.

        Revisions that only builds found are left out.
        """
        stamps = (self._stamps[one] for one in places if one in self._stamps)
        moved = (self._moved_in[one] for one in places if one in self._moved_in)
        return heapq.merge(
            *(self._newer_stamps(one, than) for one in stamps),
            *(iter(one[bisect.bisect_right(one, than) :]) for one in moved),
        )

    def _newer_stamps(self, ids: array[int], than: Position) -> Iterator[Position]:
        for where in range(bisect.bisect_right(ids, than.key), len(ids)):
            if ids[where] not in self._moved:
                yield Position(ids[where], 0, ids[where])


def found_at(key: int, request_id: int, number: int) -> Position:
    """Return the position of a revision that a build of a request found.

    :param number: the row of the find in ``Builds``
    """
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
