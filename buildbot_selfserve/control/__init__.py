"""Changes Buildbot's state, and says truly what became of it.

Runs in the reactor, where the master's own APIs are. Nothing else in the house creates, cancels or
changes anything of Buildbot's; ``availability`` says whether the master can do anything now, and
``settle`` finds out what an act that was cut short has done.
"""

from __future__ import annotations

from typing import Any

from buildbot_selfserve.control import cancel
from buildbot_selfserve.control import create
from buildbot_selfserve.control import priorities
from buildbot_selfserve.control import settle
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Row


class Control:
    """The acts of this room, bound to a master: what handlers find in ``ctx.control``."""

    def __init__(self, master: Any) -> None:
        self.master = master

    async def rebuild(self, order: Order, row: Row, *, priority: int, count: int) -> Effect:
        """Make *count* new requests like *row*, or like the one that a build was made for."""
        request = row.request if isinstance(row, BuildRow) else row
        return await create.rebuild(self.master, order, request, priority=priority, count=count)

    async def cancel_build(self, order: Order, build: BuildRow) -> Effect:
        """Stop *build*, and cancel its request if that would be built again."""
        return await cancel.cancel_build(self.master, order, build)

    async def cancel_request(self, order: Order, request: RequestRow) -> Effect:
        """Cancel *request*, or stop its build."""
        return await cancel.cancel_request(self.master, order, request)

    async def reprioritize(self, order: Order, request: RequestRow, *, priority: int) -> Effect:
        """Give a pending *request* another priority."""
        return await priorities.reprioritize(self.master, request, priority)

    async def settle(self, job: Job) -> Effect:
        """Say what a job that was cut short has really done."""
        return await settle.settle(self.master, job)
