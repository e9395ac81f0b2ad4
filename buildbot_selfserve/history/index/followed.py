"""Reads the tables that the index follows: all of a table once, and then its new rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from buildbot_selfserve import statements
from buildbot_selfserve.history.index import queries
from buildbot_selfserve.history.index.cursor import Wanted
from buildbot_selfserve.history.index.records import Record
from buildbot_selfserve.history.index.records import one_for_each
from buildbot_selfserve.history.index.records import together
from buildbot_selfserve.statements import BoundStatement
from buildbot_selfserve.statements import Statement

#: The number of records taken at a time.
AT_A_TIME = 10_000
#: So many new records are read with a statement that is prepared: nearly always, all of them.
FEW = 1000


class _Among(sa.ColumnElement[bool]):
    """Whether a column has one of a few values.

    PostgreSQL plans for a list to look up each. To whatever else means the same, it prefers reading
    the whole tables that are joined, because it cannot know how few rows it will be.
    """

    inherit_cache = False  # it is compiled once

    def __init__(self, column: sa.Column[int], values: sa.Select[Any]) -> None:
        self.column = column
        self.values = values


@compiles(_Among)
def _in(element: _Among, compiler: SQLCompiler, **more: Any) -> str:
    return f"{compiler.process(element.column)} IN ({compiler.process(element.values)})"


@compiles(_Among, "postgresql")
def _in_list(element: _Among, compiler: SQLCompiler, **more: Any) -> str:
    return f"{compiler.process(element.column)} = ANY(ARRAY({compiler.process(element.values)}))"


@compiles(_Among, "mysql", "mariadb")
def _in_table(element: _Among, compiler: SQLCompiler, **more: Any) -> str:
    # these have no LIMIT within IN
    some = f"SELECT * FROM ({compiler.process(element.values)}) AS few"
    return f"{compiler.process(element.column)} IN ({some})"


class Followed:
    """A table that is followed.

    :param name: of its cursor
    :param query: returns its records, each with its id in the first column
    :param column: the column of its ids
    :param has_several: a row may have several records, which differ in the last column
    """

    def __init__(
        self, name: str, query: sa.Select[Any], column: sa.Column[int], has_several: bool = False
    ) -> None:
        self.name = name
        self._query = query.order_by(column)
        self._column = column
        self._has_several = has_several
        since = sa.select(column).where(column >= sa.bindparam("since", type_=sa.Integer))
        few = since.order_by(column).limit(sa.literal_column(str(FEW))).correlate(None)
        self._few = BoundStatement(self._query.where(_Among(column, few)))
        self._listed = Statement(query, column)

    def all(self, connection: sa.Connection) -> Iterator[list[Record]]:
        """Yield the records of all rows in parts, ordered by id and one for each row."""
        parts = statements.streamed_whole_table(connection, self._query, AT_A_TIME)
        return together(parts) if self._has_several else parts

    def new(self, connection: sa.Connection, wanted: Wanted) -> list[Record]:
        """Return the records of the rows that are *wanted*, likewise."""
        found = self._few.of(connection, {"since": wanted.since})
        if len(found) >= FEW:  # there may be more
            query = self._query.where(self._column >= wanted.since)
            parts = statements.streamed(connection, query, AT_A_TIME)
            found = list(itertools.chain.from_iterable(parts))
        if wanted.also:
            others = self._listed.of(connection, wanted.also)
            found = sorted([*found, *others], key=itemgetter(0))
        return one_for_each(found) if self._has_several else found


BUILDS = Followed("builds", queries.BUILDS, queries.builds.c.id)
LINKS = Followed("links", queries.LINKS, queries.links.c.id, has_several=True)
CHANGES = Followed("changes", queries.CHANGES, queries.changes.c.changeid, has_several=True)
STAMPS = Followed("stamps", queries.STAMPS, queries.stamps.c.id)
#: In the order in which they are read. A table is read before the tables that it refers to, so that
#: the rows referred to are found in turn. Builds refer to buildsets, which ``LINKS`` covers.
IN_ORDER = (BUILDS, LINKS, CHANGES, STAMPS)
