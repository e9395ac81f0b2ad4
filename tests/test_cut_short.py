"""A cancelling that something comes in between of: it is gone on with, and the journal is true."""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import schedulers
from twisted.internet import defer

from buildbot_selfserve import plugin
from buildbot_selfserve.control import cancel
from buildbot_selfserve.control import cancel_pending
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import mq_producer
from buildbot_selfserve.journal import store
from buildbot_selfserve.model import Ending
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import plan_to_json
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import config
from tests.harness import outcomes
from tests.steps import Deaf
from tests.steps import deaf_build
from tests.steps import with_stubborn_master
from tests.test_gone_masters import another
from tests.test_gone_masters import built_by
from tests.test_gone_masters import dies

RETRY, CANCELLED = 5, 6
AT = f"/self-serve/main/rev/{REVISION}"


@pytest.fixture(autouse=True)
def hurried(monkeypatch: Any) -> None:
    monkeypatch.setattr(cancel, "AFTER_FAILURE", 1)


class Away:
    """The master's database, which does not answer some questions for a while."""

    def __init__(self, master: Any, monkeypatch: Any, questions: set[Any]) -> None:
        self.is_away = False
        self._do = master.master.db.pool.do
        self._questions = questions
        monkeypatch.setattr(master.master.db.pool, "do", self)

    def __call__(self, function: Any, *arguments: Any, **more: Any) -> Any:
        if self.is_away and function in self._questions:
            broken = sa.exc.OperationalError("SELECT", {}, Exception("it is away"))
            return defer.fail(broken)
        return self._do(function, *arguments, **more)


async def stops(master: Any) -> list[int]:
    """Return a list that gets each build that is told to stop."""
    told: list[int] = []
    await master.master.mq.startConsuming(
        lambda key, event: told.append(int(key[2])), ("control", "builds", None, "stop")
    )
    return told


def delete(master: Any, path: str, **headers: str) -> Any:
    """Begin to cancel."""
    return defer.ensureDeferred(master.request("DELETE", path, user=USER, headers=headers))


async def final(master: Any, job_id: int) -> Any:
    """Return the job when nobody follows it any more."""

    async def settled() -> Any:
        job = (await master.get(f"/self-serve/jobs/{job_id}")).json
        body = job["complete_data"] and job["complete_data"]["body"]
        open_ones = {"stop_sent", "waiting"}
        done = body and not open_ones & {one["outcome"] for one in body["requests"]}
        return job if done else None

    return await master.until(settled, "the journal tells how it ended")


def told_in(job: Any) -> dict[int, str]:
    return outcomes(job["complete_data"]["body"])


async def set_state(master: Any, build_id: int, state: str) -> None:
    await master.master.data.updates.setBuildStateString(build_id, state)


@with_stubborn_master
@pytest_twisted.ensureDeferred
async def test_what_was_told_to_stop_is_followed_though_the_database_went_away(
    master: Any, monkeypatch: Any
) -> None:
    database = Away(master, monkeypatch, {current_state._states})
    told = await stops(master)
    running = await deaf_build(master)
    master.pause()
    waiting = await master.add_request("slow", properties={"n": (1, "Scheduler")})
    sent = delete(master, AT, **{"Idempotency-Key": "k"})
    await master.until(lambda: told, "it is told to stop")
    # nobody is told yet what will become of which
    (job,) = (await master.get("/self-serve/jobs")).json
    assert (job["status"], job["complete_data"]) == ("running", None)
    page = await master.get(f"/self-serve/jobs/{job['job_id']}", json=False)
    assert "<caption>Build requests" not in page.text
    database.is_away = True
    answer = await sent
    assert answer.status == 202, answer.text
    assert outcomes(answer.json) == {running: "stop_sent", waiting: "cancelled"}
    database.is_away = False
    Deaf.may_end = True
    job = await final(master, answer.json["job_id"])
    assert (job["status"], told_in(job)) == ("ok", {running: "stopped", waiting: "cancelled"})
    again = await master.request("DELETE", AT, user=USER, headers={"Idempotency-Key": "k"})
    assert outcomes(again.json) == told_in(job)
    assert len(told) == 1


@with_stubborn_master
@pytest_twisted.ensureDeferred
async def test_what_could_not_be_looked_at_is_cancelled_in_the_end(
    master: Any, monkeypatch: Any
) -> None:
    questions = {current_state._states, cancel_pending._complete_unclaimed}
    database, end = Away(master, monkeypatch, questions), cancel.end

    async def end_without_database(*arguments: Any) -> Any:
        database.is_away = True
        return await end(*arguments)

    monkeypatch.setattr(cancel, "end", end_without_database)
    master.pause()
    request_id = await master.add_request()
    answer = await delete(master, f"/self-serve/main/request/{request_id}")
    assert (answer.status, answer.json["status"]) == (202, "FAILED"), answer.text
    assert outcomes(answer.json) == {request_id: "waiting"}
    database.is_away = False
    assert told_in(await final(master, answer.json["job_id"])) == {request_id: "cancelled"}
    assert (await master.data("buildrequests", request_id))["results"] == CANCELLED


@with_stubborn_master
@pytest_twisted.ensureDeferred
async def test_what_was_cut_short_before_it_had_begun_has_done_nothing(
    master: Any, monkeypatch: Any
) -> None:
    database = Away(master, monkeypatch, {current_state._states})
    master.pause()
    request_id = await master.add_request()
    database.is_away = True
    answer = await delete(master, AT)
    assert answer.status == 503, answer.text
    job = (await master.get(f"/self-serve/jobs/{answer.json['job_id']}")).json
    assert (job["status"], told_in(job)) == ("failed", {})
    assert job["complete_data"]["body"]["msg"] == "Interrupted: nothing was done"
    assert not (await master.data("buildrequests", request_id))["complete"]


# -- builds that were not told yet


@with_stubborn_master
@pytest_twisted.ensureDeferred
async def test_a_build_that_listens_late_is_told_later(master: Any) -> None:
    told = await stops(master)
    request_id = await deaf_build(master)
    (build,) = await master.data("buildrequests", request_id, "builds")
    await set_state(master, build["buildid"], "created")
    answer = await delete(master, f"/self-serve/main/request/{request_id}")
    assert outcomes(answer.json) == {request_id: "waiting"}
    assert told == []
    await set_state(master, build["buildid"], "building")
    await master.until(lambda: told, "it is told to stop")
    Deaf.may_end = True
    job = await final(master, answer.json["job_id"])
    assert (job["status"], told_in(job)) == ("ok", {request_id: "stopped"})
    assert told == [build["buildid"]]


@with_stubborn_master
@pytest_twisted.ensureDeferred
async def test_the_next_build_of_a_request_is_told_too(master: Any) -> None:
    told = await stops(master)
    other = await another(master)
    request_id, first = await built_by(master, other)
    sent = delete(master, f"/self-serve/main/request/{request_id}")
    await master.until(lambda: told, "it is told to stop")
    # its worker is lost, and it is built again at once
    builds = master.master.db.builds
    await builds.finishBuild(first, RETRY)
    builder_id = await master.master.data.updates.findBuilderId("fast")
    second, _ = await builds.addBuild(builder_id, request_id, None, other, "created")
    answer = await sent
    assert outcomes(answer.json) == {request_id: "waiting"}
    assert told == [first]
    await set_state(master, second, "building")
    await master.until(lambda: len(told) > 1, "the second one is told to stop")
    assert told == [first, second]


@pytest_twisted.ensureDeferred
async def test_what_a_build_has_found_that_is_over_says_nothing_of_the_next_one(
    master: Any,
) -> None:
    other = await another(master)
    request_id, first = await built_by(master, other)
    request = await master.data("buildrequests", request_id)
    (stamp,) = (await master.data("buildsets", request["buildsetid"]))["sourcestamps"]

    async def found() -> list[int]:
        states = await current_state.open_requests(master.master, [stamp["ssid"]], [], [first])
        return [one.request_id for one in states]

    assert await found() == []
    # its worker is lost, and it is built again
    await master.master.db.builds.finishBuild(first, RETRY)
    assert await found() == [request_id]


# -- cancelled, but not told of


async def cancelled_unnoticed(
    master: Any, interfere: Callable[[], None], begin: Callable[[], Awaitable[Any]]
) -> list[Any]:
    """Cancel a request while something goes wrong; return what was told when the job has ended."""
    seen: list[Any] = []
    for topic in ("complete", "cancel"):
        await master.master.mq.startConsuming(
            lambda key, event: seen.append(key), (None, None, topic)
        )
    interfere()
    answer = await begin()
    job = await final(master, answer.json["job_id"])
    (one,) = job["complete_data"]["body"]["requests"]
    assert one["outcome"] == "cancelled"
    request = await master.data("buildrequests", one["request_id"])
    buildset = await master.data("buildsets", request["buildsetid"])
    assert (request["results"], buildset["complete"]) == (CANCELLED, True)
    return seen


def fail_once(monkeypatch: Any, name: str) -> None:
    """Let the first look for what to tell of fail."""
    look = getattr(mq_producer, name)
    failed: list[bool] = []

    async def failing(*arguments: Any) -> Any:
        if not failed:
            failed.append(True)
            raise sa.exc.OperationalError("SELECT", {}, Exception("it is away"))
        return await look(*arguments)

    monkeypatch.setattr(mq_producer, name, failing)


def first(monkeypatch: Any, master: Any) -> None:
    fail_once(monkeypatch, "_request_models")


def second(monkeypatch: Any, master: Any) -> None:
    fail_once(monkeypatch, "_as_data")


def twice(monkeypatch: Any, master: Any) -> None:
    """Do it again after it was committed, as the pool does when the connection breaks then."""
    do = master.master.db.pool.do

    def again(function: Any, *arguments: Any, **more: Any) -> Any:
        done = do(function, *arguments, **more)
        if function in (cancel_pending._complete_unclaimed, cancel_pending._complete_and_read):
            done.addCallback(lambda result: do(function, *arguments, **more))
        return done

    monkeypatch.setattr(master.master.db.pool, "do", again)


def unconfirmed(monkeypatch: Any, master: Any) -> None:
    """Let the connection break when buildsets are committed."""
    complete, broken = cancel_pending._complete_all, list[bool]()

    def breaking(*arguments: Any) -> bool:
        done = complete(*arguments)
        if done and not broken:
            broken.append(True)
            raise sa.exc.OperationalError("COMMIT", {}, Exception("it is away"))
        return done

    monkeypatch.setattr(cancel_pending, "_complete_all", breaking)


@pytest.mark.parametrize(
    "wrong", [pytest.param(first, marks=pytest.mark.heavy), second, twice, unconfirmed]
)
@pytest.mark.parametrize(
    "late", [False, pytest.param(True, marks=pytest.mark.heavy)], ids=["at once", "followed"]
)
@with_stubborn_master
@pytest_twisted.ensureDeferred
async def test_what_was_cancelled_is_told_of_in_the_end(
    master: Any, monkeypatch: Any, wrong: Any, late: bool
) -> None:
    master.pause()

    async def at_once() -> Any:
        return await delete(master, f"/self-serve/main/request/{await master.add_request()}")

    async def followed() -> Any:
        other = await another(master)
        request_id, _ = await built_by(master, other)
        answer = await delete(master, f"/self-serve/main/request/{request_id}")
        assert outcomes(answer.json) == {request_id: "stop_sent"}
        await dies(master, other)
        return answer

    begin = followed if late else at_once
    seen = await cancelled_unnoticed(master, lambda: wrong(monkeypatch, master), begin)
    told = [(kind, event) for kind, _, event in seen if kind != "builds"]
    # better twice than never
    assert list(dict.fromkeys(told)) == [
        ("buildrequests", "complete"),
        ("buildsets", "complete"),
        ("buildrequests", "cancel"),
    ]
    assert told.count(("buildsets", "complete")) == 1


@pytest.mark.heavy
@pytest.mark.parametrize("db_url", ["mariadb"], indirect=True)
@pytest.mark.parametrize("table", ["buildrequests", "buildsets"])
@with_stubborn_master
@pytest_twisted.ensureDeferred
async def test_what_was_written_without_a_transaction_is_told_of_in_the_end(
    master: Any, table: str
) -> None:
    master.pause()
    broken: list[str] = []

    def interfere() -> None:
        sa.event.listen(sa.Engine, "after_cursor_execute", break_once)

    def break_once(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if statement.startswith(f"UPDATE {table} SET complete") and not broken:
            broken.append(statement)
            raise sa.exc.OperationalError(statement, {}, Exception("it is away"))

    async def begin() -> Any:
        return await delete(master, f"/self-serve/main/request/{await master.add_request()}")

    try:
        seen = await cancelled_unnoticed(master, interfere, begin)
    finally:
        sa.event.remove(sa.Engine, "after_cursor_execute", break_once)
    assert broken
    told = {(kind, event) for kind, _, event in seen}
    assert {("buildrequests", "cancel"), ("buildsets", "complete")} <= told
    master.errors.clear()


def following() -> Any:
    """Return the configuration of a master with a scheduler that follows another one."""
    made = config()
    upstream = made["schedulers"][0]
    made["schedulers"].append(
        schedulers.Dependent(name="after", upstream=upstream, builderNames=["opt/mac #1"])
    )
    return made


@pytest.mark.parametrize("master", [following], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_follows_a_buildset_is_built_though_its_announcement_failed(
    master: Any, monkeypatch: Any
) -> None:
    async def followed(builds: int) -> None:
        async def made() -> bool:
            return len(await master.requests()) == 2 * builds

        await master.until(made, "what follows is requested")

    await master.finished_build()
    await followed(1)
    fail_once(monkeypatch, "_as_data")
    answer = await master.post("/self-serve/main/rev/unheard-of", user=USER)
    assert (answer.status, answer.json["msg"]) == (202, "1 build requested"), answer.text
    await followed(2)
    master.errors.clear()


# -- left open


async def left_open(master: Any, plan: Plan | None = None) -> Any:
    """Settle the row of a killed master that was about to cancel a revision; return the job.

    :param plan: what it was about to do, unless it was killed before it knew
    """
    service = plugin.application._service
    what = {"branch": "main", "revision": REVISION}
    job = Job(0, "cancel_revision", USER, "basic", "", 1, "main", what)

    def leave(connection: Any) -> int:
        opened = store.open_job(connection, job, master.master.masterid, service.jobs.incarnation)
        assert isinstance(opened, store.Opened)
        if plan is not None:
            store.note_plan(connection, replace(opened.job, plan=plan_to_json(plan)))
        return opened.job.job_id

    job_id = await service.databases.write(leave)
    await service.jobs.begin_anew()
    assert await service.jobs.left_open.of_this_master() == 1
    return (await master.get(f"/self-serve/jobs/{job_id}")).json


async def three_at_revision(master: Any) -> list[int]:
    """Return three requests that wait at the revision.

    They belong to it for other reasons than their sourcestamp.
    """
    return [
        await master.add_request(revision=None, properties={"n": (n, "Scheduler")})
        for n in range(3)
    ]


@pytest_twisted.ensureDeferred
async def test_the_rest_of_a_revision_that_was_left_open_is_cancelled(master: Any) -> None:
    master.pause()
    done, still_open, denied = await three_at_revision(master)
    await delete(master, f"/self-serve/main/request/{done}")
    foreign = await master.add_request("slow")
    plan = Plan(
        endings=tuple(Ending(one, "fast", running=False) for one in (done, still_open)),
        untouched=(RequestOutcome(denied, "fast", "denied"),),
    )
    seen: list[Any] = []
    for topic in ("complete", "cancel"):
        await master.master.mq.startConsuming(
            lambda key, event: seen.append(key), ("buildrequests", None, topic)
        )
    job = await left_open(master, plan)
    assert told_in(job) == {done: "cancelled", still_open: "cancelled", denied: "denied"}
    # what was cancelled before may not have been told of
    expected = {
        ("buildrequests", str(one), topic)
        for one in (done, still_open)
        for topic in ("complete", "cancel")
    }
    assert set(seen) == expected
    assert (job["status"], foreign in told_in(job)) == ("ok", False)
    for one, results in ((still_open, CANCELLED), (denied, None), (foreign, None)):
        assert (await master.data("buildrequests", one))["results"] in (results, -1)


@with_stubborn_master
@pytest_twisted.ensureDeferred
async def test_what_is_told_to_stop_after_a_restart_is_followed(master: Any) -> None:
    told = await stops(master)
    running = await deaf_build(master)
    master.pause()
    done = await master.add_request("slow")
    await delete(master, f"/self-serve/main/request/{done}")
    names = {done: "slow", running: "fast"}
    endings = tuple(Ending(one, name, running=one == running) for one, name in names.items())
    job = await left_open(master, Plan(endings=endings))
    assert (job["status"], told_in(job)) == ("ok", {done: "cancelled", running: "stop_sent"})
    Deaf.may_end = True
    job = await final(master, job["job_id"])
    assert (job["status"], told_in(job)) == ("ok", {done: "cancelled", running: "stopped"})
    assert len(told) == 1


@pytest_twisted.ensureDeferred
async def test_a_revision_of_which_nothing_was_cancelled_is_left_alone(master: Any) -> None:
    master.pause()
    ids = await three_at_revision(master)
    plan = Plan(endings=tuple(Ending(one, "fast", running=False) for one in ids))
    job = await left_open(master, plan)
    assert (job["status"], told_in(job)) == ("failed", dict.fromkeys(ids, "failed"))
    assert job["complete_data"]["body"]["msg"] == "3 requests: 3 not cancelled"
    assert not any(one["complete"] for one in await master.data("buildrequests"))


@pytest_twisted.ensureDeferred
async def test_a_revision_that_was_left_before_it_had_begun_is_not_cancelled(master: Any) -> None:
    master.pause()
    await master.add_request()
    job = await left_open(master)
    assert (job["status"], told_in(job)) == ("failed", {})
    assert job["complete_data"]["body"]["msg"] == "Interrupted: nothing was done"


@pytest_twisted.ensureDeferred
async def test_copies_that_others_made_of_its_builds_are_not_counted(master: Any) -> None:
    build = await master.finished_build()
    fields = {"build_id": build["buildid"]}
    receipt = (await master.post("/self-serve/main/build", user=USER, data=fields)).json
    (ours,) = outcomes(receipt)
    await master.completed(ours)
    (again,) = await master.data("buildrequests", ours, "builds")
    # as the button of Buildbot's own page does
    await master.master.data.control("rebuild", {}, ("builds", str(again["buildid"])))
    assert len(await master.data("buildrequests")) == 3
    numbers = await master.master.db.pool.do(current_state.numbers_made, receipt["job_id"], 0)
    assert list(await current_state.requests_of(master.master, numbers.values())) == [ours]
