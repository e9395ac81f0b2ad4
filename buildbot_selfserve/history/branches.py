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
    for column in _SEEN:
        seen = connection.execute(sa.select(column).where(column == name).limit(1)).scalar()
        # compared again here: a database may take other spellings for equal
        if seen == name:
            return _unconfigured(name)
    return None


def branches(connection: sa.Connection, site: Site) -> tuple[Branch, ...]:
    """Return all branches by name."""
    if site.branches is not None:
        return tuple(sorted(site.branches, key=lambda one: one.name))
    names = set(site.hinted_branches)
    for column in _SEEN:
        names.update(
            name for name in connection.execute(sa.select(column).distinct()).scalars() if name
        )
    return tuple(_unconfigured(name) for name in sorted(names))


def _unconfigured(name: str) -> Branch:
    return Branch(name=name, branches=(name,))
