"""GETs in the same words need no reader while nothing was written."""

from __future__ import annotations

import time
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.db.model import Model
from buildbot.plugins import util
from twisted.internet import reactor
from twisted.internet import task
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.endpoints import connectProtocol

from buildbot_selfserve import plugin
from buildbot_selfserve.readers import PIECE
from buildbot_selfserve.versions import server
from buildbot_selfserve.views import repeats
from buildbot_selfserve.web import pipeline
from tests import PATIENCE
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Received
from tests.harness import config

EVERY_DATABASE = True

AT = f"/self-serve/main/rev/{REVISION}"


pytestmark = pytest.mark.usefixtures("still")


@pytest.fixture
def still(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the clock of all answers stand still, and servers have time on a busy machine."""
    monkeypatch.setattr(server, "PATIENCE", PATIENCE)
    monkeypatch.setattr(repeats, "now", lambda: 1_700_000_000)


def tells(master: Any) -> bool:
    """Return whether the database tells the master that nothing was written."""
    return master.master.db.pool.engine.dialect.name in ("sqlite", "postgresql")


def tells_at_once(master: Any) -> bool:
    return bool(master.master.db.pool.engine.dialect.name == "sqlite")


def somebody_writes(master: Any) -> None:
    """Write what no event tells of, as another process does."""
    engine = sa.create_engine(master.master.db.pool.engine.url)
    with engine.begin() as connection:
        connection.execute(sa.update(Model.builders).values(description=f"{time.time_ns()}"))
    engine.dispose()


async def asked_for(master: Any, sent: list[Any], times: int = 3) -> int:
    """Return how often readers are asked for the same answer."""
    sent.clear()
    answers = [await master.get(AT) for _ in range(times)]
    assert [one.status for one in answers] == [200] * times
    assert len({one.body for one in answers}) == 1
    return len(sent)


async def built(master: Any, sent: list[Any]) -> None:
    """Build, and wait until all is written."""
    await master.finished_build()
    await all_is_written(master, sent)


async def all_is_written(master: Any, sent: list[Any]) -> None:
    """Wait until no reader is asked any more."""
    for _ in range(10):
        if not tells(master) or await asked_for(master, sent) == 0:
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
    assert await asked_for(master, sent) == (1 if tells(master) else 3)
    assert await asked_for(master, sent) == (0 if tells(master) else 3)


@pytest_twisted.ensureDeferred
async def test_a_reader_is_asked_again_each_second(
    master: Any, sent: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    await built(master, sent)
    monkeypatch.setattr(repeats, "now", lambda: 1_700_000_001)
    assert await asked_for(master, sent) == (1 if tells(master) else 3)


@pytest_twisted.ensureDeferred
async def test_a_reader_is_asked_again_after_a_reconfig(master: Any, sent: list[Any]) -> None:
    await built(master, sent)
    await master.reconfig(lambda: config(util.SelfServe(timeout=61)))
    assert await asked_for(master, sent, times=1) >= 1
    await all_is_written(master, sent)


@pytest_twisted.ensureDeferred
async def test_an_answer_that_something_overtakes_is_not_kept(master: Any, sent: list[Any]) -> None:
    if not tells_at_once(master):
        return
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
    sent.clear()
    for user, status in ((USER, 200), ("eve", 401), (USER, 200)):
        assert (await master.get(AT, user=user)).status == status
    assert len(sent) == (0 if tells(master) else 2)


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
    before = databases._version
    await master.reconfig(lambda: config(util.SelfServe(readers=2)))
    await built(master, sent)
    assert (databases._version is not before) == tells(master)
    if before is not None:
        assert before.now() is None
        assert before.ask() is None


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
