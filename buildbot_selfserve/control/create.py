"""Makes build requests.

Buildbot's own ``data.updates.addBuildset`` lets its collapser compare each new request with every
one that waits. Ours never collapse others and are not collapsed by the default rule, so they go
straight into the database, followed by the same events (buildbot/data/buildsets.py).
"""

from __future__ import annotations

import datetime
import time
import uuid
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from buildbot.util import epoch2datetime

from buildbot_selfserve.collapse import JOB_PROPERTY
from buildbot_selfserve.control import events
from buildbot_selfserve.control import look
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import plural

#: Length of ``buildsets.reason`` (buildbot/db/model.py).
REASON_LENGTH = 256
#: So many buildsets are announced together.
BATCH = 25

Properties = Mapping[str, tuple[Any, str]]


@dataclass(frozen=True)
class NewBuildset:
    """A buildset to be made.

    :param sourcestamps: one a codebase: ids, or what ``db.sourcestamps.findSourceStampId`` takes
    :param more: further columns, as ``db.buildsets.addBuildset`` takes them
    """

    sourcestamps: Sequence[int | Mapping[str, Any]]
    builder_ids: Sequence[int]
    properties: Properties
    reason: str
    priority: int
    more: Mapping[str, Any] = field(default_factory=dict)


async def rebuild(
    master: Any, order: Order, request: RequestRow, *, priority: int, count: int
) -> Effect:
    """Make *count* new requests with the properties and sourcestamps of *request*.

    The request is copied and not the build, because a virtual builder's build has another builder.

    :raises Refused: the builder is on no master any more, so that nothing would ever build them
    """
    await require_configured(master, request.builder_id, request.buildername)
    await order.take_builds(count)
    buildset = await master.db.buildsets.getBuildset(request.buildset_id)
    builds = await master.db.builds.getBuilds(buildrequestid=request.request_id)
    properties = await look.properties_of(master, request.buildset_id)
    rebuilt_build_id = buildset.rebuilt_buildid
    if rebuilt_build_id is None and builds:
        rebuilt_build_id = builds[0].id
    plans = (
        NewBuildset(
            sourcestamps=list(buildset.sourcestamps),
            builder_ids=[request.builder_id],
            properties={**properties, **marks(order, number)},
            reason=f"Self-serve: Rebuilt by {order.who}",
            priority=priority,
            more={
                "external_idstring": buildset.external_idstring,
                "rebuilt_buildid": rebuilt_build_id,
                "parent_buildid": buildset.parent_buildid,
                "parent_relationship": buildset.parent_relationship,
            },
        )
        for number in range(count)
    )
    made = await add_buildsets(master, order, plans)
    if len(made) < count:
        raise Unavailable(f"The time was over after {len(made)} of {count} builds")
    return created(await look.request_states(master, made))


def created(
    states: Mapping[int, look.RequestState],
    wanted: int | None = None,
    denied: Iterable[Builder] = (),
) -> Effect:
    """Say what became of requests that were made.

    :param wanted: how many there should be, where that is not certain
    :param denied: builders that the asker may not build with
    """
    outcomes = [
        # only an operator's own collapseRequests callable does that
        state.outcome("skipped", "collapsed by this master's collapseRequests")
        if state.results == SKIPPED
        else state.outcome("created")
        for state in states.values()
    ]
    refused = [RequestOutcome(None, builder.name, "denied") for builder in denied]
    of = "" if wanted is None or wanted == len(outcomes) else f" of {wanted}"
    msg = f"{len(outcomes)}{of} {plural(len(outcomes), 'build')} requested"
    return Effect(
        msg + (f", {len(refused)} denied" if refused else ""),
        (*outcomes, *refused),
        tuple(sorted({state.buildset_id for state in states.values()})),
        errors=wanted is not None and len(outcomes) < wanted,
    )


def marks(order: Order, number: int) -> dict[str, tuple[Any, str]]:
    """Return the properties that every request of a job carries; *number* counts them."""
    return {
        "owner": (order.who, look.SOURCE),
        JOB_PROPERTY: (order.job_id, look.SOURCE),
        look.KEY_PROPERTY: (f"{order.job_id}/{number}", look.KEY_SOURCE),
    }


def new_marks(order: Order, number: int) -> dict[str, tuple[Any, str]]:
    """Return the properties of requests that copy no others: also the ids of the original API."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        **marks(order, number),
        "buildid": (now.strftime("%Y%m%d%H%M%S"), look.SOURCE),
        "builduid": (uuid.uuid4().hex, look.SOURCE),
    }


def requested_by(order: Order) -> str:
    """Return the reason of builds that copy no others."""
    return f"Self-serve: Requested by {order.who}"[:REASON_LENGTH]


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


async def add_buildsets(master: Any, order: Order, plans: Iterable[NewBuildset]) -> list[int]:
    """Add buildsets that take no part in collapsing, and announce them; return their request ids.

    Those are fewer than were planned when the deadline came first.
    """
    made: list[int] = []
    unannounced: dict[int, list[int]] = {}
    for plan in plans:
        if time.monotonic() > order.deadline:
            break
        buildset_id, by_builder = await insert(master, plan)
        unannounced[buildset_id] = list(by_builder.values())
        made += by_builder.values()
        if len(unannounced) == BATCH:
            await announce(master, unannounced)
            unannounced = {}
    await announce(master, unannounced)
    return made


async def insert(master: Any, plan: NewBuildset) -> tuple[int, dict[int, int]]:
    """Add a buildset; return its id, and those of its requests by those of their builders.

    Nobody knows of it before it is announced.
    """
    buildset_id, by_builder = await master.db.buildsets.addBuildset(
        sourcestamps=list(plan.sourcestamps),
        reason=plan.reason[:REASON_LENGTH],
        properties=dict(plan.properties),
        builderids=list(plan.builder_ids),
        waited_for=False,
        submitted_at=epoch2datetime(int(time.time())),
        priority=plan.priority,
        **plan.more,
    )
    return int(buildset_id), dict(by_builder)


async def announce(
    master: Any, made: Mapping[int, list[int]], scheduler: str = events.SCHEDULER
) -> None:
    """Send the events that ``data.updates.addBuildset`` sends; builders start on the first.

    :param made: request ids by buildset id
    :param scheduler: the name of the one that made them
    """
    request_ids = [request_id for its_requests in made.values() for request_id in its_requests]
    await events.requests(master, request_ids, "new")
    await events.buildsets(master, list(made), "new", scheduler)
