"""A job request is answered within the configured time, wherever the time goes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import util
from buildbot.www.auth import UserInfoProviderBase
from buildbot.www.authz.endpointmatchers import EndpointMatcherBase
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task
from twisted.internet import threads

from buildbot_selfserve import plugin
from buildbot_selfserve.auth.time_limits import in_time
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.model import FAILURE
from buildbot_selfserve.views import read_handler
from tests import databases
from tests.harness import ACT_SECONDS
from tests.harness import ANSWER_SECONDS
from tests.harness import PASSWORD
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import config
from tests.harness import patient
from tests.plans import ended
from tests.test_permissions import ruled

TIMEOUT = 8
BRIEF = 4


def hurried() -> Any:
    return config(util.SelfServe(timeout=TIMEOUT))


def guarded() -> Any:
    rules = [
        util.RebuildBuildEndpointMatcher(builder="fast", role="devs"),
        util.StopBuildEndpointMatcher(builder="fast", role="devs"),
    ]
    return ruled(*rules, selfserve=util.SelfServe(timeout=BRIEF))()


class _Silent(UserInfoProviderBase):
    """A directory that takes questions, and answers none."""

    def getUserInfo(self, username: str) -> defer.Deferred[dict[str, str]]:
        return defer.Deferred()


def in_a_silent_directory() -> Any:
    auth = util.UserPasswordAuth({USER: PASSWORD}, userInfoProvider=_Silent())
    return config(util.SelfServe(timeout=BRIEF), auth=auth)


def slow_down(monkeypatch: Any, slow: Callable[..., Any], seconds: float) -> None:
    """Let the readers be late with what asks for *slow*, as on a database that is slow."""
    readers = plugin.application._service.backend.readers
    ask = readers.ask

    def late(function: Any, *arguments: Any, **more: Any) -> Any:
        answer = ask(function, *arguments, **more)
        if function is slow:
            answer.addCallback(lambda value: task.deferLater(reactor, seconds, lambda: value))
        return answer

    monkeypatch.setattr(readers, "ask", late)


@pytest.mark.usefixtures("short_acts")
@pytest.mark.parametrize("master", [patient], indirect=True)
@pytest_twisted.ensureDeferred
async def test_the_time_counts_from_the_beginning(master: Any, monkeypatch: Any) -> None:
    build = await master.finished_build()
    # looking up its nouns takes more than all that an act may take
    slow_down(monkeypatch, read_handler.resolve, ACT_SECONDS + 1)
    fields = {"build_id": build["buildid"]}
    answer = await master.post("/self-serve/main/build", user=USER, data=fields)
    assert (answer.status, bool(answer.header("Retry-After"))) == (503, True)
    assert answer.json["msg"] == "The database was too slow; nothing was done"
    assert len(await master.data("buildrequests")) == 1
    jobs = (await master.get("/self-serve/jobs")).json
    assert [job["status"] for job in jobs] == ["failed"]


@pytest.mark.heavy
@pytest.mark.parametrize("master", [hurried], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_page_that_comes_too_late_is_left_out(master: Any, monkeypatch: Any) -> None:
    build = await master.finished_build()
    slow_down(monkeypatch, read_handler.answer, TIMEOUT * 0.5)
    begun = reactor.seconds()
    fields = {"build_id": build["buildid"], "count": 2}
    # a client that asks for nothing in particular gets the page if there is one
    answer = await master.post("/self-serve/main/build", user=USER, data=fields, json=False)
    assert reactor.seconds() - begun < TIMEOUT * 1.4  # it would be twice as long otherwise
    assert (answer.status, answer.header("content-type")) == (202, "text/html; charset=utf-8")
    slow_down(monkeypatch, read_handler.answer, TIMEOUT * 0.5)
    answer = await master.post("/self-serve/main/build", user=USER, data=fields, json=False)
    assert (answer.status, answer.header("content-type")) == (202, "application/json")
    assert len(answer.json["requests"]) == 2


@pytest.mark.heavy
@pytest.mark.parametrize("master", [guarded], indirect=True)
@pytest_twisted.ensureDeferred
async def test_rules_that_get_no_answer_of_the_masters_database_are_not_waited_for(
    master: Any,
) -> None:
    build = await master.finished_build()
    lock = threading.Event()
    # as when another process has locked the database, and the master wants to write into it
    stuck = master.master.db.pool.do(lambda connection: lock.wait(60))
    try:
        for method, path, data in (
            ("POST", "/build", {"build_id": build["buildid"]}),
            ("POST", "/request", {"request_id": build["buildrequestid"]}),
            ("DELETE", f"/build/{build['buildid']}", {}),
            ("DELETE", f"/request/{build['buildrequestid']}", {}),
            ("GET", f"/permissions?build_id={build['buildid']}", {}),
        ):
            begun = reactor.seconds()
            path = f"/self-serve/main{path}"
            # who has every role is told what they may do without a look at the build
            user = "bob" if method == "GET" else USER
            answer = await master.request(method, path, user=user, data=data)
            assert (answer.status, bool(answer.header("Retry-After"))) == (503, True), path
            assert reactor.seconds() - begun < 30  # of the 60 that the lock is held
    finally:
        lock.set()
        await stuck
    assert (await master.get("/self-serve/jobs")).json == []
    answer = await master.post(
        "/self-serve/main/build", user=USER, data={"build_id": build["buildid"]}
    )
    assert answer.status == 202
    assert len(await master.data("buildrequests")) == 2
    assert master.errors == []


def owned() -> Any:
    rules = [util.StopBuildEndpointMatcher(builder="fast", role="owner")]
    return ruled(*rules, selfserve=util.SelfServe(timeout=ANSWER_SECONDS))()


@pytest.mark.parametrize("db_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("master", [owned], indirect=True)
@pytest_twisted.ensureDeferred
async def test_rules_whose_database_was_restarted_are_to_be_asked_again(
    master: Any, db_url: str
) -> None:
    build = await master.finished_build()
    master.pause()
    request_id = await master.add_request()

    async def refused(method: str, path: str, json: bool) -> Any:
        await threads.deferToThread(databases.throw_out, db_url)
        answer = await master.request(method, path, user=USER, json=json)
        assert answer.status != 500, path
        # what the master itself asks in the background may have come before
        return answer if answer.status == 503 else None

    for method, path, json in (
        ("GET", f"/self-serve/main/build/{build['buildid']}", False),
        ("DELETE", f"/self-serve/main/build/{build['buildid']}", True),
        ("DELETE", f"/self-serve/main/request/{request_id}", True),
    ):
        answer = await master.until(partial(refused, method, path, json), path)
        assert answer.header("Retry-After")
        assert "The master&#39;s database does not answer" in answer.text.replace("'", "&#39;")
        again = await master.request(method, path, user=USER, json=json)
        assert again.status == (200 if method == "GET" else 403), path
    assert "selfserve: The master's database does not answer" in master.log
    assert (await master.get("/self-serve/jobs")).json == []


@pytest.mark.parametrize("db_url", ["postgresql"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_lock_that_is_not_given_in_time_is_to_be_asked_for_again(
    master: Any, db_url: str
) -> None:
    def set_up(connection: Any, record: object, proxy: object) -> None:
        # as for the role of the master
        connection.cursor().execute("SET lock_timeout = '300ms'")
        connection.commit()

    master.pause()
    path = f"/self-serve/main/request/{await master.add_request()}?dry_run=1"
    engine = sa.create_engine(db_url)
    sa.event.listen(master.master.db.pool.engine, "checkout", set_up)
    with engine.connect() as connection:
        connection.exec_driver_sql("LOCK TABLE masters IN ACCESS EXCLUSIVE MODE")
        answer = await master.request("DELETE", path, user=USER)
    engine.dispose()
    assert (answer.status, bool(answer.header("Retry-After"))) == (503, True)
    assert answer.json["msg"] == "The master's database does not answer"
    assert (await master.request("DELETE", path, user=USER)).status == 200
    assert "InFailedSqlTransaction" not in master.log
    master.errors.clear()


@pytest_twisted.ensureDeferred
async def test_a_mistake_among_several_questions_is_told_from_a_database_that_is_away() -> None:
    async def asked(error: Exception) -> None:
        # as Buildbot asks
        await defer.gatherResults([defer.fail(error)], consumeErrors=True)

    master = SimpleNamespace(reactor=reactor)
    away = sa.exc.OperationalError("SELECT 1", {}, Exception())
    with pytest.raises(Unavailable):
        await in_time(master, asked(away), BRIEF, "It")
    with pytest.raises(defer.FirstError):
        await in_time(master, asked(ValueError()), BRIEF, "It")


@pytest.mark.heavy
@pytest.mark.parametrize("master", [in_a_silent_directory], indirect=True)
@pytest_twisted.ensureDeferred
async def test_who_somebody_is_is_not_waited_for_for_ever(master: Any) -> None:
    build = await master.finished_build()
    for method, path, data in (
        ("POST", "/build", {"build_id": build["buildid"]}),
        ("GET", "/permissions", {}),
    ):
        begun = reactor.seconds()
        answer = await master.request(method, f"/self-serve/main{path}", user=USER, data=data)
        assert (answer.status, bool(answer.header("Retry-After"))) == (503, True), path
        assert answer.json["msg"] == "Who knows the users of this Buildbot does not answer"
        assert reactor.seconds() - begun < BRIEF * 4
    assert (await master.get("/self-serve/jobs")).json == []
    # for what anybody may read nobody is asked who it is
    assert (await master.get("/self-serve/main", user=USER)).status == 200
    assert master.errors == []


class _Hangs(EndpointMatcherBase):
    """A rule that takes the question who may rebuild, and never answers."""

    def match(self, ep: Any, action: str = "get", options: Any = None) -> Any:
        return defer.Deferred() if action == "rebuild" else None


def with_a_rule_that_hangs() -> Any:
    return ruled(_Hangs(role="devs"), selfserve=util.SelfServe(timeout=BRIEF))()


@pytest.mark.parametrize("master", [with_a_rule_that_hangs], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_rule_that_hangs_ends_a_job_that_has_begun(master: Any) -> None:
    master.pause()
    await ended(master, "fast", FAILURE)
    answer = await master.post(f"/self-serve/main/rev/{REVISION}/failed", user=USER)
    assert (answer.status, bool(answer.header("Retry-After"))) == (503, True)

    async def failed() -> bool:
        (job,) = (await master.get("/self-serve/jobs")).json
        return bool(job["status"] == "failed")

    await master.until(failed, "the job has ended")
    assert plugin.application._service.jobs.under_way == 0
    master.errors.clear()


def with_its_own_journal() -> Any:
    return config(util.SelfServe(db_url="sqlite:///journal.sqlite"))


@pytest.mark.parametrize("master", [with_its_own_journal], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_journal_that_is_away_is_to_be_asked_again(master: Any, monkeypatch: Any) -> None:
    build = await master.finished_build()
    away = sa.exc.OperationalError("SELECT 1", {}, Exception("it is away"))
    journal = plugin.application._service.databases._journal
    monkeypatch.setattr(journal, "run", lambda *arguments: defer.fail(away))
    failed = f"/rev/{REVISION}/failed"
    for path, data in (
        ("/build", {"build_id": build["buildid"]}),
        (failed, {}),  # which waits for its turn
        (failed, {"if_plan": "0" * 32}),
        (failed, {"dry_run": "1"}),
    ):
        answer = await master.post(
            f"/self-serve/main{path}", user=USER, data=data, headers={"Idempotency-Key": "k"}
        )
        assert (answer.status, bool(answer.header("Retry-After"))) == (503, True), answer.text
        assert answer.json["msg"].startswith("The journal's database does not answer")
    monkeypatch.undo()
    assert (await master.get("/self-serve/jobs")).json == []
    master.errors.clear()
