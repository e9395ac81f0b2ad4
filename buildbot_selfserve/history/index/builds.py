"""What must be known of builds to find them: those that came late, and what they were built of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from typing import NamedTuple

from buildbot_selfserve.history.index.columns import Pairs
from buildbot_selfserve.history.index.columns import Texts
from buildbot_selfserve.history.index.stamps import Find
from buildbot_selfserve.history.stored import value_in

#: A build that starts so many seconds after it was asked for is late: it is remembered, so that a
#: day need not be looked for among all that was asked for before it.
LATE = 3600


class Nameless(NamedTuple):
    """A sourcestamp that names no revision: the number of its place, and its codebase."""

    place: int
    codebase: str


class Builds:
    """Builds that started late, and builds whose sourcestamps name no revision."""

    def __init__(self) -> None:
        self._late = Pairs()
        self._found = Texts()
        #: what the numbers under the texts are: builds, and the numbers of places
        self._finds: list[tuple[int, int]] = []
        #: builds that may still find a revision, and their sourcestamps that name none
        self.searching: dict[int, tuple[Nameless, ...]] = {}

    def add_late(self, late: Iterable[tuple[int, int]]) -> None:
        """Add when builds started that started late, and their buildsets."""
        self._late.add(late)

    def late_between(self, begin: int, end: int) -> Iterable[int]:
        """Return the buildsets of which a build started late, in a span of time."""
        return self._late.between(begin, end)

    def settle(self, over: Iterable[tuple[int, str | None]]) -> None:
        """Take in what builds have found that are over, as the JSON of the property."""
        texts: list[tuple[str, int]] = []
        for build_id, value in over:
            for revision, place in found_in(value, self.searching.pop(build_id, ())):
                texts.append((revision, len(self._finds)))
                self._finds.append((build_id, place))
        self._found.add(texts)

    def found(self, text: str, whole: bool) -> list[Find]:
        """Return the builds that have found a revision which begins with *text*."""
        return [
            Find(revision, *self._finds[number])
            for revision, number in self._found.starting(text, whole)
        ]


def found_in(value: str | None, nameless: Iterable[Nameless]) -> list[tuple[str, int]]:
    """Return the revisions in the JSON *value* of a build, and where they were found."""
    found = ((got_revision(value, one.codebase), one.place) for one in nameless)
    return [(revision, place) for revision, place in found if revision]


def got_revision(value: str | None, codebase: str) -> str | None:
    """Return the revision in the JSON *value* of a ``got_revision`` property.

    It is a text, or an object with a text for each codebase (buildbot/steps/source/base.py).
    """
    got: Any = value_in(value) if value and value[0] in '"{' else None
    if isinstance(got, dict):
        got = got.get(codebase)
    return got if isinstance(got, str) else None
