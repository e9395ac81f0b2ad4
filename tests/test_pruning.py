"""Old rows of the journal are deleted, with all that belongs to them, and no others."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import util

from buildbot_selfserve import plugin
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.jobs import pruner
from buildbot_selfserve.journal import budgets
from buildbot_selfserve.journal import holds
from buildbot_selfserve.journal import prune
from buildbot_selfserve.journal import schema
from buildbot_selfserve.journal import store
from buildbot_selfserve.journal import tables
from buildbot_selfserve.model import Attempt
from buildbot_selfserve.model import Hold
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import RequestOutcome
from tests.harness import USER
from tests.harness import Config
from tests.harness import config
from tests.harness import running_master

EVERY_DATABASE = "heavy"
DAY = 86_400
#: Of the rows here: when old ones ended, and until when they are deleted; and "now".
OLD, BEFORE, NOW = 1000, 2000, 10 * DAY
ATTEMPT = Attempt("key", "what")
JOB = Job(0, "rebuild_build", "ada", "basic", "127.0.0.1", OLD, "main", {"bid": 7})
OUTCOME = RequestOutcome(3, "fast", "created", (4, 5))


@pytest.fixture
def engine(tmp_path: Path, db_url: str) -> Iterator[sa.Engine]:
    engine = sa.create_engine(db_url.replace("sqlite:///", f"sqlite:///{tmp_path}/"))
    schema.upgrade(engine)
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: sa.Engine) -> Iterator[sa.Connection]:
    with engine.connect() as connection:
        yield connection


def opened(connection: sa.Connection, when: int = OLD, attempt: Attempt | None = None) -> Job:
    opened = store.open_job(connection, replace(JOB, when=when), 1, "a life", attempt)
    assert isinstance(opened, store.Opened)
    return opened.job


def ended(connection: sa.Connection, when: int = OLD, at: int = OLD, **more: Any) -> int:
    """Write a job request that was sent at one time and ended at another; return its id."""
    job = opened(connection, when, more.pop("attempt", None))
    values = {"status": "ok", "completed_at": at, "requests": (OUTCOME,), **more}
    store.close_job(connection, replace(job, **values))
    return job.job_id


def hold(connection: sa.Connection, expires: int) -> int:
    """Write a hold of the branch that ends at this time; return the id of its job request."""
    job_id = ended(connection, requests=())
    made = Hold(f"main{job_id}", "release", "ada", OLD, expires, job_id=job_id)
    holds.put(connection, made)
    return job_id


def kept(connection: sa.Connection) -> list[int]:
    """Return the ids of the rows that are there, to which alone everything else belongs."""
    found = sorted(connection.execute(sa.select(tables.jobs.c.id)).scalars())
    for table in (tables.job_targets, tables.holds, tables.later_builds):
        assert {*connection.execute(sa.select(table.c.job_id)).scalars()} <= {*found}
    connection.rollback()
    return found


def test_what_has_ended_long_ago_goes_with_all_that_belongs_to_it(
    connection: sa.Connection,
) -> None:
    ended(connection)
    ended(connection, status="failed", errors=True, requests=())
    over = hold(connection, NOW - holds.KEPT - 1)
    ongoing = opened(connection)
    budgets.take_later_builds(connection, ongoing, 1, 1, 9)
    store.close_job(connection, replace(ongoing, status="ok", completed_at=BEFORE - 1))
    staying = [
        ended(connection, at=BEFORE),  # it was begun long ago, and has ended lately
        ended(connection, when=BEFORE),  # the clock was set back meanwhile
        opened(connection).job_id,
        ended(connection, requests=(replace(OUTCOME, outcome="stop_sent"),)),  # it is followed
        hold(connection, NOW + DAY),
        hold(connection, NOW - 1),  # the clock of another master may be behind
        ended(connection, when=NOW, at=NOW),
    ]
    assert over in kept(connection)
    assert prune.prune(connection, BEFORE, NOW) == 4
    assert kept(connection) == staying
    assert len(holds.every(connection)) == 2
    connection.rollback()
    assert prune.prune(connection, BEFORE, NOW) == 0
    assert kept(connection) == staying


def test_a_hold_that_another_has_replaced_keeps_no_row(connection: sa.Connection) -> None:
    first, second = ended(connection), ended(connection)
    made = Hold("main", "release", "ada", OLD, NOW + DAY, job_id=first)
    holds.put(connection, made)
    holds.put(connection, replace(made, job_id=second))
    assert prune.prune(connection, BEFORE, NOW) == 1
    assert kept(connection) == [second]


def test_a_transaction_deletes_a_few_rows_the_oldest_first(
    connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "BATCH", 2)
    every = [ended(connection, when=OLD - number) for number in range(5)]
    newest = ended(connection, when=NOW, at=NOW)
    for left in (every[:3], every[:1], []):
        assert prune.prune(connection, BEFORE, NOW) == min(2, len(every))
        every = left
        assert kept(connection) == [*left, newest]


def test_an_id_is_not_used_again(engine: sa.Engine, connection: sa.Connection) -> None:
    newest = [ended(connection) for _ in range(3)][-1]
    prune.prune(connection, BEFORE, NOW)
    # only there may the highest id that is there be where a restarted server goes on
    assert kept(connection) == ([newest] if engine.dialect.name == "mysql" else [])
    assert ended(connection) == newest + 1


def test_an_idempotency_key_is_free_again(connection: sa.Connection) -> None:
    first = ended(connection, attempt=ATTEMPT)
    ended(connection, when=NOW, at=NOW)
    prune.prune(connection, BEFORE, NOW)
    again = store.open_job(connection, JOB, 1, "a life", ATTEMPT)
    assert isinstance(again, store.Opened)
    assert again.new
    assert again.job.job_id > first


def test_several_masters_do_it_at_once(
    engine: sa.Engine, connection: sa.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prune, "BATCH", 10)
    for _ in range(60):
        ended(connection)
    staying = ended(connection, when=NOW, at=NOW)
    together, failures = threading.Barrier(3), list[BaseException]()

    def master() -> None:
        try:
            with engine.connect() as own:
                together.wait()
                while prune.prune(own, BEFORE, NOW):
                    pass
        except BaseException as error:
            failures.append(error)

    masters = [threading.Thread(target=master) for _ in range(3)]
    for one in masters:
        one.start()
    for one in masters:
        one.join()
    assert failures == []
    assert kept(connection) == [staying]


# -- in a master


def keeping(days: float | None) -> Any:
    def make() -> Config:
        return config(util.SelfServe(keep_jobs=days))

    return make


async def aged(job_id: int, days: float) -> None:
    """Let a job request have been sent, and have ended, so many days earlier."""
    earlier, columns = int(days * DAY), tables.jobs.c

    def write(connection: Any) -> None:
        values = {
            "submitted_at": columns.submitted_at - earlier,
            "completed_at": columns.completed_at - earlier,
        }
        with connection.begin():
            connection.execute(tables.jobs.update().where(columns.id == job_id).values(values))

    await plugin.application._service.databases.write(write)


async def rebuild(master: Any, build_id: int) -> int:
    answer = await master.post(
        "/self-serve/main/build",
        user=USER,
        data={"build_id": build_id},
        headers={"Idempotency-Key": "k"},
    )
    assert answer.status == 202, answer.text
    return int(answer.json["job_id"])


async def gone(master: Any, job_id: int) -> bool:
    return bool((await master.get(f"/self-serve/jobs/{job_id}")).status == 404)


@pytest_twisted.ensureDeferred
async def test_a_job_that_was_deleted_is_as_if_it_had_never_been(
    tmp_path: Path, monkeypatch: Any, db_url: str
) -> None:
    # the journal may be open before the master has started
    monkeypatch.setattr(pruner, "RETRY", 0.05)
    async with running_master(tmp_path, monkeypatch, keeping(None), db_url) as master:
        build_id = (await master.finished_build())["buildid"]
        first = await rebuild(master, build_id)
        await aged(first, 31)
        job = (await master.get(f"/self-serve/jobs/{first}")).json
        (made,) = job["complete_data"]["body"]["requests"]
        path = f"/self-serve/main/request/{made['request_id']}"
        assert [one["job_id"] for one in (await master.get(path)).json["jobs"]] == [first]
        assert await rebuild(master, build_id) == first
        newer = await ask_for_another(master)
    # a start deletes it
    async with running_master(tmp_path, monkeypatch, keeping(30), db_url) as master:
        await master.until(lambda: gone(master, first), "the old job is deleted")
        answer = await master.get(f"/self-serve/jobs/{first}")
        assert answer.json["msg"] == f"Job {first} not found"
        assert [one["job_id"] for one in (await master.get("/self-serve/jobs")).json] == [newer]
        assert (await master.get(path)).json.get("jobs", []) == []
        second = await rebuild(master, build_id)
        assert second > newer
        # so does a reconfig
        await aged(second, 3)
        await aged(await ask_for_another(master), 1)
        await master.reconfig(keeping(2))
        await master.until(lambda: gone(master, second), "it is deleted, too")
        assert len((await master.get("/self-serve/jobs")).json) == 2
        assert master.errors == []


async def ask_for_another(master: Any) -> int:
    """Have a job request in the journal that is newer than all others; return its id."""
    request_id = await master.add_request("opt/mac #1")
    path = f"/self-serve/main/request/{request_id}"
    answer = await master.request("DELETE", path, user=USER)
    assert answer.status == 202, answer.text
    return int(answer.json["job_id"])


@pytest.mark.parametrize("master", [keeping(1)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_it_goes_on_after_a_database_that_was_away(master: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(pruner, "RETRY", 0.01)
    monkeypatch.setattr(pruner, "INTERVAL", 0.01)
    monkeypatch.setattr(pruner, "PAUSE", 0.01)
    monkeypatch.setattr(prune, "BATCH", 1)
    attempts, delete = [], prune.prune

    def fails(connection: Any, *times: int) -> int:
        attempts.append(time.monotonic())
        if len(attempts) == 2:
            raise Unavailable("The database is away")
        if len(attempts) == 4:
            connection.execute(sa.text("SELECT nothing FROM nowhere"))
        return delete(connection, *times)

    monkeypatch.setattr(prune, "prune", fails)
    old = [await ask_for_another(master) for _ in range(3)]
    newest = await ask_for_another(master)
    plugin.application._service._pruner.look()
    for job_id in old:
        await aged(job_id, 2)
    for job_id in old:
        await master.until(lambda job_id=job_id: gone(master, job_id), "it is deleted")
    await master.until(lambda: len(attempts) > 4, "it goes on")
    assert not await gone(master, newest)
