"""The branches that can be asked for: the configured ones, or those this master has seen."""

from __future__ import annotations

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Site

#: Where Buildbot keeps names of branches.
_SEEN = (Model.sourcestamps.c.branch, Model.codebase_branches.c.name)


def branch(connection: sa.Connection, site: Site, name: str) -> Branch | None:
    """Return the branch that URLs call *name*, or ``None``."""
    if site.branches is not None:
        return next((one for one in site.branches if one.name == name), None)
    if name in site.hinted_branches:
        return _unconfigured(name)
    if any(name in _names(connection, column, column == name) for column in _SEEN):
        return _unconfigured(name)
    return None


def branches(connection: sa.Connection, site: Site) -> tuple[Branch, ...]:
    """Return all branches by name."""
    if site.branches is not None:
        return tuple(sorted(site.branches, key=lambda one: one.name))
    names = set(site.hinted_branches)
    for column in _SEEN:
        names |= _names(connection, column, column != "")
    return tuple(_unconfigured(name) for name in sorted(names))


def _names(
    connection: sa.Connection, column: sa.Column[str], condition: sa.ColumnElement[bool]
) -> set[str]:
    """Return the different names in *column*, each in its own spelling.

    MariaDB and MySQL take spellings in upper and lower case for equal, also in a DISTINCT.
    """
    if connection.dialect.name not in ("mysql", "mariadb"):
        query = sa.select(column).where(condition).distinct()
        return {str(name) for name in connection.execute(query).scalars()}
    raw = sa.select(sa.cast(column, sa.BINARY)).where(condition).distinct()
    return {bytes(name).decode() for name in connection.execute(raw).scalars()}


def _unconfigured(name: str) -> Branch:
    return Branch(name=name, branches=(name,))
