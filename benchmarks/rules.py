"""The rules in ``www.authz`` of measured masters, like those of most masters.

They are those of Buildbot's manual: admins may do anything, owners stop their builds.
"""

from __future__ import annotations

from typing import Any

from buildbot.plugins import util


def authz(admin: str) -> Any:
    """Return rules by which the user *admin* is an admin."""
    return util.Authz(
        allowRules=[
            util.AnyEndpointMatcher(role="admins", defaultDeny=False),
            util.StopBuildEndpointMatcher(role="owner"),
            util.AnyControlEndpointMatcher(role="admins"),
        ],
        roleMatchers=[
            util.RolesFromUsername(roles=["admins"], usernames=[admin]),
            util.RolesFromOwner("owner"),
        ],
    )
