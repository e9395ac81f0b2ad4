"""Finds out which masters of this database have stopped or died."""

from __future__ import annotations

import time
from typing import Any


class GoneMasters:
    """Checks the other masters now and then, and remembers which of them were inactive."""

    def __init__(self, master: Any) -> None:
        self._master = master
        #: monotonic seconds since which a master is known to do nothing, by its id and the time at
        #: which it last said that it lives
        self._since: dict[tuple[int, Any], float] = {}

    async def gone(self, seconds: float) -> set[int]:
        """Return the ids of the masters that are known to have stopped for so many *seconds*, or
        to have given no sign of life for long.

        Buildbot's own word: every master says once a minute that it lives, and one that has not for
        ten minutes is marked by the others (buildbot/data/masters.py, ``EXPIRE_MINUTES``). One that
        stops marks itself before its services stop (buildbot/master.py), and so before its jobs
        have ended; one that started and stopped again in between has another sign of life.
        """
        every = await self._master.db.masters.getMasters()
        now = time.monotonic()
        idle = {
            (one.id, one.last_active)
            for one in every
            if not one.active and one.id != self._master.masterid
        }
        self._since = {one: self._since.get(one, now) for one in idle}
        return {one[0] for one, since in self._since.items() if now - since >= seconds}
