"""Keeps the waiting times of build requests that started within the last day."""

from __future__ import annotations

import threading
import time

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.model import DAY

_requests, _builds = Model.buildrequests, Model.builds

#: The number of newest builds read at a time, in the order of their ids.
_AT_A_TIME = 1000
#: The largest number of builds of a day that count, the newest ones.
MOST_BUILDS = 20_000


class RecentWaits:
    """Caches the waiting times of build requests that started within the last day.

    Only builds that started since the last read are read.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last_id = 0
        # by request: builder, start in epoch seconds, waiting time in seconds
        self._starts: dict[int, tuple[int, int, int]] = {}

    def of(self, connection: sa.Connection) -> dict[int, list[int]]:
        """Return the waiting times of each builder's requests in seconds, by builder id."""
        since = int(time.time()) - DAY
        with self._lock:
            last_id = self._last_id
        new = _started(connection, since, last_id)
        with self._lock:
            for build_id, request_id, builder_id, started_at, submitted_at in reversed(new):
                self._last_id = max(self._last_id, build_id)
                # after a RETRY, the first start of a request counts
                wait = max(0, started_at - submitted_at)
                self._starts.setdefault(request_id, (builder_id, started_at, wait))
            self._starts = {key: one for key, one in self._starts.items() if one[1] >= since}
            found: dict[int, list[int]] = {}
            for builder_id, _, wait in self._starts.values():
                found.setdefault(builder_id, []).append(wait)
            return found


def _started(
    connection: sa.Connection, since: int, last_id: int
) -> list[tuple[int, int, int, int, int]]:
    """Return the builds after *last_id* that started at *since* or later, newest first."""
    found: list[tuple[int, int, int, int, int]] = []
    query = (
        sa.select(
            _builds.c.id,
            _requests.c.id,
            _requests.c.builderid,
            _builds.c.started_at,
            _requests.c.submitted_at,
        )
        .select_from(_builds.join(_requests, _requests.c.id == _builds.c.buildrequestid))
        .where(_builds.c.id > last_id)
        .order_by(_builds.c.id.desc())
        .limit(_AT_A_TIME)
    )
    before: int | None = None
    while len(found) < MOST_BUILDS:
        part = query if before is None else query.where(_builds.c.id < before)
        some = [tuple(record) for record in connection.execute(part)]
        recent = [one for one in some if one[3] >= since]
        found += recent
        if len(some) < _AT_A_TIME or len(recent) < len(some):
            break
        before = some[-1][0]
    return found
