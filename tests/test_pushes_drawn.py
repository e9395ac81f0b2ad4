"""Pushes and health of histories that are drawn, against the plainest way to work them out."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from buildbot.db.model import Model
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from buildbot_selfserve.history import History
from buildbot_selfserve.history import revisions
from buildbot_selfserve.history.health import health_of_revision
from buildbot_selfserve.history.index import Index
from buildbot_selfserve.history.pushes import find_last_green
from buildbot_selfserve.history.pushes import pushes_of_branch
from buildbot_selfserve.history.revisions import candidates
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Health
from buildbot_selfserve.model import Selection
from buildbot_selfserve.model import Site
from tests.plain_pushes import Compared
from tests.plain_pushes import PlainPushes
from tests.push_history import PushHistory
from tests.pushed import Pushed

EVERY_DATABASE = True
SITE = Site("self-serve", "http://localhost:8010/")
BRANCHES = (
    Branch("main", ("main",)),
    Branch("app", ("main",), codebases=("app",)),
    Branch("both", ("main", "side", None)),
)
BUILDERS = ("linux", "mac", "win")
LETTERS = ("P", "P", "F", "W", "X", "C", "S", "r", "p", "k", "c", "s", "RP", "RF", "Rp", "Rc", "R")


def draw(history: PushHistory, chance: random.Random) -> None:
    """Let something happen: a push, or a build by hand."""
    names = [f"{number}" for number in range(12)]
    branch = chance.choice(["main", "main", "main", "side"])
    codebase = chance.choice(["", "", "", "app"])
    name = chance.choice(names)
    where: dict[str, Any] = {"branch": branch, "codebase": codebase}
    some = chance.sample(BUILDERS, chance.randint(1, 3))
    builds = {one: "".join(chance.choices(LETTERS, k=chance.choice([1, 1, 2]))) for one in some}
    if chance.random() < 0.15:
        builds["virtual"] = "deploy"
    what = chance.random()
    if what < 0.6:
        parent = chance.choice([*names, None, None, None])
        is_known = name in history._commits
        if not is_known and parent != name:
            where["parent"] = parent
        history.push(name, chance.choice(["ada", "bob"]), **where, **builds)
    elif what < 0.7:
        history.push(name, **where)
    elif what < 0.8:
        history.build(name, **where, **builds)
    elif what < 0.85:
        history.build(name, **where, patch=True, **builds)
    elif what < 0.95:
        got = chance.choice([chance.choice(names), None])
        history.build(None, **where, got=got, **builds)
    else:
        history.build(name, f"lib:{chance.choice(names)}", **where, **builds)


def told(health: Health) -> dict[str, Compared]:
    return {
        one.at.buildername: Compared(
            one.at.state,
            one.change,
            one.at.attempts,
            one.base_state,
            one.base_revision,
            one.distance,
        )
        for one in health.builders
    }


def compare(connection: sa.Connection, index: Index, branches: Any = BRANCHES) -> None:
    """Hold every answer against the plain one."""
    plain = PlainPushes(connection)
    for branch in branches:
        history = History(connection, index, SITE)
        line = plain.line(branch)
        pushes = pushes_of_branch(history, branch, 100).pushes
        assert [one.revision.revision for one in pushes] == line, branch.name
        for push in pushes:
            revision = push.revision.revision
            where = branch.name, revision
            expected = plain.health(branch, revision)
            assert told(push) == expected, where
            assert push.built_with == plain.built_with(branch, revision), where
            assert push.verdict == plain.verdict(branch, revision), where
            changes = plain.changes_of(branch, revision)
            ids = () if push.change is None else push.change.change_ids
            assert list(ids) == [one["changeid"] for one in changes], where
            (found,) = candidates(history, (branch,), revision)
            done = revisions.done(history, found, 0)
            assert done is not None, where
            assert done.verdict == push.verdict, where
            flaky = [one.at.buildername for one in push.builders if one.at.flaky]
            assert list(done.flaky) == sorted(flaky), where
            assert list(done.failing) == sorted(one.at.buildername for one in push.failing), where
        compare_health(history, plain, branch)
        for names in (None, ("linux",), ("linux", "mac"), ("deploy",)):
            chosen = Selection() if names is None else Selection(frozenset(names), frozenset(names))
            green = find_last_green(history, branch, chosen, 100)
            expected_green = plain.last_green(branch, names)
            if isinstance(green, int):
                assert (green, expected_green) == (len(line), None), (branch.name, names)
                continue
            told_green = green.revision.revision, green.distance
            assert told_green == expected_green, (branch.name, names)


def compare_health(history: History, plain: PlainPushes, branch: Branch) -> None:
    line = plain.line(branch)
    for revision in line:
        (found,) = candidates(history, (branch,), revision)
        for base in (None, line[-1]):
            its_base = None if base is None else candidates(history, (branch,), base)[0]
            health = health_of_revision(history, found, its_base)
            assert health is not None
            where = branch.name, revision, base
            assert told(health) == plain.health(branch, revision, base), where
            before = plain.before(branch, revision)
            assert health.base == (base or (before[0] if before else None)), where


def empty(connection: sa.Connection) -> None:
    for table in reversed(Model.metadata.sorted_tables):
        connection.execute(table.delete())
    connection.commit()


@pytest.fixture(scope="module")
def connection() -> Iterator[sa.Connection]:
    engine = sa.create_engine("sqlite://", poolclass=sa.pool.StaticPool)
    Model.metadata.create_all(engine)
    with engine.connect() as connected:
        yield connected
    engine.dispose()


def try_history(connection: sa.Connection, seed: int, size: int) -> None:
    """Write a history, and look at it now and then: by an index that grows, and by a new one."""
    empty(connection)
    chance = random.Random(seed)
    history = PushHistory(connection)
    index = Index(only_reads=False)
    for number in range(size):
        draw(history, chance)
        if chance.random() < 0.15 or number == size - 1:
            history.flush()
            compare(connection, index)
    compare(connection, Index(only_reads=False))


@pytest.mark.heavy
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32), st.integers(1, 30))
def test_drawn_histories(connection: sa.Connection, seed: int, size: int) -> None:
    try_history(connection, seed, size)


def test_a_drawn_history_on_each_database(pushed: Pushed) -> None:
    chance = random.Random(24)
    for number in range(36):
        draw(pushed.history, chance)
        if number % 12 == 11:
            pushed.history.flush()
            with pushed.reading.connect() as reading:
                compare(reading, pushed.index)
    with pushed.reading.connect() as reading:
        compare(reading, Index())
