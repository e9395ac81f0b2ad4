"""Who did it: the job requests of a build, of a build request and of a revision."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util

from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import Master
from tests.harness import config

EVERY_DATABASE = "heavy"


async def send(master: Master, method: str, path: str, **data: Any) -> Any:
    """Send a job request; return its receipt."""
    answer = await master.request(method, f"/self-serve{path}", user=USER, data=data)
    assert answer.status == 202, answer.text
    return answer.json


async def actions(master: Master, path: str) -> list[tuple[int, str]]:
    """Return the ids and actions of the job requests in the detail of a row."""
    detail = (await master.get(f"/self-serve/main/{path}")).json
    assert all(set(one) == {"job_id", "action", "who", "when"} for one in detail["jobs"])
    assert all(one["who"] == USER for one in detail["jobs"])
    return [(one["job_id"], one["action"]) for one in detail["jobs"]]


async def found(master: Master, query: str) -> list[int]:
    """Return the ids of the job requests that the journal finds."""
    answer = await master.get(f"/self-serve/jobs?{query}")
    assert answer.status == 200, answer.text
    return [job["job_id"] for job in answer.json]


@pytest_twisted.ensureDeferred
async def test_rows_name_the_job_requests_that_did_something_to_them(master: Master) -> None:
    build = await master.finished_build()
    old, other = build["buildrequestid"], await master.finished_build(revision="b" * 40)
    master.pause()
    made = await send(master, "POST", "/main/build", build_id=build["buildid"])
    (new,) = [one["request_id"] for one in made["requests"]]
    raised = await send(master, "PUT", f"/main/request/{new}", priority=3)
    pushed = await master.add_request("slow")
    ended = await send(master, "DELETE", f"/main/rev/{REVISION}")
    again = await send(master, "DELETE", f"/main/request/{new}")
    ids = {
        "made": made["job_id"],
        "raised": raised["job_id"],
        "ended": ended["job_id"],
        "again": again["job_id"],
    }
    assert await actions(master, f"request/{new}") == [
        (ids["ended"], "cancel_revision"),
        (ids["raised"], "reprioritize"),
        (ids["made"], "rebuild_build"),
    ]
    assert await actions(master, f"request/{pushed}") == [(ids["ended"], "cancel_revision")]
    # what was rebuilt is as it was, and what was already complete, too
    assert await actions(master, f"build/{build['buildid']}") == []
    assert await actions(master, f"request/{old}") == []
    assert await actions(master, f"build/{other['buildid']}") == []
    # the journal also finds what was about it
    every = [ids["again"], ids["ended"], ids["raised"], ids["made"]]
    assert await found(master, f"request_id={new}") == every
    assert await found(master, f"request_id={old}") == [ids["made"]]
    assert await found(master, f"build_id={build['buildid']}") == [ids["made"]]
    assert await found(master, f"build_id={other['buildid']}") == []
    assert await found(master, "request_id=4711") == []
    assert await found(master, f"revision={REVISION}") == every
    assert await found(master, f"revision={REVISION[:7].upper()}") == every
    assert await found(master, f"revision={'b' * 40}") == []
    assert await found(master, f"revision={REVISION}&request_id={pushed}") == [ids["ended"]]
    assert await found(master, "action=cancel") == [ids["again"], ids["ended"]]
    assert await found(master, "action=cancel_rev") == [ids["ended"]]
    assert await found(master, "action=cancel&num=1&offset=1") == [ids["ended"]]
    assert await found(master, f"action=re&request_id={new}") == [ids["raised"], ids["made"]]
    # no wildcards, and nothing inside of it
    for prefix in ("CANCEL", "cancel%25", "_ancel", "revision"):
        assert await found(master, f"action={prefix}") == []


@pytest_twisted.ensureDeferred
async def test_a_build_names_what_made_and_stopped_it(master: Master) -> None:
    master.pause()
    first = await master.add_request("slow", revision="b" * 40)
    await send(master, "DELETE", f"/main/request/{first}")
    master.resume()
    made = await send(master, "POST", f"/main/builders/slow/{REVISION}")
    (request,) = [one["request_id"] for one in made["requests"]]
    build_id = (await master.running_build(request))["buildid"]
    stopped = await send(master, "DELETE", f"/main/build/{build_id}")
    expected = [
        (stopped["job_id"], "cancel_build"),
        (made["job_id"], "new_build_for_builder"),
    ]
    assert await actions(master, f"build/{build_id}") == expected
    assert await actions(master, f"request/{request}") == expected
    ids = [one for one, _ in expected]
    assert await found(master, f"build_id={build_id}") == ids
    assert await found(master, f"request_id={request}") == ids
    assert await found(master, f"revision={REVISION}") == ids
    asked = await send(master, "POST", "/main/request", request_id=request)
    assert await actions(master, f"build/{build_id}") == expected
    assert await found(master, f"build_id={build_id}") == [asked["job_id"], *ids]


@pytest_twisted.ensureDeferred
async def test_a_job_request_tells_what_its_requests_have_come_to(master: Master) -> None:
    await master.finished_build()
    master.pause()
    receipt = await send(master, "POST", f"/main/builders/fast/{REVISION}")
    path = f"/self-serve/jobs/{receipt['job_id']}"
    (made,) = receipt["requests"]
    assert "state" not in made

    async def now() -> Any:
        ((one,),) = [(await master.get(path)).json["complete_data"]["body"]["requests"]]
        return one

    assert await now() == {**made, "state": "pending", "results": None}
    master.resume()
    await master.completed(made["request_id"])
    told = await now()
    assert (told["outcome"], told["state"], told["results"]) == ("created", "success", 0)
    builds = await master.data("buildrequests", made["request_id"], "builds")
    assert told["build_ids"] == [one["buildid"] for one in builds]
    # the list of all has what the receipt had
    ((listed,),) = [
        job["complete_data"]["body"]["requests"]
        for job in (await master.get("/self-serve/jobs")).json
    ]
    assert listed == made


@pytest_twisted.ensureDeferred
async def test_one_commit_is_one_revision_however_it_was_asked_for(master: Master) -> None:
    await master.finished_build(revision="b" * 40)
    early = REVISION[:8]
    before = await send(master, "POST", f"/main/builders/fast/{early}")
    assert await found(master, f"revision={early}") == [before["job_id"]]
    # the push comes later
    build = await master.finished_build()
    after = await send(master, "POST", "/main/build", build_id=build["buildid"])
    both = [after["job_id"], before["job_id"]]
    for text in (REVISION, early, REVISION[:6].upper(), f"%20{REVISION}%20"):
        assert await found(master, f"revision={text}") == both
    assert await found(master, f"revision={REVISION[:5]}") == []
    assert await found(master, f"revision={REVISION}&branch=other") == []
    page = await master.get(f"/self-serve/main/rev/{REVISION}", json=False)
    for job_id in both:
        assert f'href="/self-serve/jobs/{job_id}"' in page.text


def elsewhere() -> Config:
    return config(util.SelfServe(db_url="sqlite:///journal.sqlite"))


@pytest.mark.parametrize("master", [elsewhere], indirect=True)
@pytest_twisted.ensureDeferred
async def test_the_journal_may_be_elsewhere(master: Master) -> None:
    build = await master.finished_build()
    made = await send(master, "POST", "/main/build", build_id=build["buildid"])
    (request,) = [one["request_id"] for one in made["requests"]]
    await master.completed(request)
    (new,) = await master.data("buildrequests", request, "builds")
    expected = [(made["job_id"], "rebuild_build")]
    assert await actions(master, f"request/{request}") == expected
    assert await actions(master, f"build/{new['buildid']}") == expected
    for query in (f"build_id={new['buildid']}", f"build_id={build['buildid']}", "action=rebuild"):
        assert await found(master, query) == [made["job_id"]]
    job = (await master.get(f"/self-serve/jobs/{made['job_id']}")).json
    ((state, builds),) = [
        (one["state"], one["build_ids"]) for one in job["complete_data"]["body"]["requests"]
    ]
    assert (state, builds) == ("success", [new["buildid"]])


@pytest_twisted.ensureDeferred
async def test_what_cannot_be_is_refused(master: Master) -> None:
    for query, name in (
        ("request_id=x", "request_id"),
        ("request_id=0", "request_id"),
        ("build_id=1.5", "build_id"),
        ("build_id=99999999999", "build_id"),
        (f"revision={'x' * 257}", "revision"),
        ("action=%00", "action"),
    ):
        answer = await master.get(f"/self-serve/jobs?{query}")
        assert (answer.status, answer.json["msg"]) == (400, f"Bad {name}")
