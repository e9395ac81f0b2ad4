"""The wire format: the one place where values become JSON (docs/api.md).

``schemas`` says the same as JSON schemas: what is added here gets its line there.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatch
from typing import Any

from buildbot_selfserve.model.api_document import ApiDocument
from buildbot_selfserve.model.api_document import Manual
from buildbot_selfserve.model.branches import Branch
from buildbot_selfserve.model.branches import Branches
from buildbot_selfserve.model.branches import Builders
from buildbot_selfserve.model.branches import Possible
from buildbot_selfserve.model.branches import Revision
from buildbot_selfserve.model.decisions import Decision
from buildbot_selfserve.model.decisions import Permissions
from buildbot_selfserve.model.jobs import Job
from buildbot_selfserve.model.jobs import Jobs
from buildbot_selfserve.model.jobs import Receipt
from buildbot_selfserve.model.jobs import RequestOutcome
from buildbot_selfserve.model.rows import BuildDetail
from buildbot_selfserve.model.rows import BuildRow
from buildbot_selfserve.model.rows import Day
from buildbot_selfserve.model.rows import Done
from buildbot_selfserve.model.rows import RequestDetail
from buildbot_selfserve.model.rows import RequestRow
from buildbot_selfserve.model.rows import RevisionRows
from buildbot_selfserve.model.rows import Row
from buildbot_selfserve.model.rows import UserRows
from buildbot_selfserve.model.site import Site


@singledispatch
def as_json(value: Any, site: Site) -> Any:
    """Return *value* as JSON-able data in the wire format (docs/api.md).

    :raises TypeError: for a type that has no wire format
    """
    raise TypeError(f"{type(value).__name__} has no wire format")


@as_json.register
def _request(row: RequestRow, site: Site) -> dict[str, Any]:
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
        "owner": row.owner,
        "builder_id": row.builder_id,
        "url": f"{site.buildbot_url}#/buildrequests/{row.request_id}",
    }
    if row.patched:
        data["patched"] = True
    if row.complete:
        # only then: old clients take a row without these two keys for pending
        data["status"] = row.status
        data["endtime"] = row.complete_at
    return data


@as_json.register
def _build(row: BuildRow, site: Site) -> dict[str, Any]:
    data = {
        "build_id": row.build_id,
        "requests": [_request(row.request, site)],
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
    return {**data, "patched": True} if row.patched else data


def _row(row: Row, site: Site) -> dict[str, Any]:
    return _build(row, site) if isinstance(row, BuildRow) else _request(row, site)


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
    return {one.branch.name: as_json(one.branch, site) for one in value.rows}


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
    return [_row(row, site) for row in value.rows]


@as_json.register
def _(value: Builders, site: Site) -> list[str]:
    return [builder.name for builder in value.builders]


@as_json.register
def _(value: Possible, site: Site) -> dict[str, Any]:
    return {
        "branch": value.revision.branch.name,
        "revision": value.revision.shown,
        "known": value.revision.known,
        "reacting": list(value.reacting),
        "sets": {one.name: [builder.name for builder in one.builders] for one in value.sets},
        "builders": [builder.name for builder in value.builders],
        "elsewhere": _by_branch(value.elsewhere),
    }


def _by_branch(revisions: Iterable[Revision]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in revisions:
        found.setdefault(one.branch.name, []).append(one.revision)
    return found


@as_json.register
def _(value: UserRows, site: Site) -> dict[str, Any]:
    return {
        "builds": [as_json(row, site) for row in value.builds],
        "running": [as_json(row, site) for row in value.running],
        "pending": [as_json(row, site) for row in value.pending],
    }


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
        "verdict": done.verdict,
        "failing": list(done.failing),
        "flaky": list(done.flaky),
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
        "status": "FAILED" if job.errors else "OK",
        "msg": job.msg,
        "request_id": job.job_id,
        "job_id": job.job_id,
        "job_url": f"{site.root}/jobs/{job.job_id}",
        "completed_at": job.completed_at,
        "requests": [as_json(outcome, site) for outcome in job.requests],
        "buildset_ids": list(job.buildset_ids),
    }


@as_json.register
def _(verdict: Decision, site: Site) -> dict[str, Any]:
    return {
        "allowed": verdict.allowed,
        "why": verdict.why,
        "depends_on": list(verdict.depends_on),
    }


@as_json.register
def _(value: Permissions, site: Site) -> dict[str, Any]:
    return {
        "branch": value.branch.name,
        "who": value.who,
        "via": value.via,
        "actions": {name: as_json(verdict, site) for name, verdict in value.decisions.items()},
        "limits": {
            one.name: {"limit": one.limit, "left": one.left, "resets_in": one.resets_in}
            for one in value.budgets
        },
    }


@as_json.register
def _(manual: Manual, site: Site) -> dict[str, Any]:
    return {
        "routes": [
            {
                "method": route.method,
                "path": site.root + route.path.rstrip("/"),
                "text": route.text,
                "parameters": list(route.parameters),
            }
            for route in manual.routes
        ],
        "branches": [one.branch.name for one in manual.branches],
    }


@as_json.register
def _(value: ApiDocument, site: Site) -> dict[str, Any]:
    return value.document
