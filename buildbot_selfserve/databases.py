"""Opens and closes the readers and the journal's database.

They belong together: both are opened for one configuration, are closed with it, and say in one
voice when they are not there.
"""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Coroutine
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from twisted.internet import defer
from twisted.internet import task
from twisted.internet import threads
from twisted.logger import Logger
from twisted.python.failure import Failure

from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.config import SelfServe
from buildbot_selfserve.config import database_url
from buildbot_selfserve.deferreds import DaemonThreadPool
from buildbot_selfserve.deferreds import in_daemon_thread
from buildbot_selfserve.deferreds import independent
from buildbot_selfserve.errors import DatabaseAway
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.errors import reason
from buildbot_selfserve.history import db_engine
from buildbot_selfserve.history.index import Version
from buildbot_selfserve.journal import schema
from buildbot_selfserve.outages import DatabaseOutages
from buildbot_selfserve.outages import Outage
from buildbot_selfserve.readers import GRACE
from buildbot_selfserve.readers import Away
from buildbot_selfserve.readers import Readers
from buildbot_selfserve.readers.processes import ProcessReaders
from buildbot_selfserve.readers.threads import ThreadReaders
from buildbot_selfserve.secrets import Secrets
from buildbot_selfserve.secrets import why_unread
from buildbot_selfserve.versions import DatabaseVersion
from buildbot_selfserve.versions import server
from buildbot_selfserve.versions.file import FileVersion
from buildbot_selfserve.views.reader import Reader
from buildbot_selfserve.views.reader import open_reader
from buildbot_selfserve.views.reader import open_warm_reader

#: A reader works on so many questions at once: a small one and a large one.
LANES = 2
#: Seconds between attempts of what must be done before or after the journal is opened.
RETRY = 10.0
#: Seconds that the journal's database has to answer when somebody looks whether it does.
LOOK_TIMEOUT = 5.0


class JournalDatabase:
    """Where the journal is written: through the master's own pool, or on a database of its own.

    The master's pool has but one thread for SQLite, so that a writer of ours beside it would only
    make the two wait for each other's locks.

    :param url: ``None`` for the master's own database
    """

    def __init__(self, master: Any, url: sa.URL | None) -> None:
        self.master = master
        self.url = url
        #: whose database it is
        self.whose = "master" if url is None else "journal"
        self._pool: DaemonThreadPool | None = None
        if url is not None:
            # its connection idles from one job request to the next, and servers hang up meanwhile
            self._engine = sa.create_engine(url, pool_size=1, max_overflow=0, pool_pre_ping=True)
            self._pool = DaemonThreadPool(1, 1, "selfserve-journal")
            self._pool.start()

    def run(self, function: Any, *arguments: Any) -> defer.Deferred[Any]:
        """Return what ``function(connection, *arguments)`` returns."""
        if self._pool is None:
            done: defer.Deferred[Any] = self.master.db.pool.do(function, *arguments)
            return done

        def work() -> Any:
            with self._engine.connect() as connection:
                return function(connection, *arguments)

        return threads.deferToThreadPool(self.master.reactor, self._pool, work)

    def upgrade(self) -> defer.Deferred[Any]:
        """Bring the journal's tables up to date."""
        if self._pool is None:
            done: defer.Deferred[Any] = self.master.db.pool.do_with_engine(schema.upgrade)
            return done
        return threads.deferToThreadPool(
            self.master.reactor, self._pool, schema.upgrade, self._engine
        )

    def stop(self) -> defer.Deferred[None]:
        """End what this started, or give it up if its database does not let go of it."""
        if self._pool is None:
            return defer.succeed(None)
        return in_daemon_thread(monotonic(self.master.reactor), self._end, GRACE)

    def _end(self) -> None:
        assert self._pool is not None  # there is nothing to end without it
        self._pool.stop()  # which waits for what its thread is doing
        self._engine.dispose()


class Databases:
    """The readers and the journal of one master, opened anew when their configuration changes.

    :param secrets: reads what ``db_url`` stands for
    :param opened: called whenever the journal has its tables and can be written
    :param leaving: called before another is opened; returns when nothing is to be written any more
    :param check_available: raises :class:`DatabaseAway` if the master's database does not answer
    """

    log = Logger()

    def __init__(
        self,
        master: Any,
        secrets: Secrets,
        opened: Callable[[], Awaitable[None]],
        leaving: Callable[[], Awaitable[None]],
        check_available: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        self._master = master
        self._secrets = secrets
        self._opened = opened
        self._leaving = leaving
        self._check_available = check_available
        self._readers: Readers | None = None
        self._journal: JournalDatabase | None = None
        self._version: DatabaseVersion | None = None
        self._outages = DatabaseOutages(monotonic(master.reactor), self._name, self._look)
        self._past_restarts = 0
        # one for each configuration that is followed; what an earlier one wants is not wanted now
        self._turn = 0
        # the settings of what is open: the journal's URL, and the number of readers
        self._opened_as: tuple[sa.URL | None, int] | None = None
        #: whether the journal can be written
        self.ready = False

    @property
    def readers(self) -> Readers:
        """Return where reads run.

        :raises Unavailable: they have not started yet, or have ended
        """
        if self._readers is None:
            raise Unavailable("Self-serve is starting or shutting down")
        return self._readers

    @property
    def version(self) -> Version:
        """Return the version of all that readers read: while it is the same, nothing was written.

        It is ``None`` unless that is one SQLite database, or if it cannot be told without waiting.
        """
        return None if self._version is None else self._version.now()

    def ask_version(self) -> defer.Deferred[Version] | None:
        """Return the version as of a moment after this call, from the database's server.

        It is ``None``, at once or later, if there is no such server or it cannot tell.
        """
        return None if self._version is None else self._version.ask()

    @property
    def unanswered(self) -> int:
        """Return how many questions the readers have not answered yet."""
        return 0 if self._readers is None else self._readers.unanswered

    @property
    def restarts(self) -> int:
        """Return how many readers died or hung and were replaced since the master started."""
        return self._past_restarts + (0 if self._readers is None else self._readers.restarts)

    def write(self, function: Any, *arguments: Any) -> defer.Deferred[Any]:
        """Return what ``function(connection, *arguments)`` returns on the journal's database.

        :raises Unavailable: the database is not open
        """
        if self._journal is None:
            raise Unavailable("Self-serve is starting or shutting down")
        whose = self._journal.whose

        def failed(failure: Failure) -> Failure:
            error = failure.value
            if isinstance(error, db_engine.AWAY):
                db_engine.blame(error, whose)
                self.away(DatabaseAway(whose, reason(error)))
            return failure

        return self._journal.run(function, *arguments).addErrback(failed)

    def away(self, error: DatabaseAway) -> None:
        """Log that a database does not answer, and when it does again."""
        if self._journal is not None:
            self._outages.away(error)

    def open(self, config: SelfServe) -> None:
        """Open in the background what *config* names, in the place of what is open.

        What is open stays so until the URL of the journal is known, and if nothing is different.
        """
        self._turn += 1
        defer.Deferred.fromCoroutine(self._follow(config, self._turn)).addErrback(self._over)

    def close(self) -> defer.Deferred[None]:
        """Close the journal's database and end the readers, which is done when this fires."""
        self.ready = False
        self._turn += 1
        self._opened_as = None
        self._outages.forget()
        readers, self._readers = self._readers, None
        journal, self._journal = self._journal, None
        version, self._version = self._version, None
        if version is not None:
            version.close()
        if readers is not None:
            self._past_restarts += readers.restarts
        ends = [one.stop() for one in (journal, readers) if one is not None]
        return defer.DeferredList(ends, consumeErrors=True).addCallback(lambda _: None)

    def _name(self, whose: str) -> str:
        """Return the name of a database in the log."""
        own = None if self._journal is None else self._journal.url
        url = self._master.db.pool.engine.url if whose == "master" or own is None else own
        # what follows the question mark may be a password, too
        return f"the {whose}'s database ({url.set(query={}).render_as_string(hide_password=True)})"

    async def _look(self) -> set[str]:
        """Ask all that uses a database; return whose do not answer."""
        clock, readers = monotonic(self._master.reactor), self.readers
        count = 1 if self._opened_as is None else max(1, self._opened_as[1])
        asked = [
            # at once, so that each reader gets one
            *(
                readers.ask(Reader.look, large=large)
                for large in (False, True)
                for _ in range(count)
            ),
            independent(self.write(_ping)).addTimeout(LOOK_TIMEOUT, clock),
            defer.Deferred.fromCoroutine(self._check_available()),
        ]
        away = set()
        for is_done, result in await defer.DeferredList(asked, consumeErrors=True):
            if not is_done:
                away.add(_whose(result))
        return away

    async def _follow(self, config: SelfServe, turn: int) -> None:
        url = await self._until_done(
            partial(_journal_url, self._master, self._secrets, config),
            lambda: self._turn == turn,
            "db_url cannot be followed",
            "db_url is followed",
        )
        # renderables cannot be compared, and what they stand for may change without them
        opened_as = (url, config.readers)
        if opened_as == self._opened_as:
            self.readers.set_timeout(config.timeout)
            return
        if self._journal is not None:
            await self._leave()
        if self._turn == turn:
            version, self._version = self._version, None
            self.close()
            journal = self._journal = JournalDatabase(self._master, url)
            self._readers = _readers(self._master, config, url, self.away)
            self._version = _version(self._master, url)
            self._opened_as = opened_as
            if version is not None:
                version.close()  # those who wait for it ask the new readers
            await self._make_ready(journal)

    async def _leave(self) -> None:
        """Let what runs be written in the journal that is open, and let nothing new begin in it."""
        self.log.info("selfserve: the journal is opened anew when all that runs has ended")
        self.ready = False
        self._opened_as = None  # also what is configured meanwhile is opened anew
        await self._leaving()

    async def _make_ready(self, journal: JournalDatabase) -> None:
        def wanted() -> bool:
            return self._journal is journal and self._opened_as is not None  # it is not left yet

        name = self._name(journal.whose)
        complaint = f"the journal's tables in {name} cannot be made or upgraded"
        await self._until_done(journal.upgrade, wanted, complaint, "the journal is ready")
        self.ready = True
        complaint, over = (
            "what was left open cannot be reconciled",
            "what was left open is reconciled",
        )
        await self._until_done(self._opened, wanted, complaint, over)

    async def _until_done(
        self,
        work: Callable[[], Awaitable[Any]],
        wanted: Callable[[], bool],
        complaint: str,
        over: str,
    ) -> Any:
        """Return what *work* returns, which is tried until it succeeds.

        :param wanted: whether it still is; after a reconfig or a stop something else is
        :param over: what is logged if it has failed before
        :raises CancelledError: it is not wanted any more
        """
        clock = monotonic(self._master.reactor)
        outage = Outage(clock, over)
        while wanted():
            try:
                result = await work()
            except Exception as error:
                if wanted():
                    outage.failed(f"{complaint}, trying again", error)
                    await task.deferLater(clock, RETRY)
            else:
                if wanted():
                    outage.end()
                    return result
        raise defer.CancelledError

    def _over(self, failure: Failure) -> None:
        if not failure.check(defer.CancelledError):
            self.log.failure("selfserve: cannot start", failure)


async def _journal_url(master: Any, secrets: Secrets, config: SelfServe) -> sa.URL | None:
    """Return where the journal of its own is that *config* names, if so.

    :raises Unavailable: it cannot be read, or is not a URL; the error does not show it
    """
    if config.db_url is None:
        return None
    try:
        url = database_url(await secrets.render(config.db_url))
    except Exception as error:
        secrets.renew()  # for the next time
        raise Unavailable("The database URL is not available", _why_no_url(error)) from None
    if url.get_backend_name() == "sqlite":
        # Buildbot's own rule: relative means relative to the master's folder
        url = url.set(database=str(Path(master.basedir, url.database or "")))
    return url


def _why_no_url(error: Exception) -> str:
    if isinstance(error, sa.exc.NoSuchModuleError | ImportError):
        return "its driver is not installed"
    if isinstance(error, sa.exc.ArgumentError | ValueError):
        return "it is not a database URL"
    return why_unread(Failure(error))


def _ping(connection: sa.Connection) -> None:
    sa.inspect(connection).has_table("selfserve_jobs")  # which SQLite looks up in its file


def _whose(failure: Failure) -> str:
    """Return whose database has raised *failure*.

    :raises Exception: what it is, if it tells nothing of a database
    """
    if isinstance(failure.value, DatabaseAway):
        return failure.value.whose
    if isinstance(failure.value, db_engine.AWAY):
        return db_engine.whose(failure.value)
    failure.raiseException()
    raise AssertionError("unreachable")


def _version(master: Any, journal_url: sa.URL | None) -> DatabaseVersion | None:
    """Return the version of the database that the readers read, if they read nothing else."""
    url = master.db.pool.engine.url
    if journal_url is not None or db_engine.is_in_memory(url):
        return None
    if url.get_backend_name() == "sqlite":
        return FileVersion(url)
    is_known = url.get_backend_name() == "postgresql" and url.get_driver_name() == server.DRIVER
    return server.ServerVersion(master.reactor, url) if is_known else None


def _readers(master: Any, config: SelfServe, journal_url: sa.URL | None, away: Away) -> Readers:
    """Return where reads run: processes, threads, or the master's one thread when it must be."""
    engine, clock = master.db.pool.engine, monotonic(master.reactor)
    secret = {"hide_password": False}
    journal = None if journal_url is None else journal_url.render_as_string(**secret)
    if db_engine.is_in_memory(engine.url):
        own = engine if journal_url is None else sa.create_engine(journal_url)

        def run(work: Any, large: bool) -> defer.Deferred[Any]:
            done: defer.Deferred[Any] = master.db.pool.do_with_engine(lambda engine: work())
            return done

        ended = partial(defer.succeed, None)
        return ThreadReaders(clock, run, ended, Reader(engine, own), config.timeout, away)
    arguments = (engine.url.render_as_string(**secret), journal, LANES)
    if config.readers == 0:
        readers = ThreadReaders.of_our_own(clock, open_reader(*arguments), config.timeout, away)
        # if it takes too long, it goes on all the same
        readers.ask(Reader.warm, large=True).addErrback(lambda _: None)
        return readers
    return ProcessReaders(clock, config.readers, open_warm_reader, arguments, config.timeout, away)
