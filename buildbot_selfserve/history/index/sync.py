"""Loads the index and brings it up to date: new rows at each read, names and finds on demand."""

from __future__ import annotations

import itertools
import threading
import weakref
from collections import Counter
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve import statements
from buildbot_selfserve.history.durations import Durations
from buildbot_selfserve.history.index import followed
from buildbot_selfserve.history.index import queries
from buildbot_selfserve.history.index.builds import LATE
from buildbot_selfserve.history.index.cursor import MOST_GAPS
from buildbot_selfserve.history.index.cursor import Replaced
from buildbot_selfserve.history.index.facts import Facts
from buildbot_selfserve.history.index.followed import AT_A_TIME
from buildbot_selfserve.history.index.ingest import Ingest
from buildbot_selfserve.history.index.recent_waits import RecentWaits
from buildbot_selfserve.history.index.records import Record
from buildbot_selfserve.history.index.state import IndexState
from buildbot_selfserve.history.json_columns import property_in
from buildbot_selfserve.model import CLOCK_SLACK
from buildbot_selfserve.model import Branch

_NAMES = {
    "builders": queries.BUILDERS,
    "workers": queries.WORKERS,
    "masters": queries.MASTERS,
}
#: The number of newest buildsets of a branch to search for the builders that schedulers chose
#: lately, and the number of them to read for each scheduler.
NEWEST_BUILDSETS, LAST_BUILDS = 500, 5
#: If more builds than this may still find a revision, they are read at the next update.
MOST_SEARCHING = 500

#: Key in ``connection.info`` for the facts that a connection has updated and the database version
#: that they were updated to.
_VERSION = "selfserve_version"

Records = list[Record]
#: Identifies a state of the database on one connection; ``None`` if the database has no such thing.
Version = int | str | None


class Index:
    """The index of one database, shared by the threads of a reader.

    Facts are as new as the database at the time of the read: each read first queries the highest
    ids of the tables, and fetches the rows that are new.

    :param only_reads: nothing is written through the connections that are passed in: SQLite's
        version of the database does not count a connection's own writes
    """

    def __init__(self, only_reads: bool = True) -> None:
        self._only_reads = only_reads
        self._facts: Facts | None = None
        self._loading = threading.Lock()
        #: how long build requests have waited lately
        self.recent_waits = RecentWaits()
        #: how long builds take
        self.durations = Durations()

    def facts(self, connection: sa.Connection) -> Facts:
        """Return the facts, brought up to date.

        The first call loads the whole index, and so does the first call after the database was
        replaced.
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
        """Return the database's version at this connection's last call of :meth:`facts`.

        While it is the same on the same connection, nothing was written. It is ``None`` if the
        database cannot tell.
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
    """Add new rows, unless nothing was written since this connection last did so.

    SQLite's version costs next to nothing to read, and is counted for each connection separately;
    PostgreSQL returns its version with the highest ids.
    """
    known_facts, known = connection.info.get(_VERSION, (None, None))
    if known_facts is None or known_facts() is not facts:
        known = None
    if connection.dialect.name == "sqlite":
        version: Version = statements.fetched(connection, "PRAGMA data_version")[0][0]
        if version != known:
            _extend(connection, facts)
    else:
        version = _extend(connection, facts, known)
    # also where this server cannot tell, and the one before it could
    if version is None or version != known:
        connection.info[_VERSION] = (weakref.ref(facts), version)


def _extend(connection: sa.Connection, facts: Facts, known: Version = None) -> Version:
    """Add new rows, unless the version of the database is still *known*.

    :return: the version, if the database returns it with the highest ids
    """
    ingest = facts.ingest
    before = ingest.ends()
    version: Version
    if known is None:
        (found,) = queries.ENDS.all(connection)
    else:
        (found,) = queries.ENDS_UNLESS_KNOWN.of(connection, {"known": known})
    *ends, first_link, first_change, first_stamp, version = found
    if version is not None and version == known:
        return known
    ingest.begins(first_stamp, first_link)
    ingest.forget_changes(first_change)
    new: dict[str, Records] = {}
    came = False
    for table, end in zip(followed.IN_ORDER, ends, strict=True):
        # rows that came after ENDS was read may refer to other rows that came after it
        wanted = ingest.wanted(table.name, before[table.name], end, anyway=came)
        if wanted is not None:
            its = new[table.name] = table.new(connection, wanted)
            # nearly always the only row is the newest one of the last read
            came = came or any(one[0] != before[table.name] for one in its)
    if came:
        needed = {link[2] for link in new.get("links", ())}
        needed.difference_update(stamp[0] for stamp in new.get("stamps", ()))
        ingest.add(new, _unknown_stamps(connection, ingest, needed))
    _tidy(connection, facts)
    return version


def _unknown_stamps(connection: sa.Connection, ingest: Ingest, needed: Iterable[int]) -> Records:
    """Return the *needed* sourcestamps that the index does not have."""
    return queries.STAMPS_OF.of(connection, ingest.unknown_stamps(needed))


def _tidy(connection: sa.Connection, facts: Facts) -> None:
    ingest = facts.ingest
    untrimmed = ingest.untrimmed()
    if untrimmed:
        ingest.trim(untrimmed, {one for (one,) in queries.OPEN.all(connection)})
    if len(ingest.searching()) > MOST_SEARCHING:
        load_found(connection, facts, None)


def _load(connection: sa.Connection) -> Facts:
    # a database with one writer at a time assigns ids in the order of commits
    facts = Facts(IndexState(rising=connection.dialect.name == "sqlite"))
    ingest = facts.ingest
    newest = queries.BUILDS.order_by(queries.builds.c.id.desc()).limit(2 * MOST_GAPS)
    for _ in ingest.begin("builds", [list(reversed(list(streamed(connection, newest))))]):
        pass
    links, changes, stamps = (
        ingest.begin(table.name, table.all(connection)) for table in followed.IN_ORDER[1:]
    )
    ingest.add_stamps(stamps)
    ingest.add_changes(changes)
    # links to sourcestamps that came during the load
    newer = ingest.add_links(links)
    ingest.add_stamps([_unknown_stamps(connection, ingest, (link[2] for link in newer))])
    ingest.add_links([newer])
    ingest.sort()
    ingest.begin_open(one for (one,) in queries.OPEN.all(connection))
    undecided = ingest.undecided()
    for begin in range(0, len(undecided), AT_A_TIME):
        some = undecided[begin : begin + AT_A_TIME]
        ingest.begin_found(queries.FOUND_IN.of(connection, some))
    load_names(connection, facts)
    return facts


def load_names(connection: sa.Connection, facts: Facts) -> None:
    """Load the names of all builders, workers and masters."""
    for kind, query in _NAMES.items():
        facts.ingest.name(kind, dict(streamed(connection, query)))


def load_branches(connection: sa.Connection, facts: Facts) -> None:
    """Load Buildbot's codebase branches, if any of them have changed."""
    end: tuple[int, int | None] = tuple(queries.CODEBASE_BRANCHES_END.all(connection)[0])
    known = facts.codebase_branches_end
    if end == known:
        return
    for since in (known[1] or 0, 0):  # all of them if some were deleted
        query = queries.CODEBASE_BRANCHES.params(since=since)
        if facts.ingest.add_codebase_branches(streamed(connection, query), end):
            return


def load_late(connection: sa.Connection, facts: Facts) -> None:
    """Load the builds that started late, unless that was done before.

    They are found by reading all builds, and only days need them.
    """
    if not facts.ingest.has_late:
        query = queries.LATE.params(early=-CLOCK_SLACK, late=LATE)
        facts.ingest.begin_late(list(streamed(connection, query)))


def load_found(connection: sa.Connection, facts: Facts, branches: Iterable[Branch] | None) -> None:
    """Load the revisions that incomplete builds have found, on *branches* or on any branch.

    If the index has abbreviations, all branches are read: a build on another branch may have found
    what an abbreviation means, if one of the two does not name its source in full.
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
    """Return the ids of the builders requested on *branch*.

    Each buildset is read once.

    :param since: only builders requested at this time or later, in epoch seconds
    """
    new = facts.ingest.not_looked_at(branch, since)
    ids = sorted(set[int]().union(*new.values()))
    facts.ingest.look_at(new, queries.ASKED_FOR.of(connection, ids))
    return facts.builders_on(branch, since)


def chosen_lately(
    connection: sa.Connection, facts: Facts, branch: Branch, schedulers: Iterable[str]
) -> dict[str, set[int]]:
    """Return the builder ids of the last buildsets of each of *schedulers* on *branch*.

    Only the newest buildsets are read, so a long history costs no more.
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
    """Yield the records of *query* without holding all of them in memory."""
    return itertools.chain.from_iterable(statements.streamed(connection, query, AT_A_TIME))
