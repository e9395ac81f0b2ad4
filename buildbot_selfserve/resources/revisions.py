"""Revisions: rows, whether it is done, cancel everything, new builds."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Literal

from buildbot_selfserve.control.explain import queue
from buildbot_selfserve.control.explain.eta import Forecaster
from buildbot_selfserve.control.planners import cancel
from buildbot_selfserve.control.planners import new_builds
from buildbot_selfserve.control.planners import priority as priorities
from buildbot_selfserve.control.planners.builders import build_set
from buildbot_selfserve.control.planners.fill_missing import fill_missing
from buildbot_selfserve.control.planners.rebuild import rerun_failed
from buildbot_selfserve.history import builders
from buildbot_selfserve.history import revisions
from buildbot_selfserve.history.health import health_of_revision
from buildbot_selfserve.history.steps import failed_steps
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import BuilderSet
from buildbot_selfserve.model import Done
from buildbot_selfserve.model import FailedStep
from buildbot_selfserve.model import Health
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Possible
from buildbot_selfserve.model import Receipt
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import RevisionRows
from buildbot_selfserve.model import Selection
from buildbot_selfserve.model import WaitCondition
from buildbot_selfserve.model import Waiting
from buildbot_selfserve.params.declared import ANY_REVISION
from buildbot_selfserve.params.declared import CATEGORY
from buildbot_selfserve.params.declared import CHANGED_PROPERTIES
from buildbot_selfserve.params.declared import COUNT
from buildbot_selfserve.params.declared import FILES
from buildbot_selfserve.params.declared import NEW_PRIORITY
from buildbot_selfserve.params.declared import PATCHED
from buildbot_selfserve.params.declared import PRIORITY
from buildbot_selfserve.params.declared import PROJECT
from buildbot_selfserve.params.declared import PROPERTIES
from buildbot_selfserve.params.declared import REVISION
from buildbot_selfserve.params.declared import SCHEDULED_PRIORITY
from buildbot_selfserve.params.declared import STABLE_DELAY
from buildbot_selfserve.params.declared import STATES
from buildbot_selfserve.permissions import BACKFILL
from buildbot_selfserve.permissions import BISECT
from buildbot_selfserve.permissions import CANCEL_REVISION
from buildbot_selfserve.permissions import FILL_MISSING
from buildbot_selfserve.permissions import NEW_BUILD_AT_REVISION
from buildbot_selfserve.permissions import NEW_BUILD_FOR_BUILDER
from buildbot_selfserve.permissions import NEW_SET_AT_REVISION
from buildbot_selfserve.permissions import REBUILD_BUILD
from buildbot_selfserve.permissions import REBUILD_FAILED
from buildbot_selfserve.permissions import REPRIORITIZE
from buildbot_selfserve.permissions import REPRIORITIZE_REVISION
from buildbot_selfserve.resources.context import Answer
from buildbot_selfserve.resources.context import JobContext
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.resources.given_properties import require_same
from buildbot_selfserve.resources.given_properties import require_same_branch
from buildbot_selfserve.routes import declare

#: What the page of a revision has forms for.
AT_REVISION = (
    REBUILD_BUILD,
    CANCEL_REVISION,
    NEW_BUILD_AT_REVISION,
    NEW_SET_AT_REVISION,
    REBUILD_FAILED,
    FILL_MISSING,
    REPRIORITIZE,
    REPRIORITIZE_REVISION,
    BACKFILL,
    BISECT,
)


#: So many failing steps and waiting requests are shown on the page of a revision.
MOST_SHOWN = 12
#: So many of the newest job requests are.
MOST_JOBS = 8


@dataclass(frozen=True)
class RevisionPage:
    """What only the page of a revision shows.

    :param sets: the sets of builders that it can be built with
    :param builders: the builders of the branch
    :param health: how it compares; ``None`` where nothing was ever to be built
    :param failed: the steps because of which builds failed, with the ends of their logs, by build
    :param waiting: why requests wait, by request
    :param tags: the tags by which builders are grouped, by their names
    :param jobs: the newest job requests about it
    :param forecaster: forecasts when what is open is done; ``None`` where nothing is
    """

    sets: tuple[BuilderSet, ...]
    builders: tuple[Builder, ...]
    health: Health | None
    failed: Mapping[int, FailedStep]
    waiting: Mapping[int, Waiting]
    tags: Mapping[str, str]
    jobs: Sequence[Job]
    forecaster: Forecaster | None = None


def revision_page(ctx: ReadContext, branch: Branch, revision: Revision) -> RevisionPage:
    """Return what only the page of *revision* shows."""
    history = ctx.history
    health = health_of_revision(history, revision, reacting=builders.reacting(history))
    failing, under_way = ((), ()) if health is None else (health.failing, health.under_way)
    builds = [one.at.result_build_id for one in failing if one.at.result_build_id is not None]
    waiting: dict[int, Waiting] = {}
    forecaster = None
    if under_way:
        shown = [one.at.request_id or 0 for one in under_way[:MOST_SHOWN]]
        waiting, forecaster = queue.waiting_and_forecaster(history, ctx.master_state, shown)
    return RevisionPage(
        builders.builder_sets(history, branch),
        builders.builders_of(history, branch).builders,
        health,
        failed_steps(history, builds[:MOST_SHOWN]),
        waiting,
        builders.only_tags(history),
        ctx.journal.jobs_at(branch, sorted(revisions.spellings(history, revision)), MOST_JOBS),
        forecaster,
    )


@declare(
    "GET",
    "/<branch>/rev/<revision>",
    page_needs_setup=True,
    page_needs_master_state=True,
    beside=revision_page,
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
    return revisions.rows_at(ctx.history, revision, patched)


@declare(
    "GET",
    "/<branch>/rev",
    page_needs_setup=True,
    page_needs_master_state=True,
    beside=revision_page,
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
    return revisions.rows_at(ctx.history, revision, patched)


def until_done(
    ctx: ReadContext, branch: Branch, revision: Revision, stable_delay: int
) -> WaitCondition | None:
    """Say what has to end before this revision is done."""
    return revisions.wait_condition(ctx.history, revision, stable_delay)


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
    return revisions.done(ctx.history, revision, stable_delay)


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
    return builders.possible(ctx.history, any_revision)


@declare(
    "DELETE",
    "/<branch>/rev/<revision>",
    selects=True,
    permission=CANCEL_REVISION,
    returns=Receipt,
)
async def cancel_revision(
    ctx: JobContext, branch: Branch, revision: Revision, selection: Selection
) -> Answer:
    """Cancel everything that is pending at this revision, then stop everything that is running."""
    return await ctx.jobs.run(cancel.cancel_revision, revision, selection)


@declare(
    "PUT",
    "/<branch>/rev/<revision>",
    params=(NEW_PRIORITY,),
    selects=True,
    permission=REPRIORITIZE_REVISION,
    returns=Receipt,
)
async def reprioritize_revision(
    ctx: JobContext,
    branch: Branch,
    revision: Revision,
    selection: Selection,
    priority: int | Literal["next"],
) -> Answer:
    """Change the priority of everything that is pending at this revision."""
    return await ctx.jobs.run(
        priorities.reprioritize_revision, revision, selection, priority=priority
    )


@declare(
    "POST",
    "/<branch>/rev/<any_revision>",
    params=(SCHEDULED_PRIORITY, PROPERTIES, FILES, CATEGORY, PROJECT),
    selects=True,
    permission=NEW_BUILD_AT_REVISION,
    returns=Receipt,
)
async def new_build_at_revision(
    ctx: JobContext,
    branch: Branch,
    any_revision: AnyRevision,
    selection: Selection,
    priority: int | None,
    properties: dict[str, Any] | None,
    files: list[str] | None,
    category: str | None,
    project: str | None,
) -> Answer:
    """Build at this revision, at once, everything that the schedulers of the branch would build.

    If Buildbot has no change of this revision, one is recorded that is like the newest one that was
    pushed to the branch, except for the files, category and project that are given. From then on,
    schedulers go by these for this revision. The properties are set on these builds only.
    """
    require_same(properties, any_revision)
    return await ctx.jobs.run(
        new_builds.new_builds,
        any_revision,
        selection,
        priority=priority,
        properties=properties,
        files=files,
        category=category,
        project=project,
    )


@declare(
    "POST",
    "/<branch>/rev/<revision>/failed",
    params=(STATES, PRIORITY, COUNT, CHANGED_PROPERTIES),
    selects=True,
    permission=REBUILD_FAILED,
    returns=Receipt,
)
async def rebuild_failed(
    ctx: JobContext,
    branch: Branch,
    revision: Revision,
    selection: Selection,
    states: tuple[str, ...],
    priority: int,
    count: int,
    properties: dict[str, Any] | None,
) -> Answer:
    """Rerun what failed at this revision: each builder whose latest result is in states.

    Builders with something pending or running at this revision are left out, so sending this twice
    reruns nothing twice. If a build's parent waited for it, the parent is rebuilt instead, once.
    """
    require_same_branch(properties, branch)
    return await ctx.jobs.run(
        rerun_failed,
        revision,
        selection,
        states=states,
        priority=priority,
        count=count,
        properties=properties,
    )


@declare(
    "POST",
    "/<branch>/rev/<revision>/missing",
    params=(SCHEDULED_PRIORITY,),
    selects=True,
    permission=FILL_MISSING,
    returns=Receipt,
)
async def fill_in_missing(
    ctx: JobContext,
    branch: Branch,
    revision: Revision,
    selection: Selection,
    priority: int | None,
) -> Answer:
    """Build what the schedulers of the branch would build at this revision and has no result.

    This includes builders that were never requested, whose requests were collapsed into others, or
    that were cancelled; not those that ran and skipped themselves.
    """
    return await ctx.jobs.run(fill_missing, revision, selection, priority=priority)


@declare(
    "POST",
    "/<branch>/rev/<any_revision>/<builder_set>",
    params=(PRIORITY,),
    selects=True,
    permission=NEW_SET_AT_REVISION,
    needs_setup=True,
    returns=Receipt,
)
async def new_set_at_revision(
    ctx: JobContext,
    branch: Branch,
    any_revision: AnyRevision,
    builder_set: BuilderSet,
    selection: Selection,
    priority: int,
) -> Answer:
    """Build this revision with a set of builders.

    There is one buildset for each scheduler of the set, with its own properties and codebases, and
    one for all other builders. Every branch has the sets nightly and pgo, and any that are
    configured for it.
    """
    return await ctx.jobs.run(build_set, any_revision, builder_set, selection, priority=priority)
