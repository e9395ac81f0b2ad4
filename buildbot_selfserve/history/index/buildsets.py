"""Keeps the buildsets: sourcestamps, reason, time and owner. None of it changes."""

from __future__ import annotations

import functools
from array import array
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Set
from typing import NamedTuple

from buildbot_selfserve.history.index.columns import Ids
from buildbot_selfserve.history.index.columns import Pairs
from buildbot_selfserve.history.json_columns import property_in

#: Longer than any time in seconds.
FOREVER = 2**62
#: So many buildsets before one tell which sourcestamp was the newest when it was made.
RECENT = 50


class BuildsetInfo(NamedTuple):
    """What is told of a buildset.

    :param reason: why it was asked for
    :param owner: who asked for it, where it says so
    """

    reason: str | None
    owner: str | None


class Link(NamedTuple):
    """A buildset and one of its sourcestamps.

    :param place: the number of the place where the sourcestamp is
    :param time: when it was asked for, in epoch seconds
    """

    buildset_id: int
    stamp_id: int
    place: int
    time: int
    info: BuildsetInfo


class Buildsets:
    """All buildsets."""

    def __init__(self) -> None:
        self._ids = Ids()
        self._told: list[BuildsetInfo] = []
        self._same: dict[BuildsetInfo, BuildsetInfo] = {}
        self._stamp = array("q")
        self._more_stamps: dict[int, tuple[int, ...]] = {}
        self._of_stamp = Pairs()
        self._by_time: dict[int, Pairs] = {}
        #: by the number of a place: the builders that were asked for there, with the last time; the
        #: buildsets that were not looked at yet, with theirs; and since when that is followed
        self._builders: dict[int, dict[int, int]] = {}
        self._not_looked_at: dict[int, dict[int, int]] = {}
        self._followed_since: dict[int, int] = {}
        #: those that may have requests which are not complete; and by the numbers of their places
        self.open: set[int] = set()
        self._open_in: dict[int, set[int]] = {}

    def add(self, links: Iterable[Link]) -> None:
        """Add buildsets, each with all its sourcestamps."""
        of_stamp: list[tuple[int, int]] = []
        by_time: dict[int, list[tuple[int, int]]] = {}
        for buildset_id, stamp_id, place, time, info in links:
            where = self._ids.where(buildset_id)
            if where is None:
                where = self._ids.insert(buildset_id)
                self._told.insert(where, self._same.setdefault(info, info))
                self._stamp.insert(where, stamp_id)
            elif stamp_id not in self.stamps(buildset_id):
                self._more_stamps[buildset_id] = (*self.stamps(buildset_id), stamp_id)
            of_stamp.append((stamp_id, buildset_id))
            by_time.setdefault(place, []).append((time, buildset_id))
            self.open.add(buildset_id)
            self._open_in.setdefault(place, set()).add(buildset_id)
            if time >= self._followed_since.get(place, FOREVER):
                self._not_looked_at[place][buildset_id] = time
        self._of_stamp.add(of_stamp)
        for place, pairs in by_time.items():
            self._by_time.setdefault(place, Pairs()).add(pairs)

    def info(self, buildset_id: int) -> BuildsetInfo:
        """Return what is told of a buildset."""
        where = self._ids.where(buildset_id)
        assert where is not None
        return self._told[where]

    def stamps(self, buildset_id: int) -> tuple[int, ...]:
        """Return the sourcestamps of a buildset."""
        several = self._more_stamps.get(buildset_id)
        if several is not None:
            return several
        where = self._ids.where(buildset_id)
        return () if where is None else (self._stamp[where],)

    def newest_stamp(self, buildset_id: int) -> int:
        """Return the newest sourcestamp of a buildset and of those shortly before it."""
        end = self._ids.before(buildset_id + 1)
        return max(self._stamp[max(0, end - RECENT) : end], default=0)

    def of_stamp(self, stamp_id: int) -> Iterable[int]:
        """Return the buildsets of a sourcestamp, in their order."""
        return self._of_stamp.of(stamp_id)

    def open_in(self, places: Iterable[int]) -> set[int]:
        """Return the buildsets in *places* that may have requests which are not complete."""
        return set().union(*(self._open_in.get(one, ()) for one in places))

    def close(self, buildset_ids: Set[int]) -> None:
        """Note that all requests of these are complete."""
        for its in (self.open, *self._open_in.values()):
            its -= buildset_ids

    def asked_between(self, place: int, begin: int, end: int) -> Iterable[int]:
        """Return the buildsets in a place that were asked for in a span of time."""
        pairs = self._by_time.get(place)
        return () if pairs is None else pairs.between(begin, end)

    def newest_in(self, place: int, count: int) -> list[tuple[int, int]]:
        """Return the newest *count* buildsets in a place: when they were asked for, and ids."""
        return self._by_time.get(place, Pairs()).newest(count)

    def not_looked_at(self, place: int, since: int) -> dict[int, int]:
        """Return the buildsets in a place whose builders are not known, with their times.

        Those that were asked for *since* then, or later.
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
        """Note the builders of buildsets in a place, which were asked for at these *times*."""
        newest = self._builders.setdefault(place, {})
        for buildset_id, time in times.items():
            self._not_looked_at[place].pop(buildset_id, None)
            for builder_id in builder_ids[buildset_id]:
                newest[builder_id] = max(time, newest.get(builder_id, time))

    def builders_in(self, place: int, since: int) -> Iterable[int]:
        """Return the builders that were asked for in a place *since* then."""
        return [one for one, time in self._builders.get(place, {}).items() if time >= since]


@functools.lru_cache(maxsize=1000)
def owner_in(values: tuple[str, ...]) -> str | None:
    """Return who asked for a buildset, as the JSON of its ``owner`` property says it."""
    owners = (property_in(value) for value in values if value.startswith('["'))
    return next((owner for owner in owners if isinstance(owner, str)), None)
