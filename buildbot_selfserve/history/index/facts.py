"""Answers reads from the index. Its rows are added and deleted, but never changed."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

from buildbot_selfserve.history.index.builds import LATE
from buildbot_selfserve.history.index.builds import Builds
from buildbot_selfserve.history.index.ingest import Ingest
from buildbot_selfserve.history.index.push_order import Position
from buildbot_selfserve.history.index.pushed import Places
from buildbot_selfserve.history.index.pushed import Pushed
from buildbot_selfserve.history.index.sourcestamps import ByBranch
from buildbot_selfserve.history.index.sourcestamps import Find
from buildbot_selfserve.history.index.sourcestamps import Stamp
from buildbot_selfserve.history.index.sourcestamps import Stamps
from buildbot_selfserve.history.index.sourcestamps import in_order
from buildbot_selfserve.history.index.state import IndexState
from buildbot_selfserve.model import CLOCK_SLACK
from buildbot_selfserve.model import SHORTEST_BUILT
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import is_abbreviation
from buildbot_selfserve.model import is_hash
from buildbot_selfserve.model import may_abbreviate
from buildbot_selfserve.model import one_spelling

#: The largest number of positions to search for the revisions before a push. Revisions that were
#: only built by hand, or are in other codebases, are skipped.
MOST_LOOKED_AT = 2000
#: The number of changes to read before releasing the lock.
SOME_CHANGES = 25


class About(NamedTuple):
    """What the index knows of a buildset on a branch.

    :param codebase: the codebase of its sourcestamp on the branch
    :param revision: the revision of this sourcestamp, with an abbreviation completed if possible;
        empty if it has none
    :param owner: who requested it, or else the author of its newest change, in any codebase
    :param patched: it has a patch, so its builds do not count for the revision
    :param undecided: its sourcestamp names only digits; each build may find the full hash
    """

    codebase: str
    revision: str
    reason: str | None
    owner: str | None
    patched: bool = False
    undecided: bool = False


class OwnPush(NamedTuple):
    """A user's push, with the user's first change in it."""

    branch: Branch
    pushed: Pushed
    change_id: int


#: Buildsets, each with the sourcestamp that represents it.
Chosen = dict[int, int]
#: Sourcestamps, and builds that found their revision themselves.
StampsAndBuilds = tuple[ByBranch, ByBranch]
#: The same before they are grouped by branch.
_Finds = tuple[list[Find], list[Find]]


class Facts:
    """Answers reads from the index of one database.

    :ivar ingest: adds new rows to the index
    """

    def __init__(self, known: IndexState) -> None:
        self.ingest = Ingest(known)
        self._known = known
        self._lock = known.lock
        self._stamps = known.stamps
        self._buildsets = known.buildsets
        self._changes = known.changes
        self._user_buildsets = known.user_buildsets
        self._builds = known.builds
        self._kept = known.pushed

    def names(self, kind: str) -> Mapping[int, str]:
        """Return names by id; the mapping is never changed in place.

        :param kind: ``builders``, ``workers`` or ``masters``
        """
        with self._lock:
            return self._known.names.get(kind, {})

    def is_branch(self, name: str) -> bool:
        """Return whether the index has a branch of this name."""
        with self._lock:
            return name in self._stamps.branch_names

    def count_branches(self) -> int:
        """Return the number of branches in the index."""
        with self._lock:
            return len(self._stamps.branch_names)

    def newest_branches(self, begin: int, end: int | None) -> list[tuple[str, int]]:
        """Return branches and times of their latest activity, newest first.

        :param begin: the index of the first branch to return; *end* is the one after the last
        """
        with self._lock:
            return self._stamps.branch_names.newest(begin, end)

    def branches_near(self, text: str, count: int) -> Sequence[str]:
        """Return the *count* branch names nearest to *text* in alphabetical order."""
        with self._lock:
            return self._stamps.branch_names.near(text, count)

    def moved(self, names: Iterable[str | None]) -> int | None:
        """Return the time of the latest activity on any of these branches, ``None`` if unknown."""
        with self._lock:
            found = [self._stamps.branch_names.moved(name) for name in names if name]
            return max((one for one in found if one is not None), default=None)

    @property
    def codebase_branches_end(self) -> tuple[int, int | None]:
        """Return the number of Buildbot's codebase branches, and when one of them last moved."""
        with self._lock:
            return self._known.codebase_branches_end

    def stamps(self, stamp_ids: Iterable[int]) -> list[Stamp]:
        """Return sourcestamps ordered by id; ids that are not in the index are ignored."""
        with self._lock:
            return [self._stamps[one] for one in sorted(stamp_ids) if one in self._stamps]

    def has_places(self, branch: Branch) -> bool:
        """Return whether *branch* has any sourcestamps."""
        with self._lock:
            return bool(self._stamps.places(branch))

    def places_on(self, branch: Branch, most: int) -> list[Sourcestamp]:
        """Return up to *most* places on *branch*, one for each codebase and repository."""
        with self._lock:
            found: dict[tuple[str, str], Sourcestamp] = {}
            for number in sorted(self._stamps.places(branch), reverse=True):
                place = self._stamps.place_at(number)
                found.setdefault(place.where, place)
            return list(found.values())[:most]

    def branches_within(self, branch: Branch) -> set[str]:
        """Return the branches in the codebases, projects and repositories of *branch*."""
        with self._lock:
            return self._stamps.branches_within(branch)

    def newest_changes(self, branch: Branch, most: int) -> dict[tuple[str, str], int]:
        """Return the newest change on *branch* by codebase and repository.

        The newest change comes first.

        :param most: the largest number of codebases and repositories to return
        """
        with self._lock:
            newest: dict[tuple[str, str], int] = {}
            for number in self._stamps.places(branch):
                change_id = self._changes.newest_in(number)
                if change_id is not None:
                    where = self._stamps.place_at(number).where
                    newest[where] = max(change_id, newest.get(where, 0))
            in_order = sorted(newest.items(), key=lambda one: -one[1])
            return dict(in_order[:most])

    def changes_of(self, stamp_ids: Iterable[int]) -> dict[int, int]:
        """Return the newest change of each sourcestamp that has one, by sourcestamp id."""
        with self._lock:
            found = ((one, self._changes.newest_of(one)) for one in stamp_ids)
            return {stamp_id: one for stamp_id, one in found if one is not None}

    def newest_places(self, branch: Branch, count: int) -> list[Sourcestamp]:
        """Return the places of the newest *count* sourcestamps on *branch* that name a revision.

        The newest place comes first, and each place once.
        """
        with self._lock:
            return self._stamps.newest_places(branch, count)

    def line(self, branch: Branch, count: int, than: Position | None = None) -> list[Pushed]:
        """Return the newest *count* revisions on *branch*, newest first.

        :param than: only revisions older than this position
        """
        with self._lock:
            places = self._stamps.places(branch)
            positions = self._stamps.line.older(places, than)
            pushed = (self._pushed(branch, places, one) for one in positions)
            return list(itertools.islice((one for one in pushed if one is not None), count))

    def before(
        self,
        branch: Branch,
        codebases: Collection[str],
        count: int,
        than: Position,
        only_changes: bool,
    ) -> list[Pushed]:
        """Return the newest *count* revisions on *branch* that are older than position *than*.

        :param codebases: only revisions in any of these
        :param only_changes: skip revisions that never had a change
        """
        with self._lock:
            positions = self._stamps.line.older(self._stamps.places(branch), than)
            found = self._pushed_in(branch, positions, codebases, only_changes)
            return list(itertools.islice(found, count))

    def after(self, branch: Branch, pushed: Pushed, count: int) -> list[Pushed]:
        """Return the next *count* pushes to *branch* after *pushed*, the nearest first.

        Only pushes in its codebases count, and none of a revision that never had a change.
        """
        with self._lock:
            positions = self._stamps.line.newer(self._stamps.places(branch), pushed.position)
            found = self._pushed_in(branch, positions, pushed.codebases, only_changes=True)
            return list(itertools.islice(found, count))

    def _pushed_in(
        self,
        branch: Branch,
        positions: Iterable[Position],
        codebases: Collection[str],
        only_changes: bool,
    ) -> Iterator[Pushed]:
        """Yield the revisions at the first ``MOST_LOOKED_AT`` of *positions* in *codebases*.

        :param only_changes: skip revisions that never had a change
        """
        places = self._stamps.places(branch)

        def is_likely(position: Position) -> bool:
            return self._may_be_in(position, codebases, only_changes)

        for position in itertools.islice(positions, MOST_LOOKED_AT):
            one = self._pushed(branch, places, position, is_likely)
            if (
                one is not None
                and not (only_changes and one.by_hand)
                and not one.codebases.isdisjoint(codebases)
            ):
                yield one

    def _may_be_in(
        self, position: Position, codebases: Collection[str], only_changes: bool
    ) -> bool:
        """Return whether the revision at *position* may be in *codebases*; a cheap first check.

        :param only_changes: also require that it may have a change
        """
        if only_changes and (position.found >= 0 or not self._had_change(position.stamp_id)):
            return False
        if position.found >= 0 or self._has_abbreviations:
            return True
        stamp = self._stamps[position.stamp_id]
        return stamp.place.codebase in codebases or any(
            self._stamps.place_at(one.place).codebase in codebases
            for one in self._stamps.named(stamp.revision)
        )

    def pushed_by(
        self,
        users: tuple[str, ...],
        branches_of: Callable[[Sourcestamp], Iterable[Branch]],
        below: int | None,
    ) -> Iterator[OwnPush]:
        """Yield the revisions with changes of *users*, newest first by the first such change.

        :param branches_of: returns which of the branches of a place to search
        :param below: only changes with lower ids than this
        """
        while True:
            with self._lock:
                changes = list(itertools.islice(self._changes.by(users, below), SOME_CHANGES))
                found = [
                    one
                    for change_id, stamp_id in changes
                    for one in self._own_pushes(users, branches_of, change_id, stamp_id)
                ]
            yield from found
            if len(changes) < SOME_CHANGES:
                return
            below = changes[-1][0]

    def _own_pushes(
        self,
        users: tuple[str, ...],
        branches_of: Callable[[Sourcestamp], Iterable[Branch]],
        change_id: int,
        stamp_id: int,
    ) -> Iterator[OwnPush]:
        if stamp_id not in self._stamps:
            return
        stamp = self._stamps[stamp_id]
        revision = self._whole(stamp.revision, self._stamps.place(stamp_id))
        for branch in branches_of(stamp.place):
            pushed = self._in_line(branch, revision, self._stamps.places(branch))
            # a revision may have been pushed several times and to several places
            if pushed is not None and self._own_change(pushed, users) == change_id:
                yield OwnPush(branch, pushed, change_id)

    def own_change(self, pushed: Pushed, users: tuple[str, ...]) -> int | None:
        """Return the first change of *users* in *pushed*, or ``None``."""
        with self._lock:
            return self._own_change(pushed, users)

    def _own_change(self, pushed: Pushed, users: tuple[str, ...]) -> int | None:
        return next((one for one in pushed.change_ids if self._changes.is_of(one, users)), None)

    def in_line(self, branch: Branch, revision: str) -> Pushed | None:
        """Return *revision* as pushed to *branch*, ``None`` if never pushed or built there."""
        with self._lock:
            return self._in_line(branch, revision, self._stamps.places(branch))

    def _pushed(
        self,
        branch: Branch,
        places: Places,
        position: Position,
        is_likely: Callable[[Position], bool] | None = None,
    ) -> Pushed | None:
        """Return the revision at *position*, ``None`` if its own position is another one.

        :param places: the branch's places
        :param is_likely: a cheap check that decides whether to look up a revision that is not
            cached
        """
        if position.found < 0:
            revision = self._stamps.revision(position.stamp_id)
            if self._has_abbreviations:
                revision = self._whole(revision, self._stamps.place(position.stamp_id))
        else:
            find = self._builds.find(position.found)
            if find is None:
                return None
            revision = self._whole(find.revision, find.place)
        is_kept = places in self._kept.of(revision)
        if not is_kept and is_likely is not None and not is_likely(position):
            return None
        pushed = self._in_line(branch, revision, places)
        return pushed if pushed is not None and pushed.position == position else None

    def _in_line(self, branch: Branch, revision: str, places: Places) -> Pushed | None:
        kept = self._kept.of(revision)
        if places in kept:
            return kept[places]
        pushed = self._find_in_line(branch, revision)
        self._kept.keep(revision, places, pushed)
        return pushed

    def _find_in_line(self, branch: Branch, revision: str) -> Pushed | None:
        stamp_ids, build_ids = self._ids_at(branch, revision)
        changes = {one: its for one in stamp_ids if (its := self._changes.all_of(one))}
        anchor = self._anchor(stamp_ids, changes)
        if anchor is not None:
            position: Position | None = self._stamps.line.position(anchor)
        else:
            position = self._builds.position(revision, build_ids) if build_ids else None
        if position is None:
            return None
        places = {self._stamps.place(one) for one in stamp_ids}
        if not places and (find := self._builds.find(position.found)) is not None:
            places = {find.place}
        return Pushed(
            position,
            revision,
            stamp_ids,
            build_ids,
            tuple(sorted(itertools.chain(*changes.values()))),
            frozenset(self._stamps.place_at(one).codebase for one in places),
            by_hand=anchor is None or not self._had_change(anchor),
            buildset_ids=tuple(sorted(self._buildsets_at(stamp_ids))),
        )

    def _ids_at(self, branch: Branch, revision: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Return the sourcestamps of a revision on *branch*, and the builds that found it.

        Sourcestamps and builds with a patch are left out.
        """
        if self._has_abbreviations:
            stamps, builds = self._by_branch((branch,), self._at(revision, True))
            stamp_ids = stamps.get(branch, {}).get(revision, set())
            build_ids = builds.get(branch, {}).get(revision, set())
        else:
            places = self._stamps.places(branch)
            named, found = self._stamps.named(revision), self._builds.named(revision)
            stamp_ids = {one.id for one in named if one.place in places}
            build_ids = {one.id for one in found if one.place in places}
        return (
            tuple(sorted(stamp_ids - self._stamps.patched)),
            tuple(sorted(build_ids - self._builds.patched)),
        )

    def _had_change(self, stamp_id: int) -> bool:
        """Return whether a sourcestamp has a change, or is as old as deleted changes."""
        return (
            self._changes.first_of(stamp_id) is not None or stamp_id < self._changes.forgotten_until
        )

    def _anchor(self, stamp_ids: Iterable[int], changes: Mapping[int, Sequence[int]]) -> int | None:
        """Return the sourcestamp that determines a revision's position.

        This is the sourcestamp of its first change, or else its first sourcestamp with a buildset.

        :param changes: the changes of each sourcestamp that has any, by sourcestamp id
        """
        if changes:
            return min(changes, key=lambda one: changes[one][0])
        return next((one for one in stamp_ids if self._buildsets_at((one,))), None)

    @property
    def has_abbreviations(self) -> bool:
        """Return whether any sourcestamp or build has only an abbreviation of a hash."""
        with self._lock:
            return self._has_abbreviations

    def at(
        self, branches: Sequence[Branch], revision: str, *, ambiguous: bool = False
    ) -> StampsAndBuilds:
        """Return the sourcestamps and builds of exactly *revision* on *branches*.

        A sourcestamp or build with an abbreviation counts for a hash if the abbreviation can mean
        no other hash. For an abbreviation, sourcestamps and builds count that name it, if no hash
        begins with it.

        :param revision: in its one spelling (see ``one_spelling``)
        :param ambiguous: an abbreviation that begins several hashes counts as well
        """
        with self._lock:
            return self._by_branch(branches, self._at(revision, ambiguous))

    def beginning(self, branches: Sequence[Branch], digits: str) -> StampsAndBuilds:
        """Return the sourcestamps and builds on *branches* of hashes that begin with *digits*."""
        with self._lock:
            return self._by_branch(branches, self._beginning(digits))

    def places_of(self, revision: str, most: int) -> list[Sourcestamp]:
        """Return up to *most* places that have *revision*, or else a hash that begins with it."""
        with self._lock:
            found = [*self._at(revision, ambiguous=False)]
            if not any(found) and may_abbreviate(revision):
                found = [*self._beginning(revision)]
            numbers = dict.fromkeys(find.place for finds in found for find in finds)
            return [self._stamps.place_at(one) for one in itertools.islice(numbers, most)]

    @property
    def _has_abbreviations(self) -> bool:
        return self._stamps.has_abbreviations or self._builds.has_abbreviations

    def _by_branch(self, branches: Sequence[Branch], finds: _Finds) -> StampsAndBuilds:
        stamps, builds = finds
        return self._stamps.by_branch(branches, stamps), self._stamps.by_branch(branches, builds)

    def _at(self, revision: str, ambiguous: bool) -> _Finds:
        parts: tuple[Stamps, Builds] = self._stamps, self._builds
        if is_hash(revision):
            stamps, builds = (
                part.named(revision) + self._completed(part.abbreviating(revision), revision)
                for part in parts
            )
        elif is_abbreviation(revision):
            stamps, builds = (self._itself(part.named(revision), ambiguous) for part in parts)
        else:
            stamps, builds = (part.named(revision) for part in parts)
        return stamps, builds

    def _beginning(self, digits: str) -> _Finds:
        stamps, builds = self._stamps.beginning(digits), self._builds.beginning(digits)
        if self._has_abbreviations:
            for whole in {find.revision for find in itertools.chain(stamps, builds)}:
                stamps += self._completed(self._stamps.abbreviating(whole), whole)
                builds += self._completed(self._builds.abbreviating(whole), whole)
        return stamps, builds

    def _completed(self, abbreviating: Iterable[Find], whole: str) -> list[Find]:
        """Return those of *abbreviating* that can only mean the hash *whole*."""
        return [
            find._replace(revision=whole)
            for find in abbreviating
            if self._completions(find.revision, find.place) == {whole}
        ]

    def _itself(self, named: Iterable[Find], ambiguous: bool) -> list[Find]:
        """Return those of *named* whose abbreviation cannot be completed to one hash."""
        return [
            find
            for find in named
            for count in (len(self._completions(find.revision, find.place)),)
            if count == 0 or (count > 1 and ambiguous)
        ]

    def _completions(self, digits: str, place: int) -> set[str]:
        """Return the hashes at the same source that begin with *digits*."""
        found: set[str] = set()
        for revision, other in itertools.chain(
            self._stamps.hashes(digits), self._builds.hashes(digits)
        ):
            if revision not in found and self._stamps.may_be(place, other):
                found.add(revision)
        return found

    def _whole(self, revision: str, place: int) -> str:
        """Return *revision*, completed if exactly one hash begins with it."""
        if not is_abbreviation(revision):
            return revision
        found = self._completions(revision, place)
        return found.pop() if len(found) == 1 else revision

    def found_for(self, stamp_ids: Iterable[int]) -> dict[int, dict[int, str]]:
        """Return the hashes that builds of abbreviations found, by sourcestamp id and build id."""
        with self._lock:
            found = ((one, self._builds.found_for(one)) for one in stamp_ids)
            return {one: dict(its) for one, its in found if its}

    def whole(self, revision: str, stamp_id: int) -> str:
        """Return a *revision* that was found for a sourcestamp, completed if possible."""
        with self._lock:
            revision = one_spelling(revision)
            if stamp_id not in self._stamps:
                return revision
            return self._whole(revision, self._stamps.place(stamp_id))

    def of_stamps(self, stamp_ids: Iterable[int]) -> Chosen:
        """Return the buildsets of these sourcestamps, each with the first of its sourcestamps."""
        with self._lock:
            return self._of_stamps(stamp_ids)

    def _buildsets_at(self, stamp_ids: Iterable[int]) -> set[int]:
        """Return the buildsets of these sourcestamps, without buildsets with a patch."""
        found = {one for stamp_id in stamp_ids for one in self._buildsets.of_stamp(stamp_id)}
        patched = self._stamps.patched
        if not patched:
            return found
        return {one for one in found if patched.isdisjoint(self._buildsets.stamps(one))}

    def of_user(self, branch: Branch, user: str) -> set[int]:
        """Return the buildsets on *branch* of changes by *user*.

        Some of the changes may be deleted, whose buildsets ``chosen_of_user`` leaves out.
        """
        with self._lock:
            return self._user_buildsets.of(user, self._stamps.places(branch))

    def authors_like(self, text: str, count: int) -> list[str]:
        """Return up to *count* names of authors and users that contain *text*; case is ignored.

        Exact matches come first; names are sorted.
        """
        with self._lock:
            return self._changes.names_like(text, count)

    def chosen_of_user(self, branch: Branch, user: str, buildset_ids: Iterable[int]) -> Chosen:
        """Return those of *buildset_ids* that are on *branch*, of changes by *user*."""
        with self._lock:
            names = self._changes.known_as(user)
            return self._on(
                branch, buildset_ids, lambda one: not names.isdisjoint(self._changes.names_of(one))
            )

    def on_branch(self, branch: Branch, buildset_ids: Iterable[int]) -> Chosen:
        """Return those of *buildset_ids* that belong to *branch*."""
        with self._lock:
            return self._on(branch, buildset_ids)

    def stamps_of(self, buildset_ids: Iterable[int]) -> dict[int, list[Stamp]]:
        """Return the sourcestamps of each buildset in the index, the first one first."""
        with self._lock:
            found: dict[int, list[Stamp]] = {}
            for buildset_id in buildset_ids:
                its = map(self._stamps.__getitem__, self._buildsets.stamps(buildset_id))
                found[buildset_id] = sorted(its, key=in_order)
            return {buildset_id: its for buildset_id, its in found.items() if its}

    def owners(self, buildset_ids: Iterable[int]) -> dict[int, str | None]:
        """Return the owner of each buildset in the index, or else its newest change's author."""
        with self._lock:
            authors: dict[tuple[int, ...], str | None] = {}
            found: dict[int, str | None] = {}
            for buildset_id in buildset_ids:
                its = self._buildsets.stamps(buildset_id)
                if not its:
                    continue
                owner = self._buildsets.info(buildset_id).owner
                if owner is None and its not in authors:
                    authors[its] = self._changes.author_of(its)
                found[buildset_id] = authors[its] if owner is None else owner
            return found

    def open(self, branch: Branch) -> Chosen:
        """Return the buildsets on *branch* that may have incomplete requests."""
        with self._lock:
            return self._on(branch, self._buildsets.open_in(self._stamps.places(branch)))

    def open_of(self, buildset_ids: Iterable[int]) -> set[int]:
        """Return those of *buildset_ids* that may have incomplete requests."""
        with self._lock:
            return self._buildsets.open.intersection(buildset_ids)

    def between(self, branch: Branch, begin: int, end: int) -> Chosen:
        """Return the buildsets on *branch* that may have started a build from *begin* to *end*.

        Buildsets submitted in that time are included. Times are in epoch seconds. ``load_late``
        has to be called before.
        """
        with self._lock:
            asked: set[int] = set()
            for place in self._stamps.places(branch):
                asked.update(self._buildsets.asked_between(place, begin - LATE, end + CLOCK_SLACK))
            asked.update(self._builds.late_between(begin, end))
            return self._on(branch, asked)

    def builders_on(self, branch: Branch, since: int) -> set[int]:
        """Return the builders requested on *branch*, of the buildsets whose builders were read.

        :param since: only builders requested at this time or later, in epoch seconds
        """
        with self._lock:
            places = self._stamps.places(branch)
            return {one for place in places for one in self._buildsets.builders_in(place, since)}

    def reasons(self, buildset_ids: Iterable[int]) -> list[str | None]:
        """Return why each of *buildset_ids*, which are in the index, was requested."""
        with self._lock:
            return [self._buildsets.info(one).reason for one in buildset_ids]

    def newest_buildsets(self, branch: Branch, count: int) -> list[int]:
        """Return the newest *count* buildsets on *branch*, newest first."""
        with self._lock:
            places = self._stamps.places(branch)
            found = {one for place in places for one in self._buildsets.newest_in(place, count)}
            return [buildset_id for _, buildset_id in sorted(found, reverse=True)[:count]]

    def about(self, chosen: Chosen) -> dict[int, About]:
        """Return what the index knows of the *chosen* buildsets, by buildset id."""
        with self._lock:
            sources = {one: self._source(one) for one in set(chosen.values())}
            return {
                buildset_id: self._about(buildset_id, *sources[one])
                for buildset_id, one in chosen.items()
            }

    def _source(self, stamp_id: int) -> tuple[str, str, bool]:
        """Return codebase, revision, and whether its builds find the revision."""
        stamp = self._stamps[stamp_id]
        revision, undecided = stamp.revision, False
        if revision and is_abbreviation(revision, SHORTEST_BUILT):
            undecided = self._stamps.is_undecided(stamp_id)
            revision = self._whole(revision, self._stamps.place(stamp_id))
        return stamp.place.codebase, revision, undecided

    def _about(self, buildset_id: int, codebase: str, revision: str, undecided: bool) -> About:
        reason, owner = self._buildsets.info(buildset_id)
        if owner is None:
            owner = self._changes.author_of(self._buildsets.stamps(buildset_id))
        patched = self._stamps.patched
        is_patched = bool(patched) and not patched.isdisjoint(self._buildsets.stamps(buildset_id))
        return About(codebase, revision, reason, owner, is_patched, undecided)

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
