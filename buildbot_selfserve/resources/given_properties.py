"""Properties that repeat what the path says: clients of the original do so (docs/migrating.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import means
from buildbot_selfserve.model import trimmed


def require_same_branch(properties: Mapping[str, Any] | None, branch: Branch) -> None:
    """Return if *properties* name no other branch than the path: rights are of that one.

    :raises BadParameter: they do
    """
    named = (properties or {}).get("branch")
    named = trimmed(named) if isinstance(named, str) else named
    if named is not None and named not in (branch.name, *branch.branches):
        raise BadParameter("properties", f"a JSON object whose branch, if given, is {branch.name}")


def require_same(properties: Mapping[str, Any] | None, revision: AnyRevision) -> None:
    """Return if *properties* name no other branch and revision than the path.

    :raises BadParameter: they do
    """
    require_same_branch(properties, revision.branch)
    text = (properties or {}).get("revision")
    if text is not None and not (isinstance(text, str) and means(text, revision.revision)):
        raise BadParameter(
            "properties", f"a JSON object whose revision, if given, is {revision.revision}"
        )
