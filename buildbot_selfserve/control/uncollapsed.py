"""Lets schedulers add buildsets without Buildbot's collapser.

That compares each new request with every one that waits for its builder, which takes seconds where
thousands do (buildbot/process/buildrequest.py, BuildRequestCollapser).
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from twisted.internet import defer

from buildbot_selfserve.control import create
from buildbot_selfserve.instead import Instead


def uncollapsed(scheduler: Any) -> Any:
    """Return *scheduler*, but that it adds its buildsets as ``create`` does.

    It is the same object in all else: what its methods remember, the real one remembers.
    """

    def add_buildset(**asked: Any) -> defer.Deferred[tuple[int, dict[int, int]]]:
        return defer.Deferred.fromCoroutine(_add(scheduler.master, **asked))

    data = scheduler.master.data
    updates = Instead(data.updates, addBuildset=add_buildset)
    master = Instead(scheduler.master, data=Instead(data, updates=updates))
    kind = type(scheduler)
    # its master is a property of its class (buildbot/util/service.py)
    same: Any = object.__new__(type(kind.__name__, (kind,), {"master": master}))
    same.__dict__ = scheduler.__dict__
    return same


async def _add(
    master: Any,
    *,
    scheduler: str,
    sourcestamps: Sequence[int | Mapping[str, Any]],
    reason: str,
    properties: create.Properties,
    builderids: Sequence[int],
    priority: int,
    waited_for: bool = False,  # changes are waited for by nobody
    **more: Any,
) -> tuple[int, dict[int, int]]:
    """Add a buildset; take and return what ``data.updates.addBuildset`` does."""
    plan = create.NewBuildset(sourcestamps, builderids, properties, reason, priority, more)
    buildset_id, by_builder = await create.insert(master, plan)
    await create.announce(master, {buildset_id: list(by_builder.values())}, scheduler)
    return buildset_id, by_builder
