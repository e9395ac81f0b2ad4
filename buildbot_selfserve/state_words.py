"""The words for actions, verdicts, states and outcomes on pages and from the command.

JSON has names for them, which are in ``answers``. Here they are words of a sentence; a page begins
one with the verdict. Another version may have more names.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

#: What a job request does, without its target.
ACTION_WORDS: Mapping[str, str] = {
    "rebuild_build": "Rebuild a build",
    "rebuild_request": "Rebuild a request",
    "cancel_build": "Cancel a build",
    "cancel_request": "Cancel a request",
    "cancel_revision": "Cancel everything",
    "reprioritize": "Change priority",
    "reprioritize_revision": "Change the priority of everything",
    "new_build_at_revision": "Same builds as a push",
    "new_build_for_builder": "Build with one builder",
    "rebuild_failed": "Rerun what failed",
    "fill_missing": "Fill in what is missing",
    "hold": "Hold a branch",
    "release": "End holds",
    "backfill": "Find out since when",
    "bisect": "Bisect",
    "cancel_bisect": "Stop a bisection",
}
#: What a builder has come to.
STATE_WORDS: Mapping[str, str] = {
    "passed": "passed",
    "warnings": "passed with warnings",
    "failed": "failed",
    "exception": "exception",
    "cancelled": "cancelled",
    "skipped": "skipped",
    "running": "running",
    "pending": "waiting",
    "missing": "not requested",
}
#: How that compares with what was before.
CHANGE_WORDS: Mapping[str, str] = {
    "regressed": "regression",
    "still_failing": "failed before, too",
    "fixed": "fixed",
    "passing": "",
    "flaky": "flaky here",
    "new": "no result before",
    "unknown": "",
}
VERDICT_WORDS: Mapping[str, str] = {
    "passed": "passed",
    "failed": "failed",
    "running": "running",
    "pending": "waiting",
    "incomplete": "incomplete",
}
#: Buildbot's results that builders have, too.
_RESULTS = {"success": "passed", "failure": "failed"}
_OUTCOMES = {
    "stop_sent": "told to stop",
    "already_complete": "already complete",
    "reprioritized": "priority changed",
    "left_out": "left out",
    "would_create": "would be built",
    "would_cancel": "would be cancelled",
    "would_stop": "would be stopped",
    "would_reprioritize": "would have another priority",
    "would_hold": "would be held",
    "would_release": "would be released",
}
#: Why something is left out of the first requests of an ongoing job: it is no more than put off.
LATER = "is requested when others have ended"
_SET = re.compile("new_(.+)_at_revision")
_BISECTIONS = {
    "running": "looking for it",
    "range_only": "not narrowed down further",
    "insufficient_data": "not known",
}

#: Labels of the entries of a job request's ``what``.
_WHAT: Mapping[str, str] = {
    "bid": "Build",
    "brid": "Request",
    "branch": "Branch",
    "revision": "Revision",
    "builder_name": "Builder",
    "priority": "Priority",
    "count": "Number of times",
    "properties": "Properties",
    "files": "Changed files",
    "same_revision": "At the revision that was found",
    "states": "Results",
    "builders": "Builders",
    "exclude_builders": "Without these builders",
    "tags": "Tags",
    "category": "Category",
    "project": "Project",
    "reason": "Reason",
    "expires": "Until",
    "above": "Start from priority",
    "good": "Good revision",
    "max": "Revisions between, at most",
    "times": "Results wanted for each",
    "order": "Order",
    "force": "Without a good one",
    "confirm": "Rebuilds to confirm it",
    "job_id": "Bisection",
}
#: Actions that look for what broke a builder, before this revision.
_LOOKING_BACK = frozenset({"backfill", "bisect", "cancel_bisect"})


def action_word(action: str) -> str:
    """Return the words for an action."""
    if action in ACTION_WORDS:
        return ACTION_WORDS[action]
    name = set_of(action)
    return f"Build the set {name}" if name else action.replace("_", " ").capitalize()


def set_of(action: str) -> str | None:
    """Return the set that an action builds, which has it in its name, or ``None``."""
    found = _SET.fullmatch(action)
    if found is None:
        return None
    return "pgo" if found[1] == "pgobuild" else found[1]


def verdict_word(verdict: str, is_requested: bool, is_failing: bool) -> str:
    """Return the word for a verdict.

    :param is_requested: something was requested at the revision
    :param is_failing: some builder fails by its latest result, also while it builds again
    """
    if is_failing:
        return "failing" if verdict in ("pending", "running") else "failed"
    if is_requested:
        return VERDICT_WORDS.get(verdict, verdict)
    return "not built yet" if verdict == "pending" else "built with a newer push"


def builder_word(state: str) -> str:
    """Return the word for what a builder has come to."""
    return STATE_WORDS.get(state, state)


def state_word(state: str) -> str:
    """Return the word for the state of a build or request: Buildbot's result, or what it does."""
    return builder_word(_RESULTS.get(state, state))


def outcome_word(outcome: str, msg: str = "") -> str:
    """Return the word for an outcome of a job request.

    :param msg: the outcome's message
    """
    if is_later(outcome, msg):
        return "later"
    return _OUTCOMES.get(outcome, outcome.replace("_", " "))


def is_later(outcome: str, msg: str) -> bool:
    """Return whether something is left out only for now; in JSON, no outcome says that."""
    return outcome == "left_out" and msg == LATER


def status_word(status: str) -> str:
    """Return the word for the status of a job request."""
    return "done" if status == "ok" else status


def what_label(name: str, action: str = "") -> str:
    """Return the label of an entry of a job request's ``what``."""
    if name == "revision" and action in _LOOKING_BACK:
        return "Bad revision"
    return _WHAT.get(name, name.replace("_", " ").capitalize())


def bisection_word(status: str) -> str:
    """Return the word for the status of a bisection."""
    return _BISECTIONS.get(status, status)
