"""Reads single builds and build requests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history import revisions
from buildbot_selfserve.history import rows
from buildbot_selfserve.history import steps
from buildbot_selfserve.history.context import History
from buildbot_selfserve.history.json_columns import property_in
from buildbot_selfserve.model import SUCCESS
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuildDetail
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Related
from buildbot_selfserve.model import RequestDetail
from buildbot_selfserve.model import RequestNow
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Row
from buildbot_selfserve.model import one_spelling
from buildbot_selfserve.model import result_name
from buildbot_selfserve.statements import Statement

_BUILDS_OF = Statement(sa.select(rows.builds.c.id), rows.builds.c.buildrequestid)
_REQUEST_OF = Statement(sa.select(rows.builds.c.buildrequestid), rows.builds.c.id)
_properties = Model.buildset_properties
_PROPERTIES = Statement(
    sa.select(_properties.c.property_name, _properties.c.property_value), _properties.c.buildsetid
)


def build(history: History, branch: Branch, build_id: int) -> BuildRow | None:
    """Return the build *build_id* if it belongs to *branch*, else ``None``."""
    found = rows.rows_where(history, branch, rows.OF_BUILDS, build_id)
    return next((row for row in found if isinstance(row, BuildRow)), None)


def request(history: History, branch: Branch, request_id: int) -> RequestRow | None:
    """Return the build request *request_id* if it belongs to *branch*, else ``None``."""
    for row in _rows_of_request(history, branch, request_id):
        return row.request if isinstance(row, BuildRow) else row
    return None


def _rows_of_request(history: History, branch: Branch, request_id: int) -> list[Row]:
    return history.once(
        ("request", branch, request_id),
        lambda: rows.rows_where(history, branch, rows.OF_REQUESTS, request_id),
    )


def build_detail(history: History, build: BuildRow) -> BuildDetail:
    """Return *build* with the properties of its buildset, and with its steps."""
    every = steps.steps(history, build.build_id)
    # a step may fail without failing its build
    failed = None if build.status == SUCCESS else steps.failed_step(history.connection, every)
    its_properties = properties(history.connection, build.request.buildset_id)
    return BuildDetail(build, its_properties, steps.shown(every), failed)


def request_detail(history: History, branch: Branch, request: RequestRow) -> RequestDetail:
    """Return *request* with the properties of its buildset, and its builds, oldest first."""
    found = _rows_of_request(history, branch, request.request_id)
    its_builds = sorted(
        (row for row in found if isinstance(row, BuildRow)), key=lambda row: row.build_id
    )
    its_properties = properties(history.connection, request.buildset_id)
    return RequestDetail(request, its_properties, tuple(its_builds))


def states_of(history: History, request_ids: Sequence[int]) -> dict[int, RequestNow]:
    """Return the state of build requests of any branch, by id."""
    found: dict[int, list[rows.Record]] = {}
    for one in map(rows.Record._make, rows.OF_REQUESTS.of(history.connection, request_ids)):
        found.setdefault(one.request_id, []).append(one)
    return {request_id: _now(records) for request_id, records in found.items()}


def _now(records: Sequence[rows.Record]) -> RequestNow:
    first = records[0]
    build_ids = tuple(sorted(one.build_id for one in records if one.build_id is not None))
    if first.complete:
        results = first.request_results
        return RequestNow(result_name(results), results, build_ids)
    return RequestNow("running" if first.claimed_at else "pending", None, build_ids)


def related(
    history: History, request_id: int | None, build_id: int | None, revision: str | None
) -> Related:
    """Return the builds of a request, the request of a build, and the spellings of a revision."""
    builds = [] if request_id is None else _BUILDS_OF.of(history.connection, [request_id])
    requests = [] if build_id is None else _REQUEST_OF.of(history.connection, [build_id])
    known = [] if revision is None else revisions.elsewhere(history, None, revision)
    spelled = {one_spelling(revision)} if revision is not None else set()
    return Related(
        tuple(one for (one,) in builds),
        next((one for (one,) in requests), None),
        tuple(sorted(spelled.union(*(revisions.spellings(history, one) for one in known)))),
    )


def properties(connection: sa.Connection, buildset_id: int) -> dict[str, Any]:
    """Return the property values of a buildset by name, without their sources.

    Buildbot stores ``[value, source]`` as JSON (buildbot/db/buildsets.py).
    """
    found = _PROPERTIES.of(connection, [buildset_id])
    return {name: property_in(value) for name, value in found}
