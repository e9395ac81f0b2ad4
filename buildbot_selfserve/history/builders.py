"""Reads the builders of a branch, and its named sets of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Set

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.history.index import builders_on
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import BuilderEntry
from buildbot_selfserve.model import Builders
from buildbot_selfserve.model import BuilderSet
from buildbot_selfserve.model import Setup
from buildbot_selfserve.permissions import NIGHTLY
from buildbot_selfserve.permissions import USUAL_SETS

_builders, _on_masters, _masters = Model.builders, Model.builder_masters, Model.masters
_tags, _tagged = Model.tags, Model.builders_tags

#: Begins the names of Buildbot's own builders, such as ``__Janitor``; it lets nobody else use them
#: (buildbot/config/builder.py, BuilderConfig).
BUILDBOTS_OWN = "__"
TAG = "tag:"
SCHEDULER = "scheduler:"


def builders(connection: sa.Connection, facts: Facts, setup: Setup, branch: Branch) -> Builders:
    """Return the builders of *branch* that exist on a master now.

    The first of these that names any: those that are configured for the branch; those whose
    property ``branch`` is it; those whose schedulers would react to a change on it; those that
    have built it.
    """
    existing = _existing(connection)
    if branch.builders is not None:
        named = _named(connection, setup, existing, branch.builders)
    else:
        named = (
            {name for name, value in setup.builder_branches if value in branch.branches}
            & set(existing)
            or set(setup.reacting) & set(existing)
            or _names_of(existing, builders_on(connection, facts, branch))
        )
    return Builders(branch, _sorted(existing, named))


def allowed(connection: sa.Connection, setup: Setup, branch: Branch) -> tuple[Builder, ...]:
    """Return the builders that one may ask for on *branch*, by name.

    Those that it is configured with, or else all but those that belong to other branches.
    """
    existing = _existing(connection)
    if branch.builders is not None:
        named = _named(connection, setup, existing, branch.builders)
    else:
        named = set(existing) - _of_others(setup, branch)
    return _sorted(existing, named)


def builder_sets(connection: sa.Connection, setup: Setup, branch: Branch) -> list[BuilderSet]:
    """Return the sets of *branch* by name; a set that is not configured may have no builders."""
    configured = dict(branch.sets)
    existing = _existing(connection)
    found = []
    for name in sorted({*USUAL_SETS, *configured}):
        if name in configured:
            entries = configured[name]
            named = _named(connection, setup, existing, entries)
        else:
            entries = (f"{TAG}{name}",)
            named = _named(connection, setup, existing, entries)
            named |= set(setup.nightly) & set(existing) if name == NIGHTLY else set()
            named -= _of_others(setup, branch)
        schedulers = tuple(
            entry.removeprefix(SCHEDULER)
            for entry in entries
            if isinstance(entry, str) and entry.startswith(SCHEDULER)
        )
        found.append(BuilderSet(branch, name, _sorted(existing, named), schedulers))
    return found


def builder_names(connection: sa.Connection) -> list[str]:
    """Return the names of all builders, also of those that no master has now, sorted.

    None of Buildbot's own.
    """
    every = connection.execute(sa.select(_builders.c.name)).scalars()
    return sorted(name for name in every if not name.startswith(BUILDBOTS_OWN))


def names_by_tag(connection: sa.Connection) -> dict[str, set[str]]:
    """Return the names of the builders that have each tag, but of none of Buildbot's own."""
    query = sa.select(_tags.c.name, _builders.c.name).select_from(
        _tags.join(_tagged, _tagged.c.tagid == _tags.c.id).join(
            _builders, _builders.c.id == _tagged.c.builderid
        )
    )
    found: dict[str, set[str]] = {}
    for tag, name in connection.execute(query):
        if not name.startswith(BUILDBOTS_OWN):
            found.setdefault(tag, set()).add(name)
    return found


def is_built(connection: sa.Connection, builder_id: int) -> bool:
    """Whether some master has the builder of this id in its configuration."""
    query = sa.select(_on_masters.c.id).where(_on_masters.c.builderid == builder_id).limit(1)
    return connection.execute(query).first() is not None


def _of_others(setup: Setup, branch: Branch) -> set[str]:
    return {name for name, value in setup.builder_branches if value not in branch.branches}


def _names_of(existing: Mapping[str, Builder], builder_ids: Set[int]) -> set[str]:
    return {name for name, builder in existing.items() if builder.builder_id in builder_ids}


def _sorted(existing: Mapping[str, Builder], named: Iterable[str]) -> tuple[Builder, ...]:
    return tuple(existing[name] for name in sorted(named))


def _existing(connection: sa.Connection) -> dict[str, Builder]:
    """Return the builders that exist on a master now, by name, but none of Buildbot's own."""
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
    return {
        name: Builder(builder_id, name)
        for builder_id, name in connection.execute(query)
        if not name.startswith(BUILDBOTS_OWN)
    }


def _named(
    connection: sa.Connection,
    setup: Setup,
    existing: Iterable[str],
    entries: Iterable[BuilderEntry],
) -> set[str]:
    """Return the existing builders that *entries* of the configuration mean."""
    tagged = names_by_tag(connection)
    of_schedulers = dict(setup.schedulers)
    named: set[str] = set()
    for entry in entries:
        if isinstance(entry, re.Pattern):
            named.update(name for name in existing if entry.search(name))
        elif entry.startswith(TAG):
            named.update(tagged.get(entry.removeprefix(TAG), ()))
        elif entry.startswith(SCHEDULER):
            named.update(of_schedulers.get(entry.removeprefix(SCHEDULER), ()))
        else:
            named.add(entry)
    return named & set(existing)
