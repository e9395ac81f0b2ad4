"""Finds the revisions before a revision on its branch.

If Buildbot stores the commits of the codebase, a revision comes after its first parent
(``codebase_commits.parent_commitid``; pollers with a ``codebase`` store commits). Otherwise
revisions are ordered by the arrival of their changes on the branch and codebase. Build numbers are
not used.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history.context import History
from buildbot_selfserve.history.index import Position
from buildbot_selfserve.history.index import Pushed
from buildbot_selfserve.model import Branch
from buildbot_selfserve.statements import Statement

#: The largest number of earlier revisions to return.
MOST_BACK = 50
#: The largest number of commits to follow. Commits of the branch that this one forked from are not
#: revisions of this branch, and may go back forever.
MOST_COMMITS = 200
#: The number of ancestors to read with the first query, and with each later one.
_FIRST_COMMITS, _MORE_COMMITS = 12, 70

_commits = Model.codebase_commits
_CODEBASES = Statement(sa.select(Model.codebases.c.id))


class Ancestry:
    """The revisions before given revisions of one branch.

    :param pushed: the revisions to look back from
    """

    def __init__(self, history: History, branch: Branch, pushed: Sequence[Pushed]) -> None:
        self._history = history
        self._branch = branch
        #: by codebases and position: the next older revision, or ``None`` at the end of the line
        self._older: dict[tuple[frozenset[str], Position], Pushed | None] = {}
        self._line: Sequence[Pushed] = ()
        self._linked: set[frozenset[str]] = set()
        self._parents: dict[str, str | None] = {}
        self._known: dict[str, Pushed | None] = {one.revision: one for one in pushed}
        self._codebases = [one for (one,) in _CODEBASES.all(history.connection)]
        self._load_commits([one.revision for one in pushed], _FIRST_COMMITS)
        # a branch without changes is ordered by its builds alone
        self._has_changes = bool(history.facts.newest_changes(branch, 1))
        #: for each revision: the earlier revisions found so far, and the iterator over the rest
        self._before: dict[Pushed, tuple[list[Pushed], Iterator[Pushed]]] = {}
        self._wanted = 0

    def add_line(self, line: Sequence[Pushed]) -> None:
        """Set a part of the branch's line of revisions, newest first and without gaps."""
        self._line = line

    def before(self, pushed: Pushed, count: int = MOST_BACK) -> list[Pushed]:
        """Return up to *count* revisions before *pushed*, the nearest first."""
        if pushed not in self._before:
            by_order = self._parents.get(pushed.revision) is None
            more = self._by_order(pushed) if by_order else self._by_parents(pushed)
            self._before[pushed] = [], more
        found, more = self._before[pushed]
        self._wanted = max(1, count - len(found))
        found += itertools.islice(more, max(0, count - len(found)))
        return found[:count]

    def _by_order(self, pushed: Pushed) -> Iterator[Pushed]:
        if pushed.codebases not in self._linked:
            self._link(pushed.codebases)
        one = self._next(pushed.codebases, pushed.position)
        while one is not None:
            yield one
            one = self._next(pushed.codebases, one.position)

    def _link(self, codebases: frozenset[str]) -> None:
        """Store the next older revision of each revision in ``_line``."""
        self._linked.add(codebases)
        older: Pushed | None = None
        for one in reversed(self._line):
            if older is not None:
                self._older[codebases, one.position] = older
            is_other = codebases.isdisjoint(one.codebases)
            if not is_other and not (one.by_hand and self._has_changes):
                older = one

    def _next(self, codebases: frozenset[str], position: Position) -> Pushed | None:
        """Return the next older revision, and read ahead as many revisions as the caller wants."""
        where = codebases, position
        if where not in self._older:
            line = self._history.facts.before(
                self._branch, codebases, self._wanted, position, self._has_changes
            )
            for one in line:
                self._older[codebases, position] = one
                position = one.position
            if len(line) < self._wanted:
                self._older[codebases, position] = None
        return self._older[where]

    def _by_parents(self, pushed: Pushed) -> Iterator[Pushed]:
        seen = {pushed.revision}
        last: Pushed | None = pushed
        revision = self._parent(pushed.revision)
        while revision is not None and revision not in seen and len(seen) < MOST_COMMITS:
            seen.add(revision)
            last = self._in_line(revision)
            if last is not None:
                yield last
            revision = self._parent(revision)
        if revision is None and last is not None:
            # Buildbot stores commits only from the time it was configured to
            for one in self._by_order(last):
                if one.revision not in seen:
                    yield one

    def _in_line(self, revision: str) -> Pushed | None:
        if revision not in self._known:
            self._known[revision] = self._history.facts.in_line(self._branch, revision)
        return self._known[revision]

    def _parent(self, revision: str) -> str | None:
        self._load_commits([revision], _MORE_COMMITS)
        return self._parents[revision]

    def _load_commits(self, revisions: Iterable[str], most: int) -> None:
        """Read the commits of *revisions* and *most* ancestors of each, unless already read."""
        unknown = [one for one in revisions if one not in self._parents]
        self._parents.update(dict.fromkeys(unknown))
        if not unknown or not self._codebases:
            return
        records = self._history.connection.execute(_chain(self._codebases, unknown, most)).all()
        for child, parent in records:
            # several codebases may store the same commit, one of them without its parent
            if parent is not None or child not in self._parents:
                self._parents[child] = parent


def _chain(codebases: Sequence[int], revisions: Sequence[str], most: int) -> sa.Select[Any]:
    """Return the query for commits from *revisions* back: revision, and revision of the parent."""
    columns = (_commits.c.id, _commits.c.revision, _commits.c.parent_commitid)
    start = (
        sa.select(*columns, sa.literal(0).label("depth"))
        .where(_commits.c.codebaseid.in_(codebases), _commits.c.revision.in_(revisions))
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
