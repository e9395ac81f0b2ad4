"""Measures how well bisections find culprits: ``python -m benchmarks.bisections``.

Simulates the bisections of a week: made-up ranges with a culprit anywhere in them, builds that
flake and builds that end without a result. The decisions are those of
``model/bisection_steps.py``; no master runs. Beside them stands plain bisection, which
believes each build.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace

from buildbot_selfserve.model.bisection_steps import Decision
from buildbot_selfserve.model.bisection_steps import Evidence
from buildbot_selfserve.model.bisection_steps import decide

#: No bisection takes so many decisions.
ENDLESS = 10_000


@dataclass
class Simulated:
    """A line of revisions with a culprit, and a builder that is not always right.

    :param size: candidates between the good revision and the bad one
    :param culprit: the number of the revision that broke it, from 1 to size + 1
    :param flakes: of builds with a result, the share that has the other one
    :param voids: of builds, the share that ends without a result
    :param unbuildable: revisions that never have a result
    :ivar line: what is known of each
    :ivar built: builds so far, the tries without a result among them
    """

    size: int
    culprit: int
    flakes: float = 0.0
    voids: float = 0.0
    unbuildable: Collection[int] = ()
    random: random.Random = field(default_factory=lambda: random.Random(0))
    line: list[Evidence] = field(default_factory=list)
    built: int = 0

    def __post_init__(self) -> None:
        unknown = [Evidence()] * self.size
        self.line = self.line or [Evidence(passes=1), *unknown, Evidence(failures=1)]

    def request(self, number: int) -> None:
        """Let a request of the bisection's own wait at a revision."""
        one = self.line[number]
        self.line[number] = replace(one, own_open=one.own_open + 1)

    def drop(self, number: int) -> None:
        """Cancel what the bisection has open at a revision."""
        one = self.line[number]
        self.line[number] = replace(one, own_voids=one.own_voids + one.own_open, own_open=0)

    def build(self, number: int) -> None:
        """Build what the bisection has open at a revision."""
        one = replace(self.line[number], own_open=self.line[number].own_open - 1)
        self.built += 1
        if number in self.unbuildable or self.random.random() < self.voids:
            self.line[number] = replace(one, own_voids=one.own_voids + 1)
        elif (number < self.culprit) != (self.random.random() < self.flakes):
            self.line[number] = replace(one, passes=one.passes + 1, own=one.own + 1)
        else:
            self.line[number] = replace(one, failures=one.failures + 1, own=one.own + 1)


def bisect(simulated: Simulated, confirm: int, concurrency: int = 2) -> Decision:
    """Bisect until the end; return the last decision.

    :raises AssertionError: there is none, or more is open at once than may be
    """
    for _ in range(ENDLESS):
        decision = decide(simulated.line, confirm, concurrency)
        if decision.end is not None:
            return decision
        for number in decision.drop:
            simulated.drop(number)
        for number in decision.request:
            simulated.request(number)
        waiting = [n for n, one in enumerate(simulated.line) for _ in range(one.own_open)]
        assert 0 < len(waiting) <= concurrency, decision
        simulated.build(simulated.random.choice(waiting))
    raise AssertionError("it never ends")


def plain(simulated: Simulated) -> int:
    """Bisect as ``git bisect run`` does, and believe each result; return the culprit.

    What has no result is built again until it has one.
    """
    low, high = 0, simulated.size + 1
    while high - low > 1:
        middle = (low + high) // 2
        before = simulated.line[middle]
        while not (simulated.line[middle].passes or simulated.line[middle].failures):
            simulated.line[middle] = before
            simulated.request(middle)
            simulated.build(middle)
        if simulated.line[middle].passes:
            low = middle
        else:
            high = middle
    return high


@dataclass(frozen=True)
class Week:
    """What the bisections of a week came to.

    :param ends: how many ended how; those that found the wrong one as ``wrong``
    :param builds: how many they took
    """

    ends: Counter[str]
    builds: int


def ranges(seed: int, number: int, flakes: float, voids: float) -> Iterable[Simulated]:
    """Yield the ranges of a week, the same for each seed: 2 to 100 candidates."""
    chance = random.Random(seed)
    for _ in range(number):
        size = chance.randint(2, 100)
        culprit = chance.randint(1, size + 1)
        yield Simulated(size, culprit, flakes, voids, random=random.Random(chance.random()))


def week(
    confirm: int, seed: int = 1, number: int = 500, flakes: float = 0.02, voids: float = 0.05
) -> Week:
    """Return what our bisections of a week come to."""
    ends: Counter[str] = Counter()
    builds = 0
    for one in ranges(seed, number, flakes, voids):
        decision = bisect(one, confirm)
        wrong = decision.end == "found" and decision.culprit != one.culprit
        ends["wrong" if wrong else str(decision.end)] += 1
        builds += one.built
    return Week(ends, builds)


def plain_week(seed: int = 1, number: int = 500, flakes: float = 0.02, voids: float = 0.05) -> Week:
    """Return what plain bisections of the same week come to."""
    ends: Counter[str] = Counter()
    builds = 0
    for one in ranges(seed, number, flakes, voids):
        ends["found" if plain(one) == one.culprit else "wrong"] += 1
        builds += one.built
    return Week(ends, builds)


def table(weeks: Sequence[tuple[str, Week]]) -> str:
    """Return what *weeks* came to, as a table in Markdown."""
    columns = ("found", "wrong", "flaky", "range_only", "insufficient_data")
    lines = [
        f"| | {' | '.join(columns)} | builds | builds each |",
        f"|---|{'---|' * (len(columns) + 2)}",
    ]
    for name, one in weeks:
        counts = " | ".join(str(one.ends[column]) for column in columns)
        each = one.builds / sum(one.ends.values())
        lines.append(f"| {name} | {counts} | {one.builds:,} | {each:.1f} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what bisections of a week come to."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bisections", description=__doc__)
    parser.add_argument("--ranges", type=int, default=500, help="ranges in a week (%(default)s)")
    parser.add_argument("--weeks", type=int, default=1, help="weeks, as one (%(default)s)")
    parser.add_argument("--flakes", type=float, default=0.02, help="share of builds (%(default)s)")
    parser.add_argument("--voids", type=float, default=0.05, help="share of builds (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the ranges (%(default)s)")
    options = parser.parse_args(arguments)
    chance = (options.seed, options.ranges * options.weeks, options.flakes, options.voids)
    weeks = [(f"confirm={confirm}", week(confirm, *chance)) for confirm in range(3)]
    print(table([*weeks, ("plain bisection", plain_week(*chance))]))


if __name__ == "__main__":
    main()
