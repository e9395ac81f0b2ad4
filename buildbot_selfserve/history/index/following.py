"""Loads the index, and brings it up to date at each question."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Set
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.history.index import statements
from buildbot_selfserve.history.index.builds import LATE
from buildbot_selfserve.history.index.facts import Facts
from buildbot_selfserve.history.index.facts import found_in
from buildbot_selfserve.history.index.tails import MOST_GAPS
from buildbot_selfserve.history.index.tails import Replaced
from buildbot_selfserve.history.listed import streamed
from buildbot_selfserve.model import Branch

#: More builds than this that may find a revision are looked at, whether anybody asks or not.
MOST_SEARCHING = 500
#: So many records are taken at a time.
STREAMED = 2000

#: What is followed, in this order: whatever refers to something is fetched before it, so that
#: what it refers to is there when its turn comes.
_FOLLOWED = (
    ("builds", statements.BUILDS, statements.builds.c.id),
    ("changes", statements.CHANGES, statements.changes.c.changeid),
    ("links", statements.LINKS, statements.links.c.id),
    ("stamps", statements.STAMPS, statements.stamps.c.id),
)
_NAMES = {
    "builders": statements.BUILDERS,
    "workers": statements.WORKERS,
    "masters": statements.MASTERS,
}

Records = list[tuple[Any, ...]]


class Index:
    """What is known of one database, shared by the threads of a reader.

    An answer is as new as the database is at the time of the question: each question first asks
    how far the tables go now, and fetches what it does not know.
    """

    def __init__(self) -> None:
        self._facts: Facts | None = None
        self._loading = threading.Lock()

    def facts(self, connection: sa.Connection) -> Facts:
        """Return what is known, up to date; the first time, or after a change of the database, all
        of it is loaded.
        """
        facts = self._facts
        while True:
            if facts is None:
                facts = self._loaded(connection, facts)
            try:
                _extend(connection, facts)
                return facts
            except Replaced:
                facts = self._loaded(connection, facts)

    def _loaded(self, connection: sa.Connection, stale: Facts | None) -> Facts:
        with self._loading:
            if self._facts is None or self._facts is stale:
                self._facts = _load(connection)
            return self._facts


def found_by_running(
    connection: sa.Connection, facts: Facts, branch: Branch | None
) -> list[tuple[str, int]]:
    """Return the revisions that builds have found which are not over, and those builds.

    What those have found that are over is settled on the way.
    """
    every = facts.searching(branch)
    ids = sorted(every)
    records = statements.FOUND_BY.of(connection, ids)
    facts.settle((build_id, value) for build_id, _, end, value in records if end is not None)
    return [
        (revision, build_id)
        for build_id, _, end, value in records
        if end is None
        for revision, _ in found_in(value, every[build_id])
    ]


def learn_names(connection: sa.Connection, facts: Facts) -> None:
    """Learn the names of all builders, workers and masters."""
    for kind, query in _NAMES.items():
        facts.name(kind, dict(_streamed(connection, query)))


def _extend(connection: sa.Connection, facts: Facts) -> None:
    *newest, first_change, first_link, first_stamp = statements.ENDS.all(connection)[0]
    facts.begins(first_stamp, first_link)
    facts.forget_changes(first_change)
    new: dict[str, Records] = {}
    for (name, query, column), end in zip(_FOLLOWED, newest, strict=True):
        tail = facts.tails[name]
        if tail.moved(end):
            new[name] = _fetched(connection, query.where(tail.condition(column)))
    # nearly always there is nothing but the newest one of before
    if any(one[0] != facts.tails[name].last for name, records in new.items() for one in records):
        _take(connection, facts, new)
    _tidy(connection, facts)


def _take(connection: sa.Connection, facts: Facts, new: dict[str, Records]) -> None:
    links, changes = new.get("links", []), new.get("changes", [])
    buildset_ids = sorted({link[1] for link in links})
    owners = statements.OWNERS_OF.of(connection, buildset_ids)
    change_ids = [change[0] for change in changes]
    users = statements.USERS_OF.of(connection, change_ids)
    fetched = {stamp[0] for stamp in new.get("stamps", [])}
    more_stamps = _unknown_stamps(connection, facts, (link[2] for link in links), fetched)
    facts.add(new, _owners(owners), _users(users), more_stamps)


def _unknown_stamps(
    connection: sa.Connection, facts: Facts, needed: Iterable[int], fetched: Set[int] = frozenset()
) -> Records:
    """Return the sourcestamps that are *needed*, and neither known nor *fetched*."""
    unknown = facts.unknown_stamps(one for one in needed if one not in fetched)
    return statements.STAMPS_OF.of(connection, unknown)


def _tidy(connection: sa.Connection, facts: Facts) -> None:
    untrimmed = facts.untrimmed()
    if untrimmed:
        facts.trim(untrimmed, {one for (one,) in statements.OPEN.all(connection)})
    if len(facts.searching()) > MOST_SEARCHING:
        found_by_running(connection, facts, None)


def _load(connection: sa.Connection) -> Facts:
    # one that writes at a time gives out the ids in the order of the commits
    facts = Facts(rising=connection.dialect.name == "sqlite")
    newest = statements.BUILDS.order_by(statements.builds.c.id.desc()).limit(2 * MOST_GAPS)
    for _ in facts.begin("builds", reversed(list(_streamed(connection, newest)))):
        pass
    changes, links, stamps = (
        facts.begin(name, _streamed(connection, query.order_by(column)))
        for name, query, column in _FOLLOWED[1:]
    )
    facts.add_stamps(stamps)
    facts.add_changes(changes, _users(_streamed(connection, statements.USERS)))
    owners = _owners(_streamed(connection, statements.OWNERS))
    # those of sourcestamps that came while we were reading
    newer = facts.add_links(links, owners)
    facts.add_stamps(_unknown_stamps(connection, facts, (link[2] for link in newer)))
    facts.add_links(newer, owners)
    del owners
    late = _streamed(connection, statements.LATE.params(late=LATE))
    nameless = facts.nameless()
    found = statements.FOUND_IN.of(connection, nameless)
    facts.begin_builds((one for (one,) in statements.OPEN.all(connection)), late, found)
    learn_names(connection, facts)
    return facts


def _streamed(connection: sa.Connection, query: sa.Select[Any]) -> Iterator[tuple[Any, ...]]:
    return streamed(connection, query, STREAMED)


def _fetched(connection: sa.Connection, query: sa.Select[Any]) -> Records:
    return [tuple(record) for record in connection.execute(query)]


def _owners(records: Iterable[Any]) -> dict[int, str | None]:
    """Return who asked for each buildset that says it."""
    decoded: dict[str, str | None] = {}
    owners: dict[int, str | None] = {}
    for buildset_id, value in records:
        if value not in decoded:
            owner = json.loads(value)[0]
            decoded[value] = owner if isinstance(owner, str) else None
        owners[buildset_id] = decoded[value]
    return owners


def _users(records: Iterable[Any]) -> dict[int, list[str]]:
    """Return the users that Buildbot knows of each change, further to its author."""
    users: dict[int, list[str]] = {}
    for change_id, identifier, author in records:
        if identifier != author:
            users.setdefault(change_id, []).append(identifier)
    return users
