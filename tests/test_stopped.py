"""A reconfig or a stop in the middle of a job request loses nothing, and does nothing twice."""

from __future__ import annotations

import contextlib
import http.client
import signal
import socket
import subprocess
import time
import urllib.request
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests import PATIENCE
from tests.process_master import REVISION
from tests.process_master import SLOW_INSERTS
from tests.process_master import ProcessMaster

EVERY_DATABASE = "heavy"

COUNT = 40
KEY = "sent again until it is answered"

#: Builds of no steps take little time.
MORE = """
c["builders"][0] = util.BuilderConfig(
    name="fast", workernames=["worker"], factory=util.BuildFactory())
"""
MORE += SLOW_INSERTS


@pytest.fixture
def running(tmp_path: Path, db_url: str) -> Any:
    """A master with a build that has ended."""
    master = ProcessMaster(tmp_path, db_url, more=MORE)
    master.start()
    master.force("fast")
    master.until(lambda: [row for row in rows(master) if row.get("endtime")], "something is built")
    yield master
    master.stop()


def rows(master: ProcessMaster) -> list[Any]:
    found = master.get(f"/main/rev/{REVISION}")
    return found if isinstance(found, list) else []


def is_done(master: ProcessMaster) -> bool:
    return bool(master.get(f"/main/rev/{REVISION}/is_done?stableDelay=0")["job_complete"])


def requests_in(found: list[Any]) -> list[int]:
    """Return the request of each row, a request of several builds several times."""
    return [
        row["requests"][0]["request_id"] if "build_id" in row else row["request_id"]
        for row in found
    ]


def rebuild(master: ProcessMaster) -> tuple[int, Any]:
    fields = {"build_id": 1, "count": COUNT}
    return master.send("POST", "/self-serve/main/build", key=KEY, **fields)


def begin(master: ProcessMaster, pool: ThreadPoolExecutor) -> Future[tuple[int, Any]]:
    """Ask for many builds; return when some of them are made."""
    sent = pool.submit(rebuild, master)
    master.until(lambda: len(rows(master)) > 3 or sent.done(), "some are made")
    assert not sent.done(), "it was over before it could be disturbed"
    return sent


def check_all_is_there_once(master: ProcessMaster, receipt: Any) -> None:
    """Everything that was asked for is built once, and the journal says so."""
    made = [one["request_id"] for one in receipt["requests"]]
    assert len(set(made)) == COUNT
    assert {one["outcome"] for one in receipt["requests"]} == {"created"}
    (job,) = master.get("/jobs")
    assert (job["job_id"], job["status"]) == (receipt["job_id"], "ok")
    master.until(lambda: is_done(master), "all that was made is built", PATIENCE)
    found = [row for row in rows(master) if row["status"] != 5]  # RETRY: it was built again
    assert sorted(requests_in(found)) == [1, *sorted(made)]


def test_a_reconfig_in_the_middle_changes_nothing(running: ProcessMaster) -> None:
    with ThreadPoolExecutor(1) as pool:
        sent = begin(running, pool)
        running.reconfig()
        status, receipt = sent.result()
    assert status == 202, receipt
    running.until(lambda: "configuration update complete" in running.log, "it has reconfigured")
    check_all_is_there_once(running, receipt)


@pytest.mark.parametrize("how", [signal.SIGUSR1, signal.SIGTERM], ids=["clean", "at once"])
def test_a_master_that_stops_in_the_middle_goes_on_when_it_starts_again(
    running: ProcessMaster, how: signal.Signals
) -> None:
    with ThreadPoolExecutor(1) as pool:
        sent = begin(running, pool)
        running.signal(how)
        first = sent.result()
    running.wait()
    assert first[0] in (0, 202, 503), first
    running.start()
    status, receipt = rebuild(running)
    assert status == 202, receipt
    assert first[0] != 202 or first[1] == receipt
    check_all_is_there_once(running, receipt)


def test_a_master_that_stops_keeps_nobody_waiting(process_master: ProcessMaster) -> None:
    process_master.force("slow")
    process_master.until(lambda: rows(process_master), "it is known")
    held = f"/main/rev/{REVISION}/is_done?wait=600"
    url = f"http://127.0.0.1:{process_master.port}/self-serve/main/events"
    with ThreadPoolExecutor() as pool, urllib.request.urlopen(url, timeout=PATIENCE) as stream:
        answer = pool.submit(process_master.send, "GET", f"/self-serve{held}")
        time.sleep(2)
        assert not answer.done()
        begun = time.monotonic()
        process_master.stop()
        assert time.monotonic() - begun < 15
        # told so, or cut off
        assert answer.result()[0] in (503, 0)
        with contextlib.suppress(http.client.IncompleteRead):
            stream.read()  # it has an end
    assert "Traceback" not in process_master.log


def test_a_master_ends_though_the_server_of_its_journal_does_not_answer(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE)
        url = f"postgresql+psycopg2://me@127.0.0.1:{silent.getsockname()[1]}/journal"
        # readers in threads: the journal is the only one that asks its server
        selfserve = f"util.SelfServe(db_url={url!r}, readers=0)"
        master = ProcessMaster(tmp_path, selfserve=selfserve, begin=subprocess.Popen)
        master.begin()
        connection, _ = silent.accept()
        with connection:
            master.until(lambda: "BuildMaster is running" in master.log, "it runs")
            master.signal(signal.SIGUSR1)
            master.wait(PATIENCE / 5)
