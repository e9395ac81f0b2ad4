"""Finds Buildbot's changes of a revision, or records one.

A change that is recorded here is told to nobody: schedulers would take it for a push, and build
once more (buildbot/data/changes.py, addChange; ``db.changes.addChange`` sends no event).
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from buildbot.changes.changes import Change
from buildbot.db.model import Model

from buildbot_selfserve.control.create_buildsets import requested_by
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
    """Record a change of *revision*; return its id.

    The newest change of a sourcestamp is the one that all of its builds see, and whose author owns
    them (buildbot/db/changes.py, getChangeFromSSid). Where there is one already, the new one is
    like it in all but its files, so that it takes nothing away. Else it is by who asked for it.

    :param files: names of changed files
    """
    model = await newest(master, revision, place)
    change_id: int = await master.db.changes.addChange(
        **({"author": order.who, "comments": requested_by(order)} if model is None else _of(model)),
        files=files or [],
        revision=revision,
        branch=place.branch,
        codebase=place.codebase,
        repository=place.repository,
        project=place.project,
    )
    if model is not None:
        await master.db.pool.do(_copy_users, model.changeid, change_id)
    return change_id


def _of(model: Any) -> dict[str, Any]:
    """Return what a change says of itself, as ``db.changes.addChange`` takes it."""
    return {
        "author": model.author,
        "committer": model.committer,
        "comments": model.comments,
        "category": model.category,
        "revlink": model.revlink,
        "when_timestamp": model.when_timestamp,
        # a tuple, as the connector looks at it before it becomes JSON
        "properties": {name: tuple(both) for name, both in (model.properties or {}).items()},
    }


def _copy_users(connection: sa.Connection, model_id: int, change_id: int) -> None:
    """Let a change be of the users that Buildbot knows its model to be of."""
    users = Model.change_users
    uids = connection.execute(sa.select(users.c.uid).where(users.c.changeid == model_id)).scalars()
    rows = [{"changeid": change_id, "uid": uid} for uid in uids.all()]
    if rows:
        connection.execute(users.insert(), rows)
        connection.commit()
