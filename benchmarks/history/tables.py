"""Says a history in rows of Buildbot's tables."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from buildbot.db.model import Model
from buildbot.util.sautils import hash_columns

from benchmarks.history.plan import BRANCHES
from benchmarks.history.plan import BUILDERS
from benchmarks.history.plan import DAY
from benchmarks.history.plan import DAYS
from benchmarks.history.plan import END
from benchmarks.history.plan import TOOLS
from benchmarks.history.plan import USERS
from benchmarks.history.plan import WORKERS
from benchmarks.history.plan import Build
from benchmarks.history.plan import Buildset
from benchmarks.history.plan import History

Row = tuple[Any, ...]

REPOSITORY, TOOLS_REPOSITORY = "https://hg.example.com/monorepo", "https://hg.example.com/tools"
#: The master that did all this: another one than that which is measured, and alive for ever, so
#: that nobody takes its claims away.
MASTER = "prod-master:/srv/buildbot"
_FOREVER = 2**31 - 2
_TEXT = """
fix add remove refactor bug crash layout parser network cache test flaky intermittent update vendor
bump style revert changeset failures review release"""
_WORDS = _TEXT.split()


@dataclass(frozen=True)
class Rows:
    """Rows for one table.

    :param rows: makes them, each with a value for each of *columns*
    """

    table: sa.Table
    columns: tuple[str, ...]
    rows: Callable[[], Iterable[Row]]


def tables(history: History) -> list[Rows]:
    """Return the rows of *history*, in an order in which each refers to earlier ones."""
    texts = random.Random(history.sizes.seed + 1)
    return [
        _of(Model.masters, "id name name_hash active last_active", _masters),
        _of(Model.builders, "id name name_hash", lambda: _named(BUILDERS)),
        _of(Model.builder_masters, "id builderid masterid", _builder_masters),
        _of(Model.workers, "id name info paused graceful", _workers),
        _of(Model.users, "uid identifier", lambda: enumerate(USERS, 1)),
        _of(Model.users_info, "uid attr_type attr_data", _user_infos),
        _of(
            Model.sourcestamps,
            "id ss_hash branch revision repository codebase project created_at",
            lambda: _sourcestamps(history),
        ),
        _of(
            Model.changes,
            "changeid author committer comments branch revision revlink when_timestamp repository"
            " codebase project sourcestampid parent_changeids",
            lambda: _changes(history, texts),
        ),
        _of(Model.change_users, "changeid uid", lambda: _change_users(history)),
        _of(Model.change_files, "changeid filename", lambda: _change_files(history, texts)),
        _of(
            Model.buildsets,
            "id reason submitted_at complete complete_at results parent_buildid"
            " parent_relationship rebuilt_buildid",
            lambda: map(_buildset, history.buildsets),
        ),
        _of(
            Model.buildset_sourcestamps,
            "id buildsetid sourcestampid",
            lambda: _numbered(_buildset_sourcestamps(history)),
        ),
        _of(
            Model.buildset_properties,
            "buildsetid property_name property_value",
            lambda: _buildset_properties(history),
        ),
        _of(
            Model.buildrequests,
            "id buildsetid builderid priority complete results submitted_at complete_at waited_for",
            lambda: _requests(history),
        ),
        _of(Model.buildrequest_claims, "brid masterid claimed_at", lambda: _claims(history)),
        _of(
            Model.builds,
            "id number builderid buildrequestid workerid masterid started_at complete_at"
            " locks_duration_s state_string results",
            lambda: map(_build, history.builds),
        ),
        _of(
            Model.build_properties,
            "buildid name value source",
            lambda: _build_properties(history),
        ),
    ]


def _of(table: sa.Table, columns: str, rows: Callable[[], Iterable[Row]]) -> Rows:
    return Rows(table, tuple(columns.split()), rows)


def _numbered(rows: Iterable[Row]) -> Iterator[Row]:
    return ((number, *row) for number, row in enumerate(rows, 1))


def _hash(name: str) -> str:
    """Return the hash of a name, as Buildbot makes it (buildbot/db/base.py)."""
    return hashlib.sha1(name.encode()).hexdigest()


def _masters() -> Iterator[Row]:
    yield 1, MASTER, _hash(MASTER), 1, _FOREVER


def _named(names: Iterable[str]) -> Iterator[Row]:
    return _numbered((name, _hash(name)) for name in names)


def _builder_masters() -> Iterator[Row]:
    return ((number, number, 1) for number in range(1, len(BUILDERS) + 1))


def _workers() -> Iterator[Row]:
    return _numbered((name, "{}", 0, 0) for name in WORKERS)


def _user_infos() -> Iterator[Row]:
    return ((uid, "git", user) for uid, user in enumerate(USERS, 1))


def _sourcestamps(history: History) -> Iterator[Row]:
    begin = END - (DAYS + 1) * DAY
    for number in range(1, TOOLS + 1):
        revision = hashlib.sha1(b"%d" % number).hexdigest()
        yield _stamp(number, "default", revision, TOOLS_REPOSITORY, "tools", begin)
    for commit in history.commits:
        branch = BRANCHES[commit.branch]
        yield _stamp(commit.stamp_id, branch, commit.revision, REPOSITORY, "", commit.at)
    for place, number in _nightly_stamps(history).items():
        yield _stamp(number, BRANCHES[place], None, REPOSITORY, "", begin)


def _nightly_stamps(history: History) -> dict[int, int]:
    """Return the sourcestamps without a revision by branch, after all others."""
    branches = sorted({one.branch for one in history.buildsets if one.tip is None})
    last = TOOLS + len(history.commits)
    return {branch: number for number, branch in enumerate(branches, last + 1)}


def _stamp(
    number: int, branch: str, revision: str | None, repository: str, codebase: str, at: int
) -> Row:
    # in the order of buildbot/db/sourcestamps.py; there is neither a project nor a patch
    ss_hash = hash_columns(branch, revision, repository, "", codebase, None)
    return number, ss_hash, branch, revision, repository, codebase, "", at


def _changes(history: History, texts: random.Random) -> Iterator[Row]:
    newest: dict[int, int] = {}
    for number, commit in enumerate(history.commits, 1):
        words = " ".join(texts.choices(_WORDS, k=texts.randrange(6, 22)))
        yield (
            number,
            USERS[commit.author],
            USERS[commit.committer],
            f"Bug {texts.randrange(10**6, 2 * 10**6)} - {words}",
            BRANCHES[commit.branch],
            commit.revision,
            f"{REPOSITORY}/rev/{commit.revision[:12]}",
            commit.at - texts.randrange(600),
            REPOSITORY,
            "",
            "",
            commit.stamp_id,
            newest.get(commit.branch),
        )
        newest[commit.branch] = number


def _change_users(history: History) -> Iterator[Row]:
    return ((number, commit.author + 1) for number, commit in enumerate(history.commits, 1))


def _change_files(history: History, texts: random.Random) -> Iterator[Row]:
    for number in range(1, len(history.commits) + 1):
        for _ in range(texts.choice((1, 1, 2, 4))):
            folder, name = texts.choices(_WORDS, k=2)
            yield number, f"src/{folder}/{name}_{texts.randrange(400)}.cpp"


def _buildset(one: Buildset) -> Row:
    ends = [request.ended for request in one.requests if request.ended is not None]
    complete = len(ends) == len(one.requests)
    return (
        one.buildset_id,
        one.reason,
        one.submitted,
        int(complete),
        max(ends) if complete else None,
        max(request.results for request in one.requests) if complete else -1,
        _first_build(one.parent),
        None if one.parent is None else "Triggered from",
        _first_build(one.rebuilt),
    )


def _first_build(one: Buildset | None) -> int | None:
    if one is None:
        return None
    return next((build.build_id for request in one.requests for build in request.builds), None)


def _buildset_sourcestamps(history: History) -> Iterator[Row]:
    nightly = _nightly_stamps(history)
    for one in history.buildsets:
        yield one.buildset_id, nightly[one.branch] if one.tip is None else one.tip.stamp_id
        if one.tools is not None:
            yield one.buildset_id, one.tools


def _buildset_properties(history: History) -> Iterator[Row]:
    fixed = (
        ("product", '["browser", "Scheduler"]'),
        ("try_syntax", '["-b do -p all -u mochitest,xpcshell -t none", "Scheduler"]'),
    )
    for one in history.buildsets:
        number = one.buildset_id
        yield number, "scheduler", json.dumps([one.scheduler, "Scheduler"])
        yield number, "owner", json.dumps([USERS[one.got.author], "Change"])
        yield number, "pushid", json.dumps([one.got.stamp_id, "Scheduler"])
        for name, value in fixed:
            yield number, name, value


def _requests(history: History) -> Iterator[Row]:
    for one in history.requests:
        yield (
            one.request_id,
            one.buildset.buildset_id,
            one.builder + 1,
            (0, 0, 0, 5, -5)[one.request_id % 5],
            int(one.ended is not None),
            one.results,
            one.buildset.submitted,
            one.ended,
            int(one.buildset.parent is not None),
        )


def _claims(history: History) -> Iterator[Row]:
    return (
        (one.request_id, 1, one.buildset.submitted + 5) for one in history.requests if one.claimed
    )


def _build(one: Build) -> Row:
    states = {None: "running", 0: "build successful"}
    return (
        one.build_id,
        one.number,
        one.request.builder + 1,
        one.request.request_id,
        _worker(one) + 1,
        1,
        one.started,
        one.ended,
        0,
        states.get(one.results, "finished"),
        one.results,
    )


def _worker(one: Build) -> int:
    return (one.build_id * 7 + one.request.builder) % len(WORKERS)


def _build_properties(history: History) -> Iterator[Row]:
    authors = [json.dumps(user) for user in USERS]
    branches = [json.dumps(branch) for branch in BRANCHES]
    for one in history.builds:
        buildset, number = one.request.buildset, one.build_id
        revision = f'"{buildset.got.revision}"'
        if buildset.tip is not None:
            yield number, "revision", revision, "Build"
        yield number, "branch", branches[buildset.branch], "Build"
        yield number, "buildername", f'"{BUILDERS[one.request.builder]}"', "Builder"
        yield number, "buildnumber", str(one.number), "Build"
        yield number, "workername", f'"{WORKERS[_worker(one)]}"', "Worker"
        yield number, "owner", authors[buildset.got.author], "Change"
        yield number, "scheduler", f'"{buildset.scheduler}"', "Scheduler"
        yield number, "got_revision", revision, "Git"
