"""Reads the sourcestamps of build requests."""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history.context import History
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.statements import Statement

_requests, _stamps = Model.buildrequests, Model.sourcestamps
_links = Model.buildset_sourcestamps
_PLACES = Statement(
    sa.select(
        _requests.c.id,
        _stamps.c.branch,
        _stamps.c.codebase,
        _stamps.c.repository,
        _stamps.c.project,
    ).select_from(
        _requests.join(_links, _links.c.buildsetid == _requests.c.buildsetid).join(
            _stamps, _stamps.c.id == _links.c.sourcestampid
        )
    ),
    _requests.c.id,
)


def of_requests(history: History, request_ids: Sequence[int]) -> dict[int, tuple[Sourcestamp, ...]]:
    """Return the sourcestamps of each request that exists, by request id."""
    found: dict[int, tuple[Sourcestamp, ...]] = {}
    for request_id, *place in _PLACES.of(history.connection, request_ids):
        found[request_id] = (*found.get(request_id, ()), Sourcestamp(*place))
    return found
