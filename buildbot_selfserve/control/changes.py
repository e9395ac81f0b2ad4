"""Finds Buildbot's changes of a revision, and records new ones.

A change that is recorded here is not announced: schedulers would take it for a push and build again
(buildbot/data/changes.py, addChange; ``db.changes.addChange`` sends no event).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from buildbot.changes.changes import Change
from buildbot.db.model import Model
from buildbot.util import datetime2epoch
from buildbot.util import epoch2datetime
from twisted.logger import Logger

from buildbot_selfserve.binary_collation import binary_collation
from buildbot_selfserve.model import MARKS
from buildbot_selfserve.model import REQUESTED_BY
from buildbot_selfserve.model import VIRTUAL_BUILDER
from buildbot_selfserve.model import NewChange
from buildbot_selfserve.model import Sourcestamp

_changes = Model.changes
_log = Logger()

#: Properties of a change that must not reach other builds.
_OF_ONE_BUILD = MARKS | VIRTUAL_BUILDER | {"scheduler"}


async def newest(master: Any, revision: str, place: Sourcestamp) -> Any:
    """Return Buildbot's newest change of *revision* in *place*, ``None`` if there is none."""
    change_id = await master.db.pool.do(_newest, revision, place)
    return None if change_id is None else await master.db.changes.getChange(change_id)


def _newest(connection: sa.Connection, revision: str, place: Sourcestamp) -> int | None:
    query = (
        sa.select(_changes)
        .where(_changes.c.revision == revision)
        .order_by(_changes.c.changeid.desc())
    )
    for record in connection.execute(query):
        # compared here, as some databases ignore case in comparisons
        there = Sourcestamp(record.branch, record.codebase, record.repository, record.project)
        if there == place and record.revision == revision:
            return int(record.changeid)
    return None


def is_requested(change: Any) -> bool:
    """Return whether self-serve has recorded *change*: a user chose its values, and no commit."""
    return bool(change.comments.startswith(REQUESTED_BY))


async def pushed_before(master: Any, change: Any) -> Any:
    """Return the newest change before *change* in its place that self-serve has not recorded.

    ``None`` if there is none.
    """
    change_id = await master.db.pool.do(_pushed_before, change)
    return None if change_id is None else await master.db.changes.getChange(change_id)


def _pushed_before(connection: sa.Connection, change: Any) -> int | None:
    query = (
        sa.select(_changes.c.changeid)
        .where(
            _changes.c.branch.is_(None)
            if change.branch is None
            else binary_collation(_changes.c.branch, change.branch),
            binary_collation(_changes.c.codebase, change.codebase),
            binary_collation(_changes.c.repository, change.repository),
            _changes.c.changeid < change.changeid,
            ~_changes.c.comments.startswith(REQUESTED_BY),
        )
        .order_by(_changes.c.changeid.desc())
        .limit(1)
    )
    found: int | None = connection.execute(query).scalar()
    return found


async def as_change(master: Any, model: Any) -> Change:
    """Return a recorded change as the object that change filters take."""
    found: Change = await Change.fromChdict(master, model)
    return found


def to_be(new: NewChange) -> Change:
    """Return a change that is not recorded as the object that change filters take."""
    return Change(
        who=new.author,
        files=list(new.files),
        comments=new.comments,
        category=new.category,
        revision=new.revision,
        properties={name: value for name, (value, _) in new.properties.items()},
        **new.sourcestamp.columns,
    )


def own_properties(properties: Mapping[str, tuple[Any, str]]) -> dict[str, tuple[Any, str]]:
    """Return the *properties* of a change that a new change may copy."""
    return {
        # properties of Buildbot's changes always have this source (buildbot/db/changes.py)
        name: (value, "Change")
        for name, (value, _) in properties.items()
        if name not in _OF_ONE_BUILD
    }


def log_failed_filter(scheduler: Any) -> None:
    """Log the exception being handled, once for each instance of *scheduler*."""
    if not getattr(scheduler, "selfserve_filter_failed", False):
        scheduler.selfserve_filter_failed = True
        _log.failure("selfserve: the change filter of {name} failed", name=scheduler.name)


async def record(master: Any, change: NewChange) -> int:
    """Record a change, unless the newest change of its revision is the same; return its id.

    All builds of a sourcestamp see its newest change, and belong to that change's author
    (buildbot/db/changes.py, getChangeFromSSid). If there is a change already, the new change copies
    all of it but the files, so nothing is lost.
    """
    there = await newest(master, change.revision, change.sourcestamp)
    if there is not None:
        # this change may have come after the plan was made
        if sorted(there.files) == sorted(change.files) or (
            change.like is None and not change.files
        ):
            return int(there.changeid)
        if change.like != there.changeid:
            change = with_files(there, change.revision, change.sourcestamp, change.files)
    when = None if change.when is None else epoch2datetime(change.when)
    change_id: int = await master.db.changes.addChange(
        author=change.author,
        committer=change.committer,
        comments=change.comments,
        category=change.category,
        revlink=change.revlink,
        when_timestamp=when,
        # tuples, as the connector checks them before encoding JSON
        properties={name: tuple(both) for name, both in change.properties.items()},
        files=list(change.files),
        revision=change.revision,
        **change.sourcestamp.columns,
    )
    if change.like is not None:
        await master.db.pool.do(_copy_users, change.like, change_id)
    return change_id


async def is_recorded(master: Any, change: NewChange) -> bool:
    """Return whether the newest change of its revision is the one recorded for *change*."""
    there = await newest(master, change.revision, change.sourcestamp)
    if there is None or sorted(there.files) != sorted(change.files):
        return False
    if change.like is not None:
        return bool(there.changeid > change.like)
    return bool(there.comments == change.comments)


def with_files(model: Any, revision: str, place: Sourcestamp, files: Sequence[str]) -> NewChange:
    """Return a copy of *model*, the newest change of *revision*, with other files."""
    return NewChange(
        revision,
        place,
        author=model.author,
        committer=model.committer,
        comments=model.comments,
        category=model.category,
        revlink=model.revlink,
        when=datetime2epoch(model.when_timestamp),
        files=tuple(files),
        properties=dict(model.properties or {}),
        like=model.changeid,
    )


def _copy_users(connection: sa.Connection, model_id: int, change_id: int) -> None:
    """Give a change the same Buildbot users as its model."""
    users = Model.change_users
    uids = connection.execute(sa.select(users.c.uid).where(users.c.changeid == model_id)).scalars()
    rows = [{"changeid": change_id, "uid": uid} for uid in uids.all()]
    if rows:
        connection.execute(users.insert(), rows)
        connection.commit()
