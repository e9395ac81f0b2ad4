"""Runs frequent statements as fast as each database can."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

#: So many ids in one IN, where there is no other way.
BATCH = 500
#: PostgreSQL says so of a statement that is not prepared, or is already: there is a pooler
#: between us and it, which gives each statement another session.
_OTHER_SESSION = ("26000", "42P05")

_numbers = itertools.count(1)


class Statement:
    """A query that is compiled once for each kind of database, and gives plain tuples.

    Where it costs more to plan a query than to run it, as on PostgreSQL, it is prepared once for
    each connection.

    :param query: without parameters, and with nothing behind its condition if *listed* is given
    :param listed: column of which the ids are asked for
    """

    def __init__(self, query: Any, listed: sa.ColumnElement[int] | None = None) -> None:
        self._query = query
        self._listed = listed
        self._texts: dict[str, tuple[str, str]] = {}
        self._name = f"selfserve_{next(_numbers)}"

    def all(self, connection: sa.Connection) -> list[Any]:
        """Return all records."""
        return self._records(connection, "", None)

    def of(self, connection: sa.Connection, ids: Sequence[int]) -> list[Any]:
        """Return the records of *ids*."""
        if not ids:
            return []
        dialect = connection.dialect.name
        if dialect == "sqlite" and len(ids) == 1:
            return self._records(connection, "= ?", ids[0])
        if dialect == "sqlite":
            # the text is the same for any number of ids
            one_of = "IN (SELECT value FROM json_each(?))"
            return self._records(connection, one_of, json.dumps(list(ids)))
        if dialect == "postgresql":
            return self._records(connection, "= ANY({})", list(ids))
        found: list[Any] = []
        for begin in range(0, len(ids), BATCH):
            batch = ", ".join(str(int(one)) for one in ids[begin : begin + BATCH])
            found += self._records(connection, f"IN ({batch})", None)
        return found

    def _records(self, connection: sa.Connection, one_of: str, value: Any) -> list[Any]:
        if _prepares(connection):
            try:
                return fetched(connection, *self._prepared(connection, one_of, value))
            except sa.exc.DBAPIError as error:
                if getattr(error.orig, "pgcode", None) not in _OTHER_SESSION:
                    raise
                connection.engine.dialect.selfserve_pooled = True  # type: ignore[attr-defined]
        text = self._text(connection, one_of.format("%s"))
        return fetched(connection, text, None if value is None else (value,))

    def _prepared(self, connection: sa.Connection, one_of: str, value: Any) -> tuple[str, Any]:
        prepared = connection.info.setdefault("selfserve_prepared", set())
        name = f"{self._name}_{'of' if one_of else 'all'}"
        if name not in prepared:
            kind = "" if value is None else "(integer[])"
            text = self._text(connection, one_of.format("$1"))
            connection.exec_driver_sql(f"PREPARE {name}{kind} AS {text}").close()
            prepared.add(name)
        if value is None:
            return f"EXECUTE {name}", None
        return f"EXECUTE {name}(%s)", (value,)

    def _text(self, connection: sa.Connection, one_of: str) -> str:
        name = connection.dialect.name
        if name not in self._texts:
            self._texts[name] = self._compiled(connection.dialect)
        whole, condition = self._texts[name]
        return f"{whole}{condition}{one_of}" if one_of else whole

    def _compiled(self, dialect: sa.Dialect) -> tuple[str, str]:
        """Return the text of the query, and what its condition on ids begins with."""
        compiled = self._query.compile(dialect=dialect, compile_kwargs={"literal_binds": True})
        if self._listed is None:
            return str(compiled), ""
        begin = "WHERE" if self._query.whereclause is None else "AND"
        return str(compiled), f"\n{begin} {self._listed.compile(dialect=dialect)} "


def streamed(
    connection: sa.Connection, query: sa.Select[Any], size: int
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the records of a long answer as plain tuples, *size* at a time."""
    cursor = _executed(connection, query)
    while some := cursor.fetchmany(size):
        yield list(some)
    cursor.close()


def streamed_whole_table(
    connection: sa.Connection, query: sa.Select[Any], size: int
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield what ``streamed`` does, where it is most of a table.

    The drivers of PostgreSQL keep a whole answer in memory, unless they fetch it from a cursor of
    the server, which lives as long as a transaction.
    """
    if connection.dialect.name != "postgresql":
        yield from streamed(connection, query, size)
        return
    text = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    connection.exec_driver_sql("BEGIN READ ONLY")
    try:
        # all of it is wanted, and not the first records soon
        connection.exec_driver_sql("SET LOCAL cursor_tuple_fraction = 1")
        connection.exec_driver_sql(f"DECLARE selfserve NO SCROLL CURSOR FOR {text}")
        while some := _executed(connection, f"FETCH {size} FROM selfserve").fetchall():
            yield some
    finally:
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            connection.exec_driver_sql("ROLLBACK")


def _executed(connection: sa.Connection, query: sa.Select[Any] | str) -> Any:
    """Return the driver's cursor, from which a query is fetched."""
    if isinstance(query, str):
        result = connection.exec_driver_sql(query)
    else:
        result = connection.execute(query)
    cursor = result.cursor
    assert cursor is not None
    return cursor


def _prepares(connection: sa.Connection) -> bool:
    # other drivers of PostgreSQL prepare by themselves
    dialect = connection.dialect
    return dialect.driver == "psycopg2" and not getattr(dialect, "selfserve_pooled", False)


def fetched(
    connection: sa.Connection, text: str, parameters: tuple[Any, ...] | None = None
) -> list[Any]:
    """Return the records of a statement.

    To describe a result takes SQLAlchemy several times as long as SQLite to find it, so that its
    own cursor is asked. What goes wrong is SQLAlchemy's business, which knows when a connection is
    none any more: it is asked once more.
    """
    pooled = connection.connection.dbapi_connection
    assert pooled is not None
    try:
        with contextlib.closing(pooled.cursor()) as cursor:
            cursor.execute(text, *([] if parameters is None else [parameters]))
            return list(cursor.fetchall())
    except connection.dialect.loaded_dbapi.Error:
        return [tuple(record) for record in connection.exec_driver_sql(text, parameters)]
