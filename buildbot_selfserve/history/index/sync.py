"""Loads the index and brings it up to date: what is new at each question, the rest on demand."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.history import sql
from buildbot_selfserve.history.durations import Durations
from buildbot_selfserve.history.index import queries
from buildbot_selfserve.history.index.builds import LATE
from buildbot_selfserve.history.index.cursor import MOST_GAPS
from buildbot_selfserve.history.index.cursor import Replaced
from buildbot_selfserve.history.index.facts import Facts
from buildbot_selfserve.history.index.ingest import Ingest
from buildbot_selfserve.history.index.recent_waits import RecentWaits
from buildbot_selfserve.history.index.records import Record
from buildbot_selfserve.history.index.records import together
from buildbot_selfserve.history.index.state import IndexState
from buildbot_selfserve.history.json_columns import property_in
from buildbot_selfserve.model import Branch

#: The number of records taken at a time.
AT_A_TIME = 10_000

_NAMES = {
    "builders": queries.BUILDERS,
    "workers": queries.WORKERS,
    "masters": queries.MASTERS,
}
#: So many of the newest buildsets of a branch are looked at for what schedulers have chosen lately,
#: and of each scheduler so many of those.
NEWEST_BUILDSETS, LAST_BUILDS = 500, 5
#: More builds than this that may find a revision are looked at, whether anybody asks or not.
MOST_SEARCHING = 500

#: What is followed, in this order: whatever refers to something is fetched before it, so that
#: what it refers to is there when its turn comes. Builds refer to buildsets, and those are told of
#: with their changes.
_FOLLOWED = (
    ("builds", queries.BUILDS, queries.builds.c.id),
    ("links", queries.LINKS, queries.links.c.id),
    ("changes", queries.CHANGES, queries.changes.c.changeid),
    ("stamps", queries.STAMPS, queries.stamps.c.id),
)
#: In these the last column is what may be there several times, or not at all.
_SEVERAL = {"links", "changes"}

#: What a connection keeps: the facts it has brought up to date, and the version of the database
#: that they were brought up to.
_VERSION = "selfserve_version"

Records = list[Record]
#: Tells the state of a database from all others that a connection sees; ``None`` if nothing does.
Version = int | str | None


class Index:
    """What is known of one database, shared by the threads of a reader.

    An answer is as new as the database is at the time of the question: each question first asks
    how far the tables go now, and fetches what it does not know.

    :param only_reads: nothing is written through the connections that it gets: to SQLite, what a
        connection writes itself is no change
    """

    def __init__(self, only_reads: bool = True) -> None:
        self._only_reads = only_reads
        self._facts: Facts | None = None
        self._loading = threading.Lock()
        #: how long requests have waited lately
        self.recent_waits = RecentWaits()
        #: how long builds take
        self.durations = Durations()

    def facts(self, connection: sa.Connection) -> Facts:
        """Return what is known, up to date; the first time, or after a change of the database, all
        of it is loaded.
        """
        facts = self._facts
        while True:
            if facts is None:
                facts = self._loaded(connection, facts)
            try:
                if self._only_reads:
                    _bring_up_to_date(connection, facts)
                else:
                    _extend(connection, facts)
                return facts
            except Replaced:
                facts = self._loaded(connection, facts)

    @staticmethod
    def version(connection: sa.Connection) -> Version:
        """Return the version that the database had when :meth:`facts` was last asked for.

        As long as it is the same on the same connection, nothing was written. It is ``None`` where
        the database does not tell.
        """
        version: Version = connection.info.get(_VERSION, (None, None))[1]
        return version

    def _loaded(self, connection: sa.Connection, stale: Facts | None) -> Facts:
        with self._loading:
            if self._facts is None or self._facts is stale:
                self._facts = _load(connection)
                self.recent_waits = RecentWaits()
                self.durations = Durations()
            return self._facts


def _bring_up_to_date(connection: sa.Connection, facts: Facts) -> None:
    """Learn what is new, unless nothing was written since this connection did so.

    SQLite tells that at next to no cost, and PostgreSQL beside how far the tables go. On SQLite
    each connection has numbers of its own for it.
    """
    known_facts, known = connection.info.get(_VERSION, (None, None))
    if known_facts is None or known_facts() is not facts:
        known = None
    if connection.dialect.name == "sqlite":
        version: Version = sql.fetched(connection, "PRAGMA data_version")[0][0]
        if version != known:
            _extend(connection, facts)
    else:
        version = _extend(connection, facts, known)
    if version != known:
        connection.info[_VERSION] = (weakref.ref(facts), version)


def _extend(connection: sa.Connection, facts: Facts, known: Version = None) -> Version:
    """Learn what is new, unless the version of the database is still the one that is *known*.

    :return: the version, if the database tells it beside how far the tables go
    """
    ingest = facts.ingest
    before = ingest.ends()
    version: Version
    *ends, first_link, first_change, first_stamp, version = queries.ENDS.all(connection)[0]
    if version is not None and version == known:
        return known
    ingest.begins(first_stamp, first_link)
    ingest.forget_changes(first_change)
    new: dict[str, Records] = {}
    came = False
    for (name, query, column), end in zip(_FOLLOWED, ends, strict=True):
        # what has come since we asked for the ends may refer to what has come since, too
        condition = ingest.condition(name, column, before[name], end, anyway=came)
        if condition is not None:
            parts = sql.streamed(connection, query.where(condition).order_by(column), AT_A_TIME)
            new[name] = list(itertools.chain.from_iterable(_followed(name, parts)))
            # nearly always there is nothing but the newest one of before
            came = came or any(one[0] != before[name] for one in new[name])
    if came:
        needed = {link[2] for link in new.get("links", ())}
        needed.difference_update(stamp[0] for stamp in new.get("stamps", ()))
        ingest.add(new, _unknown_stamps(connection, ingest, needed))
    _tidy(connection, facts)
    return version


def _unknown_stamps(connection: sa.Connection, ingest: Ingest, needed: Iterable[int]) -> Records:
    """Return the sourcestamps that are *needed*, and not known."""
    return queries.STAMPS_OF.of(connection, ingest.unknown_stamps(needed))


def _tidy(connection: sa.Connection, facts: Facts) -> None:
    ingest = facts.ingest
    untrimmed = ingest.untrimmed()
    if untrimmed:
        ingest.trim(untrimmed, {one for (one,) in queries.OPEN.all(connection)})
    if len(ingest.searching()) > MOST_SEARCHING:
        load_found(connection, facts, None)


def _load(connection: sa.Connection) -> Facts:
    # one that writes at a time gives out the ids in the order of the commits
    facts = Facts(IndexState(rising=connection.dialect.name == "sqlite"))
    ingest = facts.ingest
    newest = queries.BUILDS.order_by(queries.builds.c.id.desc()).limit(2 * MOST_GAPS)
    for _ in ingest.begin("builds", [list(reversed(list(streamed(connection, newest))))]):
        pass
    links, changes, stamps = (
        ingest.begin(name, _followed(name, parts))
        for name, query, column in _FOLLOWED[1:]
        for parts in (sql.streamed_whole_table(connection, query.order_by(column), AT_A_TIME),)
    )
    ingest.add_stamps(stamps)
    ingest.add_changes(changes)
    # those of sourcestamps that came while we were reading
    newer = ingest.add_links(links)
    ingest.add_stamps([_unknown_stamps(connection, ingest, (link[2] for link in newer))])
    ingest.add_links([newer])
    ingest.sort()
    late = streamed(connection, queries.LATE.params(late=LATE))
    ingest.begin_builds((one for (one,) in queries.OPEN.all(connection)), late)
    undecided = ingest.undecided()
    for begin in range(0, len(undecided), AT_A_TIME):
        some = undecided[begin : begin + AT_A_TIME]
        ingest.begin_found(queries.FOUND_IN.of(connection, some))
    load_names(connection, facts)
    return facts


def _followed(name: str, parts: Iterator[list[Record]]) -> Iterator[list[Record]]:
    """Yield the records of a tail in parts, each id once and in their order."""
    return together(parts) if name in _SEVERAL else parts


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
        looked_at = ((build_id, value, end is not None) for build_id, _, _, end, value in records)
        facts.ingest.resolve(looked_at)


def builders_on(
    connection: sa.Connection, facts: Facts, branch: Branch, since: int = 0
) -> set[int]:
    """Return the ids of the builders that were asked for on *branch* since then, or ever.

    Each buildset is looked at once.

    :param since: epoch seconds
    """
    new = facts.ingest.not_looked_at(branch, since)
    ids = sorted(set[int]().union(*new.values()))
    facts.ingest.look_at(new, queries.ASKED_FOR.of(connection, ids))
    return facts.builders_on(branch, since)


def chosen_lately(
    connection: sa.Connection, facts: Facts, branch: Branch, schedulers: Iterable[str]
) -> dict[str, set[int]]:
    """Return the ids of the builders that *schedulers* have last built *branch* with.

    Those of the newest buildsets are looked at, so that no more is read of a long history.
    """
    wanted, chosen = set(schedulers), dict[int, str]()
    newest = facts.newest_buildsets(branch, NEWEST_BUILDSETS) if wanted else []
    by_buildset = dict(queries.SCHEDULERS_OF.of(connection, newest))
    times_seen = Counter[str]()
    for buildset_id in newest:
        name = property_in(by_buildset.get(buildset_id))
        if isinstance(name, str) and name in wanted and times_seen[name] < LAST_BUILDS:
            times_seen[name] += 1
            chosen[buildset_id] = name
    found: dict[str, set[int]] = {}
    for buildset_id, builder_id in queries.ASKED_FOR.of(connection, sorted(chosen)):
        found.setdefault(chosen[buildset_id], set()).add(builder_id)
    return found


def streamed(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[tuple[Any, ...]]:
    """Yield the records of *query* without holding all in memory."""
    return itertools.chain.from_iterable(sql.streamed(connection, query, AT_A_TIME))
