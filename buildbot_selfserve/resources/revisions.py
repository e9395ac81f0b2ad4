"""Revisions: rows, whether it is done, cancel everything, new builds."""

from __future__ import annotations

from buildbot_selfserve.control import build_with_builders
from buildbot_selfserve.control import build_with_schedulers
from buildbot_selfserve.control import cancel
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuilderSet
from buildbot_selfserve.model import Done
from buildbot_selfserve.model import Possible
from buildbot_selfserve.model import Receipt
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import RevisionRows
from buildbot_selfserve.model import WaitCondition
from buildbot_selfserve.params.declared import ANY_REVISION
from buildbot_selfserve.params.declared import PATCHED
from buildbot_selfserve.params.declared import PRIORITY
from buildbot_selfserve.params.declared import REVISION
from buildbot_selfserve.params.declared import SCHEDULED_PRIORITY
from buildbot_selfserve.params.declared import STABLE_DELAY
from buildbot_selfserve.permissions import CANCEL_REVISION
from buildbot_selfserve.permissions import NEW_BUILD_AT_REVISION
from buildbot_selfserve.permissions import NEW_BUILD_FOR_BUILDER
from buildbot_selfserve.permissions import NEW_SET_AT_REVISION
from buildbot_selfserve.resources.context import JobContext
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import declare

#: What the page of a revision has forms for.
AT_REVISION = (CANCEL_REVISION, NEW_BUILD_AT_REVISION, NEW_SET_AT_REVISION)


def builder_sets(ctx: ReadContext, branch: Branch, revision: Revision) -> tuple[BuilderSet, ...]:
    """The sets of builders that it can be built with."""
    return ctx.history.builder_sets(branch)


@declare(
    "GET",
    "/<branch>/rev/<revision>",
    page_needs_setup=True,
    beside=builder_sets,
    params=(PATCHED,),
    paged=True,
    offers=AT_REVISION,
    returns=RevisionRows,
    template="revision.html",
)
def revision_rows(
    ctx: ReadContext, branch: Branch, revision: Revision, patched: bool
) -> RevisionRows:
    """List the builds and requests at this revision: finished, running and pending.

    A hash may be shortened to its first six or more hexadecimal digits, if no other hash begins
    with them. Builds with a patch on top of the revision are left out, unless patched is 1.
    """
    return ctx.history.rows_at(revision, patched)


@declare(
    "GET",
    "/<branch>/rev",
    page_needs_setup=True,
    beside=builder_sets,
    params=(REVISION, PATCHED),
    paged=True,
    offers=AT_REVISION,
    returns=RevisionRows,
    template="revision.html",
)
def revision_lookup(
    ctx: ReadContext, branch: Branch, revision: Revision, patched: bool
) -> RevisionRows:
    """List the same, with the revision in the query, as a form sends it."""
    return ctx.history.rows_at(revision, patched)


def until_done(
    ctx: ReadContext, branch: Branch, revision: Revision, stable_delay: int
) -> WaitCondition | None:
    """Say what has to end before this revision is done."""
    return ctx.history.wait_condition(revision, stable_delay)


@declare(
    "GET",
    "/<branch>/rev/<revision>/is_done",
    params=(STABLE_DELAY,),
    wait_for=until_done,
    returns=Done,
    template="is_done.html",
)
def is_done(ctx: ReadContext, branch: Branch, revision: Revision, stable_delay: int) -> Done | None:
    """Return whether everything at this revision has ended, and whether it passed.

    It is complete when the last build or request ended at least stableDelay seconds ago. With wait,
    the answer is sent when it is complete or when the time is over. The verdict counts the latest
    result of each builder, so a rebuild that passes counts. A revision that has a change but no
    build requests yet is not complete, because builds may still come. A revision without a change
    and without build requests is not found.
    """
    return ctx.history.done(revision, stable_delay)


@declare(
    "GET",
    "/<branch>/new",
    params=(ANY_REVISION,),
    needs_setup=True,
    offers=(NEW_BUILD_AT_REVISION, NEW_SET_AT_REVISION, NEW_BUILD_FOR_BUILDER),
    returns=Possible,
    template="new.html",
)
def possible(ctx: ReadContext, branch: Branch, any_revision: AnyRevision) -> Possible:
    """List what can be built at a revision, known or not: sets and builders.

    Schedulers are asked with the change of the revision, or with one like the newest change of the
    branch. The page has forms to build them.
    """
    return ctx.history.possible(any_revision)


@declare(
    "DELETE",
    "/<branch>/rev/<revision>",
    permission=CANCEL_REVISION,
    returns=Receipt,
)
async def cancel_revision(ctx: JobContext, branch: Branch, revision: Revision) -> Receipt:
    """Cancel everything that is pending at this revision, then stop everything that is running."""
    return await ctx.jobs.run(cancel.cancel_revision, revision)


@declare(
    "POST",
    "/<branch>/rev/<any_revision>",
    params=(SCHEDULED_PRIORITY,),
    permission=NEW_BUILD_AT_REVISION,
    returns=Receipt,
)
async def new_build_at_revision(
    ctx: JobContext, branch: Branch, any_revision: AnyRevision, priority: int | None
) -> Receipt:
    """Build at this revision, at once, everything that the schedulers of the branch would build."""
    return await ctx.jobs.run(build_with_schedulers.new_builds, any_revision, priority=priority)


@declare(
    "POST",
    "/<branch>/rev/<any_revision>/<builder_set>",
    params=(PRIORITY,),
    permission=NEW_SET_AT_REVISION,
    needs_setup=True,
    returns=Receipt,
)
async def new_set_at_revision(
    ctx: JobContext,
    branch: Branch,
    any_revision: AnyRevision,
    builder_set: BuilderSet,
    priority: int,
) -> Receipt:
    """Build this revision with a set of builders, in one buildset.

    Every branch has the sets nightly and pgo, and any that are configured for it.
    """
    return await ctx.jobs.run(
        build_with_builders.build_set,
        any_revision,
        builder_set,
        priority=priority,
    )
