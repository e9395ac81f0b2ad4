"""Answers that are held back: what lets them go, and what they cost while they wait."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.endpoints import connectProtocol

from buildbot_selfserve import plugin
from buildbot_selfserve.deferreds import Batcher
from buildbot_selfserve.deferreds import SharedCall
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.live import long_poll
from buildbot_selfserve.live.long_poll import LongPoll
from buildbot_selfserve.model import WaitCondition
from buildbot_selfserve.views import read_handler
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Received
from tests.harness import config

EVERY_DATABASE = "heavy"
AT = f"/self-serve/main/rev/{REVISION}"


def is_done(wait: int, stable_delay: int = 0) -> str:
    return f"{AT}/is_done?stableDelay={stable_delay}&wait={wait}"


def live() -> Any:
    assert plugin.application._service is not None
    return plugin.application._service.live


def later(work: Any) -> defer.Deferred[Any]:
    return defer.Deferred.fromCoroutine(work)


async def held(master: Any, path: str) -> defer.Deferred[Any]:
    """Ask for *path*; return when the answer is held back, with what it will be."""
    before = live().held
    answer = later(master.get(path))
    await master.until(lambda: live().held > before, f"{path} is held")
    return answer


def counted(monkeypatch: Any) -> list[str]:
    """Return a list that gets the name of each function that the readers are asked."""
    asked: list[str] = []
    readers = plugin.application._service.backend.readers
    original = readers.ask

    def ask(function: Any, *arguments: Any, **more: Any) -> Any:
        asked.append(function.__name__)
        return original(function, *arguments, **more)

    monkeypatch.setattr(readers, "ask", ask)
    return asked


@pytest_twisted.ensureDeferred
async def test_the_answer_comes_when_the_revision_is_done(master: Any) -> None:
    master.pause()
    request_id = await master.add_request()
    answer = await held(master, is_done(60))
    await task.deferLater(reactor, 0.3)
    assert not answer.called
    begun = time.monotonic()
    master.resume()
    response = await answer
    assert (response.status, response.json["job_complete"], response.json["job_passed"]) == (
        200,
        True,
        True,
    )
    assert time.monotonic() - begun < 30
    # the same answer as always
    plain = await master.get(f"{AT}/is_done?stableDelay=0")
    assert (plain.json, plain.header("etag")) == (response.json, response.header("etag"))
    await master.completed(request_id)
    assert live().held == 0


@pytest_twisted.ensureDeferred
async def test_it_comes_at_once_when_there_is_nothing_to_wait_for(master: Any) -> None:
    await master.finished_build()
    begun = time.monotonic()
    assert (await master.get(is_done(60))).json["job_complete"] is True
    page = await master.get(is_done(60), json=False)
    assert (page.status, page.header("content-type")) == (200, "text/html; charset=utf-8")
    assert time.monotonic() - begun < 30
    for path in (
        "/self-serve/main/rev/beefbeef/is_done?wait=60",
        "/self-serve/x/rev/y12345/is_done",
    ):
        assert (await master.get(path)).status == 404


@pytest_twisted.ensureDeferred
async def test_it_comes_when_the_time_is_over_and_says_what_is_not_done(master: Any) -> None:
    master.pause()
    await master.add_request()
    begun = time.monotonic()
    response = await master.get(is_done(1))
    assert 0.9 < time.monotonic() - begun < 30
    assert (response.status, response.json["job_complete"], response.json["pending"]) == (
        200,
        False,
        1,
    )
    assert live().held == 0


@pytest_twisted.ensureDeferred
async def test_stable_delay_is_waited_for(master: Any) -> None:
    build = await master.finished_build()
    response = await master.get(is_done(60, stable_delay=3))
    assert response.json["job_complete"] is True
    assert time.time() >= build["complete_at"].timestamp() + 3 - 1
    # nothing happens any more: it was the time that let it go
    response = await master.get(is_done(1, stable_delay=600))
    assert response.json["job_complete"] is False


@pytest_twisted.ensureDeferred
async def test_what_comes_in_between_is_waited_for_too(master: Any) -> None:
    master.pause()
    first = await master.add_request()
    answer = await held(master, is_done(60))
    second = await master.add_request("opt/mac #1", properties={"branch": ("main", "Change")})
    for request_id in (first, second):
        assert not answer.called
        receipt = await master.request(
            "DELETE", f"/self-serve/main/request/{request_id}", user=USER
        )
        assert [one["outcome"] for one in receipt.json["requests"]] == ["cancelled"]
    response = await answer
    assert (response.json["job_complete"], response.json["cancelled"]) == (True, 2)


@pytest_twisted.ensureDeferred
async def test_a_stopped_build_lets_it_go(master: Any) -> None:
    request_id = await master.add_request("slow")
    await master.running_build(request_id)
    answer = await held(master, is_done(60))
    await master.request("DELETE", AT, user=USER)
    assert (await answer).json["job_complete"] is True


def impatient() -> Any:
    return config(util.SelfServe(timeout=5))


@pytest.mark.heavy
@pytest.mark.parametrize("master", [impatient], indirect=True)
@pytest_twisted.ensureDeferred
async def test_it_outlives_the_timeout_of_reads(master: Any) -> None:
    master.pause()
    await master.add_request()

    async def answers() -> bool:
        return (await master.get(is_done(0))).status == 200  # a reader takes a while to start

    await master.until(answers, "a reader answers")
    response = await master.get(is_done(8))
    assert (response.status, response.json["job_complete"]) == (200, False)


@pytest_twisted.ensureDeferred
async def test_a_lost_event_is_made_up_for(master: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(long_poll, "POLL", 0.5)
    master.pause()
    await master.add_request()
    answer = await held(master, is_done(60))
    await live()._events.stop()
    master.resume()
    assert (await answer).json["job_complete"] is True


@pytest_twisted.ensureDeferred
async def test_who_hangs_up_is_forgotten(master: Any) -> None:
    master.pause()
    await master.add_request()
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", master.loader.port)
    clients = []
    for _ in range(3):
        client = await connectProtocol(endpoint, Received())
        client.transport.write(f"GET {is_done(60)} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        clients.append(client)
    await master.until(lambda: live().held == 3, "three wait")
    for client in clients:
        client.transport.abortConnection()
    await master.until(lambda: live().held == 0, "they are forgotten")
    assert live().connections._taken.total() == 0
    assert live()._holder._holds == {}
    assert live()._holder._waiting_for == {}
    assert master.errors == []


@pytest_twisted.ensureDeferred
async def test_the_end_of_the_plugin_turns_all_away(master: Any) -> None:
    master.pause()
    await master.add_request()
    answer = await held(master, is_done(60))
    before = list(live()._events._subscriptions._consumers)
    assert len(before) == 3  # builds, build requests and changes
    await plugin.application._service.disownServiceParent()
    response = await answer
    assert (response.status, response.header("retry-after")) == (503, "5")
    assert [consumer.callback for consumer in before] == [None] * 3


def crowded() -> Any:
    return config(util.SelfServe(max_waiting=3, max_waiting_per_client=2))


@pytest.mark.parametrize("master", [crowded], indirect=True)
@pytest_twisted.ensureDeferred
async def test_places_are_limited(master: Any) -> None:
    master.pause()
    await master.add_request()
    answers = [await held(master, is_done(60)) for _ in range(2)]
    refused = await master.get(is_done(60))
    assert (refused.status, refused.header("retry-after")) == (429, "5")
    assert refused.json["msg"] == "Too many requests from your address are waiting"
    # who does not wait is answered
    assert (await master.get(is_done(0))).status == 200
    with live().connections.taken("another client"):
        refused = await master.get(is_done(60))
        assert (refused.status, refused.header("retry-after")) == (503, "5")
    master.resume()
    for answer in answers:
        assert (await answer).json["job_complete"] is True
    assert (await master.get(is_done(60))).status == 200


@pytest.mark.parametrize("wait", ["x", "-1", "601", "1.5"])
@pytest_twisted.ensureDeferred
async def test_a_bad_wait_is_named(master: Any, wait: str) -> None:
    await master.finished_build()
    response = await master.get(f"{AT}/is_done?wait={wait}")
    assert (response.status, response.json["msg"]) == (400, "Bad wait")


@pytest_twisted.ensureDeferred
async def test_500_clients_cost_nearly_nothing(master: Any, monkeypatch: Any) -> None:
    """They share the looks at the database, and the answer; events of others cost no look."""
    master.pause()
    await master.add_request()
    asked = counted(monkeypatch)
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", master.loader.port)
    head = f"GET {is_done(120)} HTTP/1.1\r\nHost: x\r\nAccept: application/json\r\n"
    clients = []
    for _ in range(500):
        client = await connectProtocol(endpoint, Received())
        client.transport.write(f"{head}Connection: close\r\n\r\n".encode())
        clients.append(client)
    await master.until(lambda: live().held == 500, "500 wait")
    assert asked.count("wait_condition") == 1
    for number in range(200):
        for event in ("new", "claimed", "unclaimed", "complete"):
            master.master.mq.produce(("buildrequests", str(1000 + number), event), None)
    await task.deferLater(reactor, 1)
    assert asked.count("wait_condition") == 1
    begun = time.monotonic()
    master.resume()
    for client in clients:
        whole = await client.whole
        assert json.loads(whole.partition(b"\r\n\r\n")[2])["job_complete"] is True
    assert time.monotonic() - begun < 20
    # those who waited together had one answer
    assert asked.count("wait_condition") <= 4
    assert asked.count("answer_packed") == 1
    assert live().held == 0


@pytest_twisted.ensureDeferred
async def test_a_reader_that_fails_in_between_is_asked_again(master: Any, monkeypatch: Any) -> None:
    master.pause()
    await master.add_request()
    answer = await held(master, is_done(60))
    await master.until(
        lambda: all(hold.known for hold in live()._holder._holds.values()), "it has looked"
    )
    original = read_handler.wait_condition
    failed: list[Any] = []
    readers = plugin.application._service.backend.readers
    ask = readers.ask

    def failing(function: Any, *arguments: Any, **more: Any) -> Any:
        if function is original and not failed:
            failed.append(function)
            return defer.fail(Unavailable("The database is away", retry_after=1))
        return ask(function, *arguments, **more)

    monkeypatch.setattr(readers, "ask", failing)
    begun = time.monotonic()
    master.resume()
    assert (await answer).json["job_complete"] is True
    assert failed
    assert time.monotonic() - begun < 20


# -- without a master: time is ours


class Looks:
    """What looks find, one after another; the last one again and again."""

    def __init__(self, *found: Any) -> None:
        self.found = list(found)
        self.count = 0

    def __call__(self) -> defer.Deferred[WaitCondition]:
        self.count += 1
        found = self.found.pop(0) if len(self.found) > 1 else self.found[0]
        return defer.fail(found) if isinstance(found, Exception) else defer.succeed(found)


WAITS = WaitCondition(frozenset({("builds", 1), ("buildrequests", 2)}))
DONE = WaitCondition()


def begun(holder: LongPoll, looks: Looks, seconds: float = 600) -> defer.Deferred[SharedCall]:
    return later(holder.hold("key", looks, seconds))


def test_one_look_follows_when_the_last_has_ended() -> None:
    clock, looks = task.Clock(), Looks(WAITS, DONE)
    holder = LongPoll(clock)
    waiters = [begun(holder, looks) for _ in range(5)]
    clock.advance(0)
    assert (looks.count, holder.waiting) == (1, 5)
    clock.advance(1)
    holder.ended(("builds", 1))
    holder.ended(("builds", 7))
    clock.advance(1)
    assert looks.count == 1
    holder.ended(("buildrequests", 2))
    clock.advance(0)
    assert (looks.count, holder.waiting) == (2, 0)
    moments = {waiter.result for waiter in waiters}
    assert len(moments) == 1
    assert clock.getDelayedCalls() == []


def test_a_storm_of_ends_is_looked_at_a_few_times() -> None:
    clock = task.Clock()
    looks = Looks(*(WaitCondition(frozenset({("builds", number)})) for number in range(400)), DONE)
    holder = LongPoll(clock)
    begun(holder, looks)
    for number in range(100):
        holder.ended(("builds", number))
        clock.advance(0.01)
    assert looks.count <= 1 / long_poll.SHORTEST + 2


def test_what_ends_during_a_look_is_not_missed() -> None:
    clock, first = task.Clock(), defer.Deferred[WaitCondition]()
    answers = [first, defer.succeed(DONE)]
    holder = LongPoll(clock)
    waiter = later(holder.hold("key", lambda: answers.pop(0), 600))
    clock.advance(0)
    holder.ended(("builds", 1))
    holder.ended(("buildrequests", 2))
    first.callback(WAITS)
    assert not waiter.called
    clock.advance(long_poll.SHORTEST)
    assert waiter.called


@pytest.mark.parametrize("known", [False, True], ids=["first", "later"])
@pytest.mark.parametrize("before", [DONE, WAITS, ValueError("no")], ids=["done", "waits", "no"])
def test_a_look_during_a_reconfig_is_made_again(before: Any, known: bool) -> None:
    clock, during = task.Clock(), defer.Deferred[WaitCondition]()
    answers = [during, defer.succeed(WAITS), defer.succeed(DONE)]
    if known:
        answers.insert(0, defer.succeed(WAITS))
    holder = LongPoll(clock)
    waiter = later(holder.hold("key", lambda: answers.pop(0), 600))
    clock.advance(0)
    if known:
        clock.advance(long_poll.POLL)
    holder.look_again()
    during.callback(before) if isinstance(before, WaitCondition) else during.errback(before)
    assert (len(answers), waiter.called) == (2, False)
    clock.advance(long_poll.SHORTEST)
    assert (len(answers), waiter.called) == (1, False)
    # and no more often than that
    clock.advance(long_poll.POLL - 1)
    assert (len(answers), waiter.called) == (1, False)
    clock.advance(1)
    assert waiter.called


def test_a_look_that_fails_is_made_up_for() -> None:
    clock, looks = task.Clock(), Looks(WAITS, Unavailable("away", retry_after=3), DONE)
    waiter = begun(LongPoll(clock), looks)
    clock.advance(0)
    clock.advance(long_poll.POLL)
    assert (looks.count, waiter.called) == (2, False)
    clock.advance(3)
    assert (looks.count, waiter.called) == (3, True)
    assert clock.getDelayedCalls() == []


def test_a_look_that_fails_when_nobody_waits_any_more_is_the_last_one() -> None:
    clock = task.Clock()
    answers = [defer.succeed(WAITS), defer.Deferred[WaitCondition]()]
    holder, looks = LongPoll(clock), iter(answers)
    waiter = later(holder.hold("key", lambda: next(looks), long_poll.POLL + 1))
    clock.advance(0)
    clock.advance(long_poll.POLL)
    clock.advance(1)
    assert waiter.called
    answers[1].errback(Unavailable("away"))
    assert (clock.getDelayedCalls(), holder._looking) == ([], set())


def test_the_delay_is_slept_through() -> None:
    clock, looks = task.Clock(), Looks(WaitCondition(seconds=20), DONE)
    waiter = begun(LongPoll(clock), looks)
    clock.advance(0)
    clock.advance(19)
    assert (looks.count, waiter.called) == (1, False)
    clock.advance(1)
    assert (looks.count, waiter.called) == (2, True)


def test_who_asks_for_what_does_not_exist_is_told_so() -> None:
    clock = task.Clock()
    waiter = begun(LongPoll(clock), Looks(ValueError("no")))
    clock.advance(0)
    waiter.addErrback(lambda failure: failure.trap(ValueError))
    assert waiter.result is ValueError
    assert clock.getDelayedCalls() == []


def test_what_several_ask_at_one_moment_is_asked_once() -> None:
    clock = task.Clock()
    moment, work, asked = SharedCall(clock), defer.Deferred[int](), []

    def question() -> defer.Deferred[int]:
        asked.append(1)
        return work

    waiters = [moment.ask("key", question) for _ in range(3)]
    waiters[0].addErrback(lambda failure: None)
    waiters[0].cancel()
    work.callback(5)
    assert [waiter.result for waiter in waiters[1:]] == [5, 5]
    assert moment.ask("key", question).result == 5
    assert len(asked) == 1


def test_what_fails_at_once_fails_for_all_who_ask() -> None:
    moment = SharedCall(task.Clock())

    def question() -> defer.Deferred[int]:
        raise Unavailable("not yet")

    for _ in range(2):
        moment.ask("key", question).addErrback(lambda failure: failure.trap(Unavailable))


class Turns(task.Clock):
    """A reactor of which each turn is taken by hand."""

    def __init__(self) -> None:
        super().__init__()
        self.planned: list[Any] = []

    def callLater(self, delay: float, callable: Any, *arguments: Any, **more: Any) -> Any:
        self.planned.append(lambda: callable(*arguments, **more))
        return super().callLater(1e9, lambda: None)  # what can be cancelled

    def turn(self) -> None:
        planned, self.planned = self.planned, []
        for work in planned:
            work()


def test_hundreds_are_answered_a_few_in_each_turn_of_the_reactor() -> None:
    clock, work = Turns(), defer.Deferred[int]()
    moment = SharedCall(clock)
    answers = [moment.ask("key", lambda: work) for _ in range(2 * Batcher.EACH_TURN + 5)]
    work.callback(5)
    told = []
    for _ in range(3):
        told.append(sum(answer.called for answer in answers))
        clock.turn()
    assert told == [Batcher.EACH_TURN, 2 * Batcher.EACH_TURN, 2 * Batcher.EACH_TURN + 5]
    assert clock.planned == []


def test_hundreds_are_let_go_a_few_in_each_turn_of_the_reactor() -> None:
    clock = Turns()
    holder = LongPoll(clock)
    holds = [later(holder.hold("key", Looks(DONE), 600)) for _ in range(Batcher.EACH_TURN + 1)]
    clock.planned = clock.planned[:1]  # without the ends of their time
    clock.turn()
    assert sum(hold.called for hold in holds) == Batcher.EACH_TURN
    clock.turn()
    assert all(isinstance(hold.result, SharedCall) for hold in holds)
