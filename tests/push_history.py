"""Writes histories of pushes into Buildbot's tables: what was pushed, and how its builds ended.

A letter is what became of a build request: P passed, W warnings, F failed, X exception, C cancelled
while it ran, S skipped by its steps, R tried again by Buildbot (what follows is of the same
request), r running, p pending, k claimed and not begun, c cancelled while it was pending, s
collapsed. Several letters are several requests, the later ones by hand::

    history.push("a", "ada", linux="P", mac="P")
    history.push("b", "bob", linux="F", mac="FP")     # bob broke linux; mac is flaky
    history.build("b", linux="r")                     # it builds again
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model

#: When these histories begin, in epoch seconds, and how long a build takes.
BEGIN = 1_700_000_000
TOOK = 60

RESULTS = {"P": 0, "W": 1, "F": 2, "S": 3, "X": 4, "R": 5, "C": 6}
#: Requests without a build: whether they are complete, their result, and whether they are claimed.
UNBUILT = {"p": (0, -1, False), "k": (0, -1, True), "c": (1, 6, True), "s": (1, 3, True)}

Stamp = tuple[str | None, str | None, str, str, str, int | None]


def sha(name: str) -> str:
    """Return the hash that stands for a commit of this name."""
    return hashlib.sha1(name.encode()).hexdigest()


class PushHistory:
    """Writes a history; ``flush`` puts into the database what has been told until then.

    It may go on with what a real master has written. Revisions are names, for which hashes are
    written; a text that begins with ``=`` is written as the rest of it is.

    :ivar now: epoch seconds; each push comes a minute after the last
    """

    def __init__(self, connection: sa.Connection, branch: str = "main", begin: int = BEGIN) -> None:
        self.connection = connection
        self.branch = branch
        self.now = begin
        self._rows: dict[sa.Table, list[dict[str, Any]]] = {}
        self._next: dict[sa.Table, int] = {}
        self._stamps: dict[Stamp, int] = {}
        self._commits: dict[str, int] = {}
        self._numbers: dict[int, int] = {}
        self._codebase: int | None = None
        self.builders = {
            name: one
            for one, name in connection.execute(
                sa.select(Model.builders.c.id, Model.builders.c.name)
            )
        }
        self._some(Model.masters, name="master", name_hash="m" * 40, active=0, last_active=begin)
        self._some(Model.workers, name="worker", info={}, paused=0, graceful=0)

    # -- what happens

    def push(self, name: str, author: str = "ada", /, **builds: Any) -> int:
        """Push a revision, and build it; return the id of its change.

        :param builds: letters by builder; and what ``stamp`` and ``change`` take
        """
        self.now += 60
        where = {one: builds.pop(one) for one in _WHERE if one in builds}
        about = {one: builds.pop(one) for one in _ABOUT if one in builds}
        change_id = self.change(name, author, **where, **about)
        if builds:
            self.build(name, **where, **builds)
        return change_id

    def build(self, name: str | None, /, *more: str, **builds: Any) -> list[int]:
        """Build a revision, or with ``None`` whatever is the newest; return the requests.

        :param more: other revisions whose sourcestamps the buildset has: ``CODEBASE:NAME``
        :param builds: letters by builder; what ``stamp`` takes; ``got``: the revision that builds
            say they have found; ``virtual``: the name of the virtual builder that they are for;
            ``job``: the backfill or bisection that they are for
        """
        where = {one: builds.pop(one) for one in _WHERE if one in builds}
        got, virtual = builds.pop("got", None), builds.pop("virtual", None)
        properties = {"virtual_builder_name": virtual, "selfserve_range": builds.pop("job", None)}
        stamps = [self.stamp(name, **where)]
        for one in more:
            codebase, _, other = one.partition(":")
            stamps.append(self.stamp(other or None, **{**where, "codebase": codebase}))
        requests: list[int] = []
        waves = [(one, runs(letters)) for one, letters in builds.items()]
        for number in range(max(len(its) for _, its in waves)):
            its = {one: some[number] for one, some in waves if number < len(some)}
            requests += self._buildset(stamps, its, got, properties)
        return requests

    def change(
        self,
        name: str,
        author: str = "ada",
        *,
        comments: str | None = None,
        files: Iterable[str] = ("a.c",),
        parent: str | None = None,
        category: str | None = None,
        revlink: str | None = None,
        **where: Any,
    ) -> int:
        """Let Buildbot hear of a change; return its id.

        :param parent: the first parent of the commit, which Buildbot knows then
        """
        stamp_id = self.stamp(name, **where)
        if parent is not None:
            self.commit(name, parent)
        change_id = self._add(
            Model.changes,
            author=author,
            comments=f"Change {name}\n\nIt was needed." if comments is None else comments,
            branch=where.get("branch", self.branch),
            revision=written(name),
            when_timestamp=self.now,
            repository=where.get("repository", ""),
            codebase=where.get("codebase", ""),
            project=where.get("project", ""),
            category=category,
            revlink=revlink,
            sourcestampid=stamp_id,
        )
        for file in files:
            self._add(Model.change_files, changeid=change_id, filename=file)
        return change_id

    def stamp(
        self,
        name: str | None,
        *,
        branch: Any = ...,
        codebase: str = "",
        repository: str = "",
        project: str = "",
        patch: bool = False,
    ) -> int:
        """Return the sourcestamp of a revision, which there is once."""
        patch_id = None
        if patch:
            values = {"patchlevel": 1, "patch_base64": "", "patch_author": "", "patch_comment": ""}
            patch_id = self._add(Model.patches, **values)
        on = self.branch if branch is ... else branch
        stamp = (on, written(name), codebase, repository, project, patch_id)
        if stamp not in self._stamps:
            self._stamps[stamp] = self._add(
                Model.sourcestamps,
                ss_hash=hashlib.sha1(repr(stamp).encode()).hexdigest(),
                branch=on,
                revision=written(name),
                codebase=codebase,
                repository=repository,
                project=project,
                patchid=patch_id,
                created_at=self.now,
            )
        return self._stamps[stamp]

    def commit(self, name: str, parent: str | None) -> None:
        """Let Buildbot know a commit and its first parent, which is made known, too."""
        if self._codebase is None:
            project = self._some(Model.projects, name="p", name_hash="p" * 40, slug="p")
            self._codebase = self._some(
                Model.codebases, projectid=project, name="c", name_hash="c" * 40, slug="c"
            )
        if parent is not None and parent not in self._commits:
            self.commit(parent, None)
        self._commits[name] = self._add(
            Model.codebase_commits,
            codebaseid=self._codebase,
            author="ada",
            comments="",
            when_timestamp=self.now,
            revision=written(name),
            parent_commitid=None if parent is None else self._commits[parent],
        )

    def builder(self, name: str) -> int:
        """Return the id of a builder, which there is then."""
        if name not in self.builders:
            name_hash = hashlib.sha1(name.encode()).hexdigest()
            self.builders[name] = self._add(Model.builders, name=name, name_hash=name_hash)
        return self.builders[name]

    def flush(self) -> None:
        """Write what has been told."""
        for table in Model.metadata.sorted_tables:
            rows = self._rows.pop(table, [])
            if rows:
                self.connection.execute(table.insert(), rows)
                self._count_on(table)
        self.connection.commit()

    # -- pieces

    def _buildset(
        self,
        stamps: Iterable[int],
        its: Mapping[str, str],
        got: str | None,
        properties: Mapping[str, Any],
    ) -> list[int]:
        is_range = properties["selfserve_range"] is not None
        is_open = any(letters[-1] in "rpk" for letters in its.values())
        buildset_id = self._add(
            Model.buildsets,
            submitted_at=self.now,
            reason="Self-serve: Requested by ada" if is_range else "a push",
            complete=int(not is_open),
            complete_at=None if is_open else self.now + TOOK,
            results=-1 if is_open else 0,
        )
        for stamp_id in stamps:
            self._add(Model.buildset_sourcestamps, buildsetid=buildset_id, sourcestampid=stamp_id)
        for name, value in properties.items():
            if value is not None:
                self._add(
                    Model.buildset_properties,
                    buildsetid=buildset_id,
                    property_name=name,
                    property_value=json.dumps([value, "Scheduler"]),
                )
        virtual = properties["virtual_builder_name"]
        return [
            self._request(buildset_id, name, letters, got, virtual) for name, letters in its.items()
        ]

    def _request(
        self, buildset_id: int, name: str, letters: str, got: str | None, virtual: str | None
    ) -> int:
        last = letters[-1]
        complete, results, claimed = UNBUILT.get(last, (int(last != "r"), RESULTS.get(last), True))
        request_id = self._add(
            Model.buildrequests,
            buildsetid=buildset_id,
            builderid=self.builder(name),
            priority=0,
            complete=complete,
            results=-1 if results is None else results,
            submitted_at=self.now,
            complete_at=self.now + TOOK if complete else None,
            waited_for=0,
        )
        if claimed:
            self._add(Model.buildrequest_claims, brid=request_id, masterid=1, claimed_at=self.now)
        for letter in letters:
            if letter not in UNBUILT:
                self._build(request_id, self.builder(virtual or name), letter, got)
        return request_id

    def _build(self, request_id: int, builder_id: int, letter: str, got: str | None) -> None:
        self._numbers[builder_id] = self._numbers.get(builder_id, 0) + 1
        ended = None if letter == "r" else self.now + TOOK
        build_id = self._add(
            Model.builds,
            number=self._numbers[builder_id],
            builderid=builder_id,
            buildrequestid=request_id,
            workerid=1,
            masterid=1,
            started_at=self.now,
            complete_at=ended,
            locks_duration_s=0,
            state_string="building" if ended is None else "finished",
            results=RESULTS.get(letter),
        )
        for number, step in enumerate(("git", "compile", "test")):
            results = 0 if letter not in "FX" or number == 0 else RESULTS[letter]
            if results and step == "compile":
                continue
            self._add(
                Model.steps,
                number=number,
                name=step,
                buildid=build_id,
                started_at=self.now,
                complete_at=ended,
                state_string=step,
                results=results,
                urls_json="[]",
                hidden=0,
            )
        if got is not None:
            value = json.dumps(written(got))
            values = {"name": "got_revision", "value": value, "source": "Git"}
            self._add(Model.build_properties, buildid=build_id, **values)

    def _add(self, table: sa.Table, **values: Any) -> int:
        key = next(iter(table.primary_key), None)
        number = 0
        if key is not None and key.name not in values:
            if table not in self._next:
                newest = self.connection.execute(sa.select(sa.func.max(key))).scalar()
                self._next[table] = (newest or 0) + 1
            number = self._next[table]
            self._next[table] += 1
            values = {key.name: number, **values}
        self._rows.setdefault(table, []).append(values)
        return number

    def _some(self, table: sa.Table, **values: Any) -> int:
        """Return the id of some row of a table, which there is then."""
        (key,) = table.primary_key
        found = self.connection.execute(sa.select(sa.func.min(key))).scalar()
        return self._add(table, **values) if found is None else int(found)

    def _count_on(self, table: sa.Table) -> None:
        """Let PostgreSQL give out the ids behind those that were written."""
        key = next(iter(table.primary_key), None)
        if self.connection.dialect.name == "postgresql" and key is not None:
            which = f"pg_get_serial_sequence('{table.name}', '{key.name}')"
            newest = f"(SELECT max({key.name}) FROM {table.name})"
            self.connection.exec_driver_sql(f"SELECT setval({which}, {newest})")


_WHERE = ("branch", "codebase", "repository", "project", "patch")
_ABOUT = ("comments", "files", "parent", "category", "revlink")


def written(name: str | None) -> str | None:
    """Return the revision that a name stands for."""
    if not name:
        return name
    return name[1:] if name.startswith("=") else sha(name)


def runs(letters: str) -> list[str]:
    """Return the letters of each request: what was tried again belongs to what follows."""
    found: list[str] = []
    for letter in letters:
        if found and found[-1][-1] == "R":
            found[-1] += letter
        else:
            found.append(letter)
    return found


PLATFORMS = ("linux", "windows", "macos", "android", "asan")
SUITES = ("build", "unit", "lint", "perf", "e2e", "docs", "fuzz", "i18n")
AUTHORS = (
    "Ada Lovelace <ada@example.org>",
    "Grace Hopper <grace@example.org>",
    "Alan Turing <alan@example.org>",
    "Edsger Dijkstra <edsger@example.org>",
)
SUBJECTS = (
    "Parse dates before the epoch",
    "Do not read past the end of the buffer",
    "Cache the list of branches",
    "Draw the chart in the colours of the theme",
    'Revert "Cache the list of branches"',
    "Say which parameter is wrong",
    "Use one connection for all lookups",
    "Test the parser with random input",
)


def builder_names(count: int) -> list[str]:
    """Return the names of *count* builders, in groups that begin alike."""
    return [
        f"{PLATFORMS[number % 5]}-{SUITES[number // 5 % 8]}-{number // 40}"
        for number in range(count)
    ]


def write_many(history: PushHistory, builders: int = 200, pushes: int = 40, seed: int = 1) -> None:
    """Write a history with regressions that are fixed, flakes, exceptions, and a queue at its end.

    The same for the same numbers.
    """
    chance = random.Random(seed)
    names = builder_names(builders)
    broken: dict[str, int] = {}
    for number in range(pushes):
        for name in chance.sample(names, max(1, builders // 60)):
            broken.setdefault(name, number + chance.randint(1, 6))
        broken = {name: until for name, until in broken.items() if until > number}
        letters = {name: _letters(chance, name in broken) for name in names}
        if number >= pushes - 3:
            age = pushes - 1 - number
            for name in names:
                letters[name] = chance.choice((letters[name], "r", "p", "p")[: 4 - age])
        author = chance.choice(AUTHORS)
        files = [f"src/file{one}.c" for one in range(chance.randint(1, 9))]
        subject = SUBJECTS[number % len(SUBJECTS)]
        history.push(f"many {number}", author, comments=subject, files=files, **letters)
        history.now += chance.randint(60, 1800)
    history.flush()


def _letters(chance: random.Random, is_broken: bool) -> str:
    drawn = chance.random()
    if is_broken:
        return "FF" if drawn < 0.2 else "F"
    for bound, letters in ((0.02, "FP"), (0.03, "X"), (0.04, "RP"), (0.06, "W"), (0.07, "c")):
        if drawn < bound:
            return letters
    return "P"
