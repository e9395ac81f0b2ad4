"""Upgrades the journal's tables, even if several masters start at once."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.script.revision import ResolutionError
from alembic.util import CommandError

from buildbot_selfserve.errors import Unavailable

#: Our own version table: ``alembic_version`` is Buildbot's.
VERSION_TABLE = "selfserve_alembic_version"

#: The key of PostgreSQL's advisory lock: a number unlikely to be used elsewhere ("selfserv" in
#: ASCII).
_LOCK_KEY = int.from_bytes(b"selfserv", "big")
_LOCK_NAME = "selfserve_migrations"
_LOCK_SECONDS = 60


def upgrade(engine: sa.Engine, revision: str = "head") -> None:
    """Create or upgrade the journal's tables in the database of *engine*.

    :param revision: the migration to upgrade to; only tests pass another than the newest
    :raises Unavailable: a newer self-serve has made the tables; or on MySQL and MariaDB, another
        master has been upgrading for a minute
    """
    config = Config()
    config.set_main_option("script_location", _escaped(Path(__file__).parent / "migrations"))
    config.set_main_option("path_separator", "os")
    with engine.connect() as connection, _locked(connection):
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, revision)
        except CommandError as error:
            if isinstance(error.__cause__, ResolutionError):
                raise Unavailable("a newer self-serve made them") from error
            raise


def _escaped(path: Path) -> str:
    # configparser interpolates percent signs
    return str(path).replace("%", "%%")


@contextmanager
def _locked(connection: sa.Connection) -> Iterator[None]:
    """Let one master at a time upgrade; commit at the end."""
    dialect = connection.dialect.name
    if dialect == "sqlite":
        # the driver would begin the transaction only at the first INSERT, after CREATE TABLE
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    elif dialect == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_LOCK_KEY)))
    elif dialect in ("mysql", "mariadb"):
        got = connection.execute(sa.select(sa.func.get_lock(_LOCK_NAME, _LOCK_SECONDS))).scalar()
        if got != 1:
            raise Unavailable("Another master upgrades the journal")
    try:
        yield
        connection.commit()
    finally:
        connection.rollback()
        if dialect in ("mysql", "mariadb"):
            connection.execute(sa.select(sa.func.release_lock(_LOCK_NAME)))
