"""Keeps the builds that started late, and the revisions that builds found."""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from buildbot_selfserve.history.index.branch_names import can_be_named
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
from buildbot_selfserve.model import trimmed

#: A build is late if it starts this many seconds after its request was submitted. Late builds are
#: stored, so that a day's builds are found without searching all earlier requests. So are those
#: that start before the request, because a clock was set back.
LATE = 3600


class Undecided(NamedTuple):
    """A sourcestamp without a full revision: each of its builds finds one.

    :param place: the number of the sourcestamp's place (see ``Stamps``)
    :param begin: the first digits of a hash that it names; empty if it names no revision
    :param key: the id of the newest sourcestamp when the build was requested
    :param request_id: the build's request
    :param patched: the build has a patch on top, and so does not count for a revision
    """

    stamp_id: int
    place: int
    codebase: str
    begin: str
    key: int
    request_id: int
    patched: bool


#: A revision, and the sourcestamp for which a build found it.
Found = tuple[str, Undecided]


class Builds:
    """The builds that started late, and the builds that found their revision themselves."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._late = Pairs(long=True)
        #: columns with a row for each find: revision, build id (0 if the build reported another
        #: revision later), number of the place, and key and request id for its position
        self._revisions = Texts()
        self._build_ids = array("i")
        self._places = array("i")
        self._keys = array("i")
        self._requests = array("i")
        #: rows by revision
        self._found = Revisions(self._revisions.__getitem__)
        #: the ids of builds with a patch
        self.patched: set[int] = set()
        #: rows by hash, one for each hash and place
        self._hashes = ByText(self._revisions.__getitem__)
        #: the hashes that builds of an abbreviation found, by sourcestamp id and build id
        self._whole: dict[int, dict[int, str]] = {}
        #: builds that may still find a revision, with their undecided sourcestamps
        self.searching: dict[int, tuple[Undecided, ...]] = {}
        #: what these builds have found so far, with the rows of the finds
        self._so_far: dict[int, tuple[list[Found], list[int]]] = {}

    def add_late(self, late: Iterable[tuple[int, int]]) -> None:
        """Add late builds.

        :param late: start of the build in epoch seconds, and its buildset
        """
        self._late.add(late)

    def late_between(self, begin: int, end: int) -> Iterable[int]:
        """Return the buildsets of late builds that started from *begin* to before *end*."""
        return self._late.between(begin, end)

    def resolve(self, looked_at: Iterable[tuple[int, str | None, bool]]) -> set[str]:
        """Update what builds have found; return the revisions whose builds changed.

        :param looked_at: build id, JSON of the property ``got_revision``, and whether the build is
            complete
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
        """Add rows for what a build has *found*; return the numbers of the rows."""
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
        """Return the find of a row, ``None`` if its build reported another revision later."""
        build_id = self._build_ids[number]
        return Find(self._revisions[number], build_id, self._places[number]) if build_id else None

    def position(self, revision: str, build_ids: Collection[int]) -> Position | None:
        """Return the earliest position at which one of these builds found *revision*."""
        numbers = list(self._found.of(revision))
        if is_hash(revision):
            numbers += [number for _, number in self._found.abbreviating(revision)]
        its = [self._position(one) for one in numbers if self._build_ids[one] in build_ids]
        return min(its, default=None)

    def _position(self, number: int) -> Position:
        return found_at(self._keys[number], self._requests[number], number)

    @property
    def has_abbreviations(self) -> bool:
        """Return whether any build found only an abbreviation of a hash."""
        return self._found.has_abbreviations

    def named(self, revision: str) -> list[Find]:
        """Return the builds that found exactly *revision*."""
        return self._as_finds((revision, number) for number in self._found.of(revision))

    def abbreviating(self, whole: str) -> list[Find]:
        """Return the builds that found an abbreviation of the hash *whole*."""
        return self._as_finds(self._found.abbreviating(whole))

    def beginning(self, digits: str) -> list[Find]:
        """Return the builds that found a hash beginning with *digits*."""
        return self._as_finds(self._found.hashes(digits))

    def _as_finds(self, found: Iterable[tuple[str, int]]) -> list[Find]:
        return [
            Find(revision, self._build_ids[number], self._places[number])
            for revision, number in found
            if self._build_ids[number]
        ]

    def hashes(self, begin: str) -> Iterator[tuple[str, int]]:
        """Yield the hashes that begin with the digits *begin*, with the numbers of their places."""
        return self._hashes_in_places(begin.lower(), False)

    def found_for(self, stamp_id: int) -> Mapping[int, str]:
        """Return the hashes that builds of an abbreviated sourcestamp found, by build id."""
        return self._whole.get(stamp_id, {})


def found_in(value: str | None, undecided: Iterable[Undecided]) -> list[Found]:
    """Return the revisions in a build's ``got_revision``, each with its undecided sourcestamp.

    If the sourcestamp names digits, only a hash that begins with them counts: the digits may be a
    tag.
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
    """Return a codebase's revision from the JSON *value* of a ``got_revision`` property.

    The value is a string, or an object with a string for each codebase
    (buildbot/steps/source/base.py). A text that no request can name is no revision.
    """
    got: Any = value_in(value) if value and value[0] in '"{' else None
    if isinstance(got, dict):
        got = got.get(codebase)
    text = trimmed(got) if isinstance(got, str) else ""
    return text if text and can_be_named(text) else None
