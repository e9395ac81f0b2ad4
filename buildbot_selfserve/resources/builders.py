"""Builders: those of a branch, and one build of any of them."""

from __future__ import annotations

from typing import Any

from buildbot_selfserve.control.planners.builders import build
from buildbot_selfserve.history.builders import builders_of
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Builders
from buildbot_selfserve.model import Receipt
from buildbot_selfserve.params.declared import ANY_REVISION
from buildbot_selfserve.params.declared import BUILDER_NAME
from buildbot_selfserve.params.declared import FILES
from buildbot_selfserve.params.declared import PRIORITY
from buildbot_selfserve.params.declared import PROPERTIES
from buildbot_selfserve.permissions import NEW_BUILD_FOR_BUILDER
from buildbot_selfserve.resources.context import Answer
from buildbot_selfserve.resources.context import JobContext
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.resources.given_properties import require_same
from buildbot_selfserve.routes import declare


@declare(
    "GET",
    "/<branch>/builders",
    needs_setup=True,
    returns=Builders,
    template="builders.html",
)
def builders(ctx: ReadContext, branch: Branch) -> Builders:
    """List the names of the builders of this branch, sorted.

    These are the builders configured for it, or else those that its schedulers start, those that
    these trigger, and those that have built it within 30 days. Builders that no master has now are
    left out.
    """
    return builders_of(ctx.history, branch)


@declare(
    "POST",
    "/<branch>/builders/<builder>/<any_revision>",
    params=(PRIORITY, PROPERTIES, FILES),
    permission=NEW_BUILD_FOR_BUILDER,
    needs_setup=True,
    returns=Receipt,
)
async def new_build_for_builder(
    ctx: JobContext,
    branch: Branch,
    builder: Builder,
    any_revision: AnyRevision,
    priority: int,
    properties: dict[str, Any] | None,
    files: list[str] | None,
) -> Answer:
    """Build this revision once, with this builder.

    Properties may repeat the branch and the revision, but not change them.
    """
    require_same(properties, any_revision)
    return await ctx.jobs.run(
        build,
        any_revision,
        builder,
        priority=priority,
        properties=properties,
        files=files,
    )


@declare(
    "POST",
    "/<branch>/builders",
    params=(BUILDER_NAME, ANY_REVISION, PRIORITY, PROPERTIES, FILES),
    permission=NEW_BUILD_FOR_BUILDER,
    needs_setup=True,
    returns=Receipt,
)
async def new_build_for_named_builder(
    ctx: JobContext,
    branch: Branch,
    builder: Builder,
    any_revision: AnyRevision,
    priority: int,
    properties: dict[str, Any] | None,
    files: list[str] | None,
) -> Answer:
    """Build a revision once with a builder, both given in the body, as a form sends them."""
    return await new_build_for_builder(
        ctx, branch, builder, any_revision, priority, properties, files
    )
