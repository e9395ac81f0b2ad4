"""The newest revision at which all selected builders passed."""

from __future__ import annotations

from tests.pushed import Pushed

EVERY_DATABASE = "heavy"


def test_the_newest_that_passed(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P", mac="P")
    history.push("b", linux="P", mac="W")
    history.push("c", linux="P", mac="F")
    history.push("d", linux="P", mac="p")
    history.push("e", linux="P", mac="c")
    assert pushed.last_green() == ("b", 3)
    assert pushed.last_green("linux") == ("e", 0)
    assert pushed.last_green("mac") == ("b", 3)
    assert pushed.last_green("linux", "mac") == ("b", 3)
    history.build("e", mac="P")
    assert pushed.last_green() == ("e", 0)


def test_a_rerun_that_passes_makes_it_green(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.push("b", linux="FP")
    history.push("c", linux="PF")
    assert pushed.last_green() == ("b", 1)
    history.build("b", linux="r")
    assert pushed.last_green() == ("a", 2)


def test_what_only_a_bisection_has_built_is_not_green(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P", mac="P")
    history.push("b")
    history.push("c", linux="F", mac="P")
    history.build("b", linux="P", job=7)
    assert pushed.last_green() == ("a", 2)
    # but the builder itself is good there
    assert pushed.last_green("linux") == ("b", 1)
    history.build("b", mac="P")
    assert pushed.last_green() == ("b", 1)


def test_what_was_not_asked_for_is_not_green(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P", mac="P")
    history.push("b", linux="P")
    history.push("c")
    assert pushed.last_green("linux", "mac") == ("a", 2)
    assert pushed.last_green("linux", "never") is None
    assert pushed.last_green() == ("b", 1)


def test_builders_that_a_pattern_selects_count_if_they_build_here(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P", mac="P")
    history.push("b", linux="P", mac="F")
    history.push("c", linux="P")
    # mac belongs to the branch, win never built there
    assert pushed.last_green(patterns=("linux", "mac", "win")) == ("a", 2)
    assert pushed.last_green(patterns=("linux",)) == ("c", 0)
    assert pushed.last_green("mac", patterns=("linux",)) == ("a", 2)
    assert pushed.last_green(patterns=("win",)) is None


def test_whatever_is_looked_at_first_the_answer_is_the_same(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P", mac="P")
    for number in range(8):
        history.push(f"{number}", linux="P")
    # mac was asked for within the newest revisions, so each of them lacks it
    assert pushed.last_green(patterns=("linux", "mac")) == ("a", 8)


def test_how_far_it_looks(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    for number in range(30):
        history.push(f"{number}", linux="F")
    assert pushed.last_green(most=31) == ("a", 30)
    assert pushed.last_green(most=30) is None
    assert pushed.last_green(most=1) is None


def test_what_was_built_by_hand_may_be_green(pushed: Pushed) -> None:
    history = pushed.history
    history.push("a", linux="P")
    history.push("b", linux="F")
    history.build("c", linux="P")
    assert pushed.last_green() == ("c", 0)
