"""Keeps the authors and users of changes."""

from __future__ import annotations

import bisect
import heapq
import itertools
from array import array
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

from buildbot_selfserve.history.index.columns import Ids
from buildbot_selfserve.history.index.columns import Pairs
from buildbot_selfserve.history.index.records import Several
from buildbot_selfserve.history.index.records import numbers_of
from buildbot_selfserve.history.index.records import several
from buildbot_selfserve.model import user_key
from buildbot_selfserve.model import user_keys

#: Id, sourcestamp, author, and Buildbot's users of the change.
Change = tuple[int, int, str, Several]


#: So many changes are returned at a time.
A_PART = 10_000


class Changes:
    """The authors and users of changes."""

    def __init__(self) -> None:
        self._ids = Ids()
        #: for each change, the index of its names
        self._named = array("i")
        self._stamps = array("i")
        #: the distinct groups of names, and their indexes by the database's values
        self._names: list[tuple[str, ...]] = []
        self._numbers: dict[tuple[str, Several], int] = {}
        #: the changes of each name; and these columns for each group of names
        self._by_name: dict[str, array[int]] = {}
        self._columns: list[list[array[int]]] = []
        self._of_stamp = Pairs()
        #: the names that belong to each user key
        self._by_key: dict[str, set[str]] = {}
        #: the newest change of each place, by number of place
        self._newest_in: dict[int, int] = {}

    def add(self, changes: Sequence[Change]) -> None:
        """Add changes."""
        if not changes:
            return
        ids, stamp_ids, authors, users = zip(*changes, strict=True)
        named = zip(authors, users, strict=True)
        numbers = numbers_of(named, self._numbers, self._number)
        if self._ids.are_newer(ids):
            self._ids.extend(ids)
            self._named.extend(numbers)
            self._stamps.extend(stamp_ids)
        else:
            for change_id, stamp_id, number in zip(ids, stamp_ids, numbers, strict=True):
                where = self._ids.insert(change_id)
                self._named.insert(where, number)
                self._stamps.insert(where, stamp_id)
        for change_id, number in zip(ids, numbers, strict=True):
            for its in self._columns[number]:
                if not its or change_id > its[-1]:
                    its.append(change_id)
                else:
                    bisect.insort(its, change_id)
        self._of_stamp.extend(stamp_ids, ids)

    def _number(self, names: tuple[str, Several]) -> int:
        """Add a new group of author and users; return its index."""
        author, users = names
        number = self._numbers[names] = len(self._names)
        self._names.append(tuple(dict.fromkeys((author, *several(users)))))
        for name in self._names[-1]:
            self._know(name)
        self._columns.append([self._by_name[name] for name in self._names[-1]])
        return number

    def _know(self, name: str) -> None:
        if name not in self._by_name:
            self._by_name[name] = array("i")
            for key in user_keys(name):
                self._by_key.setdefault(key, set()).add(name)

    def in_parts(self) -> Iterator[tuple[Sequence[int], Sequence[int]]]:
        """Yield the ids of all changes in order, and their sourcestamps, in parts."""
        for begin in range(0, len(self._ids), A_PART):
            part = slice(begin, begin + A_PART)
            yield self._ids[part], self._stamps[part]

    def sort(self) -> None:
        """Sort what was added; otherwise the next read does."""
        self._of_stamp.sort()

    def forget_before(self, first: int | None) -> Collection[int]:
        """Remove the changes before *first*, or all if ``None``, as Buildbot has deleted them.

        :return: the sourcestamps of the removed changes
        """
        count = self._ids.before(first)
        forgotten = self._stamps[:count]
        if count:
            self._ids.cut(count)
            del self._named[:count]
            del self._stamps[:count]
        return forgotten

    @property
    def forgotten_until(self) -> int:
        """Return the sourcestamp of the oldest change if older ones were deleted, else 0."""
        if not len(self._ids) or self._ids.at(0) == 1:
            return 0
        return self._stamps[0]

    def move(self, newest: Mapping[int, int]) -> None:
        """Note changes that may be the newest in their places.

        :param newest: change by number of place
        """
        for place, change_id in newest.items():
            self._newest_in[place] = max(change_id, self._newest_in.get(place, 0))

    def newest_in(self, place: int) -> int | None:
        """Return the newest change in a place, ``None`` if there is none or it was deleted."""
        change_id = self._newest_in.get(place)
        return None if change_id is None or self._ids.where(change_id) is None else change_id

    def newest_of(self, stamp_id: int) -> int | None:
        """Return the newest change of a sourcestamp, ``None`` if there is none."""
        there = (one for one in reversed(self._of_stamp.of(stamp_id)))
        return next((one for one in there if self._ids.where(one) is not None), None)

    def first_of(self, stamp_id: int) -> int | None:
        """Return the first change of a sourcestamp, even if Buildbot has deleted it."""
        changes = self._of_stamp.of(stamp_id)
        return changes[0] if changes else None

    def is_of(self, change_id: int, users: tuple[str, ...]) -> bool:
        """Return whether a change is by one of *users*: full names, or the addresses in them."""
        where = self._ids.where(change_id)
        return where is not None and not self._known_as_any(users).isdisjoint(
            self._names[self._named[where]]
        )

    def all_of(self, stamp_id: int) -> list[int]:
        """Return the changes of a sourcestamp that Buildbot has not deleted, ordered by id."""
        return [one for one in self._of_stamp.of(stamp_id) if self._ids.where(one) is not None]

    def by(self, users: tuple[str, ...], before: int | None = None) -> Iterator[tuple[int, int]]:
        """Yield the changes of *users* with their sourcestamps, newest first.

        :param users: full names, or the addresses in them
        :param before: only changes with a lower id
        """
        every = [self._by_name[name] for name in self._known_as_any(users)]
        if before is not None:
            every = [one[: bisect.bisect_left(one, before)] for one in every]
        # a change with several of these names comes several times
        merged = heapq.merge(*map(reversed, every), reverse=True)
        for change_id, _ in itertools.groupby(merged):
            where = self._ids.where(change_id)
            if where is not None:
                yield change_id, self._stamps[where]

    def stamps_of(self, name: str) -> set[int]:
        """Return the sourcestamps of all changes of a known name."""
        wheres = map(self._ids.where, self._by_name[name])
        return {self._stamps[where] for where in wheres if where is not None}

    def author_of(self, stamp_ids: Sequence[int]) -> str | None:
        """Return the author of the newest change of any of these sourcestamps."""
        if len(stamp_ids) == 1:
            newest = self.newest_of(stamp_ids[0])
        else:
            every = (one for one in map(self.newest_of, stamp_ids) if one is not None)
            newest = max(every, default=None)
        where = None if newest is None else self._ids.where(newest)
        return None if where is None else self._names[self._named[where]][0]

    def names_of(self, stamp_id: int) -> set[str]:
        """Return the names of all changes of a sourcestamp."""
        return {name for names in self._names_of(stamp_id) for name in names}

    def _names_of(self, stamp_id: int) -> Iterator[tuple[str, ...]]:
        for change_id in reversed(self._of_stamp.of(stamp_id)):
            where = self._ids.where(change_id)
            if where is not None:
                yield self._names[self._named[where]]

    def known_as(self, user: str) -> set[str]:
        """Return the names of *user*, given as a full name or as the address in it."""
        return self._by_key.get(user_key(user), set())

    def _known_as_any(self, users: tuple[str, ...]) -> set[str]:
        return set[str]().union(*map(self.known_as, users))

    def names_like(self, text: str, count: int) -> list[str]:
        """Return up to *count* names that contain *text*, exact matches first; case is ignored."""
        sought = text.casefold()
        whole = self.known_as(text)
        found = [name for name in self._by_name if sought in name.casefold()]
        return sorted(found, key=lambda name: (name not in whole, name))[:count]
