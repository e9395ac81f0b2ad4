"""Two masters that share a database and a message router: one acts on what the other builds.

Job requests are made at either of them, and what they are about is built by the back. What came of
them is looked up in Buildbot's own REST API of the back.
"""

from __future__ import annotations

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests import PATIENCE
from tests import databases
from tests import two_masters
from tests.harness import USER
from tests.harness import outcomes
from tests.process_master import REVISION
from tests.process_master import SLOW_INSERTS
from tests.process_master import ProcessMaster
from tests.test_killed import begin_rebuild

SUCCESS, CANCELLED = 0, 6
AT = f"/self-serve/main/rev/{REVISION}"


@pytest.fixture(scope="module")
def shared(postgresql: sa.URL) -> str:
    """The URL of the database of both."""
    return databases.fresh_database(postgresql)


@pytest.fixture(scope="module")
def masters(
    router: str, shared: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[ProcessMaster, ProcessMaster]]:
    """The front and the back, when each hears what the other says."""
    folders = (tmp_path_factory.mktemp("front"), tmp_path_factory.mktemp("back"))
    with two_masters.running(folders, router, shared) as both:
        yield both


@pytest.fixture
def front(masters: tuple[ProcessMaster, ProcessMaster]) -> ProcessMaster:
    return masters[0]


@pytest.fixture
def back(masters: tuple[ProcessMaster, ProcessMaster]) -> ProcessMaster:
    return masters[1]


@pytest.fixture(params=["front", "back"])
def asked(request: Any, front: ProcessMaster, back: ProcessMaster) -> ProcessMaster:
    """The master that gets the job requests: either will do."""
    return front if request.param == "front" else back


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
    asked: ProcessMaster, back: ProcessMaster, built: Any
) -> None:
    build_id, request_id = built["buildid"], built["buildrequestid"]
    was_built_by(back, ask(asked, "POST", "/self-serve/main/build", build_id=build_id))
    was_built_by(back, ask(asked, "POST", "/self-serve/main/request", request_id=request_id))


@pytest.mark.parametrize(
    "path", [f"/self-serve/main/builders/fast/{REVISION}", f"{AT}/nightly", AT]
)
def test_what_is_asked_for_anew_is_built_by_the_other(
    asked: ProcessMaster, back: ProcessMaster, built: Any, path: str
) -> None:
    was_built_by(back, ask(asked, "POST", path))


def test_what_one_holds_the_other_does_not_start(
    asked: ProcessMaster, front: ProcessMaster, back: ProcessMaster, built: Any
) -> None:
    receipt = ask(
        asked, "PUT", "/self-serve/main/hold", reason="the lab", expires=int(time.time()) + 3600
    )
    # the back is told nothing, it looks
    back.until(lambda: gauge(back, "selfserve_holds") == 1, "the back holds it, too")
    held = back.force("fast")
    told = back.send("GET", f"/self-serve/main/request/{held}/why")[1]["reasons"][0]
    assert (told["code"], told["who"]) == ("held", USER)
    assert receipt["status"] == "OK"
    time.sleep(0.5)
    assert not request(back, held)["claimed"]
    other = front if asked is back else back
    ask(other, "DELETE", "/self-serve/main/hold")
    assert completed(back, held)["results"] == SUCCESS
    front.until(lambda: gauge(front, "selfserve_holds") == 0, "the front holds it no more")


def gauge(master: ProcessMaster, name: str) -> float:
    """Return what the metrics of *master* say."""
    with urllib.request.urlopen(f"http://127.0.0.1:{master.port}/self-serve/metrics") as answer:
        text = answer.read().decode()
    (found,) = re.findall(rf"^{name} ([0-9.]+)$", text, re.MULTILINE)
    return float(found)


def test_what_waits_for_the_other_is_built_sooner(
    asked: ProcessMaster, front: ProcessMaster, back: ProcessMaster, built: Any, running: int
) -> None:
    build_id = built["buildid"]
    first, second = outcomes(
        ask(asked, "POST", "/self-serve/main/build", build_id=build_id, count=2)
    )
    receipt = ask(asked, "PUT", f"/self-serve/main/request/{second}", priority=5)
    assert outcomes(receipt) == {second: "reprioritized"}
    assert [request(back, one)["priority"] for one in (first, second)] == [0, 5]
    # either of them knows who did it
    for master in (front, back):
        job, made = master.get(f"/main/request/{second}")["jobs"]
        assert (job["job_id"], job["action"]) == (receipt["job_id"], "reprioritize")
        assert made["action"] == "rebuild_build"
        found = master.get(f"/jobs?request_id={second}&action=re")
        assert [one["job_id"] for one in found] == [job["job_id"], made["job_id"]]
        body = master.get(f"/jobs/{receipt['job_id']}")["complete_data"]["body"]
        assert [one["state"] for one in body["requests"]] == ["pending"]
    ask(asked, "DELETE", f"/self-serve/main/request/{running}")
    assert completed(back, first)["results"] == completed(back, second)["results"] == SUCCESS
    assert builds(back, second)[0]["buildid"] < builds(back, first)[0]["buildid"]


def test_what_waits_for_the_other_is_cancelled(
    asked: ProcessMaster, back: ProcessMaster, running: int
) -> None:
    waiting = back.force("fast")
    receipt = ask(asked, "DELETE", f"/self-serve/main/request/{waiting}")
    assert outcomes(receipt) == {waiting: "cancelled"}
    found = request(back, waiting)
    assert (found["complete"], found["results"]) == (True, CANCELLED)
    assert found["claimed_by_masterid"] == id_of(asked)
    # the other goes on as if nothing had been there
    ask(asked, "DELETE", f"/self-serve/main/request/{running}")
    assert completed(back, back.force("fast"))["results"] == SUCCESS
    assert builds(back, waiting) == []


def test_what_the_other_builds_is_stopped(
    asked: ProcessMaster, back: ProcessMaster, running: int
) -> None:
    (build,) = builds(back, running)
    receipt = ask(asked, "DELETE", f"/self-serve/main/build/{build['buildid']}")
    assert outcomes(receipt) == {running: "stopped"}
    found, (build,) = request(back, running), builds(back, running)
    assert (found["complete"], found["results"]) == (True, CANCELLED)
    assert (build["complete"], build["results"]) == (True, CANCELLED)
    assert (found["claimed_by_masterid"], build["masterid"]) == (id_of(back), id_of(back))
    # its worker is free
    assert completed(back, back.force("fast"))["results"] == SUCCESS


def test_a_revision_is_cancelled_whoever_builds_it(
    asked: ProcessMaster, back: ProcessMaster, running: int
) -> None:
    waiting = back.force("fast")
    receipt = ask(asked, "DELETE", AT)
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
            f"This Idempotency-Key was already used for job {first['job_id']}",
        )
    for request_id in outcomes(first):
        assert completed(back, request_id)["results"] == SUCCESS


def sent_to_both(masters: tuple[ProcessMaster, ...], path: str, **fields: Any) -> Any:
    """Send the same to both at once, twice; return what became of each builder, and why."""
    with ThreadPoolExecutor() as pool:
        sent = [pool.submit(ask, master, "POST", path, **fields) for master in masters * 2]
    receipts = [one.result() for one in sent]
    return sorted(
        (one["buildername"], one["outcome"], one["msg"])
        for receipt in receipts
        for one in receipt["requests"]
    )


def test_what_is_rerun_at_both_at_once_is_built_once(
    masters: tuple[ProcessMaster, ProcessMaster], back: ProcessMaster
) -> None:
    for digit in "def":  # "fast" may have ended where it was asked for before
        revision = digit * 40
        at = f"/self-serve/main/rev/{revision}"
        ask(back, "POST", f"/self-serve/main/builders/slow/{revision}")
        ask(back, "DELETE", at)
        back.until(partial(lambda at: not open_at(back, at), revision), "nothing is left there")
        found = sent_to_both(masters, f"{at}/failed", states="cancelled", builders="slow")
        assert [outcome for _, outcome, _ in found] == ["created", *["left_out"] * 3], found
        assert {msg for _, _, msg in found} <= {"", "is pending", "is running"}
        found = sent_to_both(masters, f"{at}/missing")
        assert [outcome for name, outcome, _ in found if name == "fast"].count("created") == 1
        ask(back, "DELETE", at)


def open_at(master: ProcessMaster, revision: str) -> list[Any]:
    return [row for row in master.get(f"/main/rev/{revision}") if not row.get("endtime")]


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


def test_a_master_explains_what_another_builds(
    front: ProcessMaster, back: ProcessMaster, built: Any
) -> None:
    (worker,) = back.data("workers?name=worker")["workers"]
    here = front.data("masters?active=true")["masters"]
    (name,) = {one["name"] for one in here if one["name"].endswith(f":{back.folder}")}
    back.control(f"workers/{worker['workerid']}", "pause", reason="stocktaking")
    back.until(lambda: back.data("workers?name=worker")["workers"][0]["paused"], "it is paused")
    request_id = back.force("fast")
    try:
        for asked in (front, back):
            told = asked.get(f"/main/request/{request_id}/why")
            assert (told["state"], told["position"]) == ("pending", 1)
            assert told["reasons"][0]["code"] == "worker_paused"
            assert "stocktaking" in told["reasons"][0]["msg"]
            waiting = {one["request_id"]: one for one in asked.get("/pending")["requests"]}
            assert waiting[request_id]["reason"]["code"] == "worker_paused"
        told = front.get(f"/main/request/{request_id}/why")
        elsewhere = told["reasons"][-1]
        assert elsewhere["code"] == "builder_not_on_this_master"
        assert (elsewhere["masters"], elsewhere["fatal"]) == ([name], False)
        assert front.get("/pending")["worker_sets"][0]["workers"] == ["worker"]
    finally:
        back.control(f"workers/{worker['workerid']}", "unpause")
    completed(back, request_id)


def test_what_only_the_other_knows_is_said_to_be_unknown(
    front: ProcessMaster, back: ProcessMaster, built: Any, running: int
) -> None:
    # its only worker has room for one build, which only its own master knows
    request_id = back.force("fast")
    codes = {
        asked: [one["code"] for one in asked.get(f"/main/request/{request_id}/why")["reasons"]]
        for asked in (front, back)
    }
    assert codes[front] == ["builder_not_on_this_master", "unknown"]
    assert codes[back] == ["workers_busy"]
    same = back.force("slow")
    told = front.get(f"/main/request/{same}/why")["reasons"]
    assert told[0]["code"] == "workers_busy"
    assert [one["buildername"] for one in told[0]["builds"]] == ["slow"]
    for one in (request_id, same):
        ask(back, "DELETE", f"/self-serve/main/request/{one}")


def in_the_background(work: Any, *arguments: Any) -> Any:
    """Run *work* in a thread; return what it will return."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(work, *arguments)
    pool.shutdown(wait=False)
    return future


def test_an_answer_is_held_until_the_other_has_built(
    asked: ProcessMaster, back: ProcessMaster, running: int
) -> None:
    answer = in_the_background(asked.get, f"/main/rev/{REVISION}/is_done?stableDelay=0&wait=15")
    asked.until(lambda: measured(asked, "selfserve_held_answers") == 1, "it is held")
    time.sleep(1)
    assert not answer.done()
    ended = time.monotonic()
    ask(back, "DELETE", f"/self-serve/main/request/{running}")
    assert answer.result()["job_complete"] is True
    # sooner than it would look for itself
    assert time.monotonic() - ended < 14


def test_what_the_other_builds_is_told(
    asked: ProcessMaster, back: ProcessMaster, built: Any
) -> None:
    url = f"http://127.0.0.1:{asked.port}/self-serve/main/events"
    with urllib.request.urlopen(url, timeout=PATIENCE) as stream:
        assert stream.readline().startswith(b"retry: ")
        request_id = back.force("fast")
        told: Any = {}
        # what an earlier build has sent may still be on its way
        while told.get("request_id") != request_id or not told["build_id"]:
            line = stream.readline()
            if line.startswith(b"data: "):
                told = json.loads(line.removeprefix(b"data: "))
    completed(back, request_id)
    asked.until(lambda: measured(asked, "selfserve_event_streams") == 0, "nobody listens")


def measured(master: ProcessMaster, name: str) -> float:
    url = f"http://127.0.0.1:{master.port}/self-serve/metrics"
    with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
        (value,) = re.findall(rf"^{name} (\S+)$", answer.read().decode(), re.MULTILINE)
    return float(value)


#: So many builds take a while, when each few of them are inserted after a pause.
MANY = 40


@pytest.mark.heavy
def test_what_a_dead_master_left_open_is_settled_by_one_of_the_others(
    masters: tuple[ProcessMaster, ProcessMaster],
    router: str,
    shared: str,
    built: Any,
    tmp_path: Path,
) -> None:
    doomed = two_masters.master(tmp_path, router, shared, two_masters.FRONT + SLOW_INSERTS)
    doomed.start()
    their_id, before = id_of(doomed), {one["job_id"] for one in masters[0].get("/jobs")}
    try:
        with begin_rebuild(doomed, built["buildid"], MANY):
            job_id = doomed.until(
                lambda: [
                    one["job_id"]
                    for one in masters[0].get("/jobs")
                    if one["job_id"] not in before and made_by(shared, one["job_id"]) > 2
                ],
                "some builds are made",
            )[0]
            doomed.kill()
            made_before = made_by(shared, job_id)
    finally:
        doomed.stop()
    # nobody knows yet that it is dead
    assert masters[0].get(f"/jobs/{job_id}")["status"] == "running"
    time.sleep(2)
    assert masters[0].get(f"/jobs/{job_id}")["status"] == "running"
    engine = sa.create_engine(shared)
    with engine.begin() as connection:
        # what the others do ten minutes after its last sign of life
        connection.exec_driver_sql(f"UPDATE masters SET active = 0 WHERE id = {their_id}")
    job = masters[0].until(
        lambda: closed(masters[0].get(f"/jobs/{job_id}")), "the job is settled by another one"
    )
    created = [one["request_id"] for one in job["complete_data"]["body"]["requests"]]
    # it was in the middle, and the other one has done the rest
    assert 2 < made_before < MANY
    assert len(set(created)) == MANY
    assert job["status"] == "ok"
    assert job["complete_data"]["body"]["msg"] == f"{MANY} builds requested"
    with engine.connect() as connection:
        (heir,) = connection.exec_driver_sql(
            f"SELECT masterid FROM selfserve_jobs WHERE id = {job_id}"
        ).one()
        still_open = connection.exec_driver_sql(
            "SELECT count(*) FROM selfserve_jobs WHERE status = 'running'"
        ).scalar()
    engine.dispose()
    assert heir in {id_of(one) for one in masters}
    assert still_open == 0
    # and once
    logs = [one.log.count("took over 1 jobs of masters that are gone") for one in masters]
    assert sum(logs) == 1
    for request_id in created:
        assert completed(masters[1], request_id)["results"] == SUCCESS


def made_by(shared: str, job_id: int) -> int:
    """Return how many buildsets a job request has made."""
    engine = sa.create_engine(shared)
    with engine.connect() as connection:
        made = connection.exec_driver_sql(
            "SELECT count(*) FROM buildset_properties WHERE property_name = 'selfserve_job'"
            f" AND property_value LIKE '[{job_id}, %%'"
        ).scalar()
    engine.dispose()
    return int(made or 0)


def closed(job: Any) -> Any:
    return job if job["status"] != "running" else None


@pytest.fixture
def limited(masters: tuple[ProcessMaster, ProcessMaster]) -> Iterator[None]:
    """Let a user send three job requests a minute, in all."""
    files = {one: (one.folder / "master.cfg").read_text() for one in masters}

    def follow(one: ProcessMaster, text: str) -> None:
        before = one.log.count("configuration update complete")
        (one.folder / "master.cfg").write_text(text)
        one.reconfig()
        one.until(lambda: one.log.count("configuration update complete") > before, "it follows")

    for one, text in files.items():
        follow(one, text + LIMITED)
    yield
    for one, text in files.items():
        follow(one, text)


LIMITED = """
c["www"]["plugins"]["selfserve"] = util.SelfServe(
    branches=[util.SelfServeBranch("main")], require_login=False,
    limits=util.SelfServeLimits(job_requests_per_minute=3))
"""


def test_a_budget_is_spent_at_both(
    limited: None, front: ProcessMaster, back: ProcessMaster, built: Any
) -> None:
    def sent(master: ProcessMaster) -> int:
        # as nobody: what the user of the other tests has sent does not count
        url = f"http://127.0.0.1:{master.port}/self-serve/main/build"
        body = f"build_id={built['buildid']}".encode()
        headers = {"Accept": "application/json"}
        request = urllib.request.Request(url, data=body, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    assert [sent(one) for one in (front, back, front, back, front)] == [202, 202, 202, 429, 429]
