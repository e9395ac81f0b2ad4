"""Builds the request of a build or a request again."""

from __future__ import annotations

from typing import Any

from buildbot_selfserve.control import create_buildsets
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control.rights_and_budgets import Admission
from buildbot_selfserve.control.rights_and_budgets import NewBuildset
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import Row


async def rebuild(master: Any, order: Order, row: Row, *, priority: int, count: int) -> Effect:
    """Create *count* requests with the properties and sourcestamps of the request of *row*.

    The request is copied and not the build, because a virtual builder's build has another builder.

    :raises Refused: the builder is on no master any more, so that nothing would ever build them
    :raises Forbidden: the user may not rebuild it
    """
    request = row.request if isinstance(row, BuildRow) else row
    await create_buildsets.require_configured(master, request.builder_id, request.buildername)
    buildset = await master.db.buildsets.getBuildset(request.buildset_id)
    builds = await master.db.builds.getBuilds(buildrequestid=request.request_id)
    properties = await current_state.properties_of(master, request.buildset_id)
    rebuilt_build_id = buildset.rebuilt_buildid
    if rebuilt_build_id is None and builds:
        rebuilt_build_id = builds[0].id
    buildsets = [
        NewBuildset(
            sourcestamps=list(buildset.sourcestamps),
            builder_ids=[request.builder_id],
            properties={**properties, **create_buildsets.marks(order, number)},
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
    ]
    admission = Admission(master, order, target=row)
    await admission.require_some(buildsets[0])
    await admission.reserve({"": count})
    await create_buildsets.add_buildsets(master, admission, buildsets)
    if len(admission.made) < count:
        raise Unavailable(f"Timed out after {len(admission.made)} of {count} builds")
    return create_buildsets.created(await current_state.request_states(master, admission.made))
