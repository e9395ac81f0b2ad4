"""Keeps the waiting times of build requests that started within the last day."""

from __future__ import annotations

import threading
import time

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history.index.cursor import Cursor
from buildbot_selfserve.history.index.cursor import Replaced
from buildbot_selfserve.history.index.followed import Followed
from buildbot_selfserve.history.index.records import Record
from buildbot_selfserve.model import DAY

_requests, _builds = Model.buildrequests, Model.builds

#: The number of newest builds read at a time, in the order of their ids, when none is known.
_AT_A_TIME = 1000
#: The largest number of builds of a day that count, the newest ones.
MOST_BUILDS = 20_000

_NEWEST = sa.select(sa.func.max(_builds.c.id))
_QUERY = sa.select(
    _builds.c.id,
    _requests.c.id,
    _requests.c.builderid,
    _builds.c.started_at,
    _requests.c.submitted_at,
).select_from(_builds.join(_requests, _requests.c.id == _builds.c.buildrequestid))
_STARTS = Followed("starts", _QUERY, _builds.c.id)


class RecentWaits:
    """Caches the waiting times of build requests that started within the last day.

    Only builds that started since the last read are read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._cursor: Cursor | None = None
        # by request: builder, start in epoch seconds, waiting time in seconds
        self._starts: dict[int, tuple[int, int, int]] = {}

    def of(self, connection: sa.Connection) -> dict[int, list[int]]:
        """Return the waiting times of each builder's requests in seconds, by builder id."""
        since = int(time.time()) - DAY
        try:
            new = self._new(connection)
        except Replaced:
            new = self._begun(connection, since)
        with self._lock:
            for _, request_id, builder_id, started_at, submitted_at in new:
                # after a RETRY, the first start of a request counts
                wait = max(0, started_at - submitted_at)
                self._starts.setdefault(request_id, (builder_id, started_at, wait))
            self._starts = {key: one for key, one in self._starts.items() if one[1] >= since}
            found: dict[int, list[int]] = {}
            for builder_id, _, wait in self._starts.values():
                found.setdefault(builder_id, []).append(wait)
            return found

    def _new(self, connection: sa.Connection) -> list[Record]:
        """Return the builds that came since the last read, ordered by id.

        :raises Replaced: there was no read yet, or too long ago, or what was read is gone
        """
        cursor = self._cursor
        if cursor is None:
            raise Replaced
        before = cursor.last
        newest: int = connection.execute(_NEWEST).scalar() or 0
        if newest - before > MOST_BUILDS:
            raise Replaced
        with self._lock:
            if not cursor.moved(before, newest):
                return []
            wanted = cursor.wanted()
        records = _STARTS.new(connection, wanted)
        with self._lock:
            return cursor.take(records)

    def _begun(self, connection: sa.Connection, since: int) -> list[Record]:
        """Return the builds that started at *since* or later, and note that they were read."""
        records = _newest(connection, since)
        # a database with one writer at a time assigns ids in the order of commits
        cursor = Cursor(time.monotonic, rising=connection.dialect.name == "sqlite")
        cursor.begin(records)
        self._cursor = cursor
        return records


def _newest(connection: sa.Connection, since: int) -> list[Record]:
    """Return the newest builds, ordered by id: those that started at *since* or later, and more."""
    found: list[Record] = []
    query = _QUERY.order_by(_builds.c.id.desc()).limit(_AT_A_TIME)
    while len(found) < MOST_BUILDS:
        part = query.where(_builds.c.id < found[-1][0]) if found else query
        some = [tuple(record) for record in connection.execute(part)]
        found += some
        if len(some) < _AT_A_TIME or any(one[3] < since for one in some):
            break
    return found[::-1]
