"""Opens engines that read the master's database, separate from the master's own pool."""

from __future__ import annotations

import contextlib
import sqlite3
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

#: Seconds that a statement waits for SQLite's lock. Readers wait only while the database is being
#: recovered or checkpointed.
LOCK_TIMEOUT = 5.0
#: What connections to PostgreSQL are set to. Statements are planned once, for any number of ids:
#: for a thousand of them they would otherwise scan whole tables, which takes four times as long as
#: looking up each, and they would be planned again each time. Nor do they start processes of their
#: own: that takes longer than these save, and takes cores from others.
SETTINGS = ("plan_cache_mode = force_generic_plan", "max_parallel_workers_per_gather = 0")
#: The exceptions of a database that cannot be reached.
AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)

#: What an error tells whose database has raised it, if that is not the master's.
_WHOSE = "selfserve_whose"


def blame(error: BaseException, whose: str) -> None:
    """Let *error* tell whose database has raised it, ``master`` or ``journal``."""
    setattr(error, _WHOSE, whose)


def whose(error: BaseException) -> str:
    """Return whose database has raised *error*: the master's, unless it tells another."""
    return str(getattr(error, _WHOSE, "master"))


def is_in_memory(url: sa.URL) -> bool:
    """Return whether *url* is an in-memory SQLite database, visible only to its own connection."""
    return url.get_backend_name() == "sqlite" and url.database in (None, "", ":memory:")


def open_engine(url: sa.URL, connections: int) -> sa.Engine:
    """Return a new engine on *url*.

    :param url: a database that is not in memory
    :param connections: the largest number of open connections
    """
    if url.get_backend_name() != "sqlite":
        # An open transaction would read the same snapshot forever under MariaDB's REPEATABLE READ,
        # and hold back vacuuming on PostgreSQL.
        engine = sa.create_engine(
            url, pool_size=connections, max_overflow=0, isolation_level="AUTOCOMMIT"
        )
        if url.get_backend_name() == "postgresql":
            sa.event.listen(engine, "connect", _configure)
        return engine
    return sa.create_engine(
        "sqlite://",
        creator=partial(connect_to_file, url, LOCK_TIMEOUT),
        poolclass=sa.pool.QueuePool,
        pool_size=connections,
        max_overflow=0,
    )


def connect_to_file(url: sa.URL, lock_timeout: float) -> sqlite3.Connection:
    """Return a new connection that reads an SQLite database.

    :param lock_timeout: seconds that a statement waits for a lock
    """
    uri = Path(url.database or "").absolute().as_uri() + "?mode=ro"
    return sqlite3.connect(
        uri, uri=True, timeout=lock_timeout, isolation_level=None, check_same_thread=False
    )


def blame_errors(engine: sa.Engine, whose: str) -> None:
    """Let all errors of *engine* tell whose database it is."""

    def raised(context: sa.ExceptionContext) -> None:
        if context.sqlalchemy_exception is not None:
            blame(context.sqlalchemy_exception, whose)

    sa.event.listen(engine, "handle_error", raised)


def _configure(connection: Any, record: object) -> None:
    """Let PostgreSQL plan as it is best for many short statements."""
    with contextlib.closing(connection.cursor()) as cursor:
        for setting in SETTINGS:
            try:
                cursor.execute(f"SET {setting}")
                connection.commit()
            except Exception:
                connection.rollback()  # a server that is older than the setting
