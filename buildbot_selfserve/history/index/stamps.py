"""The sourcestamps: where each is, and which revision it names."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from collections.abc import Iterator
from typing import NamedTuple

from buildbot_selfserve.history.index.columns import Ids
from buildbot_selfserve.history.index.columns import Texts
from buildbot_selfserve.history.index.moves import Moves
from buildbot_selfserve.history.index.moves import latest
from buildbot_selfserve.model import Branch


class Place(NamedTuple):
    """Where source is, as a sourcestamp says it."""

    branch: str | None
    codebase: str
    project: str
    repository: str

    def belongs(self, branch: Branch) -> bool:
        """Whether it is on *branch*."""
        return (
            self.branch in branch.branches
            and branch.codebase in (None, self.codebase)
            and branch.project in (None, self.project)
            and branch.repository in (None, self.repository)
        )


class Find(NamedTuple):
    """What was found by its revision: a sourcestamp or a build, and the number of its place."""

    revision: str
    id: int
    place: int


class Stamp(NamedTuple):
    """A sourcestamp; ``revision`` is empty where it names none."""

    id: int
    place: Place
    revision: str


#: Ids by branch and revision.
ByBranch = dict[Branch, dict[str, set[int]]]


class Stamps:
    """All sourcestamps. A place is a number here: there are few, and many sourcestamps in each."""

    def __init__(self) -> None:
        self._ids = Ids()
        self._revisions: list[str] = []
        self._place_of = array("i")
        self._places: list[Place] = []
        self._numbers: dict[Place, int] = {}
        #: the numbers of the places by what those call their branch
        self._called: dict[str | None, list[int]] = {}
        self.moves = Moves()
        self._of_branch: dict[Branch, frozenset[int]] = {}
        self._named = Texts()

    def __contains__(self, stamp_id: int) -> bool:
        return self._ids.where(stamp_id) is not None

    def __getitem__(self, stamp_id: int) -> Stamp:
        where = self._ids.where(stamp_id)
        if where is None:
            raise KeyError(stamp_id)
        return Stamp(stamp_id, self._places[self._place_of[where]], self._revisions[where])

    def add(
        self, records: Iterable[tuple[int, str | None, str | None, str, str, str, int]]
    ) -> None:
        """Add sourcestamps: id, revision, branch, codebase, project, repository, when it came.

        Those that are there already are left out.
        """
        named: list[tuple[str, int]] = []
        moved: list[tuple[str | None, int]] = []
        for stamp_id, revision, branch, codebase, project, repository, created_at in records:
            if stamp_id in self:
                continue
            where = self._ids.insert(stamp_id)
            self._revisions.insert(where, revision or "")
            self._place_of.insert(where, self._number(Place(branch, codebase, project, repository)))
            if revision:
                named.append((revision, stamp_id))
            moved.append((branch, created_at))
        self._named.add(named)
        for name, when in latest(moved).items():
            self.moves.move(name, when)

    def move(self, moves: Iterable[tuple[int, int]]) -> None:
        """Note that something moved: numbers of places, and when."""
        named = ((self._places[place].branch, when) for place, when in moves)
        for name, when in latest(named).items():
            self.moves.move(name, when)

    def _number(self, place: Place) -> int:
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

    def newest_places(self, branch: Branch, count: int) -> set[Place]:
        """Return where the newest *count* sourcestamps on *branch* are that name a revision."""
        places, found = self.places(branch), set()
        for where in range(len(self._ids) - 1, -1, -1):
            number = self._place_of[where]
            if number in places and self._revisions[where]:
                found.add(number)
                count -= 1
                if not count:
                    break
        return {self._places[number] for number in found}

    def named(self, text: str, whole: bool) -> list[Find]:
        """Return the sourcestamps whose revisions begin with *text*."""
        return [
            Find(revision, stamp_id, self.place(stamp_id))
            for revision, stamp_id in self._named.starting(text, whole)
        ]

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

    def nameless(self) -> Iterator[int]:
        """Yield the sourcestamps that name no revision."""
        for where, revision in enumerate(self._revisions):
            if not revision:
                yield self._ids.at(where)


def in_order(stamp: Stamp) -> tuple[str, int]:
    """Return what the sourcestamps of a buildset are sorted by: the first stands for all."""
    return stamp.place.codebase, stamp.id
