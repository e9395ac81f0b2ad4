"""Reads the finished, running and pending builds of a user."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeGuard

import sqlalchemy as sa

from buildbot_selfserve.history import rows
from buildbot_selfserve.history.context import History
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Row
from buildbot_selfserve.model import UserRows
from buildbot_selfserve.statements import Statement

#: The largest number of rows of each kind (docs/api.md).
MOST_ROWS = 200
#: The number of buildsets to read at a time, until there are enough finished builds.
AT_A_TIME = 60

_BUILDSETS = Statement(sa.select(rows.requests.c.buildsetid), rows.requests.c.id)


def rows_of_user(
    history: History, branch: Branch, user: str, request_ids: Iterable[int]
) -> UserRows:
    """Return the builds on *branch* of changes by *user*, and those of *request_ids*.

    Of the finished builds, those with the newest buildsets are returned.

    :param user: a full author, or the address in ``Name <address>``
    :param request_ids: build requests that this user made
    """
    facts = history.facts
    asked_for = facts.on_branch(branch, _buildsets(history.connection, list(request_ids)))
    mine = sorted({*facts.of_user(branch, user), *asked_for}, reverse=True)
    # the first query covers all open buildsets, however old, and the newest ones
    open_ids = facts.open_of(mine)
    found: list[Row] = []
    finished: list[BuildRow] = []
    for begin in range(0, max(len(mine), 1), AT_A_TIME):
        ids = mine[begin : begin + AT_A_TIME]
        looked_at = {*ids, *open_ids} if begin == 0 else {*ids}
        chosen = {one: asked_for[one] for one in looked_at if one in asked_for}
        chosen |= facts.chosen_of_user(branch, user, looked_at)
        some = rows.rows_of(history, branch, chosen)
        if begin == 0:
            found = some
        wanted = set(ids)
        finished += sorted(
            (row for row in some if _is_finished(row) and row.request.buildset_id in wanted),
            key=_newest_asked,
        )
        if len(finished) >= MOST_ROWS:
            break
    running = (row for row in found if isinstance(row, BuildRow) and row.endtime is None)
    pending = (row for row in found if isinstance(row, RequestRow) and not row.complete)
    return UserRows(
        branch,
        user,
        builds=tuple(sorted(finished[:MOST_ROWS], key=rows.age, reverse=True)),
        running=tuple(running)[:MOST_ROWS],
        pending=tuple(pending)[:MOST_ROWS],
    )


def _is_finished(row: Row) -> TypeGuard[BuildRow]:
    return isinstance(row, BuildRow) and row.endtime is not None


def _newest_asked(row: BuildRow) -> tuple[int, int, int]:
    return -row.request.buildset_id, -row.request.request_id, -row.build_id


def _buildsets(connection: sa.Connection, request_ids: list[int]) -> list[int]:
    return [buildset_id for (buildset_id,) in _BUILDSETS.of(connection, request_ids)]
