"""The clients for scripts and for Twisted: both do the same, against a real master."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import pytest
import pytest_twisted
import urllib3
from buildbot.plugins import schedulers
from buildbot.plugins import util
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task
from twisted.internet.threads import deferToThread

from buildbot_selfserve.client import Client
from buildbot_selfserve.client import errors
from buildbot_selfserve.client import operations
from buildbot_selfserve.client import rows
from buildbot_selfserve.client.deferred import TwistedClient
from buildbot_selfserve.client.operations import Core
from tests import PATIENCE
from tests.harness import PASSWORD
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import builder
from tests.harness import config
from tests.ports import free_port
from tests.slow_server import slow_server
from tests.unreliable import DONE_BUT_LOST
from tests.unreliable import LOST
from tests.unreliable import Fault
from tests.unreliable import Unreliable
from tests.unreliable import unreliable

QUESTIONS = [name for name, one in inspect.getmembers(Core, callable) if not name.startswith("_")]
KINDS = {"sync": Client, "twisted": TwistedClient}


class Asker:
    """Asks with one kind of client, and never holds up the reactor."""

    def __init__(self, kind: str, url: str) -> None:
        self.kind = kind
        self.url = url

    def client(self, url: str | None = None, **more: Any) -> Any:
        more = {"user": USER, "password": PASSWORD, **more}
        return KINDS[self.kind](url or self.url, **more)

    def ask(self, client: Any, name: str, *args: Any, **more: Any) -> defer.Deferred[Any]:
        question = partial(getattr(client, name), *args, **more)
        return deferToThread(question) if self.kind == "sync" else question()

    def __call__(self, name: str, *args: Any, **more: Any) -> defer.Deferred[Any]:
        return self.ask(self.client(), name, *args, **more)


@pytest.fixture(params=list(KINDS))
def asked(request: Any, master: Any) -> Asker:
    return Asker(request.param, f"{master.url}/self-serve")


@pytest.fixture
def proxy(master: Any) -> Iterator[Unreliable]:
    with unreliable(master.loader.port) as one:
        yield one


def several() -> Config:
    """A master with a set, a branch that has a slash, and a builder whose name has everything."""
    branches = [
        util.SelfServeBranch("main", builders=["fast", "slow"], sets={"nightly": ["fast"]}),
        util.SelfServeBranch("feature/x y", builders=["opt/mac #1"]),
    ]
    return config(util.SelfServe(branches=branches))


@pytest.mark.parametrize("master", [several], indirect=True)
@pytest_twisted.ensureDeferred
async def test_everything_that_can_be_asked(master: Any, asked: Asker) -> None:
    build = await master.finished_build()
    assert set(await asked("branches")) == {"main", "feature/x y"}
    assert await asked("builders", "main") == ["fast", "slow"]
    (row,) = await asked("builds", "main")
    assert row["build_id"] == build["buildid"]
    assert rows.state(row) == "success"
    assert await asked("revision", "main", REVISION[:8]) == [row]
    assert await asked("builds", "main", date="2001-01-01") == []
    one = await asked("build_row", "main", build["buildid"])
    assert one["requests"][0]["properties"]["branch"] == "main"
    why = await asked("why", "main", build["buildrequestid"])
    assert (why["state"], why["reasons"]) == ("success", [])
    for branch in (None, "main"):
        some = {"builders": ["f*", "slow"], "tags": None, "exclude_builders": "slow"}
        assert (await asked("queue", branch, **some))["waiting"] == 0
    assert one["steps"][1]["logs"][0]["slug"] == "stdio"
    whole = await asked("log", "main", build["buildid"], 1)
    assert "program finished with exit code 0\n" in whole
    tail = await asked("log", "main", build["buildid"], "shell", "stdio", tail=1)
    assert whole.endswith(tail)
    assert tail.count("\n") == 1
    lines = whole.count("\n")
    assert await asked("log", "main", build["buildid"], 1, offset=lines - 1) == tail
    with pytest.raises(errors.NotFound, match="Step nope not found"):
        await asked("log", "main", build["buildid"], "nope")
    request = await asked("request_row", "main", build["buildrequestid"])
    assert request["build_ids"] == [build["buildid"]]
    done = await asked("is_done", "main", REVISION, stable_delay=0)
    assert (done["job_complete"], done["job_passed"], done["builds"]) == (True, True, 1)
    possible = await asked("possible", "main", REVISION)
    assert possible["sets"]["nightly"] == ["fast"]
    may = await asked("permissions", "main", builders=["f*", "slow"], exclude_builders="slow")
    assert (may["builders"], may["who"]) == (["fast"], "ada")
    may = await asked("permissions", "main", build_id=build["buildid"], tags=None)
    assert (may["builders"], may["actions"]["cancel_build"]["allowed"]) == (None, True)
    with pytest.raises(errors.BadRequest):
        await asked("permissions", "main", builders=[])
    assert await asked("user", "main", "ada@example.org") == {
        "builds": [],
        "running": [],
        "pending": [],
    }
    assert await asked("jobs") == []
    (push,) = await asked("pushes", "main", limit=200)
    assert (push["revision"], push["verdict"]) == (REVISION, "passed")
    assert await asked("pushes", "main", before=REVISION) == []
    assert await asked("pushes", "main", author="ada") == []
    assert await asked("user_pushes", "ada@example.org", limit=1) == []
    health = await asked("health", "main", REVISION[:8])
    states = [(one["buildername"], one["state"]) for one in health["builders"]]
    assert states[-1] == ("fast", "passed") or states[0] == ("fast", "passed")
    compared = await asked("health", "main", REVISION, base=REVISION)
    assert compared["base"] == REVISION
    green = await asked("last_green", "main", builders=["fast", "f*"], exclude_builders="slow")
    assert (green["revision"], green["distance"]) == (REVISION, 0)


@pytest_twisted.ensureDeferred
async def test_an_empty_selection_does_not_stand_for_everything(master: Any, asked: Asker) -> None:
    await master.finished_build()
    for name in ("last_green", "queue", "permissions", "release"):
        with pytest.raises(errors.BadRequest, match="Bad builders"):
            await asked(name, "main", builders=[])


@pytest.mark.parametrize("master", [several], indirect=True)
@pytest_twisted.ensureDeferred
async def test_all_pushes_come_with_several_answers(
    master: Any, asked: Asker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(operations, "MOST_PUSHES", 2)
    for number in range(5):
        await master.add_change(
            author="Ada <ada@example.org>", revision=f"{number}" * 40, branch="main", files=[]
        )
    newest_first = [f"{number}" * 40 for number in (4, 3, 2, 1, 0)]
    for name, noun in (("pushes", "main"), ("user_pushes", "ada@example.org")):
        for limit in (1, 3, 4, 5, 99):
            found = await asked(name, noun, limit=limit)
            assert [one["revision"] for one in found] == newest_first[:limit]


@pytest.mark.parametrize("master", [several], indirect=True)
@pytest_twisted.ensureDeferred
async def test_everything_that_can_be_done(master: Any, asked: Asker) -> None:
    build = await master.finished_build()
    master.pause()
    receipt = await asked("rebuild_build", "main", build["buildid"], count=2, priority=3)
    assert not rows.went_wrong(receipt)
    first, second = (one["request_id"] for one in receipt["requests"])
    assert (await master.data("buildrequests", first))["priority"] == 3
    receipt = await asked("reprioritize", "main", first, -4)
    assert [one["outcome"] for one in receipt["requests"]] == ["reprioritized"]
    assert (await master.data("buildrequests", first))["priority"] == -4
    receipt = await asked("reprioritize", "main", first, "next")
    assert receipt["msg"] == f"Request {first} has priority 4"
    receipt = await asked("reprioritize_revision", "main", REVISION, 2, builders="fast")
    assert {one["outcome"] for one in receipt["requests"]} == {"reprioritized"}
    receipt = await asked("cancel_request", "main", first)
    assert [one["outcome"] for one in receipt["requests"]] == ["cancelled"]
    await asked("rebuild_request", "main", second, same_revision=True)
    receipt = await asked("build_set", "main", REVISION, "nightly", priority=1)
    assert [one["buildername"] for one in receipt["requests"]] == ["fast"]
    await asked("build", "main", REVISION)
    receipt = await asked("cancel_revision", "main", REVISION)
    assert {one["outcome"] for one in receipt["requests"]} == {"cancelled"}
    assert len(receipt["requests"]) == 4
    receipt = await asked("cancel_build", "main", build["buildid"])
    assert [one["outcome"] for one in receipt["requests"]] == ["already_complete"]
    jobs = await asked("jobs", num=3, offset=1, who=USER)
    assert [job["action"] for job in jobs] == [
        "cancel_revision",
        "new_build_at_revision",
        "new_nightly_at_revision",
    ]
    (newest,) = await asked("jobs", revision=REVISION, action="cancel_rev")
    assert newest == jobs[0]
    assert newest not in await asked("jobs", build_id=build["buildid"])
    ended = newest["complete_data"]["body"]["requests"][0]["request_id"]
    assert newest in await asked("jobs", request_id=ended)
    one = await asked("job", newest["job_id"])
    requests = one["complete_data"]["body"]["requests"]
    assert {(request.pop("state"), request.pop("results")) for request in requests} == {
        ("cancelled", 6)
    }
    assert one == newest


def failing() -> Config:
    made = several()
    made["builders"] = [builder("fast", "false"), builder("slow"), builder("opt/mac #1")]
    names = ["fast", "slow"]
    made["schedulers"][0] = schedulers.AnyBranchScheduler(name="any", builderNames=names)
    return made


@pytest.mark.parametrize("master", [failing], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_plan_is_looked_at_and_then_done(master: Any, asked: Asker) -> None:
    build = await master.finished_build()
    master.pause()
    plan = await asked("rerun_failed", "main", REVISION, dry_run=True, properties={"level": 3})
    assert (plan["status"], plan["msg"]) == ("PLANNED", "1 build would be requested")
    assert await asked("jobs") == []
    receipt = await asked(
        "rerun_failed",
        "main",
        REVISION,
        states=["failure"],
        builders=["f*", "slow"],
        exclude_builders="slow",
        properties={"level": 3},
        if_plan=plan["plan"],
    )
    (made,) = receipt["requests"]
    request = await asked("request_row", "main", made["request_id"])
    assert request["properties"]["level"] == 3
    with pytest.raises(errors.PlanChanged) as caught:
        await asked("rerun_failed", "main", REVISION, if_plan=plan["plan"])
    assert (caught.value.status, caught.value.msg) == (412, "The plan has changed")
    assert [one["outcome"] for one in caught.value.requests] == ["left_out"]
    nothing = await asked("rerun_failed", "main", REVISION, dry_run=True)
    assert caught.value.plan == nothing["plan"]
    # a rebuild without a property that it had
    receipt = await asked("rebuild_request", "main", made["request_id"], properties={"level": None})
    request = await asked("request_row", "main", receipt["requests"][0]["request_id"])
    assert "level" not in request["properties"]
    plan = await asked("fill_missing", "main", REVISION, dry_run=True)
    assert [one["buildername"] for one in plan["requests"]] == ["slow"]
    receipt = await asked("fill_missing", "main", REVISION, builders="slow", priority=4)
    assert (await master.data("buildrequests", receipt["requests"][0]["request_id"]))[
        "priority"
    ] == 4
    plan = await asked("backfill", "main", "slow", revision=REVISION, force=True, dry_run=True)
    assert plan["status"] == "PLANNED"
    receipt = await asked("backfill", "main", "slow", revision=REVISION, max=1, force=True)
    assert receipt["status"] == "OK"
    before = await asked("jobs")
    for name, *args in (
        ("rebuild_build", build["buildid"]),
        ("rebuild_request", made["request_id"]),
        ("cancel_build", build["buildid"]),
        ("cancel_request", made["request_id"]),
        ("reprioritize", made["request_id"], 5),
        ("cancel_revision", REVISION),
        ("build", REVISION),
        ("build_set", REVISION, "nightly"),
        ("build_with", REVISION, "slow"),
    ):
        plan = await asked(name, "main", *args, dry_run=True)
        assert plan["status"] == "PLANNED"
        assert not plan["requests"][0]["outcome"].endswith("ed") or name == "cancel_build"
    assert await asked("jobs") == before
    receipt = await asked("build", "main", REVISION, builders=["s*"], properties={"x": [1]})
    assert [one["buildername"] for one in receipt["requests"]] == ["slow"]
    receipt = await asked("build_set", "main", REVISION, "nightly", builders="fast")
    assert [one["buildername"] for one in receipt["requests"]] == ["fast"]
    receipt = await asked("cancel_revision", "main", REVISION, builders=["slow"])
    assert [one["buildername"] for one in receipt["requests"]] == ["slow"] * 2
    # a list that came out empty does not mean all
    with pytest.raises(errors.BadRequest, match="Bad builders"):
        await asked("cancel_revision", "main", REVISION, builders=[])


@pytest.mark.parametrize("master", [several], indirect=True)
@pytest_twisted.ensureDeferred
async def test_names_may_have_anything_in_them(master: Any, asked: Asker) -> None:
    branch, revision = "feature/x y", "r/1?#%2F&ü"
    await master.finished_build("opt/mac #1", branch=branch, revision=revision)
    assert [row["revision"] for row in await asked("builds", branch)] == [revision]
    assert [row["branch"] for row in await asked("revision", branch, revision)] == [branch]
    properties = {"text": "a&b=ü", "list": [1, {"x": None}]}
    receipt = await asked(
        "build_with", branch, revision, "opt/mac #1", properties=properties, files=["ü/%2F"]
    )
    (one,) = receipt["requests"]
    request = await asked("request_row", branch, one["request_id"])
    assert {name: request["properties"][name] for name in properties} == properties
    assert (await asked("job", receipt["job_id"]))["what"]["files"] == ["ü/%2F"]


@pytest_twisted.ensureDeferred
async def test_a_list_that_comes_in_parts_is_put_together(master: Any, asked: Asker) -> None:
    for _ in range(3):
        await master.finished_build()
    whole = await asked("revision", "main", REVISION)
    assert len(whole) == 3
    assert await asked("revision", "main", REVISION, limit=2) == whole[:2]
    assert await asked("revision", "main", REVISION, limit=2, offset=2) == whole[2:]
    with unreliable(master.loader.port) as proxy:
        # as a server answers that gives no more than two rows at a time
        limited = await master.get(f"/self-serve/main/rev/{REVISION}?limit=2")
        link = limited.header("link")
        assert 'rel="next"' in link
        proxy.faults = [Fault(200, {"Link": link}, limited.body)]
        client = asked.client(proxy.url)
        assert await asked.ask(client, "revision", "main", REVISION) == whole
        assert [one.path.partition("?")[2] for one in proxy.seen] == ["", "offset=2"]


@pytest.mark.parametrize(
    ("question", "error", "status", "msg"),
    [
        (("revision", "nowhere", REVISION), errors.NotFound, 404, "Branch nowhere not found"),
        (("job", 99), errors.NotFound, 404, "Job 99 not found"),
        (("builds", "main", "date", "x"), errors.BadRequest, 400, "Bad date"),
        (("rebuild_build", "main", 1, "count", 0), errors.BadRequest, 400, "Bad count"),
        (("builders", ""), errors.BadRequest, None, "'' cannot be used in a URL"),
    ],
)
@pytest_twisted.ensureDeferred
async def test_what_the_server_refuses_is_an_exception(
    master: Any, asked: Asker, question: Any, error: Any, status: int | None, msg: str
) -> None:
    await master.finished_build()
    name, first, *others = question
    args, more = (others, {}) if len(others) < 2 else (others[:-2], dict([others[-2:]]))
    with pytest.raises(error) as caught:
        await asked(name, first, *args, **more)
    assert (type(caught.value), caught.value.status, caught.value.msg) == (error, status, msg)


@pytest_twisted.ensureDeferred
async def test_who_may_not(master: Any, asked: Asker) -> None:
    await master.finished_build()
    wrong = asked.client(password="wrong")
    with pytest.raises(errors.Unauthorized, match="Wrong user name or password"):
        await asked.ask(wrong, "cancel_build", "main", 1)
    nobody = asked.client(user=None, password=None)
    with pytest.raises(errors.Unauthorized):
        await asked.ask(nobody, "cancel_build", "main", 1)
    with pytest.raises(errors.Misconfigured):
        asked.client(user=None)


@pytest_twisted.ensureDeferred
async def test_nobody_there(master: Any, asked: Asker) -> None:
    away = asked.client(f"http://127.0.0.1:{free_port()}", patience=0)
    with pytest.raises(errors.Unreachable, match="refused"):
        await asked.ask(away, "branches")
    nowhere = asked.client("http://nowhere.invalid", patience=0)
    with pytest.raises(errors.Unreachable):
        await asked.ask(nowhere, "branches")


@pytest_twisted.ensureDeferred
async def test_a_server_may_be_named_by_an_address(asked: Asker) -> None:
    client = asked.client(f"http://[::1]:{free_port()}", patience=0)
    with pytest.raises(errors.Unreachable):
        await asked.ask(client, "branches")


@pytest.mark.parametrize("host", ["a b", "a" * 70, "\u00bc.invalid"])
@pytest_twisted.ensureDeferred
async def test_a_host_that_cannot_be_is_an_error_of_the_client(asked: Asker, host: str) -> None:
    with unreliable(free_port()) as elsewhere:
        elsewhere.always = Fault(302, {"Location": f"http://{host}/"})
        client = asked.client(elsewhere.url, user=None, password=None)
        with pytest.raises(errors.ClientError):
            await asked.ask(client, "branches")


@pytest_twisted.ensureDeferred
async def test_something_else_there(master: Any, asked: Asker) -> None:
    with pytest.raises(errors.NotSelfServe):
        await asked.ask(asked.client(f"{master.url}/api/v2"), "branches")


@pytest.mark.parametrize("status", [200, 400, 503])
@pytest_twisted.ensureDeferred
async def test_json_that_is_nested_too_deep_is_an_error_of_the_client(
    asked: Asker, status: int
) -> None:
    with unreliable(free_port()) as elsewhere:
        elsewhere.always = Fault(status, {}, b"[" * 100_000)
        with pytest.raises(errors.ClientError):
            await asked.ask(asked.client(elsewhere.url, patience=0), "branches")


@pytest_twisted.ensureDeferred
async def test_a_job_request_whose_answer_is_lost_is_done_once(
    master: Any, asked: Asker, proxy: Unreliable
) -> None:
    build = await master.finished_build()
    proxy.faults = [LOST, DONE_BUT_LOST, Fault(503, {"Retry-After": "0"})]
    client = asked.client(proxy.url)
    receipt = await asked.ask(client, "rebuild_build", "main", build["buildid"])
    assert receipt["job_id"] == 1
    assert len(await master.data("buildrequests")) == 2
    assert len({one.headers["idempotency-key"] for one in proxy.seen}) == 1
    assert len(proxy.seen) == 4


FAILED = b'{"status": "FAILED", "msg": "%s"}'
WRONG_TOKEN = Fault(401, {}, FAILED % b"Wrong API token")
BROKEN = Fault(500, {}, FAILED % b"Internal error")
BEGUN = Fault(503, {"Retry-After": "0"}, b'{"msg": "Job 7 was begun", "job_id": 7}')


@pytest.mark.parametrize(
    ("faults", "raised", "job_id", "maybe"),
    [
        ([LOST, WRONG_TOKEN], errors.Unauthorized, None, True),
        ([Fault(504), BROKEN], errors.Unavailable, None, True),
        ([Fault(504), Fault(404, {}, b"<html>")], errors.NotSelfServe, None, True),
        ([LOST, Fault(303, {"Location": "/"})], errors.RedirectRefused, None, True),
        ([BEGUN, BROKEN], errors.Unavailable, 7, False),
        ([BROKEN], errors.Unavailable, None, True),
        ([WRONG_TOKEN], errors.Unauthorized, None, False),
        ([Fault(503, {"Retry-After": "0"}), WRONG_TOKEN], errors.Unauthorized, None, False),
    ],
)
def test_what_may_have_been_done_is_not_forgotten(
    faults: list[Fault | str], raised: type[errors.ClientError], job_id: int | None, maybe: bool
) -> None:
    with unreliable(free_port()) as proxy:
        client = Client(proxy.url)
        proxy.faults = list(faults)
        with pytest.raises(raised) as caught:
            client.rebuild_build("main", 1)
        assert caught.value.job_id == job_id
        assert ("may have been done" in str(caught.value)) == maybe
        # a question has no effect that could be lost
        proxy.faults, proxy.always = list(faults), faults[-1]
        with pytest.raises(errors.ClientError) as caught:
            client.branches()
        assert "may have been done" not in str(caught.value)


def test_who_handles_an_error_is_told_of_another_one() -> None:
    with unreliable(free_port()) as proxy:
        client = Client(proxy.url, patience=0)
        proxy.always = LOST
        try:
            # never sent, unlike what comes next
            raise urllib3.exceptions.NewConnectionError(None, "an error of mine")  # type: ignore[arg-type]
        except urllib3.exceptions.NewConnectionError:
            with pytest.raises(errors.Unreachable, match="may have been done") as caught:
                client.rebuild_build("main", 1)
        assert "of mine" not in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_patience_of_none_asks_once(master: Any, asked: Asker, proxy: Unreliable) -> None:
    proxy.always = Fault(503, {"Retry-After": "1"}, b'{"msg": "not now", "job_id": 7}')
    with pytest.raises(errors.Unavailable, match="not now") as caught:
        await asked.ask(asked.client(proxy.url, patience=0), "branches")
    assert (caught.value.status, caught.value.job_id, len(proxy.seen)) == (503, 7, 1)


@pytest_twisted.ensureDeferred
async def test_a_server_that_is_silent_is_not_waited_for(asked: Asker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # it accepts, and says nothing
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(errors.Unreachable, match=r"no answer within 0\.5 seconds"):
            await asked.ask(asked.client(url, timeout=0.5, patience=0), "branches")


@pytest.fixture
def full() -> Iterator[str]:
    """The URL of a server that takes no more connections, and does not say so."""
    with ExitStack() as opened:
        server = opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        for _ in range(4):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_not_made_in_time_is_none(asked: Asker, full: str) -> None:
    with pytest.raises(errors.Unreachable, match="no connection in time") as caught:
        await asked.ask(asked.client(full, timeout=0.5, patience=0), "cancel_build", "main", 1)
    assert "may have been done" not in str(caught.value)


@pytest_twisted.ensureDeferred
async def test_a_body_may_take_longer_than_the_timeout(asked: Asker) -> None:
    pieces = [b"{", *[b" "] * 6, b"}"]
    with slow_server(pieces, 0.3) as slow:
        assert await asked.ask(asked.client(slow.url, timeout=1), "branches") == {}
        assert slow.requests == 1


@pytest_twisted.ensureDeferred
async def test_a_body_that_does_not_go_on_is_not_waited_for(asked: Asker) -> None:
    with slow_server([b"{"], PATIENCE, missing=1) as slow:
        client = asked.client(slow.url, timeout=0.5, patience=0)
        with pytest.raises(errors.Unreachable):
            await asked.ask(client, "branches")
        assert await deferToThread(slow.was_left)


@pytest_twisted.ensureDeferred
async def test_waiting_until_it_is_done(master: Any, asked: Asker) -> None:
    request_id = await master.add_request("slow")
    build = await master.running_build(request_id)
    said: list[rows.Done] = []
    waiting = asked("wait", "main", REVISION, timeout=30, stable_delay=0, progress=said.append)
    await task.deferLater(reactor, 1)
    assert not waiting.called
    await asked("cancel_build", "main", build["buildid"])
    done = await waiting
    assert (done["job_complete"], done["job_passed"], done["cancelled"]) == (True, False, 1)
    assert said[-1] == done


@pytest_twisted.ensureDeferred
async def test_waiting_in_vain(master: Any, asked: Asker) -> None:
    request_id = await master.add_request("slow")
    await master.running_build(request_id)
    with pytest.raises(errors.WaitTimedOut, match=r"Not done after 1\.5 seconds") as caught:
        await asked("wait", "main", REVISION, timeout=1.5)
    assert caught.value.done["running"] == 1
    with pytest.raises(errors.NotFound):
        await asked("wait", "main", "fedcba98", timeout=20)
    with pytest.raises(errors.NotFound):
        await asked("wait", "main", "fedcba98", timeout=20, appear=1)


@pytest_twisted.ensureDeferred
async def test_what_is_asked_in_twisted_can_be_cancelled(master: Any) -> None:
    request_id = await master.add_request("slow")
    await master.running_build(request_id)
    client = TwistedClient(f"{master.url}/self-serve")
    waiting = client.wait("main", REVISION, timeout=60)
    await task.deferLater(reactor, 0.5)
    waiting.cancel()
    with pytest.raises(defer.CancelledError):
        await waiting


@pytest_twisted.ensureDeferred
async def test_who_cancels_before_there_is_a_connection_is_told_so(full: str) -> None:
    asking = TwistedClient(full).branches()
    await task.deferLater(reactor, 0.3)
    asking.cancel()
    with pytest.raises(defer.CancelledError):
        await asking


@pytest_twisted.ensureDeferred
async def test_who_cancels_while_the_body_comes_hangs_up() -> None:
    with slow_server([b"{"], PATIENCE, missing=1) as slow:
        asking = TwistedClient(slow.url).branches()
        await deferToThread(slow.begun.wait, PATIENCE)
        await task.deferLater(reactor, 0.3)
        asking.cancel()
        with pytest.raises(defer.CancelledError):
            await asking
        assert await deferToThread(slow.was_left)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_both_clients_have_every_question_under_its_own_name(kind: type) -> None:
    assert {name for name in vars(kind) if not name.startswith("_")} >= set(QUESTIONS)
    for name in QUESTIONS:
        ours, question = getattr(kind, name), getattr(Core, name)
        assert (ours.__name__, ours.__doc__) == (name, question.__doc__)
        assert inspect.signature(ours).parameters == inspect.signature(question).parameters
        assert "Steps" not in str(inspect.signature(ours))


def test_secrets_are_not_in_what_is_shown() -> None:
    client = Client("http://127.0.0.1:1", token="geheim", patience=0)
    with pytest.raises(errors.Unreachable) as caught:
        client.branches()
    assert "geheim" not in f"{client!r} {client.__dict__!r} {caught.value!r}"
