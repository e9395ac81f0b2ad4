"""Idempotency-Key: a job request may be sent again, and is done once."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet import defer

from tests.harness import REVISION
from tests.harness import USER

EVERY_DATABASE = "heavy"


async def rebuild(master: Any, key: str, **fields: Any) -> Any:
    return await master.post(
        "/self-serve/main/build",
        user=USER,
        data={"build_id": 1, **fields},
        headers={"Idempotency-Key": key},
    )


async def made(master: Any) -> int:
    """Return how many requests there are beside the first build's."""
    return len(await master.data("buildrequests")) - 1


@pytest_twisted.ensureDeferred
async def test_the_same_key_gets_the_first_receipt(master: Any) -> None:
    await master.finished_build()
    first = await rebuild(master, "k", count=2)
    again = await rebuild(master, "k", count=2)
    assert (first.status, again.status) == (202, 202)
    assert again.json == first.json
    assert await made(master) == 2
    other = await rebuild(master, "K", count=2)
    assert other.json["job_id"] != first.json["job_id"]
    assert await made(master) == 4
    assert len((await master.get("/self-serve/jobs")).json) == 2


@pytest_twisted.ensureDeferred
async def test_the_same_key_with_another_body_is_refused(master: Any) -> None:
    await master.finished_build()
    await rebuild(master, "k", count=2)
    answer = await rebuild(master, "k", count=3)
    assert answer.status == 422
    assert answer.json["msg"] == "This Idempotency-Key was already used for job 1"
    answer = await master.post(
        "/self-serve/main/request",
        user=USER,
        data={"request_id": 1},
        headers={"Idempotency-Key": "k"},
    )
    assert answer.status == 422
    assert await made(master) == 2


@pytest_twisted.ensureDeferred
async def test_sent_at_once_it_is_done_once(master: Any) -> None:
    await master.finished_build()
    sent = [defer.ensureDeferred(rebuild(master, "k", count=3)) for _ in range(6)]
    answers = [await one for one in sent]
    assert {answer.status for answer in answers} == {202}
    # which id is the database's to choose: PostgreSQL counts the refused rows, too
    [job_id] = {answer.json["job_id"] for answer in answers}
    assert [job["job_id"] for job in (await master.get("/self-serve/jobs")).json] == [job_id]
    assert await made(master) == 3


@pytest_twisted.ensureDeferred
async def test_what_did_nothing_may_be_sent_again_with_its_key(master: Any) -> None:
    build = await master.finished_build()
    path = f"/self-serve/main/request/{build['buildrequestid']}"
    for _ in range(2):
        answer = await master.request(
            "PUT", path, user=USER, data={"priority": 3}, headers={"Idempotency-Key": "k"}
        )
        assert (answer.status, answer.json["msg"]) == (400, "Request already complete")
    assert (await rebuild(master, "k")).status == 202


@pytest.mark.parametrize("key", ["", " ", "x" * 257, "a\x01b", b"caf\xe9"])
@pytest_twisted.ensureDeferred
async def test_a_key_that_is_none_is_named(master: Any, key: Any) -> None:
    await master.finished_build()
    answer = await rebuild(master, key)
    assert (answer.status, answer.json["msg"]) == (400, "Bad Idempotency-Key")
    assert await made(master) == 0


@pytest_twisted.ensureDeferred
async def test_the_receipt_of_what_had_nothing_to_do_is_kept(master: Any) -> None:
    await master.finished_build()
    path = f"/self-serve/main/rev/{REVISION}"
    first = await master.request("DELETE", path, user=USER, headers={"Idempotency-Key": "k"})
    assert (first.status, first.json["msg"]) == (202, "Nothing was left to cancel")
    master.pause()
    somebody_elses = await master.add_request()
    again = await master.request("DELETE", path, user=USER, headers={"Idempotency-Key": "k"})
    assert (again.status, again.json) == (202, first.json)
    assert not (await master.data("buildrequests", somebody_elses))["complete"]
