"""The one query behind every list of builds and requests, and how its records become rows.

A record is one request with one of its builds (or none) and one of its buildset's sourcestamps
that belongs to the branch. A request can have several builds (RETRY) and a buildset several
sourcestamps (codebases), so several records may make one row.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Row

stamps = Model.sourcestamps
links = Model.buildset_sourcestamps
buildsets = Model.buildsets
requests = Model.buildrequests
claims = Model.buildrequest_claims
builds = Model.builds
workers = Model.workers
masters = Model.masters
_request_builder = Model.builders.alias("request_builder")
_build_builder = Model.builders.alias("build_builder")

RECORDS = (
    sa.select(
        requests.c.id.label("request_id"),
        requests.c.buildsetid,
        requests.c.builderid.label("request_builder_id"),
        requests.c.priority,
        requests.c.complete,
        requests.c.results.label("request_results"),
        requests.c.submitted_at,
        requests.c.complete_at.label("request_complete_at"),
        claims.c.claimed_at,
        _request_builder.c.name.label("request_builder"),
        buildsets.c.reason,
        stamps.c.revision,
        builds.c.id.label("build_id"),
        builds.c.number,
        builds.c.builderid.label("build_builder_id"),
        _build_builder.c.name.label("build_builder"),
        builds.c.started_at,
        builds.c.complete_at.label("build_complete_at"),
        builds.c.results.label("build_results"),
        builds.c.state_string,
        workers.c.name.label("worker"),
        masters.c.name.label("master"),
    )
    .select_from(
        stamps.join(links, links.c.sourcestampid == stamps.c.id)
        .join(buildsets, buildsets.c.id == links.c.buildsetid)
        .join(requests, requests.c.buildsetid == buildsets.c.id)
        .join(_request_builder, _request_builder.c.id == requests.c.builderid)
        .outerjoin(claims, claims.c.brid == requests.c.id)
        .outerjoin(builds, builds.c.buildrequestid == requests.c.id)
        .outerjoin(_build_builder, _build_builder.c.id == builds.c.builderid)
        .outerjoin(workers, workers.c.id == builds.c.workerid)
        .outerjoin(masters, masters.c.id == builds.c.masterid)
    )
    # where several codebases of a buildset match the branch, the first one stands for all
    .order_by(requests.c.id, builds.c.id, stamps.c.codebase, stamps.c.id)
)


def belongs(branch: Branch) -> sa.ColumnElement[bool]:
    """Return the condition on sourcestamps that they belong to *branch*."""
    named = [text for text in branch.branches if text is not None]
    fits: sa.ColumnElement[bool] = stamps.c.branch.in_(named)
    if None in branch.branches:
        fits = sa.or_(fits, stamps.c.branch.is_(None))
    for column, wanted in (
        (stamps.c.codebase, branch.codebase),
        (stamps.c.project, branch.project),
        (stamps.c.repository, branch.repository),
    ):
        if wanted is not None:
            fits = sa.and_(fits, column == wanted)
    return fits


def rows_of(
    connection: sa.Connection, branch: Branch, *conditions: sa.ColumnElement[bool]
) -> list[Row]:
    """Return the rows of *branch* that meet the *conditions*, the newest first."""
    records = connection.execute(RECORDS.where(belongs(branch), *conditions))
    rows = assemble(branch, records)
    rows.sort(key=lambda row: row.starttime, reverse=True)
    return rows


def assemble(branch: Branch, records: Iterable[Any]) -> list[Row]:
    """Return the rows that *records* of whole requests make, in their order."""
    found: dict[int, tuple[RequestRow, dict[int, BuildRow]]] = {}
    for record in records:
        if record.request_id not in found:
            found[record.request_id] = (_request_row(branch, record), {})
        request, its_builds = found[record.request_id]
        if record.build_id is not None and record.build_id not in its_builds:
            its_builds[record.build_id] = _build_row(request, record)
    rows: list[Row] = []
    for request, its_builds in found.values():
        rows.extend(its_builds.values())
        if not _stands_for(request, its_builds.values()):
            rows.append(request)
    return rows


def _stands_for(request: RequestRow, its_builds: Iterable[BuildRow]) -> bool:
    """Whether the builds tell all there is to tell of the request.

    They do not where none is the last word: the request never had a build, waits again after a
    RETRY, or was cancelled while it did.
    """
    if request.complete:
        return any(build.status != RETRY for build in its_builds)
    return any(build.endtime is None for build in its_builds)


def _request_row(branch: Branch, record: Any) -> RequestRow:
    complete = bool(record.complete)
    return RequestRow(
        request_id=record.request_id,
        buildername=record.request_builder,
        builder_id=record.request_builder_id,
        branch=branch.name,
        revision=record.revision,
        submittime=record.submitted_at,
        complete=int(complete),
        complete_at=record.request_complete_at,
        priority=record.priority,
        claimed_at=record.claimed_at or 0,
        reason=record.reason,
        status=record.request_results if complete else None,
        buildset_id=record.buildsetid,
    )


def _build_row(request: RequestRow, record: Any) -> BuildRow:
    running = record.build_complete_at is None
    return BuildRow(
        build_id=record.build_id,
        request=request,
        buildnumber=record.number,
        buildername=record.build_builder,
        builder_id=record.build_builder_id,
        branch=request.branch,
        revision=request.revision,
        starttime=record.started_at,
        endtime=None if running else record.build_complete_at,
        status=None if running else record.build_results,
        claimed_by_name=record.master,
        worker=record.worker,
        state_string=record.state_string,
    )
