"""Keeps the sourcestamps: their source and their revision."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from typing import NamedTuple

from buildbot_selfserve.history.index.branch_names import BranchNames
from buildbot_selfserve.history.index.branch_names import latest
from buildbot_selfserve.history.index.columns import Ids
from buildbot_selfserve.history.index.line import Line
from buildbot_selfserve.history.index.revisions import Revisions
from buildbot_selfserve.model import SHORTEST_BUILT
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import is_abbreviation
from buildbot_selfserve.model import is_hash
from buildbot_selfserve.model import one_spelling
from buildbot_selfserve.model import trimmed

#: Where more plain numbers than this are known, and no hash, revisions are numbers: of builds there
#: nobody asks whether they have found a hash that begins so.
MOST_NUMBERS = 1000


class Find(NamedTuple):
    """What was found by its revision: a sourcestamp or a build, and the number of its place."""

    revision: str
    id: int
    place: int


class Stamp(NamedTuple):
    """A sourcestamp.

    :param revision: that it names, in its one spelling; empty where it names none
    :param written: the same as the database has it, but for blanks around it
    """

    id: int
    place: Sourcestamp
    revision: str
    written: str


#: Ids by branch and revision.
ByBranch = dict[Branch, dict[str, set[int]]]


class Stamps:
    """All sourcestamps. A place is a number here: there are few, and many sourcestamps in each."""

    def __init__(self) -> None:
        self._ids = Ids()
        self._revisions: list[str] = []
        self._place_of = array("i")
        self._places: list[Sourcestamp] = []
        self._numbers: dict[Sourcestamp, int] = {}
        #: the numbers of the places by what those call their branch
        self._called: dict[str | None, list[int]] = {}
        self.branch_names = BranchNames()
        self._of_branch: dict[Branch, frozenset[int]] = {}
        self._named = Revisions()
        #: revisions that are written otherwise than they are known, by sourcestamp
        self._written: dict[int, str] = {}
        #: the sourcestamps with a patch
        self.patched: set[int] = set()
        #: by the number of a place: how many plain numbers it knows as revisions, and if any hash
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

    def add(
        self, records: Iterable[tuple[int, str | None, str | None, str, str, str, int, int | None]]
    ) -> None:
        """Add sourcestamps: id, revision, branch, codebase, project, repository, time, patch.

        Those that are there already are left out.
        """
        named: list[tuple[str, int]] = []
        moved: list[tuple[str | None, int]] = []
        for stamp_id, text, branch, codebase, project, repository, created_at, patch_id in records:
            if stamp_id in self:
                continue
            where = self._ids.insert(stamp_id)
            place = self._number(Sourcestamp(branch, codebase, repository, project))
            revision = one_spelling(text)
            self._revisions.insert(where, revision)
            self._place_of.insert(where, place)
            if patch_id is not None:
                self.patched.add(stamp_id)
            if revision:
                named.append((revision, stamp_id))
                if patch_id is None:
                    self.line.add_stamp(stamp_id, place)
                self._note(stamp_id, revision, text or "", place)
            moved.append((branch, created_at))
        self._named.add(named)
        for name, when in latest(moved).items():
            self.branch_names.move(name, when)

    def move(self, branch_names: Iterable[tuple[int, int]]) -> None:
        """Note that something moved: numbers of places, and when."""
        named = ((self._places[place].branch, when) for place, when in branch_names)
        for name, when in latest(named).items():
            self.branch_names.move(name, when)

    def _note(self, stamp_id: int, revision: str, text: str, place: int) -> None:
        """Note how a revision is written, and of what kind it is."""
        if text != revision and trimmed(text) != revision:
            self._written[stamp_id] = trimmed(text)
        if is_hash(revision):
            self._with_hashes.add(place)
        elif revision.isdecimal():
            self._numbers_in[place] += 1

    def _number(self, place: Sourcestamp) -> int:
        number = self._numbers.get(place)
        if number is None:
            number = self._numbers[place] = len(self._places)
            self._places.append(place)
            self._called.setdefault(place.branch, []).append(number)
            self._of_branch.clear()
        return number

    def place(self, stamp_id: int) -> int:
        """Return the number of the place where a sourcestamp is."""
        where = self._ids.where(stamp_id)
        assert where is not None
        return self._place_of[where]

    def place_at(self, number: int) -> Sourcestamp:
        """Return the place of a number."""
        return self._places[number]

    def places(self, branch: Branch) -> frozenset[int]:
        """Return the numbers of the places that are on *branch*."""
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
        """Return where the newest *count* sourcestamps on *branch* are that name a revision.

        The newest first.
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
        """Whether any sourcestamp says only how a hash begins."""
        return self._named.has_abbreviations

    def named(self, revision: str) -> list[Find]:
        """Return the sourcestamps that name just this *revision*."""
        return self._finds((revision, stamp_id) for stamp_id in self._named.of(revision))

    def abbreviating(self, whole: str) -> list[Find]:
        """Return the sourcestamps that name an abbreviation which the hash *whole* begins with."""
        return self._finds(self._named.abbreviating(whole))

    def beginning(self, digits: str) -> list[Find]:
        """Return the sourcestamps that name a hash which begins with *digits*."""
        return self._finds(self._named.hashes(digits))

    def _finds(self, named: Iterable[tuple[str, int]]) -> list[Find]:
        return [Find(revision, stamp_id, self.place(stamp_id)) for revision, stamp_id in named]

    def hashes(self, begin: str) -> Iterator[tuple[str, int]]:
        """Yield the hashes that begin with the digits *begin*, with numbers of their places."""
        for revision, stamp_id in self._named.hashes(begin):
            yield revision, self.place(stamp_id)

    def may_be(self, place: int, other: int) -> bool:
        """Whether both places, by their numbers, may be the same source."""
        return place == other or self._places[place].may_be(self._places[other])

    def by_branch(self, branches: Iterable[Branch], finds: Iterable[Find]) -> ByBranch:
        """Return the ids of *finds* by those of *branches* that they are on, and by revision."""
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
        """Yield the sourcestamps of which each build says what it is of."""
        for where in range(len(self._ids)):
            if self._is_undecided(where):
                yield self._ids.at(where)

    def is_undecided(self, stamp_id: int) -> bool:
        """Whether each build of a sourcestamp says what it is of: it names no whole revision."""
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
    """Return what the sourcestamps of a buildset are sorted by: the first stands for all."""
    return stamp.place.codebase, stamp.id
