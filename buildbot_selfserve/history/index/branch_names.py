"""Keeps the names of branches, with the time of the latest activity on each."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from itertools import islice
from operator import le

from buildbot_selfserve.history.index.columns import ascend
from buildbot_selfserve.params.texts import is_plain

#: The largest number of characters of a branch or a revision in a request.
LONGEST = 256


def can_be_named(name: str) -> bool:
    """Return whether *name*, of a branch or a revision, can be given in a request."""
    return len(name) <= LONGEST and is_plain(name)


class BranchNames:
    """The branches, ordered by the time of their latest revision or buildset.

    They are kept in this order because pages show the newest of possibly thousands. Names that
    cannot be given in a request are left out.
    """

    def __init__(self) -> None:
        self._moved: dict[str, int] = {}
        self._latest = 0
        self._in_order = True
        self._names: list[str] = []
        self._added: list[str] = []

    def __contains__(self, name: str) -> bool:
        return name in self._moved

    def __len__(self) -> int:
        return len(self._moved)

    def move(self, name: str, when: int) -> None:
        """Note activity on a branch.

        :param when: epoch seconds
        """
        if name not in self._moved and not can_be_named(name):
            return
        before = self._moved.pop(name, None)
        if before is None:
            self._added.append(name)
        when = max(when, before or 0)
        self._moved[name] = when
        self._in_order = self._in_order and when >= self._latest
        self._latest = max(self._latest, when)

    def moved(self, name: str) -> int | None:
        """Return the time of a branch's latest activity in epoch seconds, ``None`` if unknown."""
        return self._moved.get(name)

    def newest(self, begin: int, end: int | None) -> list[tuple[str, int]]:
        """Return names and times from index *begin* to before *end*, newest first."""
        if not self._in_order:
            self._moved = dict(sorted(self._moved.items(), key=lambda one: one[1]))
            self._in_order = True
        return list(islice(reversed(self._moved.items()), begin, end))

    def near(self, text: str, count: int) -> Sequence[str]:
        """Return the *count* names nearest to *text* in alphabetical order."""
        if self._added:
            self._names = sorted([*self._names, *self._added])
            self._added = []
        return near(self._names, text, count)


def near(names: Sequence[str], text: str, count: int) -> Sequence[str]:
    """Return the *count* of the sorted *names* that are nearest to *text*."""
    begin = bisect.bisect(names, text) - count // 2
    begin = max(0, min(begin, len(names) - count))
    return names[begin : begin + count]


def latest(numbers: Sequence[int], times: Sequence[int]) -> dict[int, int]:
    """Return the latest of the *times* of each number, which stand beside each other."""
    if ascend(times, le):
        return dict(zip(numbers, times, strict=True))  # of one number, the last one stays
    found: dict[int, int] = {}
    for number, when in zip(numbers, times, strict=True):
        if when > found.get(number, -1):
            found[number] = when
    return found
