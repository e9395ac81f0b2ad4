"""Job requests: the journal."""

from __future__ import annotations

import datetime

from buildbot_selfserve.history import builds
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import JobDetail
from buildbot_selfserve.model import Jobs
from buildbot_selfserve.params.declared import ACTION
from buildbot_selfserve.params.declared import BRANCH_FILTER
from buildbot_selfserve.params.declared import BUILD_FILTER
from buildbot_selfserve.params.declared import NUM
from buildbot_selfserve.params.declared import OFFSET
from buildbot_selfserve.params.declared import REQUEST_FILTER
from buildbot_selfserve.params.declared import REVISION_FILTER
from buildbot_selfserve.params.declared import SINCE
from buildbot_selfserve.params.declared import UNTIL
from buildbot_selfserve.params.declared import WHO
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import declare


@declare(
    "GET",
    "/jobs",
    params=(
        NUM,
        OFFSET,
        WHO,
        ACTION,
        BRANCH_FILTER,
        REVISION_FILTER,
        REQUEST_FILTER,
        BUILD_FILTER,
        SINCE,
        UNTIL,
    ),
    returns=Jobs,
    template="jobs.html",
)
def jobs(
    ctx: ReadContext,
    num: int,
    offset: int,
    who: str | None,
    action: str | None,
    branch: str | None,
    revision: str | None,
    request_id: int | None,
    build_id: int | None,
    since: int | datetime.date | None,
    until: int | datetime.date | None,
) -> Jobs:
    """List the job requests, newest first: who requested what, when, and how it ended."""
    related = builds.related(ctx.history, request_id, build_id, revision)
    given = {"revision": revision, "request_id": request_id, "build_id": build_id}
    when = {"since": since, "until": until}
    return ctx.journal.jobs(
        num, offset, related, who=who, action=action, branch=branch, **given, **when
    )


@declare("GET", "/jobs/<job>", returns=JobDetail, template="job.html")
def job_detail(ctx: ReadContext, job: Job) -> JobDetail:
    """Return one job request, how it ended, and what its build requests have come to by now."""
    requests = [one.request_id for one in job.requests if one.request_id is not None]
    return JobDetail(job, builds.states_of(ctx.history, requests))
