"""The JSON of every answer, declared once, as types.

``model.wire`` builds these dictionaries from values, ``model.schemas`` derives the schemas of the
OpenAPI document from the types, and the client returns them. In ``Annotated``, a string describes a
member and a dictionary adds keywords to its JSON schema; a docstring describes the object. Required
members are declared in the order in which they are sent.

This module imports nothing of the package, so that the client starts without the rest of it.
"""

from __future__ import annotations

from typing import Annotated
from typing import Any
from typing import Literal
from typing import TypedDict

#: Words for Buildbot's result codes, in their order (buildbot/process/results.py).
RESULT_NAMES = ("success", "warnings", "failure", "skipped", "exception", "retry", "cancelled")

_Url = Annotated[str, {"format": "uri"}]
_BuilderName = Annotated[str, "The name of the builder."]
_BuilderId = Annotated[int, "The id of the builder."]
_BuilderNames = Annotated[list[str], "Names of builders."]
_BuildsetIds = Annotated[list[int], "The ids of the buildsets that it made."]
_BranchName = Annotated[str, "The name of the branch in this API."]
_JobId = Annotated[int, "The id of the job request."]
_Page = Annotated[_Url, "Buildbot's own page of it."]
_Patched = Annotated[
    bool, "A patch was put on top of the revision, as by a try scheduler. Only where it is true."
]
_Revision = Annotated[
    str | None, "The whole revision, a hash in small letters; null when nobody knows it."
]
_CODES = ", ".join(f"{code} {name}" for code, name in enumerate(RESULT_NAMES))
_RESULT = f"Buildbot's result code: {_CODES}."
_ROWS = "A row with a build_id is a build; one without is a request that has no build."


# -- builds and build requests


class _Request(TypedDict):
    request_id: Annotated[int, "The id of the build request."]
    buildername: _BuilderName
    branch: _BranchName
    revision: _Revision
    submittime: Annotated[int, "When it was asked for. Epoch seconds."]
    complete: Annotated[int, "Whether it has ended.", {"enum": [0, 1]}]
    complete_at: Annotated[int | None, "When it ended; null before. Epoch seconds."]
    priority: Annotated[int, "Requests of a higher priority are built first."]
    claimed_at: Annotated[int, "When a master took it up; 0 before. Epoch seconds."]
    reason: Annotated[str | None, "Why it was asked for."]
    owner: Annotated[str | None, "Who asked for it, or else the author of its newest change."]
    builder_id: _BuilderId
    url: _Page


class RequestRow(_Request, total=False):
    """A build request."""

    status: Annotated[int | None, f"{_RESULT} Only where it has ended."]
    endtime: Annotated[int | None, "When it ended. Only where it has. Epoch seconds."]
    patched: _Patched


class RequestOfBuild(RequestRow):
    """Its request."""

    properties: Annotated[
        dict[str, Any],
        "Its properties by name. Told as text: numbers of over 4,300 digits, NaN and infinite ones,"
        " values nested over 200 deep, and what is no JSON.",
    ]


class RequestDetail(RequestOfBuild):
    """A build request, with its properties and its builds."""

    build_ids: Annotated[list[int], "The ids of its builds, oldest first."]


class _BuildId(TypedDict):
    build_id: Annotated[int, "The id of the build."]


class _Build(TypedDict):
    buildnumber: Annotated[int, "Its number among those of the builder."]
    buildername: _BuilderName
    branch: _BranchName
    revision: _Revision
    starttime: Annotated[int, "When it began. Epoch seconds."]
    endtime: Annotated[int | None, "When it ended; null while it runs. Epoch seconds."]
    status: Annotated[int | None, f"{_RESULT} Null while it runs."]
    claimed_by_name: Annotated[str | None, "The name of the master that builds it."]
    builder_id: _BuilderId
    worker: Annotated[str | None, "The name of the worker that builds it."]
    url: _Page


class _MaybePatched(TypedDict, total=False):
    patched: _Patched


class _OfRequest(_BuildId):
    requests: Annotated[list[RequestRow], "The request that it is a build of."]


class _OfRequestDetail(_BuildId):
    requests: Annotated[list[RequestOfBuild], "The request that it is a build of."]


class BuildRow(_OfRequest, _Build, _MaybePatched):
    """A build."""


class BuildDetail(_OfRequestDetail, _Build, _MaybePatched):
    """A build, with the properties of its request."""


#: A row of a list. One with a ``build_id`` is a build; one without is a request that has no build.
Row = BuildRow | RequestRow
Day = Annotated[list[Row], f"What happened on a day, the newest first. {_ROWS}"]
RevisionRows = Annotated[list[Row], f"All that was asked for at a revision. {_ROWS}"]


class UserRows(TypedDict):
    """What a user has built, is building and waits for."""

    builds: Annotated[list[BuildRow], "Builds that have ended, the newest first."]
    running: Annotated[list[BuildRow], "Builds that run, the newest first."]
    pending: Annotated[list[RequestRow], "Requests that wait, the newest first."]


RevisionVerdict = Literal["pending", "running", "passed", "failed", "incomplete"]


class Done(TypedDict):
    """Whether a revision is done, and how it went."""

    stableDelay: Annotated[int, "Seconds that must have passed since the last row ended."]
    job_complete: Annotated[bool, "Whether everything ended at least so long ago."]
    job_passed: Annotated[
        bool,
        "Whether it is complete and every row ended with success: or with a retry, or skipped,"
        " where the same builder has a success here, too.",
    ]
    pending: Annotated[int, "How many requests wait."]
    running: Annotated[int, "How many builds run."]
    builds: Annotated[int, "How many builds have ended."]
    failed: Annotated[int, "How many rows failed."]
    cancelled: Annotated[int, "How many rows were cancelled."]
    skipped: Annotated[int, "How many requests were collapsed into others."]
    verdict: Annotated[RevisionVerdict, "How it stands by the latest result of each builder."]
    failing: Annotated[
        list[str],
        "The builders whose latest result is a failure or an exception, also while something is"
        " open.",
    ]
    flaky: Annotated[list[str], "The builders that have both passed and failed."]


# -- where things are built


class Branch(TypedDict):
    """A branch."""

    repo: Annotated[str, "The repository that it lives in."]
    repo_type: Annotated[str, "What kind of repository that is."]
    graph_branches: Annotated[list[str], "Its name."]


Branches = Annotated[dict[str, Branch], "Branches by name, the one that last moved first."]
Builders = Annotated[list[str], "Names of builders, sorted."]


class Possible(TypedDict):
    """What can be built at a revision."""

    branch: _BranchName
    revision: Annotated[str, "The whole revision, or the text that was given."]
    known: Annotated[bool, "Whether Buildbot knows it on this branch."]
    reacting: _BuilderNames
    sets: Annotated[dict[str, _BuilderNames], "The builders of each set."]
    builders: _BuilderNames
    elsewhere: Annotated[
        dict[str, Annotated[list[str], "Revisions."]],
        "What a revision that is not known here means on other branches, by branch.",
    ]


# -- job requests


Outcome = Literal[
    "created",
    "cancelled",
    "stopped",
    "stop_sent",
    "already_complete",
    "reprioritized",
    "skipped",
    "waiting",
    "denied",
    "left_out",
    "failed",
]
#: Outcomes of requests and builders to which nothing was done.
NOTHING_DONE = frozenset[Outcome]({"failed", "denied", "left_out"})


class RequestOutcome(TypedDict):
    """What became of a build request."""

    request_id: Annotated[int | None, "The id of the build request; null if none was made."]
    buildername: _BuilderName
    outcome: Annotated[Outcome, "What the database said after the act."]
    build_ids: Annotated[list[int], "The ids of its builds."]
    url: Annotated[str | None, "Buildbot's own page of it."]
    msg: Annotated[str, "More of it; may be empty."]


_Outcomes = Annotated[
    list[RequestOutcome], "What became of each build request, read after the act."
]


class JobBody(TypedDict):
    """The end of it."""

    errors: Annotated[bool, "Whether it failed."]
    msg: Annotated[str, "How it ended, in a sentence."]
    requests: _Outcomes


class CompleteData(TypedDict):
    """How it ended."""

    request_id: _JobId
    body: JobBody


class Job(TypedDict):
    """A job request, as the journal has it."""

    job_id: _JobId
    action: Annotated[str, "What was to be done, such as rebuild_build."]
    who: Annotated[str, "Who asked for it."]
    via: Annotated[
        str, "How they proved who they are: session, basic, remote_user, anonymous, token:NAME."
    ]
    remote: Annotated[str, "The address that it came from."]
    when: Annotated[int, "When it was asked for. Epoch seconds."]
    branch: _BranchName
    what: Annotated[dict[str, Any], "What was asked for, under the names of the original API."]
    status: Annotated[str, "How it stands.", {"enum": ["running", "ok", "failed", "unknown"]}]
    completed_at: Annotated[int | None, "When it had ended; null before. Epoch seconds."]
    complete_data: Annotated[CompleteData | None, "How it ended; null while it runs."]
    buildset_ids: _BuildsetIds


Jobs = Annotated[list[Job], "Job requests, the newest first."]


class Receipt(TypedDict):
    """The answer to a job request, once it has been done."""

    status: Annotated[
        str,
        "FAILED when something of it was not done; what was denied does not count.",
        {"enum": ["OK", "FAILED"]},
    ]
    msg: Annotated[str, "What was done, in a sentence."]
    request_id: Annotated[
        int, "The same as job_id, under the name that the original API has for it."
    ]
    job_id: _JobId
    job_url: Annotated[str, "The path of the job request."]
    completed_at: Annotated[int | None, "When it had been done. Epoch seconds."]
    requests: _Outcomes
    buildset_ids: _BuildsetIds


class Decision(TypedDict):
    """Whether somebody may do something."""

    allowed: Annotated[bool | None, "Null where it depends on what it is done to."]
    why: Annotated[str, "Why not, or what it depends on; empty when they may."]
    depends_on: Annotated[
        list[Annotated[str, "One of these.", {"enum": ["builder", "owner", "target"]}]],
        "What it depends on.",
    ]


class Limit(TypedDict):
    """A limit of this Buildbot's."""

    limit: Annotated[int, "How much everybody may ask for."]
    left: Annotated[int, "What is left to the asker."]
    resets_in: Annotated[int, "Seconds after which all of it is there again."]


class Permissions(TypedDict):
    """What the asker may do on a branch."""

    branch: _BranchName
    who: Annotated[str | None, "The name of the asker; null for nobody in particular."]
    via: Annotated[str, "How that is known, as the journal writes it."]
    actions: Annotated[dict[str, Decision], "By the name of the job request."]
    limits: Annotated[dict[str, Limit], "Limits by name; empty where there are none."]


# -- the API itself

Parameter = TypedDict(
    "Parameter",
    {
        "name": Annotated[str, "Its name on the wire."],
        "in": Annotated[str, "Where it goes.", {"enum": ["path", "query", "body"]}],
        "required": Annotated[bool, "Whether it must be given."],
        "text": Annotated[str, "What it means."],
        "schema": Annotated[dict[str, Any], "The JSON schema of its value."],
    },
)
Parameter.__doc__ = "A parameter."


class Route(TypedDict):
    """A route."""

    method: Annotated[str, "The HTTP method."]
    path: Annotated[str, "The path, with names of parameters between braces."]
    text: Annotated[str, "What it does."]
    parameters: Annotated[list[Parameter], "What it takes."]


class Manual(TypedDict):
    """What this API can do."""

    routes: Annotated[list[Route], "Its routes."]
    branches: Annotated[
        list[str], "The branches on which something last moved, at most 100; /branches has all."
    ]


ApiDocument = Annotated[dict[str, Any], "An OpenAPI 3.1 document."]


class _Refusal(TypedDict):
    status: Annotated[Literal["FAILED"], "Says so."]
    msg: Annotated[str, "What is wrong."]


class Failure(_Refusal, total=False):
    """Why it was refused."""

    detail: Annotated[str, "What would be right."]
    job_id: Annotated[int, "The job request that was begun, and whose end is not known yet."]
    job_url: Annotated[str, "Its path."]
