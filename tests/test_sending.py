"""Long answers: they arrive whole, in pieces, also where clients are slow or go away."""

from __future__ import annotations

import gc
import gzip
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.endpoints import connectProtocol
from twisted.internet.protocol import Protocol
from twisted.web.server import Request

from buildbot_selfserve.readers import PIECE
from buildbot_selfserve.readers.bodies import Body
from buildbot_selfserve.web import responses
from tests.harness import config

#: A long property makes a long answer: more than the buffers of a socket hold.
LONG = "".join(f"{number:08}" for number in range(1_000_000))


async def path_of_long(master: Any) -> str:
    build = await master.finished_build(properties={"long": (LONG, "test")})
    return f"/self-serve/main/build/{build['buildid']}"


@pytest_twisted.ensureDeferred
async def test_a_long_answer_arrives_whole(master: Any) -> None:
    path = await path_of_long(master)
    whole = await master.get(path)
    assert whole.json["requests"][0]["properties"]["long"] == LONG
    assert len(whole.body) > 100 * PIECE
    head = await master.content_length("HEAD", path + "?format=json")
    assert head == len(whole.body)
    packed = await master.raw(path, {"Accept": "application/json", "Accept-Encoding": "gzip"})
    assert gzip.decompress(packed.body) == whole.body
    unchanged = {"If-None-Match": whole.header("etag")}
    assert (await master.get(path, headers=unchanged)).status == 304


class Slow(Protocol):
    """A client that begins to read late."""

    def __init__(self) -> None:
        self.received = 0
        self.over: defer.Deferred[None] = defer.Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)

    def connectionLost(self, reason: Any = None) -> None:
        self.over.callback(None)


async def ask_slowly(master: Any, path: str) -> Slow:
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", master.loader.port)
    client = await connectProtocol(endpoint, Slow())
    client.transport.pauseProducing()
    sent = f"GET {path}?format=json HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    client.transport.write(sent.encode())
    await task.deferLater(reactor, 0.5)
    return client


@pytest_twisted.ensureDeferred
async def test_a_slow_client_gets_all_of_it_too(master: Any) -> None:
    path = await path_of_long(master)
    length = await master.content_length("HEAD", path + "?format=json")
    client = await ask_slowly(master, path)
    assert (await master.get("/self-serve/branches")).status == 200
    client.transport.resumeProducing()
    await client.over
    assert length < client.received < length + 2000


@pytest_twisted.ensureDeferred
async def test_clients_that_go_away_in_the_middle_leave_nothing(master: Any) -> None:
    path = await path_of_long(master)
    for number in range(6):
        client = await ask_slowly(master, path)
        if number % 2:
            client.transport.abortConnection()
        else:
            client.transport.resumeProducing()
            client.transport.loseConnection()
        await client.over
    assert len((await master.get(path)).body) > len(LONG)
    assert master.errors == []


@pytest_twisted.ensureDeferred
async def test_a_client_that_stops_reading_is_cut_off(master: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(responses, "PATIENCE", 1.0)
    path = await path_of_long(master)
    pausing, slow = await ask_slowly(master, path), await ask_slowly(master, path)
    slow.transport.resumeProducing()
    await slow.over
    await task.deferLater(reactor, 1.5)
    pausing.transport.resumeProducing()
    await pausing.over
    assert pausing.received < len(LONG) < slow.received
    assert master.errors == []


def threads() -> Any:
    return config(util.SelfServe(readers=0))


@pytest_twisted.ensureDeferred
async def test_readers_in_threads_answer_the_same(master: Any) -> None:
    path = await path_of_long(master)
    whole = await master.get(path)
    await master.reconfig(threads)

    async def same() -> bool:
        answer = await master.get(path)
        return bool(answer.body == whole.body)

    await master.until(same, "the readers are threads")


def unfrozen(readers: int) -> Any:
    """Return a configuration under which the garbage collector knows all objects."""
    return lambda: config(util.SelfServe(readers=readers, gc_freeze=False))


@pytest.mark.parametrize("master", [unfrozen(0), unfrozen(1)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_answers_that_have_been_taken_are_not_kept(master: Any) -> None:
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}

    def kept() -> int:
        gc.collect()
        return sum(isinstance(one, Body | Request) for one in gc.get_objects())

    async def ask(times: int) -> None:
        for _ in range(times):
            whole = await master.raw("/self-serve/openapi.json", headers)
            assert len(whole.body) > PIECE

    await ask(2)
    before = kept()
    await ask(10)
    await master.until(lambda: kept() <= before + 2, "they are gone")
