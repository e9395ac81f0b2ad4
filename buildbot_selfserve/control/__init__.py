"""Changes Buildbot's state, and says truly what became of it.

Runs in the reactor, where the master's own APIs are. Nothing else in the house creates, cancels or
changes anything of Buildbot's; ``availability`` says whether the master can do anything now, and
``reconcile`` finds out what an act that was cut short has done.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from buildbot_selfserve.control import build_with_builders
from buildbot_selfserve.control import build_with_schedulers
from buildbot_selfserve.control import cancel
from buildbot_selfserve.control import create_buildsets
from buildbot_selfserve.control import dead_masters
from buildbot_selfserve.control import reconcile
from buildbot_selfserve.control import set_priority
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import BuilderSet
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import Row


class Control:
    """The acts of this room, bound to a master: what handlers find in ``ctx.control``."""

    def __init__(self, master: Any) -> None:
        self.master = master
        self._masters = dead_masters.DeadMasters(master)

    async def rebuild(self, order: Order, row: Row, *, priority: int, count: int) -> Effect:
        """Make *count* new requests like *row*, or like the one that a build was made for."""
        return await create_buildsets.rebuild(
            self.master, order, row, priority=priority, count=count
        )

    async def cancel_build(self, order: Order, build: BuildRow) -> Effect:
        """Stop *build*, and cancel its request if that would be built again."""
        return await cancel.cancel_build(self.master, order, build)

    async def cancel_request(self, order: Order, request: RequestRow) -> Effect:
        """Cancel *request*, or stop its build."""
        return await cancel.cancel_request(self.master, order, request)

    async def cancel_revision(self, order: Order, revision: Revision) -> Effect:
        """Cancel what waits at *revision*, then stop what runs there."""
        return await cancel.cancel_revision(self.master, order, revision)

    async def new_builds(
        self, order: Order, revision: AnyRevision, *, priority: int | None
    ) -> Effect:
        """Build *revision* as the schedulers that watch its branch would."""
        return await build_with_schedulers.new_builds(
            self.master, order, revision, priority=priority
        )

    async def build_set(
        self, order: Order, revision: AnyRevision, builder_set: BuilderSet, *, priority: int
    ) -> Effect:
        """Build *revision* with a set of builders."""
        return await build_with_builders.build_set(
            self.master, order, revision, builder_set, priority=priority
        )

    async def build(
        self,
        order: Order,
        revision: AnyRevision,
        builder: Builder,
        *,
        priority: int,
        properties: Mapping[str, Any] | None,
        files: list[str] | None,
    ) -> Effect:
        """Build *revision* with one builder."""
        return await build_with_builders.build(
            self.master,
            order,
            revision,
            builder,
            priority=priority,
            properties=properties,
            files=files,
        )

    async def reprioritize(self, order: Order, request: RequestRow, *, priority: int) -> Effect:
        """Give a pending *request* another priority."""
        return await set_priority.reprioritize(self.master, request, priority)

    async def gone_masters(self, seconds: float) -> set[int]:
        """Return the ids of the masters that have done nothing for so many *seconds*."""
        return await self._masters.gone(seconds)

    async def reconcile(self, job: Job) -> Effect:
        """Say what a job that was cut short has really done."""
        return await reconcile.reconcile(self.master, job)

    async def follow(self, job: Job) -> Effect:
        """Go on with a cancelling that was answered before it had ended; say how it ended."""
        return await cancel.follow(self.master, job)
