"""Events and metrics: answers that are made in the reactor."""

from __future__ import annotations

from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import EventStream
from buildbot_selfserve.model import Measured
from buildbot_selfserve.resources.context import LiveContext
from buildbot_selfserve.routes import declare


@declare("GET", "/<branch>/events", live="text/event-stream", returns=EventStream)
def branch_events(ctx: LiveContext, branch: Branch) -> EventStream:
    """Stream what happens on this branch from now on, as server-sent events.

    Each event is named change and has a JSON object with request_id and build_id. build_id is null
    when only the request has changed. Both are null when a new change has come, or when too much
    has changed to list: read everything again. An event says that something has changed, not what.
    Changes to one request within a quarter of a second are sent as one event. A client that reads
    too slowly is disconnected and should connect again, as browsers do.
    """
    return EventStream(branch)


@declare("GET", "/metrics", live="text/plain", returns=Measured)
def metrics(ctx: LiveContext) -> Measured:
    """Return the number, duration and status of requests, for Prometheus.

    All values are of this master since it started.
    """
    return ctx.measured()
