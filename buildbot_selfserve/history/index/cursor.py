"""Follows new rows of a table by their ids, which become visible out of order."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple
from typing import TypeVar

Record = TypeVar("Record", bound=tuple[Any, ...])

#: Seconds to wait for a skipped id. PostgreSQL and MariaDB assign an id when a row is written and
#: show the row when it is committed, so a lower id can appear after a higher one: its writer began
#: before the higher id was seen.
PATIENCE = 600.0
#: The largest number of skipped ids to wait for: a sequence may jump.
MOST_GAPS = 1000
#: The number of leading columns that tell a row from another row that reuses its id.
MARK = 3


class Wanted(NamedTuple):
    """The rows of a table to read.

    :param since: those with this id or a higher one
    :param also: ids of others
    """

    since: int
    also: Sequence[int] = ()


class Replaced(Exception):
    """Raised if the database was replaced, or its newest rows are gone."""


class Cursor:
    """How far one table has been read.

    :param clock: returns monotonic seconds
    :param rising: ids become visible in ascending order, as in a database with one writer at a time
    """

    def __init__(self, clock: Callable[[], float], rising: bool) -> None:
        self.last = 0
        #: ids below *last* that have not been seen, with the time since which they are awaited
        self.gaps: dict[int, float] = {}
        self._clock = clock
        self._rising = rising
        self._newest: tuple[Any, ...] | None = None

    def moved(self, before: int, newest: int | None) -> bool:
        """Return whether the table may have rows that were not taken.

        :param before: how far the table was read when *newest* was queried; another thread may have
            taken more rows since
        :param newest: the highest id in the table, ``None`` if the table is empty
        :raises Replaced: rows that were taken are gone
        """
        newest = newest or 0
        if newest < before:
            raise Replaced
        return newest > self.last or self._is_waiting()

    def wanted(self) -> Wanted:
        """Return the rows not taken yet, and the newest row taken."""
        return Wanted(self.last, list(self.gaps))

    def take(self, records: Iterable[Record]) -> list[Record]:
        """Return the new ones of *records*, ordered by id.

        Records that were taken before are left out.

        :param records: tuples with the id in the first column
        :raises Replaced: the newest row that was taken has changed
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
        """Start after *records*, which are ordered by id; older records may be missing."""
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
    """Return the columns that identify a row even if its id is reused."""
    return tuple(record[:MARK])


def _id(record: tuple[Any, ...]) -> int:
    one: int = record[0]
    return one
