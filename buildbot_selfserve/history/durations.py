"""Reads how long the builds of a builder take."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Collection
from collections.abc import Iterable

import sqlalchemy as sa
from buildbot.db.model import Model
from buildbot.process.results import SUCCESS
from buildbot.process.results import WARNINGS

from buildbot_selfserve.model import Duration

_builds = Model.builds

#: The number of newest successful builds that count, and of newest builds to search for them.
COUNTED, LOOKED_AT = 20, 100
#: The smallest number of successful builds for a result.
FEWEST = 3
#: Seconds for which durations are cached.
KEPT = 60


class Durations:
    """Caches for a minute how long successful builds of each builder took."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # by builder: when its duration was read, by the monotonic clock, and the duration
        self._known: dict[int, tuple[float, Duration | None]] = {}

    def of(self, connection: sa.Connection, builder_ids: Collection[int]) -> dict[int, Duration]:
        """Return the durations of builders with enough successful builds, by builder id."""
        now = time.monotonic()
        with self._lock:
            fresh = {one: its for one, its in self._known.items() if now - its[0] < KEPT}
        new = {
            one: (now, _duration(connection, one))
            for one in dict.fromkeys(builder_ids)
            if one not in fresh
        }
        with self._lock:
            self._known.update(new)  # others may have read other builders meanwhile
        known = {**fresh, **new}
        found = ((one, known[one][1]) for one in builder_ids)
        return {one: duration for one, duration in found if duration is not None}


def _duration(connection: sa.Connection, builder_id: int) -> Duration | None:
    query = (
        sa.select(_builds.c.results, _builds.c.started_at, _builds.c.complete_at)
        .where(_builds.c.builderid == builder_id)
        .order_by(_builds.c.number.desc())
        .limit(LOOKED_AT)
    )
    took = [
        max(0, ended - started)
        for results, started, ended in connection.execute(query)
        if results in (SUCCESS, WARNINGS) and ended is not None
    ][:COUNTED]
    return Duration(*percentiles(took)) if len(took) >= FEWEST else None


def percentiles(seconds: Iterable[int]) -> tuple[int, int]:
    """Return the median and the 90th percentile of *seconds*.

    :param seconds: at least one duration
    """
    ordered = sorted(seconds)
    last = len(ordered) - 1
    return ordered[last // 2], ordered[min(last, math.ceil(0.9 * len(ordered)) - 1)]
