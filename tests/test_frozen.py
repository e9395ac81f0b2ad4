"""A database that stops answering: clients are told so in time, and all is well when it is back."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import databases
from tests.process_master import ProcessMaster

#: Seconds that self-serve waits, and that a client may see on a busy machine.
TIMEOUT, BOUND = 2, 8


@pytest.fixture
def master(tmp_path: Path) -> Any:
    with databases.postgresql() as server:
        running = ProcessMaster(
            tmp_path, databases.fresh_database(server), f"util.SelfServe(timeout={TIMEOUT})"
        )
        running.start()
        yield running
        running.stop()


@contextlib.contextmanager
def frozen() -> Iterator[None]:
    """Let no process of the database server that this test has started run."""
    mine = psutil.Process(os.getpid())
    servers = [one for one in _below(mine) if one.name().startswith("postgres")]
    assert servers
    for one in servers:
        one.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        for one in servers:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(signal.SIGCONT)


def _below(process: psutil.Process) -> list[psutil.Process]:
    """Return the server's processes: PostgreSQL has made itself a daemon, so look everywhere."""
    folders = [
        argument
        for one in psutil.process_iter(["cmdline"])
        for argument in one.info["cmdline"] or ()
        if argument.startswith("/") and "/pg-" in argument
    ]
    postmasters = [
        one
        for one in psutil.process_iter(["name", "cmdline"])
        if one.info["name"].startswith("postgres")
        and any(folder in (one.info["cmdline"] or ()) for folder in folders)
    ]
    return [*postmasters, *(child for one in postmasters for child in one.children(recursive=True))]


def test_a_frozen_database_is_said_to_be_away(master: ProcessMaster) -> None:
    master.force("fast")
    build = master.until(
        lambda: [row for row in _rows(master) if row.get("endtime")], "something is built"
    )[0]
    with frozen():
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
