"""What a bisection decides: against every small range, and against made-up histories."""

from __future__ import annotations

import itertools
import math
import random
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from benchmarks import bisections
from benchmarks.bisections import Simulated
from benchmarks.bisections import bisect
from buildbot_selfserve.model.bisection_steps import MOST_TRIES
from buildbot_selfserve.model.bisection_steps import SURE
from buildbot_selfserve.model.bisection_steps import Evidence
from buildbot_selfserve.model.bisection_steps import decide

PASS, FAIL, UNKNOWN = Evidence(passes=1), Evidence(failures=1), Evidence()
SMALL = [(size, culprit) for size in range(9) for culprit in range(1, size + 2)]


def most_builds(size: int, confirm: int) -> int:
    """Return how many builds a bisection may take that knows nothing of *size* candidates."""
    return math.ceil(math.log2(max(1, size))) + 2 + 2 * confirm


class Flaking(Simulated):
    """A line in which the first builds of some revisions say the opposite.

    :ivar liars: how many do, by the numbers of their revisions
    """

    liars: dict[int, int] = {}

    def build(self, number: int) -> None:
        truth = self.culprit
        if self.line[number].own < self.liars.get(number, 0):
            self.culprit = 0 if number < truth else self.size + 2
        super().build(number)
        self.culprit = truth


@pytest.mark.parametrize("confirm", [0, 1, 2, 3])
def test_every_small_range_has_its_culprit(confirm: int) -> None:
    for size, culprit in SMALL:
        simulated = Simulated(size, culprit)
        decision = bisect(simulated, confirm)
        assert (decision.end, decision.culprit) == ("found", culprit)
        assert simulated.built <= most_builds(size, confirm)


@pytest.mark.parametrize("confirm", [1, 2])
def test_every_culprit_of_longer_ranges_is_found_in_time(confirm: int) -> None:
    for size in (12, 31, 32, 33, 60, 64, 100):
        for culprit in range(1, size + 2):
            simulated = Simulated(size, culprit)
            first = decide(simulated.line, confirm).left_steps
            assert bisect(simulated, confirm).culprit == culprit
            assert simulated.built <= first <= most_builds(size, confirm)


def test_two_known_neighbours_need_no_build() -> None:
    assert decide([PASS, FAIL], confirm=0).end == "found"
    assert decide([PASS, FAIL], confirm=1).request == (0, 1)
    held = Evidence(passes=2), Evidence(failures=2)
    assert decide(held, confirm=1).end == "found"


@pytest.mark.parametrize("size", range(1, 6))
def test_what_cannot_be_built_is_in_the_range_that_is_named(size: int) -> None:
    numbers = range(1, size + 1)
    subsets = [c for k in range(size + 1) for c in itertools.combinations(numbers, k)]
    for unbuildable, culprit in itertools.product(subsets, range(1, size + 2)):
        simulated = Simulated(size, culprit, unbuildable=unbuildable)
        decision = bisect(simulated, 1)
        assert decision.low < culprit <= decision.high
        between = set(range(decision.low + 1, decision.high))
        assert between <= set(unbuildable)
        assert decision.end == ("range_only" if between else "found")
        assert simulated.built <= most_builds(size, 1) + MOST_TRIES * len(unbuildable)


@st.composite
def histories(draw: Any) -> tuple[int, int, list[bool]]:
    size = draw(st.integers(0, 40))
    culprit = draw(st.integers(1, size + 1))
    return size, culprit, draw(st.lists(st.booleans(), min_size=size, max_size=size))


@given(histories(), st.integers(0, 3))
@settings(max_examples=200)
def test_what_is_known_is_never_asked_again(
    history: tuple[int, int, list[bool]], confirm: int
) -> None:
    size, culprit, tested = history
    line = [PASS, *(UNKNOWN for _ in range(size)), FAIL]
    for number, is_tested in enumerate(tested, 1):
        if is_tested:
            line[number] = PASS if number < culprit else FAIL
    begun = decide(line, confirm)
    gap = begun.high - begun.low - 1
    simulated = Simulated(size, culprit, line=line)
    decision = bisect(simulated, confirm)
    assert (decision.end, decision.culprit) == ("found", culprit)
    more = 0 if confirm < SURE else 2
    assert simulated.built <= math.ceil(math.log2(gap + 1)) + 2 * confirm + more
    if all(tested) and not confirm:
        assert simulated.built == 0


@given(st.randoms(use_true_random=False), st.data())
@settings(max_examples=100)
def test_it_ends_whatever_builds_do(chance: random.Random, data: Any) -> None:
    size = data.draw(st.integers(0, 30))
    evidence = st.builds(
        Evidence, *(st.integers(0, 2) for _ in range(5)), st.integers(0, 1), st.just(0)
    )
    line = data.draw(st.lists(evidence, min_size=size + 2, max_size=size + 2))
    shares = st.sampled_from([0.0, 0.1, 0.5, 1.0])
    simulated = Simulated(
        size,
        data.draw(st.integers(1, size + 1)),
        data.draw(shares),
        data.draw(shares),
        data.draw(st.sets(st.integers(0, size + 1))),
        chance,
        list(line),
    )
    concurrency = data.draw(st.integers(1, 3))
    confirm = data.draw(st.integers(0, 3))
    steps = 0
    while (decision := decide(simulated.line, confirm, concurrency)).end is None:
        steps += 1
        assert steps < (size + 2) * 20
        assert len(set(decision.request)) == len(decision.request)
        for number in decision.drop:
            simulated.drop(number)
        for number in decision.request:
            assert not simulated.line[number].is_open
            simulated.request(number)
        own = [n for n, one in enumerate(simulated.line) for _ in range(one.own_open)]
        assert len(own) <= concurrency
        others = [n for n, one in enumerate(simulated.line) if one.open]
        assert own or others, "it waits for something"
        if own:
            simulated.build(chance.choice(own))
        else:
            end_of_another(simulated, chance.choice(others))
    assert 0 <= decision.low < decision.high <= size + 1
    if decision.end == "found":
        assert decision.high == decision.low + 1
        assert simulated.line[decision.low].passes > confirm
        assert simulated.line[decision.high].failures > confirm


def end_of_another(simulated: Simulated, number: int) -> None:
    """Let what others have open at a revision end without a result."""
    before = simulated.line[number]
    simulated.line[number] = Evidence(
        before.passes, before.failures, before.own, before.voids + 1, before.own_voids, 0, 0
    )


def test_a_revision_is_tried_three_times_then_its_neighbour() -> None:
    asked = []
    line = [PASS, *[UNKNOWN] * 3, FAIL]
    for tries in range(5):
        line[2] = Evidence(own_voids=tries)
        asked.append(decide(line).request)
    assert asked[:3] == [(2,)] * 3
    assert asked[3] == asked[4] != (2,)


def test_what_others_have_tried_counts_but_it_is_tried_once() -> None:
    line = [PASS, UNKNOWN, FAIL]
    line[1] = Evidence(voids=50)
    assert decide(line).request == (1,)
    line[1] = Evidence(voids=50, own_voids=1)
    assert decide(line).request == (0, 2)  # both edges are built again


def test_what_runs_divides_what_is_left() -> None:
    running = Evidence(open=1)
    line = [PASS, *[UNKNOWN] * 9, FAIL]
    line[5] = running
    assert decide(line).request == ()  # it is in the middle: that is worth waiting for
    line[5], line[1] = UNKNOWN, running
    assert decide(line).request == (6,)
    line[6] = Evidence(own_open=1)
    assert decide(line).request == ()


def test_what_is_of_no_use_any_more_is_dropped() -> None:
    line = [PASS, Evidence(own_open=1), PASS, UNKNOWN, UNKNOWN, FAIL]
    decision = decide(line)
    assert (decision.drop, decision.request) == ((1,), (4,))


def test_a_request_that_is_retried_for_ever_is_given_up() -> None:
    line = [PASS, Evidence(own_voids=3, own_open=1), UNKNOWN, FAIL]
    decision = decide(line)
    assert (decision.drop, decision.request) == ((1,), (2,))


@pytest.mark.parametrize("edge", [1, 2])
def test_an_edge_that_does_not_hold_is_flaky(edge: int) -> None:
    line = [PASS, PASS, FAIL, FAIL]
    line[edge] = Evidence(passes=1, failures=1, own=1)
    assert decide(line).end == "flaky"


def test_a_flake_elsewhere_does_not_hide_the_culprit() -> None:
    flaky = Evidence(passes=1, failures=1, own=2)
    line = [PASS, flaky, UNKNOWN, UNKNOWN, UNKNOWN, FAIL]
    simulated = Simulated(4, 4, line=line)
    assert bisect(simulated, 1).culprit == 4


def test_what_is_flaky_everywhere_is_given_up() -> None:
    flaky = Evidence(passes=1, failures=1, own=2)
    assert decide([PASS, flaky, UNKNOWN, flaky, UNKNOWN, UNKNOWN, flaky, FAIL]).end == "flaky"


def test_named_revisions_that_are_not_what_was_said_are_no_data() -> None:
    assert decide([FAIL, UNKNOWN, FAIL]).end == "insufficient_data"
    assert decide([PASS, UNKNOWN, PASS]).end == "insufficient_data"
    never = Evidence(own_voids=3)
    assert decide([UNKNOWN, FAIL], 0).request == (0,)
    assert decide([never, FAIL], 0).end == "insufficient_data"


def test_the_newest_place_where_it_broke_is_looked_for() -> None:
    line = [PASS, FAIL, FAIL, PASS, UNKNOWN, UNKNOWN, FAIL]
    assert bisect(Simulated(5, 5, line=line), 0).culprit == 5


@pytest.mark.parametrize("size", [5, 12, 13, 31])
def test_who_wants_to_be_sure_is_not_misled_by_one_revision(size: int) -> None:
    for culprit, liar in itertools.product(range(1, size + 2), range(1, size + 1)):
        simulated = Flaking(size, culprit)
        simulated.liars = {liar: SURE + 1}
        assert bisect(simulated, SURE).culprit in (culprit, None)


@pytest.mark.parametrize("size", [8, 16, 32])
def test_where_one_build_less_is_promised_it_is_wrong_by_two_at_most(size: int) -> None:
    for culprit, liar in itertools.product(range(1, size + 2), range(1, size + 1)):
        simulated = Flaking(size, culprit)
        simulated.liars = {liar: SURE + 1}
        found = bisect(simulated, SURE).culprit
        assert found is None or abs(found - culprit) <= 2


def test_one_flake_of_many_builds_costs_builds_not_the_answer() -> None:
    held = Evidence(passes=4), Evidence(failures=4)
    for edge in (0, 1):
        line = list(held)
        line[edge] = replace(held[edge], passes=3 - 2 * edge, failures=1 + 2 * edge)
        assert decide(line, SURE).request == (edge,)
        line[edge] = replace(held[edge], passes=5 - 4 * edge, failures=1 + 4 * edge)
        assert decide(line, SURE).end == "found"
        # two are too many, and so is one of as few builds as were asked for
        line[edge] = replace(held[edge], passes=5 - 3 * edge, failures=2 + 3 * edge, own=7)
        assert decide(line, SURE).end == "flaky"
        line[edge] = replace(held[edge], passes=2 - edge, failures=1 + edge, own=3)
        assert decide(line, SURE).end == "flaky"


def test_what_cannot_be_built_once_more_has_held_as_was_asked() -> None:
    line = [Evidence(passes=3, own_voids=MOST_TRIES), Evidence(failures=3)]
    assert decide(line, SURE).request == (1,)
    line[1] = Evidence(failures=4)
    assert decide(line, SURE).end == "found"
    line[0] = Evidence(passes=2, own_voids=MOST_TRIES)
    assert decide(line, SURE).end == "insufficient_data"


def test_a_week_has_no_wrong_culprit() -> None:
    week, plain = bisections.week(confirm=2), bisections.plain_week()
    assert week.ends["wrong"] == 0
    assert week.ends["found"] > 425
    # the edges are confirmed six times, and some of these builds have no result
    assert week.builds < plain.builds + 6.5 * 500


@pytest.mark.heavy
def test_a_year_has_no_wrong_culprit() -> None:
    assert bisections.week(confirm=2, number=20_000).ends["wrong"] == 0


def test_the_table_of_a_week(capsys: Any) -> None:
    bisections.main(["--ranges", "20"])
    told = capsys.readouterr().out.splitlines()
    assert len(told) == 6
    assert told[0].startswith("| | found | wrong")
