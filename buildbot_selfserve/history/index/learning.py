"""Learns when somebody asks: names, what running builds have found, the builders of a branch."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.history import listed
from buildbot_selfserve.history.index import statements
from buildbot_selfserve.history.index.builds import found_in
from buildbot_selfserve.history.index.facts import Facts
from buildbot_selfserve.history.index.stamps import Find
from buildbot_selfserve.model import Branch

#: So many records are taken at a time.
STREAMED = 2000

_NAMES = {
    "builders": statements.BUILDERS,
    "workers": statements.WORKERS,
    "masters": statements.MASTERS,
}


def learn_names(connection: sa.Connection, facts: Facts) -> None:
    """Learn the names of all builders, workers and masters."""
    for kind, query in _NAMES.items():
        facts.intake.name(kind, dict(streamed(connection, query)))


def learn_branches(connection: sa.Connection, facts: Facts) -> None:
    """Learn which branches Buildbot knows of its codebases, where those have moved."""
    end: tuple[int, int | None] = tuple(statements.CODEBASE_BRANCHES_END.all(connection)[0])
    known = facts.codebase_branches_end
    if end == known:
        return
    for since in (known[1] or 0, 0):  # if some have gone, all of them
        query = statements.CODEBASE_BRANCHES.params(since=since)
        if facts.intake.add_codebase_branches(streamed(connection, query), end):
            return


def found_by_running(
    connection: sa.Connection, facts: Facts, branches: Iterable[Branch] | None
) -> list[Find]:
    """Return the builds that have found a revision and are not over, on *branches* or anywhere.

    What those have found that are over is settled on the way.
    """
    every = facts.intake.searching(branches)
    ids = sorted(every)
    records = statements.FOUND_BY.of(connection, ids)
    facts.intake.settle((build_id, value) for build_id, _, end, value in records if end is not None)
    return [
        Find(revision, build_id, place)
        for build_id, _, end, value in records
        if end is None
        for revision, place in found_in(value, every[build_id])
    ]


def builders_on(connection: sa.Connection, facts: Facts, branch: Branch) -> set[int]:
    """Return the ids of the builders that were ever asked for on *branch*.

    Each buildset is looked at once.
    """
    new = facts.intake.not_looked_at(branch)
    ids = sorted(set().union(*new.values()))
    facts.intake.look_at(new, statements.ASKED_FOR.of(connection, ids))
    return facts.builders_on(branch)


def streamed(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the records of *query*, not all of which are in memory at a time."""
    return listed.streamed(connection, query, STREAMED)
