"""Writes rows into a database in bulk: without its indexes, which are made again at the end."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path

import psycopg2
import sqlalchemy as sa

from benchmarks.history.tables import Row
from benchmarks.history.tables import Rows

#: Called with the name of a table before it is written.
Say = Callable[[str], None]
#: Rows that are turned into text at once for PostgreSQL.
_CHUNK = 2000
#: Bytes of that text that are sent at once.
_PIECE = 1 << 20


def load(url: sa.URL, tables: Sequence[Rows], say: Say) -> dict[str, int]:
    """Write *tables* into the database at *url*, which must have them.

    :return: how many rows each has
    """
    if url.get_backend_name() == "sqlite":
        return _load_sqlite(Path(url.database or ""), tables, say)
    return _load_postgresql(url, tables, say)


def _load_sqlite(path: Path, tables: Sequence[Rows], say: Say) -> dict[str, int]:
    database = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode = off", "synchronous = off", "cache_size = -400000"):
        database.execute(f"PRAGMA {pragma}")
    names = ", ".join(f"'{one.table.name}'" for one in tables)
    indexes = database.execute(
        "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        f" AND tbl_name IN ({names})"
    ).fetchall()
    for name, _ in indexes:
        database.execute(f'DROP INDEX "{name}"')
    counts = {}
    database.execute("BEGIN")
    for one in tables:
        say(one.table.name)
        places = ", ".join("?" * len(one.columns))
        columns = ", ".join(one.columns)
        done = database.executemany(
            f"INSERT INTO {one.table.name} ({columns}) VALUES ({places})", one.rows()
        )
        counts[one.table.name] = done.rowcount
    database.execute("COMMIT")
    say("indexes")
    for _, definition in indexes:
        database.execute(definition)
    database.execute("PRAGMA journal_mode = wal")
    database.close()
    return counts


def _load_postgresql(url: sa.URL, tables: Sequence[Rows], say: Say) -> dict[str, int]:
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    database = psycopg2.connect(plain)
    cursor = database.cursor()
    cursor.execute("SET synchronous_commit = off; SET maintenance_work_mem = '512MB'")
    cursor.execute("SET session_replication_role = replica")  # foreign keys hold, we made them
    names = [one.table.name for one in tables]
    cursor.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = ANY(%s)"
        " AND indexname NOT LIKE '%%_pkey'",
        (names,),
    )
    indexes = cursor.fetchall()
    for name, _ in indexes:
        cursor.execute(f'DROP INDEX "{name}"')
    counts = {}
    for one in tables:
        say(one.table.name)
        columns = ", ".join(one.columns)
        copy = f"COPY {one.table.name} ({columns}) FROM STDIN"
        cursor.copy_expert(copy, _Text(one.rows()), _PIECE)
        counts[one.table.name] = cursor.rowcount
    say("indexes")
    for _, definition in indexes:
        cursor.execute(definition)
    for one in tables:
        _continue_numbering(cursor, one.table.name, one.columns[0])
    database.commit()
    database.autocommit = True
    cursor.execute("VACUUM ANALYZE")
    database.close()
    return counts


def _continue_numbering(cursor: psycopg2.extensions.cursor, table: str, column: str) -> None:
    cursor.execute("SELECT pg_get_serial_sequence(%s, %s)", (table, column))
    found = cursor.fetchone()
    if found is not None and found[0] is not None:
        cursor.execute(f"SELECT setval('{found[0]}', (SELECT max({column}) FROM {table}))")


class _Text(io.RawIOBase):
    """Rows as the text that COPY reads."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._chunks = _chunks(iter(rows))
        self._left = b""

    def readable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        """Return at most *size* bytes; nothing at the end."""
        while len(self._left) < size or size < 0:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._left += chunk
        size = len(self._left) if size < 0 else size
        taken, self._left = self._left[:size], self._left[size:]
        return taken


def _chunks(rows: Iterator[Row]) -> Iterator[bytes]:
    lines: list[str] = []
    for row in rows:
        lines.append("\t".join(map(_field, row)))
        if len(lines) == _CHUNK:
            yield ("\n".join(lines) + "\n").encode()
            lines.clear()
    if lines:
        yield ("\n".join(lines) + "\n").encode()


def _field(value: object) -> str:
    return "\\N" if value is None else str(value).replace("\\", "\\\\")
