"""Learns when somebody asks: names, what running builds have found, the builders of a branch."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.history import sql
from buildbot_selfserve.history.index import queries
from buildbot_selfserve.history.index.facts import Facts
from buildbot_selfserve.model import Branch

#: So many records are taken at a time.
STREAMED = 2000

_NAMES = {
    "builders": queries.BUILDERS,
    "workers": queries.WORKERS,
    "masters": queries.MASTERS,
}


def load_names(connection: sa.Connection, facts: Facts) -> None:
    """Learn the names of all builders, workers and masters."""
    for kind, query in _NAMES.items():
        facts.ingest.name(kind, dict(streamed(connection, query)))


def load_branches(connection: sa.Connection, facts: Facts) -> None:
    """Learn which branches Buildbot knows of its codebases, where those have moved."""
    end: tuple[int, int | None] = tuple(queries.CODEBASE_BRANCHES_END.all(connection)[0])
    known = facts.codebase_branches_end
    if end == known:
        return
    for since in (known[1] or 0, 0):  # if some have gone, all of them
        query = queries.CODEBASE_BRANCHES.params(since=since)
        if facts.ingest.add_codebase_branches(streamed(connection, query), end):
            return


def load_found(connection: sa.Connection, facts: Facts, branches: Iterable[Branch] | None) -> None:
    """Learn what builds have found that were not over yet, on *branches* or anywhere.

    Where abbreviations are known it is anywhere: what they mean may have been found on another
    branch, when one of the two does not say which it is.
    """
    where = None if facts.has_abbreviations else branches
    searching = facts.ingest.searching(where)
    if searching:
        records = queries.FOUND_BY.of(connection, searching)
        looked_at = ((build_id, value, end is not None) for build_id, _, end, value in records)
        facts.ingest.resolve(looked_at)


def builders_on(connection: sa.Connection, facts: Facts, branch: Branch) -> set[int]:
    """Return the ids of the builders that were ever asked for on *branch*.

    Each buildset is looked at once.
    """
    new = facts.ingest.not_looked_at(branch)
    ids = sorted(set().union(*new.values()))
    facts.ingest.look_at(new, queries.ASKED_FOR.of(connection, ids))
    return facts.builders_on(branch)


def streamed(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the records of *query*, not all of which are in memory at a time."""
    return sql.streamed(connection, query, STREAMED)
