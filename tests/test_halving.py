"""In which order the revisions of a range are built: what narrows it down fastest comes first."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies

from buildbot_selfserve.model import in_halving_order


def largest_gap(length: int, known: set[int]) -> int:
    """Return how many revisions lie at most between two that are known, or the ends."""
    ends = [-1, *sorted(known), length]
    return max(after - before - 1 for before, after in itertools.pairwise(ends))


def test_the_middle_of_the_largest_gap_comes_first() -> None:
    assert in_halving_order(7, (), range(7)) == [3, 5, 1, 6, 4, 2, 0]
    assert in_halving_order(1, (), [0]) == [0]
    assert in_halving_order(2, (), range(2)) == [1, 0]
    assert in_halving_order(0, (), ()) == []


def test_what_is_known_divides() -> None:
    # 4 to 9 is the largest gap, and 7 the newer one of its two middles
    assert in_halving_order(10, {3}, {0, 1, 2, *range(4, 10)})[:2] == [7, 5]


def test_the_nearest_to_the_middle_where_that_is_not_wanted() -> None:
    assert in_halving_order(9, (), {0, 8}) == [8, 0]
    assert in_halving_order(9, (), {1, 3}) == [3, 1]


def test_what_is_known_already_comes_last() -> None:
    # each has a result before any has two
    assert in_halving_order(3, {1}, {0, 1, 2}) == [2, 0, 1]


@strategies.composite
def ranges(draw: strategies.DrawFn) -> tuple[int, set[int], set[int]]:
    length = draw(strategies.integers(0, 40))
    some = strategies.sets(strategies.integers(0, max(0, length - 1)), max_size=length)
    return length, draw(some), draw(some)


@given(ranges())
def test_each_is_built_once_and_the_range_narrows(drawn: tuple[int, set[int], set[int]]) -> None:
    length, known, wanted = drawn
    order = in_halving_order(length, known, wanted)
    assert sorted(order) == sorted(wanted)
    fresh = [one for one in order if one not in known]
    assert order[: len(fresh)] == fresh


@given(strategies.integers(1, 100))
def test_the_largest_gap_halves(length: int) -> None:
    known: set[int] = set()
    order = in_halving_order(length, (), range(length))
    for steps in (1, 3, 7, 15, 31):
        known = set(order[:steps])
        assert largest_gap(length, known) <= length / (steps + 1)
