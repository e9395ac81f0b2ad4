"""The same answers by SQL alone: on a bare database driver, encoded, and nothing else.

What no index of Buildbot's tables tells, which are the buildsets of a revision and of a user, is
looked up beforehand and not measured. So this is less than any program can do that has to find the
rows first, and what self-serve's own statements would take without self-serve.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

import orjson
import psycopg2
import sqlalchemy as sa

from benchmarks.history.cases import Case
from benchmarks.history.plan import DAY

#: As many builds of a user as self-serve shows.
_MOST = 200

_NAMES = """
request_id buildset_id builder_id buildername priority complete request_results submittime
complete_at claimed_at reason branch revision owner author build_id buildnumber starttime endtime
status state_string worker claimed_by_name"""
_KEYS = _NAMES.split()
_RECORDS = """
SELECT r.id, r.buildsetid, r.builderid, n.name, r.priority, r.complete, r.results, r.submitted_at,
       r.complete_at, c.claimed_at, s.reason, t.branch, t.revision,
       (SELECT p.property_value FROM buildset_properties p
         WHERE p.buildsetid = s.id AND p.property_name = 'owner' LIMIT 1),
       (SELECT h.author FROM changes h WHERE h.sourcestampid = t.id
         ORDER BY h.changeid DESC LIMIT 1),
       b.id, b.number, b.started_at, b.complete_at, b.results, b.state_string, w.name, m.name
  FROM buildsets s
  JOIN buildset_sourcestamps l ON l.buildsetid = s.id
  JOIN sourcestamps t ON t.id = l.sourcestampid
  JOIN buildrequests r ON r.buildsetid = s.id
  JOIN builders n ON n.id = r.builderid
  LEFT JOIN buildrequest_claims c ON c.brid = r.id
  LEFT JOIN builds b ON b.buildrequestid = r.id
  LEFT JOIN workers w ON w.id = b.workerid
  LEFT JOIN masters m ON m.id = b.masterid
 WHERE """
_STATES = """
SELECT r.complete, r.results, r.complete_at, b.complete_at, b.results
  FROM buildrequests r LEFT JOIN builds b ON b.buildrequestid = r.id
 WHERE r.buildsetid IN ({ids})"""
_BUILDSETS_OF_REVISION = """
SELECT DISTINCT l.buildsetid FROM sourcestamps t
  JOIN buildset_sourcestamps l ON l.sourcestampid = t.id
 WHERE t.revision >= %s AND t.revision < %s AND t.branch = %s"""
_BUILDSETS_OF_USER = """
SELECT DISTINCT l.buildsetid FROM changes h
  JOIN buildset_sourcestamps l ON l.sourcestampid = h.sourcestampid
 WHERE h.author = %s AND h.branch = %s"""
_PROPERTIES = """
SELECT property_name, property_value FROM buildset_properties WHERE buildsetid = %s"""
_BUILDERS = """
SELECT DISTINCT r.builderid FROM sourcestamps t
  JOIN buildset_sourcestamps l ON l.sourcestampid = t.id
  JOIN buildrequests r ON r.buildsetid = l.buildsetid
 WHERE t.branch = %s"""

#: Asks the database and encodes what it says.
Ask = Callable[[], bytes]


class Raw:
    """A bare connection of a database's own driver."""

    def __init__(self, url: sa.URL) -> None:
        self._question_marks = url.get_backend_name() == "sqlite"
        self._connection: Any
        if self._question_marks:
            self._connection = sqlite3.connect(f"file:{url.database}?mode=ro", uri=True)
        else:
            plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
            self._connection = psycopg2.connect(plain)
            self._connection.autocommit = True
        self._cursor = self._connection.cursor()

    def close(self) -> None:
        """Hang up."""
        self._connection.close()

    def _all(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        if self._question_marks:
            query = query.replace("%s", "?")
        self._cursor.execute(query, values)
        found: list[tuple[Any, ...]] = self._cursor.fetchall()
        return found

    def _records(self, condition: str, *values: Any) -> list[dict[str, Any]]:
        found = self._all(_RECORDS + condition, *values)
        return [dict(zip(_KEYS, one, strict=True)) for one in found]

    def _of_buildsets(self, query: str, *values: Any) -> str:
        return _list(one for (one,) in self._all(query, *values))

    # -- each looks up what no index tells, and returns what remains to be done

    def revision(self, case: Case) -> Ask:
        """Return how to tell everything that was asked for at the revision."""
        buildsets = self._at(case)
        condition = f"s.id IN ({buildsets}) AND t.branch = %s"
        return lambda: orjson.dumps(self._records(condition, case.branch))

    def is_done(self, case: Case) -> Ask:
        """Return how to tell whether the revision is done, and how it went."""
        query = _STATES.format(ids=self._at(case))

        def ask() -> bytes:
            found = self._all(query)
            ends = [one[2] for one in found]
            return orjson.dumps(
                {
                    "job_complete": None not in ends,
                    "failed": sum(one[1] in (2, 4) for one in found),
                    "builds": sum(one[3] is not None for one in found),
                }
            )

        return ask

    def _at(self, case: Case) -> str:
        until = case.revision + "g"  # hexadecimal digits end before it
        return self._of_buildsets(_BUILDSETS_OF_REVISION, case.revision, until, case.branch)

    def day(self, case: Case) -> Ask:
        """Return how to tell what happened on the day."""
        begin, end = case.begin, case.begin + DAY
        condition = (
            "s.submitted_at >= %s AND s.submitted_at < %s AND t.branch = %s"
            " AND COALESCE(b.started_at, r.submitted_at) >= %s"
            " AND COALESCE(b.started_at, r.submitted_at) < %s"
        )
        values = (begin - DAY, end, case.branch, begin, end)
        return lambda: orjson.dumps(self._records(condition, *values))

    def user(self, case: Case) -> Ask:
        """Return how to tell what the user has built, builds and waits for."""
        buildsets = self._of_buildsets(_BUILDSETS_OF_USER, case.user, case.branch)
        finished = (
            f"s.id IN ({buildsets}) AND t.branch = %s AND b.complete_at IS NOT NULL"
            f" ORDER BY b.id DESC LIMIT {_MOST}"
        )
        still_open = f"s.id IN ({buildsets}) AND t.branch = %s AND r.complete = 0"
        return lambda: orjson.dumps(
            [*self._records(finished, case.branch), *self._records(still_open, case.branch)]
        )

    def build(self, case: Case) -> Ask:
        """Return how to tell of one build."""
        condition = "b.id = %s AND t.branch = %s"
        return lambda: self._with_properties(condition, case.build_id, case.branch)

    def request(self, case: Case) -> Ask:
        """Return how to tell of one request."""
        condition = "r.id = %s AND t.branch = %s"
        return lambda: self._with_properties(condition, case.request_id, case.branch)

    def _with_properties(self, condition: str, *values: Any) -> bytes:
        found = self._records(condition, *values)
        properties = self._all(_PROPERTIES, found[0]["buildset_id"])
        return orjson.dumps([{**one, "properties": dict(properties)} for one in found])

    def pending(self, case: Case) -> Ask:
        """Return how to tell what waits and runs on the branch now."""
        condition = "s.complete = 0 AND r.complete = 0 AND t.branch = %s"
        return lambda: orjson.dumps(self._records(condition, case.branch))

    def builders(self, case: Case) -> Ask:
        """Return how to tell the builders of the branch."""
        ids = _list(one for (one,) in self._all(_BUILDERS, case.branch))
        query = f"SELECT name FROM builders WHERE id IN ({ids}) ORDER BY name"
        return lambda: orjson.dumps([name for (name,) in self._all(query)])


def _list(ids: Iterable[int]) -> str:
    return ", ".join(str(one) for one in sorted(ids)) or "NULL"


#: What is asked, by the names that the tables have for it.
QUESTIONS: dict[str, Callable[[Raw, Case], Ask]] = {
    "revision": Raw.revision,
    "is_done": Raw.is_done,
    "day": Raw.day,
    "user": Raw.user,
    "build": Raw.build,
    "request": Raw.request,
    "pending": Raw.pending,
    "builders": Raw.builders,
}
