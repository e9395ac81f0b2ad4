"""What somebody has built, is building and waits for."""

from __future__ import annotations

import re
from collections.abc import Iterable

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history import rows
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import UserRows

#: At most so many rows of each kind (contract, section 2).
MOST_ROWS = 200
#: Only so many of the newest changes of a user are looked at.
MOST_CHANGES = 5000

_changes, _change_users, _users = Model.changes, Model.change_users, Model.users
_ADDRESS = re.compile(r"<([^<>]+)>\s*$")


def rows_of_user(
    connection: sa.Connection, branch: Branch, user: str, request_ids: Iterable[int]
) -> UserRows:
    """Return the builds of *branch* whose changes are by *user*, and those of *request_ids*.

    :param user: a whole author, or the address inside ``Name <address>``
    :param request_ids: requests that this user asked for
    """
    mine = sa.or_(
        rows.stamps.c.id.in_(_sourcestamps(connection, branch, user)),
        rows.requests.c.id.in_(list(request_ids)),
    )
    still_open = rows.rows_of(connection, branch, mine, rows.requests.c.complete == 0)
    finished = rows.rows_of(
        connection, branch, rows.builds.c.id.in_(_newest_finished(connection, branch, mine))
    )
    return UserRows(
        branch,
        user,
        builds=_first(row for row in finished if isinstance(row, BuildRow)),
        running=_first(
            row for row in still_open if isinstance(row, BuildRow) and row.endtime is None
        ),
        pending=_first(row for row in still_open if isinstance(row, RequestRow)),
    )


def is_user(author: str, user: str) -> bool:
    """Whether *author* of a change is *user*."""
    address = _ADDRESS.search(author)
    return author == user or (address is not None and address[1] == user)


def _first(found: Iterable[rows.RowType]) -> tuple[rows.RowType, ...]:
    return tuple(list(found)[:MOST_ROWS])


def _sourcestamps(connection: sa.Connection, branch: Branch, user: str) -> list[int]:
    """Return the sourcestamps of the newest changes of *user* on *branch*."""
    inside = f"<{user}>"
    by_author, by_identifier = (
        sa.or_(column == user, column.contains(inside, autoescape=True))
        for column in (_changes.c.author, _users.c.identifier)
    )
    on_branch = _changes.join(rows.stamps, rows.stamps.c.id == _changes.c.sourcestampid)
    with_users = on_branch.join(
        _change_users, _change_users.c.changeid == _changes.c.changeid
    ).join(_users, _users.c.uid == _change_users.c.uid)
    found: dict[int, None] = {}
    for source, name, condition in (
        (on_branch, _changes.c.author, by_author),
        (with_users, _users.c.identifier, by_identifier),
    ):
        query = (
            sa.select(_changes.c.sourcestampid, name)
            .select_from(source)
            .where(rows.belongs(branch), condition)
            .order_by(_changes.c.changeid.desc())
            .limit(MOST_CHANGES)
        )
        for stamp_id, its_name in connection.execute(query):
            # compared again here: LIKE ignores case on some databases
            if is_user(its_name, user):
                found[stamp_id] = None
    return list(found)


def _newest_finished(
    connection: sa.Connection, branch: Branch, mine: sa.ColumnElement[bool]
) -> list[int]:
    query = (
        sa.select(rows.builds.c.id)
        .select_from(
            rows.stamps.join(rows.links, rows.links.c.sourcestampid == rows.stamps.c.id)
            .join(rows.requests, rows.requests.c.buildsetid == rows.links.c.buildsetid)
            .join(rows.builds, rows.builds.c.buildrequestid == rows.requests.c.id)
        )
        .where(rows.belongs(branch), mine, rows.builds.c.complete_at.is_not(None))
        .distinct()
        .order_by(rows.builds.c.id.desc())
        .limit(MOST_ROWS)
    )
    return list(connection.execute(query).scalars())
