"""The builders of a branch."""

from __future__ import annotations

import re
from collections.abc import Iterable

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history import rows
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Builders
from buildbot_selfserve.model import Site

_builders, _on_masters, _masters = Model.builders, Model.builder_masters, Model.masters
_tags, _tagged = Model.tags, Model.builders_tags

TAG = "tag:"


def builders(connection: sa.Connection, site: Site, branch: Branch) -> Builders:
    """Return the builders of *branch* that exist on a master now.

    The first of these that names any: those that are configured for the branch; those whose
    property ``branch`` is it; those whose schedulers would react to a change on it; those that
    have built it.
    """
    existing = _existing(connection)
    if branch.builders is not None:
        named = _configured(connection, existing, branch.builders)
    else:
        named = (
            {name for name, value in site.builder_branches if value in branch.branches}
            & set(existing)
            or set(site.reacting) & set(existing)
            or _have_built(connection, branch) & set(existing)
        )
    return Builders(branch, tuple(existing[name] for name in sorted(named)))


def _existing(connection: sa.Connection) -> dict[str, Builder]:
    query = (
        sa.select(_builders.c.id, _builders.c.name)
        .select_from(
            _builders.join(_on_masters, _on_masters.c.builderid == _builders.c.id).join(
                _masters, _masters.c.id == _on_masters.c.masterid
            )
        )
        .where(_masters.c.active == 1)
        .distinct()
    )
    return {name: Builder(builder_id, name) for builder_id, name in connection.execute(query)}


def _configured(
    connection: sa.Connection,
    existing: Iterable[str],
    entries: Iterable[str | re.Pattern[str]],
) -> set[str]:
    tagged = _names_by_tag(connection)
    named: set[str] = set()
    for entry in entries:
        if isinstance(entry, re.Pattern):
            named.update(name for name in existing if entry.search(name))
        elif entry.startswith(TAG):
            named.update(tagged.get(entry.removeprefix(TAG), ()))
        else:
            named.add(entry)
    return named & set(existing)


def _names_by_tag(connection: sa.Connection) -> dict[str, set[str]]:
    query = sa.select(_tags.c.name, _builders.c.name).select_from(
        _tags.join(_tagged, _tagged.c.tagid == _tags.c.id).join(
            _builders, _builders.c.id == _tagged.c.builderid
        )
    )
    found: dict[str, set[str]] = {}
    for tag, name in connection.execute(query):
        found.setdefault(tag, set()).add(name)
    return found


def _have_built(connection: sa.Connection, branch: Branch) -> set[str]:
    query = (
        sa.select(_builders.c.name, rows.stamps.c.branch)
        .select_from(
            rows.stamps.join(rows.links, rows.links.c.sourcestampid == rows.stamps.c.id)
            .join(rows.requests, rows.requests.c.buildsetid == rows.links.c.buildsetid)
            .join(_builders, _builders.c.id == rows.requests.c.builderid)
        )
        .where(rows.belongs(branch))
        .distinct()
    )
    return {name for name, its in connection.execute(query) if its in branch.branches}
