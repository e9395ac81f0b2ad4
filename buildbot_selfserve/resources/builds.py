"""Builds: look at one, rebuild it, cancel it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from typing import NamedTuple

from buildbot_selfserve.control.explain import queue
from buildbot_selfserve.control.planners import cancel
from buildbot_selfserve.history import builds
from buildbot_selfserve.history import logs
from buildbot_selfserve.history.builders import is_built
from buildbot_selfserve.history.health import health_of_build
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuildDetail
from buildbot_selfserve.model import BuilderHealth
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Forecast
from buildbot_selfserve.model import Log
from buildbot_selfserve.model import LogText
from buildbot_selfserve.model import Receipt
from buildbot_selfserve.model import Step
from buildbot_selfserve.params.declared import BUILD_ID
from buildbot_selfserve.params.declared import CHANGED_PROPERTIES
from buildbot_selfserve.params.declared import COUNT
from buildbot_selfserve.params.declared import LINE_OFFSET
from buildbot_selfserve.params.declared import PRIORITY
from buildbot_selfserve.params.declared import SAME_REVISION
from buildbot_selfserve.params.declared import TAIL
from buildbot_selfserve.permissions import CANCEL_BUILD
from buildbot_selfserve.permissions import REBUILD_BUILD
from buildbot_selfserve.resources.context import Answer
from buildbot_selfserve.resources.context import JobContext
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.resources.rebuild_row import rebuild_row
from buildbot_selfserve.routes import declare


class BuildPage(NamedTuple):
    """What only the page of a build shows.

    :param is_built: it can be built again
    :param forecast: when it is likely done, while it runs
    :param compared: how its builder compares with what was before, where it failed
    """

    is_built: bool
    forecast: Forecast
    compared: BuilderHealth | None = None


def build_page(ctx: ReadContext, branch: Branch, build: BuildRow) -> BuildPage:
    """Return what only the page of *build* shows."""
    forecast = Forecast(None)
    if build.endtime is None:
        forecast = queue.forecaster(ctx.history, ctx.master_state).of_request(
            build.request.request_id
        )
    compared = health_of_build(ctx.history, branch, build)
    return BuildPage(is_built(ctx.history, build.request.builder_id), forecast, compared)


@declare(
    "GET",
    "/<branch>/build/<build>",
    page_needs_master_state=True,
    beside=build_page,
    offers=(REBUILD_BUILD, CANCEL_BUILD),
    returns=BuildDetail,
    template="build.html",
)
def build_detail(ctx: ReadContext, branch: Branch, build: BuildRow) -> BuildDetail:
    """Return one build, with the properties of its request, its steps, and why it failed.

    Its jobs are the job requests that made or ended it, or reprioritized its request.
    """
    detail = builds.build_detail(ctx.history, build)
    return replace(detail, jobs=ctx.journal.jobs_of_build(build))


@declare(
    "GET",
    "/<branch>/build/<build>/log/<step>/<log>",
    params=(TAIL, LINE_OFFSET),
    media_types=("text/plain", "application/octet-stream"),
    returns=LogText,
)
def log_text(
    ctx: ReadContext,
    branch: Branch,
    build: BuildRow,
    step: Step,
    log: Log,
    tail: int | None,
    offset: int,
) -> LogText:
    """Return a log of a step as text, the whole log or its end.

    The text is UTF-8 with the colours that the step has printed; where Accept includes text/html,
    as in browsers, it has no escape sequences. An HTML log is sent as a file to save. Of a step
    that is still running, the log has the lines that are in the database by now.
    """
    return logs.text(ctx.history, log, offset, tail)


@declare(
    "POST",
    "/<branch>/build",
    params=(BUILD_ID, PRIORITY, COUNT, CHANGED_PROPERTIES, SAME_REVISION),
    permission=REBUILD_BUILD,
    returns=Receipt,
)
async def rebuild_build(
    ctx: JobContext,
    branch: Branch,
    build: BuildRow,
    priority: int,
    count: int,
    properties: dict[str, Any] | None,
    same_revision: bool,
) -> Answer:
    """Build this build again, count times.

    Each new build has the sourcestamps of the old one, and its properties but for those that are
    given.
    """
    return await rebuild_row(ctx, branch, build, priority, count, properties, same_revision)


@declare(
    "DELETE",
    "/<branch>/build/<build>",
    permission=CANCEL_BUILD,
    returns=Receipt,
)
async def cancel_build(ctx: JobContext, branch: Branch, build: BuildRow) -> Answer:
    """Stop this build, and do not build its request again."""
    return await ctx.jobs.run(cancel.cancel_build, build)
