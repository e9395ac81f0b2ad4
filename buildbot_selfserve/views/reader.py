"""The state of a reader: connections, index and templates.

It knows nothing of where it runs: in a process of its own, or in a thread of the master.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from functools import partial
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.errors import DatabaseAway
from buildbot_selfserve.errors import reason
from buildbot_selfserve.history import History
from buildbot_selfserve.history import db_engine
from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.history.index import Index
from buildbot_selfserve.history.index import Version
from buildbot_selfserve.journal.reader import JournalReader
from buildbot_selfserve.model import Site
from buildbot_selfserve.views import openapi
from buildbot_selfserve.views import render
from buildbot_selfserve.views import repeats
from buildbot_selfserve.views.error_responses import STATUS
from buildbot_selfserve.views.read_request import Response
from buildbot_selfserve.views.repeats import Moment
from buildbot_selfserve.views.repeats import Repeats

#: So many of the newest jobs of a user are looked at for what they made.
MOST_JOBS = 1000


#: What a connection keeps: the answers of its last moment.
_REPEATS = "selfserve_repeats"


class Reading:
    """Reads the master's history and the journal, each through one connection."""

    def __init__(
        self, history: sa.Connection, journal: sa.Connection, index: Index, site: Site
    ) -> None:
        self.history = History(history, index, site)
        self.journal = JournalReader(journal, site)
        self.site = site

    def openapi(self) -> dict[str, Any]:
        """Return this API as an OpenAPI document."""
        return openapi.document(self.site, STATUS)


class Reader:
    """What one reader has: its engines and its pages.

    :param history: the master's database
    :param journal: where the journal is, often the same
    :param keeps: each thread keeps its connections; only where nobody else needs or uses them
    """

    def __init__(self, history: sa.Engine, journal: sa.Engine, keeps: bool = False) -> None:
        self._history = history
        self._journal = journal
        if journal is not history:
            db_engine.blame_errors(journal, "journal")
        self._kept: threading.local | None = threading.local() if keeps else None
        self._index = Index(only_reads=keeps)
        self.templates = render.templates()

    def warm(self) -> None:
        """Load the index, so that the first read need not wait for it.

        If that fails, the first read tries again, and reports the error.
        """
        with suppress(sa.exc.SQLAlchemyError), self._history.connect() as history:
            self._index.facts(history)

    def repeated(
        self, site: Site, question: bytes, make: Callable[[Facts | None], Response]
    ) -> Response:
        """Return what *make* returns, or what it has returned to *question* if nothing has changed.

        Whether anything has is asked first, as for every answer; *make* gets the facts as of then.

        :raises DatabaseAway: a database does not answer
        """
        # connections that are not kept have no versions, nor has a journal somewhere else
        if self._kept is None or self._journal is not self._history:
            return make(None)

        def look(reading: Reading) -> tuple[Facts, Version, Repeats]:
            history = reading.history
            # another connection may have the same version at another time
            known = history.connection.info.setdefault(_REPEATS, Repeats())
            return history.facts, history.version, known

        second = repeats.now()
        facts, version, known = self.read(site, look)
        if version is None:
            return make(facts)
        moment = Moment(site, version, second)
        answer: Response | None = known.find(moment, question)
        if answer is None:
            answer = make(facts)
            if isinstance(version, str):
                answer = answer._replace(version=version)
            known.keep(moment, question, answer)
        return answer

    def read(self, site: Site, work: Callable[[Reading], Any], facts: Facts | None = None) -> Any:
        """Run *work*, which reads, and return its result.

        :param facts: what the index knows, if it was brought up to date for this question
        :raises DatabaseAway: a database does not answer
        """

        def connected() -> Any:
            with self._connected(site) as reading:
                if facts is not None:
                    reading.history.facts = facts
                return work(reading)

        return _retried(connected)

    def look(self) -> None:
        """Return if the databases answer.

        :raises DatabaseAway: one does not
        """

        def ask(engine: sa.Engine) -> None:
            with self._connection(engine) as connection:
                sa.inspect(connection).has_table("masters")  # which SQLite looks up in its file

        for engine in dict.fromkeys([self._history, self._journal]):
            _retried(partial(ask, engine))

    @contextmanager
    def _connected(self, site: Site) -> Iterator[Reading]:
        with self._connection(self._history) as history:
            if self._journal is self._history:
                yield Reading(history, history, self._index, site)
            else:
                with self._connection(self._journal) as journal:
                    yield Reading(history, journal, self._index, site)

    @contextmanager
    def _connection(self, engine: sa.Engine) -> Iterator[sa.Connection]:
        """Provide a connection; to take one from a pool each time costs as much as a query."""
        if self._kept is None:
            with engine.connect() as connection:
                yield connection
            return
        kept: dict[sa.Engine, sa.Connection] = self._kept.__dict__.setdefault("connections", {})
        if engine not in kept:
            kept[engine] = engine.connect()
        try:
            yield kept[engine]
            if kept[engine].in_transaction():
                kept[engine].rollback()  # nothing was written
        except BaseException:
            kept.pop(engine).close()
            raise


def _retried(work: Callable[[], Any]) -> Any:
    """Return what *work* returns, which reads.

    If the database server was restarted, the first read finds its connection dead; then all
    connections are replaced, and the read is repeated once.

    :raises DatabaseAway: a database does not answer
    """
    for last in (False, True):
        try:
            return work()
        except db_engine.AWAY as error:
            if last or not getattr(error, "connection_invalidated", False):
                raise DatabaseAway(db_engine.whose(error), reason(error)) from error
    raise AssertionError("unreachable")


def open_reader(history_url: str, journal_url: str | None, connections: int) -> Reader:
    """Return what a reader with engines of its own has.

    :param history_url: the master's database, with its password
    :param journal_url: where the journal is; ``None`` for the same database
    :param connections: how many threads read at once
    """
    history = journal = db_engine.open_engine(sa.engine.make_url(history_url), connections)
    if journal_url is not None:
        journal = db_engine.open_engine(sa.engine.make_url(journal_url), connections)
    return Reader(history, journal, keeps=True)


def open_warm_reader(*arguments: Any) -> Reader:
    """Return what ``open_reader`` returns, ready for the first read."""
    reader = open_reader(*arguments)
    reader.warm()
    return reader
