"""Says in words what a job request is about."""

from __future__ import annotations

import re
from collections.abc import Mapping

_ACTIONS: Mapping[str, str] = {
    "reprioritize": "Change priority",
    "cancel_request": "Cancel a request",
    "cancel_build": "Cancel a build",
    "cancel_revision": "Cancel all of a revision",
    "rebuild_build": "Rebuild a build",
    "rebuild_request": "Rebuild a request",
    "rebuild_failed": "Rerun what failed",
    "fill_missing": "Fill in what is missing",
    "new_build_at_revision": "Same builds as a push",
    "new_pgobuild_at_revision": "Build the set pgo",
    "new_build_for_builder": "Build with one builder",
}
_SET = re.compile("new_(.+)_at_revision")
_ASKED: Mapping[str, str] = {
    "bid": "Build",
    "brid": "Build request",
    "branch": "Branch",
    "builder_name": "Builder",
    "count": "Number of times",
    "files": "Files",
    "priority": "Priority",
    "properties": "Properties",
    "revision": "Revision",
}


def action_words(action: str) -> str:
    """Return what a job request does, in words; *action* is its name in the journal."""
    if action in _ACTIONS:
        return _ACTIONS[action]
    found = _SET.fullmatch(action)
    return f"Build the set {found[1]}" if found else action.replace("_", " ").capitalize()


def asked_words(name: str) -> str:
    """Return in words what stands under *name* in ``what`` of a job request."""
    return _ASKED.get(name, name.replace("_", " ").capitalize())
