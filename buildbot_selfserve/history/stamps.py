"""Which sourcestamps build requests are for."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa

from buildbot_selfserve.history import rows
from buildbot_selfserve.model import Sourcestamp


def of_requests(
    connection: sa.Connection, request_ids: Sequence[int]
) -> dict[int, tuple[Sourcestamp, ...]]:
    """Return the sourcestamps of the requests that exist, by request."""
    requests, links, stamps = rows.requests, rows.links, rows.stamps
    query = sa.select(
        requests.c.id, stamps.c.branch, stamps.c.codebase, stamps.c.repository, stamps.c.project
    ).select_from(
        requests.join(links, links.c.buildsetid == requests.c.buildsetid).join(
            stamps, stamps.c.id == links.c.sourcestampid
        )
    )
    found: dict[int, tuple[Sourcestamp, ...]] = {}
    for batch in rows.in_batches(request_ids):
        for request_id, *place in connection.execute(query.where(requests.c.id.in_(batch))):
            found[request_id] = (*found.get(request_id, ()), Sourcestamp(*place))
    return found
