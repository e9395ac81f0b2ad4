"""Is it done: how records become rows, and how rows are judged.

``tests/test_verdict.py`` has the verdict, which goes by builders.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from buildbot_selfserve.history.index import About
from buildbot_selfserve.history.revisions import predict
from buildbot_selfserve.history.rows import RECORDS
from buildbot_selfserve.history.rows import Names
from buildbot_selfserve.history.rows import Record
from buildbot_selfserve.history.rows import assemble
from buildbot_selfserve.history.verdict import judge
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import EXCEPTION
from buildbot_selfserve.model import FAILURE
from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import SUCCESS
from buildbot_selfserve.model import WARNINGS
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Done
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Row

MAIN = Branch("main", ("main",))
DELAY = 180
#: When everything here has ended, and a time at which that is long enough ago.
END = 1_700_000_000
LATER = END + DELAY

BUILDER, WORKER, MASTER = 7, 5, 3
NAMES = Names({BUILDER: "fast"}, {WORKER: "worker"}, {MASTER: "master"})
ABOUT = {1: About(codebase="", revision="a" * 40, reason="a push", owner=None)}

BUILD: dict[str, Any] = {
    "number": 1,
    "build_builder_id": BUILDER,
    "started_at": END - 60,
    "state_string": "",
    "worker_id": WORKER,
    "master_id": MASTER,
}
NO_BUILD: dict[str, Any] = dict.fromkeys((*BUILD, "build_id", "build_complete_at", "build_results"))


def request(request_id: int = 1, status: int | None = None, **more: Any) -> dict[str, Any]:
    """Return what the records of a request have in common; without *status* it is not complete."""
    return {
        "request_id": request_id,
        "buildset_id": 1,
        "request_builder_id": BUILDER,
        "priority": 0,
        "complete": int(status is not None),
        # Buildbot writes -1 for a request that has no result yet
        "request_results": -1 if status is None else status,
        "submitted_at": END - 120,
        "request_complete_at": None if status is None else END,
        "claimed_at": None,
        **more,
    }


def record(of: dict[str, Any], build_id: int | None = None, status: int | None = None) -> Record:
    """Return a record of a request with one of its builds, which runs without *status*, or none."""
    if build_id is None:
        return Record(**of, **NO_BUILD)
    return Record(
        **of,
        **BUILD,
        build_id=build_id,
        build_complete_at=None if status is None else END,
        build_results=status,
    )


def assembled(records: Iterable[Record], branch: Branch = MAIN) -> list[Row]:
    return assemble(branch, records, ABOUT, NAMES)


def shown(rows: list[Row]) -> list[tuple[str, int, str]]:
    """Return of each row what it is, its id and its state."""
    return [
        ("build", row.build_id, row.state)
        if isinstance(row, BuildRow)
        else ("request", row.request_id, row.state)
        for row in rows
    ]


def test_a_record_has_the_columns_of_the_query() -> None:
    assert list(Record._fields) == RECORDS.selected_columns.keys()


CLAIMED = {"claimed_at": END - 90}


@pytest.mark.parametrize(
    ("records", "rows"),
    [
        pytest.param([], [], id="nothing"),
        pytest.param([record(request())], [("request", 1, "pending")], id="pending"),
        pytest.param(
            [record(request(**CLAIMED))], [("request", 1, "running")], id="claimed without a build"
        ),
        pytest.param([record(request(**CLAIMED), 10)], [("build", 10, "running")], id="running"),
        pytest.param(
            [record(request(status=SUCCESS), 10, SUCCESS)],
            [("build", 10, "success")],
            id="finished",
        ),
        pytest.param(
            [record(request(status=CANCELLED))],
            [("request", 1, "cancelled")],
            id="cancelled while pending",
        ),
        pytest.param(
            [record(request(status=SKIPPED))], [("request", 1, "skipped")], id="collapsed"
        ),
        pytest.param(
            [record(request(), 10, RETRY)],
            [("build", 10, "retry"), ("request", 1, "pending")],
            id="pending again after a retry",
        ),
        pytest.param(
            [record(request(**CLAIMED), 10, RETRY), record(request(**CLAIMED), 11)],
            [("build", 10, "retry"), ("build", 11, "running")],
            id="running again after a retry",
        ),
        pytest.param(
            [
                record(request(status=SUCCESS), 10, RETRY),
                record(request(status=SUCCESS), 11, SUCCESS),
            ],
            [("build", 10, "retry"), ("build", 11, "success")],
            id="finished after a retry",
        ),
        pytest.param(
            [record(request(status=CANCELLED), 10, RETRY)],
            [("build", 10, "retry"), ("request", 1, "cancelled")],
            id="cancelled after a retry",
        ),
        pytest.param(
            [record(request(status=CANCELLED), 10, CANCELLED)],
            [("build", 10, "cancelled")],
            id="stopped",
        ),
        pytest.param(
            [record(request(**CLAIMED), 10, SUCCESS)],
            [("build", 10, "success"), ("request", 1, "running")],
            id="the build has ended and the request not yet",
        ),
        pytest.param(
            [record(request(1), 10, RETRY), record(request(2)), record(request(1), 11)],
            [("build", 10, "retry"), ("build", 11, "running"), ("request", 2, "pending")],
            id="two requests",
        ),
    ],
)
def test_records_become_rows(records: list[Any], rows: list[tuple[str, int, str]]) -> None:
    assert shown(assembled(records)) == rows


def test_a_row_has_the_urls_name_of_the_branch() -> None:
    branch = Branch("main", ("refs/heads/main",))
    (build,) = assembled([record(request(), 10)], branch)
    assert isinstance(build, BuildRow)
    assert (build.branch, build.request.branch) == ("main", "main")


def test_a_request_that_is_not_complete_has_no_status_and_no_end() -> None:
    (row,) = assembled([record(request())])
    assert isinstance(row, RequestRow)
    assert (row.complete, row.status, row.endtime, row.claimed_at) == (0, None, None, 0)


# -- how it is judged


def judged(*records: Record, delay: int = DELAY, now: float = LATER) -> Done:
    """Return how it is judged, without what goes by builders."""
    done = judge(assembled(records), delay, now)
    return replace(done, verdict="pending", failing=(), flaky=())


def ended(status: int, request_id: int = 1) -> Any:
    """Return the record of a request whose only build ended with *status*."""
    return record(request(request_id, status=status), request_id * 10, status)


def test_no_rows_are_not_done() -> None:
    assert judged() == Done(stable_delay=DELAY, job_complete=False, job_passed=False)


@pytest.mark.parametrize(
    ("status", "passed", "counted"),
    [
        (SUCCESS, True, {}),
        (WARNINGS, False, {"failed": 1}),
        (FAILURE, False, {"failed": 1}),
        (SKIPPED, False, {"skipped": 1}),
        (EXCEPTION, False, {"failed": 1}),
        (CANCELLED, False, {"cancelled": 1}),
    ],
)
def test_a_build_that_ended_is_done_and_its_result_says_whether_it_passed(
    status: int, passed: bool, counted: dict[str, Any]
) -> None:
    assert judged(ended(status)) == Done(
        stable_delay=DELAY, job_complete=True, job_passed=passed, builds=1, **counted
    )


@pytest.mark.parametrize(
    ("status", "passed", "counted"),
    [(SKIPPED, False, {"skipped": 1}), (CANCELLED, False, {"cancelled": 1})],
)
def test_a_request_that_ended_without_a_build_is_done(
    status: int, passed: bool, counted: dict[str, Any]
) -> None:
    assert judged(record(request(status=status))) == Done(
        stable_delay=DELAY, job_complete=True, job_passed=passed, **counted
    )


def test_a_request_that_was_collapsed_has_passed_if_its_builder_has_built_it_here() -> None:
    skipped = record(request(2, status=SKIPPED))
    assert judged(ended(SUCCESS, 1), skipped) == Done(
        stable_delay=DELAY, job_complete=True, job_passed=True, builds=1, skipped=1
    )


def test_a_request_that_is_said_to_have_succeeded_without_a_build_has_built_nothing() -> None:
    assert not judged(record(request(status=SUCCESS))).job_passed


def test_what_was_only_tried_again_elsewhere_has_not_passed() -> None:
    # its request ended with a build that found another revision
    retried = [
        row for row in assembled([record(request(), 10, RETRY)]) if isinstance(row, BuildRow)
    ]
    assert not judge(retried, DELAY, LATER).job_passed


@pytest.mark.parametrize("status", [WARNINGS, FAILURE, EXCEPTION, CANCELLED])
def test_one_that_did_not_pass_is_enough(status: int) -> None:
    done = judged(ended(SUCCESS, 1), ended(status, 2), ended(SUCCESS, 3))
    assert (done.job_complete, done.job_passed, done.builds) == (True, False, 3)


@pytest.mark.parametrize(
    ("records", "counted"),
    [
        pytest.param([record(request(2))], {"pending": 1}, id="pending"),
        pytest.param([record(request(2, **CLAIMED))], {"running": 1}, id="claimed without a build"),
        pytest.param([record(request(2, **CLAIMED), 20)], {"running": 1}, id="running"),
        pytest.param(
            [record(request(2), 20, RETRY)],
            {"pending": 1, "builds": 2},
            id="pending again after a retry",
        ),
        pytest.param(
            [record(request(2, **CLAIMED), 20, RETRY), record(request(2, **CLAIMED), 21)],
            {"running": 1, "builds": 2},
            id="running again after a retry",
        ),
        pytest.param(
            [record(request(2)), record(request(3)), record(request(4, **CLAIMED), 40)],
            {"pending": 2, "running": 1},
            id="several",
        ),
    ],
)
def test_it_is_not_done_while_something_waits_or_runs(
    records: list[Any], counted: dict[str, Any]
) -> None:
    expected: dict[str, Any] = {"stable_delay": DELAY, "builds": 1, **counted}
    assert judged(ended(SUCCESS), *records) == Done(
        job_complete=False, job_passed=False, **expected
    )


def test_a_retry_that_ended_well_has_passed() -> None:
    of = request(status=SUCCESS)
    assert judged(record(of, 10, RETRY), record(of, 11, SUCCESS)) == Done(
        stable_delay=DELAY, job_complete=True, job_passed=True, builds=2
    )


def test_a_retry_that_ended_badly_has_not() -> None:
    of = request(status=FAILURE)
    assert judged(record(of, 10, RETRY), record(of, 11, FAILURE)) == Done(
        stable_delay=DELAY, job_complete=True, job_passed=False, builds=2, failed=1
    )


def test_a_request_that_was_cancelled_after_a_retry_has_not_passed() -> None:
    assert judged(record(request(status=CANCELLED), 10, RETRY)) == Done(
        stable_delay=DELAY, job_complete=True, job_passed=False, builds=1, cancelled=1
    )


@pytest.mark.parametrize(
    ("delay", "since", "complete"),
    [
        (180, 179, False),
        (180, 179.9, False),
        (180, 180, True),
        (180, 181, True),
        (0, 0, True),
        (0, -1, False),
        (2**31 - 1, 10**6, False),
    ],
)
def test_it_is_done_once_the_last_end_is_long_enough_ago(
    delay: int, since: float, complete: bool
) -> None:
    done = judged(ended(SUCCESS), delay=delay, now=END + since)
    assert (done.stable_delay, done.job_complete, done.job_passed) == (delay, complete, complete)


def test_the_last_end_counts_wherever_it_stands() -> None:
    last = request(2, status=SKIPPED, request_complete_at=END + 1)
    records = [ended(SUCCESS, 1), record(last), ended(SUCCESS, 3)]
    assert not judged(*records, now=LATER).job_complete
    assert judged(*records, now=LATER + 1).job_complete


def test_what_failed_is_counted_before_it_is_done() -> None:
    done = judged(ended(FAILURE, 1), record(request(2)), now=END)
    assert (done.job_complete, done.failed, done.pending) == (False, 1, 1)


def test_an_end_in_the_future_is_long_ago() -> None:
    """The clock was set back since, and nobody knows when that was."""
    found = assembled([record(request(status=SUCCESS), 10, SUCCESS)])
    for now, complete in ((END - 3600, True), (END - 30, False), (END + 1, False), (LATER, True)):
        assert judge(found, DELAY, now).job_complete is complete
        assert (predict(found, DELAY, now).seconds == 0) is complete
