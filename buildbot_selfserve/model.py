"""The values that travel through the house, and the one place where they become JSON.

All of them are frozen and plain, so that they can cross from one process to another. Field names
are those of the wire format (contract, sections 2 and 3).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import field
from functools import singledispatch
from typing import Any
from urllib.parse import urlparse

# Result codes, as buildbot/process/results.py has them. They are part of Buildbot's database
# format; repeated here because this floor imports nothing.
SUCCESS, WARNINGS, FAILURE, SKIPPED, EXCEPTION, RETRY, CANCELLED = range(7)
RESULT_NAMES = ("success", "warnings", "failure", "skipped", "exception", "retry", "cancelled")

#: A row that ended like this does not keep a revision from having passed (contract, is_done).
PASSED = frozenset({SUCCESS, RETRY, SKIPPED})


@dataclass(frozen=True)
class Branch:
    """A branch as it stands in URLs, and the sourcestamps that belong to it.

    :param name: the name in URLs and in rows
    :param branches: the values of ``sourcestamps.branch`` that match
    :param codebase: only this codebase, or ``None`` for any; likewise project and repository
    :param revlink: ``str.format`` template with ``{revision}``, or a callable, or ``None``
    """

    name: str
    branches: tuple[str | None, ...]
    codebase: str | None = None
    project: str | None = None
    repository: str | None = None
    repo: str = ""
    repo_type: str = "git"
    revlink: str | Callable[[str], str] | None = None

    def link(self, revision: str | None) -> str | None:
        """Return the URL of *revision* in the repository's own browser, if one is configured."""
        if not revision or self.revlink is None:
            return None
        if callable(self.revlink):
            return self.revlink(revision)
        return self.revlink.format(revision=revision)


@dataclass(frozen=True)
class Site:
    """What a reader must know of the master's configuration, as plain data.

    :param path: our path under Buildbot's root, without slashes around it
    :param buildbot_url: Buildbot's own URL, with a trailing slash
    :param title: the title of this Buildbot
    :param timezone: whose midnight ``date=`` means
    :param max_count: largest ``count`` of a rebuild
    :param branches: the configured branches, or ``None`` when the master's own history says
    :param hinted_branches: branches that the schedulers' change filters name
    """

    path: str
    buildbot_url: str
    title: str = "Buildbot"
    timezone: str = "UTC"
    max_count: int = 100
    branches: tuple[Branch, ...] | None = None
    hinted_branches: tuple[str, ...] = ()

    @property
    def prefix(self) -> str:
        """Return the path of Buildbot's root as clients see it, without a trailing slash.

        A proxy that serves Buildbot under a prefix takes it away before we see it.
        """
        return urlparse(self.buildbot_url).path.rstrip("/")

    @property
    def root(self) -> str:
        """Return the path of our root as clients see it, without a trailing slash."""
        return f"{self.prefix}/{self.path}"


@dataclass(frozen=True)
class RequestRow:
    """A build request on a branch.

    ``status`` is the result code once the request is complete and ``None`` before; the times are
    epoch seconds.
    """

    request_id: int
    buildername: str
    builder_id: int
    branch: str
    revision: str | None
    submittime: int
    complete: int
    complete_at: int | None
    priority: int
    claimed_at: int
    reason: str | None
    status: int | None
    buildset_id: int

    @property
    def state(self) -> str:
        """Return ``pending``, ``running`` or the name of the result."""
        if self.complete:
            return result_name(self.status)
        return "running" if self.claimed_at else "pending"

    @property
    def starttime(self) -> int:
        return self.submittime

    @property
    def endtime(self) -> int | None:
        return self.complete_at if self.complete else None

    def asked(self) -> dict[str, Any]:
        """Return how the journal names this target (contract, section 3: ``what``)."""
        return {"brid": self.request_id, "branch": self.branch}


@dataclass(frozen=True)
class BuildRow:
    """A build of a request; ``endtime`` and ``status`` are ``None`` while it runs."""

    build_id: int
    request: RequestRow
    buildnumber: int
    buildername: str
    builder_id: int
    branch: str
    revision: str | None
    starttime: int
    endtime: int | None
    status: int | None
    claimed_by_name: str | None
    worker: str | None
    state_string: str

    @property
    def state(self) -> str:
        """Return ``running`` or the name of the result."""
        return "running" if self.endtime is None else result_name(self.status)

    def asked(self) -> dict[str, Any]:
        """Return how the journal names this target (contract, section 3: ``what``)."""
        return {"bid": self.build_id, "branch": self.branch}


Row = BuildRow | RequestRow


@dataclass(frozen=True)
class BuildDetail:
    """One build with the properties of its request."""

    build: BuildRow
    properties: dict[str, Any]


@dataclass(frozen=True)
class RequestDetail:
    """One request with its properties and its builds, oldest first."""

    request: RequestRow
    properties: dict[str, Any]
    builds: tuple[BuildRow, ...]


@dataclass(frozen=True)
class Branches:
    """The branches of this master, in the order of their names."""

    branches: tuple[Branch, ...]


@dataclass(frozen=True)
class Day:
    """What happened on a branch on one day, newest first.

    :param date: ISO date; *earlier* and *later* are those beside it, *later* is ``None`` today
    """

    branch: Branch
    date: str
    earlier: str
    later: str | None
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Revision:
    """A revision that is known on a branch.

    :param revision: the whole revision
    :param sourcestamps: ids of the sourcestamps that have it on this branch
    """

    branch: Branch
    revision: str
    sourcestamps: tuple[int, ...]

    def asked(self) -> dict[str, Any]:
        """Return how the journal names this target (contract, section 3: ``what``)."""
        return {"branch": self.branch.name, "revision": self.revision}


@dataclass(frozen=True)
class RevisionRows:
    """Everything that was asked for at a revision, and how far it is.

    :param done: the same question as ``is_done`` asks
    """

    revision: Revision
    rows: tuple[Row, ...]
    done: Done


@dataclass(frozen=True)
class Done:
    """Whether a revision is done, and how it went (contract, ``is_done``).

    :param stable_delay: seconds that must have passed since the last row ended
    """

    stable_delay: int
    job_complete: bool
    job_passed: bool
    pending: int = 0
    running: int = 0
    builds: int = 0
    failed: int = 0
    cancelled: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class RequestOutcome:
    """What became of one build request, as the database said after the act.

    :param outcome: one of ``created, cancelled, stopped, stop_sent, already_complete,
        reprioritized, skipped, waiting, denied, failed``
    """

    request_id: int | None
    buildername: str
    outcome: str
    build_ids: tuple[int, ...] = ()
    msg: str = ""


@dataclass(frozen=True)
class Order:
    """What an act must know of the job request that it belongs to.

    :param deadline: reactor seconds after which nothing new may be begun
    """

    job_id: int
    who: str
    deadline: float


@dataclass(frozen=True)
class Effect:
    """What an act did: the true outcome for each build request, and what to say of it."""

    msg: str
    requests: tuple[RequestOutcome, ...] = ()
    buildset_ids: tuple[int, ...] = ()
    errors: bool = False


@dataclass(frozen=True)
class Job:
    """A job request: one self-serve mutation as the journal knows it.

    :param when: epoch seconds at which it was asked for; ``completed_at`` likewise
    :param via: how the asker proved who they are
    :param remote: the address that it came from
    :param status: ``running``, ``ok``, ``failed`` or ``unknown``
    :param what: what was asked, under the names of the original API
    """

    job_id: int
    action: str
    who: str
    via: str
    remote: str
    when: int
    branch: str
    what: dict[str, Any]
    status: str = "running"
    completed_at: int | None = None
    errors: bool = False
    msg: str = ""
    requests: tuple[RequestOutcome, ...] = ()
    buildset_ids: tuple[int, ...] = ()


@dataclass(frozen=True)
class Jobs:
    """One page of the journal, newest first.

    :param more: there are older ones
    """

    jobs: tuple[Job, ...]
    num: int
    offset: int
    more: bool
    filters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Receipt:
    """The answer to a job request: the job when it has ended."""

    job: Job


@dataclass(frozen=True)
class RouteText:
    """One route as the root page documents it."""

    method: str
    path: str
    text: str
    parameters: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Manual:
    """The routes of this API and the branches they can be used with."""

    routes: tuple[RouteText, ...]
    branches: tuple[Branch, ...]


def result_name(status: int | None) -> str:
    """Return the word for a result code, ``none`` for none."""
    if status is None or not 0 <= status < len(RESULT_NAMES):
        return "none"
    return RESULT_NAMES[status]


# -- JSON


@singledispatch
def as_json(value: Any, site: Site) -> Any:
    """Return *value* as JSON-able data in the wire format of the contract.

    :raises TypeError: for a type that has no wire format
    """
    raise TypeError(f"{type(value).__name__} has no wire format")


@as_json.register
def _(row: RequestRow, site: Site) -> dict[str, Any]:
    data: dict[str, Any] = {
        "request_id": row.request_id,
        "buildername": row.buildername,
        "branch": row.branch,
        "revision": row.revision,
        "submittime": row.submittime,
        "complete": row.complete,
        "complete_at": row.complete_at,
        "priority": row.priority,
        "claimed_at": row.claimed_at,
        "reason": row.reason,
        "builder_id": row.builder_id,
        "url": f"{site.buildbot_url}#/buildrequests/{row.request_id}",
    }
    if row.complete:
        # only then: old clients take a row without these two keys for pending
        data["status"] = row.status
        data["endtime"] = row.complete_at
    return data


@as_json.register
def _(row: BuildRow, site: Site) -> dict[str, Any]:
    return {
        "build_id": row.build_id,
        "requests": [as_json(row.request, site)],
        "buildnumber": row.buildnumber,
        "buildername": row.buildername,
        "branch": row.branch,
        "revision": row.revision,
        "starttime": row.starttime,
        "endtime": row.endtime,
        "status": row.status,
        "claimed_by_name": row.claimed_by_name,
        "builder_id": row.builder_id,
        "worker": row.worker,
        "url": f"{site.buildbot_url}#/builders/{row.builder_id}/builds/{row.buildnumber}",
    }


@as_json.register
def _(detail: BuildDetail, site: Site) -> dict[str, Any]:
    data = as_json(detail.build, site)
    for request in data["requests"]:
        request["properties"] = detail.properties
    return dict(data)


@as_json.register
def _(detail: RequestDetail, site: Site) -> dict[str, Any]:
    return {
        **as_json(detail.request, site),
        "properties": detail.properties,
        "build_ids": [build.build_id for build in detail.builds],
    }


@as_json.register
def _(value: Branches, site: Site) -> dict[str, Any]:
    return {branch.name: as_json(branch, site) for branch in value.branches}


@as_json.register
def _(branch: Branch, site: Site) -> dict[str, Any]:
    return {
        "repo": branch.repo,
        "repo_type": branch.repo_type,
        "graph_branches": [branch.name],
    }


@as_json.register(Day)
@as_json.register(RevisionRows)
def _(value: Day | RevisionRows, site: Site) -> list[Any]:
    return [as_json(row, site) for row in value.rows]


@as_json.register
def _(done: Done, site: Site) -> dict[str, Any]:
    return {
        "stableDelay": done.stable_delay,
        "job_complete": done.job_complete,
        "job_passed": done.job_passed,
        "pending": done.pending,
        "running": done.running,
        "builds": done.builds,
        "failed": done.failed,
        "cancelled": done.cancelled,
        "skipped": done.skipped,
    }


@as_json.register
def _(outcome: RequestOutcome, site: Site) -> dict[str, Any]:
    url = f"{site.buildbot_url}#/buildrequests/{outcome.request_id}"
    return {
        "request_id": outcome.request_id,
        "buildername": outcome.buildername,
        "outcome": outcome.outcome,
        "build_ids": list(outcome.build_ids),
        "url": url if outcome.request_id is not None else None,
        "msg": outcome.msg,
    }


@as_json.register
def _(job: Job, site: Site) -> dict[str, Any]:
    body = None
    if job.status != "running":
        body = {
            "request_id": job.job_id,
            "body": {
                "errors": job.errors,
                "msg": job.msg,
                "requests": [as_json(outcome, site) for outcome in job.requests],
            },
        }
    return {
        "job_id": job.job_id,
        "action": job.action,
        "who": job.who,
        "via": job.via,
        "remote": job.remote,
        "when": job.when,
        "branch": job.branch,
        "what": job.what,
        "status": job.status,
        "completed_at": job.completed_at,
        "complete_data": body,
        "buildset_ids": list(job.buildset_ids),
    }


@as_json.register
def _(value: Jobs, site: Site) -> list[Any]:
    return [as_json(job, site) for job in value.jobs]


@as_json.register
def _(receipt: Receipt, site: Site) -> dict[str, Any]:
    job = receipt.job
    return {
        "status": "OK",
        "msg": job.msg,
        "request_id": job.job_id,
        "job_id": job.job_id,
        "job_url": f"{site.root}/jobs/{job.job_id}",
        "completed_at": job.completed_at,
        "requests": [as_json(outcome, site) for outcome in job.requests],
        "buildset_ids": list(job.buildset_ids),
    }


@as_json.register
def _(manual: Manual, site: Site) -> dict[str, Any]:
    return {
        "routes": [
            {
                "method": route.method,
                "path": site.root + route.path,
                "text": route.text,
                "parameters": list(route.parameters),
            }
            for route in manual.routes
        ],
        "branches": [branch.name for branch in manual.branches],
    }
