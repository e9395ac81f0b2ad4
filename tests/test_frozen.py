"""A database that stops answering: clients are told so in time, and all is well when it is back."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import databases
from tests.process_master import ProcessMaster

#: Seconds that self-serve waits, and that a client may see on a busy machine.
TIMEOUT, BOUND = 2, 8


@pytest.fixture
def server() -> Iterator[databases.PostgreSQL]:
    with databases.own_postgresql() as running:
        yield running


@pytest.fixture
def master(server: databases.PostgreSQL, tmp_path: Path) -> Iterator[ProcessMaster]:
    db_url = databases.fresh_database(server.url)
    running = ProcessMaster(tmp_path, db_url, f"util.SelfServe(timeout={TIMEOUT})")
    running.start()
    yield running
    running.stop()


def test_a_frozen_database_is_said_to_be_away(
    server: databases.PostgreSQL, master: ProcessMaster
) -> None:
    master.force("fast")
    build = master.until(
        lambda: [row for row in _rows(master) if row.get("endtime")], "something is built"
    )[0]
    with server.frozen():
        for method, path, fields in (
            ("GET", "/self-serve/main", {}),
            ("GET", "/self-serve/branches", {}),
            ("POST", "/self-serve/main/build", {"build_id": build["build_id"]}),
        ):
            begun = time.monotonic()
            status, answer = master.send(method, path, **fields)
            assert status == 503, answer
            assert answer["status"] == "FAILED"
            assert time.monotonic() - begun < BOUND
    master.until(lambda: master.send("GET", "/self-serve/main")[0] == 200, "it reads again")
    assert master.get("/jobs") == []

    def rebuilt() -> bool:
        fields = {"build_id": build["build_id"]}
        return master.send("POST", "/self-serve/main/build", **fields)[0] == 202

    master.until(rebuilt, "it takes job requests again")
    assert [job["status"] for job in master.get("/jobs")] == ["ok"]


def _rows(master: ProcessMaster) -> list[Any]:
    found = master.get("/main")
    return found if isinstance(found, list) else []
