"""Compares texts in a database byte by byte, as SQLite and PostgreSQL always do."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import mysql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class _BinaryCollation(FunctionElement[Any]):
    inherit_cache = True


def binary_collation(
    column: sa.ColumnElement[str], text: str | sa.ColumnElement[str]
) -> sa.ColumnElement[Any]:
    """Return the condition that *column* is *text*, character by character.

    MariaDB and MySQL compare without case, accents and blanks at the end.
    """
    return _BinaryCollation(column, text)


@compiles(_BinaryCollation)
def _plain(element: _BinaryCollation, compiler: SQLCompiler, **more: Any) -> str:
    column, text = element.clauses
    return compiler.process(column == text, **more)


@compiles(_BinaryCollation, "mysql", "mariadb")
def _bytes_too(element: _BinaryCollation, compiler: SQLCompiler, **more: Any) -> str:
    column, text = element.clauses
    # the first for indexes, the second for its bytes
    return compiler.process(sa.and_(column == text, _bytes(column) == _bytes(text)), **more)


def _bytes(text: sa.ColumnElement[Any]) -> sa.ColumnElement[bytes]:
    # not by a collation: which one a text can have depends on its encoding, which is the operator's
    return sa.cast(sa.cast(text, mysql.CHAR(charset="utf8mb4")), sa.LargeBinary)
