"""A master that is killed in the middle of a job request settles it when it starts again."""

from __future__ import annotations

import contextlib
import json
import socket
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from buildbot_selfserve.model import Ending
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import plan_to_json
from tests.process_master import REVISION
from tests.process_master import SLOW_INSERTS
from tests.process_master import ProcessMaster


def begin_rebuild(master: ProcessMaster, build_id: int, count: int) -> socket.socket:
    """Send a rebuild; return the connection on which its answer would come."""
    return begin(master, "/self-serve/main/build", f"build_id={build_id}&count={count}")


def begin(master: ProcessMaster, path: str, body: str) -> socket.socket:
    """Send a POST; return the connection on which its answer would come."""
    connection = socket.create_connection(("127.0.0.1", master.port))
    connection.sendall(
        (
            f"POST {path} HTTP/1.1\r\nHost: x\r\n"
            "Authorization: Basic YWRhOmFuYWx5dGljYWw=\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
    )
    return connection


def rows(master: ProcessMaster) -> list[Any]:
    found = master.get(f"/main/rev/{REVISION}")
    return found if isinstance(found, list) else []


def builds(master: ProcessMaster) -> list[Any]:
    return [row for row in rows(master) if "build_id" in row]


def ended(master: ProcessMaster) -> list[Any]:
    return [row for row in rows(master) if row.get("endtime")]


def settled_jobs(master: ProcessMaster) -> list[Any]:
    jobs = master.get("/jobs")
    return (
        jobs if isinstance(jobs, list) and all(job["status"] != "running" for job in jobs) else []
    )


#: So many builds take a while, when each few of them are inserted after a pause.
COUNT = 40


@pytest.fixture
def slow_master(tmp_path: Path) -> Iterator[ProcessMaster]:
    """A master that takes its time for many builds."""
    master = ProcessMaster(tmp_path, more=SLOW_INSERTS)
    master.start()
    yield master
    master.stop()


def test_a_rebuild_that_was_cut_short_is_ended(slow_master: ProcessMaster) -> None:
    slow_master.force("fast")
    build = slow_master.until(lambda: ended(slow_master), "something is built")[0]
    with begin_rebuild(slow_master, build["build_id"], COUNT):
        # in the middle: some are made, and the journal's row is open
        slow_master.until(lambda: len(rows(slow_master)) > 3, "some builds are made")
        (job,) = slow_master.get("/jobs")
        assert job["status"] == "running"
        slow_master.kill()
    with contextlib.closing(sqlite3.connect(slow_master.folder / "state.sqlite")) as database:
        ((made_before,),) = database.execute("SELECT count(*) - 1 FROM buildrequests")
    assert 3 <= made_before < COUNT
    slow_master.start()
    (job,) = slow_master.until(lambda: settled_jobs(slow_master), "the job is settled")
    assert job["status"] == "ok"
    assert job["complete_data"]["body"]["msg"] == f"{COUNT} builds requested"
    made = [one["request_id"] for one in job["complete_data"]["body"]["requests"]]
    assert len(set(made)) == COUNT
    slow_master.until(
        lambda: all(row.get("endtime") for row in rows(slow_master)),
        "all that was made is built",
    )
    found = {
        row["requests"][0]["request_id"] if "requests" in row else row["request_id"]
        for row in rows(slow_master)
    }
    assert found == {build["requests"][0]["request_id"], *made}


def changes_of(master: ProcessMaster, revision: str) -> int:
    with contextlib.closing(sqlite3.connect(master.folder / "state.sqlite")) as database:
        query = "SELECT count(*) FROM changes WHERE revision = ?"
        ((number,),) = database.execute(query, (revision,))
    return int(number)


def test_a_change_that_was_recorded_before_the_first_build_is_told_of(
    slow_master: ProcessMaster,
) -> None:
    slow_master.force("fast")
    slow_master.until(lambda: ended(slow_master), "something is built")
    revision = "d" * 40
    head = f"/main/rev/{revision}"
    with begin(slow_master, f"/self-serve{head}", "priority=1"):
        slow_master.until(lambda: changes_of(slow_master, revision), "a change is recorded")
        slow_master.kill()
    slow_master.start()
    (job,) = slow_master.until(lambda: settled_jobs(slow_master), "the job is settled")
    assert job["status"] == "failed"
    body = job["complete_data"]["body"]
    assert body["msg"] == "Interrupted: 1 change recorded, no builds requested"
    assert (body["requests"], changes_of(slow_master, revision)) == ([], 1)


def left_open(master: ProcessMaster, request_id: int, plan: str | None) -> None:
    """Leave a row as of a life that was killed before anything was done."""
    what = json.dumps({"brid": request_id})
    with contextlib.closing(sqlite3.connect(master.folder / "state.sqlite")) as database:
        database.execute(
            "INSERT INTO selfserve_jobs (action, who, via, remote, branch, submitted_at, what,"
            " status, masterid, incarnation, plan) VALUES ('cancel_request', 'ada', 'basic', '',"
            " 'main', 1, ?, 'running', 1, 'an earlier life', ?)",
            (what, plan),
        )
        database.commit()


def test_a_cancel_that_was_cut_short_is_told_truly(process_master: ProcessMaster) -> None:
    process_master.force("slow")
    row = process_master.until(lambda: builds(process_master), "it runs")[0]
    request_id = row["requests"][0]["request_id"]
    process_master.kill()
    plan = Plan(endings=(Ending(request_id, "slow", running=True, build_ids=(row["build_id"],)),))
    for text in (None, plan_to_json(plan)):
        left_open(process_master, request_id, text)
    process_master.start()
    planned, unplanned = process_master.until(
        lambda: settled_jobs(process_master), "the jobs are settled"
    )
    assert {job["status"] for job in (planned, unplanned)} == {"failed"}
    assert unplanned["complete_data"]["body"]["msg"] == "Interrupted: nothing was done"
    assert unplanned["complete_data"]["body"]["requests"] == []
    (outcome,) = planned["complete_data"]["body"]["requests"]
    # the build was lost with the master, and the request waits again or runs again
    assert (outcome["request_id"], outcome["outcome"]) == (request_id, "failed")
