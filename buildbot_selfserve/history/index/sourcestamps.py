"""Keeps the places and revisions of sourcestamps."""

from __future__ import annotations

from array import array
from collections import Counter
from collections import defaultdict
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

from buildbot_selfserve.history.index.branch_names import BranchNames
from buildbot_selfserve.history.index.branch_names import latest
from buildbot_selfserve.history.index.columns import Ids
from buildbot_selfserve.history.index.columns import Texts
from buildbot_selfserve.history.index.push_order import Line
from buildbot_selfserve.history.index.records import numbers_of
from buildbot_selfserve.history.index.revisions import Revisions
from buildbot_selfserve.model import SHORTEST_BUILT
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import are_hashes
from buildbot_selfserve.model import is_abbreviation
from buildbot_selfserve.model import is_hash
from buildbot_selfserve.model import one_spelling
from buildbot_selfserve.model import trimmed

#: A place with more decimal revisions than this, and no hash, uses numbers as revisions: its builds
#: are not read for a hash that begins with such a number.
MOST_NUMBERS = 1000


class Find(NamedTuple):
    """A sourcestamp or build that was found by its revision, with the number of its place."""

    revision: str
    id: int
    place: int


class Stamp(NamedTuple):
    """A sourcestamp.

    :param revision: in its one spelling; empty if the sourcestamp names none
    :param written: the revision as in the database, without surrounding blanks
    """

    id: int
    place: Sourcestamp
    revision: str
    written: str


#: Id, revision, branch, codebase, project, repository, time, patch.
Record = tuple[int, str | None, str | None, str, str, str, int, int | None]
#: Ids by branch and revision.
ByBranch = dict[Branch, dict[str, set[int]]]


class Stamps:
    """All sourcestamps.

    A place is a combination of branch, codebase, repository and project. There are few places with
    many sourcestamps each, so each place has a number.
    """

    def __init__(self) -> None:
        self._ids = Ids()
        self._revisions = Texts()
        self._place_of = array("i")
        self._places: list[Sourcestamp] = []
        self._numbers: dict[tuple[str | None, str, str, str], int] = {}
        #: the numbers of places by the name of their branch
        self._called: dict[str | None, list[int]] = {}
        self.branch_names = BranchNames()
        self._of_branch: dict[Branch, frozenset[int]] = {}
        self._named = Revisions(self.revision)
        #: sourcestamps without a revision, or with digits that may abbreviate a hash
        self._vague = array("i")
        #: revisions as written in the database, where that differs from their one spelling
        self._written: dict[int, str] = {}
        #: the ids of sourcestamps with a patch
        self.patched: set[int] = set()
        #: by number of place: how many decimal revisions it has; and the places with a hash
        self._numbers_in: Counter[int] = Counter()
        self._with_hashes: set[int] = set()
        self.line = Line()

    def __contains__(self, stamp_id: int) -> bool:
        return self._ids.where(stamp_id) is not None

    def __getitem__(self, stamp_id: int) -> Stamp:
        where = self._ids.where(stamp_id)
        if where is None:
            raise KeyError(stamp_id)
        revision = self._revisions[where]
        written = self._written.get(stamp_id, revision)
        return Stamp(stamp_id, self._places[self._place_of[where]], revision, written)

    def revision(self, stamp_id: int) -> str:
        """Return the revision of a present sourcestamp, in its one spelling."""
        where = self._ids.where(stamp_id)
        assert where is not None
        return self._revisions[where]

    def add(self, records: Sequence[Record]) -> None:
        """Add sourcestamps; ignore those that are present."""
        if not self._ids.are_newer([record[0] for record in records]):
            by_id = {record[0]: record for record in records if record[0] not in self}
            records = [by_id[one] for one in sorted(by_id)]
        if not records:
            return
        ids, texts, branches, codebases, projects, repositories, times, patches = zip(
            *records, strict=True
        )
        self.patched.update(
            one for one, patch_id in zip(ids, patches, strict=True) if patch_id is not None
        )
        named = zip(branches, codebases, repositories, projects, strict=True)
        places = numbers_of(named, self._numbers, self._number)
        whole = are_hashes(texts)  # as nearly all are
        revisions = texts if whole else list(map(one_spelling, texts))
        self._insert(ids, revisions, places)
        if whole:
            self._with_hashes.update(places)
            self._named.extend(revisions, ids)
        else:
            for stamp_id, revision, text, place in zip(ids, revisions, texts, places, strict=True):
                self._note(stamp_id, revision, text or "", place)
            both = zip(revisions, ids, strict=True)
            self._named.add((revision, stamp_id) for revision, stamp_id in both if revision)
        self._line_up(ids, revisions, places)
        self.move(latest(places, times))

    def _line_up(self, ids: Sequence[int], revisions: Sequence[str], places: Sequence[int]) -> None:
        """Add the sourcestamps that name a revision, and have no patch, to the order of pushes."""
        in_line: dict[int, list[int]] = defaultdict(list)
        for stamp_id, revision, place in zip(ids, revisions, places, strict=True):
            if revision and stamp_id not in self.patched:
                in_line[place].append(stamp_id)
        for place, its in in_line.items():
            self.line.add_stamps(place, its)

    def _insert(self, ids: Sequence[int], revisions: Sequence[str], places: Sequence[int]) -> None:
        if self._ids.are_newer(ids):
            self._ids.extend(ids)
            self._revisions.extend(revisions)
            self._place_of.extend(places)
            return
        for stamp_id, revision, place in zip(ids, revisions, places, strict=True):
            where = self._ids.insert(stamp_id)
            self._revisions.insert(where, revision)
            self._place_of.insert(where, place)

    def sort(self) -> None:
        """Sort what was added; otherwise the next read does."""
        self._named.sort()

    def move(self, moved: Mapping[int, int]) -> None:
        """Note activity in places.

        :param moved: epoch seconds by number of place
        """
        newest: dict[str, int] = {}
        for place, when in moved.items():
            name = self._places[place].branch
            if name:
                newest[name] = max(when, newest.get(name, 0))
        for name, when in newest.items():
            self.branch_names.move(name, when)

    def _note(self, stamp_id: int, revision: str, text: str, place: int) -> None:
        """Note the spelling and the kind of a revision."""
        if not revision:
            self._vague.append(stamp_id)
            return
        if text != revision and trimmed(text) != revision:
            self._written[stamp_id] = trimmed(text)
        if is_hash(revision):
            self._with_hashes.add(place)
            return
        if revision.isdecimal():
            self._numbers_in[place] += 1
        if is_abbreviation(revision, SHORTEST_BUILT):
            self._vague.append(stamp_id)

    def _number(self, place: tuple[str | None, str, str, str]) -> int:
        """Give a new place a number."""
        number = self._numbers[place] = len(self._places)
        self._places.append(Sourcestamp(*place))
        self._called.setdefault(place[0], []).append(number)
        self._of_branch.clear()
        return number

    def place(self, stamp_id: int) -> int:
        """Return the number of a sourcestamp's place."""
        where = self._ids.where(stamp_id)
        assert where is not None
        return self._place_of[where]

    def places_of(self, stamp_ids: Sequence[int]) -> list[int | None]:
        """Return the number of each sourcestamp's place, ``None`` if the sourcestamp is missing."""
        return self._ids.beside(stamp_ids, self._place_of)

    def place_at(self, number: int) -> Sourcestamp:
        """Return the place with a number."""
        return self._places[number]

    def places(self, branch: Branch) -> frozenset[int]:
        """Return the numbers of the places on *branch*."""
        found = self._of_branch.get(branch)
        if found is None:
            found = frozenset(
                number
                for name in branch.branches
                for number in self._called.get(name, ())
                if self._places[number].belongs(branch)
            )
            self._of_branch[branch] = found
        return found

    def branches_within(self, branch: Branch) -> set[str]:
        """Return the branches in the codebases, projects and repositories of *branch*."""
        return {one.branch for one in self._places if one.branch and one.is_within(branch)}

    def newest_places(self, branch: Branch, count: int) -> list[Sourcestamp]:
        """Return the places of the newest *count* sourcestamps on *branch* that name a revision.

        The newest place comes first, and each place once.
        """
        places = self.places(branch)
        found: dict[int, None] = {}
        for where in range(len(self._ids) - 1, -1, -1):
            number = self._place_of[where]
            if number in places and self._revisions[where]:
                found[number] = None
                count -= 1
                if not count:
                    break
        return [self._places[number] for number in found]

    @property
    def has_abbreviations(self) -> bool:
        """Return whether any sourcestamp names only an abbreviation of a hash."""
        return self._named.has_abbreviations

    def named(self, revision: str) -> list[Find]:
        """Return the sourcestamps that name exactly *revision*."""
        return self._finds((revision, stamp_id) for stamp_id in self._named.of(revision))

    def abbreviating(self, whole: str) -> list[Find]:
        """Return the sourcestamps that name an abbreviation of the hash *whole*."""
        return self._finds(self._named.abbreviating(whole))

    def beginning(self, digits: str) -> list[Find]:
        """Return the sourcestamps that name a hash beginning with *digits*."""
        return self._finds(self._named.hashes(digits))

    def _finds(self, named: Iterable[tuple[str, int]]) -> list[Find]:
        return [Find(revision, stamp_id, self.place(stamp_id)) for revision, stamp_id in named]

    def hashes(self, begin: str) -> Iterator[tuple[str, int]]:
        """Yield the hashes that begin with the digits *begin*, with the numbers of their places."""
        for revision, stamp_id in self._named.hashes(begin):
            yield revision, self.place(stamp_id)

    def may_be(self, place: int, other: int) -> bool:
        """Return whether two places, given by number, may be the same source."""
        return place == other or self._places[place].may_be(self._places[other])

    def by_branch(self, branches: Iterable[Branch], finds: Iterable[Find]) -> ByBranch:
        """Return the ids of *finds* by branch, of those in *branches*, and by revision."""
        in_place: dict[int, list[Find]] = {}
        for find in finds:
            in_place.setdefault(find.place, []).append(find)
        found: ByBranch = {}
        for branch in branches if in_place else ():
            for place in in_place.keys() & self.places(branch):
                its = found.setdefault(branch, {})
                for find in in_place[place]:
                    its.setdefault(find.revision, set()).add(find.id)
        return found

    def undecided(self) -> Iterator[int]:
        """Return the undecided sourcestamps, whose builds find the revision."""
        return filter(self.is_undecided, self._vague)

    def is_undecided(self, stamp_id: int) -> bool:
        """Return whether a sourcestamp names no full revision, so that its builds find one."""
        where = self._ids.where(stamp_id)
        return where is not None and self._is_undecided(where)

    def _is_undecided(self, where: int) -> bool:
        revision = self._revisions[where]
        if not revision:
            return True
        if not is_abbreviation(revision, SHORTEST_BUILT):
            return False
        place = self._place_of[where]
        return (
            not revision.isdecimal()
            or place in self._with_hashes
            or self._numbers_in[place] <= MOST_NUMBERS
        )


def in_order(stamp: Stamp) -> tuple[str, int]:
    """Return the sort key of a buildset's sourcestamps: the first represents the buildset."""
    return stamp.place.codebase, stamp.id
