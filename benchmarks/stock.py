"""The best that a client can do with Buildbot's own REST API, version 2.

It keeps its connection, asks for compact JSON and only for the fields that it needs, filters where
filters are quick, and asks for many ids at once. What it must do more is what that API lacks: it
has no filter of builds by revision, none of buildsets by sourcestamp, none of requests by branch.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import orjson

from benchmarks import wire
from benchmarks.history.cases import Case
from benchmarks.history.plan import DAY
from benchmarks.history.plan import END

Item = dict[str, Any]
#: So many ids fit into a URL that Buildbot still reads.
_IDS = 500
#: So many changes of a user are asked for at once.
_CHANGES = 50
#: As many builds of a user as self-serve shows.
_MOST = 200
#: A REST answer gets lost now and then: Buildbot 4.3 writes it from a thread.
_ATTEMPTS = 5
_CHANGE_FIELDS = (
    ("field", "changeid"),
    ("field", "revision"),
    ("field", "branch"),
    ("field", "sourcestamp"),
)


class Stock:
    """A client of Buildbot's REST API.

    :ivar requests: how many HTTP requests it has sent
    """

    def __init__(self, connection: wire.Connection) -> None:
        self.connection = connection
        self.requests = 0
        fields = [("field", "builderid"), ("field", "name")]
        self.names = {one["builderid"]: one["name"] for one in self.get("builders", fields)}

    def get(self, path: str, query: Iterable[tuple[str, Any]] = ()) -> list[Item]:
        """Return what is at a path of the API."""
        self.requests += 1
        url = f"/api/v2/{path}?{urlencode(list(query))}"
        answer: Item = orjson.loads(self.connection.get(url, attempts=_ATTEMPTS))
        (items,) = (value for name, value in answer.items() if name != "meta")
        found: list[Item] = items if isinstance(items, list) else [items]
        return found

    # -- what clients want to know; each returns it in self-serve's words

    def revision(self, case: Case) -> list[Item]:
        """Return everything that was asked for at the revision."""
        changes = self._changes(case)
        builds = [build for one in changes for build in self._builds_of(one)]
        known = self.by_ids("buildrequests", "buildrequestid", _ids(builds, "buildrequestid"))
        buildsets = _ids(known, "buildsetid") | set(self._open(case, case.revision))
        requests = self.by_ids("buildrequests", "buildsetid", buildsets)
        return self._rows(requests, builds)

    def is_done(self, case: Case) -> bool:
        """Return whether nothing waits or runs at the revision, and something was built."""
        if self._open(case, case.revision):
            return False
        return any(self._builds_of(one) for one in self._changes(case))

    def day(self, case: Case) -> list[Item]:
        """Return what happened on the day."""
        begin, end = case.begin, case.begin + DAY
        during = [("submitted_at__ge", begin - DAY), ("submitted_at__lt", end)]
        buildsets = _on_branch(self.get("buildsets", during), case.branch)
        requests = self.by_ids("buildrequests", "buildsetid", buildsets)
        builds = self.by_ids("builds", "buildrequestid", _ids(requests, "buildrequestid"))
        return [
            row
            for row in self._rows(requests, builds)
            if begin <= int(row.get("started_at") or row["submitted_at"]) < end
        ]

    def user(self, case: Case) -> list[Item]:
        """Return builds of the user's newest changes."""
        rows: list[Item] = []
        for offset in itertools.count(0, _CHANGES):
            query = [
                ("author", case.user),
                ("branch", case.branch),
                ("order", "-changeid"),
                ("limit", _CHANGES),
                ("offset", offset),
                *_CHANGE_FIELDS,
                ("field", "author"),
            ]
            changes = self.get("changes", query)
            for one in changes:
                rows += self._builds_of(one)
                if len(rows) >= _MOST:
                    return rows[:_MOST]
            if len(changes) < _CHANGES:
                return rows
        raise AssertionError("unreachable")

    def build(self, case: Case) -> list[Item]:
        """Return one build, with its request and its properties."""
        (build,) = self.get(f"builds/{case.build_id}", [("property", "*")])
        return [{**self._request(build["buildrequestid"]), **build}]

    def request(self, case: Case) -> list[Item]:
        """Return one request, with its properties and builds."""
        builds = self.get(f"buildrequests/{case.request_id}/builds")
        return self._rows([self._request(case.request_id)], builds)

    def pending(self, case: Case) -> list[Item]:
        """Return what waits and runs on the branch now."""
        open_sets = self._open(case, "")
        wanted = [("complete", "false")]
        requests = [
            one for one in self.get("buildrequests", wanted) if one["buildsetid"] in open_sets
        ]
        return self._rows(requests, self.get("builds", wanted))

    def builders(self, case: Case) -> list[str]:
        """Return the builders that were asked to build the branch on the last day.

        For all of them such a client would have to read all buildsets there are.
        """
        newest = [("submitted_at__ge", END - DAY)]
        found = _on_branch(self.get("buildsets", newest), case.branch)
        requests = self.by_ids("buildrequests", "buildsetid", found)
        return sorted({self.names[one["builderid"]] for one in requests})

    # -- pieces

    def _changes(self, case: Case) -> list[Item]:
        # a range, because that is what an index serves; hexadecimal digits end before "g"
        query = [
            ("revision__ge", case.revision),
            ("revision__lt", case.revision + "g"),
            *_CHANGE_FIELDS,
        ]
        return [one for one in self.get("changes", query) if one["branch"] == case.branch]

    def _builds_of(self, change: Item) -> list[Item]:
        return self.get(f"changes/{change['changeid']}/builds")

    def _open(self, case: Case, revision: str) -> set[int]:
        found = self.get("buildsets", [("complete", "false")])
        return _on_branch(found, case.branch, revision)

    def _request(self, request_id: int) -> Item:
        (request,) = self.get(f"buildrequests/{request_id}")
        (buildset,) = self.get(f"buildsets/{request['buildsetid']}")
        properties = self.get(f"buildsets/{request['buildsetid']}/properties")
        return {**request, "buildset": buildset, "properties": properties}

    def by_ids(self, path: str, name: str, ids: Collection[int]) -> list[Item]:
        """Return what has one of these *ids* as its *name*."""
        found: list[Item] = []
        for some in _batches(sorted(ids)):
            # without "__in" buildrequests take the first id and forget the others
            found += self.get(path, [(f"{name}__in", one) for one in some])
        return found

    def _rows(self, requests: Iterable[Item], builds: Iterable[Item]) -> list[Item]:
        by_request: dict[int, list[Item]] = {}
        for build in builds:
            by_request.setdefault(build["buildrequestid"], []).append(build)
        return [
            {**request, **build, "buildername": self.names.get(request["builderid"])}
            for request in requests
            for build in by_request.get(request["buildrequestid"], [{}])
        ]


def _ids(items: Iterable[Item], name: str) -> set[int]:
    return {one[name] for one in items}


def _on_branch(buildsets: Iterable[Item], branch: str, revision: str = "") -> set[int]:
    return {
        one["bsid"]
        for one in buildsets
        if any(
            stamp["branch"] == branch and (stamp["revision"] or "").startswith(revision)
            for stamp in one["sourcestamps"]
        )
    }


def _batches(ids: list[int]) -> Iterator[list[int]]:
    return (ids[begin : begin + _IDS] for begin in range(0, len(ids), _IDS))


#: What is asked, by the names that the tables have for it.
QUESTIONS: dict[str, Callable[[Stock, Case], Any]] = {
    "revision": Stock.revision,
    "is_done": Stock.is_done,
    "day": Stock.day,
    "user": Stock.user,
    "build": Stock.build,
    "request": Stock.request,
    "pending": Stock.pending,
    "builders": Stock.builders,
}
