"""Opens engines that read the master's database, separate from the master's own pool."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

#: Seconds that a statement waits for SQLite's lock. Readers wait only while the database is being
#: recovered or checkpointed.
LOCK_TIMEOUT = 5.0
#: The exceptions of a database that cannot be reached.
AWAY = (sa.exc.OperationalError, sa.exc.InterfaceError, sa.exc.TimeoutError)


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
            sa.event.listen(engine, "connect", _plan_once)
        return engine
    uri = Path(url.database or "").absolute().as_uri() + "?mode=ro"

    def connect() -> sqlite3.Connection:
        return sqlite3.connect(
            uri, uri=True, timeout=LOCK_TIMEOUT, isolation_level=None, check_same_thread=False
        )

    return sa.create_engine(
        "sqlite://",
        creator=connect,
        poolclass=sa.pool.QueuePool,
        pool_size=connections,
        max_overflow=0,
    )


def _plan_once(connection: Any, record: object) -> None:
    """Let PostgreSQL plan each prepared statement once, for any number of ids.

    For a thousand ids it would otherwise scan whole tables, which takes four times as long as
    looking up each id; and it would plan again at each execution.
    """
    cursor = connection.cursor()
    try:
        cursor.execute("SET plan_cache_mode = force_generic_plan")
        connection.commit()
    except Exception:
        connection.rollback()  # PostgreSQL before 12 has no plan_cache_mode
    finally:
        cursor.close()
