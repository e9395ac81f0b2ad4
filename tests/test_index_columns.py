"""The columns of the index hold what plain lists would."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from buildbot_selfserve.history.index.columns import FEW
from buildbot_selfserve.history.index.columns import ByText
from buildbot_selfserve.history.index.columns import Ids
from buildbot_selfserve.history.index.columns import Pairs
from buildbot_selfserve.history.index.columns import Texts
from buildbot_selfserve.history.index.records import Record
from buildbot_selfserve.history.index.records import several
from buildbot_selfserve.history.index.records import together


def texts() -> list[str]:
    rng = random.Random(5)
    return [
        *("".join(rng.choices("ab0ä\0\U0001f600é", k=rng.randrange(13))) for _ in range(500)),
        *(f"the same beginning {number % 37}" for number in range(90)),
        *(f"{rng.getrandbits(160):040x}" for _ in range(40)),
        *(f"{rng.getrandbits(256):064x}" for _ in range(4)),
        *(letter * size for letter in ("x", "é", "0") for size in (125, 126, 127, 128, 5000)),
        *("ab" * 127, "ab" * 128, "AB" * 20, "ab cd", "abc", "12345678", "\ud800x"),
    ]


def test_texts_come_back_as_they_were() -> None:
    every = texts()
    column = Texts()
    column.extend(every[1:])
    column.insert(0, every[0])
    assert [column[where] for where in range(len(column))] == every


@pytest.mark.parametrize("at_once", [1, FEW + 1])
def test_texts_are_found_by_their_beginning(at_once: int) -> None:
    every = texts()
    column = Texts()
    column.extend(every)
    by_text = ByText(column.__getitem__)
    numbered = [(text, number) for number, text in enumerate(every)]
    for begin in range(0, len(numbered), at_once):
        by_text.add(numbered[begin : begin + at_once])
    numbered.sort()
    for sought in {one[:size] for one in every for size in (0, 2, 5, 8, 12, 5000)}:
        same = [one for one in numbered if one[0] == sought]
        assert list(by_text.starting(sought, True)) == same
        longer = [one for one in numbered if one[0].startswith(sought)]
        assert list(by_text.starting(sought, False)) == longer


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(("below", "long"), [(2**31, False), (2**31, True), (2**33, True)])
def test_pairs_are_sorted_and_each_there_once(below: int, long: bool, later: bool) -> None:
    rng = random.Random(6)
    pairs, expected = Pairs(long=long), set[tuple[int, int]]()
    for _ in range(40):
        keys = [rng.randrange(below) for _ in range(rng.choice((1, 3, 150)))]
        new = [(key, rng.choice((rng.randrange(9), 2**31 - 1))) for key in keys]
        new += rng.sample(sorted(expected), min(2, len(expected)))
        pairs.add(new, later)
        expected.update(new)
        if rng.random() < 0.5:
            assert len(pairs) == len(expected)
            assert pairs.items_between(0, 2**34) == sorted(expected)
            key, _ = new[0]
            assert list(pairs.of(key)) == sorted(value for one, value in expected if one == key)


def test_ids_are_found_with_and_without_gaps() -> None:
    rng = random.Random(7)
    ids, known = Ids(), list[int]()
    for one in [*rng.sample(range(1, 200), 150), *range(200, 230)]:
        ids.insert(one)
        known = sorted([*known, one])
        expected = [known.index(one) if one in known else None for one in range(-2, 235)]
        assert [ids.where(one) for one in range(-2, 235)] == expected
        assert list(ids.wheres(range(-2, 235))) == expected
    ids.cut(ids.before(200))
    assert list(ids.wheres(range(195, 235))) == [*[None] * 5, *range(30), *[None] * 5]


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_records_of_a_row_that_come_in_different_parts(size: int) -> None:
    records: list[Record] = [
        (1, "a", None),
        (2, "b", "x"),
        (3, "c", "y"),
        (3, "c", "z"),
        (4, "d", "x"),
    ]

    def parts() -> Iterator[list[Record]]:
        for begin in range(0, len(records), size):
            yield records[begin : begin + size]

    found = [(*one[:-1], several(one[-1])) for part in together(parts()) for one in part]
    assert found == [(1, "a", ()), (2, "b", ("x",)), (3, "c", ("y", "z")), (4, "d", ("x",))]
    assert [part for part in together([]) if part] == []
