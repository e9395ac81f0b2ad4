"""Keeps the buildsets: sourcestamps, reason, time and owner. None of it changes."""

from __future__ import annotations

import functools
from array import array
from collections.abc import Iterable
from collections.abc import Set
from typing import NamedTuple

from buildbot_selfserve.history.index.columns import Ids
from buildbot_selfserve.history.index.columns import Pairs
from buildbot_selfserve.history.json_columns import property_in

#: Longer than any time in seconds.
FOREVER = 2**62


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
        #: by the number of a place: the builders that were asked for there, and the buildsets that
        #: were not looked at yet; nothing of a place where nobody has looked
        self._builders: dict[int, set[int]] = {}
        self._not_looked_at: dict[int, set[int]] = {}
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
            if place in self._not_looked_at:
                self._not_looked_at[place].add(buildset_id)
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

    def not_looked_at(self, place: int) -> set[int]:
        """Return the buildsets in a place whose builders are not known."""
        if place not in self._not_looked_at:
            every = self._by_time.get(place, Pairs()).between(-FOREVER, FOREVER)
            self._not_looked_at[place] = set(every)
        return self._not_looked_at[place]

    def look_at(self, place: int, buildset_ids: Set[int], builder_ids: Set[int]) -> None:
        """Note the builders of buildsets in a place."""
        self._not_looked_at[place] -= buildset_ids
        self._builders.setdefault(place, set()).update(builder_ids)

    def builders_in(self, place: int) -> Set[int]:
        """Return the builders that were asked for in a place."""
        return self._builders.get(place, frozenset())


@functools.lru_cache(maxsize=1000)
def owner_in(values: tuple[str, ...]) -> str | None:
    """Return who asked for a buildset, as the JSON of its ``owner`` property says it."""
    owners = (property_in(value) for value in values if value.startswith('["'))
    return next((owner for owner in owners if isinstance(owner, str)), None)
