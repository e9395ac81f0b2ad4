"""A master that is killed in the middle of a job request settles it when it starts again."""

from __future__ import annotations

import socket
import sqlite3
from typing import Any

from tests.process_master import REVISION
from tests.process_master import ProcessMaster


def begin_rebuild(master: ProcessMaster, build_id: int, count: int) -> socket.socket:
    """Send a rebuild; return the connection on which its answer would come."""
    body = f"build_id={build_id}&count={count}"
    connection = socket.create_connection(("127.0.0.1", master.port))
    connection.sendall(
        (
            "POST /self-serve/main/build HTTP/1.1\r\nHost: x\r\n"
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


def test_a_rebuild_that_was_cut_short_is_told_truly(process_master: ProcessMaster) -> None:
    process_master.force("fast")
    build = process_master.until(lambda: ended(process_master), "something is built")[0]
    with begin_rebuild(process_master, build["build_id"], 100):
        # in the middle: some are made, and the journal's row is open
        process_master.until(lambda: len(rows(process_master)) > 3, "some builds are made")
        (job,) = process_master.get("/jobs")
        assert job["status"] == "running"
        process_master.kill()
    process_master.start()
    (job,) = process_master.until(lambda: settled_jobs(process_master), "the job is settled")
    made = [one["request_id"] for one in job["complete_data"]["body"]["requests"]]
    found = rows(process_master)
    assert 3 < len(made) < 100
    assert {
        row["requests"][0]["request_id"] if "requests" in row else row["request_id"]
        for row in found
    } == {
        build["requests"][0]["request_id"],
        *made,
    }
    assert job["status"] == "failed"
    assert job["complete_data"]["body"]["msg"] == f"{len(made)} of 100 builds requested"
    process_master.until(
        lambda: all(row.get("endtime") for row in rows(process_master)),
        "all that was made is built",
    )


def test_a_cancel_that_was_cut_short_is_told_truly(process_master: ProcessMaster) -> None:
    process_master.force("slow")
    row = process_master.until(lambda: builds(process_master), "it runs")[0]
    request_id = row["requests"][0]["request_id"]
    process_master.kill()
    # as if it had been killed after the row was written and before anything was done

    with sqlite3.connect(process_master.folder / "state.sqlite") as database:
        database.execute(
            "INSERT INTO selfserve_jobs (action, who, via, remote, branch, submitted_at, what,"
            " status, masterid, incarnation) VALUES ('cancel_request', 'ada', 'basic', '', 'main',"
            f" 1, '{{\"brid\": {request_id}}}', 'running', 1, 'an earlier life')"
        )
    process_master.start()
    (job,) = process_master.until(lambda: settled_jobs(process_master), "the job is settled")
    assert job["status"] == "failed"
    (outcome,) = job["complete_data"]["body"]["requests"]
    # the build was lost with the master, and the request waits again or runs again
    assert (outcome["request_id"], outcome["outcome"]) == (request_id, "failed")
