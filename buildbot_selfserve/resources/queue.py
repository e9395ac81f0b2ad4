"""The queue: what waits, why, and for how long."""

from __future__ import annotations

from buildbot_selfserve.control.explain import queue as explained
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Queue
from buildbot_selfserve.model import Selection
from buildbot_selfserve.permissions import REPRIORITIZE
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import declare


@declare(
    "GET",
    "/pending",
    selects=True,
    large=True,
    needs_master_state=True,
    returns=Queue,
    template="queue.html",
)
def pending(ctx: ReadContext, selection: Selection) -> Queue:
    """Return what waits on all branches: by builder, by set of workers, and each with its reason.

    Waits are in seconds. p50 and p90 are those of requests that started within the last day. At
    most 200 requests are listed, in the order in which they would be built.
    """
    return explained.queue(ctx.history, ctx.master_state, None, selection)


@declare(
    "GET",
    "/<branch>/pending",
    selects=True,
    large=True,
    needs_master_state=True,
    offers=(REPRIORITIZE,),
    returns=Queue,
    template="queue.html",
)
def branch_pending(ctx: ReadContext, branch: Branch, selection: Selection) -> Queue:
    """Return what waits on this branch: by builder, by set of workers, and each with its reason."""
    return explained.queue(ctx.history, ctx.master_state, branch, selection)
