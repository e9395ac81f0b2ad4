"""Says which revisions are before a revision on its branch.

Where Buildbot has the commits of the codebase, their first parents say it
(``codebase_commits.parent_commitid``; a poller with a ``codebase`` keeps them). Elsewhere it is the
order in which the changes came on the branch and codebase. Numbers of builds say nothing of it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.history.index import Pushed
from buildbot_selfserve.history.sql import Statement
from buildbot_selfserve.model import Branch

#: At most so many revisions are looked back.
MOST_BACK = 50

_commits = Model.codebase_commits
_CODEBASES = Statement(sa.select(Model.codebases.c.id))


class Ancestry:
    """What is before revisions of one branch.

    :param newest: those that are asked about: a part of the line without gaps, the newest first
    """

    def __init__(
        self, connection: sa.Connection, facts: Facts, branch: Branch, newest: Sequence[Pushed]
    ) -> None:
        self._connection = connection
        self._facts = facts
        self._branch = branch
        self._line = list(newest)
        self._whole = False
        self._parents: dict[str, str | None] = {}
        self._known = {one.revision: one for one in newest}
        self._codebases = [one for (one,) in _CODEBASES.all(connection)]
        if self._codebases:
            self._load_commits([one.revision for one in newest])

    def before(self, pushed: Pushed, count: int = MOST_BACK) -> list[Pushed]:
        """Return the *count* revisions before this one, the nearest first."""
        if self._parents.get(pushed.revision) is not None:
            found = self._by_parents(pushed)
        else:
            found = self._by_order(pushed, count)
        return list(itertools.islice(found, count))

    def _by_order(self, pushed: Pushed, count: int) -> Iterator[Pushed]:
        where = 0
        while True:
            while where < len(self._line):
                one = self._line[where]
                if one.position < pushed.position and pushed.is_comparable(one):
                    yield one
                where += 1
            if self._whole or not self._extend(count):
                return

    def _extend(self, count: int) -> bool:
        """Add what is older to the line; return whether there is any."""
        last = self._line[-1].position if self._line else None
        older = self._facts.line(self._branch, count, last)
        self._whole = len(older) < count
        self._line += older
        return bool(older)

    def _by_parents(self, pushed: Pushed) -> Iterator[Pushed]:
        seen = {pushed.revision}
        revision = self._parent(pushed.revision)
        while revision is not None and revision not in seen:
            seen.add(revision)
            if revision not in self._known:
                found = self._facts.in_line(self._branch, revision)
                if found is not None:
                    self._known[revision] = found
            if revision in self._known:
                yield self._known[revision]
            revision = self._parent(revision)

    def _parent(self, revision: str) -> str | None:
        if revision not in self._parents:
            self._load_commits([revision])
        return self._parents.get(revision)

    def _load_commits(self, revisions: Iterable[str]) -> None:
        """Read the commits of *revisions*, and those before them, as far as they are not known."""
        for revision in revisions:
            if revision not in self._parents:
                self._parents[revision] = None
                for child, parent in self._connection.execute(
                    _chain(self._codebases, revision, MOST_BACK + 20)
                ):
                    if parent is not None or child not in self._parents:
                        self._parents[child] = parent


def _chain(codebases: Sequence[int], revision: str, most: int) -> sa.Select[Any]:
    """Return the query for commits from *revision* back, each with the revision of its parent."""
    start = (
        sa.select(
            _commits.c.id,
            _commits.c.revision,
            _commits.c.parent_commitid,
            sa.literal(0).label("depth"),
        )
        .where(_commits.c.codebaseid.in_(codebases), _commits.c.revision == revision)
        .cte("chain", recursive=True)
    )
    commit = _commits.alias("commit")
    chain = start.union_all(
        sa.select(commit.c.id, commit.c.revision, commit.c.parent_commitid, start.c.depth + 1)
        .select_from(commit.join(start, commit.c.id == start.c.parent_commitid))
        .where(start.c.depth < most)
    )
    parent = _commits.alias("parent")
    return sa.select(chain.c.revision, parent.c.revision).select_from(
        chain.outerjoin(parent, parent.c.id == chain.c.parent_commitid)
    )
