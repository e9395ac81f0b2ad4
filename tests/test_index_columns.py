"""The columns of the index hold what plain lists would."""

from __future__ import annotations

import random
from collections.abc import Iterator
from collections.abc import Sequence

import pytest

from buildbot_selfserve.history.index.columns import FEW
from buildbot_selfserve.history.index.columns import ByText
from buildbot_selfserve.history.index.columns import Ids
from buildbot_selfserve.history.index.columns import Pairs
from buildbot_selfserve.history.index.columns import Texts
from buildbot_selfserve.history.index.push_order import Line
from buildbot_selfserve.history.index.records import Record
from buildbot_selfserve.history.index.records import several
from buildbot_selfserve.history.index.records import together


def texts() -> list[str]:
    rng = random.Random(5)
    return [
        *("".join(rng.choices("ab0ä\0\U0001f600é", k=rng.randrange(13))) for _ in range(500)),
        *(f"the same beginning {number % 37}" for number in range(90)),
        *(f"{rng.getrandbits(160):040x}" for _ in range(1200)),
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


@pytest.mark.parametrize(("below", "long"), [(2**31, False), (2**31, True), (2**33, True)])
def test_pairs_are_sorted_and_each_there_once(below: int, long: bool) -> None:
    rng = random.Random(6)
    pairs, expected = Pairs(long=long), set[tuple[int, int]]()
    for _ in range(40):
        keys = [rng.randrange(below) for _ in range(rng.choice((1, 3, 150)))]
        new = [(key, rng.choice((rng.randrange(9), 2**31 - 1))) for key in keys]
        new += rng.sample(sorted(expected), min(2, len(expected)))
        pairs.add(new)
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
        column = range(len(known))
        assert ids.beside(range(-2, 235), column) == expected
        assert ids.beside(known, column) == list(column)
    ids.cut(ids.before(200))
    assert ids.beside(range(195, 235), range(30)) == [*[None] * 5, *range(30), *[None] * 5]
    assert ids.beside(range(200, 230), range(30)) == list(range(30))


@pytest.mark.parametrize("values", [range(1, 301), range(300, 0, -1)])
def test_many_pairs_stay_in_order(values: Sequence[int]) -> None:
    pairs = Pairs()
    keys = [number // 7 for number in range(300)]
    for begin in range(0, 300, 150):
        pairs.extend(keys[begin : begin + 150], values[begin : begin + 150])
    assert pairs.items_between(0, 100) == sorted(zip(keys, values, strict=True))


@pytest.mark.parametrize("order", ["in order", "a change twice", "shuffled"])
def test_many_changes_take_the_positions_that_each_would(order: str) -> None:
    rng = random.Random(8)
    changes = list(range(1, 61))
    stamps = list(range(101, 161))
    if order == "a change twice":
        stamps[30] = stamps[29]
    if order == "shuffled":
        rng.shuffle(stamps)
    places = [rng.randrange(3) for _ in changes]
    every = list(zip(changes, stamps, places, strict=True))
    together, single = Line(), Line()
    for begin in range(0, 60, 20):
        columns = (its[begin : begin + 20] for its in (changes, stamps, places))
        if not together.extend(*columns):
            together.add_changes(every[begin : begin + 20])
        single.add_changes(every[begin : begin + 20])
    # one comes late, and moves those that came after it
    assert together.add_changes([(35, 170, 1)])
    assert single.add_changes([(35, 170, 1)])
    assert together.newest_changed == single.newest_changed
    for stamp_id in (*stamps, 170):
        assert together.position(stamp_id) == single.position(stamp_id)


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
