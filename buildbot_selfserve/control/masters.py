"""Which masters of this database have gone."""

from __future__ import annotations

from typing import Any


async def gone(master: Any) -> set[int]:
    """Return the ids of the masters that were stopped, or have given no sign of life for long.

    Buildbot's own word: every master says once a minute that it lives, and one that has not for ten
    minutes is marked by the others (buildbot/data/masters.py, ``EXPIRE_MINUTES``).
    """
    every = await master.db.masters.getMasters()
    return {one.id for one in every if not one.active and one.id != master.masterid}
