"""The named permissions: what each job request is called, by us and by Buildbot.

Every permission knows the Data API path and action under which Buildbot's own web UI would do the
same thing, because the operator's ``www.authz`` rules are written for those. A path that is
Buildbot's own matters: its authorization allows whatever matches no rule (buildbot-authz,
``Authz.assertUserAllowed``).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Permission:
    """One thing that a person may or may not do.

    :param action: our name of the job request, as the journal writes it
    :param noun: which resolved noun of the route it is about: ``build``, ``request`` or
        ``builder``; ``None`` where there may be many targets, and the act asks about each
    :param endpoint: the first element of the Data API path, ``builds``, ``buildrequests``,
        ``forceschedulers`` or ``builders``
    :param native: the Data API action that Buildbot's own UI would send there
    :param needs: the action that rules and tokens know it by, where that is another one
    :param is_named: a rule or a token must name it, or a rule be about everything: what matches no
        rule is denied
    """

    action: str
    noun: str | None
    endpoint: str
    native: str
    needs: str | None = None
    is_named: bool = False


REBUILD_BUILD = Permission("rebuild_build", "build", "builds", "rebuild")
CANCEL_BUILD = Permission("cancel_build", "build", "builds", "stop")
#: Buildbot's UI rebuilds builds only; auth.authorization asks its Rebuild rules here, too.
REBUILD_REQUEST = Permission("rebuild_request", "request", "buildrequests", "rebuild")
CANCEL_REQUEST = Permission("cancel_request", "request", "buildrequests", "cancel")
CANCEL_REVISION = Permission("cancel_revision", None, "buildrequests", "cancel")
NEW_BUILD_AT_REVISION = Permission("new_build_at_revision", None, "forceschedulers", "force")
NEW_SET_AT_REVISION = Permission("new_set_at_revision", None, "forceschedulers", "force")
NEW_BUILD_FOR_BUILDER = Permission("new_build_for_builder", "builder", "forceschedulers", "force")
REPRIORITIZE = Permission("reprioritize", "request", "buildrequests", "set_priority")

#: They need what it takes to do the same one by one.
REBUILD_FAILED = Permission("rebuild_failed", None, "builds", "rebuild", needs=REBUILD_BUILD.action)
FILL_MISSING = Permission(
    "fill_missing", None, "forceschedulers", "force", needs=NEW_BUILD_AT_REVISION.action
)
REPRIORITIZE_REVISION = Permission(
    "reprioritize_revision", None, "buildrequests", "set_priority", needs=REPRIORITIZE.action
)
#: Buildbot knows nothing of this kind, so that none of its rules but those about everything match.
HOLD = Permission("hold", None, "builders", "hold", is_named=True)
RELEASE = Permission("release", None, "builders", "hold", needs=HOLD.action, is_named=True)

#: Looking back over a range of revisions makes many builds, so that it is an action of its own.
BACKFILL = Permission("backfill", None, "forceschedulers", "force")
BISECT = Permission("bisect", None, "forceschedulers", "force")
#: Who may begin a bisection may stop it.
CANCEL_BISECT = Permission("cancel_bisect", None, "forceschedulers", "force", needs=BISECT.action)

#: In the order in which they are shown.
PERMISSIONS = (
    REBUILD_BUILD,
    REBUILD_REQUEST,
    CANCEL_BUILD,
    CANCEL_REQUEST,
    CANCEL_REVISION,
    REPRIORITIZE,
    NEW_BUILD_AT_REVISION,
    NEW_SET_AT_REVISION,
    NEW_BUILD_FOR_BUILDER,
    REBUILD_FAILED,
    FILL_MISSING,
    REPRIORITIZE_REVISION,
    HOLD,
    RELEASE,
    BACKFILL,
    BISECT,
    CANCEL_BISECT,
)
#: The sets that every branch has.
NIGHTLY, PGO = USUAL_SETS = ("nightly", "pgo")
#: What the journal calls building a set; a branch may have more of them than the usual ones.
SET_ACTION = re.compile("new_[a-z0-9_-]{1,64}_at_revision")


def set_action(name: str) -> str:
    """Return what the journal calls building the set *name*."""
    return f"new_{'pgobuild' if name == PGO else name}_at_revision"


def actions_of(permission: Permission, sets: Iterable[str] = USUAL_SETS) -> tuple[str, ...]:
    """Return the actions that *permission* stands for, on a branch that has these *sets*."""
    if permission is NEW_SET_AT_REVISION:
        return tuple(map(set_action, sets))
    return (permission.action,)


def every_action() -> tuple[str, ...]:
    """Return the actions that rules and tokens know on every branch."""
    return tuple(
        action
        for permission in PERMISSIONS
        if permission.needs is None
        for action in actions_of(permission)
    )


def action_words(pattern: str) -> str:
    """Return what names of actions rules and tokens take, to somebody who gave *pattern*."""
    included = (
        f"; {one.needs} includes {one.action}"
        for one in PERMISSIONS
        if one.needs is not None and fnmatch.fnmatchcase(one.action, pattern)
    )
    return f"{', '.join(every_action())}{''.join(included)}"
