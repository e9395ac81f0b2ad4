"""The verdict on a revision: by the latest result of each builder, from rows and on masters."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import schedulers
from buildbot.plugins import util
from buildbot.process.buildstep import BuildStep
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet import task

from buildbot_selfserve import plugin
from buildbot_selfserve.client.deferred import TwistedClient
from buildbot_selfserve.history.latest_results import by_builder
from buildbot_selfserve.history.verdict import judge
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import EXCEPTION
from buildbot_selfserve.model import FAILURE
from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import SUCCESS
from buildbot_selfserve.model import WARNINGS
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Done
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Row
from tests.harness import USER
from tests.harness import config

EVERY_DATABASE = "heavy"
END = 1_700_000_000

# -- from rows


def request(
    number: int, builder: str = "a", status: int | None = None, claimed: bool = False
) -> RequestRow:
    """Return a request without a build: of buildset *number*, complete if it has a *status*."""
    ended = status is not None
    return RequestRow(
        request_id=number,
        buildername=builder,
        builder_id=1,
        branch="main",
        revision="abc",
        submittime=END - 100,
        complete=int(ended),
        complete_at=END if ended else None,
        priority=0,
        claimed_at=END - 90 if claimed else 0,
        reason=None,
        status=status,
        buildset_id=number,
    )


def build(number: int, builder: str = "a", status: int | None = None) -> BuildRow:
    """Return a build, which runs without a *status*."""
    return BuildRow(
        build_id=number,
        request=request(number, builder, status, claimed=True),
        buildnumber=number,
        buildername=builder,
        builder_id=1,
        branch="main",
        revision="abc",
        starttime=END - 60,
        endtime=None if status is None else END,
        status=status,
        claimed_by_name="master",
        worker="worker",
        state_string="",
    )


def judged(*rows: Row) -> Done:
    return judge(rows, 0, END)


def told(*rows: Row) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    done = judged(*rows)
    return done.verdict, done.failing, done.flaky


GOOD, BAD = build(1, "good", SUCCESS), build(2, "bad", FAILURE)


@pytest.mark.parametrize(
    ("rows", "verdict", "failing", "flaky"),
    [
        ([], "pending", "", ""),
        ([request(1)], "pending", "", ""),
        ([GOOD, request(2)], "pending", "", ""),
        ([request(1), build(2)], "running", "", ""),
        ([request(1, claimed=True)], "running", "", ""),
        ([GOOD], "passed", "", ""),
        ([build(1, "a", WARNINGS)], "passed", "", ""),
        ([GOOD, BAD], "failed", "bad", ""),
        ([GOOD, build(2, "a", EXCEPTION), BAD], "failed", "a bad", ""),
        # what fails already is told while others are open
        ([BAD, request(3)], "pending", "bad", ""),
        ([BAD, build(3)], "running", "bad", ""),
        # also while its own builder builds again
        ([BAD, build(3, "bad")], "running", "bad", ""),
        # the newest build counts
        ([build(1, "a", FAILURE), build(2, "a", SUCCESS)], "passed", "", "a"),
        ([build(1, "a", EXCEPTION), build(2, "a", WARNINGS)], "passed", "", "a"),
        ([build(1, "a", SUCCESS), build(2, "a", FAILURE)], "failed", "a", "a"),
        ([build(1, "a", FAILURE), build(2, "a", FAILURE)], "failed", "a", ""),
        ([build(1, "a", FAILURE), build(2, "b", SUCCESS)], "failed", "a", ""),
        # what has no result takes none away
        ([build(1, "a", SUCCESS), build(2, "a", CANCELLED)], "passed", "", ""),
        ([build(1, "a", FAILURE), build(2, "a", CANCELLED)], "failed", "a", ""),
        ([build(1, "a", FAILURE), build(2, "a", SKIPPED)], "failed", "a", ""),
        ([build(1, "a", SUCCESS), request(2, "a", CANCELLED)], "passed", "", ""),
        ([build(1, "a", SUCCESS), request(2, "a", SKIPPED)], "passed", "", ""),
        ([build(1, "a", SUCCESS), build(2, "a", RETRY)], "passed", "", ""),
        ([build(1, "a", RETRY), build(2, "a", SUCCESS)], "passed", "", ""),
        # and has passed nothing
        ([request(1, "a", SKIPPED)], "incomplete", "", ""),
        ([request(1, "a", CANCELLED), GOOD], "incomplete", "", ""),
        ([request(1, "a", SUCCESS)], "incomplete", "", ""),
        ([build(1, "a", SKIPPED)], "incomplete", "", ""),
        ([build(1, "a", CANCELLED), GOOD], "incomplete", "", ""),
        ([build(1, "a", RETRY), GOOD], "incomplete", "", ""),
        ([build(1, "a", RETRY), request(1, "a", CANCELLED)], "incomplete", "", ""),
        ([request(1, "a", SKIPPED), BAD], "failed", "bad", ""),
    ],
)
def test_the_latest_result_of_each_builder_counts(
    rows: list[Row], verdict: str, failing: str, flaky: str
) -> None:
    expected = verdict, tuple(failing.split()), tuple(flaky.split())
    for order in itertools.permutations(rows):
        assert told(*order) == expected


def test_a_build_is_newer_if_it_began_later_whatever_the_clocks_say() -> None:
    early = replace_times(build(1, "a", FAILURE), begun=END + 50, ended=END + 60)
    assert judge([early, build(2, "a", SUCCESS)], 0, END + 60).verdict == "passed"


def test_what_is_rerun_is_what_the_verdict_says_has_failed() -> None:
    # Buildbot tried request 1 again, after request 2 was built
    tried_again = build(1, "a", RETRY)
    again = build(3, "a", FAILURE)._replace(request=tried_again.request)
    rows = [tried_again, build(2, "a", SUCCESS), again]
    for order in itertools.permutations(rows):
        (result,) = by_builder(order, {})
        assert (result.row, result.state) == (again, "failure")
        assert told(*order) == ("failed", ("a",), ("a",))


def replace_times(row: BuildRow, begun: int, ended: int) -> BuildRow:
    return row._replace(starttime=begun, endtime=ended)


def test_a_request_counts_for_the_virtual_builder_that_would_have_built_it() -> None:
    skipped = request(1, "lender", SKIPPED)
    deployed, lent = build(2, "deploy", SUCCESS), build(2, "lender", SUCCESS)
    assert judge([skipped, deployed], 0, END, {1: "deploy"}).job_passed
    assert judge([skipped, deployed], 0, END, {1: "deploy"}).verdict == "passed"
    # what the builder itself has built is not what was to be deployed
    assert not judge([skipped, lent], 0, END, {1: "deploy"}).job_passed
    assert judge([skipped, lent], 0, END, {1: "deploy"}).verdict == "incomplete"


BUILDERS = st.sampled_from("abc")
RESULTS = st.sampled_from([SUCCESS, WARNINGS, FAILURE, SKIPPED, EXCEPTION, RETRY, CANCELLED, None])
#: What rows are made of: whether it is a build, its builder, its status.
MADE = st.lists(st.tuples(st.booleans(), BUILDERS, RESULTS), max_size=12)


def rows_of(made: list[tuple[bool, str, int | None]]) -> list[Row]:
    return [
        build(number, builder, status) if is_build else request(number, builder, status)
        for number, (is_build, builder, status) in enumerate(made, 1)
    ]


def finished(rows: list[Row]) -> list[Row]:
    return [row for row in rows if row.endtime is not None]


@given(MADE, st.randoms())
def test_the_order_of_the_rows_does_not_matter(made: Any, random: Any) -> None:
    rows = rows_of(made)
    shuffled = random.sample(rows, len(rows))
    assert judged(*shuffled) == judged(*rows)


@given(MADE)
def test_what_passed_has_the_verdict_passed(made: Any) -> None:
    done = judged(*rows_of(made))
    if done.job_passed:
        assert (done.verdict, done.failing, done.flaky) == ("passed", (), ())
    if done.verdict in ("passed", "failed", "incomplete"):
        assert done.job_complete  # there is no stableDelay here
        assert (done.verdict == "failed") == bool(done.failing)
    else:
        assert not done.job_complete


@given(MADE, st.data())
def test_a_retry_changes_no_verdict(made: Any, data: Any) -> None:
    rows = finished(rows_of(made))
    if rows:
        builder = data.draw(st.sampled_from(sorted({row.buildername for row in rows})))
        assert told(*rows, build(99, builder, RETRY)) == told(*rows)


@given(MADE)
def test_a_later_success_of_each_builder_that_has_none_turns_it_green(made: Any) -> None:
    rows = finished(rows_of(made))
    lacking = sorted({row.buildername for row in rows})
    later = [build(100 + at, builder, SUCCESS) for at, builder in enumerate(lacking)]
    if rows:
        verdict, failing, flaky = told(*rows, *later)
        assert (verdict, failing) == ("passed", ())
        assert set(flaky) == {
            row.buildername
            for row in rows
            if isinstance(row, BuildRow) and row.status in (FAILURE, EXCEPTION)
        }


@given(MADE, BUILDERS)
def test_a_later_failure_of_any_builder_turns_it_red(made: Any, builder: str) -> None:
    verdict, failing, _ = told(*finished(rows_of(made)), build(99, builder, FAILURE))
    assert verdict == "failed"
    assert builder in failing


@given(MADE, BUILDERS, st.booleans())
def test_nothing_that_is_open_is_over(made: Any, builder: str, runs: bool) -> None:
    rows = rows_of(made)
    before = judged(*rows)
    one = build(99, builder) if runs else request(99, builder)
    after = judged(*rows, one)
    assert after.verdict == ("running" if runs or before.running else "pending")
    assert (after.failing, after.flaky) == (before.failing, before.flaky)


# -- on masters


class Scripted(BuildStep):
    """Ends as it is told to, and then well."""

    warnOnWarnings = True  # noqa: N815 (the name is Buildbot's)
    results: list[int] = []

    async def run(self) -> int:
        return Scripted.results.pop(0) if Scripted.results else SUCCESS


@pytest.fixture(autouse=True)
def no_script() -> None:
    Scripted.results = []


def scripted(**more: Any) -> Any:
    made = config(**more)
    made["builders"][0].factory = util.BuildFactory([Scripted()])
    return made


scripted_master = pytest.mark.parametrize("master", [scripted], indirect=True)


def at(revision: str, branch: str = "main") -> str:
    return f"/self-serve/{branch}/rev/{revision}"


async def is_done(master: Any, revision: str, query: str = "stableDelay=0") -> Any:
    answer = await master.get(f"{at(revision)}/is_done?{query}")
    assert answer.status == 200, answer.body
    return answer.json


def verdict_of(done: Any) -> tuple[str, list[str], list[str]]:
    return done["verdict"], done["failing"], done["flaky"]


async def push(master: Any, revision: str) -> None:
    """Have Buildbot see a change, as a poller does."""
    await master.master.data.updates.addChange(
        author="ada", files=["a.c"], comments="", revision=revision, branch="main",
        repository="https://example.org/repo",
    )  # fmt: skip


@scripted_master
@pytest_twisted.ensureDeferred
async def test_a_revision_that_was_collapsed_away_has_not_passed(master: Any) -> None:
    first, middle, last = "1" * 40, "2" * 40, "3" * 40
    master.pause()
    await master.add_request("slow", revision=first)

    for revision in (first, middle, last):
        await push(master, revision)

    async def collapsed() -> bool:
        # that comes a moment after the request for the newer push
        rows = (await master.get(at(middle))).json
        return any(row.get("status") == SKIPPED for row in rows)

    await master.until(collapsed, "the middle push is collapsed into the last one")
    master.resume()
    done = await is_done(master, last, "stableDelay=0&wait=20")
    assert (done["job_passed"], *verdict_of(done)) == (True, "passed", [], [])
    done = await is_done(master, middle)
    assert (done["job_complete"], done["job_passed"], done["builds"], done["skipped"]) == (
        True,
        False,
        0,
        1,
    )
    assert verdict_of(done) == ("incomplete", [], [])
    page = await master.get(at(middle), json=False)
    assert '<span class="verdict-word incomplete">Incomplete:</span>' in page.text
    assert "Without a result (" in page.text
    assert f"<title>{middle[:12]} on main: incomplete" in page.text
    # until it is built
    (row,) = (await master.get(at(middle))).json
    fields = {"request_id": row["request_id"]}
    assert (await master.post("/self-serve/main/request", user=USER, data=fields)).status == 202
    done = await is_done(master, middle, "stableDelay=0&wait=20")
    assert (done["job_passed"], *verdict_of(done)) == (True, "passed", [], [])


@scripted_master
@pytest_twisted.ensureDeferred
async def test_a_rebuild_that_passes_turns_a_revision_green(master: Any) -> None:
    Scripted.results = [FAILURE, RETRY, SUCCESS, EXCEPTION]
    revision = "4" * 40
    build = await master.finished_build(revision=revision)
    done = await is_done(master, revision)
    assert list(done)[-5:] == ["skipped", "verdict", "failing", "flaky", "built_with"]
    assert (done["job_passed"], *verdict_of(done)) == (False, "failed", ["fast"], [])
    page = await master.get(f"{at(revision)}/is_done?stableDelay=0", json=False)
    assert "<strong>Done: failed</strong>" in page.text
    assert "Failed: fast" in page.text

    async def rebuilt() -> Any:
        fields = {"build_id": build["buildid"]}
        await master.post("/self-serve/main/build", user=USER, data=fields)
        return await is_done(master, revision, "stableDelay=0&wait=20")

    done = await rebuilt()  # tried again in between
    assert verdict_of(done) == ("passed", [], ["fast"])
    # what clients of old go by stays as it was
    assert (done["job_complete"], done["job_passed"], done["failed"]) == (True, False, 1)
    page = await master.get(at(revision), json=False)
    assert '<span class="verdict-word passed">Passed' in page.text
    assert "Passed on a rerun (1)" in page.text
    assert "fast is flaky here" in page.text
    assert f"<title>{revision[:12]} on main: passed" in page.text
    assert verdict_of(await rebuilt()) == ("failed", ["fast"], ["fast"])
    # what waits leaves the rest as it stands
    master.pause()
    await master.add_request("slow", revision=revision)
    assert verdict_of(await is_done(master, revision)) == ("pending", ["fast"], ["fast"])


@scripted_master
@pytest_twisted.ensureDeferred
async def test_warnings_pass_and_what_was_cancelled_does_not(master: Any) -> None:
    Scripted.results = [WARNINGS]
    revision = "5" * 40
    await master.finished_build(revision=revision)
    done = await is_done(master, revision)
    assert (done["job_passed"], done["failed"], *verdict_of(done)) == (False, 1, "passed", [], [])
    master.pause()
    request_id = await master.add_request("slow", revision=revision)
    await master.request("DELETE", f"/self-serve/main/request/{request_id}", user=USER)
    assert verdict_of(await is_done(master, revision)) == ("incomplete", [], [])


@scripted_master
@pytest_twisted.ensureDeferred
async def test_what_a_virtual_builder_would_have_built_was_not_built_by_another(
    master: Any,
) -> None:
    """The row of a request names the builder that lends it the workers."""
    revision = "6" * 40
    properties = {
        "virtual_builder_name": ("deploy", "x"),
        "virtual_builder_tags": ([], "x"),
    }
    await master.finished_build(revision=revision)
    master.pause()
    request_id = await master.add_request(revision=revision, properties=properties)
    await master.request("DELETE", f"/self-serve/main/request/{request_id}", user=USER)
    assert verdict_of(await is_done(master, revision)) == ("incomplete", [], [])
    master.resume()
    await master.finished_build(revision=revision, properties=properties)
    assert verdict_of(await is_done(master, revision)) == ("passed", [], [])


def patient_scheduler(seconds: float) -> Any:
    made = scripted()
    made["schedulers"] = [
        schedulers.SingleBranchScheduler(
            name="stable",
            change_filter=util.ChangeFilter(branch="main"),
            treeStableTimer=seconds,
            builderNames=["fast"],
        ),
        schedulers.Triggerable(name="rest", builderNames=["slow", "opt/mac #1"]),
    ]
    return made


@pytest.mark.parametrize("master", [lambda: patient_scheduler(2)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_pushes_that_a_scheduler_takes_together_are_not_done_before_they_are_built(
    master: Any,
) -> None:
    first, second = "7" * 40, "8" * 40
    await push(master, first)
    await push(master, second)
    nothing = {
        "stableDelay": 0, "job_complete": False, "job_passed": False,
        "pending": 0, "running": 0, "builds": 0, "failed": 0, "cancelled": 0, "skipped": 0,
        "verdict": "pending", "failing": [], "flaky": [], "built_with": None,
    }  # fmt: skip
    for revision in (first, second):
        assert (await master.get(at(revision))).json == []
        assert await is_done(master, revision) == nothing
        for path in (at(revision), f"{at(revision)}/is_done"):
            page = await master.get(path, json=False)
            assert (page.status, "Not built yet" in page.text) == (200, True)
            assert "treeStableTimer" in page.text
    # who waits hears of the builds when they come, long before the next look that is planned
    begun = reactor.seconds()
    done = await is_done(master, second, "stableDelay=0&wait=60")
    assert (done["job_passed"], *verdict_of(done)) == (True, "passed", [], [])
    assert reactor.seconds() - begun < 15
    # the other one is never built
    passed_over = {**nothing, "verdict": "incomplete", "built_with": second}
    assert await is_done(master, first, "stableDelay=0&wait=1") == passed_over
    for path in (at(first), f"{at(first)}/is_done", "/self-serve/main/pushes"):
        page = await master.get(path, json=False)
        assert (page.status, "Built with a newer push" in page.text) == (200, True)
        assert f'href="/self-serve/main/rev/{second}">{second[:12]}</a>' in page.text
    client = TwistedClient(f"{master.url}/self-serve")
    assert (await client.wait("main", first, timeout=60))["built_with"] == second
    # but by hand
    waiting = defer.ensureDeferred(is_done(master, first, "stableDelay=0&wait=60"))
    await task.deferLater(reactor, 0.3)
    assert not waiting.called
    path = f"/self-serve/main/builders/fast/{first}"
    assert (await master.post(path, user=USER)).status == 202
    assert verdict_of(await waiting) == ("passed", [], [])
    assert plugin.application._service is not None
    assert plugin.application._service.live.held == 0


@pytest_twisted.ensureDeferred
async def test_where_there_is_neither_a_build_nor_a_change_nothing_will_come(master: Any) -> None:
    revision = "9" * 40
    # as it is left when Buildbot has forgotten its oldest changes
    await master.master.db.sourcestamps.findSourceStampId(
        branch="main", revision=revision, repository="r", codebase="", project=""
    )
    assert (await master.get(at(revision))).json == []
    for query in ("", "?wait=60"):
        answer = await master.get(f"{at(revision)}/is_done{query}")
        assert (answer.status, answer.json["msg"]) == (
            404,
            f"Revision {revision} not found on branch main",
        )
