"""The wire format: the one place where values become JSON (docs/api.md).

The dictionaries are declared in ``answers``. mypy checks each function against its return type, and
``schemas`` derives the schema of the value from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from functools import singledispatch
from typing import Any
from urllib.parse import quote

from buildbot_selfserve import answers
from buildbot_selfserve.model import api_document
from buildbot_selfserve.model import bisection_rows
from buildbot_selfserve.model import branches
from buildbot_selfserve.model import decisions
from buildbot_selfserve.model import holds
from buildbot_selfserve.model import job_mentions
from buildbot_selfserve.model import jobs
from buildbot_selfserve.model import pushes
from buildbot_selfserve.model import queue
from buildbot_selfserve.model import rows
from buildbot_selfserve.model import search
from buildbot_selfserve.model import steps_and_logs
from buildbot_selfserve.model.site import Site


@singledispatch
def as_json(value: Any, site: Site) -> Any:
    """Return *value* as JSON-able data in the wire format (docs/api.md).

    :raises TypeError: for a type that has no wire format
    """
    raise TypeError(f"{type(value).__name__} has no wire format")


@as_json.register
def _request(row: rows.RequestRow, site: Site) -> answers.RequestRow:
    data: answers.RequestRow = {
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
def _build(row: rows.BuildRow, site: Site) -> answers.BuildRow:
    data: answers.BuildRow = {
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
    if row.request.patched:
        data["patched"] = True
    return data


def _row(row: rows.Row, site: Site) -> answers.Row:
    return _build(row, site) if isinstance(row, rows.BuildRow) else _request(row, site)


@as_json.register
def _(detail: rows.BuildDetail, site: Site) -> answers.BuildDetail:
    build = _build(detail.build, site)
    request: answers.RequestOfBuild = {
        **_request(detail.build.request, site),
        "properties": detail.properties,
    }
    logs = _LogUrls(detail.build, site)
    failed = detail.failed_step
    return {
        **build,
        "requests": [request],
        "steps": [_step(step, logs) for step in detail.steps],
        "failed_step": None if failed is None else _failed_step(failed, logs),
        "jobs": _jobs_of_row(detail.jobs),
    }


def _jobs_of_row(mentions: Iterable[job_mentions.JobMention]) -> list[answers.JobOfRow]:
    return [
        {"job_id": one.job_id, "action": one.action, "who": one.who, "when": one.when}
        for one in mentions
        if one.has_effect
    ]


class _LogUrls:
    """Knows the URLs of the logs of a build."""

    def __init__(self, build: rows.BuildRow, site: Site) -> None:
        branch = quote(build.branch, safe="")
        self._here = f"{site.buildbot_url}{site.path}/{branch}/build/{build.build_id}/log"

    def url(self, step: steps_and_logs.Step, log: steps_and_logs.Log) -> str:
        return f"{self._here}/{step.number}/{quote(log.slug, safe='')}"


def _step(step: steps_and_logs.Step, urls: _LogUrls) -> answers.Step:
    return {
        "number": step.number,
        "name": step.name,
        "state_string": step.state_string,
        "results": step.results,
        "started_at": step.started_at,
        "complete_at": step.complete_at,
        "urls": [{"name": link.name, "url": link.url} for link in step.urls],
        "logs": [
            {
                "name": log.name,
                "slug": log.slug,
                "type": log.type,
                "lines": log.lines,
                "url": urls.url(step, log),
            }
            for log in step.logs
        ],
    }


def _failed_step(failed: steps_and_logs.FailedStep, urls: _LogUrls) -> answers.FailedStep:
    step, log = failed.step, failed.log
    tail: answers.LogTail | None = None
    if log is not None:
        tail = {
            "name": log.name,
            "tail": [{"stream": line.stream, "text": line.text} for line in failed.tail],
            "lines": log.lines,
            "url": urls.url(step, log),
        }
        if failed.note:
            tail["note"] = failed.note
    return {
        "number": step.number,
        "name": step.name,
        "state_string": step.state_string,
        "results": step.results,
        "log": tail,
    }


@as_json.register
def _(detail: rows.RequestDetail, site: Site) -> answers.RequestDetail:
    return {
        **_request(detail.request, site),
        "properties": detail.properties,
        "build_ids": [build.build_id for build in detail.builds],
        "jobs": _jobs_of_row(detail.jobs),
    }


@as_json.register
def _(value: branches.Branches, site: Site) -> answers.Branches:
    return {one.branch.name: _branch(one.branch, site) for one in value.rows}


@as_json.register
def _branch(branch: branches.Branch, site: Site) -> answers.Branch:
    return {
        "repo": branch.repo,
        "repo_type": branch.repo_type,
        "graph_branches": [branch.name],
    }


@as_json.register
def _(value: rows.Day, site: Site) -> answers.Day:
    return [_row(row, site) for row in value.rows]


@as_json.register
def _(value: rows.RevisionRows, site: Site) -> answers.RevisionRows:
    return [_row(row, site) for row in value.rows]


@as_json.register
def _(value: branches.Builders, site: Site) -> answers.Builders:
    return [builder.name for builder in value.builders]


@as_json.register
def _(value: branches.Possible, site: Site) -> answers.Possible:
    return {
        "branch": value.revision.branch.name,
        "revision": value.revision.shown,
        "known": value.revision.known,
        "reacting": list(value.reacting),
        "sets": {one.name: [builder.name for builder in one.builders] for one in value.sets},
        "builders": [builder.name for builder in value.builders],
        "undecided": list(value.undecided),
        "undecided_sets": {one.name: list(one.undecided) for one in value.sets if one.undecided},
        "lately": {name: list(builders) for name, builders in value.lately},
        "failing": list(value.failing),
        "unclear": list(value.unclear),
        "elsewhere": _by_branch(value.elsewhere),
    }


def _by_branch(revisions: Iterable[branches.Revision]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for one in revisions:
        found.setdefault(one.branch.name, []).append(one.revision)
    return found


@as_json.register
def _(value: rows.UserRows, site: Site) -> answers.UserRows:
    return {
        "builds": [_build(row, site) for row in value.builds],
        "running": [_build(row, site) for row in value.running],
        "pending": [_request(row, site) for row in value.pending],
    }


@as_json.register
def _(done: rows.Done, site: Site) -> answers.Done:
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
        "built_with": done.built_with,
    }


@as_json.register
def _health_builder(one: pushes.BuilderHealth, site: Site) -> answers.BuilderHealth:
    at = one.at
    url: str | None = None
    if at.build_id is not None:
        url = f"{site.buildbot_url}#/builders/{at.builder_id}/builds/{at.number}"
    elif at.request_id is not None:
        url = f"{site.buildbot_url}#/buildrequests/{at.request_id}"
    return {
        "buildername": at.buildername,
        "builder_id": at.builder_id,
        "state": at.state,
        "attempts": at.attempts,
        "build_id": at.build_id,
        "request_id": at.request_id,
        "change": one.change,
        "base_state": one.base_state,
        "base_revision": one.base_revision,
        "distance": one.distance,
        "failed_step": one.failed_step,
        "url": url,
    }


@as_json.register
def _(health: pushes.Health, site: Site) -> answers.Health:
    return {
        "revision": health.revision.revision,
        "base": health.base,
        "verdict": health.verdict,
        "builders": [_health_builder(one, site) for one in health.builders],
        "counts": health.counts,
        "built_with": health.built_with,
    }


def _push_builder(one: pushes.BuilderHealth) -> answers.PushBuilder:
    at = one.at
    return {
        "buildername": at.buildername,
        "state": at.state,
        "change": one.change,
        "build_id": at.build_id,
        "request_id": at.request_id,
        "attempts": at.attempts,
    }


def _segment(text: str) -> str:
    return quote(text, safe="", errors="replace")


def _push(health: pushes.Health, site: Site, with_branch: bool) -> answers.Push:
    change, revision = health.change, health.revision
    branch = _segment(revision.branch.name)
    data: answers.Push = {
        "revision": revision.revision,
        "when": health.when,
        "author": None if change is None else change.author,
        "subject": None if change is None else change.subject,
        "files": None if change is None else change.file_count,
        "change_ids": [] if change is None else list(change.change_ids),
        "verdict": health.verdict,
        "counts": health.counts,
        "builders": [_push_builder(one) for one in health.builders],
        "built_with": health.built_with,
        "url": f"{site.buildbot_url}{site.path}/{branch}/rev/{_segment(revision.revision)}",
    }
    if with_branch:
        data["branch"] = revision.branch.name
    return data


@as_json.register
def _(value: pushes.Pushes, site: Site) -> answers.Pushes:
    return [_push(one, site, value.branch is None) for one in value.pushes]


@as_json.register
def _(value: pushes.LastGreen, site: Site) -> answers.LastGreen:
    return {
        "revision": value.revision.revision,
        "when": value.when,
        "distance": value.distance,
    }


@as_json.register
def _reason(reason: queue.Reason, site: Site) -> answers.Reason:
    told: answers.Reason = {
        "code": reason.code,
        "msg": reason.msg,
        "blocking": reason.blocking,
        "capacity": reason.capacity,
        "fatal": reason.fatal,
    }
    if reason.workers:
        told["workers"] = list(reason.workers)
    if reason.builds:
        told["builds"] = [_blocking(build, site) for build in reason.builds]
    if reason.locks:
        told["locks"] = list(reason.locks)
    if reason.masters:
        told["masters"] = list(reason.masters)
    if reason.requests:
        told["requests"] = list(reason.requests)
    if reason.settings:
        told["settings"] = list(reason.settings)
    if reason.until is not None:
        told["until"] = reason.until
    if reason.who:
        told["who"] = reason.who
    return told


def _blocking(build: queue.BuildLink, site: Site) -> answers.BlockingBuild:
    return {
        "build_id": build.build_id,
        "buildnumber": build.number,
        "buildername": build.buildername,
        "worker": build.worker,
        "url": build.url(site.buildbot_url),
    }


@as_json.register
def _(value: queue.Why, site: Site) -> answers.Why:
    eta: answers.Eta | None = None
    if value.eta is not None:
        eta = {"earliest": value.eta.earliest, "likely": value.eta.likely}
    return {
        "request_id": value.request.request_id,
        "state": value.state,
        "position": value.position,
        "ahead": value.ahead,
        "eta": eta,
        "eta_reason": value.eta_reason,
        "reasons": [_reason(one, site) for one in value.reasons],
    }


@as_json.register
def _(value: holds.Holds, site: Site) -> answers.Holds:
    return [_branch_hold(one) for one in value.holds]


def _branch_hold(one: holds.BranchHold) -> answers.Hold:
    hold = one.hold
    return {
        "branch": hold.branch,
        "reason": hold.reason,
        "who": hold.who,
        "since": hold.since,
        "expires": hold.expires,
        "builders": list(hold.builders),
        "tags": list(hold.tags),
        "exclude_builders": list(hold.exclude_builders),
        "above": hold.above,
        "waiting": one.waiting,
        "job_id": hold.job_id,
    }


@as_json.register
def _(value: queue.Queue, site: Site) -> answers.Queue:
    return {
        "waiting": value.waiting,
        "oldest": value.oldest,
        "builders": [
            {
                "buildername": one.buildername,
                "builder_id": one.builder_id,
                "waiting": one.waiting,
                "running": one.running,
                "oldest": one.oldest,
                "p50": one.waits.p50,
                "p90": one.waits.p90,
                "reasons": {str(code): number for code, number in one.reasons.items()},
                "owners": dict(one.owners),
            }
            for one in value.builders
        ],
        "worker_sets": [
            {
                "workers": list(one.workers),
                "builders": list(one.builders),
                "waiting": one.waiting,
                "busy": one.busy,
                "oldest": one.oldest,
                "p50": one.waits.p50,
                "p90": one.waits.p90,
                "not_connected": list(one.not_connected),
            }
            for one in value.worker_sets
        ],
        "requests": [_queued(one, site) for one in value.requests],
    }


def _queued(one: queue.QueuedRequest, site: Site) -> answers.QueuedRequest:
    row = _request(one.request, site)
    return {
        "request_id": row["request_id"],
        "buildername": row["buildername"],
        "branch": row["branch"],
        "revision": row["revision"],
        "submittime": row["submittime"],
        "complete": row["complete"],
        "complete_at": row["complete_at"],
        "priority": row["priority"],
        "claimed_at": row["claimed_at"],
        "reason": _reason(one.reason, site),
        "buildset_reason": row["reason"],
        "owner": row["owner"],
        "builder_id": row["builder_id"],
        "url": row["url"],
    }


@as_json.register
def _outcome(outcome: jobs.RequestOutcome, site: Site) -> answers.RequestOutcome:
    url = f"{site.buildbot_url}#/buildrequests/{outcome.request_id}"
    told: answers.RequestOutcome = {
        "request_id": outcome.request_id,
        "buildername": outcome.buildername,
        "outcome": outcome.outcome,
        "build_ids": list(outcome.build_ids),
        "url": url if outcome.request_id is not None else None,
        "msg": outcome.msg,
    }
    if outcome.outcome == "would_create" or outcome.revision is not None:
        told["revision"] = outcome.revision
    if outcome.priority is not None:
        told["priority"] = outcome.priority
    return told


@as_json.register
def _job(job: jobs.Job, site: Site) -> answers.Job:
    end: answers.CompleteData | None = None
    if job.status != "running":
        end = {
            "request_id": job.job_id,
            "body": {
                "errors": job.errors,
                "msg": job.msg,
                "requests": [_outcome(outcome, site) for outcome in job.requests],
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
        "complete_data": end,
        "buildset_ids": list(job.buildset_ids),
    }


@as_json.register
def _(detail: jobs.JobDetail, site: Site) -> answers.JobDetail:
    job = detail.job
    end: answers.CompleteDataNow | None = None
    if job.status != "running":
        end = {
            "request_id": job.job_id,
            "body": {
                "errors": job.errors,
                "msg": job.msg,
                "requests": [_outcome_now(one, detail, site) for one in job.requests],
            },
        }
    return {**_job(job, site), "complete_data": end}


def _outcome_now(
    outcome: jobs.RequestOutcome, detail: jobs.JobDetail, site: Site
) -> answers.RequestOutcomeNow:
    told = _outcome(outcome, site)
    now = detail.now_of(outcome)
    found: answers.RequestOutcomeNow = {
        "request_id": told["request_id"],
        "buildername": told["buildername"],
        "outcome": told["outcome"],
        "build_ids": list(now.build_ids),
        "url": told["url"],
        "msg": told["msg"],
        "state": now.state,
        "results": now.results,
    }
    if outcome.revision is not None:
        found["revision"] = outcome.revision
    return found


@as_json.register
def _(value: jobs.Jobs, site: Site) -> answers.Jobs:
    return [_job(job, site) for job in value.jobs]


@as_json.register
def _(receipt: jobs.Receipt, site: Site) -> answers.Receipt:
    job = receipt.job
    data: answers.Receipt = {
        "status": "FAILED" if job.errors else "OK",
        "msg": job.msg,
        "request_id": job.job_id,
        "job_id": job.job_id,
        "job_url": f"{site.root}/jobs/{job.job_id}",
        "completed_at": job.completed_at,
        "requests": [_outcome(outcome, site) for outcome in job.requests],
        "buildset_ids": list(job.buildset_ids),
    }
    if job.known is not None:
        data["known"] = job.known
    return data


@as_json.register
def _plan(receipt: jobs.PlannedReceipt, site: Site) -> answers.PlannedReceipt:
    job = receipt.job
    data: answers.PlannedReceipt = {
        "status": "PLANNED",
        "msg": job.msg,
        "plan": receipt.plan,
        "requests": [_outcome(outcome, site) for outcome in job.requests],
        "buildset_ids": [],
    }
    if job.known is not None:
        data["known"] = job.known
    return data


@as_json.register
def _(detail: bisection_rows.BisectionDetail, site: Site) -> answers.Bisection:
    bisection, now = detail.bisection, detail.bisection.now
    job, culprit = bisection.job, now.get("culprit")
    here = f"{site.buildbot_url}{site.path}/{quote(bisection.branch.name, safe='')}/rev"
    revisions = [_range_revision(one) for one in detail.revisions]
    return {
        "status": now["status"],
        "msg": now["msg"],
        "job_id": job.job_id,
        "job_url": f"{site.root}/jobs/{job.job_id}",
        "branch": bisection.branch.name,
        "buildername": bisection.spec["buildername"],
        "good": now["good"],
        "bad": now["bad"],
        "candidates": [one["revision"] for one in revisions[1:-1]],
        "low": now["low"],
        "high": now["high"],
        "tested": [
            {"revision": one["revision"], "state": one["state"], "build_id": one["build_id"]}
            for one in revisions
            if one["state"] != bisection_rows.UNTESTED
        ],
        "revisions": revisions,
        "next": now["next"],
        "culprit": None if culprit is None else _culprit(culprit, here),
        "left_steps": now["left_steps"],
        "confirm": bisection.spec["confirm"],
        "builds": len(job.requests),
        "who": job.who,
        "when": job.when,
        "completed_at": job.completed_at,
    }


def _culprit(one: Mapping[str, Any], here: str) -> answers.Culprit:
    return {
        "revision": one["revision"],
        "author": one["author"],
        "subject": one["subject"],
        "when": one["when"],
        "url": f"{here}/{quote(one['revision'], safe='')}",
    }


def _range_revision(one: Mapping[str, Any]) -> answers.RangeRevision:
    return {
        "revision": one["revision"],
        "state": one["state"],
        "build_id": one["build_id"],
        "author": one["author"],
        "subject": one["subject"],
        "builds": one["builds"],
    }


@as_json.register
def _decision(decision: decisions.Decision, site: Site) -> answers.Decision:
    return {
        "allowed": decision.allowed,
        "why": decision.why,
        "depends_on": list(decision.depends_on),
    }


@as_json.register
def _(value: decisions.Permissions, site: Site) -> answers.Permissions:
    return {
        "branch": value.branch.name,
        "who": value.who,
        "via": value.via,
        "builders": None if value.builders is None else list(value.builders),
        "actions": {name: _decision(one, site) for name, one in value.decisions.items()},
        "limits": {
            one.name: {"limit": one.limit, "left": one.left, "resets_in": one.resets_in}
            for one in value.budgets
        },
    }


@as_json.register
def _(value: api_document.Manual, site: Site) -> answers.Manual:
    return {
        "routes": [
            {
                "method": route.method,
                "path": site.root + route.path.rstrip("/"),
                "text": route.text,
                "parameters": list(route.parameters),
            }
            for route in value.routes
        ],
        "branches": [one.branch.name for one in value.branches],
    }


@as_json.register
def _(page: search.Destination, site: Site) -> answers.Destination:
    return {"url": page.url(site.root)}


@as_json.register
def _(value: search.SearchResults, site: Site) -> answers.SearchResults:
    root = site.root
    return {
        "revisions": [
            {
                "branch": one.branch.name,
                "revision": one.revision,
                "url": search.page_of_revision(one).url(root),
            }
            for one in value.revisions
        ],
        "builders": [
            {
                "builder_id": one.builder_id,
                "buildername": one.name,
                "url": search.page_of_builder(one).url(root),
            }
            for one in value.builders
        ],
        "authors": [
            {"author": one, "url": search.page_of_author(one).url(root)} for one in value.authors
        ],
        "branches": [
            {"branch": one.name, "url": search.page_of_branch(one.name).url(root)}
            for one in value.branches
        ],
        "builds": [
            {
                "build_id": one.number,
                "buildername": one.buildername,
                "branch": one.branch,
                "url": one.page.url(root),
            }
            for one in value.builds
        ],
        "requests": [
            {
                "request_id": one.number,
                "buildername": one.buildername,
                "branch": one.branch,
                "url": one.page.url(root),
            }
            for one in value.requests
        ],
        "pushes": [
            {
                "branch": one.revision.branch.name,
                "revision": one.revision.revision,
                "subject": one.subject,
                "url": search.page_of_revision(one.revision).url(root),
            }
            for one in value.pushes
        ],
        "more": list(value.more),
    }


@as_json.register
def _(value: api_document.ApiDocument, site: Site) -> answers.ApiDocument:
    return value.document
