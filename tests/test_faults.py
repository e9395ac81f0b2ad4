"""A database that fails before, during and after job requests: nothing is lost, nothing twice."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import Future
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests import databases
from tests.process_master import REVISION
from tests.process_master import ProcessMaster

#: Seconds that self-serve takes, and that a client may see on a busy machine.
TIMEOUT, BOUND = 2, 8
#: So many times a build is asked for again: enough to be caught in the middle.
COUNT = 40

#: A builder that builds, in no time, while there is a file ``go``: a build that is under way when
#: the database goes is Buildbot's own affair. One that never builds. And one whose builds mind no
#: stop until there is a file ``hear``, and ask the database nothing meanwhile.
MORE = """
import os
from buildbot.plugins import worker
from buildbot.process.buildstep import BuildStep
from twisted.internet import reactor, task
class Deaf(BuildStep):
    name = "deaf"
    async def run(self):
        while not os.path.exists("hear"):
            await task.deferLater(reactor, 0.05)
        return 0
    async def interrupt(self, reason):
        pass
c["workers"] += [worker.LocalWorker("idle"), worker.LocalWorker("deaf")]
c["builders"] = [
    util.BuilderConfig(name="fast", workernames=["worker"], factory=util.BuildFactory(),
                       canStartBuild=lambda *arguments: os.path.exists("go")),
    util.BuilderConfig(name="slow", workernames=["idle"], factory=util.BuildFactory(),
                       canStartBuild=lambda *arguments: False),
    util.BuilderConfig(name="deaf", workernames=["deaf"], factory=util.BuildFactory([Deaf()])),
]
c["schedulers"] = [one for one in c["schedulers"] if one.name == "force"]
c["schedulers"][0].builderNames.append("deaf")
"""


class Place:
    """A master on a PostgreSQL server that can be made to fail."""

    def __init__(self, server: databases.PostgreSQL, master: ProcessMaster, db_url: str) -> None:
        self.server = server
        self.master = master
        self.db_url = db_url

    def fault(self, name: str) -> contextlib.AbstractContextManager[None]:
        if name == "locked":
            return self.server.locked(self.db_url, "buildrequests")
        made: contextlib.AbstractContextManager[None] = getattr(self.server, name)()
        return made

    def query(self, text: str) -> list[Any]:
        """Ask the database itself."""
        engine = sa.create_engine(self.db_url)
        with engine.connect() as connection:
            found = list(connection.exec_driver_sql(text))
        engine.dispose()
        return found

    def newest(self) -> int:
        """Return the id of the newest buildset."""
        return int(self.query("SELECT coalesce(max(id), 0) FROM buildsets")[0][0])

    def made_by(self, job_id: int) -> set[int]:
        """Return the requests that carry the mark of a job."""
        return {
            row.id
            for row in self.query(
                "SELECT r.id FROM buildrequests r JOIN buildset_properties p"
                " ON p.buildsetid = r.buildsetid WHERE p.property_name = 'selfserve_job'"
                f" AND p.property_value = '[{job_id}, \"Self-serve\"]'"
            )
        }

    def send(self, key: str, **fields: Any) -> tuple[int, Any]:
        """Ask for builds; the answer comes in time, and is one that may be."""
        begun = time.monotonic()
        status, answer = self.master.send("POST", "/self-serve/main/build", key=key, **fields)
        assert time.monotonic() - begun < BOUND
        assert status in (202, 503), answer
        return status, answer

    def settled(self) -> list[Any]:
        """Wait until the master serves again and no row of the journal is open; return them."""

        def jobs() -> Any:
            status, answer = self.master.send("GET", "/self-serve/jobs?num=1000")
            closed = status == 200 and all(job["status"] != "running" for job in answer)
            return (answer,) if closed else None

        (found,) = self.master.until(jobs, "every row of the journal is closed")
        return list(found)

    @property
    def go(self) -> Path:
        return self.master.folder / "go"

    def all_built(self) -> None:
        """Let it build, and wait until nothing that can be built is pending or running."""
        self.go.touch()
        self.master.force("fast")  # as any push would, it makes the builder look
        open_ones = (
            "SELECT r.id FROM buildrequests r JOIN builders b ON b.id = r.builderid"
            " WHERE r.complete = 0 AND b.name = 'fast'"
        )
        self.master.until(lambda: not self.query(open_ones), "all that was asked for is built")
        self.go.unlink()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with databases.own_postgresql() as server:
        db_url = databases.fresh_database(server.url)
        selfserve = f"util.SelfServe(timeout={TIMEOUT})"
        folder = tmp_path_factory.mktemp("master")
        master = ProcessMaster(folder, db_url, selfserve, MORE)
        master.start()
        place = Place(server, master, db_url)
        try:
            yield place
            # Buildbot's own way down fails on a connection that has died meanwhile
            master.until(lambda: master.send("GET", "/api/v2/masters")[0] == 200, "it is well")
        finally:
            master.stop()


@pytest.fixture(scope="module")
def build_id(place: Place) -> int:
    """A build that has ended."""
    place.all_built()

    def ended() -> Any:
        rows = place.master.get("/main")
        return [row for row in rows if isinstance(row, dict) and row.get("endtime")]

    return int(place.master.until(ended, "something is built")[0]["build_id"])


def heavy(fault: str) -> Any:
    """Return a parameter for CI: the others are tried in each run."""
    return pytest.param(fault, marks=pytest.mark.heavy)


@pytest.mark.parametrize("fault", ["stopped", heavy("restarted"), "frozen", "locked"])
@pytest.mark.parametrize("when", [heavy("before"), "during", heavy("after")])
def test_every_build_is_there_once_and_the_journal_knows_it(
    place: Place, build_id: int, fault: str, when: str
) -> None:
    fields = {"build_id": build_id, "count": COUNT}
    key = f"{when} it was {fault}"
    known = {job["job_id"] for job in place.settled()}
    if when == "before":
        with place.fault(fault):
            status, answer = place.send(key, **fields)
        assert fault == "restarted" or status == 503, answer
    elif when == "during":
        status, answer = _interrupted(place, fault, key, fields)
    else:
        # on a busy machine the first answer may be that it goes on
        status, answer = place.master.until(
            lambda: next((one for one in [place.send(key, **fields)] if one[0] == 202), None),
            "it is done",
        )
        with place.fault(fault):
            time.sleep(0.5)
    if status == 503:
        assert answer["status"] == "FAILED"
    # sent again until it is answered, it is done once
    _, receipt = place.master.until(
        lambda: next((one for one in [place.send(key, **fields)] if one[0] == 202), None),
        "it is answered when all is well",
    )
    jobs = {job["job_id"]: job for job in place.settled() if job["job_id"] not in known}
    assert receipt["job_id"] in jobs
    for job_id, job in jobs.items():
        told = {one["request_id"] for one in job["complete_data"]["body"]["requests"]}
        assert told == place.made_by(job_id)
        assert len(told) <= COUNT
        # whatever did something is what the key stands for
        assert not told or job_id == receipt["job_id"]
    assert {one["request_id"] for one in receipt["requests"]} == place.made_by(receipt["job_id"])
    assert receipt["requests"]
    if when != "during":
        assert len(receipt["requests"]) == COUNT
    place.all_built()


def _interrupted(
    place: Place, fault: str, key: str, fields: dict[str, int]
) -> tuple[int, dict[str, Any]]:
    """Let the database fail when some of the builds are there; return the answer."""
    before = place.newest()
    with ThreadPoolExecutor(1) as pool:
        sent: Future[tuple[int, Any]] = pool.submit(place.send, key, **fields)
        engine = sa.create_engine(place.db_url)
        with engine.connect() as connection:
            while not sent.done():
                found = connection.exec_driver_sql("SELECT max(id) FROM buildsets").scalar_one()
                connection.rollback()
                if found > before + 2:
                    break
        engine.dispose()
        with place.fault(fault):
            return sent.result()


@pytest.mark.parametrize("fault", ["stopped", "frozen", heavy("locked")])
def test_what_waits_is_cancelled_when_the_database_is_back(place: Place, fault: str) -> None:
    waiting = {place.master.force("slow") for _ in range(3)}
    path = f"/self-serve/main/rev/{REVISION}"
    place.settled()
    with place.fault(fault):
        begun = time.monotonic()
        status, answer = place.master.send("DELETE", path)
        assert time.monotonic() - begun < BOUND
        assert status == 503, answer
    place.settled()

    def cancelled() -> Any:
        status, answer = place.master.send("DELETE", path)
        return (answer,) if status == 202 else None

    (receipt,) = place.master.until(cancelled, "it takes job requests again")
    # forcing collapses, so that only some of them still waited
    ended = {one["request_id"] for one in receipt["requests"]}
    assert ended <= waiting
    ids = ", ".join(map(str, waiting))
    rows = place.query(f"SELECT id, complete, results FROM buildrequests WHERE id IN ({ids})")
    assert {(row.complete, row.results) for row in rows} <= {(1, 6), (1, 3)}
    assert [row.id for row in rows if row.results == 6]
    place.settled()


@pytest.mark.parametrize("fault", [heavy("restarted"), "stopped", "frozen"])
def test_what_was_told_to_stop_is_followed_to_its_end(place: Place, fault: str) -> None:
    request_id = place.master.force("deaf")
    builds = f"SELECT id, results FROM builds WHERE buildrequestid = {request_id}"
    steps = f"SELECT 1 FROM steps s JOIN ({builds}) b ON b.id = s.buildid WHERE s.name = 'deaf'"
    place.master.until(lambda: place.query(steps), "its step runs")
    path, told = f"/self-serve/main/request/{request_id}", "stopping build"
    stops = place.master.log.count(told)
    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(place.master.send, "DELETE", path)
        place.master.until(lambda: place.master.log.count(told) > stops, "it is told to stop")
        with place.fault(fault):
            status, answer = sent.result()
    # whatever it says, it does not say that nothing was done
    job_id = answer["job_id"]
    assert status == 503 or answer["requests"][0]["outcome"] == "stop_sent", answer
    assert "not cancelled" not in answer["msg"]
    (job,) = [one for one in place.settled() if one["job_id"] == job_id]
    assert job["complete_data"]["body"]["requests"][0]["outcome"] == "stop_sent"
    hear = place.master.folder / "hear"
    hear.touch()

    def ended() -> bool:
        body = place.master.get(f"/jobs/{job_id}")["complete_data"]["body"]
        return bool(body["requests"][0]["outcome"] == "stopped")

    place.master.until(ended, "the journal tells how it ended")
    hear.unlink()
    assert [row.results for row in place.query(builds)] == [6]


def test_a_commit_that_nobody_confirmed_leaves_no_row_open(place: Place, build_id: int) -> None:
    fields = {"build_id": build_id}
    known = {job["job_id"] for job in place.settled()}
    with place.fault("unconfirmed"):
        status, answer = place.send("unconfirmed", **fields)
        assert status == 503, answer
    place.master.until(
        lambda: place.send("unconfirmed", **fields)[0] == 202, "it takes job requests again"
    )
    jobs = {job["job_id"]: job for job in place.settled() if job["job_id"] not in known}
    for job_id, job in jobs.items():
        told = {one["request_id"] for one in job["complete_data"]["body"]["requests"]}
        assert told == place.made_by(job_id)
    assert sum(len(place.made_by(job_id)) for job_id in jobs) == 1
    place.all_built()
