"""GETs in the words of an earlier one, which take fewer steps and are answered the same."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from buildbot.www.authz.authz import Forbidden
from buildbot.www.authz.endpointmatchers import EndpointMatcherBase
from buildbot.www.authz.endpointmatchers import Match
from twisted.internet import defer
from twisted.internet import reactor

from buildbot_selfserve import plugin
from buildbot_selfserve.clock import next_turn
from buildbot_selfserve.errors import LargeAnswer
from buildbot_selfserve.errors import OutdatedSetup
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.readers import PIECE
from buildbot_selfserve.readers.processes import ProcessReaders
from buildbot_selfserve.views import repeats
from buildbot_selfserve.web import reads
from buildbot_selfserve.web.questions import Question
from buildbot_selfserve.web.reads import Reads
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import config
from tests.test_metrics import samples
from tests.test_readers import pieces_of

EVERY_DATABASE = True

AT = f"/self-serve/main/rev/{REVISION}"


def told(answer: Any) -> Any:
    """Return all that a client sees of an answer, but when it was."""
    headers = dict(answer.headers.getAllRawHeaders())
    del headers[b"Date"]
    return answer.status, headers, answer.body


@pytest.fixture
def ordinary(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the requests that were handled in all steps."""
    requests: list[Any] = []
    answer = Reads.answer

    async def counted(reads: Reads, route: Any, request: Any, texts: Any) -> bytes:
        requests.append(request)
        return await answer(reads, route, request, texts)

    monkeypatch.setattr(Reads, "answer", counted)
    return requests


def question() -> Question:
    """Return the only question that the pipeline remembers."""
    service: Any = plugin.application._service
    (found,) = service._pipeline._reads._remembered._questions.values()
    assert isinstance(found, Question)
    return found


@pytest_twisted.ensureDeferred
async def test_it_is_answered_the_same_and_counted(master: Any, ordinary: list[Any]) -> None:
    await master.finished_build()
    first = await master.get(AT)
    again = [await master.get(AT) for _ in range(3)]
    assert len(ordinary) == 1
    assert first.status == 200
    assert {repr(told(one)) for one in again} == {repr(told(first))}
    unchanged = [
        await master.get(AT, headers={"If-None-Match": first.header("ETag")}) for _ in range(3)
    ]
    assert [one.status for one in unchanged] == [304, 304, 304]
    assert len(ordinary) == 2
    found = await samples(master)
    route = "/{branch}/rev/{revision}"
    assert found["selfserve_requests_total", ("GET", route, "200")] == 4
    assert found["selfserve_requests_total", ("GET", route, "304")] == 3
    assert found["selfserve_request_seconds_count", ("GET", route)] == 7


@pytest_twisted.ensureDeferred
async def test_what_has_happened_since_is_in_it(master: Any, ordinary: list[Any]) -> None:
    await master.finished_build()
    for builds in (1, 2, 3):
        assert len((await master.get(AT)).json) == builds
        await master.finished_build()
    assert len(ordinary) == 1


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a reader be asked each time."""
    monkeypatch.setattr(repeats, "KEPT", ())


@pytest.mark.usefixtures("forgetful")
@pytest.mark.parametrize(
    ("failure", "status"),
    [
        (LargeAnswer(), 200),
        (OutdatedSetup(), 500),
        (Unavailable("The database does not answer"), 503),
        (ValueError("a bug"), 500),
    ],
    ids=lambda one: type(one).__name__,
)
@pytest_twisted.ensureDeferred
async def test_what_a_reader_cannot_answer_at_once_is_handled_as_before(
    master: Any, ordinary: list[Any], monkeypatch: pytest.MonkeyPatch, failure: Any, status: int
) -> None:
    await master.finished_build()
    first = await master.get(AT)
    with monkeypatch.context() as patch:
        patch.setattr(question(), "ask_once", lambda: defer.fail(failure))
        answer = await master.get(AT)
    assert answer.status == status
    assert "Traceback" not in answer.text
    if status == 200:
        assert told(answer) == told(first)
    assert not question().was_short
    assert told(await master.get(AT)) == told(first)
    assert len(ordinary) == 2
    if isinstance(failure, ValueError):
        master.errors.clear()


@pytest.mark.usefixtures("forgetful")
@pytest_twisted.ensureDeferred
async def test_without_readers_it_is_refused_as_before(
    master: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await master.finished_build()
    first = await master.get(AT)
    service: Any = plugin.application._service
    with monkeypatch.context() as patch:
        patch.setattr(service.databases, "_readers", None)
        assert (await master.get(AT)).status == 503
    assert told(await master.get(AT)) == told(first)


@pytest_twisted.ensureDeferred
async def test_what_has_become_long_comes_in_pieces(master: Any, ordinary: list[Any]) -> None:
    path = "/self-serve/openapi.json"
    first = await master.raw(path, {})
    assert len(first.body) > PIECE
    assert not question().was_short
    question().was_short = True
    assert told(await master.raw(path, {})) == told(first)
    assert len(ordinary) == 1
    assert not question().was_short


async def known(master: Any) -> Question:
    """Return the question of a GET that was answered before, when readers have no other."""
    await master.finished_build()
    assert (await master.get(AT)).status == 200
    await idle()
    return question()


async def idle() -> None:
    """Return when readers have nothing to answer."""
    service: Any = plugin.application._service
    while service.databases.readers.unanswered:
        await next_turn(reactor)


@pytest.mark.usefixtures("forgetful")
@pytest_twisted.ensureDeferred
async def test_those_that_come_together_are_one_question(master: Any, sent: list[Any]) -> None:
    shared = await known(master)
    sent.clear()
    # the first leaves at once; what comes before the second has left is part of it
    answers = [shared.ask_once() for _ in range(5)]
    assert len(sent) == 2
    first, *others = [await one for one in answers]
    assert others == [first] * 4
    # in company, the first waits for the others
    await idle()
    sent.clear()
    answers = [shared.ask_once() for _ in range(5)]
    assert len(sent) == 1
    assert [await one for one in answers] == [first] * 5
    # and what is asked after that is asked anew
    await master.finished_build()
    await idle()
    sent.clear()
    changed = [await shared.ask_once() for _ in range(2)]
    assert len(sent) == 2
    assert changed[0] == changed[1] != first


@pytest.mark.usefixtures("forgetful")
@pytest_twisted.ensureDeferred
async def test_a_shared_question_is_dropped_when_all_have_hung_up(
    master: Any, sent: list[Any]
) -> None:
    shared = await known(master)
    sent.clear()
    alone, *together = [shared.ask_once() for _ in range(4)]
    for one in together:
        one.addErrback(lambda failure: failure.trap(defer.CancelledError) and None)
    together[0].cancel()
    together[1].cancel()
    assert not sent[1].called
    together[2].cancel()
    assert sent[1].called
    again = shared.ask_once()
    assert len(sent) == 3
    assert await again == await alone


@pytest.mark.usefixtures("forgetful")
@pytest_twisted.ensureDeferred
async def test_a_failure_is_not_shared_by_those_who_come_later(
    master: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = await known(master)
    with monkeypatch.context() as patch:
        failed = Unavailable("Too many reads at once")
        patch.setattr(ProcessReaders, "ask", lambda *_, **__: defer.fail(failed))
        with pytest.raises(Unavailable):
            await shared.ask_once()
    assert (await shared.ask_once())[0] == 200


@pytest.mark.usefixtures("forgetful")
@pytest_twisted.ensureDeferred
async def test_what_has_become_long_is_not_shared(master: Any, sent: list[Any]) -> None:
    # as it comes without compression
    expected = (await master.raw("/self-serve/openapi.json", {})).body
    shared = question()
    await idle()
    sent.clear()
    answers = [shared.follow(shared.ask_once()) for _ in range(3)]
    assert len(sent) == 2
    deliveries: list[Any] = [await one for one in answers]
    bodies = [await pieces_of(one.body) for one in deliveries]
    assert {b"".join(one) for one in bodies} == {expected}
    # each of the others once more, and the first if the reader still holds what was sent before
    assert len(sent) in (4, 5)


@pytest.fixture
def worked_out(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return the requests of which was worked out what they ask."""
    found: list[Any] = []
    make = reads.new_read_request

    def counted(*arguments: Any, **more: Any) -> Any:
        found.append(arguments)
        return make(*arguments, **more)

    monkeypatch.setattr(reads, "new_read_request", counted)
    return found


@pytest_twisted.ensureDeferred
async def test_a_known_get_with_credentials_is_not_worked_out_anew_and_wrong_ones_are_refused(
    master: Any, worked_out: list[Any]
) -> None:
    await master.finished_build()
    first = await master.get(AT, user=USER)
    for user, status in ((USER, 200), ("eve", 401), (None, 200), (USER, 200)):
        answer = await master.get(AT, user=user)
        assert answer.status == status
        if status == 200:
            assert told(answer) == told(first)
    assert len(worked_out) == 1


def ruled(*rules: Any) -> Any:
    made = config()
    made["www"]["authz"] = util.Authz(allowRules=list(rules), roleMatchers=[])
    return made


def guarded() -> Any:
    return ruled(util.AnyEndpointMatcher(role="admins"))


class OwnMatcher(util.StopBuildEndpointMatcher):
    """Lets nobody read."""

    def match(self, ep: Any, action: str = "get", options: Any = None) -> Any:
        return defer.succeed(Match(self.master))


class SilentMatcher(EndpointMatcherBase):
    """Says nothing of its own, as Buildbot's ViewBuildsEndpointMatcher."""


def of_control() -> Any:
    return ruled(
        util.AnyEndpointMatcher(role="admins", defaultDeny=False),
        SilentMatcher(role="agents"),
        util.SelfServeEndpointMatcher(role="developers", action="cancel_*"),
        util.StopBuildEndpointMatcher(role="owner"),
        util.ForceBuildEndpointMatcher(role="developers", builder="try-*"),
        util.AnyControlEndpointMatcher(role="admins"),
    )


@pytest.mark.parametrize("master", [of_control], indirect=True)
@pytest_twisted.ensureDeferred
async def test_rules_of_control_take_no_more_steps(master: Any, ordinary: list[Any]) -> None:
    await master.finished_build()
    for _ in range(3):
        assert (await master.get(AT)).status == 200
    assert len(ordinary) == 1
    assert (await master.post("/self-serve/main/build", json={"build_id": 1})).status in (401, 403)


class Wrapped:
    """Logs what a rule is asked, say; it has only what that has."""

    def __init__(self, rule: Any) -> None:
        self._rule = rule

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rule, name)


class DynamicMatcher(EndpointMatcherBase):
    """Has methods that nobody sees."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("match_Build"):
            return lambda *arguments: defer.succeed(Match(self.master))
        raise AttributeError(name)


class OwnAuthz(util.Authz):
    """Denies all, without a rule."""

    def assertUserAllowed(self, *arguments: Any) -> Any:
        return defer.fail(Forbidden(b"nobody"))


class Banned(util.RolesFromUsername):
    """Denies all who ask."""

    def getRolesFromUser(self, userDetails: Any) -> Any:
        raise Forbidden(b"banned")


def patched_rule() -> Any:
    rule = EndpointMatcherBase(role="admins")
    rule.match = lambda *arguments: defer.succeed(Match(rule.master))
    return ruled(rule)


def patched_authz() -> Any:
    made = of_control()
    made["www"]["authz"].assertUserAllowed = OwnAuthz().assertUserAllowed
    return made


def own_authz() -> Any:
    made = config()
    made["www"]["authz"] = OwnAuthz()
    return made


def banned() -> Any:
    made = of_control()
    made["www"]["authz"].roleMatchers = [Banned(["admins"], [])]
    return made


@pytest.mark.parametrize(
    "master",
    [
        lambda: ruled(OwnMatcher(role="admins")),
        lambda: ruled(Wrapped(util.AnyEndpointMatcher(role="admins"))),
        lambda: ruled(DynamicMatcher(role="admins")),
        patched_rule,
        patched_authz,
        own_authz,
        banned,
    ],
    indirect=True,
    ids=["rule", "wrapper", "dynamic", "patched", "patched authz", "authz", "role matcher"],
)
@pytest_twisted.ensureDeferred
async def test_what_is_of_the_operators_own_is_asked_each_time(master: Any) -> None:
    await master.finished_build()
    for _ in range(3):
        assert (await master.get(AT)).status == 401
        assert (await master.get(AT, user=USER)).status == 403
    asked = await master.post("/self-serve/main/build", user=USER, data={"build_id": 1})
    assert asked.status == 403, asked.text


@pytest.mark.parametrize("master", [of_control], indirect=True)
@pytest_twisted.ensureDeferred
async def test_rules_that_are_changed_in_their_place_hold(master: Any) -> None:
    await master.finished_build()
    authz = master.master.www.authz
    for _ in range(2):
        assert (await master.get(AT)).status == 200
    authz.allowRules[0].defaultDeny = True
    assert (await master.get(AT)).status == 401
    authz.allowRules[0].defaultDeny = False
    assert (await master.get(AT)).status == 200
    more = util.AnyEndpointMatcher(role="admins")
    more.setAuthz(authz)
    authz.allowRules.append(more)
    assert (await master.get(AT)).status == 401


@pytest_twisted.ensureDeferred
async def test_rules_that_come_with_a_reconfig_hold(master: Any, ordinary: list[Any]) -> None:
    await master.finished_build()
    for _ in range(2):
        assert (await master.get(AT)).status == 200
    await master.reconfig(guarded)
    assert (await master.get(AT)).status == 401
    await master.reconfig(config)
    for _ in range(2):
        assert (await master.get(AT)).status == 200
    assert len(ordinary) == 3
