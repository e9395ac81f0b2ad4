"""Finds the masters of this database that have stopped or died, and gives up their claims."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.control import current_state

_claims = Model.buildrequest_claims


class GoneMasters:
    """Remembers since when other masters have been inactive."""

    def __init__(self, master: Any) -> None:
        self._master = master
        #: monotonic seconds since which a master is known to be inactive, by its id and its
        #: ``last_active``
        self._since: dict[tuple[int, Any], float] = {}

    async def gone(self, seconds: float) -> set[int]:
        """Return the ids of the masters that have been known as inactive for *seconds*.

        Buildbot decides which are inactive: each master updates ``last_active`` once a minute, and
        the others mark it inactive after ten minutes without an update (buildbot/data/masters.py,
        ``EXPIRE_MINUTES``). A stopping master marks itself before its services stop
        (buildbot/master.py), and so before its jobs have ended. A master that has started and
        stopped again meanwhile has another ``last_active``.
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
    """Let living masters build those of *request_ids* that gone masters have claimed.

    Buildbot means to do this when it marks a master as gone, but gives up the claims of the marking
    master instead (unclaimBuildRequests in buildbot/db/buildrequests.py). Builders are not told.
    """

    def write(connection: sa.Connection) -> None:
        with connection.begin():
            give_up_claims(connection, request_ids)

    await master.db.pool.do(write)


def give_up_claims(connection: sa.Connection, request_ids: Sequence[int]) -> None:
    """Delete the claims of gone masters on *request_ids*."""
    query = sa.select(_claims.c.brid).where(current_state.claimed_by_nobody(request_ids))
    left = connection.execute(query).scalars().all()
    if left:  # in some databases, a DELETE locks even if it matches nothing
        connection.execute(_claims.delete().where(current_state.claimed_by_nobody(left)))
