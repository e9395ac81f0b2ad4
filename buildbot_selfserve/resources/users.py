"""Users: what a user has built."""

from __future__ import annotations

from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import UserRows
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import declare


@declare("GET", "/<branch>/user/<user>", large=True, returns=UserRows, template="user.html")
def user_rows(ctx: ReadContext, branch: Branch, user: str) -> UserRows:
    """What this user has built, is building and waits for on this branch; 200 of each at most.

    Builds of the user's changes, named by the whole author or by the address in it, whatever the
    case of that, and builds that the user asked for here.
    """
    asked_for = ctx.journal.requests_made_for(user, branch)
    return ctx.history.rows_of_user(branch, user, asked_for)
