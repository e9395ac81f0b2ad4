"""A PostgreSQL server tells the reactor its version, and may fail to in all ways."""

from __future__ import annotations

import math
import socket
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.endpoints import connectProtocol
from twisted.internet.protocol import Factory
from twisted.internet.protocol import Protocol

from buildbot_selfserve.versions import server as server_version
from buildbot_selfserve.versions.server import ServerVersion
from tests import PATIENCE
from tests import databases

INSERT = "INSERT INTO builds VALUES (1)"


class Forward(Protocol):
    """Passes everything on to a socket, and back."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._other: Any = None

    def connectionMade(self) -> None:
        if self._path:
            there: Any = self.transport
            there.pauseProducing()
            endpoint = UNIXClientEndpoint(reactor, self._path)
            back = Forward("")
            back._other = self
            connectProtocol(endpoint, back).addCallback(self._reached)

    def _reached(self, back: Forward) -> None:
        self._other = back
        there: Any = self.transport
        there.resumeProducing()

    def dataReceived(self, data: bytes) -> None:
        self._other.transport.write(data)

    def connectionLost(self, reason: Any = None) -> None:
        if self._other is not None:
            self._other.transport.loseConnection()


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


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a server have time on a busy machine."""
    monkeypatch.setattr(server_version, "PATIENCE", PATIENCE)


@pytest.fixture
def opened(url: sa.URL, writer: sa.Connection) -> Iterator[ServerVersion]:
    version = ServerVersion(reactor, url)
    yield version
    version.close()


def stand_still(seconds: float) -> None:
    """Let the reactor do nothing for a while."""
    time.sleep(seconds)


async def until(condition: Callable[[], object]) -> None:
    """Return when *condition* holds."""
    clock: Any = reactor
    late = clock.seconds() + PATIENCE
    while not condition():
        assert clock.seconds() < late
        await task.deferLater(clock, 0.01)


async def connected(version: ServerVersion) -> None:
    """Return when *version* can be asked."""
    await until(lambda: version.ask() is not None)


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
    await until(lambda: opened._connection is None)
    clock: Any = reactor
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
async def test_an_answer_that_is_not_late_yet_is_waited_for(opened: ServerVersion) -> None:
    """The timer of the first question goes on for those that came later."""
    await connected(opened)
    await told(opened)
    asked = opened.ask()
    opened._look.cancel()
    opened._lose_if_late()
    assert asked is not None
    assert await asked is not None


@pytest_twisted.ensureDeferred
async def test_a_server_is_not_given_up_because_the_reactor_stood_still(
    opened: ServerVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    await connected(opened)
    await told(opened)
    monkeypatch.setattr(server_version, "PATIENCE", 0)
    asked = opened.ask()
    stand_still(0.2)
    opened._look.cancel()
    opened._lose_if_late()
    assert asked is not None
    assert await asked is not None
    assert opened._connection is not None


@pytest_twisted.ensureDeferred
async def test_there_is_one_attempt_to_connect_at_a_time(
    url: sa.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Any] = []
    opened = ServerVersion._opened

    def counted(version: ServerVersion) -> Any:
        begun.append(version)
        return opened(version)

    monkeypatch.setattr(ServerVersion, "_opened", counted)
    monkeypatch.setattr(server_version, "RETRY", 0)
    monkeypatch.setattr(server_version, "LONGEST_CONNECT", 0.1)
    version = ServerVersion(reactor, url)
    stand_still(0.5)
    assert version.ask() is None
    monkeypatch.setattr(server_version, "LONGEST_CONNECT", PATIENCE)
    await connected(version)
    assert begun == [version] * len(begun)
    assert len(begun) <= 2
    version.close()


@pytest.mark.parametrize(
    ("broken", "name", "error"),
    [
        (threading.Thread, "start", RuntimeError("no more threads")),
        (ServerVersion, "_opened", MemoryError()),
    ],
)
@pytest_twisted.ensureDeferred
async def test_an_attempt_that_cannot_begin_is_one_that_fails(
    url: sa.URL, monkeypatch: pytest.MonkeyPatch, broken: type, name: str, error: Exception
) -> None:
    monkeypatch.setattr(server_version, "RETRY", 0)
    with monkeypatch.context() as patch:

        def fail(*_: Any) -> None:
            raise error

        patch.setattr(broken, name, fail)
        version = ServerVersion(reactor, url)
        await until(lambda: version._connect_at < math.inf)
        assert version.ask() is None
    await connected(version)
    version.close()


def addresses(text: str) -> dict[str, str]:
    _, options = sa.make_url(text).get_dialect()().create_connect_args(sa.make_url(text))
    return server_version._addresses(options)


@pytest.mark.parametrize(
    ("at", "host", "hostaddr", "port"),
    [
        ("db:7/x", "db,db", "::1,192.0.2.1", "7,7"),
        ("192.0.2.9/x", "192.0.2.9", "192.0.2.9", ""),
        ("/x?host=other:1&host=db:2", "other,db,db", "192.0.2.7,::1,192.0.2.1", "1,2,2"),
        ("/x?host=/tmp/folder", "/tmp/folder", "", ""),
    ],
)
def test_hosts_are_looked_up_before_the_driver_would(
    monkeypatch: pytest.MonkeyPatch, at: str, host: str, hostaddr: str, port: str
) -> None:
    """It would let no thread run meanwhile."""
    known = {"db": ["::1", "192.0.2.1", "::1"], "other": ["192.0.2.7"], "192.0.2.9": ["192.0.2.9"]}

    def looked_up(host: str, port: None, **more: Any) -> list[Any]:
        return [(0, 0, 0, "", (one, 0)) for one in known[host]]

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    wanted = {"host": host, "hostaddr": hostaddr, "port": port}
    assert addresses(f"postgresql+psycopg2://u:p@{at}") == wanted


def test_no_host_is_looked_up_that_is_not_in_the_url(monkeypatch: pytest.MonkeyPatch) -> None:
    assert addresses("postgresql+psycopg2://u:p@db/x?hostaddr=192.0.2.3") == {}
    assert addresses("postgresql+psycopg2:///x") == {}
    with pytest.raises(OSError, match="not in the URL"):
        addresses("postgresql+psycopg2:///x?service=buildbot")
    monkeypatch.setenv("PGHOST", "db")
    with pytest.raises(OSError, match="not in the URL"):
        addresses("postgresql+psycopg2:///x")


@pytest_twisted.ensureDeferred
async def test_a_server_is_reached_by_a_name_with_several_addresses(
    server: databases.PostgreSQL, url: sa.URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [(0, 0, 0, "", (one, 0)) for one in ("::1", "127.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    path = f"{url.query['host']}/.s.PGSQL.5432"
    clock: Any = reactor
    forward = Factory.forProtocol(lambda: Forward(path))
    listening = clock.listenTCP(0, forward, interface="127.0.0.1")
    at = url.set(host="db.example", port=listening.getHost().port, query={})
    version = ServerVersion(reactor, at)
    await connected(version)
    assert await told(version) is not None
    version.close()
    await listening.stopListening()


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
    await until(lambda: version.ask() is None and len(attempts) >= 3)
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
    # what connects meanwhile is closed, too
    late = ServerVersion(reactor, url)
    late.close()
    await until(lambda: late._connect_at < math.inf)
    clock: Any = reactor
    assert late._connection is None
    assert late not in clock.getReaders()
