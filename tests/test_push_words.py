"""How a push stands, in words, and how its builders are arranged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuilderHealth
from buildbot_selfserve.model import BuilderState
from buildbot_selfserve.model import Health
from buildbot_selfserve.model import Revision
from buildbot_selfserve.views import push_words

NOW = 1_700_000_000


def builder(name: str, state: Any, change: Any = "passing", attempts: int = 1) -> BuilderHealth:
    """Return a builder; the result of what is under way is none, and of what is flaky both."""
    result = state if state in ("passed", "warnings", "failed", "exception") else ""
    at = BuilderState(
        name, 1, state, attempts, 2, 3, 4, result, change == "flaky", NOW, NOW + 60, 2
    )
    return BuilderHealth(at, change, None, None, None)


def push(verdict: Any, *builders: BuilderHealth) -> Health:
    revision = Revision(Branch("main", ("main",)), "a" * 40, (1,))
    return Health(revision, None, verdict, builders, None, NOW)


RAN = builder("a", "passed")
WAITING = builder("w", "pending", "unknown", 0)
RUNNING = builder("r", "running", "unknown")
SKIPPED = builder("s", "skipped", "unknown", 0)
CANCELLED = builder("c", "cancelled", "unknown")
MISSING = builder("m", "missing", "unknown", 0)
BROKEN = builder("b", "failed", "regressed")
OLD = builder("o", "exception", "still_failing")
FIRST = builder("n", "failed", "new")


@pytest.mark.parametrize(
    ("pushed", "kind", "sentence"),
    [
        (push("pending"), "pending", "Not built yet "),
        (push("pending", MISSING), "pending", "Not built yet "),
        (push("incomplete", MISSING), "incomplete", "Built with a newer push "),
        (
            replace(push("passed", RAN), built_with="newer"),
            "passed",
            "Passed only for a backfill or bisection",
        ),
        (push("passed", RAN), "passed", "Passed "),
        (push("passed", RAN, MISSING), "passed", "Passed "),
        (push("passed", builder("f", "passed", "fixed")), "passed", "Passed 1 fixed"),
        (
            push("passed", RAN, builder("f", "passed", "flaky", 2)),
            "passed",
            "Passed on the second attempt: f is flaky here",
        ),
        (
            push("passed", builder("f", "passed", "flaky", 21), builder("g", "passed", "flaky", 2)),
            "passed",
            "Passed after 21 attempts: f, g are flaky here",
        ),
        (push("running", RAN, RUNNING, WAITING, MISSING), "running", "Running 1 of 3 done"),
        (push("pending", WAITING), "pending", "Waiting 0 of 1 done"),
        (push("failed", BROKEN), "failed", "Failed 1 regression"),
        (
            push("failed", BROKEN, BROKEN, OLD, FIRST, RAN),
            "failed",
            "Failed 2 regressions, 1 that failed before, too, 1 with no result before",
        ),
        # what fails is said before the end, too
        (
            push("running", BROKEN, RUNNING, WAITING, WAITING),
            "failed",
            "Failing 1 regression, 1 running, 2 waiting",
        ),
        (push("failed", OLD, SKIPPED), "failed", "Failed 1 that failed before, too, 1 without a"),
        (push("incomplete", RAN, SKIPPED), "incomplete", "Incomplete 1 of 2 "),
    ],
)
def test_a_push_is_told_in_a_sentence(pushed: Health, kind: str, sentence: str) -> None:
    told = push_words.verdict(pushed)
    assert told.kind == kind
    assert f"{told.word} {told.text}".startswith(sentence)


def test_builders_are_grouped_by_what_their_names_begin_with() -> None:
    names = ("linux-asan", "linux-debug", "docs", "mac_arm")
    shown = push_words.chips(push("failed", *(builder(one, "passed") for one in names), BROKEN))
    assert [one.name for one in shown.first] == ["b"]
    groups = {one.name: [chip.name for chip in one.chips] for one in shown.groups}
    assert groups["linux"] == ["asan", "debug"]
    # those that are alone have their whole names, and come last
    assert shown.groups[-1].name == ""
    assert groups[""] == ["docs", "mac_arm"]
    assert not shown.as_squares


def test_a_tag_goes_before_the_beginning_of_a_name() -> None:
    shown = push_words.chips(
        push("passed", builder("linux-a", "passed"), builder("linux-b", "passed")),
        {"linux-a": "quick", "linux-b": "quick"},
    )
    assert [(one.name, [chip.name for chip in one.chips]) for one in shown.groups] == [
        ("quick", ["linux-a", "linux-b"])
    ]


@pytest.mark.parametrize(("number", "as_squares"), [(30, False), (31, True)])
def test_more_than_thirty_builders_are_squares(number: int, as_squares: bool) -> None:
    every = [builder(f"linux-{one}", "passed") for one in range(number)]
    assert push_words.chips(push("passed", *every)).as_squares is as_squares


@pytest.mark.parametrize(
    ("past", "words"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (7200, "2 hours ago"),
        (86_400, "1 day ago"),
        (-3600, "in the future"),
    ],
)
def test_an_age_is_told_in_its_largest_unit(past: int, words: str) -> None:
    assert push_words.ago(NOW - past, NOW) == words


def test_a_chip_says_in_words_what_its_colour_says() -> None:
    assert push_words.chip_words(BROKEN) == "failed, regression"
    assert push_words.chip_words(WAITING) == "waiting"
    assert push_words.chip_words(builder("f", "passed", "flaky", 2)) == "passed, flaky here"
