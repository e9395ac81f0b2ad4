"""What the index knows. None of it ever changes in the database, but for being added or deleted."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

from buildbot_selfserve.history.index.builds import LATE
from buildbot_selfserve.history.index.builds import Builds
from buildbot_selfserve.history.index.builds import Nameless
from buildbot_selfserve.history.index.builds import found_in
from buildbot_selfserve.history.index.buildsets import Buildsets
from buildbot_selfserve.history.index.buildsets import Link
from buildbot_selfserve.history.index.buildsets import Told
from buildbot_selfserve.history.index.buildsets import owner_in
from buildbot_selfserve.history.index.changes import Change
from buildbot_selfserve.history.index.changes import Changes
from buildbot_selfserve.history.index.stamps import Place
from buildbot_selfserve.history.index.stamps import Stamp
from buildbot_selfserve.history.index.stamps import Stamps
from buildbot_selfserve.history.index.stamps import in_order
from buildbot_selfserve.history.index.tails import MOST_GAPS
from buildbot_selfserve.history.index.tails import Replaced
from buildbot_selfserve.history.index.tails import Tail
from buildbot_selfserve.model import Branch

#: So many buildsets may be taken for open that are not.
MOST_CLOSED = 100

Records = Iterable[tuple[Any, ...]]


class About(NamedTuple):
    """What is told of a buildset on a branch.

    :param codebase: of its sourcestamp there
    :param revision: that this sourcestamp names, empty where it names none
    :param owner: who asked for it, or else whose the newest change of that sourcestamp is
    """

    codebase: str
    revision: str
    reason: str | None
    owner: str | None


#: Buildsets, and for each the sourcestamp that stands for it.
Chosen = dict[int, int]


class Facts:
    """What was found in one database.

    Threads share it. Each public method takes the lock, and none of them asks the database, so
    that nobody waits for longer than it takes to look something up. What two threads have both
    fetched is added once.

    :param rising: ids become visible in their order, as where one writes at a time
    """

    def __init__(self, rising: bool) -> None:
        self._lock = threading.Lock()
        self._stamps = Stamps()
        self._buildsets = Buildsets()
        self._changes = Changes()
        self._builds = Builds()
        self._names: dict[str, dict[int, str]] = {}
        self._first: dict[str, int | None] = {}
        self._trimmed = 0
        self.tails = {
            name: Tail(time.monotonic, rising) for name in ("builds", "changes", "links", "stamps")
        }

    # -- taking in

    def begin(self, name: str, records: Records) -> Iterator[tuple[Any, ...]]:
        """Yield *records*, which are in the order of their ids, and note how far they go.

        :param name: of the tail; of a long table the last records will do
        """
        last: deque[tuple[Any, ...]] = deque(maxlen=2 * MOST_GAPS)
        for record in records:
            last.append(record)
            yield record
        self.tails[name].begin(list(last))

    def add(self, new: Mapping[str, Sequence[tuple[Any, ...]]], more_stamps: Records) -> None:
        """Take in what is new, by the names of the tails.

        :param more_stamps: old ones that new links need, and that were not known
        :raises Replaced: the database is another one than before
        """
        with self._lock:
            taken = {name: self.tails[name].take(records) for name, records in new.items()}
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

        def named() -> Iterator[Change]:
            for change_id, stamp_id, author, users in changes:
                stamp_ids.append(stamp_id)
                yield change_id, stamp_id, tuple(dict.fromkeys((author, *users)))

        self._changes.add(named())
        self._changes.add_buildsets(
            (buildset_id, stamp_id, self._stamps.place(stamp_id))
            for stamp_id in stamp_ids
            for buildset_id in self._buildsets.of_stamp(stamp_id)
        )

    def _add_links(self, links: Records) -> None:
        added: list[tuple[int, int, int]] = []

        def placed() -> Iterator[Link]:
            for _, buildset_id, stamp_id, submitted_at, reason, owners in links:
                place = self._stamps.place(stamp_id)
                added.append((buildset_id, stamp_id, place))
                told = Told(reason, owner_in(owners))
                yield Link(buildset_id, stamp_id, place, submitted_at, told)

        self._buildsets.add(placed())
        self._changes.add_buildsets(added)

    def _add_builds(self, builds: Records) -> None:
        for build_id, _, started_at, asked_at, buildset_id in builds:
            if started_at - asked_at >= LATE:
                self._builds.add_late([(started_at, buildset_id)])
            self._search(build_id, buildset_id)

    def _search(self, build_id: int, buildset_id: int) -> None:
        stamps = (self._stamps[one] for one in self._buildsets.stamps(buildset_id))
        nameless = tuple(
            Nameless(self._stamps.place(stamp.id), stamp.place.codebase)
            for stamp in stamps
            if not stamp.revision
        )
        if nameless:
            self._builds.searching[build_id] = nameless

    def begin_builds(
        self,
        open_buildsets: Iterable[int],
        late: Iterable[tuple[int, int]],
        found: Iterable[tuple[int, int, int | None, str | None]],
    ) -> None:
        """Take in what there is of builds.

        :param late: when those started that started late, and their buildsets
        :param found: builds of sourcestamps without a revision, their buildsets, when they were
            over, and the JSON of what they found
        """
        with self._lock:
            self._buildsets.close(self._buildsets.open.difference(open_buildsets))
            self._trimmed = len(self._buildsets.open)
            self._builds.add_late(late)
            over = []
            for build_id, buildset_id, complete_at, value in found:
                self._search(build_id, buildset_id)
                if complete_at is not None:
                    over.append((build_id, value))
            self._builds.settle(over)

    def name(self, kind: str, names: Mapping[int, str]) -> None:
        """Take in the names of all builders, workers or masters."""
        with self._lock:
            self._names[kind] = dict(names)

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
            self._changes.forget_before(first)

    def trim(self, begun_with: set[int], still_open: Iterable[int]) -> None:
        """Keep of the buildsets that were open those that still are.

        :param begun_with: those that were open before it was asked which still are
        """
        with self._lock:
            self._buildsets.close(begun_with.difference(still_open))
            self._trimmed = len(self._buildsets.open)

    def settle(self, over: Iterable[tuple[int, str | None]]) -> None:
        """Take in what builds have found that are over, as the JSON of the property."""
        with self._lock:
            self._builds.settle(over)

    # -- telling what is to be asked

    def ends(self) -> dict[str, int]:
        """Return how far each table has been followed."""
        with self._lock:
            return {name: tail.last for name, tail in self.tails.items()}

    def unknown_stamps(self, stamp_ids: Iterable[int]) -> list[int]:
        """Return those of *stamp_ids* that are not known."""
        with self._lock:
            return sorted(one for one in set(stamp_ids) if one not in self._stamps)

    def nameless(self) -> list[int]:
        """Return the buildsets of sourcestamps that name no revision."""
        with self._lock:
            found: set[int] = set()
            for stamp_id in self._stamps.nameless():
                found.update(self._buildsets.of_stamp(stamp_id))
            return sorted(found)

    def untrimmed(self) -> set[int]:
        """Return the buildsets that were open, if many of them may not be so any more."""
        with self._lock:
            now = self._buildsets.open
            return set(now) if len(now) > self._trimmed * 1.25 + MOST_CLOSED else set()

    def searching(self, branch: Branch | None = None) -> dict[int, tuple[Nameless, ...]]:
        """Return the builds that may still find a revision, on *branch* or anywhere."""
        with self._lock:
            every = self._builds.searching
            if branch is None or not every:
                return dict(every)
            places = self._stamps.places(branch)
            its = {
                build_id: tuple(one for one in nameless if one.place in places)
                for build_id, nameless in every.items()
            }
            return {build_id: nameless for build_id, nameless in its.items() if nameless}

    # -- telling

    def names(self, kind: str) -> Mapping[int, str]:
        """Return the names of builders, workers or masters; they are never changed in place."""
        with self._lock:
            return self._names.get(kind, {})

    def branches(self) -> set[str]:
        """Return the names of the branches on which something was ever to be built."""
        with self._lock:
            return set(self._stamps.branches)

    def is_branch(self, name: str) -> bool:
        """Whether something was ever to be built on a branch of this name."""
        with self._lock:
            return name in self._stamps.branches

    def stamps(self, stamp_ids: Iterable[int]) -> list[Stamp]:
        """Return sourcestamps in the order of their ids, without those that are not there."""
        with self._lock:
            return [self._stamps[one] for one in sorted(stamp_ids) if one in self._stamps]

    def newest_places(self, branch: Branch, count: int) -> set[Place]:
        """Return where the newest *count* sourcestamps on *branch* are that name a revision."""
        with self._lock:
            return self._stamps.newest_places(branch, count)

    def named(self, branch: Branch, text: str, whole: bool) -> dict[str, list[int]]:
        """Return the sourcestamps on *branch* by the revisions that begin with *text*.

        :param whole: *text* is the whole revision
        """
        with self._lock:
            return self._stamps.named(branch, text, whole)

    def found(self, branch: Branch, text: str, whole: bool) -> dict[str, list[int]]:
        """Return the builds on *branch* that are over, by the revisions they found themselves."""
        with self._lock:
            return self._builds.found(self._stamps.places(branch), text, whole)

    def of_stamps(self, stamp_ids: Iterable[int]) -> Chosen:
        """Return the buildsets of these sourcestamps, each with the first of them that is its."""
        with self._lock:
            return self._of_stamps(stamp_ids)

    def of_user(self, branch: Branch, user: str) -> set[int]:
        """Return the buildsets of the changes of *user* on *branch*, and perhaps of deleted ones.

        ``chosen_of_user`` leaves those out.
        """
        with self._lock:
            found: set[int] = set()
            for place in self._stamps.places(branch):
                found |= self._changes.buildsets_of(user, place)
            return found

    def chosen_of_user(self, branch: Branch, user: str, buildset_ids: Iterable[int]) -> Chosen:
        """Return those of *buildset_ids* that are of changes of *user* on *branch*."""
        with self._lock:
            names = self._changes.known_as(user)
            return self._on(
                branch, buildset_ids, lambda one: not names.isdisjoint(self._changes.names_of(one))
            )

    def on_branch(self, branch: Branch, buildset_ids: Iterable[int]) -> Chosen:
        """Return those of *buildset_ids* that belong to *branch*."""
        with self._lock:
            return self._on(branch, buildset_ids)

    def open(self, branch: Branch) -> Chosen:
        """Return the buildsets on *branch* that may have requests which are not complete."""
        with self._lock:
            return self._on(branch, self._buildsets.open_in(self._stamps.places(branch)))

    def open_of(self, buildset_ids: Iterable[int]) -> set[int]:
        """Return those of *buildset_ids* that may have requests which are not complete."""
        with self._lock:
            return self._buildsets.open.intersection(buildset_ids)

    def between(self, branch: Branch, begin: int, end: int) -> Chosen:
        """Return the buildsets on *branch* of which a build may have started in a span of time.

        Also those that were asked for in it.
        """
        with self._lock:
            asked: set[int] = set()
            for place in self._stamps.places(branch):
                asked.update(self._buildsets.asked_between(place, begin - LATE, end))
            asked.update(self._builds.late_between(begin, end))
            return self._on(branch, asked)

    def not_looked_at(self, branch: Branch) -> dict[int, set[int]]:
        """Return the buildsets on *branch* whose builders are not known, by place."""
        with self._lock:
            places = self._stamps.places(branch)
            return {place: set(self._buildsets.not_looked_at(place)) for place in places}

    def look_at(
        self, buildsets: Mapping[int, set[int]], builders: Iterable[tuple[int, int]]
    ) -> None:
        """Note the builders of buildsets.

        :param buildsets: as ``not_looked_at`` returns them
        :param builders: buildsets, and the builders that they ask for
        """
        its: dict[int, set[int]] = {}
        for buildset_id, builder_id in builders:
            its.setdefault(buildset_id, set()).add(builder_id)
        with self._lock:
            for place, buildset_ids in buildsets.items():
                found = set().union(*(its.get(one, ()) for one in buildset_ids))
                self._buildsets.look_at(place, buildset_ids, found)

    def builders_on(self, branch: Branch) -> set[int]:
        """Return the builders that were ever asked for on *branch*, as far as was looked."""
        with self._lock:
            places = self._stamps.places(branch)
            return {one for place in places for one in self._buildsets.builders_in(place)}

    def about(self, chosen: Chosen) -> dict[int, About]:
        """Return what is told of buildsets."""
        with self._lock:
            return {
                buildset_id: self._about(buildset_id, one) for buildset_id, one in chosen.items()
            }

    def _about(self, buildset_id: int, stamp_id: int) -> About:
        stamp = self._stamps[stamp_id]
        reason, owner = self._buildsets.told(buildset_id)
        if owner is None:
            owner = self._changes.author_of(stamp_id)
        return About(stamp.place.codebase, stamp.revision, reason, owner)

    def _of_stamps(self, stamp_ids: Iterable[int]) -> Chosen:
        stamps: list[Stamp] = sorted(
            (self._stamps[one] for one in stamp_ids if one in self._stamps), key=in_order
        )
        chosen: Chosen = {}
        for stamp in stamps:
            for buildset_id in self._buildsets.of_stamp(stamp.id):
                chosen.setdefault(buildset_id, stamp.id)
        return chosen

    def _on(
        self,
        branch: Branch,
        buildset_ids: Iterable[int],
        counts: Callable[[int], bool] | None = None,
    ) -> Chosen:
        places, place_of = self._stamps.places(branch), self._stamps.place
        chosen: Chosen = {}
        for buildset_id in buildset_ids:
            its = [one for one in self._buildsets.stamps(buildset_id) if place_of(one) in places]
            if counts is not None:
                its = [one for one in its if counts(one)]
            if len(its) > 1:
                its.sort(key=lambda one: in_order(self._stamps[one]))
            if its:
                chosen[buildset_id] = its[0]
        return chosen


__all__ = ["About", "Chosen", "Facts", "found_in"]
