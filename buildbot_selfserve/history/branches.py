"""The branches that can be asked for: the configured ones, or those this master has seen."""

from __future__ import annotations

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Site
from buildbot_selfserve.params.texts import is_plain

#: Characters that the name of a branch in a request may have.
LONGEST = 256
_codebase_branches = Model.codebase_branches


def branch(connection: sa.Connection, facts: Facts, site: Site, name: str) -> Branch | None:
    """Return the branch that URLs call *name*, or ``None``."""
    if site.branches is not None:
        return next((one for one in site.branches if one.name == name), None)
    if name in site.hinted_branches or facts.is_branch(name):
        return _unconfigured(name)
    return _unconfigured(name) if name in _of_codebases(connection) else None


def branches(connection: sa.Connection, facts: Facts, site: Site) -> tuple[Branch, ...]:
    """Return all branches by name, but those of names that no request can give."""
    if site.branches is not None:
        return tuple(sorted(site.branches, key=lambda one: one.name))
    names = {*site.hinted_branches, *facts.branches(), *_of_codebases(connection)}
    return tuple(_unconfigured(name) for name in sorted(names) if _can_be_named(name))


def _can_be_named(name: str) -> bool:
    return len(name) <= LONGEST and is_plain(name)


def _of_codebases(connection: sa.Connection) -> set[str]:
    """Return the names of the branches that are known of codebases."""
    names = connection.execute(sa.select(_codebase_branches.c.name)).scalars()
    return {str(name) for name in names if name}


def _unconfigured(name: str) -> Branch:
    return Branch(name=name, branches=(name,))
