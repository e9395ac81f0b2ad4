"""An SQLite file tells whether it was written to."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from buildbot_selfserve.versions.file import FileVersion


@pytest.fixture(params=["wal", "delete"])
def writer(request: Any, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Write to a file, in one of SQLite's two ways to keep a journal."""
    connection = sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)
    with closing(connection):
        connection.execute(f"PRAGMA journal_mode = {request.param}")
        connection.execute("CREATE TABLE builds (id INTEGER)")
        yield connection


def opened(tmp_path: Path) -> FileVersion:
    return FileVersion(sa.URL.create("sqlite", database=str(tmp_path / "state.sqlite")))


def test_each_commit_makes_another_version(writer: sqlite3.Connection, tmp_path: Path) -> None:
    version = opened(tmp_path)
    seen = {None, version.now()}
    for _ in range(3):
        before = version.now()
        assert version.now() == before is not None
        writer.execute("INSERT INTO builds VALUES (1)")
        assert version.now() not in seen
        seen.add(version.now())
        writer.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        seen.add(version.now())
    version.close()
    assert version.now() is None


def test_what_is_not_committed_makes_none(writer: sqlite3.Connection, tmp_path: Path) -> None:
    version = opened(tmp_path)
    before = version.now()
    writer.execute("BEGIN")
    writer.execute("INSERT INTO builds VALUES (1)")
    assert version.now() == before
    writer.execute("ROLLBACK")
    assert version.now() == before
    version.close()


def test_two_that_were_opened_have_no_version_in_common(
    writer: sqlite3.Connection, tmp_path: Path
) -> None:
    seen = set()
    for _ in range(3):
        version = opened(tmp_path)
        seen.add(version.now())
        version.close()
    assert len(seen) == 3


def test_it_waits_for_nothing(tmp_path: Path) -> None:
    """Without a write-ahead log, a writer keeps readers out while it commits."""
    with closing(sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)) as writer:
        writer.execute("CREATE TABLE builds (id INTEGER)")
        version = opened(tmp_path)
        before = version.now()
        writer.execute("BEGIN EXCLUSIVE")
        assert version.now() is None
        writer.execute("ROLLBACK")
        assert version.now() == before
        version.close()


def test_a_file_that_is_not_there_has_none(tmp_path: Path) -> None:
    version = opened(tmp_path)
    assert version.now() is None
    version.close()
