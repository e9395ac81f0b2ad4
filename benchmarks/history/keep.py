"""Makes a history once for each size, keeps it on the disk, and lends copies of it."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import buildbot
import sqlalchemy as sa

from benchmarks.history.cases import Cases
from benchmarks.history.cases import pick
from benchmarks.history.load import Say
from benchmarks.history.load import load
from benchmarks.history.plan import Sizes
from benchmarks.history.plan import plan
from benchmarks.history.tables import tables
from tests import databases

#: Raised when a history of the same sizes and seed is another one than before.
VERSION = 1
DATABASES = ("sqlite", "postgresql")

_BUILDBOT = Path(sys.executable).with_name("buildbot")


@dataclass(frozen=True)
class Lent:
    """A copy of a history, to be used up.

    :param counts: rows by table
    :param made_in: seconds that making it took, when it was made
    :param size: bytes
    """

    url: sa.URL
    cases: Cases
    counts: dict[str, int]
    made_in: float
    size: int


@contextlib.contextmanager
def lend(folder: Path, database: str, sizes: Sizes, say: Say) -> Iterator[Lent]:
    """Yield a copy of the history of these *sizes*; it is made if *folder* has none.

    :param folder: where histories are kept
    :param database: one of ``DATABASES``
    """
    folder.mkdir(parents=True, exist_ok=True)
    keeper = _SQLite if database == "sqlite" else _PostgreSQL
    with keeper.opened(folder) as place:
        name = (
            f"history_{sizes.builds}_{sizes.seed}_v{VERSION}_{buildbot.version.replace('.', '_')}"
        )
        facts = folder / f"{database}-{name}.json"
        if not facts.exists():
            begun = time.monotonic()
            say("making up a history")
            history = plan(sizes)
            url = place.new(name)
            create_schema(url)
            counts = load(url, tables(history), say)
            made_in = round(time.monotonic() - begun, 1)
            found = {"counts": counts, "made_in": made_in, "cases": pick(history).as_json()}
            facts.write_text(json.dumps(found) + "\n")
            del history
        known = json.loads(facts.read_text())
        say("copying the history")
        with place.copied(name) as url:
            cases = Cases.of_json(known["cases"])
            yield Lent(url, cases, known["counts"], known["made_in"], place.size(url))


@contextlib.contextmanager
def lend_empty(folder: Path, database: str) -> Iterator[sa.URL]:
    """Yield a database without a history."""
    keeper = _SQLite if database == "sqlite" else _PostgreSQL
    with keeper.opened(folder) as place:
        url = place.new("nothing")
        create_schema(url)
        with place.copied("nothing") as copied:
            yield copied


def create_schema(url: sa.URL) -> None:
    """Make Buildbot's tables in the database at *url*."""
    with tempfile.TemporaryDirectory(prefix="schema-") as folder:
        subprocess.run(
            [
                *(str(_BUILDBOT), "create-master", "--quiet"),
                *("--db", url.render_as_string(hide_password=False), folder),
            ],
            check=True,
            capture_output=True,
        )


class _SQLite:
    """Histories in files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    @contextlib.contextmanager
    def opened(cls, folder: Path) -> Iterator[_SQLite]:
        yield cls(folder.absolute())

    def new(self, name: str) -> sa.URL:
        """Return the URL of a new database of this name."""
        path = self.folder / f"{name}.sqlite"
        path.unlink(missing_ok=True)
        return _sqlite_url(path)

    @contextlib.contextmanager
    def copied(self, name: str) -> Iterator[sa.URL]:
        """Yield the URL of a copy, which is gone afterwards."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="run-", dir=self.folder) as run:
            copy = Path(run) / "state.sqlite"
            shutil.copyfile(self.folder / f"{name}.sqlite", copy)
            yield _sqlite_url(copy)

    def size(self, url: sa.URL) -> int:
        """Return the bytes of a database."""
        return Path(url.database or "").stat().st_size


def _sqlite_url(path: Path) -> sa.URL:
    return sa.engine.make_url(f"sqlite:///{path}")


class _PostgreSQL:
    """Histories in a server of our own, which keeps its files between runs."""

    def __init__(self, server: sa.URL) -> None:
        self.server = server

    @classmethod
    @contextlib.contextmanager
    def opened(cls, folder: Path) -> Iterator[_PostgreSQL]:
        data = folder.absolute() / "postgresql"
        data.mkdir(parents=True, exist_ok=True)
        server = databases.PostgreSQL(str(data))
        try:
            yield cls(server.url)
        finally:
            server.end()

    def new(self, name: str) -> sa.URL:
        """Return the URL of a new database of this name."""
        self._do(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", f"CREATE DATABASE {name}")
        return self.server.set(database=name)

    @contextlib.contextmanager
    def copied(self, name: str) -> Iterator[sa.URL]:
        """Yield the URL of a copy, which is gone afterwards."""
        drop = "DROP DATABASE IF EXISTS run WITH (FORCE)"
        self._do(drop, f"CREATE DATABASE run TEMPLATE {name} STRATEGY file_copy")
        try:
            yield self.server.set(database="run")
        finally:
            self._do(drop)

    def size(self, url: sa.URL) -> int:
        """Return the bytes of a database."""
        engine = sa.create_engine(self.server)
        with engine.connect() as connection:
            query = sa.select(sa.func.pg_database_size(url.database))
            size = int(connection.execute(query).scalar_one())
        engine.dispose()
        return size

    def _do(self, *statements: str) -> None:
        engine = sa.create_engine(self.server, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for statement in statements:
                connection.exec_driver_sql(statement)
        engine.dispose()
