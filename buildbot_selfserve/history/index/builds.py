"""Keeps what finds builds by revision: late builds, and the revisions that builds report."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from buildbot_selfserve.history.index.columns import ByText
from buildbot_selfserve.history.index.columns import Pairs
from buildbot_selfserve.history.index.columns import Texts
from buildbot_selfserve.history.index.push_order import Line
from buildbot_selfserve.history.index.push_order import Position
from buildbot_selfserve.history.index.push_order import found_at
from buildbot_selfserve.history.index.revisions import Revisions
from buildbot_selfserve.history.index.sourcestamps import Find
from buildbot_selfserve.history.json_columns import value_in
from buildbot_selfserve.model import begins
from buildbot_selfserve.model import is_hash
from buildbot_selfserve.model import one_spelling

#: A build that starts so many seconds after it was asked for is late: it is remembered, so that a
#: day need not be looked for among all that was asked for before it.
LATE = 3600


class Undecided(NamedTuple):
    """A sourcestamp of which each build says what it is of.

    :param place: the number of its place
    :param begin: the digits that it names; empty where it names no revision
    :param key: the newest sourcestamp when the build was asked for
    :param request_id: of the build
    :param patched: the build has a patch on top, and so is of no revision
    """

    stamp_id: int
    place: int
    codebase: str
    begin: str
    key: int
    request_id: int
    patched: bool


#: A revision, and the sourcestamp that it was found for.
Found = tuple[str, Undecided]


class Builds:
    """Builds that started late, and builds that say themselves what they are of."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._late = Pairs(long=True)
        #: what builds have found: the revisions, the builds, the numbers of the places, and where
        #: it stands in the line; the build is 0 where it has said so no more when it was over
        self._revisions = Texts()
        self._build_ids = array("i")
        self._places = array("i")
        self._keys = array("i")
        self._requests = array("i")
        #: the numbers of these by their revisions
        self._found = Revisions(self._revisions.__getitem__)
        #: the builds with a patch
        self.patched: set[int] = set()
        #: the same of hashes, once for each place where they were found
        self._hashes = ByText(self._revisions.__getitem__)
        #: what builds of an abbreviation have found, by that sourcestamp and by build
        self._whole: dict[int, dict[int, str]] = {}
        #: builds that may still find a revision, and their sourcestamps that are undecided
        self.searching: dict[int, tuple[Undecided, ...]] = {}
        #: what of them have found already, and its numbers
        self._so_far: dict[int, tuple[list[Found], list[int]]] = {}

    def add_late(self, late: Iterable[tuple[int, int]]) -> None:
        """Add when builds started that started late, and their buildsets."""
        self._late.add(late)

    def late_between(self, begin: int, end: int) -> Iterable[int]:
        """Return the buildsets of which a build started late, in a span of time."""
        return self._late.between(begin, end)

    def resolve(self, looked_at: Iterable[tuple[int, str | None, bool]]) -> set[str]:
        """Take in what builds have found; return the revisions of which there are other ones now.

        :param looked_at: builds, the JSON of the property, and whether they are over
        """
        new: list[tuple[str, int]] = []
        others: set[str] = set()
        for build_id, value, over in looked_at:
            undecided = self.searching.get(build_id, ())
            found = found_in(value, undecided)
            before, numbers = self._so_far.get(build_id, ([], []))
            if undecided and found != before:
                self._forget(build_id, before, numbers)
                others.update(revision for revision, _ in itertools.chain(before, found))
                numbers = self._note(build_id, found)
                new += zip((revision for revision, _ in found), numbers, strict=True)
                self._so_far[build_id] = found, numbers
            if over:
                self.searching.pop(build_id, None)
                self._so_far.pop(build_id, None)
        self._found.add(new)
        self._hashes.add(self._new_hashes(new))
        in_line: dict[int, list[Position]] = {}
        for _, number in new:
            if self._build_ids[number] not in self.patched:
                place = self._places[number]
                in_line.setdefault(place, []).append(self._position(number))
        for place, positions in in_line.items():
            self._line.add_found(place, positions)
        return others

    def _note(self, build_id: int, found: Iterable[Found]) -> list[int]:
        """Note what a build has *found*; return the numbers of that."""
        numbers = []
        for revision, undecided in found:
            numbers.append(len(self._revisions))
            self._revisions.extend((revision,))
            self._build_ids.append(build_id)
            self._places.append(undecided.place)
            self._keys.append(undecided.key)
            self._requests.append(undecided.request_id)
            if undecided.patched:
                self.patched.add(build_id)
            if undecided.begin:
                self._whole.setdefault(undecided.stamp_id, {})[build_id] = revision
        return numbers

    def _forget(self, build_id: int, before: Iterable[Found], numbers: Iterable[int]) -> None:
        for number in numbers:
            self._build_ids[number] = 0
        for _, undecided in before:
            self._whole.get(undecided.stamp_id, {}).pop(build_id, None)

    def _new_hashes(self, new: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        found = {
            (revision, self._places[number]): number
            for revision, number in new
            if is_hash(revision)
        }
        return [
            (revision, number)
            for (revision, place), number in found.items()
            if all(place != other for _, other in self._hashes_in_places(revision, True))
        ]

    def _hashes_in_places(self, begin: str, whole: bool) -> Iterator[tuple[str, int]]:
        for revision, number in self._hashes.starting(begin, whole):
            yield revision, self._places[number]

    def find(self, number: int) -> Find | None:
        """Return what a build has found, ``None`` for what it has said no more in the end."""
        build_id = self._build_ids[number]
        return Find(self._revisions[number], build_id, self._places[number]) if build_id else None

    def position(self, revision: str, build_ids: Collection[int]) -> Position | None:
        """Return where in the line it stands that the first of these has found *revision*."""
        numbers = list(self._found.of(revision))
        if is_hash(revision):
            numbers += [number for _, number in self._found.abbreviating(revision)]
        its = [self._position(one) for one in numbers if self._build_ids[one] in build_ids]
        return min(its, default=None)

    def _position(self, number: int) -> Position:
        return found_at(self._keys[number], self._requests[number], number)

    @property
    def has_abbreviations(self) -> bool:
        """Whether any build says only how a hash begins."""
        return self._found.has_abbreviations

    def named(self, revision: str) -> list[Find]:
        """Return the builds that have found just this *revision*."""
        return self._as_finds((revision, number) for number in self._found.of(revision))

    def abbreviating(self, whole: str) -> list[Find]:
        """Return the builds that have found an abbreviation which the hash *whole* begins with."""
        return self._as_finds(self._found.abbreviating(whole))

    def beginning(self, digits: str) -> list[Find]:
        """Return the builds that have found a hash which begins with *digits*."""
        return self._as_finds(self._found.hashes(digits))

    def _as_finds(self, found: Iterable[tuple[str, int]]) -> list[Find]:
        return [
            Find(revision, self._build_ids[number], self._places[number])
            for revision, number in found
            if self._build_ids[number]
        ]

    def hashes(self, begin: str) -> Iterator[tuple[str, int]]:
        """Yield the hashes that begin with the digits *begin*, with numbers of their places."""
        return self._hashes_in_places(begin.lower(), False)

    def found_for(self, stamp_id: int) -> Mapping[int, str]:
        """Return what the builds of an abbreviation have found, by build."""
        return self._whole.get(stamp_id, {})


def found_in(value: str | None, undecided: Iterable[Undecided]) -> list[Found]:
    """Return the revisions in the JSON *value* of a build, and what they were found for.

    Where digits were named, only a hash that begins with them counts: a tag may look like digits.
    """
    if value is None:
        return []
    found = ((one_spelling(got_revision(value, one.codebase)), one) for one in undecided)
    return [
        (revision, one)
        for revision, one in found
        if revision and (not one.begin or begins(one.begin, revision))
    ]


def got_revision(value: str | None, codebase: str) -> str | None:
    """Return the revision in the JSON *value* of a ``got_revision`` property.

    It is a text, or an object with a text for each codebase (buildbot/steps/source/base.py).
    """
    got: Any = value_in(value) if value and value[0] in '"{' else None
    if isinstance(got, dict):
        got = got.get(codebase)
    return got if isinstance(got, str) else None
