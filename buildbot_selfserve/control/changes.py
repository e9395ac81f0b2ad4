"""Finds Buildbot's changes of a revision, or records one.

A change that is recorded here is told to nobody: schedulers would take it for a push, and build
once more (buildbot/data/changes.py, addChange; ``db.changes.addChange`` sends no event).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from buildbot.changes.changes import Change
from buildbot.db.model import Model

from buildbot_selfserve.control.create import requested_by
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import Sourcestamp

_changes = Model.changes


async def newest(master: Any, revision: str, place: Sourcestamp) -> Any:
    """Return the newest change that Buildbot has of *revision* there, ``None`` without one."""
    change_id = await master.db.pool.do(_newest, revision, place)
    return None if change_id is None else await master.db.changes.getChange(change_id)


def _newest(connection: sa.Connection, revision: str, place: Sourcestamp) -> int | None:
    query = (
        sa.select(_changes)
        .where(_changes.c.revision == revision)
        .order_by(_changes.c.changeid.desc())
    )
    for record in connection.execute(query):
        # compared here: some databases take other spellings for equal
        there = Sourcestamp(record.branch, record.codebase, record.repository, record.project)
        if there == place and record.revision == revision:
            return int(record.changeid)
    return None


async def as_change(
    master: Any, order: Order, model: Any, revision: str, place: Sourcestamp
) -> Any:
    """Return what change filters look at: a change that there is, or one that might be recorded."""
    if model is not None:
        return await Change.fromChdict(master, model)
    return Change(
        who=order.who,
        files=[],
        comments=requested_by(order),
        revision=revision,
        branch=place.branch,
        codebase=place.codebase,
        repository=place.repository,
        project=place.project,
    )


async def record(
    master: Any, order: Order, revision: str, place: Sourcestamp, files: list[str] | None = None
) -> int:
    """Record a change of *revision*, by who asked for it; return its id.

    :param files: names of changed files; the newest change of a sourcestamp is the one whose
        files all of its builds see (buildbot/db/changes.py, getChangeFromSSid)
    """
    change_id: int = await master.db.changes.addChange(
        author=order.who,
        files=files or [],
        comments=requested_by(order),
        revision=revision,
        branch=place.branch,
        codebase=place.codebase,
        repository=place.repository,
        project=place.project,
    )
    return change_id
