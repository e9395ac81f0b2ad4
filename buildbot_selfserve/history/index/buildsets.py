"""Keeps the sourcestamps, reason, time and owner of buildsets, none of which ever changes."""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from functools import partial
from typing import NamedTuple

from buildbot_selfserve.history.index.columns import Ids
from buildbot_selfserve.history.index.columns import Pairs
from buildbot_selfserve.history.index.records import Several
from buildbot_selfserve.history.index.records import numbers_of
from buildbot_selfserve.history.index.records import several
from buildbot_selfserve.history.json_columns import property_in

#: Later than any time in epoch seconds.
FOREVER = 2**62
#: The number of preceding buildsets to search for the newest sourcestamp at a buildset's time.
RECENT = 50


class BuildsetInfo(NamedTuple):
    """Reason and owner of a buildset.

    :param reason: why the buildset was requested
    :param owner: who requested it, from its property ``owner``
    """

    reason: str | None
    owner: str | None


#: Reason and owners of a buildset, as in the database.
Told = tuple[str | None, Several]


class Buildsets:
    """All buildsets."""

    def __init__(self) -> None:
        self._ids = Ids()
        #: for each buildset, the index of its info
        self._told = array("i")
        #: the distinct infos, and their indexes by the database's values
        self._infos: list[BuildsetInfo] = []
        self._numbers: dict[Told, int] = {}
        #: the sourcestamp of each buildset; for several sourcestamps, ``~`` of an index in
        #: ``_several`` with their number, which the ids follow
        self._stamp = array("i")
        self._several = array("i")
        self._of_stamp = Pairs()
        self._by_time: dict[int, Pairs] = defaultdict(partial(Pairs, long=True))
        #: by number of place: the builders requested there, each with its latest time; the
        #: buildsets whose builders were not read yet, with their times; and the time from which on
        #: buildsets are collected for this
        self._builders: dict[int, dict[int, int]] = {}
        self._not_looked_at: dict[int, dict[int, int]] = {}
        self._followed_since: dict[int, int] = {}
        #: the buildsets that may have incomplete requests; and the same by number of place
        self.open: set[int] = set()
        self._open_in: dict[int, set[int]] = {}

    def __contains__(self, buildset_id: int) -> bool:
        return self._ids.where(buildset_id) is not None

    def add(
        self,
        ids: Sequence[int],
        stamp_ids: Sequence[int],
        places: Sequence[int],
        times: Sequence[int],
        told: Sequence[Told],
    ) -> None:
        """Add buildsets, with a link for each sourcestamp.

        :param ids: the buildset of each link
        :param places: the number of its sourcestamp's place
        :param times: when the buildset was submitted, in epoch seconds
        """
        numbers = numbers_of(told, self._numbers, self._number)
        newest = self._ids.last
        by_place: dict[int, tuple[list[int], list[int]]] = defaultdict(lambda: ([], []))
        for buildset_id, stamp_id, place, time, number in zip(
            ids, stamp_ids, places, times, numbers, strict=True
        ):
            if buildset_id > newest:
                newest = buildset_id
                self._ids.append(buildset_id)
                self._told.append(number)
                self._stamp.append(stamp_id)
            else:
                self._insert(buildset_id, stamp_id, number)
            its_times, its_ids = by_place[place]
            its_times.append(time)
            its_ids.append(buildset_id)
        self._of_stamp.extend(stamp_ids, ids)
        for place, columns in by_place.items():
            self._by_time[place].extend(*columns)
            self._follow(place, *columns)

    def _follow(self, place: int, times: Iterable[int], ids: Iterable[int]) -> None:
        """Note the buildsets whose builders are to be read, if those of the place are."""
        since = self._followed_since.get(place)
        if since is not None:
            newer = ((one, time) for one, time in zip(ids, times, strict=True) if time >= since)
            self._not_looked_at[place].update(newer)

    def _insert(self, buildset_id: int, stamp_id: int, number: int) -> None:
        where = self._ids.where(buildset_id)
        if where is None:
            where = self._ids.insert(buildset_id)
            self._told.insert(where, number)
            self._stamp.insert(where, stamp_id)
            return
        known = self._stamps_at(where)
        if stamp_id not in known:
            self._stamp[where] = ~len(self._several)
            self._several.extend((len(known) + 1, *known, stamp_id))

    def _number(self, told: Told) -> int:
        """Add a new info; return its index."""
        number = self._numbers[told] = len(self._infos)
        reason, owners = told
        self._infos.append(BuildsetInfo(reason, owner_in(several(owners))))
        return number

    def _stamps_at(self, where: int) -> tuple[int, ...]:
        stamp_id = self._stamp[where]
        if stamp_id >= 0:
            return (stamp_id,)
        begin = ~stamp_id + 1
        return tuple(self._several[begin : begin + self._several[begin - 1]])

    def sort(self) -> None:
        """Sort what was added; otherwise the next read does."""
        for pairs in (self._of_stamp, *self._by_time.values()):
            pairs.sort()

    def begin(self, buildset_id: int, places: Iterable[int]) -> None:
        """Note that a buildset in *places* may have incomplete requests."""
        self.open.add(buildset_id)
        for place in places:
            self._open_in.setdefault(place, set()).add(buildset_id)

    def info(self, buildset_id: int) -> BuildsetInfo:
        """Return reason and owner of a buildset in the index."""
        where = self._ids.where(buildset_id)
        assert where is not None
        return self._infos[self._told[where]]

    def stamps(self, buildset_id: int) -> tuple[int, ...]:
        """Return the sourcestamps of a buildset, none if it is not in the index."""
        where = self._ids.where(buildset_id)
        if where is None:
            return ()
        stamp_id = self._stamp[where]
        return (stamp_id,) if stamp_id >= 0 else self._stamps_at(where)

    def newest_stamp(self, buildset_id: int) -> int:
        """Return the newest sourcestamp of a buildset and the ``RECENT`` buildsets before it."""
        end = self._ids.before(buildset_id + 1)
        begin = max(0, end - RECENT)
        recent = self._stamp[begin:end]
        if min(recent, default=0) >= 0:
            return max(recent, default=0)
        return max(max(self._stamps_at(where)) for where in range(begin, end))

    def of_stamp(self, stamp_id: int) -> Iterable[int]:
        """Return the buildsets of a sourcestamp, ordered by id."""
        return self._of_stamp.of(stamp_id)

    def open_in(self, places: Iterable[int]) -> set[int]:
        """Return the buildsets in *places* that may have incomplete requests."""
        return set().union(*(self._open_in.get(one, ()) for one in places))

    def close(self, buildset_ids: Set[int]) -> None:
        """Note that all requests of these buildsets are complete."""
        for its in (self.open, *self._open_in.values()):
            its -= buildset_ids

    def asked_between(self, place: int, begin: int, end: int) -> Iterable[int]:
        """Return the buildsets in a place that were submitted from *begin* to before *end*."""
        pairs = self._by_time.get(place)
        return () if pairs is None else pairs.between(begin, end)

    def newest_in(self, place: int, count: int) -> list[tuple[int, int]]:
        """Return the times and ids of the newest *count* buildsets in a place."""
        return self._by_time.get(place, Pairs()).newest(count)

    def not_looked_at(self, place: int, since: int) -> dict[int, int]:
        """Return the buildsets in a place whose builders were not read yet, with their times.

        :param since: only buildsets submitted at this time or later, in epoch seconds
        """
        known = self._followed_since.get(place, FOREVER)
        times = self._not_looked_at.setdefault(place, {})
        if since < known:
            earlier = self._by_time.get(place, Pairs()).items_between(since, known)
            times.update((buildset_id, time) for time, buildset_id in earlier)
            self._followed_since[place] = since
        return {buildset_id: time for buildset_id, time in times.items() if time >= since}

    def look_at(
        self, place: int, times: Mapping[int, int], builder_ids: Mapping[int, Set[int]]
    ) -> None:
        """Add the builders of buildsets in a place.

        :param times: by buildset, when it was submitted
        :param builder_ids: by buildset, its builders
        """
        newest = self._builders.setdefault(place, {})
        for buildset_id, time in times.items():
            self._not_looked_at[place].pop(buildset_id, None)
            for builder_id in builder_ids[buildset_id]:
                newest[builder_id] = max(time, newest.get(builder_id, time))

    def builders_in(self, place: int, since: int) -> Iterable[int]:
        """Return the builders requested in a place at *since* or later, in epoch seconds."""
        return [one for one, time in self._builders.get(place, {}).items() if time >= since]


def owner_in(values: Iterable[str]) -> str | None:
    """Return the owner of a buildset from the JSON values of its ``owner`` property."""
    owners = (property_in(value) for value in values if value.startswith('["'))
    return next((owner for owner in owners if isinstance(owner, str)), None)
