"""Takes new rows into the index, and says which rows those refer to."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.history.index.builds import LATE
from buildbot_selfserve.history.index.builds import Undecided
from buildbot_selfserve.history.index.buildsets import BuildsetInfo
from buildbot_selfserve.history.index.buildsets import Link
from buildbot_selfserve.history.index.buildsets import owner_in
from buildbot_selfserve.history.index.changes import Change
from buildbot_selfserve.history.index.cursor import MOST_GAPS
from buildbot_selfserve.history.index.cursor import Replaced
from buildbot_selfserve.history.index.state import IndexState
from buildbot_selfserve.model import Branch

#: So many buildsets may be taken for open that are not.
MOST_CLOSED = 100

Records = Iterable[tuple[Any, ...]]


class Ingest:
    """Adds to what is known of one database.

    What two threads have both fetched is added once.
    """

    def __init__(self, known: IndexState) -> None:
        self.cursors = known.cursors
        self._known = known
        self._lock = known.lock
        self._stamps = known.stamps
        self._buildsets = known.buildsets
        self._changes = known.changes
        self._builds = known.builds
        self._first: dict[str, int | None] = {}
        #: changes whose sourcestamps are not known yet, with the ids of those
        self._unplaced: list[tuple[int, int]] = []
        self._trimmed = 0

    # -- taking in

    def begin(self, name: str, records: Records) -> Iterator[tuple[Any, ...]]:
        """Yield *records*, which are in the order of their ids, and note how far they go.

        :param name: of the tail; of a long table the last records will do
        """
        last: deque[tuple[Any, ...]] = deque(maxlen=2 * MOST_GAPS)
        for record in records:
            last.append(record)
            yield record
        self.cursors[name].begin(list(last))

    def add(self, new: Mapping[str, Sequence[tuple[Any, ...]]], more_stamps: Records) -> None:
        """Take in what is new, by the names of the tails.

        :param more_stamps: old ones that new links need, and that were not known
        :raises Replaced: the database is another one than before
        """
        with self._lock:
            taken = {name: self.cursors[name].take(records) for name, records in new.items()}
            self._stamps.add(more_stamps)
            self._stamps.add(taken.get("stamps", ()))
            self._add_changes(taken.get("changes", ()))
            self._add_links(taken.get("links", ()))
            self._add_builds(taken.get("builds", ()))

    def add_stamps(self, stamps: Records) -> None:
        """Take in sourcestamps."""
        with self._lock:
            self._stamps.add(stamps)

    def add_changes(self, changes: Records) -> None:
        """Take in changes: id, sourcestamp, author, and the users that Buildbot knows of it."""
        with self._lock:
            self._add_changes(changes)

    def add_links(self, links: Records) -> list[tuple[Any, ...]]:
        """Take in links of buildsets to sourcestamps.

        Those to sourcestamps that are not known are left out, and returned.

        :param links: id, buildset, sourcestamp, when and why it was asked for, and in JSON by whom
        """
        left_out: list[tuple[Any, ...]] = []

        def known() -> Iterator[tuple[Any, ...]]:
            for link in links:
                if link[2] in self._stamps:
                    yield link
                else:
                    left_out.append(link)

        with self._lock:
            self._add_links(known())
        return left_out

    def _add_changes(self, changes: Records) -> None:
        stamp_ids: list[int] = []
        unplaced, self._unplaced = self._unplaced, []

        def named() -> Iterator[Change]:
            for change_id, stamp_id, author, users in changes:
                stamp_ids.append(stamp_id)
                unplaced.append((change_id, stamp_id))
                yield change_id, stamp_id, tuple(dict.fromkeys((author, *users)))

        self._changes.add(named())
        self._changes.add_buildsets(
            (buildset_id, stamp_id, self._stamps.place(stamp_id))
            for stamp_id in stamp_ids
            for buildset_id in self._buildsets.of_stamp(stamp_id)
        )
        for change_id, stamp_id in unplaced:
            if stamp_id in self._stamps:
                place = self._stamps.place(stamp_id)
                self._changes.move(change_id, place)
                if self._changes.first_of(stamp_id) == change_id:
                    self._stamps.line.add_change(change_id, stamp_id, place)
            else:
                self._unplaced.append((change_id, stamp_id))

    def _add_links(self, links: Records) -> None:
        added: list[tuple[int, int, int]] = []
        moved: dict[int, int] = {}

        def placed() -> Iterator[Link]:
            for _, buildset_id, stamp_id, submitted_at, reason, owners in links:
                place = self._stamps.place(stamp_id)
                added.append((buildset_id, stamp_id, place))
                moved[place] = max(submitted_at, moved.get(place, 0))
                info = BuildsetInfo(reason, owner_in(owners))
                yield Link(buildset_id, stamp_id, place, submitted_at, info)

        self._buildsets.add(placed())
        self._stamps.move(moved.items())
        self._changes.add_buildsets(added)

    def _add_builds(self, builds: Records) -> None:
        for build_id, request_id, started_at, asked_at, buildset_id in builds:
            if started_at - asked_at >= LATE:
                self._builds.add_late([(started_at, buildset_id)])
            self._search(build_id, buildset_id, request_id)

    def _search(self, build_id: int, buildset_id: int, request_id: int) -> None:
        stamp_ids = filter(self._stamps.is_undecided, self._buildsets.stamps(buildset_id))
        undecided = tuple(self._undecided(one, buildset_id, request_id) for one in stamp_ids)
        if undecided:
            self._builds.searching[build_id] = undecided

    def _undecided(self, stamp_id: int, buildset_id: int, request_id: int) -> Undecided:
        stamp = self._stamps[stamp_id]
        place = self._stamps.place(stamp_id)
        key = self._buildsets.newest_stamp(buildset_id)
        patched = not self._stamps.patched.isdisjoint(self._buildsets.stamps(buildset_id))
        return Undecided(
            stamp_id, place, stamp.place.codebase, stamp.revision, key, request_id, patched
        )

    def begin_builds(
        self,
        open_buildsets: Iterable[int],
        late: Iterable[tuple[int, int]],
        found: Iterable[tuple[int, int, int, int | None, str | None]],
    ) -> None:
        """Take in what there is of builds.

        :param late: when those started that started late, and their buildsets
        :param found: builds of sourcestamps that are undecided, their buildsets and requests, when
            they were over, and the JSON of what they found
        """
        with self._lock:
            self._buildsets.close(self._buildsets.open.difference(open_buildsets))
            self._trimmed = len(self._buildsets.open)
            self._builds.add_late(late)
            over = []
            for build_id, buildset_id, request_id, complete_at, value in found:
                self._search(build_id, buildset_id, request_id)
                if complete_at is not None:
                    over.append((build_id, value, True))
            self._builds.resolve(over)

    def add_codebase_branches(self, branches: Records, end: tuple[int, int | None]) -> bool:
        """Take in branches of codebases: id, name, when it moved; return whether these are all.

        :param end: how many there are, and when the last of them moved
        """
        with self._lock:
            for branch_id, name, when in branches:
                self._known.codebase_branches[branch_id] = name
                if name:
                    self._stamps.branch_names.move(name, when)
            whole = len(self._known.codebase_branches) == end[0]
            self._known.codebase_branches_end = end if whole else (0, None)
            if not whole:
                self._known.codebase_branches.clear()
            return whole

    def name(self, kind: str, names: Mapping[int, str]) -> None:
        """Take in the names of all builders, workers or masters."""
        with self._lock:
            self._known.names[kind] = dict(names)

    def begins(self, first_stamp: int | None, first_link: int | None) -> None:
        """Note where tables begin.

        :raises Replaced: what was there has gone
        """
        with self._lock:
            for kind, first in (("stamps", first_stamp), ("links", first_link)):
                known = self._first.get(kind)
                if known is not None and (first is None or first > known):
                    raise Replaced
                self._first[kind] = first

    def forget_changes(self, first: int | None) -> None:
        """Forget the changes before *first*: Buildbot deletes the oldest ones."""
        with self._lock:
            for stamp_id in self._changes.forget_before(first):
                if stamp_id in self._stamps and self._changes.newest_of(stamp_id) is None:
                    self._stamps.line.forget_change(stamp_id, self._stamps.place(stamp_id))

    def trim(self, begun_with: set[int], still_open: Iterable[int]) -> None:
        """Keep of the buildsets that were open those that still are.

        :param begun_with: those that were open before it was asked which still are
        """
        with self._lock:
            self._buildsets.close(begun_with.difference(still_open))
            self._trimmed = len(self._buildsets.open)

    def resolve(self, looked_at: Iterable[tuple[int, str | None, bool]]) -> None:
        """Take in what builds have found.

        :param looked_at: builds, the JSON of the property, and whether they are over
        """
        with self._lock:
            self._builds.resolve(looked_at)

    def look_at(
        self, buildsets: Mapping[int, Mapping[int, int]], builders: Iterable[tuple[int, int]]
    ) -> None:
        """Note the builders of buildsets.

        :param buildsets: as ``not_looked_at`` returns them
        :param builders: buildsets, and the builders that they ask for
        """
        its: dict[int, set[int]] = {}
        for buildset_id, builder_id in builders:
            its.setdefault(buildset_id, set()).add(builder_id)
        with self._lock:
            for place, times in buildsets.items():
                found = {one: its.get(one, set()) for one in times}
                self._buildsets.look_at(place, times, found)

    # -- telling what is to be asked

    def ends(self) -> dict[str, int]:
        """Return how far each table has been followed."""
        with self._lock:
            return {name: cursor.last for name, cursor in self.cursors.items()}

    def condition(
        self,
        name: str,
        column: sa.ColumnElement[int],
        before: int,
        newest: int | None,
        *,
        anyway: bool,
    ) -> sa.ColumnElement[bool] | None:
        """Return the condition on the rows of a table that have not been taken in.

        :param name: of the tail
        :param before: how far it was followed before *newest* was asked for
        :param newest: the highest id in the table, ``None`` when it is empty
        :param anyway: there may be some whatever *newest* says; otherwise ``None`` without any
        :raises Replaced: rows that were taken in have gone
        """
        with self._lock:
            cursor = self.cursors[name]
            return cursor.condition(column) if cursor.moved(before, newest) or anyway else None

    def unknown_stamps(self, stamp_ids: Iterable[int]) -> list[int]:
        """Return those of *stamp_ids* that are not known."""
        with self._lock:
            return sorted(one for one in set(stamp_ids) if one not in self._stamps)

    def undecided(self) -> list[int]:
        """Return the buildsets of sourcestamps of which each build says what it is of."""
        with self._lock:
            found: set[int] = set()
            for stamp_id in self._stamps.undecided():
                found.update(self._buildsets.of_stamp(stamp_id))
            return sorted(found)

    def untrimmed(self) -> set[int]:
        """Return the buildsets that were open, if many of them may not be so any more."""
        with self._lock:
            now = self._buildsets.open
            return set(now) if len(now) > self._trimmed * 1.25 + MOST_CLOSED else set()

    def searching(self, branches: Iterable[Branch] | None = None) -> list[int]:
        """Return the builds that may still find a revision, on *branches* or anywhere."""
        with self._lock:
            every = self._builds.searching
            if branches is None or not every:
                return sorted(every)
            places = set().union(*map(self._stamps.places, branches))
            return sorted(
                build_id
                for build_id, undecided in every.items()
                if any(one.place in places for one in undecided)
            )

    def not_looked_at(self, branch: Branch, since: int) -> dict[int, dict[int, int]]:
        """Return the buildsets on *branch* whose builders are not known, by place.

        Each with when it was asked for, which is not before *since*.
        """
        with self._lock:
            places = self._stamps.places(branch)
            return {place: self._buildsets.not_looked_at(place, since) for place in places}
