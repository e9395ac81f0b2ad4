"""Adds new rows to the index, and finds the rows that they refer to."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence

from buildbot_selfserve.history.index.branch_names import latest
from buildbot_selfserve.history.index.builds import LATE
from buildbot_selfserve.history.index.builds import Undecided
from buildbot_selfserve.history.index.cursor import MOST_GAPS
from buildbot_selfserve.history.index.cursor import Replaced
from buildbot_selfserve.history.index.cursor import Wanted
from buildbot_selfserve.history.index.records import Record
from buildbot_selfserve.history.index.state import IndexState
from buildbot_selfserve.model import CLOCK_SLACK
from buildbot_selfserve.model import Branch

#: The number of buildsets that may count as open although all their requests are complete.
MOST_CLOSED = 100

Records = Iterable[Record]
#: The records of a large result, in parts.
Parts = Iterable[list[Record]]


class Ingest:
    """Adds rows to the index of one database.

    Rows that two threads have both fetched are added once.
    """

    def __init__(self, known: IndexState) -> None:
        self.cursors = known.cursors
        self._known = known
        self._lock = known.lock
        self._stamps = known.stamps
        self._buildsets = known.buildsets
        self._changes = known.changes
        self._user_buildsets = known.user_buildsets
        self._builds = known.builds
        self._pushed = known.pushed
        self._first: dict[str, int | None] = {}
        #: change and sourcestamp of each change whose sourcestamp is not in the index yet
        self._unplaced: list[tuple[int, int]] = []
        self._trimmed = 0

    # -- adding rows

    def begin(self, name: str, parts: Parts) -> Iterator[list[Record]]:
        """Yield *parts* of records, which are ordered by id; set the table's cursor to the last id.

        :param name: the cursor's name; the newest records of a long table suffice
        """
        last: list[Record] = []
        for records in parts:
            last = (last + records)[-2 * MOST_GAPS :]
            yield records
        self.cursors[name].begin(last)

    def add(self, new: Mapping[str, Sequence[Record]], more_stamps: Sequence[Record]) -> None:
        """Add new records.

        :param more_stamps: older sourcestamps that new links refer to and the index does not have
        :raises Replaced: the database was replaced
        """
        with self._lock:
            taken = {name: self.cursors[name].take(records) for name, records in new.items()}
            self._stamps.add(more_stamps)
            self._stamps.add(taken.get("stamps", ()))
            self._forget_pushed(one[0] for one in (*more_stamps, *taken.get("stamps", ())))
            self._add_changes(taken.get("changes", ()))
            links = taken.get("links", ())
            self._add_links(links)
            for _, buildset_id, stamp_id, *_ in links:
                # without foreign keys, as on MyISAM, a sourcestamp may be missing
                if stamp_id in self._stamps:
                    self._buildsets.begin(buildset_id, (self._stamps.place(stamp_id),))
            self._add_builds(taken.get("builds", ()))

    def add_stamps(self, parts: Parts) -> None:
        """Add all sourcestamps."""
        for records in parts:
            with self._lock:
                self._stamps.add(records)

    def add_changes(self, parts: Parts) -> None:
        """Add all changes: id, sourcestamp, author, and Buildbot's users of the change."""
        for records in parts:
            with self._lock:
                self._changes.add(records)
        with self._lock:
            for change_ids, stamp_ids in self._changes.in_parts():
                self._place_changes(change_ids, stamp_ids)

    def add_links(self, parts: Parts) -> list[Record]:
        """Add all links of buildsets to sourcestamps.

        Return the links whose sourcestamps are not in the index; these are not added.

        :param parts: id, buildset, sourcestamp, and the buildset's time of submission, reason, and
            owner as JSON
        """
        left_out: list[Record] = []
        for records in parts:
            with self._lock:
                left_out += self._add_links(records)
        return left_out

    def sort(self) -> None:
        """Sort all added rows, so that the first read need not."""
        with self._lock:
            for part in (self._stamps, self._changes, self._buildsets):
                part.sort()

    def _add_changes(self, changes: Sequence[Record]) -> None:
        self._changes.add(changes)
        self._user_buildsets.add(change[1] for change in changes)
        unplaced, self._unplaced = self._unplaced, []
        placed = [*unplaced, *((change[0], change[1]) for change in changes)]
        self._place_changes([one for one, _ in placed], [one for _, one in placed])

    def _place_changes(self, change_ids: Sequence[int], stamp_ids: Sequence[int]) -> None:
        """Note the places of changes, which are those of their sourcestamps."""
        places = self._stamps.places_of(stamp_ids)
        known = [one for one in places if one is not None]
        if len(known) == len(places) and self._stamps.line.extend(change_ids, stamp_ids, known):
            # in their order: of one place, the newest stays
            self._changes.move(dict(zip(known, change_ids, strict=True)))
        else:
            self._place_each(change_ids, stamp_ids, places)
        self._forget_pushed(stamp_ids)

    def _place_each(
        self, change_ids: Iterable[int], stamp_ids: Iterable[int], places: Iterable[int | None]
    ) -> None:
        newest: dict[int, int] = {}
        first: list[tuple[int, int, int]] = []
        last_stamp = self._stamps.line.newest_changed
        first_of = self._changes.first_of
        for change_id, stamp_id, place in zip(change_ids, stamp_ids, places, strict=True):
            if place is None:
                self._unplaced.append((change_id, stamp_id))
                continue
            if change_id > newest.get(place, 0):
                newest[place] = change_id
            if stamp_id > last_stamp:
                last_stamp = stamp_id  # no earlier change has this sourcestamp
            elif first_of(stamp_id) != change_id:
                continue
            first.append((change_id, stamp_id, place))
        self._changes.move(newest)
        if self._stamps.line.add_changes(first):
            self._pushed.clear()

    def _add_links(self, links: Sequence[Record]) -> list[Record]:
        """Add links; return the links whose sourcestamps are not in the index."""
        if not links:
            return []
        found = self._stamps.places_of([link[2] for link in links])
        left_out = [link for link, place in zip(links, found, strict=True) if place is None]
        if left_out:
            links = [link for link, place in zip(links, found, strict=True) if place is not None]
        places = [place for place in found if place is not None]
        if links:
            _, buildset_ids, stamp_ids, times, reasons, owners = zip(*links, strict=True)
            told = list(zip(reasons, owners, strict=True))
            self._buildsets.add(buildset_ids, stamp_ids, places, times, told)
            self._stamps.move(latest(places, times))
            self._user_buildsets.add(stamp_ids)
            # a buildset with a patch in one codebase does not count in its other codebases
            beside = map(self._buildsets.stamps, buildset_ids)
            self._forget_pushed(itertools.chain.from_iterable(beside))
        return left_out

    def _forget_pushed(self, stamp_ids: Iterable[int]) -> None:
        """Drop the cached revisions of sourcestamps that have new rows."""
        if not self._pushed:
            return  # nothing is cached: the index is being loaded
        known = (one for one in stamp_ids if one in self._stamps)
        self._forget_revisions(map(self._stamps.revision, known))

    def _forget_revisions(self, revisions: Iterable[str]) -> None:
        if self._stamps.has_abbreviations or self._builds.has_abbreviations:
            # a new hash may make an abbreviation ambiguous that another hash had completed
            if any(True for _ in revisions):
                self._pushed.clear()
        else:
            self._pushed.forget(revisions)

    def _add_builds(self, builds: Records) -> None:
        for build_id, request_id, started_at, asked_at, buildset_id in builds:
            if not -CLOCK_SLACK <= started_at - asked_at < LATE:
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

    def begin_open(self, open_buildsets: Iterable[int]) -> None:
        """Note the open buildsets."""
        with self._lock:
            for one in open_buildsets:
                if one in self._buildsets:
                    places = map(self._stamps.place, self._buildsets.stamps(one))
                    self._buildsets.begin(one, places)
            self._trimmed = len(self._buildsets.open)

    @property
    def has_late(self) -> bool:
        """Whether the late builds were added that started before the index was loaded."""
        with self._lock:
            return self._known.has_late

    def begin_late(self, late: Iterable[tuple[int, int]]) -> None:
        """Add the late builds; some may be there, as builds that came later are added with others.

        :param late: start of each late build in epoch seconds, and its buildset
        """
        with self._lock:
            self._builds.add_late(late)
            self._known.has_late = True

    def begin_found(self, found: Iterable[tuple[int, int, int, int | None, str | None]]) -> None:
        """Add the revisions that builds found.

        :param found: for each build of an undecided sourcestamp: build, buildset, request, time of
            completion, and the JSON of ``got_revision``
        """
        with self._lock:
            over = []
            for build_id, buildset_id, request_id, complete_at, value in found:
                self._search(build_id, buildset_id, request_id)
                if complete_at is not None:
                    over.append((build_id, value, True))
            self._forget_revisions(self._builds.resolve(over))

    def add_codebase_branches(self, branches: Records, end: tuple[int, int | None]) -> bool:
        """Add Buildbot's codebase branches; return whether the index now has all of them.

        :param end: the number of codebase branches in the database, and the latest time any of them
            moved
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
        """Set the names of all builders, workers or masters."""
        with self._lock:
            self._known.names[kind] = dict(names)

    def begins(self, first_stamp: int | None, first_link: int | None) -> None:
        """Note the lowest ids of tables.

        :raises Replaced: rows that the index has are gone
        """
        with self._lock:
            for kind, first in (("stamps", first_stamp), ("links", first_link)):
                known = self._first.get(kind)
                if known is not None and (first is None or first > known):
                    raise Replaced
                self._first[kind] = first

    def forget_changes(self, first: int | None) -> None:
        """Remove the changes before *first*: Buildbot deletes the oldest changes."""
        with self._lock:
            forgotten = self._changes.forget_before(first)
            if forgotten:
                self._pushed.clear()
            for stamp_id in forgotten:
                if stamp_id in self._stamps and self._changes.newest_of(stamp_id) is None:
                    self._stamps.line.forget_change(stamp_id, self._stamps.place(stamp_id))

    def trim(self, begun_with: set[int], still_open: Iterable[int]) -> None:
        """Note which open buildsets were closed.

        :param begun_with: the buildsets that were open before *still_open* was queried
        """
        with self._lock:
            self._buildsets.close(begun_with.difference(still_open))
            self._trimmed = len(self._buildsets.open)

    def resolve(self, looked_at: Iterable[tuple[int, str | None, bool]]) -> None:
        """Add the revisions that builds have found since.

        :param looked_at: build id, JSON of the property ``got_revision``, and whether the build is
            complete
        """
        with self._lock:
            self._forget_revisions(self._builds.resolve(looked_at))

    def look_at(
        self, buildsets: Mapping[int, Mapping[int, int]], builders: Iterable[tuple[int, int]]
    ) -> None:
        """Add the builders of buildsets.

        :param buildsets: as ``not_looked_at`` returns them
        :param builders: pairs of a buildset and a builder that it requests
        """
        its: dict[int, set[int]] = {}
        for buildset_id, builder_id in builders:
            its.setdefault(buildset_id, set()).add(builder_id)
        with self._lock:
            for place, times in buildsets.items():
                found = {one: its.get(one, set()) for one in times}
                self._buildsets.look_at(place, times, found)

    # -- what to read next

    def ends(self) -> dict[str, int]:
        """Return the highest id read of each table."""
        with self._lock:
            return {name: cursor.last for name, cursor in self.cursors.items()}

    def wanted(self, name: str, before: int, newest: int | None, *, anyway: bool) -> Wanted | None:
        """Return which rows of a table to read, ``None`` if there are no new ones.

        :param name: the cursor's name
        :param before: how far the table was read when *newest* was queried
        :param newest: the highest id in the table, ``None`` if the table is empty
        :param anyway: there may be new rows whatever *newest* says: never return ``None``
        :raises Replaced: rows that the index has are gone
        """
        with self._lock:
            cursor = self.cursors[name]
            return cursor.wanted() if cursor.moved(before, newest) or anyway else None

    def unknown_stamps(self, stamp_ids: Iterable[int]) -> list[int]:
        """Return those of *stamp_ids* that the index does not have."""
        with self._lock:
            return sorted(one for one in set(stamp_ids) if one not in self._stamps)

    def undecided(self) -> list[int]:
        """Return the buildsets of undecided sourcestamps, whose builds find the revision."""
        with self._lock:
            found: set[int] = set()
            for stamp_id in self._stamps.undecided():
                found.update(self._buildsets.of_stamp(stamp_id))
            return sorted(found)

    def untrimmed(self) -> set[int]:
        """Return the open buildsets if many of them may have closed, else nothing."""
        with self._lock:
            now = self._buildsets.open
            return set(now) if len(now) > self._trimmed * 1.25 + MOST_CLOSED else set()

    def searching(self, branches: Iterable[Branch] | None = None) -> list[int]:
        """Return the builds that may still find a revision, on *branches* or on any branch."""
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
        """Return the buildsets on *branch* whose builders were not read yet, by place.

        The inner keys are buildsets, the values times of submission in epoch seconds.

        :param since: only buildsets submitted at this time or later
        """
        with self._lock:
            places = self._stamps.places(branch)
            return {place: self._buildsets.not_looked_at(place, since) for place in places}
