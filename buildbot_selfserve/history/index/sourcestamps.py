"""Keeps the sourcestamps: their source and their revision."""

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


#: The digits of a hash, in nearly all places.
_HASH = 40

#: Id, revision, branch, codebase, project, repository, time, patch.
Record = tuple[int, str | None, str | None, str, str, str, int, int | None]
#: Ids by branch and revision.
ByBranch = dict[Branch, dict[str, set[int]]]


class Stamps:
    """All sourcestamps. A place is a number here: there are few, and many sourcestamps in each."""

    def __init__(self) -> None:
        self._ids = Ids()
        self._revisions = Texts()
        self._place_of = array("i")
        self._places: list[Sourcestamp] = []
        self._numbers: dict[tuple[str | None, str, str, str], int] = {}
        #: the numbers of the places by what those call their branch
        self._called: dict[str | None, list[int]] = {}
        self.branch_names = BranchNames()
        self._of_branch: dict[Branch, frozenset[int]] = {}
        self._named = Revisions(self.revision)
        #: those that name no revision, or digits that may be the beginning of one
        self._vague = array("i")
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

    def revision(self, stamp_id: int) -> str:
        """Return the revision of a sourcestamp that is there, in its one spelling."""
        where = self._ids.where(stamp_id)
        assert where is not None
        return self._revisions[where]

    def add(self, records: Sequence[Record]) -> None:
        """Add sourcestamps. Those that are there already are left out."""
        if not self._ids.are_newer([record[0] for record in records]):
            by_id = {record[0]: record for record in records if record[0] not in self}
            records = [by_id[one] for one in sorted(by_id)]
        if not records:
            return
        ids, texts, branches, codebases, projects, repositories, times, patches = zip(
            *records, strict=True
        )
        patched = [one for one, patch_id in zip(ids, patches, strict=True) if patch_id is not None]
        self.patched.update(patched)
        places = self._numbers_of(
            list(zip(branches, codebases, repositories, projects, strict=True))
        )
        revisions = list(map(one_spelling, texts))
        self._insert(ids, revisions, places)
        named: list[tuple[str, int]] = []
        in_line: dict[int, list[int]] = defaultdict(list)
        for stamp_id, text, revision, place in zip(ids, texts, revisions, places, strict=True):
            if not revision:
                self._vague.append(stamp_id)
            else:
                named.append((revision, stamp_id))
                in_line[place].append(stamp_id)
                # nearly all are hashes that are written so, in places that have some
                if text is not revision or place not in self._with_hashes or len(text) != _HASH:
                    self._note(stamp_id, revision, text or "", place)
        self._named.add(named)
        for place, its in in_line.items():
            if patched:
                its = [one for one in its if one not in self.patched]
            self.line.add_stamps(place, its)
        self.move(latest(zip(places, times, strict=True)))

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
        """Sort in what was added; otherwise the next look does."""
        self._named.sort()

    def move(self, moved: Mapping[int, int]) -> None:
        """Note when something last moved in places, by their numbers."""
        newest: dict[str, int] = {}
        for place, when in moved.items():
            name = self._places[place].branch
            if name:
                newest[name] = max(when, newest.get(name, 0))
        for name, when in newest.items():
            self.branch_names.move(name, when)

    def _note(self, stamp_id: int, revision: str, text: str, place: int) -> None:
        """Note how a revision is written, and of what kind it is."""
        if text != revision and trimmed(text) != revision:
            self._written[stamp_id] = trimmed(text)
        if is_hash(revision):
            self._with_hashes.add(place)
            return
        if revision.isdecimal():
            self._numbers_in[place] += 1
        if is_abbreviation(revision, SHORTEST_BUILT):
            self._vague.append(stamp_id)

    def _numbers_of(self, places: Sequence[tuple[str | None, str, str, str]]) -> list[int]:
        """Return the numbers of places, each as the fields of its ``Sourcestamp``."""
        numbers = self._numbers
        found = list(map(numbers.get, places))
        if None in found:
            for one in dict.fromkeys(places):
                if one not in numbers:
                    self._number(Sourcestamp(*one))
        return [
            numbers[one] if number is None else number
            for one, number in zip(places, found, strict=True)
        ]

    def _number(self, place: Sourcestamp) -> None:
        number = self._numbers[place] = len(self._places)
        self._places.append(place)
        self._called.setdefault(place.branch, []).append(number)
        self._of_branch.clear()

    def place(self, stamp_id: int) -> int:
        """Return the number of the place where a sourcestamp is."""
        where = self._ids.where(stamp_id)
        assert where is not None
        return self._place_of[where]

    def places_of(self, stamp_ids: Iterable[int]) -> list[int | None]:
        """Return the numbers of places where sourcestamps are, ``None`` for those not there."""
        place_of = self._place_of
        wheres = self._ids.wheres(stamp_ids)
        return [None if where is None else place_of[where] for where in wheres]

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
        """Return the sourcestamps of which each build says what it is of."""
        return filter(self.is_undecided, self._vague)

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
