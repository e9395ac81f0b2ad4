"""Decides what a bisection does next: a pure function of what is known of each revision.

It looks for the newest place in a line of revisions where a builder stopped passing. Nothing is
remembered between two decisions: what was decided before shows in what is known and what is open.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from typing import Literal

BisectionEnd = Literal["found", "flaky", "range_only", "insufficient_data", "cancelled", "failed"]

#: A revision is tried so often without a result, then another one is.
MOST_TRIES = 3
#: So many revisions whose own rebuild contradicted what was known before, and no more is built.
MOST_FLAKY = 3
#: From so many confirmations on, the user wants to be sure.
SURE = 2
#: Of what is left, the share that something others have open must leave at most to be waited for.
WORTH_WAITING = 2 / 3


@dataclass(frozen=True)
class Evidence:
    """What is known of one revision.

    :param passes: builds that passed; *failures*: that failed
    :param own: of those two, builds that the bisection requested
    :param voids: tries of others without a result, such as EXCEPTION
    :param own_voids: tries of the bisection itself, CANCELLED among them
    :param open: requests of others that wait or run; *own_open*: of the bisection itself
    """

    passes: int = 0
    failures: int = 0
    own: int = 0
    voids: int = 0
    own_voids: int = 0
    open: int = 0
    own_open: int = 0

    @property
    def passed(self) -> bool:
        """Whether it always passed."""
        return self.passes > 0 and not self.failures

    @property
    def failed(self) -> bool:
        """Whether it always failed."""
        return self.failures > 0 and not self.passes

    @property
    def flaky(self) -> bool:
        """Whether it has both passed and failed, and so says nothing."""
        return self.passes > 0 and self.failures > 0

    @property
    def exhausted(self) -> bool:
        """Whether it was tried often enough.

        What others have tried counts, but it is tried at least once: that may be long ago.
        """
        return min(self.voids, MOST_TRIES - 1) + self.own_voids >= MOST_TRIES

    @property
    def is_open(self) -> bool:
        """Whether a result may come without another request."""
        return bool(self.open or self.own_open)


@dataclass(frozen=True)
class Decision:
    """What a bisection does next. Numbers count the revisions of the line, from the good one on.

    :param end: how it ends; ``None`` while it goes on
    :param low: the newest revision that passed; *high*: the first one after it that failed
    :param request: the revisions to request a build of
    :param drop: the revisions at which its own requests are of no use any more
    :param left_steps: builds that are still needed at most, if all goes well
    :param why: of an end, in words
    """

    low: int
    high: int
    end: BisectionEnd | None = None
    request: tuple[int, ...] = ()
    drop: tuple[int, ...] = ()
    left_steps: int = 0
    why: str = ""

    @property
    def culprit(self) -> int | None:
        """Return the revision that broke it, if that is known."""
        return self.high if self.end == "found" else None


def decide(line: Sequence[Evidence], confirm: int = 1, concurrency: int = 2) -> Decision:
    """Return what to do next.

    The search has one request of its own open at a time: a second one would be for nothing half
    of the time. The two edges are confirmed at the same time.

    If each build says the opposite with a chance of p, a search of s steps ends at a wrong edge
    about s * p times, and names it if all confirmations flake, too: s * p ** (1 + confirm) in all.
    Only more builds of the edges can tell. So from :data:`SURE` confirmations on, these are built
    once more.

    :param line: what is known of each revision, from the good one to the bad one
    :param confirm: so many more builds of both edges, at least, must say the same before the end
    :param concurrency: so many of its own requests may wait or run
    """
    line = [_believed(one, confirm) for one in line]
    low, high = edges(line)
    contradiction = _contradiction(line, low, high)
    if contradiction is not None:
        return contradiction
    between = range(low + 1, high)
    left = [i for i in between if not line[i].flaky and not line[i].exhausted]
    if left:
        return _search(line, low, high, left, confirm, concurrency)
    if any(line[i].flaky for i in range(low, high + 1)):
        return Decision(low, high, "flaky", why=_FLAKY)
    return _confirm(line, low, high, confirm, concurrency)


_FLAKY = "a revision both passes and fails, so that it tells nothing"


def _believed(one: Evidence, confirm: int) -> Evidence:
    """Return what to believe of a revision that was built more often than was asked for.

    Where as many results as were asked for agree, a single one that does not is taken for a flake:
    it takes one of them away.
    """
    fewer, more = sorted((one.passes, one.failures))
    if confirm < SURE or fewer != 1 or more <= confirm:
        return one
    return replace(one, passes=one.passes - 1, failures=one.failures - 1)


def edges(line: Sequence[Evidence]) -> tuple[int, int]:
    """Return the newest revision that passed and the first one after it that failed.

    The first and the last one were named, so they count as such without a result.
    """
    last = len(line) - 1
    low = next((i for i in range(last - 1, 0, -1) if line[i].passed), 0)
    high = next((i for i in range(low + 1, last) if line[i].failed), last)
    return low, high


def _contradiction(line: Sequence[Evidence], low: int, high: int) -> Decision | None:
    """Return the end, where the revisions that were named are not what they were said to be."""
    if low == 0 and line[0].failed:
        return Decision(low, high, "insufficient_data", why="the good revision fails, too")
    if high == len(line) - 1 and line[high].passed:
        return Decision(low, high, "insufficient_data", why="the bad revision passes")
    if sum(one.flaky and one.own > 0 for one in line) >= MOST_FLAKY:
        return Decision(low, high, "flaky", why=_FLAKY)
    return None


def _search(
    line: Sequence[Evidence],
    low: int,
    high: int,
    left: Sequence[int],
    confirm: int,
    concurrency: int,
) -> Decision:
    """Return the next revision to try, or wait for what is open.

    :param left: those between the edges that can still tell something
    """
    drop = tuple(i for i, one in enumerate(line) if one.own_open and i not in left)
    steps = math.ceil(math.log2(len(left) + 1)) + 2 * confirm + _more(len(line) - 2, confirm)
    waits = Decision(low, high, drop=drop, left_steps=steps)
    open_ones = [i for i in left if line[i].is_open]
    gap = max(_gaps(left, open_ones), key=len)
    busy = sum(one.own_open for one in line)
    if any(line[i].own_open for i in left) or busy >= concurrency or not gap:
        return waits
    if open_ones and len(gap) <= len(left) * WORTH_WAITING:
        return waits
    return Decision(low, high, None, (gap[len(gap) // 2],), drop, steps)


def _gaps(left: Sequence[int], dividers: Sequence[int]) -> list[list[int]]:
    """Return *left* in the parts into which *dividers* divide them."""
    gaps: list[list[int]] = [[]]
    for i in left:
        if i in dividers:
            gaps.append([])
        else:
            gaps[-1].append(i)
    return gaps


def _more(size: int, confirm: int) -> int:
    """Return how many of the edges of *size* candidates are built more often than was asked for.

    The search takes ``ceil(log2(size + 1))`` builds, and ``ceil(log2(size)) + 2`` are promised.
    """
    is_power_of_two = size > 0 and not size & (size - 1)
    return 0 if confirm < SURE else 1 if is_power_of_two else 2


def _wanted(line: Sequence[Evidence], low: int, high: int, confirm: int) -> dict[int, int]:
    """Return how many results each edge must have."""
    older = next((i for i in range(low - 1, 0, -1) if line[i].passed), 0)
    newer = next((i for i in range(high + 1, len(line) - 1) if line[i].failed), len(line) - 1)
    # the edge first that more depends on: if it is wrong, the culprit is somewhere before, or after
    ordered = (low, high) if low - older >= newer - high else (high, low)
    more = [i for i in ordered[: _more(len(line) - 2, confirm)] if line[i].own_voids < MOST_TRIES]
    return {i: 1 + confirm + (i in more) for i in ordered}


def _confirm(
    line: Sequence[Evidence], low: int, high: int, confirm: int, concurrency: int
) -> Decision:
    """Return which edge to build again, or the end when both have held."""
    wanted = _wanted(line, low, high, confirm)
    missing = {
        low: max(0, wanted[low] - line[low].passes),
        high: max(0, wanted[high] - line[high].failures),
    }
    lacking = [i for i in (low, high) if missing[i]]
    drop = tuple(i for i, one in enumerate(line) if one.own_open and i not in lacking)
    if not lacking:
        if high == low + 1:
            return Decision(low, high, "found", drop=drop)
        return Decision(low, high, "range_only", drop=drop, why="what lies between cannot be built")
    given_up = [i for i in lacking if line[i].own_voids >= MOST_TRIES]
    if given_up:
        which = "last good" if given_up[0] == low else "first bad"
        why = f"the {which} revision cannot be built again"
        return Decision(low, high, "insufficient_data", why=why)
    free = max(0, concurrency - sum(one.own_open for one in line))
    request = tuple(i for i in lacking if not line[i].is_open)[:free]
    return Decision(low, high, None, request, drop, sum(missing.values()))
