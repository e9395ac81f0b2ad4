"""What a master has claimed that never comes back is cancelled by another one.

The other one is there as rows of the database; that it has gone, Buildbot itself finds out.
"""

from __future__ import annotations

import time
from typing import Any

import pytest
import pytest_twisted

from tests.harness import REVISION
from tests.harness import USER
from tests.harness import outcomes
from tests.harness import patient

EVERY_DATABASE = "heavy"
RETRY, CANCELLED = 5, 6
#: Seconds after which a silent master counts as gone, and more.
SILENT = 900


pytestmark = [
    pytest.mark.usefixtures("short_acts"),
    pytest.mark.parametrize("master", [patient], indirect=True),
]


async def another(master: Any) -> int:
    """Let there be another master, which lives; return its id."""
    other: int = await master.master.db.masters.findMasterId("another:/away")
    await last_heard(master, other, 0)
    return other


async def last_heard(master: Any, other: int, seconds: int) -> None:
    """Let it be so long since the other master has given a sign of life."""
    masters = master.master.db.model.masters
    values = {"active": 1, "last_active": int(time.time()) - seconds}

    def write(connection: Any) -> None:
        with connection.begin():
            connection.execute(masters.update().where(masters.c.id == other).values(values))

    await master.master.db.pool.do(write)


async def dies(master: Any, other: int) -> None:
    """Let the other master be silent, and let this one do what masters do once a minute."""
    await last_heard(master, other, SILENT)
    await master.master.data.updates.expireMasters()


async def built_by(master: Any, other: int, state: str = "running") -> tuple[int, int]:
    """Let the other master build a request; return the ids of the request and of its build."""
    master.pause()
    request_id = await master.add_request()
    return request_id, await builds(master, other, request_id, state)


async def builds(master: Any, other: int, request_id: int, state: str = "running") -> int:
    """Let the other master build this request; return the id of the build."""
    db = master.master.db
    claimed_at = int(time.time()) - SILENT
    await db.buildrequests._claim_buildrequests_for_master([request_id], claimed_at, other)
    builder_id = (await db.buildrequests.getBuildRequest(request_id)).builderid
    build_id, _ = await db.builds.addBuild(builder_id, request_id, None, other, state)
    return int(build_id)


@pytest.mark.parametrize("path", ["request/{}", f"rev/{REVISION}"])
@pytest_twisted.ensureDeferred
async def test_it_is_cancelled_at_once(master: Any, path: str) -> None:
    other = await another(master)
    request_id, build_id = await built_by(master, other)
    await dies(master, other)
    # so far goes Buildbot: nobody builds it, and it is claimed
    assert (await master.data("builds", build_id))["results"] == RETRY
    assert (await master.data("buildrequests", request_id))["claimed"]
    seen: list[Any] = []
    consumer = await master.master.mq.startConsuming(
        lambda key, event: seen.append(key), (None, None, "complete")
    )
    path = f"/self-serve/main/{path.format(request_id)}"
    answer = await master.request("DELETE", path, user=USER)
    assert (answer.status, answer.json["status"]) == (202, "OK"), answer.text
    assert outcomes(answer.json) == {request_id: "cancelled"}
    request = await master.data("buildrequests", request_id)
    assert (request["complete"], request["results"]) == (True, CANCELLED)
    assert request["claimed_by_masterid"] == master.master.masterid
    buildset = await master.data("buildsets", request["buildsetid"])
    assert (buildset["complete"], buildset["results"]) == (True, CANCELLED)
    assert ("buildrequests", str(request_id), "complete") in seen
    assert ("buildsets", str(request["buildsetid"]), "complete") in seen
    consumer.stopConsuming()


@pytest_twisted.ensureDeferred
async def test_it_is_cancelled_once_it_is_known_that_it_is_gone(master: Any) -> None:
    other = await another(master)
    request_id, _ = await built_by(master, other)
    path = f"/self-serve/main/request/{request_id}"
    answer = await master.request("DELETE", path, user=USER)
    assert outcomes(answer.json) == {request_id: "stop_sent"}
    await dies(master, other)

    async def outcome() -> Any:
        job = (await master.get(f"/self-serve/jobs/{answer.json['job_id']}")).json
        (one,) = job["complete_data"]["body"]["requests"]
        return one["outcome"] if one["outcome"] != "stop_sent" else None

    assert await master.until(outcome, "the journal tells how it ended") == "cancelled"
    assert (await master.completed(request_id))["results"] == CANCELLED


@pytest_twisted.ensureDeferred
async def test_what_a_living_master_has_claimed_is_left_to_it(master: Any) -> None:
    other = await another(master)
    request_id, build_id = await built_by(master, other)
    # between two builds, or between the claim and the first
    await master.master.db.builds.finishBuild(build_id, RETRY)
    await master.master.data.updates.expireMasters()
    path = f"/self-serve/main/request/{request_id}"
    answer = await master.request("DELETE", path, user=USER)
    assert outcomes(answer.json) == {request_id: "waiting"}
    request = await master.data("buildrequests", request_id)
    assert (request["complete"], request["claimed_by_masterid"]) == (False, other)


@pytest_twisted.ensureDeferred
async def test_it_is_given_another_priority(master: Any) -> None:
    other = await another(master)
    request_id, _ = await built_by(master, other)
    path = f"/self-serve/main/request/{request_id}"
    refused = await master.request("PUT", path, user=USER, data={"priority": "5"})
    assert (refused.status, refused.json["msg"]) == (400, "Request is already running")
    await dies(master, other)
    answer = await master.request("PUT", path, user=USER, data={"priority": "5"})
    assert outcomes(answer.json) == {request_id: "reprioritized"}
    assert (await master.data("buildrequests", request_id))["priority"] == 5
