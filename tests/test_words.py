"""What pages say in words of actions, outcomes and job requests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from typing import get_args

import pytest

from buildbot_selfserve import state_words
from buildbot_selfserve.answers import Outcome
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.permissions import PERMISSIONS
from buildbot_selfserve.permissions import actions_of
from buildbot_selfserve.permissions import set_action
from buildbot_selfserve.views import words

REVISION = "c" * 40
DONE = RequestOutcome(7, "linux-debug", "created")


def said(action: str, status: str = "ok", *requests: RequestOutcome, **what: Any) -> str:
    """Return the words of a job request."""
    job = Job(1, action, "demo", "session", "::1", 0, "main", what, status, requests=requests)
    return "".join(part.text for part in words.job_words(job))


@pytest.mark.parametrize(
    ("text", "action", "what"),
    [
        ("rebuilt build 12 of linux-debug", "rebuild_build", {"bid": 12}),
        ("rebuilt request 7 of linux-debug, 3 times", "rebuild_request", {"brid": 7, "count": 3}),
        ("cancelled build 12 of linux-debug", "cancel_build", {"bid": 12}),
        ("cancelled everything at cccccccccccc", "cancel_revision", {"revision": REVISION}),
        (
            "changed the priority of request 7 of linux-debug to 0",
            "reprioritize",
            {"brid": 7, "priority": 0},
        ),
        (
            "requested the same builds as a push at cccccccccccc",
            "new_build_at_revision",
            {"revision": REVISION, "priority": 3},
        ),
        ("requested the set pgo at r1", "new_pgobuild_at_revision", {"revision": "r1"}),
        ("requested the set on-arm at r1", "new_on-arm_at_revision", {"revision": "r1"}),
        (
            "requested a build of r1 with fuzz",
            "new_build_for_builder",
            {"revision": "r1", "builder_name": "fuzz"},
        ),
        ("reran what failed at r1", "rebuild_failed", {"revision": "r1"}),
        # what comes later, or another version has written
        ("requested “dig up” for r1", "dig_up", {"revision": "r1"}),
        ("requested “dig up” for a request of linux-debug", "dig_up", {}),
        ("rebuilt a build of linux-debug", "rebuild_build", {}),
    ],
)
def test_a_job_request_is_a_sentence(text: str, action: str, what: dict[str, Any]) -> None:
    assert said(action, "ok", DONE, **what) == text


def test_what_was_not_done_is_not_said_to_be() -> None:
    nothing = replace(DONE, outcome="denied")
    for status, requests, text in (
        ("running", (), "asked to rebuild build 12"),
        ("unknown", (), "asked to rebuild build 12"),
        ("failed", (), "tried to rebuild build 12"),
        ("failed", (nothing,), "tried to rebuild build 12 of linux-debug"),
        ("failed", (nothing, DONE), "rebuilt build 12 of linux-debug"),
        ("ok", (), "asked to rebuild build 12"),
        (
            "ok",
            (replace(DONE, outcome="already_complete"),),
            "asked to rebuild build 12 of linux-debug",
        ),
        ("ok", (replace(DONE, outcome="stop_sent"),), "asked to rebuild build 12 of linux-debug"),
    ):
        assert said("rebuild_build", status, *requests, bid=12) == text


def test_links_lead_to_what_a_sentence_names() -> None:
    job = Job(1, "rebuild_build", "demo", "session", "::1", 0, "main", {"bid": 12}, "ok")
    assert [part.segments for part in words.job_words(job)] == [(), ("build", "12")]
    job = replace(job, action="cancel_revision", what={"revision": REVISION})
    assert words.job_words(job)[-1].segments == ("rev", REVISION)


def test_every_action_and_every_outcome_has_words() -> None:
    named = [one for permission in PERMISSIONS for one in actions_of(permission)]
    for name in (*named, *get_args(Outcome)):
        label = state_words.action_word(name) if name in named else state_words.outcome_word(name)
        assert "_" not in label
    assert {*named} == {*words.known_actions()}
    for name in ("nightly", "pgo", "weekly"):
        assert state_words.set_of(set_action(name)) == name
    assert len({state_words.action_word(one) for one in named}) == len(named)


def test_how_somebody_proved_who_they_are_is_said() -> None:
    assert words.via_word("token:ci: nightly") == "with the API token ci: nightly"
    assert words.via_word("basic") == "with a password"
    assert words.via_word("else") == "else"


def test_a_bisection_that_found_the_culprit_without_a_build_was_done() -> None:
    what = {"builder_name": "linux", "revision": REVISION}
    assert said("bisect", **what) == f"bisected the builds of linux before {REVISION[:12]}"
    assert said("bisect", "failed", **what).startswith("tried to bisect the builds of linux")
