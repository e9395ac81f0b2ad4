"""Creates buildsets, and with them their build requests.

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
from typing import Any

from buildbot.util import epoch2datetime

from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import mq_producer
from buildbot_selfserve.control.rights_and_budgets import Admission
from buildbot_selfserve.control.rights_and_budgets import NewBuildset
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.model import JOB_PROPERTY
from buildbot_selfserve.model import KEY_PROPERTY
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import plural

#: Length of ``buildsets.reason`` (buildbot/db/model.py).
REASON_LENGTH = 256
#: So many buildsets are announced together.
BATCH = 25


def created(
    states: Mapping[int, current_state.RequestState],
    wanted: int | None = None,
    admission: Admission | None = None,
) -> Effect:
    """Return the effect of having created requests.

    :param wanted: how many there should be, where that is not certain
    :param admission: what admitted them, and left others out
    """
    outcomes = [
        # only an operator's own collapseRequests callable does that
        state.outcome("skipped", "collapsed by this master's collapseRequests")
        if state.results == SKIPPED
        else state.outcome("created")
        for state in states.values()
    ]
    names = {one.buildername for one in outcomes}
    others = admission.left_out(names) if admission is not None else []
    of = "" if wanted is None or wanted == len(outcomes) else f" of {wanted}"
    msg = f"{len(outcomes)}{of} {plural(len(outcomes), 'build')} requested"
    for outcome, words in (("denied", "denied"), ("left_out", "left out")):
        number = sum(one.outcome == outcome for one in others)
        msg += f", {number} {words}" if number else ""
    return Effect(
        msg,
        (*outcomes, *others),
        tuple(sorted({state.buildset_id for state in states.values()})),
        errors=wanted is not None and len(outcomes) < wanted,
    )


def marks(order: Order, number: int) -> dict[str, tuple[Any, str]]:
    """Return the properties that every request of a job carries; *number* counts them."""
    return {
        "owner": (order.who, current_state.SOURCE),
        JOB_PROPERTY: (order.job_id, current_state.SOURCE),
        KEY_PROPERTY: (f"{order.job_id}/{number}", current_state.KEY_SOURCE),
    }


def new_marks(order: Order, number: int) -> dict[str, tuple[Any, str]]:
    """Return the properties of requests that copy no others: also the ids of the original API."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        **marks(order, number),
        "buildid": (now.strftime("%Y%m%d%H%M%S"), current_state.SOURCE),
        "builduid": (uuid.uuid4().hex, current_state.SOURCE),
    }


def requested_by(order: Order) -> str:
    """Return the reason of builds that copy no others."""
    return f"Self-serve: Requested by {order.who}"[:REASON_LENGTH]


async def require_configured(master: Any, builder_id: int, name: str) -> None:
    """Check that some master has this builder.

    :raises Refused: none does, and a request would wait for ever
    """
    builder = await master.data.get(("builders", str(builder_id)))
    if builder is None or not builder["masterids"]:
        raise Refused(
            f"Builder {name} is no longer configured",
            "no master would build a request for it",
        )


async def add_buildsets(
    master: Any, admission: Admission, buildsets: Iterable[NewBuildset]
) -> None:
    """Add *buildsets* as far as they are admitted, and announce them.

    They take no part in collapsing. None is begun after the deadline.

    :raises NothingAdmitted: nothing of one of them is admitted
    """
    unannounced: dict[int, list[int]] = {}
    for buildset in buildsets:
        if time.monotonic() > admission.order.deadline:
            break
        buildset_id, by_builder = await insert(master, admission, buildset)
        unannounced[buildset_id] = list(by_builder.values())
        if len(unannounced) == BATCH:
            await announce(master, unannounced)
            unannounced = {}
    await announce(master, unannounced)


async def insert(
    master: Any, admission: Admission, buildset: NewBuildset
) -> tuple[int, dict[int, int]]:
    """Add what is admitted of *buildset*; return its id, and its requests' by their builders'.

    Nothing else inserts build requests. Nobody knows of them before they are announced.

    :raises NothingAdmitted: nothing of it is
    :raises TooMany: the user has not so many builds left
    """
    admitted = await admission.admitted(buildset)
    buildset_id, by_builder = await master.db.buildsets.addBuildset(
        sourcestamps=list(admitted.sourcestamps),
        reason=admitted.reason[:REASON_LENGTH],
        properties=dict(admitted.properties),
        builderids=list(admitted.builder_ids),
        waited_for=False,
        submitted_at=epoch2datetime(int(time.time())),
        priority=admitted.priority,
        **admitted.more,
    )
    admission.made += by_builder.values()
    return int(buildset_id), dict(by_builder)


async def announce(
    master: Any, made: Mapping[int, list[int]], scheduler: str = mq_producer.SCHEDULER
) -> None:
    """Send the events that ``data.updates.addBuildset`` sends; builders start on the first.

    :param made: request ids by buildset id
    :param scheduler: the name of the one that made them
    """
    request_ids = [request_id for its_requests in made.values() for request_id in its_requests]
    await mq_producer.requests(master, request_ids, "new")
    await mq_producer.buildsets(master, list(made), "new", scheduler)
