"""Pushes: whether a revision is good, what was pushed to a branch or by a user, what was green."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from buildbot_selfserve.control.explain.eta import Forecaster
from buildbot_selfserve.control.explain.queue import forecaster
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import NotFound
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.history.builders import only_tags
from buildbot_selfserve.history.builders import reacting
from buildbot_selfserve.history.health import health_of_revision
from buildbot_selfserve.history.pushes import find_last_green
from buildbot_selfserve.history.pushes import pushes_named
from buildbot_selfserve.history.pushes import pushes_of_branch
from buildbot_selfserve.history.pushes import pushes_of_user
from buildbot_selfserve.history.revisions import candidates
from buildbot_selfserve.history.search import similar_authors
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Health
from buildbot_selfserve.model import LastGreen
from buildbot_selfserve.model import Pushes
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import Selection
from buildbot_selfserve.params.declared import ALSO
from buildbot_selfserve.params.declared import AUTHOR
from buildbot_selfserve.params.declared import BASE
from buildbot_selfserve.params.declared import BEFORE
from buildbot_selfserve.params.declared import BEFORE_BRANCH
from buildbot_selfserve.params.declared import MOST_PUSHES
from buildbot_selfserve.params.declared import PUSH_LIMIT
from buildbot_selfserve.params.kinds import Param
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.resources.revisions import AT_REVISION
from buildbot_selfserve.routes import declare


def _revision(ctx: ReadContext, branch: Branch, param: Param, text: str | None) -> Revision | None:
    """Return the revision on *branch* that a parameter names.

    :raises BadParameter: there is no such revision, or several
    """
    if text is None:
        return None
    fitting = candidates(ctx.history, (branch,), text)
    if len(fitting) != 1:
        many = "several revisions begin so" if fitting else "there is no such revision"
        raise BadParameter(param.name, f"a revision on branch {branch.name}: {many}")
    return fitting[0]


def _own_push(
    ctx: ReadContext, users: tuple[str, ...], text: str | None, branch: str | None
) -> Revision | None:
    """Return the push of *users* that *text* names.

    :param branch: only there; ``None``: the newest one
    :raises BadParameter: there is none
    """
    if text is None:
        return None
    for one in pushes_named(ctx.history, users, text):
        if branch in (None, one.branch.name):
            return one
    raise BadParameter(BEFORE.name, "a revision that this user has pushed")


@declare(
    "GET",
    "/<branch>/rev/<revision>/health",
    params=(BASE,),
    needs_setup=True,
    returns=Health,
)
def health(ctx: ReadContext, branch: Branch, revision: Revision, base: str | None) -> Health | None:
    """Say whether this revision is good, builder by builder, compared with what was before.

    Each builder is compared with its result at the nearest revision before this one on the branch
    where it has one, at most 50 revisions back; with base, at that revision. Builders that
    schedulers would build here and that nobody requested are missing.
    """
    than = _revision(ctx, branch, BASE, base)
    # its JSON says nothing of the change
    return health_of_revision(ctx.history, revision, than, reacting(ctx.history), with_change=False)


@declare(
    "GET",
    "/<branch>/last_green",
    params=(MOST_PUSHES,),
    selects=True,
    returns=LastGreen,
)
def last_green(ctx: ReadContext, branch: Branch, selection: Selection, max: int) -> LastGreen:
    """Return the newest revision at which all the selected builders passed.

    Without selectors, the newest one with the verdict "passed" that not only backfills and
    bisections have built. Builders that a pattern or a tag selects count if they were requested at
    one of the newest 20 revisions. A builder that is building again has not passed yet.
    """
    found = find_last_green(ctx.history, branch, selection, max)
    if isinstance(found, int):
        looked_at = "1 revision was" if found == 1 else f"the newest {found} revisions were"
        raise NotFound(f"No green revision on branch {branch.name}", f"{looked_at} looked at")
    return found


#: The page of a branch looks at so many revisions for one that is green.
LOOKED_AT = 50
#: The page of a user looks at so many job requests for branches.
NEWEST_JOBS = 50


class PushesPage(NamedTuple):
    """What only the pages of pushes show.

    :param tags: the tags by which builders are grouped, by their names
    :param green: the newest green revision, or how many were looked at without finding one
    :param forecaster: forecasts when what is open is done; ``None`` where nothing is
    :param similar: authors of other names who may be the user whose pushes they are
    :param asked_on: the branches of that user's newest job requests, the newest first
    """

    tags: Mapping[str, str]
    green: LastGreen | int = 0
    forecaster: Forecaster | None = None
    similar: tuple[str, ...] = ()
    asked_on: tuple[str, ...] = ()


def pushes_page(ctx: ReadContext, branch: Branch, value: Pushes) -> PushesPage:
    """Return what only the page of a branch shows."""
    green = find_last_green(ctx.history, branch, Selection(), LOOKED_AT)
    return PushesPage(only_tags(ctx.history), green, _forecaster(ctx, value))


def _forecaster(ctx: ReadContext, value: Pushes) -> Forecaster | None:
    """Return a forecaster where a push is under way: it takes all that waits on the farm."""
    if any(push.open for push in value.pushes):
        return forecaster(ctx.history, ctx.master_state)
    return None


def user_page(ctx: ReadContext, anybody: str, value: Pushes) -> PushesPage:
    """Return what only the page of a user shows."""
    also = ctx.visitor.also if anybody == ctx.visitor.name else ()
    similar = similar_authors(ctx.history, (anybody, *also))
    tags, forecasts = only_tags(ctx.history), _forecaster(ctx, value)
    asked_on = _asked_on(ctx, anybody)
    return PushesPage(tags, forecaster=forecasts, similar=similar, asked_on=asked_on)


def _asked_on(ctx: ReadContext, who: str) -> tuple[str, ...]:
    """Return the branches of the newest job requests of *who*, if the journal can be read."""
    with suppress(Unavailable):
        asked = ctx.journal.jobs(NEWEST_JOBS, 0, who=who).jobs
        return tuple(dict.fromkeys(job.branch for job in asked))
    return ()


@declare(
    "GET",
    "/<branch>/pushes",
    params=(PUSH_LIMIT, BEFORE, AUTHOR),
    page_needs_master_state=True,
    beside=pushes_page,
    offers=AT_REVISION,
    returns=Pushes,
    template="pushes.html",
)
def pushes(
    ctx: ReadContext, branch: Branch, limit: int, before: str | None, author: str | None
) -> Pushes:
    """List the pushes of this branch, newest first, with what each builder made of them.

    A push is a revision with a change, or one that was only built by hand: that one stands where
    its first request was made. The Link header has the URL of older pushes.
    """
    than = _revision(ctx, branch, BEFORE, before)
    return pushes_of_branch(ctx.history, branch, limit, than, author)


@declare(
    "GET",
    "/user/<anybody>/pushes",
    params=(PUSH_LIMIT, BEFORE, BEFORE_BRANCH, ALSO),
    page_needs_master_state=True,
    beside=user_page,
    returns=Pushes,
    template="user_pushes.html",
)
def user_pushes(
    ctx: ReadContext,
    anybody: str,
    limit: int,
    before: str | None,
    before_branch: str | None,
    also: tuple[str, ...],
) -> Pushes:
    """List the pushes of this user on all branches, newest first.

    The user is the whole author of a change, or the address in it; part of it is not enough, as
    that may be somebody else. The Link header has the URL of older pushes.
    """
    users = (anybody, *also)
    than = _own_push(ctx, users, before, before_branch)
    return pushes_of_user(ctx.history, users, limit, than)
