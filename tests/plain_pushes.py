"""Pushes, health and the last green revision in the plainest way: all rows, looked through.

What the history must never differ from. Nothing here is taken from it.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from functools import cache
from typing import Any
from typing import NamedTuple

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import Branch
from tests.plain_history import Plain

PASSED, FAILED = ("passed", "warnings"), ("failed", "exception")
WORDS = {0: "passed", 1: "warnings", 2: "failed", 4: "exception"}
MOST_BACK = 50


class State(NamedTuple):
    """What a builder has made of a revision."""

    state: str
    result: str
    flaky: bool
    attempts: int


class Compared(NamedTuple):
    """A builder at a revision, beside what was before."""

    state: str
    change: str
    attempts: int
    base_state: str | None
    base_revision: str | None
    distance: int | None


class PlainPushes:
    """All pushes of all branches, as the database has them now."""

    def __init__(self, connection: sa.Connection) -> None:
        self.plain = plain = Plain(connection)
        builders = connection.execute(sa.select(Model.builders)).mappings()
        self.names = {one["id"]: one["name"] for one in builders}
        self.built_by = {one["id"]: self.names[one["builderid"]] for one in plain.builds}
        self.asked = {one["id"]: self.names[one["builderid"]] for one in plain.requests}
        self.virtual = {
            one["buildsetid"]: json.loads(one["property_value"])[0]
            for one in connection.execute(sa.select(Model.buildset_properties)).mappings()
            if one["property_name"] == "virtual_builder_name"
        }
        commits = list(connection.execute(sa.select(Model.codebase_commits)).mappings())
        revisions = {one["id"]: one["revision"] for one in commits}
        self.parents = {one["revision"]: revisions.get(one["parent_commitid"]) for one in commits}

    # -- results

    @cache  # noqa: B019 - there are few, and none lives long
    def states(self, branch: Branch, revision: str) -> dict[str, State]:
        """Return what each builder has made of a revision."""
        rows: dict[str, list[dict[str, Any]]] = {}
        for row in self.plain.at(branch, revision):
            if "build_id" in row:
                name = self.built_by[row["build_id"]]
            else:
                name = self.asked[row["request_id"]]
                name = self.virtual.get(row["buildset_id"], name)
            rows.setdefault(name, []).append(row)
        return {name: _state(its) for name, its in rows.items()}

    def verdict(self, branch: Branch, revision: str) -> str:
        """Return the verdict."""
        every = self.states(branch, revision).values()
        if any(one.state == "running" for one in every):
            return "running"
        if not every and self.built_with(branch, revision) is not None:
            return "incomplete"
        if not every or any(one.state == "pending" for one in every):
            return "pending"
        if any(one.result in FAILED for one in every):
            return "failed"
        return "passed" if all(one.result in PASSED for one in every) else "incomplete"

    # -- order

    @cache  # noqa: B019
    def line(self, branch: Branch) -> list[str]:
        """Return the revisions of a branch, the newest first."""
        keys = {one: self._key(branch, one) for one in self.plain.revisions(branch)}
        there = [(key, one) for one, key in keys.items() if key is not None]
        return [one for _, one in sorted(there, reverse=True)]

    def _stamps(self, branch: Branch, revision: str) -> list[Any]:
        return [
            one
            for one in self.plain.stamps.values()
            if self.plain.belongs(branch, one)
            and one["patchid"] is None
            and self.plain.named(one) == revision
        ]

    def _key(self, branch: Branch, revision: str) -> tuple[int, int] | None:
        stamp_ids = [one["id"] for one in self._stamps(branch, revision)]
        changes = [one for one in self.plain.changes if one["sourcestampid"] in stamp_ids]
        if changes:
            first = changes[0]
            before = [
                one["sourcestampid"]
                for one in self.plain.changes
                if one["changeid"] <= first["changeid"]
            ]
            newest = max(before)
            # only the first change of a sourcestamp may have another place than it
            return newest, 0 if first["sourcestampid"] == newest else first["changeid"]
        built = self._built(branch, revision)
        if built:
            return min(built), 0
        buildset_of = {one["id"]: one["buildsetid"] for one in self.plain.requests}
        found = self._requests_that_found(branch, revision)
        if not found:
            return None
        first_asked = min(found)
        before = [
            max(it["sourcestampid"] for it in self.plain.links if it["buildsetid"] == buildset_id)
            for buildset_id in self.plain.buildsets
            if buildset_id <= buildset_of[first_asked]
        ]
        return max(before), first_asked

    def _built(self, branch: Branch, revision: str) -> list[int]:
        """Return its sourcestamps in buildsets, once for each."""
        stamp_ids = {one["id"] for one in self._stamps(branch, revision)}
        return [
            link["sourcestampid"]
            for link in self.plain.links
            if link["sourcestampid"] in stamp_ids and not self.plain.is_patched(link["buildsetid"])
        ]

    def _requests_that_found(self, branch: Branch, revision: str) -> list[int]:
        buildset_of = {one["id"]: one["buildsetid"] for one in self.plain.requests}
        request_of = {one["id"]: one["buildrequestid"] for one in self.plain.builds}
        found = [
            request_of[build_id]
            for one, build_id, _ in self.plain._found(branch)
            if one == revision
        ]
        return [one for one in found if not self.plain.is_patched(buildset_of[one])]

    def _is_requested(self, branch: Branch, revision: str) -> bool:
        built, found = self._built(branch, revision), self._requests_that_found(branch, revision)
        return bool(built or found)

    def built_with(self, branch: Branch, revision: str) -> str | None:
        """Return the next newer push that was requested, where this one was not."""
        line, codebases = self.line(branch), self._codebases(branch, revision)
        if self._is_requested(branch, revision):
            return None
        for one in reversed(line[: line.index(revision)]):
            is_push = self.changes_of(branch, one) and codebases & self._codebases(branch, one)
            if is_push and self._is_requested(branch, one):
                return one
        return None

    def changes_of(self, branch: Branch, revision: str) -> list[Any]:
        """Return the changes of a revision, by id."""
        stamp_ids = {one["id"] for one in self._stamps(branch, revision)}
        return [one for one in self.plain.changes if one["sourcestampid"] in stamp_ids]

    def before(self, branch: Branch, revision: str) -> list[str]:
        """Return the revisions before this one, the nearest first."""
        line = self.line(branch)
        if self.parents.get(revision) is None:
            return self._by_order(branch, revision)
        found: list[str] = []
        one: str | None = self.parents[revision]
        last = revision
        while one is not None:
            if one in line:
                found.append(one)
            last, one = one, self.parents.get(one)
        if last in line:
            # Buildbot knows commits only since somebody told it to keep them
            found += [one for one in self._by_order(branch, last) if one not in (*found, revision)]
        return found[:MOST_BACK]

    def _by_order(self, branch: Branch, revision: str) -> list[str]:
        line = self.line(branch)
        codebases = self._codebases(branch, revision)
        has_changes = any(self.changes_of(branch, one) for one in line)
        found = []
        for one in line[line.index(revision) + 1 :]:
            others = self._codebases(branch, one)
            if (self.changes_of(branch, one) or not has_changes) and codebases & others:
                found.append(one)
        return found[:MOST_BACK]

    def _codebases(self, branch: Branch, revision: str) -> set[str]:
        named = {one["codebase"] for one in self._stamps(branch, revision)}
        if named:
            return named
        # of the first request whose build has found it
        request_of = {one["id"]: one["buildrequestid"] for one in self.plain.builds}
        buildset_of = {one["id"]: one["buildsetid"] for one in self.plain.requests}
        found = [
            (request_of[build_id], stamp["codebase"])
            for one, build_id, stamp in self.plain._found(branch)
            if one == revision and not self.plain.is_patched(buildset_of[request_of[build_id]])
        ]
        return {codebase for request_id, codebase in found if request_id == min(found)[0]}

    # -- answers

    def health(self, branch: Branch, revision: str, base: str | None = None) -> dict[str, Compared]:
        """Return how each builder compares with what was before, or with *base*."""
        before = self.before(branch, revision)
        told = {}
        for name, at in self.states(branch, revision).items():
            bases = [base] if base is not None else before
            found = next(
                (
                    (one, self.states(branch, one)[name].result)
                    for one in bases
                    if name in self.states(branch, one) and self.states(branch, one)[name].result
                ),
                None,
            )
            change = _change(at, found, "new" if base is None else "unknown")
            if found is None or change in ("new", "unknown"):
                told[name] = Compared(at.state, change, at.attempts, None, None, None)
                continue
            distance = before.index(found[0]) + 1 if found[0] in before else None
            told[name] = Compared(at.state, change, at.attempts, found[1], found[0], distance)
        return told

    def last_green(self, branch: Branch, names: Collection[str] | None) -> tuple[str, int] | None:
        """Return the newest revision at which these builders passed, and how many are newer."""
        for distance, revision in enumerate(self.line(branch)):
            states = self.states(branch, revision)
            if names is None:
                is_green = self.verdict(branch, revision) == "passed"
            else:
                is_green = all(one in states and states[one].state in PASSED for one in names)
            if is_green:
                return revision, distance
        return None


def _state(rows: list[dict[str, Any]]) -> State:
    builds = [row for row in rows if "build_id" in row]
    ended = [row for row in builds if row["end"] is not None]
    counted = sorted(
        (row for row in ended if row["status"] in WORDS), key=lambda row: int(row["build_id"])
    )
    results = [WORDS[row["status"]] for row in counted]
    result = results[-1] if results else ""
    open_rows = [row for row in rows if row["end"] is None]
    if any("build_id" in row or row["claimed_at"] for row in open_rows):
        state = "running"
    elif open_rows:
        state = "pending"
    elif result:
        state = result
    else:
        others = [row for row in rows if row["status"] in (3, 6)]
        last = max(
            others, key=lambda row: (row["request_id"], row.get("build_id", 0)), default=None
        )
        state = "skipped" if last is not None and last["status"] == 3 else "cancelled"
    flaky = any(one in PASSED for one in results) and any(one in FAILED for one in results)
    attempts = len(builds) - sum(row["status"] == RETRY for row in ended)
    return State(state, result, flaky, attempts)


def _change(at: State, found: tuple[str, str] | None, otherwise: str) -> str:
    if not at.result:
        return "unknown"
    if at.flaky:
        return "flaky"
    if found is None:
        return otherwise
    passed = found[1] in PASSED
    if at.result in FAILED:
        return "regressed" if passed else "still_failing"
    return "passing" if passed else "fixed"
