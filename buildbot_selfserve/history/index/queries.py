"""The statements that fetch new rows from the database."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

from buildbot_selfserve.binary_collation import binary_collation
from buildbot_selfserve.statements import BoundStatement
from buildbot_selfserve.statements import Statement

stamps = Model.sourcestamps
links = Model.buildset_sourcestamps
buildsets = Model.buildsets
requests = Model.buildrequests
builds = Model.builds
changes = Model.changes
codebase_branches = Model.codebase_branches
_properties = Model.build_properties
_owners = Model.buildset_properties
_change_users, _users = Model.change_users, Model.users

#: The property of a build with the revision that it found.
GOT_REVISION = "got_revision"
#: The property of a buildset with the user who requested it (buildbot/www/authz uses it, too).
OWNER = "owner"
#: The property of a buildset with the scheduler that created it.
SCHEDULER = "scheduler"


def _newest(column: sa.Column[int]) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.max(column)).scalar_subquery()


def _oldest(column: sa.Column[int]) -> sa.ScalarSelect[int]:
    return sa.select(sa.func.min(column)).scalar_subquery()


class _Version(FunctionElement[Any]):
    """The transactions that a statement sees, as text; NULL on databases that cannot tell."""

    inherit_cache = True
    type = sa.Text()


@compiles(_Version)
def _unknown(element: _Version, compiler: SQLCompiler, **more: Any) -> str:
    return "NULL"


@compiles(_Version, "postgresql")
def _snapshot(element: _Version, compiler: SQLCompiler, **more: Any) -> str:
    # a standby server cannot tell which transactions are open
    return "CASE WHEN pg_is_in_recovery() THEN NULL ELSE CAST(txid_current_snapshot() AS TEXT) END"


#: The version alone.
VERSION = sa.select(_Version())

_ENDS = (
    _newest(builds.c.id),
    _newest(links.c.id),
    _newest(changes.c.changeid),
    _newest(stamps.c.id),
    _oldest(links.c.id),
    _oldest(changes.c.changeid),
    _oldest(stamps.c.id),
)
#: The highest and lowest ids of each table, and the version of the database that they are of. All
#: ids come from the ends of primary keys.
ENDS = Statement(sa.select(*_ENDS, _Version()))

# the offset lets PostgreSQL ask for the version once
_now = sa.select(_Version().label("version")).offset(sa.literal_column("0")).subquery("now")
_is_known = _now.c.version == sa.bindparam("known", type_=sa.Text)
#: The same, without the ids if the version is still the *known* one: PostgreSQL does not look for
#: them then, which takes longer than all else.
ENDS_UNLESS_KNOWN = BoundStatement(
    sa.select(*(sa.case((_is_known, sa.null()), else_=end) for end in _ENDS), _now.c.version)
)

STAMPS = sa.select(
    stamps.c.id,
    stamps.c.revision,
    stamps.c.branch,
    stamps.c.codebase,
    stamps.c.project,
    stamps.c.repository,
    stamps.c.created_at,
    stamps.c.patchid,
)
STAMPS_OF = Statement(STAMPS, stamps.c.id)

#: The number of Buildbot's codebase branches, and the latest time any of them moved.
CODEBASE_BRANCHES_END = Statement(
    sa.select(sa.func.count(), sa.func.max(codebase_branches.c.last_timestamp))
)
#: The codebase branches that moved at a time or later.
CODEBASE_BRANCHES = sa.select(
    codebase_branches.c.id, codebase_branches.c.name, codebase_branches.c.last_timestamp
).where(codebase_branches.c.last_timestamp >= sa.bindparam("since"))

#: Buildsets with a record for each sourcestamp, and with their owner if they have one. Buildbot
#: writes a buildset, its sourcestamps, its properties and its requests in one transaction
#: (buildbot/db/buildsets.py, addBuildset), so one statement must read them.
LINKS = sa.select(
    links.c.id,
    links.c.buildsetid,
    links.c.sourcestampid,
    buildsets.c.submitted_at,
    buildsets.c.reason,
    _owners.c.property_value,
).select_from(
    links.join(buildsets, buildsets.c.id == links.c.buildsetid).outerjoin(
        _owners,
        sa.and_(
            _owners.c.buildsetid == links.c.buildsetid,
            binary_collation(_owners.c.property_name, OWNER),
        ),
    )
)

#: Changes with a record for each of Buildbot's users of the change, or one without a user.
CHANGES = sa.select(
    changes.c.changeid, changes.c.sourcestampid, changes.c.author, _users.c.identifier
).select_from(
    changes.outerjoin(_change_users, _change_users.c.changeid == changes.c.changeid).outerjoin(
        _users, _users.c.uid == _change_users.c.uid
    )
)

BUILDS = sa.select(
    builds.c.id,
    builds.c.buildrequestid,
    builds.c.started_at,
    requests.c.submitted_at,
    requests.c.buildsetid,
).select_from(builds.join(requests, requests.c.id == builds.c.buildrequestid))

#: Builds with buildset, request, time of completion, and the revision that they found.
FOUND = sa.select(
    builds.c.id, requests.c.buildsetid, requests.c.id, builds.c.complete_at, _properties.c.value
).select_from(
    requests.join(builds, builds.c.buildrequestid == requests.c.id).outerjoin(
        _properties,
        sa.and_(
            _properties.c.buildid == builds.c.id, binary_collation(_properties.c.name, GOT_REVISION)
        ),
    )
)

#: Builds with the JSON of their ``got_revision``, which source steps set.
GOT_REVISIONS = sa.select(_properties.c.buildid, _properties.c.value).where(
    binary_collation(_properties.c.name, GOT_REVISION)
)

FOUND_BY = Statement(FOUND, builds.c.id)
FOUND_IN = Statement(FOUND, requests.c.buildsetid)

#: The buildsets with an incomplete request.
OPEN = Statement(sa.select(requests.c.buildsetid).where(requests.c.complete == 0).distinct())

#: Buildsets and the builders that they request.
ASKED_FOR = Statement(sa.select(requests.c.buildsetid, requests.c.builderid), requests.c.buildsetid)

#: Buildsets and the JSON of their schedulers' names.
SCHEDULERS_OF = Statement(
    sa.select(_owners.c.buildsetid, _owners.c.property_value).where(
        binary_collation(_owners.c.property_name, SCHEDULER)
    ),
    _owners.c.buildsetid,
)

_waited = builds.c.started_at - requests.c.submitted_at
#: Start of each late build, and its buildset; also of builds that a clock set back made early.
LATE = (
    sa.select(builds.c.started_at, requests.c.buildsetid)
    .select_from(builds.join(requests, requests.c.id == builds.c.buildrequestid))
    .where(sa.or_(_waited < sa.bindparam("early"), _waited >= sa.bindparam("late")))
)

BUILDERS = sa.select(Model.builders.c.id, Model.builders.c.name)
WORKERS = sa.select(Model.workers.c.id, Model.workers.c.name)
MASTERS = sa.select(Model.masters.c.id, Model.masters.c.name)
