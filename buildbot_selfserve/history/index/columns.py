"""Sorted columns: little memory for many rows, and quick to look up.

A row of Python objects takes ten times the memory of its numbers in arrays. What is added comes
nearly always at the end, where an insertion costs nothing.
"""

from __future__ import annotations

import bisect
from array import array
from collections.abc import Iterable
from collections.abc import Iterator
from itertools import groupby

#: More new rows than this are sorted in, fewer are inserted one by one.
FEW = 100


class Pairs:
    """Numbers under numbers, sorted by both; the same pair is kept once."""

    def __init__(self) -> None:
        self._keys = array("q")
        self._values = array("q")

    def __len__(self) -> int:
        return len(self._keys)

    def add(self, pairs: Iterable[tuple[int, int]]) -> None:
        """Add pairs of a key and a value."""
        new = list(pairs)
        if len(new) > FEW:
            new += zip(self._keys, self._values, strict=True)
            new.sort()
            new = [pair for pair, _ in groupby(new)]
            self._keys = array("q", [key for key, _ in new])
            self._values = array("q", [value for _, value in new])
            return
        for key, value in new:
            low, high = self._span(key, key + 1)
            where = bisect.bisect_left(self._values, value, low, high)
            if where == high or self._values[where] != value:
                self._keys.insert(where, key)
                self._values.insert(where, value)

    def between(self, low: int, high: int) -> array[int]:
        """Return the values of the keys from *low* on, and below *high*."""
        begin, end = self._span(low, high)
        return self._values[begin:end]

    def items_between(self, low: int, high: int) -> list[tuple[int, int]]:
        """Return the keys from *low* on, and below *high*, with their values."""
        begin, end = self._span(low, high)
        return list(zip(self._keys[begin:end], self._values[begin:end], strict=True))

    def newest(self, count: int) -> list[tuple[int, int]]:
        """Return the *count* highest keys with their values."""
        return list(zip(self._keys[-count:], self._values[-count:], strict=True))

    def descending(self, below: int | None) -> Iterator[tuple[int, int]]:
        """Yield the keys *below* that one, or all, with their values, the highest first."""
        end = len(self._keys) if below is None else bisect.bisect_left(self._keys, below)
        for where in range(end - 1, -1, -1):
            yield self._keys[where], self._values[where]

    def of(self, key: int) -> array[int]:
        """Return the values of *key*."""
        return self.between(key, key + 1)

    def _span(self, low: int, high: int) -> tuple[int, int]:
        begin = bisect.bisect_left(self._keys, low)
        return begin, bisect.bisect_left(self._keys, high, begin)


class Ids:
    """Sorted ids, each with a place at which its row is in columns beside this one."""

    def __init__(self) -> None:
        self._ids = array("q")

    def __len__(self) -> int:
        return len(self._ids)

    def where(self, one: int) -> int | None:
        """Return the place of an id, ``None`` if it is not there."""
        if not self._ids or one > self._ids[-1]:
            return None
        where = bisect.bisect_left(self._ids, one)
        return where if where < len(self._ids) and self._ids[where] == one else None

    def at(self, where: int) -> int:
        """Return the id at a place."""
        return self._ids[where]

    def insert(self, one: int) -> int:
        """Add an id that is not there; return its place, to which its row is to be inserted."""
        if not self._ids or one > self._ids[-1]:
            self._ids.append(one)
            return len(self._ids) - 1
        where = bisect.bisect_left(self._ids, one)
        self._ids.insert(where, one)
        return where

    def before(self, one: int | None) -> int:
        """Return how many ids are below *one*; ``None``: all."""
        return len(self._ids) if one is None else bisect.bisect_left(self._ids, one)

    def cut(self, count: int) -> None:
        """Forget the first *count* ids."""
        del self._ids[:count]


class Texts:
    """Numbers under texts, found by the beginning of their text."""

    def __init__(self) -> None:
        self._texts: list[str] = []
        self._values = array("q")

    def add(self, new: Iterable[tuple[str, int]]) -> None:
        """Add numbers under their texts."""
        added = list(new)
        if len(added) > FEW:
            added += zip(self._texts, self._values, strict=True)
            added.sort()
            self._texts = [text for text, _ in added]
            self._values = array("q", [value for _, value in added])
            return
        for text, value in added:
            where = bisect.bisect_right(self._texts, text)
            self._texts.insert(where, text)
            self._values.insert(where, value)

    def starting(self, text: str, whole: bool) -> Iterator[tuple[str, int]]:
        """Yield the texts that begin with *text*, or just those that are *text*; their numbers."""
        for where in range(bisect.bisect_left(self._texts, text), len(self._texts)):
            found = self._texts[where]
            if not (found == text if whole else found.startswith(text)):
                return
            yield found, self._values[where]
