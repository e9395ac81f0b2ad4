"""The words that people read are the same on pages and from the command, and each name has one."""

from __future__ import annotations

from typing import Any
from typing import cast
from typing import get_args

import pytest

from buildbot_selfserve import answers
from buildbot_selfserve import state_words
from buildbot_selfserve.client.command.group import FAILED
from buildbot_selfserve.client.command.reads import done_status
from buildbot_selfserve.client.command.show import Screen
from buildbot_selfserve.history import revisions
from buildbot_selfserve.history.pushes import pushes_of_branch
from buildbot_selfserve.model import wire
from buildbot_selfserve.views import push_words
from tests.pushed import Pushed


def test_each_name_in_json_has_a_word() -> None:
    assert state_words.STATE_WORDS.keys() == set(get_args(answers.BuilderStateName))
    assert state_words.CHANGE_WORDS.keys() == set(get_args(answers.BuilderChange))
    assert state_words.VERDICT_WORDS.keys() == set(get_args(answers.RevisionVerdict))
    every = (
        *map(state_words.outcome_word, get_args(answers.Outcome)),
        *map(state_words.bisection_word, get_args(answers.BisectionStatus)),
    )
    assert not [word for word in every if "_" in word or word == "pending"]


@pytest.mark.parametrize(
    ("builds", "word"),
    [
        ({}, "not built yet"),
        ({"linux": "p"}, "waiting"),
        ({"linux": "r", "mac": "p"}, "running"),
        ({"linux": "F", "mac": "r"}, "failing"),
        ({"linux": "Fp"}, "failing"),
        ({"linux": "F"}, "failed"),
        ({"linux": "FP"}, "passed"),
        ({"linux": "W"}, "passed"),
        ({"linux": "s"}, "incomplete"),
    ],
)
def test_a_verdict_has_one_word_everywhere(
    pushed: Pushed, builds: dict[str, Any], word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pushed.history.push("a", linux="P")
    pushed.history.push("b", **builds)
    health = pushed.health("b", reacting=(("mac", 99),))
    assert push_words.verdict(health).word == word.capitalize()
    found = pushed.revision("b")
    with pushed.asked() as asked:
        done = revisions.done(asked, found, 0)
        listed = pushes_of_branch(asked, found.branch, 1)
    assert done is not None
    assert push_words.done_word(done) == word
    screen = Screen(as_json=False)
    revision = found.revision
    screen.done("main", revision, cast("Any", wire.as_json(done, pushed.site)))
    screen.health_line("main", cast("Any", wire.as_json(health, pushed.site)))
    screen.pushes(cast("Any", wire.as_json(listed, pushed.site)))
    of_done, *more = capsys.readouterr().out.splitlines()
    assert of_done.removeprefix(f"main {revision}: ").removeprefix("not done, ").startswith(word)
    of_health = next(line for line in more if line.startswith("main "))
    assert of_health.startswith(f"main {revision}: {word} (")
    assert f"  {word}  " in more[-1]


def test_a_push_that_was_passed_over_leads_to_the_one_that_was_built(
    pushed: Pushed, capsys: pytest.CaptureFixture[str]
) -> None:
    pushed.history.push("a")
    pushed.history.push("b", linux="F")
    found, newer = pushed.revision("a"), pushed.revision("b").revision
    with pushed.asked() as asked:
        done = cast("Any", wire.as_json(revisions.done(asked, found, 0), pushed.site))
    Screen(as_json=False).done("main", found.revision, done)
    first, *_, last = capsys.readouterr().out.splitlines()
    assert first.startswith(f"main {found.revision}: built with a newer push (")
    assert last == f"built with: {newer}"
    assert done_status(done) == FAILED
