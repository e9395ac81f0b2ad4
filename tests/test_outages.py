"""The log says why something is unavailable, once, and when it is back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import util
from twisted.internet import reactor
from twisted.internet import task
from twisted.internet import threads
from twisted.logger import ILogObserver
from twisted.logger import Logger
from twisted.logger import eventAsText
from zope.interface import implementer

from buildbot_selfserve import outages
from buildbot_selfserve import plugin
from buildbot_selfserve.errors import DatabaseAway
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.errors import reason
from buildbot_selfserve.outages import AGAIN
from buildbot_selfserve.outages import Outage
from tests import databases
from tests.harness import USER
from tests.harness import Config
from tests.harness import config


@pytest.fixture(autouse=True)
def soon(monkeypatch: Any) -> None:
    """Look at once whether a database answers again."""
    monkeypatch.setattr(outages, "LOOK_INTERVAL", 0.5)


def lines(master: Any, part: str) -> list[str]:
    """Return the lines of the log with *part*."""
    return [line for line in master.log.splitlines() if part in line]


# -- one thing


@pytest.fixture
def logged(monkeypatch: Any) -> list[str]:
    """What is logged of an outage."""
    said: list[str] = []

    @implementer(ILogObserver)
    def observe(event: Any) -> None:
        said.append(eventAsText(event, includeTimestamp=False))

    monkeypatch.setattr(Outage, "log", Logger("outage", observer=observe))
    return said


def test_an_outage_is_logged_once_for_each_reason_and_now_and_then(logged: list[str]) -> None:
    clock = task.Clock()
    outage = Outage(clock, "it is back")
    outage.end()
    assert logged == []
    for why in ("one", "one", "two", "two", "one"):
        outage.failed("it is away", Unavailable(why))
    clock.advance(AGAIN - 1)
    outage.failed("it is away", Unavailable("two"))
    said = [line.partition("] ")[2] for line in logged]
    assert said == ["selfserve: it is away: one", "selfserve: it is away: two"]
    clock.advance(1)
    outage.failed("it is away", Unavailable("two"))
    outage.end()
    outage.end()
    assert len(logged) == 4
    assert logged[-1].endswith("selfserve: it is back")
    outage.failed("it is away", Unavailable("two"))
    assert len(logged) == 5


def test_a_mistake_has_its_traceback_once(logged: list[str]) -> None:
    outage = Outage(task.Clock(), "it is back")
    for _ in range(2):
        outage.failed("it is away", ZeroDivisionError("by 0"))
    assert len(logged) == 1
    assert "selfserve: it is away: ZeroDivisionError: by 0" in logged[0]
    assert "Traceback" in logged[0]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (sa.exc.OperationalError("SELECT 1", {}, Exception("gone\n\tand away\n")), "gone and away"),
        (sa.exc.OperationalError("SELECT 1", {}, OSError()), "OSError"),
        (Unavailable("The master stops", "wait"), "The master stops: wait"),
        (DatabaseAway("journal", "no route"), "no route"),
        (KeyError("x"), "KeyError: 'x'"),
        (ValueError(), "ValueError"),
    ],
)
def test_the_reason_is_one_line(error: Exception, text: str) -> None:
    assert reason(error) == text


# -- the master's database


def on(readers: int) -> Callable[[], Config]:
    return lambda: config(util.SelfServe(readers=readers))


@pytest.mark.parametrize("db_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("master", [on(0), on(1)], indirect=True, ids=["threads", "process"])
@pytest_twisted.ensureDeferred
async def test_the_log_says_why_readers_cannot_connect(master: Any, db_url: str) -> None:
    assert (await master.get("/self-serve/main")).status == 404
    name = sa.engine.make_url(db_url).set(query={}).render_as_string()
    closing = databases.closed(db_url)

    def refused() -> list[str]:
        away = lines(master, f"selfserve: the master's database ({name}) does not answer: ")
        return [line for line in away if "is not currently accepting" in line]

    await threads.deferToThread(closing.__enter__)
    try:
        for _ in range(3):
            answer = await master.get("/self-serve/main")
            assert answer.status == 503
            assert answer.json["msg"] == "The master's database does not answer"
            await task.deferLater(reactor, 1)
        # at first, the connections were closed
        await master.until(lambda: refused(), "the log has the reason")
        assert len(refused()) == 1
        assert "answers again" not in master.log
    finally:
        await threads.deferToThread(closing.__exit__, None, None, None)
    back = f"selfserve: the master's database ({name}) answers again"
    await master.until(lambda: lines(master, back), "it is back")
    assert (await master.get("/self-serve/main")).status == 404
    await task.deferLater(reactor, 1)
    assert len(lines(master, back)) == 1
    master.errors.clear()  # Buildbot's own


@pytest_twisted.ensureDeferred
async def test_no_password_is_in_the_name_of_a_database(master: Any) -> None:
    ours = plugin.application._service.databases
    ours._journal.url = sa.engine.make_url("postgresql://me:hunter2@db/ci?password=hunter3")
    assert ours._name("journal") == "the journal's database (postgresql://me:***@db/ci)"
    ours._journal.url = None
    assert ours._name("master").startswith("the master's database (sqlite:///")


# -- the journal's database


def with_its_own_journal() -> Config:
    return config(util.SelfServe(db_url="sqlite:///own/journal.sqlite"))


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The folder of the journal."""
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


def move(one: Path, other: Path) -> None:
    one.rename(other)


@pytest.mark.parametrize("master", [with_its_own_journal], indirect=True)
@pytest_twisted.ensureDeferred
async def test_the_log_and_the_answer_name_a_journal_that_is_gone(own: Path, master: Any) -> None:
    build = await master.finished_build()
    name = f"the journal's database (sqlite:///{own}/journal.sqlite)"
    gone = own.with_name("gone")
    move(own, gone)
    for _ in range(3):
        answer = await master.post(
            "/self-serve/main/build", user=USER, data={"build_id": build["buildid"]}
        )
        assert answer.status == 503
        assert answer.json["msg"] == "The journal's database does not answer; nothing was done"
    await task.deferLater(reactor, 3)
    assert len(lines(master, f"selfserve: {name} does not answer: ")) in (1, 2)
    assert not lines(master, "the master's database")
    move(gone, own)
    await master.until(lambda: lines(master, f"selfserve: {name} answers again"), "it is back")
    answer = await master.post(
        "/self-serve/main/build", user=USER, data={"build_id": build["buildid"]}
    )
    assert answer.status == 202
    assert "Traceback" not in master.log
    assert master.errors == []
