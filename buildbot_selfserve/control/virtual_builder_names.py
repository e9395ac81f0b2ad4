"""Virtual builders: the names under which a build request may be built."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model
from buildbot.process.build import Build

from buildbot_selfserve.binary_collation import binary_collation
from buildbot_selfserve.control import current_state
from buildbot_selfserve.statements import Statement

#: The property that moves a build to a virtual builder.
PROPERTY: str = Build.VIRTUAL_BUILDERNAME_PROP
#: The property that names the owner of a request (buildbot/www/authz/endpointmatchers.py).
OWNER = "owner"

_changes, _values = Model.changes, Model.change_properties
_links, _properties = Model.buildset_sourcestamps, Model.buildset_properties

_OF_BUILDSETS = Statement(
    sa.select(
        _properties.c.buildsetid, _properties.c.property_name, _properties.c.property_value
    ).where(_properties.c.property_name.in_([PROPERTY, OWNER])),
    _properties.c.buildsetid,
    prepares=False,
)
_STAMPS = Statement(
    sa.select(_links.c.buildsetid, _links.c.sourcestampid), _links.c.buildsetid, prepares=False
)
_NAMED = (
    sa.select(_values.c.changeid, _changes.c.sourcestampid, _values.c.property_value)
    .join_from(_values, _changes, _changes.c.changeid == _values.c.changeid)
    .where(binary_collation(_values.c.property_name, PROPERTY))
)
_OF_CHANGES = Statement(_NAMED, _changes.c.sourcestampid, prepares=False)


def names(
    master: Any, builder: str, properties: Mapping[str, Any], of_changes: Iterable[str] = ()
) -> tuple[str, ...]:
    """Return the names other than *builder* under which a request for it may be built.

    A build takes its properties from master.cfg, the changes, the request, the builder and the
    worker; the last one that has a property wins, and defaults only fill in
    (buildbot/process/build.py, setup_properties_known_before_build_starts). The worker is not known
    beforehand, so names from any worker count.

    :param properties: the values of the request's properties, by name
    :param of_changes: the names from the properties of its changes
    """
    configured = master.botmaster.builders.get(builder)
    config = configured.config if configured is not None else None
    workers = _workers(master, config)
    found = _first(
        _given(config.properties) if config is not None else [],
        _given(properties),
        list(of_changes),
        _given(master.config.properties.asDict(), _value_of_pair),
        _given(config.defaultProperties) if config is not None else [],
        _each(worker.defaultProperties for worker in workers),
    )
    found += _each(worker.properties for worker in workers)
    return tuple(dict.fromkeys(name for name in found if name != builder))


def _workers(master: Any, config: Any) -> list[Any]:
    names = config.workernames if config is not None else ()
    workers = (master.workers.workers.get(name) for name in names)
    return [worker for worker in workers if worker is not None]


def _first(*sources: list[str]) -> list[str]:
    return next((list(source) for source in sources if source), [])


def _each(sources: Iterable[Any]) -> list[str]:
    return [name for one in sources for name in _given(one.asDict(), _value_of_pair)]


def _value_of_pair(pair: tuple[Any, str]) -> Any:
    value, _source = pair
    return value


def _given(properties: Mapping[str, Any], value_of: Any = lambda value: value) -> list[str]:
    if PROPERTY not in properties:
        return []
    value = value_of(properties[PROPERTY])
    return [] if value is None else [str(value)]


@dataclass
class BuildsetFacts:
    """What decides who may do something to the requests of a buildset.

    :param properties: its virtual builder, if its properties name one
    :param of_changes: the names from the properties of its changes
    :param owner: the JSON text of its property ``owner``, if it has one
    """

    properties: dict[str, Any] = field(default_factory=dict)
    of_changes: tuple[str, ...] = ()
    owner: str | None = None


def facts_of_buildsets(
    connection: sa.Connection, buildset_ids: Collection[int]
) -> dict[int, BuildsetFacts]:
    """Return what decides who may do something to the requests of each buildset, by its id."""
    found = {one: BuildsetFacts() for one in buildset_ids}
    for buildset_id, name, text in _OF_BUILDSETS.of(connection, list(found)):
        pair = current_state.pair(text)
        if name == OWNER:
            found[buildset_id].owner = text
        elif name == PROPERTY and pair is not None:
            found[buildset_id].properties[PROPERTY] = pair[0]
    stamps: dict[int, list[int]] = {}
    for buildset_id, stamp_id in _STAMPS.of(connection, list(found)):
        stamps.setdefault(stamp_id, []).append(buildset_id)
    its_names: dict[int, list[str]] = {}
    for _, stamp_id, text in sorted(_OF_CHANGES.of(connection, list(stamps)), reverse=True):
        for buildset_id in stamps[stamp_id]:
            its_names.setdefault(buildset_id, []).extend(_names([text]))
    for buildset_id, names_of_changes in its_names.items():
        found[buildset_id].of_changes = tuple(dict.fromkeys(names_of_changes))
    return found


def of_sourcestamps(
    connection: sa.Connection, sourcestamps: Collection[int | Mapping[str, Any]]
) -> list[str]:
    """Return the names from the properties of the changes of *sourcestamps*.

    :param sourcestamps: ids, or the arguments of ``db.sourcestamps.findSourceStampId``
    """
    ids = [stamp for stamp in sourcestamps if isinstance(stamp, int)]
    conditions = [_changes.c.sourcestampid.in_(ids)] if ids else []
    conditions += [
        sa.and_(
            binary_collation(_changes.c.revision, stamp["revision"]),
            _changes.c.branch == stamp.get("branch"),
            _changes.c.codebase == stamp.get("codebase", ""),
        )
        for stamp in sourcestamps
        if not isinstance(stamp, int) and stamp.get("revision")
    ]
    if not conditions:
        return []
    query = _NAMED.where(sa.or_(*conditions)).order_by(_values.c.changeid.desc())
    texts = (text for _, _, text in connection.execute(query))
    return list(dict.fromkeys(_names(texts)))


def _names(texts: Iterable[str]) -> list[str]:
    """Return the names in *texts*, ``[value, source]`` (buildbot/db/changes.py, addChange)."""
    pairs = [current_state.pair(text) for text in texts]
    values = [pair[0] for pair in pairs if pair is not None]
    return [str(value) for value in values if value is not None]
