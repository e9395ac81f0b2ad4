"""Answers that are given once more: only while nothing has changed since they were made."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.journal.tables import metadata
from buildbot_selfserve.model import Site
from buildbot_selfserve.readers import PIECE
from buildbot_selfserve.views import read_handler
from buildbot_selfserve.views import repeats
from buildbot_selfserve.views.read_request import ReadRequest
from buildbot_selfserve.views.read_request import Response
from buildbot_selfserve.views.reader import open_reader
from tests.plain_history import Writer

EVERY_DATABASE = True

#: Let a server be taken for a standby as soon as a table says so.
STANDBY = (
    "CREATE TABLE standby AS SELECT false AS is_it",
    "CREATE FUNCTION public.pg_is_in_recovery() RETURNS boolean STABLE LANGUAGE sql"
    " AS 'SELECT is_it FROM public.standby'",
    "ALTER DATABASE {database} SET search_path = public, pg_catalog",
)

SITE = Site("self-serve", "http://localhost:8010/")


class Asked:
    """A reader, and a database that is written to.

    :ivar made: how many answers were made, and not given once more
    """

    def __init__(self, url: sa.URL) -> None:
        self.writing = sa.create_engine(url)
        Model.metadata.create_all(self.writing)
        metadata.create_all(self.writing)
        with self.writing.begin() as connection:
            writer = Writer(connection, 0)
            writer.begin()
            self.request, *_ = writer.buildset(writer.stamp(branch="main"))
        self.reader = open_reader(url.render_as_string(hide_password=False), None, 2)
        self.made = 0

    @property
    def tells(self) -> bool:
        """Whether the database tells that nothing was written."""
        return self.writing.dialect.name in ("sqlite", "postgresql")

    def priority(self, site: Site = SITE, **more: Any) -> Any:
        """Return the priority that the request has in the answer, and its status in HTTP."""
        answer = self.answer(site, **more)
        return json.loads(answer.body)["priority"] if answer.status == 200 else answer.status

    def answer(self, site: Site = SITE, request: int | None = None, **more: Any) -> Response:
        texts = {"branch": "main", "request": str(request or self.request)}
        asked = ReadRequest("GET /<branch>/request/<request>", "json", texts=texts, **more)
        packed = asked.packed()
        found = read_handler.answer_packed(self.reader, site, packed, False, asked.repeats)
        assert isinstance(found, tuple)
        return Response(*found)

    def lose_connections(self) -> None:
        """Let the reader open its connections anew, as after a restart of the database."""
        assert self.reader._kept is not None
        for connection in self.reader._kept.connections.values():
            connection.invalidate()

    def set_priority(self, connection: sa.Connection, priority: int) -> None:
        requests = Model.buildrequests
        update = requests.update().where(requests.c.id == self.request)
        connection.execute(update.values(priority=priority))


@pytest.fixture
def asked(db_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    url = sa.engine.make_url(db_url)
    if url.get_backend_name() == "sqlite":
        url = url.set(database=str(tmp_path / "state.sqlite"))
    made = Asked(url)
    answer = read_handler.answer

    def counted(*arguments: Any) -> Response:
        made.made += 1
        return answer(*arguments)

    monkeypatch.setattr(read_handler, "answer", counted)
    monkeypatch.setattr(repeats, "now", lambda: 1_700_000_000)
    yield made
    made.writing.dispose()


def test_an_answer_is_given_once_more_while_nothing_is_written(asked: Asked) -> None:
    answers = [asked.answer() for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
    assert asked.made == (1 if asked.tells else 3)


def test_whatever_is_written_makes_it_another(asked: Asked) -> None:
    for priority in (3, 4, 5):
        with asked.writing.begin() as connection:
            asked.set_priority(connection, priority)
        assert asked.priority() == priority
        assert asked.priority() == priority
    assert asked.made == (3 if asked.tells else 6)


def test_what_is_not_committed_counts_from_its_commit_on(asked: Asked) -> None:
    before = asked.priority()
    with asked.writing.connect() as connection:
        asked.set_priority(connection, 7)
        assert asked.priority() == before
        connection.rollback()
        assert asked.priority() == before
        asked.set_priority(connection, 8)
        connection.commit()
    assert asked.priority() == 8


def test_another_connection_begins_anew(asked: Asked) -> None:
    """Each connection to SQLite numbers what it sees by itself."""
    for priority in (3, 4, 5):
        with asked.writing.begin() as connection:
            asked.set_priority(connection, priority)
        assert asked.priority() == priority
        asked.lose_connections()


def test_it_tells_its_version_where_all_connections_have_the_same(asked: Asked) -> None:
    versions = []
    for priority in (3, 4):
        with asked.writing.begin() as connection:
            asked.set_priority(connection, priority)
        first = asked.answer().version
        asked.lose_connections()
        assert asked.answer().version == first
        versions.append(first)
    assert len({*versions, None}) == (3 if asked.writing.dialect.name == "postgresql" else 1)


@pytest.mark.writes_at_once
def test_the_earlier_of_two_that_write_may_commit_last(asked: Asked) -> None:
    before = asked.priority()
    with asked.writing.connect() as first, asked.writing.connect() as second:
        asked.set_priority(first, 7)
        second.execute(Model.masters.update().values(last_active=0))
        assert asked.priority() == before
        second.commit()
        assert asked.priority() == before
        assert asked.priority() == before
        first.commit()
        assert asked.priority() == 7


def test_a_standby_is_asked_each_time(asked: Asked) -> None:
    """A pooler may lead a connection to one, which lacks what was written last."""
    if asked.writing.dialect.name != "postgresql":
        return
    stamps = Model.sourcestamps
    with asked.writing.begin() as connection:
        for statement in STANDBY:
            connection.exec_driver_sql(statement.format(database=asked.writing.url.database))
        last = Writer(connection, 1).stamp(branch="main")
    asked.answer()
    with asked.writing.begin() as connection:
        connection.exec_driver_sql("UPDATE standby SET is_it = true")
        connection.execute(stamps.delete().where(stamps.c.id == last))
    for priority in (3, 4, 5):
        with asked.writing.begin() as connection:
            asked.set_priority(connection, priority)
        assert asked.priority() == priority


def test_it_is_made_anew_each_second(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    asked.answer()
    monkeypatch.setattr(repeats, "now", lambda: 1_700_000_001)
    asked.answer()
    assert asked.made == 2


def test_an_answer_during_which_a_second_ends_is_not_kept(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([1, 2, 1, 1])
    monkeypatch.setattr(repeats, "now", lambda: next(seconds))
    asked.answer()
    asked.answer()
    assert asked.made == 2


def test_it_is_made_anew_after_a_reconfig(asked: Asked) -> None:
    asked.answer()
    other = Site("self-serve", "http://elsewhere/")
    assert b"http://elsewhere/" in asked.answer(other).body
    assert asked.made == 2


def test_another_question_has_another_answer(asked: Asked) -> None:
    whole = asked.answer()
    tag = dict(whole.headers)["ETag"]
    assert asked.answer(known=frozenset({tag})).status == 304
    assert asked.answer(request=asked.request + 100).status == 404
    assert asked.answer() == whole


def test_what_is_not_found_is_looked_for_each_time(asked: Asked) -> None:
    for _ in range(2):
        assert asked.answer(request=asked.request + 100).status == 404
    assert asked.made == 2


def test_no_more_than_so_much_is_kept(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "MOST_KEPT", 0)
    asked.answer()
    asked.answer()
    assert asked.made == 2


def test_what_is_no_plain_answer_is_not_kept() -> None:
    asked = ReadRequest("GET /<branch>/request/<request>", "json")
    assert asked.repeats
    for other in ({"form": "html"}, {"is_large": True}, {"master_state": b"state"}):
        assert not asked._replace(**other).repeats
    assert repeats.MOST_KEPT > PIECE
