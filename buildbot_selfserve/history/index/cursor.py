"""Follows new rows of a table by their ids, which become visible out of order."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import TypeVar

import sqlalchemy as sa

Record = TypeVar("Record", bound=tuple[Any, ...])

#: Seconds for which an id that was skipped is waited for. PostgreSQL and MariaDB give out an id
#: when a row is written, and show the row when it is committed: a lower id can appear after a
#: higher one. The writer of the lower one has been writing since before the higher one was seen.
PATIENCE = 600.0
#: The most skipped ids that are waited for: a sequence may jump.
MOST_GAPS = 1000
#: The number of first columns that identify a row whose id was used again.
MARK = 3


class Replaced(Exception):
    """The database was replaced, or its newest rows have gone."""


class Cursor:
    """How far one table has been followed.

    :param clock: returns seconds that only grow
    :param rising: ids become visible in their order, as where one writes at a time
    """

    def __init__(self, clock: Callable[[], float], rising: bool) -> None:
        self.last = 0
        #: ids below *last* that have not been seen yet, and since when they are waited for
        self.gaps: dict[int, float] = {}
        self._clock = clock
        self._rising = rising
        self._newest: tuple[Any, ...] | None = None

    def moved(self, before: int, newest: int | None) -> bool:
        """Whether rows may be there that have not been taken.

        :param before: how far it was followed before *newest* was asked for; another thread may
            have taken more since
        :param newest: the highest id in the table, ``None`` when it is empty
        :raises Replaced: rows that were taken have gone
        """
        newest = newest or 0
        if newest < before:
            raise Replaced
        return newest > self.last or self._is_waiting()

    def condition(self, column: sa.ColumnElement[int]) -> sa.ColumnElement[bool]:
        """Return the condition on rows not yet taken, and on the newest row that was taken."""
        newer = column >= self.last
        return sa.or_(newer, column.in_(list(self.gaps))) if self.gaps else newer

    def take(self, records: Iterable[Record]) -> list[Record]:
        """Return those of *records* that are new, in the order of their ids.

        Records that were taken before may be among them, and are left out.

        :param records: their first columns are the ids
        :raises Replaced: the newest row that was taken is not the same any more
        """
        records = sorted(records, key=_id)
        new = [record for record in records if record[0] > self.last or record[0] in self.gaps]
        if new and new[-1][0] > self.last:
            known = [_mark(record) for record in records if record[0] == self.last]
            if self._newest is not None and known != [self._newest]:
                raise Replaced
            self._newest = _mark(new[-1])
        self._note(record[0] for record in new)
        return new

    def begin(self, records: Sequence[tuple[Any, ...]]) -> None:
        """Begin after *records*, which are in the order of their ids; older ones may be missing."""
        recent = [_id(record) for record in records[-2 * MOST_GAPS :]]
        if recent:
            self._newest = _mark(records[-1])
            self.last = recent[0] - 1 if recent[0] > MOST_GAPS else 0
            self._note(recent)

    def _note(self, ids: Iterable[int]) -> None:
        now = self._clock()
        for one in ids:
            if one <= self.last:
                del self.gaps[one]
                continue
            if not self._rising:
                skipped = range(max(self.last + 1, one - MOST_GAPS), one)
                self.gaps.update(dict.fromkeys(skipped, now))
            self.last = one
        for one in list(self.gaps)[:-MOST_GAPS]:
            del self.gaps[one]

    def _is_waiting(self) -> bool:
        overdue = self._clock() - PATIENCE
        while self.gaps:
            oldest = next(iter(self.gaps))
            if self.gaps[oldest] > overdue:
                return True
            del self.gaps[oldest]
        return False


def _mark(record: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return what identifies a row even if its id was used again."""
    return tuple(record[:MARK])


def _id(record: tuple[Any, ...]) -> int:
    one: int = record[0]
    return one
