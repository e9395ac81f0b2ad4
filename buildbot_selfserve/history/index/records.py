"""Merges the records of a query that belong to the same row, and numbers what repeats in them."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Hashable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from itertools import groupby
from operator import itemgetter
from typing import Any
from typing import TypeVar

#: A value that a row has once, several times or not at all.
Several = str | tuple[str, ...] | None

Record = tuple[Any, ...]
Value = TypeVar("Value", bound=Hashable)

_id = itemgetter(0)


def numbers_of(
    values: Iterable[Value], known: Mapping[Value, int], add: Callable[[Value], int]
) -> list[int]:
    """Return the number of each of *values*.

    :param known: the numbers that were given before, by value; nearly always, all are there
    :param add: gives a new value a number, adds it to *known*, and returns it
    """
    every = list(values)
    return [
        # it may be there twice
        number if number is not None else known[one] if one in known else add(one)
        for one, number in zip(every, map(known.get, every), strict=True)
    ]


def several(value: Several) -> tuple[str, ...]:
    """Return the values of a ``Several`` as a tuple."""
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def together(parts: Iterable[list[Record]]) -> Iterator[list[Record]]:
    """Yield one record for each id, with a ``Several`` as last column.

    :param parts: records ordered by the id in their first column; records of one row differ in the
        last column
    """
    held: list[Record] = []
    for part in parts:
        records = held + part
        # the next part may have more records of the last id
        begin = len(records) - 1
        while begin and records[begin - 1][0] == records[-1][0]:
            begin -= 1
        held = records[begin:]
        yield one_for_each(records[:begin])
    yield one_for_each(held)


def one_for_each(records: list[Record]) -> list[Record]:
    """Return one record for each id, as ``together`` does."""
    if len(set(map(_id, records))) == len(records):
        return records
    found: list[Record] = []
    for _, same in groupby(records, _id):
        first, *others = same
        if others:
            values = (one[-1] for one in (first, *others))
            first = (*first[:-1], tuple(one for one in values if one is not None))
        found.append(first)
    return found
