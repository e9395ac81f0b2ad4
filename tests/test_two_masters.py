"""Two masters that share a database and a message router: one acts on what the other builds.

Job requests are made at the front, which builds nothing that matters; all that they are about is
built by the back. What came of them is looked up in Buildbot's own REST API of the back.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import sqlalchemy as sa

from tests import crossbar
from tests import databases
from tests.process_master import REVISION
from tests.process_master import ProcessMaster

SUCCESS, CANCELLED = 0, 6
AT = f"/self-serve/main/rev/{REVISION}"

SELFSERVE = """util.SelfServe(
    branches=[util.SelfServeBranch("main", sets={"nightly": ["fast"]})])"""
#: One address for both, as behind a proxy.
BOTH = """
from buildbot.plugins import worker
c["multiMaster"] = True
c["mq"] = {{"type": "wamp", "router_url": {router!r}, "realm": {realm!r}}}
c["buildbotURL"] = "http://127.0.0.1/"
"""
#: A scheduler of the same name is at the back, too: Buildbot lets one of the two be active.
FRONT = """
c["workers"] = [worker.LocalWorker("elsewhere")]
c["builders"] = [util.BuilderConfig(
    name="elsewhere", workernames=["elsewhere"], factory=util.BuildFactory())]
c["schedulers"] = [schedulers.AnyBranchScheduler(name="any", builderNames=["fast"])]
"""
#: While one build runs, everything else waits.
BACK = """
c["workers"] = [worker.LocalWorker("worker", max_builds=1)]
"""


@pytest.fixture(scope="module")
def router() -> Iterator[str]:
    if not crossbar.is_installed():
        # in CI nothing may be left out
        assert not os.environ.get("CI"), crossbar.MISSING
        pytest.skip(f"{crossbar.MISSING}: nothing was tried with two masters")
    with crossbar.router() as url:
        yield url


@pytest.fixture(scope="module")
def shared(postgresql: sa.URL) -> str:
    """The URL of the database of both."""
    return databases.fresh_database(postgresql)


@pytest.fixture(scope="module")
def masters(
    router: str, shared: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ProcessMaster, ProcessMaster]]:
    """The front and the back, when each hears what the other says."""
    both = BOTH.format(router=router, realm=crossbar.REALM)
    front, back = (
        ProcessMaster(tmp_path_factory.mktemp(name), shared, SELFSERVE, both + more)
        for name, more in (("front", FRONT), ("back", BACK))
    )
    with contextlib.ExitStack() as stack:
        for one in (back, front):
            stack.callback(one.stop)
            one.start()
        until_heard(front, back, "worker")
        until_heard(back, front, "elsewhere")
        yield front, back


def until_heard(speaker: ProcessMaster, hearer: ProcessMaster, worker: str) -> None:
    """Wait until events flow: *speaker* can pause a worker of *hearer*, and let it work again.

    Of what a master listens to, its workers come last.
    """

    def becomes(method: str, paused: bool) -> bool:
        (found,) = hearer.data(f"workers?name={worker}")["workers"]
        if found["paused"] != paused:
            # what nobody listens to yet is lost
            speaker.control(f"workers/{found['workerid']}", method)
        return bool(found["paused"] == paused)

    hearer.until(lambda: hearer.data(f"workers?name={worker}")["workers"], f"{worker} is there")
    hearer.until(lambda: becomes("pause", True), f"{worker} is paused")
    hearer.until(lambda: becomes("unpause", False), f"{worker} works again")


@pytest.fixture
def front(masters: tuple[ProcessMaster, ProcessMaster]) -> ProcessMaster:
    return masters[0]


@pytest.fixture
def back(masters: tuple[ProcessMaster, ProcessMaster]) -> ProcessMaster:
    return masters[1]


@pytest.fixture(scope="module")
def built(masters: tuple[ProcessMaster, ProcessMaster]) -> Any:
    """A build that the back has finished."""
    _, back = masters
    request_id = back.force("fast")
    completed(back, request_id)
    return builds(back, request_id)[0]


@pytest.fixture
def running(back: ProcessMaster) -> Iterator[int]:
    """The id of a request that the back is building, so that nothing else is built there."""
    request_id = back.force("slow")
    back.until(
        lambda: [one for one in builds(back, request_id) if one["state_string"] != "created"],
        "it runs",
    )
    yield request_id
    ask(back, "DELETE", f"/self-serve/main/request/{request_id}")
    completed(back, request_id)


def ask(master: ProcessMaster, method: str, path: str, **fields: Any) -> Any:
    """Make a job request; return its receipt."""
    status, receipt = master.send(method, path, **fields)
    assert status == 202, receipt
    return receipt


def outcomes(receipt: Any) -> dict[int, str]:
    return {one["request_id"]: one["outcome"] for one in receipt["requests"]}


def request(master: ProcessMaster, request_id: int) -> Any:
    return master.data(f"buildrequests/{request_id}")["buildrequests"][0]


def builds(master: ProcessMaster, request_id: int) -> Any:
    return master.data(f"buildrequests/{request_id}/builds")["builds"]


def completed(master: ProcessMaster, request_id: int) -> Any:
    """Wait until a request is complete; return it."""
    master.until(lambda: request(master, request_id)["complete"], f"{request_id} is complete")
    return request(master, request_id)


def id_of(master: ProcessMaster) -> int:
    """Return the id under which the database knows *master*."""
    every = master.data("masters")["masters"]
    (found,) = (one for one in every if one["name"].endswith(f":{master.folder}"))
    return int(found["masterid"])


def was_built_by(back: ProcessMaster, receipt: Any) -> None:
    """Check that what was asked for is built, and where."""
    (request_id,) = outcomes(receipt)
    assert outcomes(receipt) == {request_id: "created"}
    found = completed(back, request_id)
    (build,) = builds(back, request_id)
    assert (found["results"], build["results"]) == (SUCCESS, SUCCESS)
    assert (found["claimed_by_masterid"], build["masterid"]) == (id_of(back), id_of(back))
    (builder,) = back.data(f"builders/{build['builderid']}")["builders"]
    assert builder["name"] == "fast"


def test_what_the_other_has_built_is_built_again_there(
    front: ProcessMaster, back: ProcessMaster, built: Any
) -> None:
    build_id, request_id = built["buildid"], built["buildrequestid"]
    was_built_by(back, ask(front, "POST", "/self-serve/main/build", build_id=build_id))
    was_built_by(back, ask(front, "POST", "/self-serve/main/request", request_id=request_id))


@pytest.mark.parametrize(
    "path", [f"/self-serve/main/builders/fast/{REVISION}", f"{AT}/nightly", AT]
)
def test_what_is_asked_for_anew_is_built_by_the_other(
    front: ProcessMaster, back: ProcessMaster, built: Any, path: str
) -> None:
    was_built_by(back, ask(front, "POST", path))


def test_what_waits_for_the_other_is_built_sooner(
    front: ProcessMaster, back: ProcessMaster, built: Any, running: int
) -> None:
    build_id = built["buildid"]
    first, second = outcomes(
        ask(front, "POST", "/self-serve/main/build", build_id=build_id, count=2)
    )
    receipt = ask(front, "PUT", f"/self-serve/main/request/{second}", priority=5)
    assert outcomes(receipt) == {second: "reprioritized"}
    assert [request(back, one)["priority"] for one in (first, second)] == [0, 5]
    ask(front, "DELETE", f"/self-serve/main/request/{running}")
    assert completed(back, first)["results"] == completed(back, second)["results"] == SUCCESS
    assert builds(back, second)[0]["buildid"] < builds(back, first)[0]["buildid"]


def test_what_waits_for_the_other_is_cancelled(
    front: ProcessMaster, back: ProcessMaster, running: int
) -> None:
    waiting = back.force("fast")
    receipt = ask(front, "DELETE", f"/self-serve/main/request/{waiting}")
    assert outcomes(receipt) == {waiting: "cancelled"}
    found = request(back, waiting)
    assert (found["complete"], found["results"]) == (True, CANCELLED)
    assert found["claimed_by_masterid"] == id_of(front)
    # the other goes on as if nothing had been there
    ask(front, "DELETE", f"/self-serve/main/request/{running}")
    assert completed(back, back.force("fast"))["results"] == SUCCESS
    assert builds(back, waiting) == []


def test_what_the_other_builds_is_stopped(
    front: ProcessMaster, back: ProcessMaster, running: int
) -> None:
    (build,) = builds(back, running)
    receipt = ask(front, "DELETE", f"/self-serve/main/build/{build['buildid']}")
    assert outcomes(receipt) == {running: "stopped"}
    found, (build,) = request(back, running), builds(back, running)
    assert (found["complete"], found["results"]) == (True, CANCELLED)
    assert (build["complete"], build["results"]) == (True, CANCELLED)
    assert (found["claimed_by_masterid"], build["masterid"]) == (id_of(back), id_of(back))
    # its worker is free
    assert completed(back, back.force("fast"))["results"] == SUCCESS


def test_a_revision_is_cancelled_whoever_builds_it(
    front: ProcessMaster, back: ProcessMaster, running: int
) -> None:
    waiting = back.force("fast")
    receipt = ask(front, "DELETE", AT)
    assert outcomes(receipt) == {waiting: "cancelled", running: "stopped"}
    for one in (waiting, running):
        found = request(back, one)
        assert (found["complete"], found["results"]) == (True, CANCELLED)
    assert builds(back, waiting) == []


def test_what_is_sent_to_both_with_one_key_is_done_once(
    front: ProcessMaster, back: ProcessMaster, built: Any
) -> None:
    def every() -> set[int]:
        found = back.data("buildrequests?field=buildrequestid")["buildrequests"]
        return {one["buildrequestid"] for one in found}

    before, path = every(), "/self-serve/main/build"
    fields = {"key": "one of both", "build_id": built["buildid"]}
    with ThreadPoolExecutor() as pool:
        sent = [
            pool.submit(ask, master, "POST", path, count=2, **fields)
            for master in (front, back, front, back)
        ]
    first, *others = [one.result() for one in sent]
    assert others == [first] * 3
    assert every() - before == set(outcomes(first))
    assert len(outcomes(first)) == 2
    for master in (front, back):
        status, answer = master.send("POST", path, count=3, **fields)
        assert (status, answer["msg"]) == (
            422,
            f"This Idempotency-Key belongs to job {first['job_id']}",
        )
    for request_id in outcomes(first):
        assert completed(back, request_id)["results"] == SUCCESS


def test_both_tell_the_same(
    front: ProcessMaster, back: ProcessMaster, built: Any, shared: str
) -> None:
    asked = {
        master: ask(master, "POST", "/self-serve/main/build", build_id=built["buildid"])
        for master in (front, back)
    }
    for receipt in asked.values():
        was_built_by(back, receipt)
    journal = front.get("/jobs")
    assert {one["job_id"] for one in journal} >= {one["job_id"] for one in asked.values()}
    assert {one["status"] for one in journal} == {"ok"}
    paths = ("/jobs", f"/main/rev/{REVISION}", "/main", "/main/builders", "/branches")
    for path in (*paths, f"/main/new?revision={REVISION}"):
        assert front.get(path) == back.get(path)
    (name,) = {one["claimed_by_name"] for one in front.get("/main") if "build_id" in one}
    assert name.endswith(f":{back.folder}")
    engine = sa.create_engine(shared)
    with engine.connect() as connection:
        rows = connection.exec_driver_sql("SELECT id, masterid FROM selfserve_jobs").fetchall()
    engine.dispose()
    did = {row.id: row.masterid for row in rows}
    for master, receipt in asked.items():
        assert did[receipt["job_id"]] == id_of(master)
