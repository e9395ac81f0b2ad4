"""Tells the reactor whether the master's database was written to, so that it need ask no reader.

An SQLite file tells it at once, a PostgreSQL server when it is asked, other servers not at all.
"""

from __future__ import annotations

from typing import Protocol

from twisted.internet import defer

from buildbot_selfserve.history.index import Version


class DatabaseVersion(Protocol):
    """The version of a database: while it is the same, nothing was written."""

    def now(self) -> Version:
        """Return the version; ``None`` if that would have to be waited for, or cannot be told."""
        ...

    def ask(self) -> defer.Deferred[Version] | None:
        """Return the version as of a moment after this call; ``None`` if nobody can be asked.

        It becomes ``None`` if nobody answers.
        """
        ...

    def close(self) -> None:
        """Let go of the database."""
        ...
