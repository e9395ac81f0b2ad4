"""The one query behind every list of builds and requests, and how its records become rows.

A record is one request with one of its builds (or none) and one of its buildset's sourcestamps
that belongs to the branch. A request can have several builds (RETRY) and a buildset several
sourcestamps (codebases), so several records may make one row.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import TypeVar

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Row

RowType = TypeVar("RowType", BuildRow, RequestRow)

stamps = Model.sourcestamps
links = Model.buildset_sourcestamps
buildsets = Model.buildsets
requests = Model.buildrequests
claims = Model.buildrequest_claims
builds = Model.builds
workers = Model.workers
masters = Model.masters
properties = Model.build_properties
_request_builder = Model.builders.alias("request_builder")
_owners = Model.buildset_properties
_changes = Model.changes
_build_builder = Model.builders.alias("build_builder")

#: The property in which a build keeps the revision that it found.
GOT_REVISION = "got_revision"
#: The property in which a buildset keeps who asked for it (buildbot/www/authz uses it, too).
OWNER = "owner"
#: So many ids in one IN.
BATCH = 500

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
        stamps.c.branch,
        stamps.c.codebase,
        stamps.c.revision,
        builds.c.id.label("build_id"),
        builds.c.number,
        builds.c.builderid.label("build_builder_id"),
        _build_builder.c.name.label("build_builder"),
        builds.c.started_at,
        builds.c.complete_at.label("build_complete_at"),
        builds.c.results.label("build_results"),
        builds.c.state_string,
        sa.select(_owners.c.property_value)
        .where(_owners.c.buildsetid == buildsets.c.id, _owners.c.property_name == OWNER)
        .limit(1)
        .scalar_subquery()
        .label("owner"),
        sa.select(_changes.c.author)
        .where(_changes.c.sourcestampid == stamps.c.id)
        .order_by(_changes.c.changeid.desc())
        .limit(1)
        .scalar_subquery()
        .label("author"),
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
    query = RECORDS.where(belongs(branch), *conditions)
    # compared again here: some databases take other spellings for equal
    records = [one for one in connection.execute(query) if one.branch in branch.branches]
    return newest_first(assemble(branch, records, got_revisions(connection, records)))


def newest_first(rows: Iterable[Row]) -> list[Row]:
    """Return *rows* by their time, and by their ids where that is the same."""
    return sorted(rows, key=_age, reverse=True)


def _age(row: Row) -> tuple[int, int, int]:
    if isinstance(row, BuildRow):
        return row.starttime, row.request.request_id, row.build_id
    return row.starttime, row.request_id, 0


def got_revisions(connection: sa.Connection, records: Iterable[Any]) -> dict[int, str]:
    """Return the revision that each build got whose sourcestamp named none, by build id."""
    codebases = {
        one.build_id: one.codebase
        for one in records
        if one.build_id is not None and not one.revision
    }
    found: dict[int, str] = {}
    for ids in in_batches(codebases):
        query = sa.select(properties.c.buildid, properties.c.value).where(
            properties.c.name == GOT_REVISION, properties.c.buildid.in_(ids)
        )
        for build_id, value in connection.execute(query):
            revision = got_revision(value, codebases[build_id])
            if revision:
                found[build_id] = revision
    return found


def got_revision(value: str, codebase: str) -> str | None:
    """Return the revision in the JSON *value* of a ``got_revision`` property.

    It is a text, or an object with a text for each codebase (buildbot/steps/source/base.py).
    """
    got = json.loads(value)
    if isinstance(got, dict):
        got = got.get(codebase)
    return got if isinstance(got, str) else None


def in_batches(ids: Iterable[int]) -> Iterator[list[int]]:
    """Yield *ids* in lists that every database takes in one IN."""
    every = list(ids)
    for begin in range(0, len(every), BATCH):
        yield every[begin : begin + BATCH]


def assemble(
    branch: Branch, records: Iterable[Any], got: Mapping[int, str] | None = None
) -> list[Row]:
    """Return the rows that *records* of whole requests make, in their order.

    :param got: the revisions of builds whose sourcestamp names none, by build id
    """
    found: dict[int, tuple[RequestRow, dict[int, BuildRow]]] = {}
    for record in records:
        if record.request_id not in found:
            found[record.request_id] = (_request_row(branch, record), {})
        request, its_builds = found[record.request_id]
        if record.build_id is not None and record.build_id not in its_builds:
            revision = record.revision or (got or {}).get(record.build_id)
            its_builds[record.build_id] = _build_row(request, record, revision)
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
        revision=record.revision or None,
        submittime=record.submitted_at,
        complete=int(complete),
        complete_at=record.request_complete_at,
        priority=record.priority,
        claimed_at=record.claimed_at or 0,
        reason=record.reason,
        status=record.request_results if complete else None,
        buildset_id=record.buildsetid,
        owner=_owner(record),
    )


def _owner(record: Any) -> str | None:
    """Return who asked for it, or else whose change it is."""
    asked = json.loads(record.owner)[0] if record.owner else None
    return asked if isinstance(asked, str) else record.author


def _build_row(request: RequestRow, record: Any, revision: str | None) -> BuildRow:
    running = record.build_complete_at is None
    return BuildRow(
        build_id=record.build_id,
        request=request,
        buildnumber=record.number,
        buildername=record.build_builder,
        builder_id=record.build_builder_id,
        branch=request.branch,
        revision=revision,
        starttime=record.started_at,
        endtime=None if running else record.build_complete_at,
        status=None if running else record.build_results,
        claimed_by_name=record.master,
        worker=record.worker,
        state_string=record.state_string,
    )
