"""Reads the sourcestamps and virtual builder names of build requests, which holds compare."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.binary_collation import binary_collation
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control.virtual_builder_names import PROPERTY
from buildbot_selfserve.model import RequestPlace
from buildbot_selfserve.model import Sourcestamp

_stamps, _links = Model.sourcestamps, Model.buildset_sourcestamps
_properties = Model.buildset_properties
_changes, _values = Model.changes, Model.change_properties


def of_buildsets(connection: sa.Connection, buildset_ids: Iterable[int]) -> dict[int, RequestPlace]:
    """Return the places of buildsets, by buildset id; these never change."""
    found: dict[int, RequestPlace] = {}
    for batch in current_state.batches(buildset_ids):
        stamps: dict[int, list[Sourcestamp]] = {}
        names: dict[int, list[str]] = {}
        for buildset_id, *place in connection.execute(_stamps_of(batch)):
            stamps.setdefault(buildset_id, []).append(Sourcestamp(*place))
        for query in (_given_to(batch), _given_by_changes_of(batch)):
            for buildset_id, text in connection.execute(query):
                pair = current_state.pair(text)
                if pair is not None and pair[0] is not None:
                    names.setdefault(buildset_id, []).append(str(pair[0]))
        for buildset_id, its in stamps.items():
            found[buildset_id] = RequestPlace(tuple(its), tuple(names.get(buildset_id, ())))
    return found


def _stamps_of(buildset_ids: list[int]) -> sa.Select[Any]:
    columns = (_stamps.c.branch, _stamps.c.codebase, _stamps.c.repository, _stamps.c.project)
    return (
        sa.select(_links.c.buildsetid, *columns)
        .select_from(_links.join(_stamps, _stamps.c.id == _links.c.sourcestampid))
        .where(_links.c.buildsetid.in_(buildset_ids))
    )


def _given_to(buildset_ids: list[int]) -> sa.Select[Any]:
    """Return the query for the buildset property that names a virtual builder."""
    return sa.select(_properties.c.buildsetid, _properties.c.property_value).where(
        _properties.c.buildsetid.in_(buildset_ids),
        binary_collation(_properties.c.property_name, PROPERTY),
    )


def _given_by_changes_of(buildset_ids: list[int]) -> sa.Select[Any]:
    """Return the query for the same property of the buildsets' changes."""
    return (
        sa.select(_links.c.buildsetid, _values.c.property_value)
        .select_from(
            _links.join(_changes, _changes.c.sourcestampid == _links.c.sourcestampid).join(
                _values, _values.c.changeid == _changes.c.changeid
            )
        )
        .where(
            _links.c.buildsetid.in_(buildset_ids),
            binary_collation(_values.c.property_name, PROPERTY),
        )
    )
