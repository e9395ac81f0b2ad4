"""The one query behind every list of builds and requests, and the conversion of records to rows.

A record is one request with one of its builds, or without a build; a request can have several
builds (RETRY). Columns that never change are not queried: the index has them.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple
from typing import TypeVar

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.binary_collation import binary_collation
from buildbot_selfserve.history.context import History
from buildbot_selfserve.history.index import About
from buildbot_selfserve.history.index import Chosen
from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.history.index import got_revision
from buildbot_selfserve.history.index import load_found
from buildbot_selfserve.history.index import load_names
from buildbot_selfserve.history.index.queries import GOT_REVISION
from buildbot_selfserve.history.json_columns import value_in
from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Row
from buildbot_selfserve.statements import Statement

RowType = TypeVar("RowType", BuildRow, RequestRow)

requests = Model.buildrequests
claims = Model.buildrequest_claims
builds = Model.builds
properties = Model.build_properties

_COLUMNS: Any = sa.select(
    requests.c.id.label("request_id"),
    requests.c.buildsetid.label("buildset_id"),
    requests.c.builderid.label("request_builder_id"),
    requests.c.priority,
    requests.c.complete,
    requests.c.results.label("request_results"),
    requests.c.submitted_at,
    requests.c.complete_at.label("request_complete_at"),
    claims.c.claimed_at,
    builds.c.id.label("build_id"),
    builds.c.number,
    builds.c.builderid.label("build_builder_id"),
    builds.c.started_at,
    builds.c.complete_at.label("build_complete_at"),
    builds.c.results.label("build_results"),
    builds.c.state_string,
    builds.c.workerid.label("worker_id"),
    builds.c.masterid.label("master_id"),
)
RECORDS = _COLUMNS.select_from(
    requests.outerjoin(claims, claims.c.brid == requests.c.id).outerjoin(
        builds, builds.c.buildrequestid == requests.c.id
    )
)
#: The same for requests that have a build: with the query above, SQLite would scan all requests.
_WITH_BUILDS = _COLUMNS.select_from(
    builds.join(requests, builds.c.buildrequestid == requests.c.id).outerjoin(
        claims, claims.c.brid == requests.c.id
    )
)

OF_BUILDSETS = Statement(RECORDS, requests.c.buildsetid)
#: Adding 0 keeps SQLite off the index of open requests, most of which are on other branches.
OPEN_OF_BUILDSETS = Statement(RECORDS.where(requests.c.complete + 0 == 0), requests.c.buildsetid)
OF_REQUESTS = Statement(RECORDS, requests.c.id)
OF_BUILDS = Statement(_WITH_BUILDS, builds.c.id)
_GOT = Statement(
    sa.select(properties.c.buildid, properties.c.value).where(
        binary_collation(properties.c.name, GOT_REVISION)
    ),
    properties.c.buildid,
)
#: The virtual builder of a buildset (buildbot/process/build.py, getBuilderId).
_VIRTUAL = Statement(
    sa.select(
        Model.buildset_properties.c.buildsetid, Model.buildset_properties.c.property_value
    ).where(binary_collation(Model.buildset_properties.c.property_name, "virtual_builder_name")),
    Model.buildset_properties.c.buildsetid,
)


class Record(NamedTuple):
    """A record of the query, with a field for each column."""

    request_id: int
    buildset_id: int
    request_builder_id: int
    priority: int
    complete: int
    request_results: int | None
    submitted_at: int
    request_complete_at: int | None
    claimed_at: int | None
    build_id: int | None
    number: int
    build_builder_id: int
    started_at: int
    build_complete_at: int | None
    build_results: int | None
    state_string: str
    worker_id: int | None
    master_id: int


class Names(NamedTuple):
    """The names of builders, workers and masters, by their ids."""

    builders: Mapping[int, str]
    workers: Mapping[int, str]
    masters: Mapping[int, str]


def rows_of(history: History, branch: Branch, chosen: Chosen) -> list[Row]:
    """Return the rows of the *chosen* buildsets, newest first."""
    records = OF_BUILDSETS.of(history.connection, list(chosen))
    return rows_from(history, branch, records, chosen)


def rows_where(history: History, branch: Branch, statement: Statement, one: int) -> list[Row]:
    """Return the rows of *branch* that *statement* finds for the id *one*, newest first."""
    records = statement.of(history.connection, [one])
    chosen = history.facts.on_branch(branch, buildsets_of(records))
    return rows_from(history, branch, records, chosen)


def buildsets_of(records: Iterable[Any]) -> set[int]:
    """Return the buildset ids of *records*."""
    return {record[1] for record in records}


def rows_from(
    history: History, branch: Branch, records: Sequence[Any], chosen: Chosen
) -> list[Row]:
    """Return the rows of *records*, newest first.

    :param chosen: the buildsets that count, each with the sourcestamp that represents it
    """
    facts = history.facts
    about = facts.about(chosen)
    if len(about) < len(buildsets_of(records)):
        records = [record for record in records if record[1] in about]
    got: dict[int, str] = {}
    if any(one.undecided for one in about.values()):
        # a build that found its revision since may complete abbreviations of other buildsets too
        load_found(history.connection, facts, (branch,))
        about = facts.about(chosen)
        undecided = {chosen[one] for one in about if about[one].undecided}
        found = facts.found_for(undecided)
        got = {
            record[9]: its[record[9]]
            for record in records
            if record[9] in (its := found.get(chosen[record[1]], {}))
        }
    if not all(one.revision for one in about.values()):
        got |= got_revisions(history, records, about, chosen)
    try:
        rows = assemble(branch, records, about, names_of(facts), got)
    except KeyError:
        load_names(history.connection, facts)  # a builder, worker or master is new
        rows = assemble(branch, records, about, names_of(facts), got)
    return newest_first(rows)


def newest_first(rows: Iterable[Row]) -> list[Row]:
    """Return *rows* sorted by time and then by id, newest first."""
    return sorted(rows, key=age, reverse=True)


def age(row: Row) -> tuple[int, int, int]:
    """Return the sort key of a row: its time in epoch seconds, then its ids."""
    if isinstance(row, BuildRow):
        return row.starttime, row.request.request_id, row.build_id
    return row.submittime, row.request_id, 0


def names_of(facts: Facts) -> Names:
    """Return the names that the index has."""
    return Names(facts.names("builders"), facts.names("workers"), facts.names("masters"))


def virtual_builders(connection: sa.Connection, buildset_ids: Sequence[int]) -> dict[int, str]:
    """Return the virtual builder of each buildset that has one, by buildset id."""
    pairs = ((one, value_in(value)) for one, value in _VIRTUAL.of(connection, buildset_ids))
    return {
        buildset_id: pair[0]
        for buildset_id, pair in pairs
        if isinstance(pair, list) and pair and isinstance(pair[0], str)
    }


def got_revisions(
    history: History, records: Iterable[Any], about: Mapping[int, About], chosen: Chosen
) -> dict[int, str]:
    """Return the revision found by each build whose sourcestamp names none, by build id."""
    buildsets = {
        record[9]: record[1]
        for record in records
        if record[9] is not None and not about[record[1]].revision
    }
    found: dict[int, str] = {}
    for build_id, value in _GOT.of(history.connection, list(buildsets)):
        buildset_id = buildsets[build_id]
        revision = got_revision(value, about[buildset_id].codebase)
        if revision:
            found[build_id] = history.facts.whole(revision, chosen[buildset_id])
    return found


def assemble(
    branch: Branch,
    records: Iterable[Any],
    about: Mapping[int, About],
    names: Names,
    got: Mapping[int, str] | None = None,
) -> list[Row]:
    """Return the rows of *records*, in the order of the requests.

    :param records: tuples of ``Record``'s columns; all records of each request
    :param about: what the index knows of each buildset, by buildset id
    :param got: by build id, the revision that a build found, if its sourcestamp names another one
        or none
    :raises KeyError: *names* lacks a name
    """
    builders, workers, masters = names
    branch_name, got = branch.name, got or {}
    found: dict[int, tuple[RequestRow, list[BuildRow]]] = {}
    for (
        request_id,
        buildset_id,
        builder_id,
        priority,
        complete,
        results,
        submitted_at,
        complete_at,
        claimed_at,
        build_id,
        number,
        build_builder_id,
        started_at,
        build_complete_at,
        build_results,
        state_string,
        worker_id,
        master_id,
    ) in records:
        _, revision, reason, owner, patched, _ = about[buildset_id]
        known = found.get(request_id)
        if known is None:
            request = RequestRow(
                request_id,
                builders[builder_id],
                builder_id,
                branch_name,
                revision or None,
                submitted_at,
                1 if complete else 0,
                complete_at,
                priority,
                claimed_at or 0,
                reason,
                results if complete else None,
                buildset_id,
                owner,
                patched,
            )
            known = found[request_id] = (request, [])
        if build_id is not None:
            running = build_complete_at is None
            build = BuildRow(
                build_id,
                known[0],
                number,
                builders[build_builder_id],
                build_builder_id,
                branch_name,
                got.get(build_id, revision) or None,
                started_at,
                build_complete_at,
                None if running else build_results,
                masters[master_id],
                None if worker_id is None else workers[worker_id],
                state_string,
            )
            known[1].append(build)
    rows: list[Row] = []
    for request, its_builds in found.values():
        rows.extend(its_builds)
        if not _stands_for(request, its_builds):
            rows.append(request)
    return rows


def _stands_for(request: RequestRow, its_builds: Iterable[BuildRow]) -> bool:
    """Return whether the builds represent the request, so that it needs no row of its own.

    They do not if the request never had a build, waits again after a RETRY, or was cancelled while
    it waited.
    """
    # a generator for each of thousands of rows would take longer than to make them
    for build in its_builds:
        stands = build.status != RETRY if request.complete else build.endtime is None
        if stands:
            return True
    return False
