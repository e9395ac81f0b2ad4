"""Reads author, subject and files of pushes from Buildbot's changes."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import replace

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history.index import Pushed
from buildbot_selfserve.model.pushes import ChangeInfo
from buildbot_selfserve.statements import Statement

#: The number of characters of the comments to read for a list, and for one revision's page.
SUBJECT, COMMENTS = 1000, 20_000
#: The largest number of file names to return.
MOST_FILES = 200

_changes, _files = Model.changes, Model.change_files
_file_count = (
    sa.select(sa.func.count())
    .select_from(_files)
    .where(_files.c.changeid == _changes.c.changeid)
    .scalar_subquery()
)


def _statement(length: int) -> Statement:
    return Statement(
        sa.select(
            _changes.c.changeid,
            _changes.c.author,
            sa.func.substr(_changes.c.comments, 1, length),
            _changes.c.when_timestamp,
            _changes.c.revlink,
            _file_count,
        ),
        _changes.c.changeid,
    )


_SHORT, _LONG = _statement(SUBJECT), _statement(COMMENTS)
_FILE_NAMES = Statement(sa.select(_files.c.changeid, _files.c.filename), _files.c.changeid)


def change_infos(connection: sa.Connection, pushed: Sequence[Pushed]) -> list[ChangeInfo | None]:
    """Return the change details of each of *pushed*; ``None`` for a push without changes."""
    every = sorted({one for its in pushed for one in its.change_ids})
    found = {record[0]: record for record in _SHORT.of(connection, every)}
    several = sorted({one for its in pushed if len(its.change_ids) > 1 for one in its.change_ids})
    names = _FILE_NAMES.of(connection, several)
    return [_info(one.change_ids, found, names) for one in pushed]


def change_info(connection: sa.Connection, pushed: Pushed) -> ChangeInfo | None:
    """Return the change details of a push, with its comments and file names."""
    found = {record[0]: record for record in _LONG.of(connection, pushed.change_ids)}
    names = _FILE_NAMES.of(connection, pushed.change_ids)
    info = _info(pushed.change_ids, found, names)
    if info is None:
        return None
    return replace(info, files=tuple(sorted({name for _, name in names})[:MOST_FILES]))


def _info(
    change_ids: Sequence[int],
    found: dict[int, tuple[int, str, str, int, str | None, int]],
    names: Iterable[tuple[int, str]],
) -> ChangeInfo | None:
    """Return the details of one push's changes.

    :param found: records of changes by change id
    :param names: change id and file name; used only if there are several changes
    """
    there = [one for one in change_ids if one in found]
    if not there:
        return None
    # of several changes, the newest one's author and comments count
    _, author, comments, when, revlink, _ = found[there[-1]]
    count = found[there[-1]][5]
    if len(there) > 1:
        count = len({name for change_id, name in names if change_id in there})
    subject = subject_of(comments)
    return ChangeInfo(tuple(there), author, subject, comments, (), count, when, revlink or None)


def subject_of(comments: str) -> str:
    """Return the first line of *comments*."""
    lines = comments.strip().splitlines()
    return lines[0].strip() if lines else ""
