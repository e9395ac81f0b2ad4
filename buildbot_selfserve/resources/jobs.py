"""Job requests: the journal."""

from __future__ import annotations

import datetime

from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Jobs
from buildbot_selfserve.params.declared import ACTION
from buildbot_selfserve.params.declared import BRANCH_FILTER
from buildbot_selfserve.params.declared import NUM
from buildbot_selfserve.params.declared import OFFSET
from buildbot_selfserve.params.declared import SINCE
from buildbot_selfserve.params.declared import UNTIL
from buildbot_selfserve.params.declared import WHO
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import declare


@declare(
    "GET",
    "/jobs",
    params=(NUM, OFFSET, WHO, ACTION, BRANCH_FILTER, SINCE, UNTIL),
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
    since: int | datetime.date | None,
    until: int | datetime.date | None,
) -> Jobs:
    """List the job requests, newest first: who requested what, when, and how it ended."""
    return ctx.journal.jobs(
        num, offset, who=who, action=action, branch=branch, since=since, until=until
    )


@declare("GET", "/jobs/<job>", returns=Job, template="job.html")
def job_detail(ctx: ReadContext, job: Job) -> Job:
    """Return one job request, and how it ended."""
    return job
