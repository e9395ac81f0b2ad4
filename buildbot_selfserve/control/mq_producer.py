"""Sends the events of what was written without Buildbot's own update methods.

The same events as Buildbot's own ``data.updates`` send (buildbot/data/buildrequests.py,
buildsets.py), but read back in a few queries for many rows instead of some for each.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from typing import Any

from buildbot.data.resultspec import Filter
from buildbot.data.resultspec import ResultSpec

#: What stands where a scheduler is named, for what none has made; subscribers may look for it.
SCHEDULER = "selfserve"


async def requests(master: Any, request_ids: Sequence[int], event: str) -> None:
    """Send *event* of each build request: ``new``, ``complete`` or ``update``.

    Its ``new`` is what makes a builder look for work.
    """
    for row in await _rows(master, "buildrequests", "buildrequestid", request_ids):
        master.data.rtypes.buildrequest.produceEvent(row, event)


async def buildsets(
    master: Any, buildset_ids: Sequence[int], event: str, scheduler: str = SCHEDULER
) -> None:
    """Send *event* of each buildset: ``new``, which tells the *scheduler*, or ``complete``."""
    for row in await _rows(master, "buildsets", "bsid", buildset_ids):
        told = {**row, "scheduler": scheduler} if event == "new" else row
        master.data.rtypes.buildset.produceEvent(told, event)


async def cancelled(master: Any, request_ids: Sequence[int]) -> None:
    """Send the events of cancelled requests (buildbot/process/botmaster.py)."""
    only = ResultSpec(filters=[Filter("buildrequestid", "eq", list(request_ids))])
    only.fieldMapping = {"buildrequestid": "buildrequests.id"}
    for request in await master.db.buildrequests.getBuildRequests(resultSpec=only):
        master.mq.produce(("buildrequests", str(request.buildrequestid), "cancel"), request)


async def _rows(master: Any, plural: str, field: str, ids: Sequence[int]) -> Iterable[Any]:
    if not ids:
        return ()
    rows = await master.data.get((plural,), filters=[Filter(field, "eq", list(ids))])
    return sorted(rows, key=lambda row: int(row[field]))
