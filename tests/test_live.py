"""Server-sent events: who hears what, and how it ends."""

from __future__ import annotations

import contextlib
import json
from dataclasses import asdict
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

from buildbot_selfserve import plugin
from buildbot_selfserve.live import listeners
from buildbot_selfserve.live.listeners import Listeners
from buildbot_selfserve.live.mq_consumer import MqEvent
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Event
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.mq_subscriptions import MqSubscriptions
from buildbot_selfserve.web import event_stream
from tests.harness import USER
from tests.harness import config

EVERY_DATABASE = "heavy"


class Browser(Protocol):
    """Reads a stream of events."""

    def __init__(self) -> None:
        self.text = ""
        self.closed = False

    def dataReceived(self, data: bytes) -> None:
        self.text += data.decode()

    def connectionLost(self, reason: Any = None) -> None:
        self.closed = True

    @property
    def changes(self) -> list[dict[str, Any]]:
        return [
            json.loads(line.removeprefix("data: "))
            for line in self.text.splitlines()
            if line.startswith("data: ")
        ]


async def opened(master: Any, branch: str = "main", headers: str = "") -> Browser:
    """Open the stream of a branch; return when it is open."""
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", master.loader.port)
    browser: Browser = await connectProtocol(endpoint, Browser())
    path = f"/self-serve/{branch}/events"
    browser.transport.write(
        f"GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{headers}\r\n".encode()
    )
    await master.until(lambda: ": still here" in browser.text or browser.closed, "it is open")
    return browser


def live() -> Any:
    assert plugin.application._service is not None
    return plugin.application._service.live


@pytest_twisted.ensureDeferred
async def test_a_subscription_that_comes_after_the_stop_ends(master: Any) -> None:
    mq, asked, heard = master.master.mq, defer.Deferred[None](), []

    def consume_later(*arguments: Any) -> Any:
        # as a message router answers
        return asked.addCallback(lambda _: mq.startConsuming(*arguments))

    subscriptions = MqSubscriptions(lambda *message: heard.append(message))
    subscriptions.start(consume_later, [("builds", None, None)])
    await subscriptions.stop()
    asked.callback(None)
    await master.finished_build()
    assert heard == []


@pytest_twisted.ensureDeferred
async def test_what_happens_on_a_branch_is_told_to_those_who_listen_to_it(master: Any) -> None:
    await master.finished_build()
    await master.finished_build(branch="feature/x", properties={"branch": ("feature/x", "Change")})
    browser, other = await opened(master), await opened(master, "feature%2Fx")
    head, _, rest = browser.text.partition("\r\n\r\n")
    assert head.startswith("HTTP/1.1 200 ")
    for line in (
        "content-type: text/event-stream",
        "cache-control: no-store",
        "x-accel-buffering: no",
        "x-content-type-options: nosniff",
    ):
        assert line in head.lower()
    assert f"retry: {event_stream.RETRY}\n\n" in rest
    build = await master.finished_build()
    wanted = {"request_id": build["buildrequestid"], "build_id": build["buildid"]}
    await master.until(lambda: wanted in browser.changes, "the build is told")
    assert "event: change\ndata: {" in browser.text
    assert {one["request_id"] for one in browser.changes} == {build["buildrequestid"]}
    # but it may hear that its own request has just ended
    assert wanted["request_id"] not in {one["request_id"] for one in other.changes}
    assert live().listening_now == 2
    for one in (browser, other):
        one.transport.abortConnection()
    await master.until(lambda: live().listening_now == 0, "they are forgotten")
    assert live().connections._taken.total() == 0
    assert master.errors == []


@pytest_twisted.ensureDeferred
async def test_a_push_is_told_for_which_nothing_is_requested(master: Any) -> None:
    await master.finished_build()
    await master.finished_build(branch="feature/x", properties={"branch": ("feature/x", "Change")})
    browser, other = await opened(master), await opened(master, "feature%2Fx")
    await master.add_change(
        revision="c" * 40, author="Ada", comments="Mend it", branch="feature/x", codebase=""
    )
    await master.until(lambda: other.changes, "the change is told")
    assert other.changes == [{"request_id": None, "build_id": None}]
    assert browser.changes == []


@pytest_twisted.ensureDeferred
async def test_what_waits_and_is_cancelled_is_told_without_a_build(master: Any) -> None:
    master.pause()
    await master.add_request()
    browser = await opened(master)
    request_id = await master.add_request()
    wanted = {"request_id": request_id, "build_id": None}
    await master.until(lambda: wanted in browser.changes, "the request is told")
    before = len(browser.changes)
    await master.request("DELETE", f"/self-serve/main/request/{request_id}", user=USER)
    await master.until(lambda: wanted in browser.changes[before:], "its end is told")


@pytest_twisted.ensureDeferred
async def test_a_branch_that_does_not_exist_has_no_events(master: Any) -> None:
    answer = await master.get("/self-serve/nowhere/events")
    assert (answer.status, answer.json["msg"]) == (404, "Branch nowhere not found")
    await master.finished_build()
    answer = await master.request("HEAD", "/self-serve/main/events")
    assert (answer.status, answer.header("content-type")) == (200, "text/event-stream")
    assert live().listening_now == 0


@pytest_twisted.ensureDeferred
async def test_the_end_of_the_plugin_ends_it(master: Any) -> None:
    await master.finished_build()
    browser = await opened(master)
    await plugin.application._service.disownServiceParent()
    # in chunks: the last one is empty
    await master.until(lambda: browser.text.endswith("\r\n0\r\n\r\n"), "the answer ends")


def guarded() -> Any:
    return config(
        authz=util.Authz(
            allowRules=[util.AnyEndpointMatcher(role="developers")],
            roleMatchers=[util.RolesFromUsername(roles=["developers"], usernames=[USER])],
        )
    )


@pytest.mark.parametrize("master", [guarded], indirect=True)
@pytest_twisted.ensureDeferred
async def test_who_may_not_read_may_not_listen(master: Any) -> None:
    await master.finished_build()
    assert (await master.get("/self-serve/main/events")).status in (401, 403)
    assert (await master.get("/self-serve/metrics")).status in (401, 403)
    assert (await master.get("/self-serve/metrics", user=USER)).status == 200
    assert live().listening_now == 0


def narrow() -> Any:
    return config(util.SelfServe(max_waiting_per_client=1))


@pytest.mark.parametrize("master", [narrow], indirect=True)
@pytest_twisted.ensureDeferred
async def test_listeners_take_places_like_all_who_wait(master: Any) -> None:
    await master.finished_build()
    browser = await opened(master)
    assert (await master.get("/self-serve/main/events")).status == 429
    browser.transport.abortConnection()
    await master.until(lambda: live().listening_now == 0, "it is forgotten")
    (await opened(master)).transport.abortConnection()


@pytest_twisted.ensureDeferred
async def test_who_does_not_read_is_cut_off(master: Any, monkeypatch: Any) -> None:
    await master.finished_build()
    browser = await opened(master)
    browser.transport.pauseProducing()
    (listener,) = live()._listeners._listeners
    many = [Event(number, number) for number in range(1000)]
    for _ in range(400):  # some 20 MB: more than a socket holds
        listener.hear(many)
        if not live().listening_now:
            break
        await task.deferLater(reactor, 0)
    await master.until(lambda: live().listening_now == 0, "it is cut off")
    browser.transport.resumeProducing()
    await master.until(lambda: browser.closed, "it notices")


@pytest_twisted.ensureDeferred
async def test_who_has_read_what_was_much_at_once_goes_on_listening(master: Any) -> None:
    await master.finished_build()
    browser = await opened(master)
    (listener,) = live()._listeners._listeners
    for begin in (0, 2000):  # 100 KB each: the second comes when the first has been read
        many = [Event(number, number) for number in range(begin, begin + 2000)]
        listener.hear(many)
        last = asdict(many[-1])
        await master.until(lambda last=last: last in browser.changes or browser.closed, "it came")
    assert len(browser.changes) == 4000
    assert (browser.closed, live().listening_now) == (False, 1)
    browser.transport.abortConnection()


# -- without a master: time is ours

MAIN = Branch("main", ("main",))
OTHER = Branch("other", ("other",))
STAMPS = {
    1: (Sourcestamp("main", "", "repo", ""),),
    2: (Sourcestamp("other", "", "repo", ""),),
    3: (Sourcestamp("main", "a", "repo", ""), Sourcestamp("other", "b", "repo", "")),
}


class Heard:
    """Listeners of two branches, and what they have heard."""

    def __init__(self) -> None:
        self.clock = task.Clock()
        self.asked: list[list[int]] = []
        self.listeners = Listeners(self.clock, self.look_up)
        self.main: list[Event] = []
        self.other: list[Event] = []
        self.listening = contextlib.ExitStack()
        for branch, heard in ((MAIN, self.main), (OTHER, self.other)):
            self.listening.enter_context(self.listeners.listening(branch, heard.extend))

    def look_up(self, request_ids: Any) -> Any:
        self.asked.append(list(request_ids))
        return defer.succeed({one: STAMPS[one] for one in request_ids if one in STAMPS})

    def happens(self, request_id: int, build_id: int | None = None) -> None:
        what = ("buildrequests", request_id) if build_id is None else ("builds", build_id)
        self.listeners.happened(MqEvent(what, "update", request_id))


def test_everybody_hears_of_their_own_branch_once_a_window() -> None:
    heard = Heard()
    for _ in range(50):
        heard.happens(1)
        heard.happens(2, 20)
        heard.happens(3, 30)
    heard.happens(2)
    heard.clock.advance(listeners.WINDOW)
    assert heard.main == [Event(1, None), Event(3, 30)]
    assert heard.other == [Event(2, 20), Event(3, 30)]
    heard.happens(1, 10)
    heard.clock.advance(listeners.WINDOW)
    assert heard.main[2:] == [Event(1, 10)]
    # where a request belongs is asked once
    assert heard.asked == [[1, 2, 3]]


def test_a_storm_is_told_as_something(monkeypatch: Any) -> None:
    monkeypatch.setattr(listeners, "MOST_TOLD", 1)
    heard = Heard()
    heard.happens(1)
    heard.happens(3)
    heard.happens(2)
    heard.clock.advance(listeners.WINDOW)
    assert heard.main == heard.other == [Event(None, None)]


def test_what_happens_is_held_against_its_own_branches_only(monkeypatch: Any) -> None:
    names = [f"feature/{number}" for number in range(40)]
    for number, name in enumerate(names * 10, 1000):
        monkeypatch.setitem(STAMPS, number, (Sourcestamp(name, "", "repo", ""),))
    compared: list[Sourcestamp] = []
    belongs = Sourcestamp.belongs

    def counted(stamp: Sourcestamp, branch: Branch) -> bool:
        compared.append(stamp)
        return belongs(stamp, branch)

    monkeypatch.setattr(Sourcestamp, "belongs", counted)
    heard = Heard()
    each: dict[str, list[Event]] = {name: [] for name in names}
    for name in names:
        branch = Branch(name, (name, "main"))
        heard.listening.enter_context(heard.listeners.listening(branch, each[name].extend))
    for request_id in (1, *range(1000, 1400)):
        heard.happens(request_id)
    heard.clock.advance(listeners.WINDOW)
    while any(not told for told in each.values()):
        heard.clock.advance(0)
    assert [one.request_id for one in each["feature/3"]] == [1, *range(1003, 1400, 40)]
    # 400 requests and 42 branches, but each is at one place, and each place on a branch or two
    assert len(compared) <= 3 * len(names)


def test_memory_is_bounded(monkeypatch: Any) -> None:
    monkeypatch.setattr(listeners, "MOST_REMEMBERED", 2)
    heard = Heard()
    for request_id in (1, 2, 3):
        heard.happens(request_id)
    heard.clock.advance(listeners.WINDOW)
    assert (heard.main, heard.asked) == ([Event(None, None)], [])
    for request_id in (1, 2, 3, 1):
        heard.happens(request_id)
        heard.clock.advance(listeners.WINDOW)
        assert len(heard.listeners._places) <= 2
    assert heard.main[1:] == [Event(1, None), Event(3, None), Event(1, None)]


def test_when_nobody_can_say_where_it_happened_all_are_told_of_something() -> None:
    heard = Heard()
    heard.listeners._look_up = lambda request_ids: defer.fail(ValueError("no database"))
    heard.happens(1)
    heard.clock.advance(listeners.WINDOW)
    assert heard.main == heard.other == [Event(None, None)]


def test_nothing_is_asked_while_nobody_listens() -> None:
    clock = task.Clock()
    listeners = Listeners(clock, lambda request_ids: defer.fail(AssertionError()))
    listeners.happened(MqEvent(("builds", 1), "new", 1))
    assert clock.getDelayedCalls() == []


@pytest.mark.parametrize(
    ("branch", "has"),
    [
        (MAIN, True),
        (OTHER, False),
        (Branch("m", ("main",), codebases=("a",)), True),
        (Branch("m", ("main",), codebases=("b",)), False),
        (Branch("m", ("main", None), repositories=("elsewhere",)), False),
        (Branch("m", ("main",), projects=("p",)), False),
    ],
)
def test_a_branch_knows_its_sourcestamps(branch: Branch, has: bool) -> None:
    assert Sourcestamp("main", "a", "repo", "").belongs(branch) is has
