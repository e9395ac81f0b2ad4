"""Finds out which masters of this database have stopped or died, and gives up their claims."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.control import current_state

_claims = Model.buildrequest_claims


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


async def let_others_build(master: Any, request_ids: Sequence[int]) -> None:
    """Let living masters build those of some requests that gone ones keep claimed.

    Buildbot means to do that when it marks a master as gone, but gives up claims of the master
    that does so (unclaimBuildRequests in buildbot/db/buildrequests.py). Nobody is told.
    """

    def write(connection: sa.Connection) -> None:
        with connection.begin():
            give_up_claims(connection, request_ids)

    await master.db.pool.do(write)


def give_up_claims(connection: sa.Connection, request_ids: Sequence[int]) -> None:
    """Give up the claims of gone masters on some requests."""
    query = sa.select(_claims.c.brid).where(current_state.claimed_by_nobody(request_ids))
    left = connection.execute(query).scalars().all()
    if left:  # a DELETE that finds nothing locks all the same, in some databases
        connection.execute(_claims.delete().where(current_state.claimed_by_nobody(left)))
