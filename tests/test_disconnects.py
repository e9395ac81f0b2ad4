"""Clients that go away do not leave anything half done."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from buildbot.www.auth import UserInfoProviderBase
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.endpoints import connectProtocol
from twisted.internet.protocol import Protocol

from tests.harness import PASSWORD
from tests.harness import USER
from tests.harness import config

#: Seconds that a slow directory takes.
SLOWLY = 1.0
CLIENTS = 40
_AUTH = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


def rebuild_request(build_id: int) -> bytes:
    body = f"build_id={build_id}&count=2"
    return (
        "POST /self-serve/main/build HTTP/1.1\r\nHost: localhost\r\n"
        f"Authorization: Basic {_AUTH}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}"
    ).encode()


async def hang_up_after(port: int, sent: bytes, seconds: float, politely: bool) -> None:
    """Send a request, and after some *seconds* close the connection, or break it."""
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    protocol = await connectProtocol(endpoint, Protocol())
    protocol.transport.write(sent)
    await task.deferLater(reactor, seconds)
    if politely:
        protocol.transport.loseConnection()
    else:
        protocol.transport.abortConnection()


def with_short_builds() -> Any:
    made = config()
    for one in made["builders"]:
        one.factory = util.BuildFactory()
    return made


@pytest.mark.heavy
@pytest.mark.parametrize("master", [with_short_builds], indirect=True)
@pytest_twisted.ensureDeferred
async def test_clients_that_hang_up_leave_nothing_open(master: Any) -> None:
    build = await master.finished_build()
    sent = rebuild_request(build["buildid"])
    for number in range(CLIENTS):
        await hang_up_after(master.loader.port, sent, number / 1000, number % 2 == 0)

    async def all_closed() -> bool:
        jobs = (await master.get("/self-serve/jobs")).json
        return len(jobs) >= CLIENTS / 2 and all(job["status"] != "running" for job in jobs)

    async def nothing_waits() -> bool:
        requests = await master.data("buildrequests")
        return all(request["complete"] for request in requests)

    await master.until(all_closed, "every journal row is closed")
    await task.deferLater(reactor, 1)
    await master.until(all_closed, "every journal row is closed")
    jobs = (await master.get("/self-serve/jobs")).json
    # who closed the connection had sent the whole of it, and has it done; who broke it, perhaps
    assert CLIENTS / 2 <= len(jobs) <= CLIENTS
    assert {job["status"] for job in jobs} == {"ok"}
    made = [one["request_id"] for job in jobs for one in job["complete_data"]["body"]["requests"]]
    assert len(made) == len(set(made)) == 2 * len(jobs)
    await master.until(nothing_waits, "all of them are built")
    for request_id in made:
        assert (await master.data("buildrequests", request_id))["results"] == 0
    # what was made is what the journal says was made
    rows = (await master.get("/self-serve/main")).json
    assert len(rows) == 1 + len(made)
    assert master.errors == []


class _Slow(UserInfoProviderBase):
    """A directory that takes its time."""

    def getUserInfo(self, username: str) -> defer.Deferred[dict[str, str]]:
        return task.deferLater(reactor, SLOWLY, lambda: {"email": username})


def with_a_slow_directory() -> Any:
    return config(auth=util.UserPasswordAuth({USER: PASSWORD}, userInfoProvider=_Slow()))


@pytest.mark.parametrize("master", [with_a_slow_directory], indirect=True)
@pytest_twisted.ensureDeferred
async def test_who_hangs_up_before_it_is_known_who_they_are_has_it_done(master: Any) -> None:
    build = await master.finished_build()
    sent = rebuild_request(build["buildid"])
    await hang_up_after(master.loader.port, sent, SLOWLY / 4, politely=True)

    async def done() -> bool:
        jobs = (await master.get("/self-serve/jobs")).json
        return [job["status"] for job in jobs] == ["ok"]

    await master.until(done, "it is done")
    assert len(await master.data("buildrequests")) == 3
    assert master.errors == []
