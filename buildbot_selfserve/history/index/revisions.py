"""Finds ids by revision, and hashes by their first digits."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence

from buildbot_selfserve.history.index.columns import ByText
from buildbot_selfserve.model import is_abbreviation
from buildbot_selfserve.model import is_hash


class Revisions:
    """Numbers, found by revision, by the beginning of a hash, and by a hash that they abbreviate.

    Abbreviations of hashes are rare. They are kept apart from all other revisions, in lower case,
    so that finding the abbreviations of a hash takes one search for each length.

    :param revision_of: returns the revision of a number
    """

    def __init__(self, revision_of: Callable[[int], str]) -> None:
        self._revision_of = revision_of
        self._whole = ByText(revision_of)
        self._short = ByText(lambda number: revision_of(number).lower())
        self._lengths: set[int] = set()

    def add(self, new: Iterable[tuple[str, int]]) -> None:
        """Add pairs of a revision, in its one spelling, and its number."""
        whole: list[tuple[str, int]] = []
        short: list[tuple[str, int]] = []
        for revision, number in new:
            if not is_abbreviation(revision):
                whole.append((revision, number))
                continue
            small = revision.lower()
            self._lengths.add(len(small))
            short.append((small, number))
        self._whole.add(whole)
        self._short.add(short)

    def extend(self, hashes: Sequence[str], numbers: Sequence[int]) -> None:
        """Add many whole hashes, in their one spelling, with their numbers."""
        self._whole.extend(hashes, numbers)

    def sort(self) -> None:
        """Sort what was added; otherwise the next read does."""
        self._whole.sort()
        self._short.sort()

    @property
    def has_abbreviations(self) -> bool:
        """Return whether there are any abbreviations."""
        return bool(self._lengths)

    def of(self, revision: str) -> Iterator[int]:
        """Yield the numbers of exactly *revision*."""
        if not is_abbreviation(revision):
            for _, number in self._whole.starting(revision, True):
                yield number
            return
        for _, number in self._short.starting(revision.lower(), True):
            if self._revision_of(number) == revision:
                yield number

    def hashes(self, begin: str) -> Iterator[tuple[str, int]]:
        """Yield the hashes that begin with the digits *begin*, with their numbers."""
        for revision, number in self._whole.starting(begin.lower(), False):
            if is_hash(revision):
                yield revision, number

    def abbreviating(self, whole: str) -> Iterator[tuple[str, int]]:
        """Yield the abbreviations of the hash *whole*, with their numbers."""
        for length in self._lengths:
            if length < len(whole):
                yield from self._short.starting(whole[:length], True)
