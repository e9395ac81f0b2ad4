"""Runs frequent statements as fast as each database allows."""

from __future__ import annotations

import contextlib
import itertools
import json
import operator
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

import sqlalchemy as sa

#: The largest number of ids in one IN list, on databases that need a list.
BATCH = 500
#: PostgreSQL's errors for a statement that is not prepared, or is prepared already: a pooler runs
#: each statement in another session.
_OTHER_SESSION = ("26000", "42P05")

_numbers = itertools.count(1)


class Statement:
    """A query that is compiled once for each dialect and returns plain tuples.

    On PostgreSQL, where planning costs more than running, it is prepared once per connection.

    :param query: a query without parameters; if *listed* is given, nothing may follow its WHERE
        clause
    :param listed: the column that ``of`` compares with ids
    :param also: a second column that ``of`` can compare with values
    :param prepares: not for connections of the master's own pool: they are many, and in their
        transactions nothing can be tried again
    """

    def __init__(
        self,
        query: Any,
        listed: sa.ColumnElement[int] | None = None,
        also: sa.ColumnElement[int] | None = None,
        *,
        prepares: bool = True,
    ) -> None:
        self._query = query
        self._prepares = prepares
        self._columns = [one for one in (listed, also) if one is not None]
        self._texts: dict[str, tuple[str, list[str]]] = {}
        self._prepared = _Prepared()

    def all(self, connection: sa.Connection) -> list[Any]:
        """Return all records."""
        return self._records(connection, [], [])

    def of(
        self, connection: sa.Connection, ids: Sequence[int], also: Sequence[int] | None = None
    ) -> list[Any]:
        """Return the records of *ids*.

        :param also: if given, only records whose second column has one of these values
        """
        lists = [ids] if also is None else [ids, also]
        if not all(lists):
            return []
        dialect = connection.dialect.name
        if dialect == "sqlite":
            # one text for any number of ids
            some = "IN (SELECT value FROM json_each(?))"
            return self._records(
                connection,
                ["= ?" if len(one) == 1 else some for one in lists],
                [one[0] if len(one) == 1 else json.dumps(list(one)) for one in lists],
            )
        if dialect == "postgresql":
            return self._records(connection, ["= ANY({})"] * len(lists), [*map(list, lists)])
        found: list[Any] = []
        for begin in range(0, len(ids), BATCH):
            some_of = [_in(ids[begin : begin + BATCH]), *map(_in, lists[1:])]
            found += self._records(connection, some_of, [])
        return found

    def _records(
        self, connection: sa.Connection, some_of: Sequence[str], values: Sequence[Any]
    ) -> list[Any]:
        def numbered() -> str:
            marks = (one.format(f"${number}") for number, one in enumerate(some_of, 1))
            return self._text(connection, list(marks))

        if self._prepares and _prepares(connection):
            found = self._prepared.records(
                connection, ["integer[]"] * len(values), numbered, values
            )
            if found is not None:
                return found
        text = self._text(connection, [one.format("%s") for one in some_of])
        return fetched(connection, text, tuple(values) or None)

    def _text(self, connection: sa.Connection, some_of: Sequence[str]) -> str:
        name = connection.dialect.name
        if name not in self._texts:
            self._texts[name] = self._compiled(connection.dialect)
        whole, conditions = self._texts[name]
        return whole + "".join(map(operator.add, conditions, some_of))

    def _compiled(self, dialect: sa.Dialect) -> tuple[str, list[str]]:
        """Return the SQL of the query, and the beginning of each condition on ids."""
        literal = {"literal_binds": True}
        texts = [one.compile(dialect=dialect, compile_kwargs=literal) for one in self._columns]
        compiled = self._query.compile(dialect=dialect, compile_kwargs=literal)
        begin = "WHERE" if self._query.whereclause is None else "AND"
        begins = [begin, *["AND"] * len(texts)]
        return str(compiled), [
            f"\n{begin} {text} " for begin, text in zip(begins, texts, strict=False)
        ]


class BoundStatement:
    """A query with bound parameters that is compiled once for each dialect, and returns tuples.

    :param query: each parameter without a value of its own is a ``sa.bindparam`` with a type
    """

    def __init__(self, query: Any) -> None:
        self._query = query
        self._compiled: dict[str, _Compiled] = {}
        self._prepared = _Prepared()

    def of(self, connection: sa.Connection, values: Mapping[str, Any]) -> list[Any]:
        """Return all records.

        :param values: the values of the parameters, by name
        """
        dialect = connection.dialect
        if dialect.name not in self._compiled:
            self._compiled[dialect.name] = _compiled(self._query, dialect)
        text, names, kinds, constants = self._compiled[dialect.name]
        given = {**constants, **values}

        def numbered() -> str:
            return text % {name: f"${number}" for number, name in enumerate(kinds, 1)}

        if _prepares(connection):
            in_order = [given[name] for name in kinds]
            found = self._prepared.records(connection, list(kinds.values()), numbered, in_order)
            if found is not None:
                return found
        return fetched(
            connection, text, given if names is None else tuple(given[one] for one in names)
        )


class _Compiled(NamedTuple):
    """A query with bound parameters in one dialect.

    :param names: the parameters in their order, ``None`` if the text has their names
    :param kinds: the type of each parameter on PostgreSQL, by name
    :param constants: the values that the query itself has
    """

    text: str
    names: Sequence[str] | None
    kinds: Mapping[str, str]
    constants: Mapping[str, Any]


def _compiled(query: Any, dialect: sa.Dialect) -> _Compiled:
    compiled = query.compile(dialect=dialect)
    names = list(compiled.positiontup) if compiled.positional else None
    kinds = {
        name: "integer" if isinstance(bound.type, sa.Integer) else "text"
        for bound, name in compiled.bind_names.items()
    }
    constants = {name: one for name, one in compiled.params.items() if one is not None}
    return _Compiled(str(compiled), names, kinds, constants)


class _Prepared:
    """A statement that is prepared once per connection, as planning it costs more than running."""

    def __init__(self) -> None:
        self._name = f"selfserve_{next(_numbers)}"

    def records(
        self,
        connection: sa.Connection,
        kinds: Sequence[str],
        text: Callable[[], str],
        values: Sequence[Any],
    ) -> list[Any] | None:
        """Return the records; ``None`` if the server does not keep what is prepared.

        :param kinds: the PostgreSQL type of each value
        :param text: returns the SQL, which calls the values ``$1`` and so on
        """
        try:
            return fetched(connection, *self._call(connection, kinds, text, values))
        except sa.exc.DBAPIError as error:
            if getattr(error.orig, "pgcode", None) not in _OTHER_SESSION:
                raise
            connection.engine.dialect.selfserve_pooled = True  # type: ignore[attr-defined]
            return None

    def _call(
        self,
        connection: sa.Connection,
        kinds: Sequence[str],
        text: Callable[[], str],
        values: Sequence[Any],
    ) -> tuple[str, Any]:
        prepared = connection.info.setdefault("selfserve_prepared", set())
        name = f"{self._name}_{len(values)}"
        if name not in prepared:
            typed = f"({', '.join(kinds)})" if kinds else ""
            connection.exec_driver_sql(f"PREPARE {name}{typed} AS {text()}").close()
            prepared.add(name)
        if not values:
            return f"EXECUTE {name}", None
        return f"EXECUTE {name}({', '.join(['%s'] * len(values))})", tuple(values)


def insert(connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert *rows*, which have the same columns in the same order.

    SQLAlchemy takes several times as long to describe a row as a database takes to insert it.
    """
    if not rows:
        return
    dialect = connection.dialect.name
    if dialect == "sqlite":
        connection.exec_driver_sql(_insert_text(table, rows[0]), _values(rows))
    elif dialect == "postgresql":
        connection.exec_driver_sql(_insert_lists_text(table, rows[0]), _lists(rows))
    else:
        connection.execute(table.insert(), list(rows))


def insert_with_ids(
    connection: sa.Connection, table: sa.Table, rows: Sequence[Mapping[str, Any]]
) -> list[int]:
    """Insert *rows* as :func:`insert` does; return their ids in the same order.

    :param connection: in a transaction
    """
    if not rows:
        return []
    dialect = connection.dialect.name
    if dialect == "sqlite":
        # this locks the database, and gets an id above all others, so that the next ones are free
        first = connection.exec_driver_sql(_insert_text(table, rows[0]), tuple(rows[0].values()))
        begin = int(first.lastrowid)
        ids = range(begin, begin + len(rows))
        rest = [{"id": number, **row} for number, row in zip(ids, rows, strict=True)][1:]
        insert(connection, table, rest)
        return list(ids)
    if dialect == "postgresql":
        text = f"{_insert_lists_text(table, rows[0])} RETURNING id"
        # ids are drawn in the order of the rows, but may be returned in another
        return sorted(connection.exec_driver_sql(text, _lists(rows)).scalars())
    ids_of_each = []
    for row in rows:
        key = connection.execute(table.insert(), row).inserted_primary_key
        assert key is not None
        ids_of_each.append(int(key[0]))
    return ids_of_each


def _insert_text(table: sa.Table, row: Mapping[str, Any]) -> str:
    return f"INSERT INTO {table.name} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"


def _insert_lists_text(table: sa.Table, row: Mapping[str, Any]) -> str:
    """Return a text of PostgreSQL that inserts rows, given as a list of values for each column."""
    columns = ", ".join(row)
    lists = ", ".join(
        "%s::integer[]" if isinstance(table.c[name].type, sa.Integer) else "%s::text[]"
        for name in row
    )
    return (
        f"INSERT INTO {table.name} ({columns}) SELECT {columns}"
        f" FROM unnest({lists}) WITH ORDINALITY AS given({columns}, at) ORDER BY at"
    )


def _values(rows: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
    return [tuple(row.values()) for row in rows]


def _lists(rows: Sequence[Mapping[str, Any]]) -> tuple[list[Any], ...]:
    return tuple(map(list, zip(*_values(rows), strict=True)))


def _in(ids: Sequence[int]) -> str:
    return f"IN ({', '.join(str(int(one)) for one in ids)})"


def streamed(
    connection: sa.Connection, query: sa.Select[Any], size: int
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the records of a large result as plain tuples, *size* at a time."""
    cursor = _executed(connection, query)
    while some := cursor.fetchmany(size):
        yield list(some)
    cursor.close()


def streamed_whole_table(
    connection: sa.Connection, query: sa.Select[Any], size: int
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield records as ``streamed`` does, for a query that returns most of a table.

    PostgreSQL's drivers hold a whole result in memory, unless it is fetched from a server-side
    cursor, which lives as long as its transaction.
    """
    if connection.dialect.name != "postgresql":
        yield from streamed(connection, query, size)
        return
    text = query.compile(dialect=connection.dialect, compile_kwargs={"literal_binds": True})
    connection.exec_driver_sql("BEGIN READ ONLY")
    try:
        # plan for all records, not for the first few
        connection.exec_driver_sql("SET LOCAL cursor_tuple_fraction = 1")
        connection.exec_driver_sql(f"DECLARE selfserve NO SCROLL CURSOR FOR {text}")
        while some := _executed(connection, f"FETCH {size} FROM selfserve").fetchall():
            yield some
    finally:
        with contextlib.suppress(sa.exc.SQLAlchemyError):
            connection.exec_driver_sql("ROLLBACK")


def _executed(connection: sa.Connection, query: sa.Select[Any] | str) -> Any:
    """Execute a query and return the driver's cursor."""
    if isinstance(query, str):
        result = connection.exec_driver_sql(query)
    else:
        result = connection.execute(query)
    cursor = result.cursor
    assert cursor is not None
    return cursor


def _prepares(connection: sa.Connection) -> bool:
    # other PostgreSQL drivers prepare statements themselves
    dialect = connection.dialect
    return dialect.driver == "psycopg2" and not getattr(dialect, "selfserve_pooled", False)


def fetched(
    connection: sa.Connection,
    text: str,
    parameters: tuple[Any, ...] | Mapping[str, Any] | None = None,
) -> list[Any]:
    """Return the records of a statement.

    SQLAlchemy takes several times as long to describe a result as SQLite takes to find it, so this
    uses the driver's cursor. On a dead connection, the statement is run again through SQLAlchemy,
    which then knows that it is dead. Nothing else is: it would take as long once more, and in a
    transaction that has failed PostgreSQL would only say that it has.

    :raises sqlalchemy.exc.DBAPIError: as SQLAlchemy would
    """
    pooled = connection.connection.dbapi_connection
    assert pooled is not None
    dialect = connection.dialect
    try:
        with contextlib.closing(pooled.cursor()) as cursor:
            cursor.execute(text, *([] if parameters is None else [parameters]))
            return list(cursor.fetchall())
    except dialect.loaded_dbapi.Error as error:
        if not dialect.is_disconnect(error, pooled, None):
            hidden = connection.engine.hide_parameters
            raise sa.exc.DBAPIError.instance(
                text, parameters, error, dialect.loaded_dbapi.Error, hidden, dialect=dialect
            ) from error
        return [tuple(record) for record in connection.exec_driver_sql(text, parameters)]
