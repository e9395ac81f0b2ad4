"""Limits: how many builds and job requests one asker has, whatever they send at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import schedulers
from buildbot.plugins import util
from twisted.internet import defer

from buildbot_selfserve.journal import budgets
from buildbot_selfserve.journal import schema
from buildbot_selfserve.journal import store
from buildbot_selfserve.journal.tables import jobs
from buildbot_selfserve.journal.tables import later_builds
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Limits
from buildbot_selfserve.model import Ongoing
from buildbot_selfserve.model import RequestOutcome
from tests.harness import PASSWORD
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import builder
from tests.harness import config

EVERY_DATABASE = "heavy"

OTHER = "grace"
#: The secret of a token that has the name of the user.
TOKEN = "a token of twenty characters or more"
TABLES = ("buildsets", "buildrequests", "sourcestamps", "changes", "buildset_properties")


def limited(**limits: int) -> Any:
    """Return what makes a configuration with these limits, for two users."""

    def make() -> Any:
        made = config(
            util.SelfServe(
                limits=util.SelfServeLimits(**limits),
                branches=[util.SelfServeBranch("main", sets={"nightly": ["fast", "slow"]})],
                tokens=[util.SelfServeToken(USER, TOKEN)],
            ),
            auth=util.UserPasswordAuth({USER: PASSWORD, OTHER: PASSWORD}),
        )
        made["builders"].append(builder("late"))
        made["schedulers"] += [
            schedulers.AnyBranchScheduler(name="both", builderNames=["slow", "opt/mac #1"]),
            schedulers.AnyBranchScheduler(
                name="renders", builderNames=util.Transform(lambda: ["late"])
            ),
        ]
        return made

    return make


async def rebuild(master: Any, count: int = 1, user: str | None = USER, **more: Any) -> Any:
    return await master.post(
        "/self-serve/main/build", user=user, data={"build_id": 1, "count": count}, **more
    )


async def contents(master: Any) -> dict[str, int]:
    """Return how many rows each table of Buildbot's has that a job request could write."""

    def count(connection: sa.Connection) -> dict[str, int]:
        query = "SELECT count(*) FROM {}"
        return {
            name: connection.exec_driver_sql(query.format(name)).scalar_one() for name in TABLES
        }

    found: dict[str, int] = await master.master.db.pool.do(count)
    return found


async def age(master: Any, seconds: int) -> None:
    """Make the whole journal older."""

    def move(connection: sa.Connection) -> None:
        with connection.begin():
            for column in (jobs.c.submitted_at, later_builds.c.taken_at):
                connection.execute(column.table.update().values({column: column - seconds}))

    await master.master.db.pool.do(move)


@pytest.mark.parametrize("master", [limited(builds_per_hour=10)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_more_builds_than_are_left_are_refused_whole(master: Any) -> None:
    await master.finished_build()
    assert (await rebuild(master, 7)).status == 202
    before = await contents(master)
    refused = await rebuild(master, 4)
    assert refused.status == 429
    assert refused.json["status"] == "FAILED"
    assert refused.json["msg"] == "4 builds requested, 3 left of 10 per hour"
    assert refused.json["detail"] == "nothing was built; send it again in 60 min"
    assert 3590 <= int(str(refused.header("retry-after"))) <= 3600
    assert await contents(master) == before
    job = (await master.get("/self-serve/jobs?num=1")).json[0]
    assert (job["status"], job["complete_data"]["body"]["errors"]) == ("failed", True)
    # what was refused takes nothing
    assert (await rebuild(master, 3)).status == 202
    assert (await rebuild(master, 1)).status == 429
    # cancelling and reprioritizing make no builds
    answer = await master.request("DELETE", "/self-serve/main/build/1", user=USER)
    assert answer.status == 202
    # another user has their own
    assert (await rebuild(master, 10, user=OTHER)).status == 202
    assert master.errors == []
    assert "Traceback" not in master.log


@pytest.mark.parametrize("master", [limited(builds_per_hour=3)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_token_has_a_budget_of_its_own_and_permissions_show_it(master: Any) -> None:
    await master.finished_build()
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    assert (await rebuild(master, 2)).status == 202
    with_token = await rebuild(master, 3, user=None, headers=bearer)
    assert with_token.status == 202
    assert (await rebuild(master, 1, user=None, headers=bearer)).status == 429
    path = "/self-serve/main/permissions"
    for user, headers, left in ((USER, {}, 1), (None, bearer, 0), (OTHER, {}, 3)):
        told = (await master.get(path, user=user, headers=headers)).json
        budget = told["limits"]["builds_per_hour"]
        assert (budget["limit"], budget["left"]) == (3, left)
        assert (budget["resets_in"] > 0) == (left < 3)


@pytest.mark.parametrize("master", [limited(builds_per_hour=10)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_page_says_so_too(master: Any) -> None:
    await master.finished_build()
    refused = await rebuild(master, 11, json=False, headers={"Accept": "text/html"})
    assert refused.status == 429
    assert "11 builds requested, 10 left of 10 per hour" in refused.text
    assert "the limit never allows so many at once" in refused.text
    assert refused.header("retry-after") == "3600"


@pytest.mark.parametrize("master", [limited(builds_per_hour=3)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_after_an_hour_all_is_there_again(master: Any) -> None:
    await master.finished_build()
    assert (await rebuild(master, 2)).status == 202
    await age(master, 1800)
    assert (await rebuild(master, 1)).status == 202
    refused = await rebuild(master, 2)
    assert 1790 <= int(str(refused.header("retry-after"))) <= 1800
    await age(master, 1801)
    assert (await rebuild(master, 3)).status == 429
    assert (await rebuild(master, 2)).status == 202
    await age(master, -20 * 3600)  # as when the clock is set back
    assert (await rebuild(master, 3)).status == 202
    assert (await rebuild(master, 1)).status == 429


@pytest.mark.parametrize("master", [limited(builds_per_hour=20)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_at_once_no_more_are_made_than_are_left(master: Any) -> None:
    await master.finished_build()
    sent = [defer.ensureDeferred(rebuild(master, 3)) for _ in range(12)]
    answers = [await one for one in sent]
    assert sorted(answer.status for answer in answers) == [202] * 6 + [429] * 6
    made = await master.data("buildrequests")
    assert len(made) == 1 + 18


@pytest.mark.parametrize("master", [limited(builds_per_hour=4)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_every_way_to_make_builds_takes_from_the_budget(master: Any) -> None:
    await master.finished_build()
    at = f"/self-serve/main/rev/{REVISION}"
    assert (await master.post(f"{at}/nightly", user=USER)).status == 202  # fast and slow
    assert (
        await master.post(f"/self-serve/main/builders/fast/{REVISION}", user=USER)
    ).status == 202
    before = await contents(master)
    # fast, slow and opt/mac #1 stand in master.cfg; late is worked out when it is planned
    refused = await master.post(at, user=USER)
    assert (refused.status, refused.json["msg"]) == (
        429,
        "4 builds requested, 1 left of 4 per hour",
    )
    unknown = await master.post("/self-serve/main/rev/unheard-of", user=USER)
    assert unknown.status == 429
    files = await master.post(
        f"/self-serve/main/builders/fast/{REVISION}", user=USER, data={"files": '["a.c"]'}
    )
    assert files.status == 202
    assert (await master.post(f"{at}/nightly", user=USER)).status == 429
    last = await master.post(
        f"/self-serve/main/builders/fast/{REVISION}", user=USER, data={"files": '["b.c"]'}
    )
    assert last.status == 429
    after = await contents(master)
    assert after["buildrequests"] == before["buildrequests"] + 1
    assert after["changes"] == before["changes"] + 1


@pytest.mark.parametrize("master", [limited(builds_per_hour=3)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_a_scheduler_chooses_late_counts_with_all_the_rest(master: Any) -> None:
    await master.finished_build()
    before = await contents(master)
    answer = await master.post(f"/self-serve/main/rev/{REVISION}", user=USER)
    assert (answer.status, answer.json["msg"]) == (
        429,
        "4 builds requested, 3 left of 3 per hour",
    )
    # all or nothing
    assert await contents(master) == before


@pytest.mark.parametrize("master", [limited(job_requests_per_minute=3)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_more_job_requests_than_a_minute_has_are_refused(master: Any) -> None:
    await master.finished_build()
    headers = {"Idempotency-Key": "k"}
    first = await rebuild(master, headers=headers)
    sent = [defer.ensureDeferred(rebuild(master)) for _ in range(6)]
    answers = [await one for one in sent]
    assert sorted(answer.status for answer in answers) == [202] * 2 + [429] * 4
    refused = next(answer for answer in answers if answer.status == 429)
    assert refused.json["msg"] == "More than 3 job requests in a minute"
    assert 50 <= int(str(refused.header("retry-after"))) <= 60
    # nothing was written of them
    assert len((await master.get("/self-serve/jobs")).json) == 3
    # what was done before is only told again
    again = await rebuild(master, headers=headers)
    assert (again.status, again.json) == (202, first.json)
    assert (await rebuild(master, user=OTHER)).status == 202
    assert (await master.get("/self-serve/jobs")).status == 200
    await age(master, 61)
    assert (await rebuild(master)).status == 202
    assert master.errors == []
    assert "Traceback" not in master.log


@pytest.mark.parametrize("master", [limited()], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_limit_that_is_set_later_knows_what_was_done_before(master: Any) -> None:
    await master.finished_build()
    assert (await rebuild(master, 5)).status == 202
    await master.reconfig(limited(builds_per_hour=6))
    assert (await rebuild(master, 2)).status == 429
    assert (await rebuild(master, 1)).status == 202
    await master.reconfig(limited())
    assert (await rebuild(master, 9)).status == 202


@pytest.mark.parametrize("master", [limited(builds_per_hour=5)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_is_left_can_be_asked(master: Any, db_url: str) -> None:
    await master.finished_build()
    await rebuild(master, 2)
    limits = Limits(5, 9)

    def left(connection: sa.Connection) -> list[Any]:
        return [
            *budgets.budgets(connection, USER, "basic", limits),
            *budgets.budgets(connection, USER.upper(), "session", Limits(5)),
            *budgets.budgets(connection, USER, f"token:{USER}", Limits(5)),
        ]

    builds, requests, other, token = await master.master.db.pool.do(left)
    assert (builds.name, builds.limit, builds.left) == ("builds_per_hour", 5, 3)
    assert 3590 <= builds.resets_in <= 3600
    assert (requests.name, requests.left) == ("job_requests_per_minute", 8)
    assert (other.left, other.resets_in) == (5, 0)
    assert (token.left, token.resets_in) == (5, 0)


def test_a_step_that_is_taken_again_takes_its_builds_once(engine: sa.Engine) -> None:
    now = int(time.time())
    asked = Job(0, "bisect", USER, "basic", "", now, "main", {})
    with engine.connect() as connection:

        def left() -> int:
            (budget,) = budgets.budgets(connection, USER, "basic", Limits(6))
            connection.rollback()
            return budget.left

        def take(step: int, number: int) -> bool:
            return budgets.take_later_builds(connection, job, step, number, 6) is None

        opened = store.open_job(connection, asked, 1, "a life")
        assert isinstance(opened, store.Opened)
        job = opened.job
        assert budgets.take_builds(connection, job, 2, 6) is None
        assert [take(2, 2), left(), take(2, 2), left()] == [True, 2, True, 2]
        # what a step that was cut short took is given back, if it is refused now
        assert [take(2, 5), left()] == [False, 4]
        assert [take(2, 1), take(3, 1), left()] == [True, True, 2]
        made = tuple(RequestOutcome(number, "fast", "created") for number in range(4))
        going_on = replace(job, ongoing=Ongoing({}), requests=made)
        store.close_job(connection, replace(going_on, status="ok", completed_at=now))
        assert left() == 2
        # rows of more than an hour ago make room, and go when more is taken
        columns = later_builds.c
        with connection.begin():
            query = later_builds.update().where(columns.number == 2)
            connection.execute(query.values(taken_at=now - budgets.HOUR))
        assert left() == 3
        assert take(4, 1)
        kept = sa.select(columns.number).order_by(columns.number)
        assert [*connection.execute(kept).scalars()] == [3, 4]


def test_masters_that_take_at_once_take_what_is_left_and_no_more(
    tmp_path: Path, db_url: str
) -> None:
    url = db_url.replace("sqlite:///", f"sqlite:///{tmp_path}/")
    engine = sa.create_engine(url, pool_size=8)
    schema.upgrade(engine)
    asked = Job(0, "rebuild_build", USER, "basic", "", int(time.time()), "main", {})

    def take(masterid: int) -> tuple[bool, int]:
        """Open a job and take two builds for it, as one of eight masters."""
        with engine.connect() as connection:
            opened = store.open_job(connection, asked, masterid, "a life", None, 6)
            if not isinstance(opened, store.Opened):
                return False, 0
            refusal = budgets.take_builds(connection, opened.job, 2, 7)
            return True, 0 if refusal else 2

    with ThreadPoolExecutor(8) as masters:
        taken = list(masters.map(take, range(8)))
    engine.dispose()
    assert sum(opened for opened, _ in taken) == 6
    assert sum(builds for _, builds in taken) == 6
