"""Users: what a user has built."""

from __future__ import annotations

from buildbot_selfserve.history.users import rows_of_user
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import UserRows
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import declare


@declare("GET", "/<branch>/user/<user>", large=True, returns=UserRows, template="user.html")
def user_rows(ctx: ReadContext, branch: Branch, user: str) -> UserRows:
    """List this user's builds and pending requests on this branch, at most 200 of each state.

    These are the builds of the user's changes, and builds that the user requested here. The user
    is the whole author of a change, or the address in it, in any case.
    """
    asked_for = ctx.journal.requests_made_for(user, branch)
    return rows_of_user(ctx.history, branch, user, asked_for)
