"""What self-serve answers, as types: the JSON as it is, so that nothing new in it gets lost.

Times are whole epoch seconds; ``status`` is Buildbot's result code. docs/api.md describes the
routes that these come from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from typing import Literal
from typing import TypedDict

#: Words for Buildbot's result codes, in their order (buildbot/process/results.py).
RESULTS = ("success", "warnings", "failure", "skipped", "exception", "retry", "cancelled")
#: Outcomes of a build request that a job request has not brought about.
UNDONE = frozenset({"failed", "denied", "left_out"})


class BranchInfo(TypedDict):
    """Where a branch lives."""

    repo: str
    repo_type: str
    graph_branches: list[str]


class _RequestRow(TypedDict):
    request_id: int
    buildername: str
    builder_id: int
    branch: str
    revision: str | None
    submittime: int
    complete: int
    complete_at: int | None
    priority: int
    claimed_at: int
    reason: str | None
    owner: str | None
    url: str


class RequestRow(_RequestRow, total=False):
    """A build request; one that is complete has a ``status`` and an ``endtime``."""

    status: int
    endtime: int
    properties: dict[str, Any]
    build_ids: list[int]
    patched: bool


class _BuildRow(TypedDict):
    build_id: int
    requests: list[RequestRow]
    buildnumber: int
    buildername: str
    builder_id: int
    branch: str
    revision: str | None
    starttime: int
    endtime: int | None
    status: int | None
    claimed_by_name: str | None
    worker: str | None
    url: str


class BuildRow(_BuildRow, total=False):
    """A build; ``endtime`` and ``status`` are ``None`` while it runs.

    Where a patch was put on top of the revision, ``patched`` is true; otherwise it is left out.
    """

    patched: bool


#: A row of a list. One with a ``build_id`` is a build; one without is a request that has no build.
Row = BuildRow | RequestRow


class UserRows(TypedDict):
    """What somebody has built, is building and waits for, 200 of each at most."""

    builds: list[BuildRow]
    running: list[BuildRow]
    pending: list[RequestRow]


class Done(TypedDict):
    """Whether a revision is done, and how it went.

    ``verdict`` goes by the latest result of each builder; ``failing`` are the builders that fail by
    it, and ``flaky`` those that have both passed and failed.
    """

    stableDelay: int
    job_complete: bool
    job_passed: bool
    pending: int
    running: int
    builds: int
    failed: int
    cancelled: int
    skipped: int
    verdict: Literal["pending", "running", "passed", "failed", "incomplete"]
    failing: list[str]
    flaky: list[str]


class Possible(TypedDict):
    """What can be built at a revision."""

    branch: str
    revision: str
    known: bool
    reacting: list[str]
    sets: dict[str, list[str]]
    builders: list[str]


class Outcome(TypedDict):
    """What became of one build request of a job request."""

    request_id: int | None
    buildername: str
    outcome: str
    build_ids: list[int]
    url: str | None
    msg: str


class Receipt(TypedDict):
    """The answer to a job request; ``job_id`` stands also as ``request_id``, as of old."""

    status: str
    msg: str
    request_id: int
    job_id: int
    job_url: str
    completed_at: int | None
    requests: list[Outcome]
    buildset_ids: list[int]


class JobBody(TypedDict):
    """How a job request ended."""

    errors: bool
    msg: str
    requests: list[Outcome]


class CompleteData(TypedDict):
    """The end of a job request, as the original API nests it."""

    request_id: int
    body: JobBody


class Job(TypedDict):
    """A job request; its ``status`` is ``running``, ``ok``, ``failed`` or ``unknown``."""

    job_id: int
    action: str
    who: str
    via: str
    remote: str
    when: int
    branch: str
    what: dict[str, Any]
    status: str
    completed_at: int | None
    complete_data: CompleteData | None
    buildset_ids: list[int]


def state(row: Mapping[str, Any]) -> str:
    """Return ``pending``, ``running`` or the word for the result of a row."""
    if row.get("endtime") is not None:
        status = row.get("status")
        known = isinstance(status, int) and 0 <= status < len(RESULTS)
        return RESULTS[status] if known and status is not None else "none"
    return "running" if "build_id" in row or row.get("claimed_at") else "pending"


def request_of(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the build request of a row: of a build, the one that it was made for."""
    request: Mapping[str, Any] = row["requests"][0] if "build_id" in row else row
    return request


def went_wrong(receipt: Receipt) -> bool:
    """Whether something that a job request was to do was not done."""
    return receipt["status"] != "OK" or any(one["outcome"] in UNDONE for one in receipt["requests"])
