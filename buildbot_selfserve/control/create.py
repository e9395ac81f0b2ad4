"""Makes build requests.

Buildbot's own ``data.updates.addBuildset`` lets its collapser compare each new request with every
one that waits. Ours never collapse others and are not collapsed by the default rule, so they go
straight into the database, followed by the same events (buildbot/data/buildsets.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from buildbot.util import epoch2datetime

from buildbot_selfserve.control import look
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import RequestRow

#: Length of ``buildsets.reason`` (buildbot/db/model.py).
REASON_LENGTH = 256
#: Different in every request that we make. Its source is what keeps the default rule from
#: collapsing one of them into another: it compares the properties whose source is exactly
#: 'Scheduler' (buildbot/process/buildrequest.py, filter_buildset_props_for_collapsing).
KEY_PROPERTY = "selfserve_key"
KEY_SOURCE = "Scheduler"

Properties = Mapping[str, tuple[Any, str]]


async def rebuild(
    master: Any, order: Order, request: RequestRow, *, priority: int, count: int
) -> Effect:
    """Make *count* new requests with the properties and sourcestamps of *request*.

    The request is copied and not the build, because a virtual builder's build has another builder.

    :raises Refused: the builder is on no master any more, so that nothing would ever build them
    """
    await require_configured(master, request.builder_id, request.buildername)
    buildset = await master.db.buildsets.getBuildset(request.buildset_id)
    builds = await master.db.builds.getBuilds(buildrequestid=request.request_id)
    # a copy: what Buildbot hands out is its cached object, shared with everyone
    properties = dict(await master.db.buildsets.getBuildsetProperties(request.buildset_id))
    rebuilt_build_id = buildset.rebuilt_buildid
    if rebuilt_build_id is None and builds:
        rebuilt_build_id = builds[0].id
    made = []
    for number in range(count):
        if master.reactor.seconds() > order.deadline:
            raise Unavailable(f"The time was over after {number} of {count} builds")
        made += await add_buildset(
            master,
            sourcestamps=list(buildset.sourcestamps),
            reason=f"Self-serve: Rebuilt by {order.who}",
            properties={**properties, **marks(order, number)},
            builder_ids=[request.builder_id],
            priority=priority,
            external_idstring=buildset.external_idstring,
            rebuilt_buildid=rebuilt_build_id,
            parent_buildid=buildset.parent_buildid,
            parent_relationship=buildset.parent_relationship,
        )
    return created(await look.request_states(master, made))


def created(states: Mapping[int, look.RequestState], wanted: int | None = None) -> Effect:
    """Say what became of requests that were made.

    :param wanted: how many there should be, where that is not certain
    """
    outcomes = tuple(
        RequestOutcome(
            state.request_id,
            state.buildername,
            "skipped" if state.results == SKIPPED else "created",
            state.build_ids,
            # only an operator's own collapseRequests callable does that
            "collapsed by this master's collapseRequests" if state.results == SKIPPED else "",
        )
        for state in states.values()
    )
    of = "" if wanted is None or wanted == len(outcomes) else f" of {wanted}"
    return Effect(
        f"{len(outcomes)}{of} build{'' if len(outcomes) == 1 else 's'} requested",
        outcomes,
        tuple(sorted({state.buildset_id for state in states.values()})),
        errors=wanted is not None and len(outcomes) < wanted,
    )


def marks(order: Order, number: int) -> dict[str, tuple[Any, str]]:
    """Return the properties that every request of a job carries; *number* counts them."""
    return {
        "owner": (order.who, look.SOURCE),
        look.JOB_PROPERTY: (order.job_id, look.SOURCE),
        KEY_PROPERTY: (f"{order.job_id}/{number}", KEY_SOURCE),
    }


async def require_configured(master: Any, builder_id: int, name: str) -> None:
    """Return if some master builds for this builder.

    :raises Refused: none does, and a request would wait for ever
    """
    builder = await master.data.get(("builders", str(builder_id)))
    if builder is None or not builder["masterids"]:
        raise Refused(
            f"Builder {name} is not configured any more",
            "no master would ever build a request for it",
        )


async def add_buildset(
    master: Any,
    *,
    sourcestamps: list[int],
    reason: str,
    properties: Properties,
    builder_ids: list[int],
    priority: int,
    **more: Any,
) -> list[int]:
    """Add a buildset that takes no part in collapsing, and announce it; return its request ids.

    :param sourcestamps: ids of sourcestamps, one a codebase
    :param more: further columns of the buildset, as ``db.buildsets.addBuildset`` takes them
    """
    submitted_at = int(master.reactor.seconds())
    reason = reason[:REASON_LENGTH]
    buildset_id, by_builder = await master.db.buildsets.addBuildset(
        sourcestamps=sourcestamps,
        reason=reason,
        properties=dict(properties),
        builderids=builder_ids,
        waited_for=False,
        submitted_at=epoch2datetime(submitted_at),
        priority=priority,
        **more,
    )
    request_ids: list[int] = list(by_builder.values())
    await _announce(master, buildset_id, request_ids, submitted_at, reason, more)
    return request_ids


async def _announce(
    master: Any,
    buildset_id: int,
    request_ids: list[int],
    submitted_at: int,
    reason: str,
    more: Mapping[str, Any],
) -> None:
    """Send the events that ``data.updates.addBuildset`` sends; builders start on the first."""
    await master.data.rtypes.buildrequest.generateEvent(request_ids, "new")
    buildset = await master.data.get(("buildsets", str(buildset_id)))
    master.data.rtypes.buildset.produceEvent(
        {
            "bsid": buildset_id,
            "external_idstring": more.get("external_idstring"),
            "reason": reason,
            "parent_buildid": more.get("parent_buildid"),
            "rebuilt_buildid": more.get("rebuilt_buildid"),
            "submitted_at": submitted_at,
            "complete": False,
            "complete_at": None,
            "results": None,
            "scheduler": "selfserve",
            "sourcestamps": [dict(stamp) for stamp in buildset["sourcestamps"]],
        },
        "new",
    )
