"""Events and metrics: answers that are made in the reactor."""

from __future__ import annotations

from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import EventStream
from buildbot_selfserve.model import Measured
from buildbot_selfserve.resources.context import LiveContext
from buildbot_selfserve.routes import declare


@declare("GET", "/<branch>/events", live="text/event-stream", returns=EventStream)
def branch_events(ctx: LiveContext, branch: Branch) -> EventStream:
    """What happens on this branch from now on, as server-sent events.

    Each is an event named change, with a JSON object: request_id, and build_id, which is null when
    it happened to the request alone. Both are null when so much has happened that one has to look
    at everything. It says that there is something new to read, not what; what happens within a
    quarter of a second to one request is told once. A client that reads too slowly is cut off, and
    asks again, as browsers do by themselves.
    """
    return EventStream(branch)


@declare("GET", "/metrics", live="text/plain", returns=Measured)
def metrics(ctx: LiveContext) -> Measured:
    """How many requests there were, how long they took and how they ended, for Prometheus.

    Of this master since it was started.
    """
    return ctx.measured()
