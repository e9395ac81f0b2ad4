"""Tells whether an SQLite database was written to, in microseconds and without waiting.

``PRAGMA data_version`` reads no table (https://sqlite.org/pragma.html#pragma_data_version): with a
write-ahead log, SQLite compares numbers in memory that all processes share, else a counter at the
beginning of the file. So the reactor may ask for it.
"""

from __future__ import annotations

import itertools
import sqlite3
from contextlib import closing
from contextlib import suppress

import sqlalchemy as sa
from twisted.internet import defer

from buildbot_selfserve.history import db_engine
from buildbot_selfserve.history.index import Version

#: Versions of one connection are smaller than this. Those of another one start again.
_VERSIONS = 2**32
_opened = itertools.count()


class FileVersion:
    """The version of an SQLite database.

    :param url: the database, which is in a file
    """

    def __init__(self, url: sa.URL) -> None:
        self._base = next(_opened) * _VERSIONS
        self._connection: sqlite3.Connection | None = None
        with suppress(sqlite3.Error):
            self._connection = db_engine.connect_to_file(url, lock_timeout=0)

    def now(self) -> int | None:
        """Return the version: while it is the same, nothing was written.

        It is ``None`` if that would have to be waited for, or cannot be told.
        """
        if self._connection is None:
            return None
        try:
            with closing(self._connection.execute("PRAGMA data_version")) as cursor:
                version: int = cursor.fetchone()[0]
        except sqlite3.Error:
            return None
        return self._base + version

    def ask(self) -> defer.Deferred[Version] | None:
        """Return ``None``: what :meth:`now` cannot tell is not waited for."""
        return None

    def close(self) -> None:
        """Let go of the database."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
