"""Says in which order to build the revisions of a range, so that it is narrowed down fastest."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from itertools import pairwise


def in_halving_order(length: int, dividers: Iterable[int], wanted: Collection[int]) -> list[int]:
    """Return what is *wanted* of a range in the order in which to build it.

    The middle of the largest gap comes first, and then divides that gap. What has enough already
    divides it, too, whether its results are there or still to come; and what is wanted once more
    comes when nothing else is left. Of equal gaps, the newest comes first.

    :param length: how many revisions lie between the two ends; they are numbered from 0, the oldest
    :param dividers: those that are known, or about to be
    :param wanted: those to build
    """
    known = set(dividers)
    fresh = set(wanted) - known
    order: list[int] = []
    while fresh:
        order.append(_next(length, known, fresh))
        known.add(order[-1])
        fresh.discard(order[-1])
    again = set(wanted) - set(order)
    return [*order, *in_halving_order(length, (), again)] if again else order


def _next(length: int, known: Iterable[int], fresh: Collection[int]) -> int:
    """Return the one of *fresh* that is nearest to the middle of the largest gap with one."""
    ends = [-1, *sorted(known), length]
    gaps = [(end - begin, begin, end) for begin, end in pairwise(ends)]
    for _, begin, end in sorted(gaps, reverse=True):
        there = [one for one in fresh if begin < one < end]
        if there:
            # twice its number, beside twice the middle: of two that are as near, the newer
            return min(there, key=lambda one: (abs(2 * one - begin - end), -one))
    raise ValueError("nothing is left")
