"""A PostgreSQL server tells the reactor its version, and may fail to in all ways."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task

from buildbot_selfserve.versions import server as server_version
from buildbot_selfserve.versions.server import ServerVersion
from tests import PATIENCE
from tests import databases

INSERT = "INSERT INTO builds VALUES (1)"


@pytest.fixture(scope="module")
def server() -> Iterator[databases.PostgreSQL]:
    with databases.own_postgresql() as running:
        yield running


@pytest.fixture
def url(server: databases.PostgreSQL) -> sa.URL:
    return sa.engine.make_url(databases.fresh_database(server.url))


@pytest.fixture
def writer(url: sa.URL) -> Iterator[sa.Connection]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        connection.exec_driver_sql("CREATE TABLE builds (id INTEGER)")
        connection.commit()
        yield connection
    engine.dispose()


@pytest.fixture
def opened(url: sa.URL, writer: sa.Connection) -> Iterator[ServerVersion]:
    version = ServerVersion(reactor, url)
    yield version
    version.close()


async def connected(version: ServerVersion) -> None:
    """Return when *version* can be asked."""
    clock: Any = reactor
    until = clock.seconds() + PATIENCE
    while version.ask() is None:
        assert clock.seconds() < until
        await task.deferLater(clock, 0.01)


async def told(version: ServerVersion) -> Any:
    asked = version.ask()
    assert asked is not None
    return await asked


@pytest_twisted.ensureDeferred
async def test_each_commit_makes_another_version(
    opened: ServerVersion, writer: sa.Connection
) -> None:
    await connected(opened)
    assert opened.now() is None
    seen = {None}
    for _ in range(3):
        before = await told(opened)
        assert before not in seen
        seen.add(before)
        assert await told(opened) == before
        writer.exec_driver_sql(INSERT)
        writer.commit()


@pytest_twisted.ensureDeferred
async def test_two_connections_have_the_same_versions(
    opened: ServerVersion, writer: sa.Connection, url: sa.URL
) -> None:
    other = ServerVersion(reactor, url)
    for _ in range(2):
        for one in (opened, other):
            await connected(one)
        assert await told(opened) == await told(other)
        writer.exec_driver_sql(INSERT)
        writer.commit()
    other.close()


@pytest_twisted.ensureDeferred
async def test_those_that_come_while_it_is_asked_learn_what_was_written_before(
    opened: ServerVersion, writer: sa.Connection
) -> None:
    await connected(opened)
    first = opened.ask()
    writer.exec_driver_sql(INSERT)
    writer.commit()
    later = [opened.ask() for _ in range(50)]
    assert first is not None
    await first
    found = [await one for one in later if one is not None]
    assert len(found) == 50
    assert set(found) == {await told(opened)}


@pytest_twisted.ensureDeferred
async def test_those_that_hang_up_are_forgotten(opened: ServerVersion) -> None:
    await connected(opened)
    asked = [opened.ask() for _ in range(4)]
    for one in asked[:2]:
        assert one is not None
        one.addErrback(lambda failure: failure.trap(defer.CancelledError) and None)
        one.cancel()
    assert await told(opened) is not None
    for one in asked[2:]:
        assert one is not None
        assert await one is not None


@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_lost_is_replaced(
    opened: ServerVersion, url: sa.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_version, "RETRY", 0)
    await connected(opened)
    before = opened._connection
    databases.throw_out(url.render_as_string(hide_password=False))
    asked = opened.ask()
    assert asked is None or await asked is None
    await connected(opened)
    assert opened._connection is not before
    assert before.closed
    assert await told(opened) is not None


@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_lost_while_nobody_asks_is_let_go(
    opened: ServerVersion, url: sa.URL
) -> None:
    await connected(opened)
    await told(opened)
    databases.throw_out(url.render_as_string(hide_password=False))
    clock: Any = reactor
    while opened._connection is not None:
        await task.deferLater(clock, 0.01)
    assert opened not in clock.getReaders()


@pytest_twisted.ensureDeferred
async def test_a_server_that_stands_still_is_given_up(
    opened: ServerVersion, server: databases.PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server_version, "PATIENCE", 0.2)
    await connected(opened)
    with server.frozen():
        asked = [opened.ask() for _ in range(3)]
        for one in asked:
            assert one is not None
            assert await one is None
        assert opened.ask() is None
    clock: Any = reactor
    assert opened not in clock.getReaders()


@pytest_twisted.ensureDeferred
async def test_a_slow_answer_is_no_reason_to_give_up_the_next(
    opened: ServerVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The timer of the first question goes on for those that came later."""
    monkeypatch.setattr(server_version, "PATIENCE", 0.5)
    await connected(opened)
    clock: Any = reactor
    for _ in range(12):
        assert await told(opened) is not None
        await task.deferLater(clock, 0.1)
    assert opened._look is None or opened._look.active()


@pytest_twisted.ensureDeferred
async def test_without_a_server_nobody_can_be_asked(
    url: sa.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[Any] = []
    connected = ServerVersion._connected

    def counted(version: ServerVersion, opened: Any) -> None:
        attempts.append(opened)
        connected(version, opened)

    monkeypatch.setattr(ServerVersion, "_connected", counted)
    monkeypatch.setattr(server_version, "RETRY", 0)
    version = ServerVersion(reactor, url.set(database="nowhere"))
    clock: Any = reactor
    while len(attempts) < 3:
        assert version.ask() is None
        await task.deferLater(clock, 0.01)
    assert set(attempts) == {None}
    version.close()


@pytest_twisted.ensureDeferred
async def test_what_is_closed_tells_those_who_wait(opened: ServerVersion, url: sa.URL) -> None:
    await connected(opened)
    asked = [opened.ask() for _ in range(3)]
    opened.close()
    for one in asked:
        assert one is not None
        assert await one is None
    assert opened.ask() is None
    late = ServerVersion(reactor, url)
    late.close()
    # what connects meanwhile is closed, too
    clock: Any = reactor
    await task.deferLater(clock, 0.5)
    assert late._connection is None
    assert late not in clock.getReaders()
