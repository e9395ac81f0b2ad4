"""Revisions: what was asked for at one, and whether it is done."""

from __future__ import annotations

from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Done
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import RevisionRows
from buildbot_selfserve.params import REVISION
from buildbot_selfserve.params import STABLE_DELAY
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import declare


@declare(
    "GET",
    "/<branch>/rev/<revision>",
    paged=True,
    returns=RevisionRows,
    template="revision.html",
)
def revision_rows(ctx: ReadContext, branch: Branch, revision: Revision) -> RevisionRows:
    """The builds and requests at this revision: finished, running and pending.

    The first six or more characters of a revision will do, as long as no other begins so.
    """
    return ctx.history.rows_at(revision)


@declare(
    "GET",
    "/<branch>/rev",
    params=(REVISION,),
    paged=True,
    returns=RevisionRows,
    template="revision.html",
)
def revision_lookup(ctx: ReadContext, branch: Branch, revision: Revision) -> RevisionRows:
    """The same for a revision that is looked up: a form can put it only into the query."""
    return ctx.history.rows_at(revision)


@declare(
    "GET",
    "/<branch>/rev/<revision>/is_done",
    params=(STABLE_DELAY,),
    returns=Done,
    template="is_done.html",
)
def is_done(ctx: ReadContext, branch: Branch, revision: Revision, stable_delay: int) -> Done:
    """Whether everything at this revision has ended, and whether it passed.

    It is complete when the last of it ended at least stableDelay seconds ago.
    """
    return ctx.history.done(revision, stable_delay)
