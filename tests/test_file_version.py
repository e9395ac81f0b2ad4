"""An SQLite file tells whether it was written to; a GET in the same words needs no reader then."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import util
from twisted.internet import reactor
from twisted.internet import task
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.endpoints import connectProtocol

from buildbot_selfserve import plugin
from buildbot_selfserve.history.file_version import FileVersion
from buildbot_selfserve.readers import PIECE
from buildbot_selfserve.readers.processes import ProcessReaders
from buildbot_selfserve.views import repeats
from buildbot_selfserve.web import pipeline
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Received
from tests.harness import config

AT = f"/self-serve/main/rev/{REVISION}"


# -- the file


@pytest.fixture(params=["wal", "delete"])
def writer(request: Any, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Write to a file, in one of SQLite's two ways to keep a journal."""
    connection = sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)
    with closing(connection):
        connection.execute(f"PRAGMA journal_mode = {request.param}")
        connection.execute("CREATE TABLE builds (id INTEGER)")
        yield connection


def opened(tmp_path: Path) -> FileVersion:
    return FileVersion(sa.URL.create("sqlite", database=str(tmp_path / "state.sqlite")))


def test_each_commit_makes_another_version(writer: sqlite3.Connection, tmp_path: Path) -> None:
    version = opened(tmp_path)
    seen = {None, version.now()}
    for _ in range(3):
        before = version.now()
        assert version.now() == before is not None
        writer.execute("INSERT INTO builds VALUES (1)")
        assert version.now() not in seen
        seen.add(version.now())
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        seen.add(version.now())
    version.close()
    assert version.now() is None


def test_what_is_not_committed_makes_none(writer: sqlite3.Connection, tmp_path: Path) -> None:
    version = opened(tmp_path)
    before = version.now()
    writer.execute("BEGIN")
    writer.execute("INSERT INTO builds VALUES (1)")
    assert version.now() == before
    writer.execute("ROLLBACK")
    assert version.now() == before
    version.close()


def test_two_that_were_opened_have_no_version_in_common(
    writer: sqlite3.Connection, tmp_path: Path
) -> None:
    seen = set()
    for _ in range(3):
        version = opened(tmp_path)
        seen.add(version.now())
        version.close()
    assert len(seen) == 3


def test_it_waits_for_nothing(tmp_path: Path) -> None:
    """Without a write-ahead log, a writer keeps readers out while it commits."""
    with closing(sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)) as writer:
        writer.execute("CREATE TABLE builds (id INTEGER)")
        version = opened(tmp_path)
        before = version.now()
        writer.execute("BEGIN EXCLUSIVE")
        assert version.now() is None
        writer.execute("ROLLBACK")
        assert version.now() == before
        version.close()


def test_a_file_that_is_not_there_has_none(tmp_path: Path) -> None:
    version = opened(tmp_path)
    assert version.now() is None
    version.close()


# -- what the master makes of it


@pytest.fixture
def sent(master: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return what readers are asked; the clock stands still."""
    asked: list[Any] = []
    ask = ProcessReaders.ask

    def counted(readers: Any, *arguments: Any, **options: Any) -> Any:
        asked.append(arguments)
        return ask(readers, *arguments, **options)

    monkeypatch.setattr(ProcessReaders, "ask", counted)
    monkeypatch.setattr(repeats, "now", lambda: 1_700_000_000)
    return asked


def somebody_writes(master: Any) -> None:
    """Write what no event tells of, as another process does."""
    path = master.master.db.pool.engine.url.database
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE builders SET description = ifnull(description, '') || '.'")


async def asked_for(master: Any, sent: list[Any], times: int = 3) -> int:
    """Return how often readers are asked for the same answer."""
    sent.clear()
    answers = [await master.get(AT) for _ in range(times)]
    assert [one.status for one in answers] == [200] * times
    assert len({one.body for one in answers}) == 1
    return len(sent)


async def built(master: Any, sent: list[Any]) -> None:
    """Build, and wait until all is written and no reader is asked any more."""
    await master.finished_build()
    for _ in range(10):
        if await asked_for(master, sent) == 0:
            return
    raise AssertionError("readers are always asked")


@pytest_twisted.ensureDeferred
async def test_a_reader_is_asked_again_when_something_was_written(
    master: Any, sent: list[Any]
) -> None:
    for builds in (1, 2):
        await built(master, sent)
        assert len((await master.get(AT)).json) == builds
    somebody_writes(master)
    assert await asked_for(master, sent) == 1
    assert await asked_for(master, sent) == 0


@pytest_twisted.ensureDeferred
async def test_a_reader_is_asked_again_each_second(
    master: Any, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await built(master, sent)
    monkeypatch.setattr(repeats, "now", lambda: 1_700_000_001)
    assert await asked_for(master, sent) == 1


@pytest_twisted.ensureDeferred
async def test_a_reader_is_asked_again_after_a_reconfig(master: Any, sent: list[Any]) -> None:
    await built(master, sent)
    await master.reconfig(lambda: config(util.SelfServe(timeout=61)))
    assert await asked_for(master, sent) == 1
    assert await asked_for(master, sent) == 0


@pytest_twisted.ensureDeferred
async def test_an_answer_that_something_overtakes_is_not_kept(master: Any, sent: list[Any]) -> None:
    await built(master, sent)
    (question,) = plugin.application._service._pipeline._reads._remembered._questions.values()
    assert question.again() is not None
    somebody_writes(master)
    assert question.again() is None
    asking = question.ask_once()
    somebody_writes(master)
    assert question.again() is None
    assert (await asking)[0] == 200
    assert question.again() is None
    assert await asked_for(master, sent) == 1


@pytest_twisted.ensureDeferred
async def test_credentials_are_looked_at_and_need_no_reader(master: Any, sent: list[Any]) -> None:
    await built(master, sent)
    for user, status in ((USER, 200), ("eve", 401), (USER, 200)):
        assert (await master.get(AT, user=user)).status == status
    assert sent == []


@pytest_twisted.ensureDeferred
async def test_what_is_long_is_not_kept(master: Any, sent: list[Any]) -> None:
    for _ in range(3):
        sent.clear()
        answer = await master.raw("/self-serve/openapi.json", {})
        assert len(answer.body) > PIECE
        assert len(sent) >= 1


@pytest_twisted.ensureDeferred
async def test_what_depends_on_what_builds_the_branch_is_asked_each_time(
    master: Any, sent: list[Any]
) -> None:
    await built(master, sent)
    for _ in range(2):
        for _ in range(3):
            sent.clear()
            assert (await master.get(f"/self-serve/main/new?revision={REVISION}")).status == 200
            assert sent
        somebody_writes(master)


@pytest_twisted.ensureDeferred
async def test_what_is_opened_anew_is_closed_before(master: Any, sent: list[Any]) -> None:
    await built(master, sent)
    databases = plugin.application._service.databases
    before = databases._file
    assert before.now() is not None
    await master.reconfig(lambda: config(util.SelfServe(readers=2)))
    await master.until(lambda: databases.version, "it is opened anew")
    assert databases._file is not before
    assert before.now() is None


@pytest_twisted.ensureDeferred
async def test_one_client_lets_others_have_their_turn(master: Any, sent: list[Any]) -> None:
    await built(master, sent)
    turns = 0

    def count() -> None:
        nonlocal turns
        turns += 1

    counting = task.LoopingCall(count)
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", master.loader.port)
    received: Any = await connectProtocol(endpoint, Received())
    one = f"GET {AT} HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n"
    received.transport.write(
        f"{one}\r\n".encode() * 199 + f"{one}Connection: close\r\n\r\n".encode()
    )
    counting.start(0)
    whole = await received.whole
    counting.stop()
    assert whole.count(b"HTTP/1.1 200 OK") == 200
    assert turns >= 200 / pipeline.LONGEST_ROW


def elsewhere() -> Any:
    return config(util.SelfServe(db_url="sqlite:///journal.sqlite"))


@pytest.mark.parametrize("master", [elsewhere], indirect=True)
@pytest_twisted.ensureDeferred
async def test_with_a_journal_elsewhere_readers_are_always_asked(
    master: Any, sent: list[Any]
) -> None:
    await master.finished_build()
    await asked_for(master, sent)
    assert await asked_for(master, sent) == 3
