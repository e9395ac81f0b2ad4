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
#: Days that a hold lasts at most.
LONGEST_HOLD = 30

_Url = Annotated[str, {"format": "uri"}]
_BuilderName = Annotated[str, "The name of the builder."]
_BuilderId = Annotated[int, "The id of the builder."]
_BuilderNames = Annotated[list[str], "Names of builders."]
_BuildsetIds = Annotated[list[int], "The ids of the buildsets that it made."]
_BranchName = Annotated[str, "The name of the branch in this API."]
_JobId = Annotated[int, "The id of the job request."]
_Action = Annotated[str, "The action, such as rebuild_build."]
_Sender = Annotated[str, "The user who sent it."]
_Sent = Annotated[int, "When it was requested. Epoch seconds."]
_Page = Annotated[_Url, "Buildbot's own page of it."]
_Patched = Annotated[
    bool,
    "Built with a patch on top of the revision, as by a try scheduler. Only present if true.",
]
_Revision = Annotated[str | None, "The whole revision, a hash in lower case; null when unknown."]
_CODES = ", ".join(f"{code} {name}" for code, name in enumerate(RESULT_NAMES))
_RESULT = f"Buildbot's result code: {_CODES}."
_ROWS = "A row with a build_id is a build; one without is a request that has no build."


# -- builds and build requests


class _Request(TypedDict):
    request_id: Annotated[int, "The id of the build request."]
    buildername: _BuilderName
    branch: _BranchName
    revision: _Revision
    submittime: Annotated[int, "When it was requested. Epoch seconds."]
    complete: Annotated[int, "Whether it has ended.", {"enum": [0, 1]}]
    complete_at: Annotated[int | None, "When it ended; null before. Epoch seconds."]
    priority: Annotated[int, "Requests with a higher priority are built first."]
    claimed_at: Annotated[int, "When a master claimed it; 0 before. Epoch seconds."]
    reason: Annotated[str | None, "The reason of its buildset."]
    owner: Annotated[
        str | None, "The user who requested it, or else the author of its newest change."
    ]
    builder_id: _BuilderId
    url: _Page


class RequestRow(_Request, total=False):
    """A build request."""

    status: Annotated[int | None, f"{_RESULT} Only where it has ended."]
    endtime: Annotated[int | None, "When it ended. Only present if it has. Epoch seconds."]
    patched: _Patched


class RequestOfBuild(RequestRow):
    """Its request."""

    properties: Annotated[
        dict[str, Any],
        "Its properties by name. As text: numbers of over 4,300 digits, NaN and infinite ones,"
        " values nested over 200 deep, and what is no JSON.",
    ]


class JobOfRow(TypedDict):
    """A job request that did something to a build or a build request."""

    job_id: _JobId
    action: _Action
    who: _Sender
    when: _Sent


_JobsOfRow = Annotated[
    list[JobOfRow],
    "The job requests that made, cancelled, stopped or reprioritized it, newest first, at most"
    " 100.",
]


class RequestDetail(RequestOfBuild):
    """A build request, with its properties and its builds."""

    build_ids: Annotated[list[int], "The ids of its builds, oldest first."]
    jobs: _JobsOfRow


class _BuildId(TypedDict):
    build_id: Annotated[int, "The id of the build."]


class _Build(TypedDict):
    buildnumber: Annotated[int, "Its number on its builder."]
    buildername: _BuilderName
    branch: _BranchName
    revision: _Revision
    starttime: Annotated[int, "When it began. Epoch seconds."]
    endtime: Annotated[int | None, "When it ended; null while it is running. Epoch seconds."]
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


class Log(TypedDict):
    """A log of a step."""

    name: Annotated[str, "Its name."]
    slug: Annotated[str, "Its name in URLs."]
    type: Annotated[
        str,
        "s: lines of standard output and standard error; t: text; h: HTML; d: its text was"
        " deleted.",
    ]
    lines: Annotated[int, "The number of its lines that are in the database."]
    url: Annotated[_Url, "Its text."]


class StepLink(TypedDict):
    """A link that a step has set."""

    name: Annotated[str, "Its text."]
    url: Annotated[str, "Where it leads."]


class Step(TypedDict):
    """A step of a build."""

    number: Annotated[int, "Its number in the build, from 0 on."]
    name: Annotated[str, "Its name."]
    state_string: Annotated[str, "What it does, or what came of it, in words."]
    results: Annotated[int | None, f"{_RESULT} Null until it has ended."]
    started_at: Annotated[int | None, "When it began; null before. Epoch seconds."]
    complete_at: Annotated[int | None, "When it ended; null before. Epoch seconds."]
    urls: Annotated[list[StepLink], "The links that it has set."]
    logs: Annotated[list[Log], "Its logs, in the order in which they were begun."]


class LogLine(TypedDict):
    """A line of a log."""

    stream: Annotated[str, "Where the step wrote it.", {"enum": ["stdout", "stderr"]}]
    text: Annotated[str, "At most 500 characters of it, without colours."]


class _LogTail(TypedDict):
    name: Annotated[str, "The name of the log."]
    tail: Annotated[
        list[LogLine], "Its last lines, at most 30; without what Buildbot itself wrote into it."
    ]
    lines: Annotated[int, "The number of its lines that are in the database."]
    url: Annotated[_Url, "Its whole text."]


class LogTail(_LogTail, total=False):
    """The end of a log."""

    note: Annotated[str, "Why it cannot be shown. Only present then."]


class FailedStep(TypedDict):
    """The last step of a build that failed, and the end of its log."""

    number: Annotated[int, "Its number in the build, from 0 on."]
    name: Annotated[str, "Its name."]
    state_string: Annotated[str, "What came of it, in words."]
    results: Annotated[int | None, _RESULT]
    log: Annotated[
        LogTail | None,
        "Of its logs, the one with lines of standard error, or else the first; of a step that"
        " raised an exception, the traceback. Null if it has none.",
    ]


class _WithSteps(TypedDict):
    steps: Annotated[
        list[Step],
        "Its steps, in their order; without those that Buildbot's own page hides, unless they"
        " failed.",
    ]
    failed_step: Annotated[
        FailedStep | None, "Null if no step has failed, or if the build succeeded all the same."
    ]
    jobs: _JobsOfRow


class BuildDetail(_OfRequestDetail, _Build, _WithSteps, _MaybePatched):
    """A build, with the properties of its request, and its steps."""


#: A row of a list. One with a ``build_id`` is a build; one without is a request that has no build.
Row = BuildRow | RequestRow
Day = Annotated[list[Row], f"The builds and requests of a day, newest first. {_ROWS}"]
RevisionRows = Annotated[list[Row], f"All builds and requests at a revision. {_ROWS}"]


class UserRows(TypedDict):
    """The builds and pending requests of a user."""

    builds: Annotated[list[BuildRow], "Finished builds, newest first."]
    running: Annotated[list[BuildRow], "Running builds, newest first."]
    pending: Annotated[list[RequestRow], "Pending requests, newest first."]


RevisionVerdict = Literal["pending", "running", "passed", "failed", "incomplete"]


class Done(TypedDict):
    """Whether a revision is done, and whether it passed."""

    stableDelay: Annotated[int, "Seconds that must have passed since the last row ended."]
    job_complete: Annotated[bool, "Whether everything ended at least stableDelay seconds ago."]
    job_passed: Annotated[
        bool,
        "Whether it is complete and every row ended with success: or with a retry, or skipped,"
        " where the same builder has a success here, too.",
    ]
    pending: Annotated[int, "Number of pending requests."]
    running: Annotated[int, "Number of running builds."]
    builds: Annotated[int, "Number of finished builds."]
    failed: Annotated[int, "Number of rows that failed."]
    cancelled: Annotated[int, "Number of rows that were cancelled."]
    skipped: Annotated[int, "Number of requests that were collapsed into others."]
    verdict: Annotated[RevisionVerdict, "The verdict by the latest result of each builder."]
    failing: Annotated[
        list[str],
        "The builders whose latest result is a failure or an exception, also while something is"
        " open.",
    ]
    flaky: Annotated[list[str], "The builders that have both passed and failed."]
    built_with: Annotated[
        str | None,
        "The nearest newer push that was built, where nothing was requested here: a scheduler may"
        " build several changes at once.",
    ]


BuilderStateName = Literal[
    "passed",
    "warnings",
    "failed",
    "exception",
    "cancelled",
    "skipped",
    "running",
    "pending",
    "missing",
]
BuilderChange = Literal["regressed", "still_failing", "fixed", "passing", "flaky", "new", "unknown"]
_State = Annotated[
    BuilderStateName,
    "What is under way, or else its latest result; missing if a scheduler would build it here and"
    " nothing was requested.",
]
_Change = Annotated[
    BuilderChange,
    "How its latest result compares with the one before: regressed (passed before), still_failing,"
    " fixed, passing, flaky (both passed and failed here), new (no result within the last 50"
    " revisions), or unknown (no result here).",
]
_StateCounts = Annotated[dict[str, int], "The number of builders in each state."]
_Attempts = Annotated[int, "The number of builds here, without those that Buildbot retried."]
_StateBuild = Annotated[int | None, "The build that the state is about; null if it has none."]
_StateRequest = Annotated[int | None, "Its build request; null if nothing was requested."]


class BuilderHealth(TypedDict):
    """A builder at a revision, compared with a revision before."""

    buildername: _BuilderName
    builder_id: _BuilderId
    state: _State
    attempts: _Attempts
    build_id: _StateBuild
    request_id: _StateRequest
    change: _Change
    base_state: Annotated[str | None, "Its latest result at base_revision."]
    base_revision: Annotated[str | None, "The revision that it is compared with."]
    distance: Annotated[int | None, "The number of revisions from base_revision to this one."]
    failed_step: Annotated[str | None, "The name of the last step that failed in the build."]
    url: Annotated[str | None, "Buildbot's page of the build or request."]


_BuiltWith = Annotated[
    str | None,
    "The nearest newer push that was built, where nothing was requested for this one but by"
    " backfills and bisections: a scheduler may build several changes at once.",
]


class Health(TypedDict):
    """Whether a revision is good, compared with a revision before."""

    revision: Annotated[str, "The whole revision."]
    base: Annotated[str | None, "The revision that it is compared with, or the nearest before it."]
    verdict: Annotated[RevisionVerdict, "The verdict by the latest result of each builder."]
    builders: Annotated[list[BuilderHealth], "What needs attention comes first."]
    counts: _StateCounts
    built_with: _BuiltWith


class PushBuilder(TypedDict):
    """A builder at a push."""

    buildername: _BuilderName
    state: _State
    change: _Change
    build_id: _StateBuild
    request_id: _StateRequest
    attempts: _Attempts


class _Push(TypedDict):
    revision: Annotated[str, "The whole revision."]
    when: Annotated[int | None, "When it was changed, or first requested. Epoch seconds."]
    author: Annotated[str | None, "The author of its newest change; null without a change."]
    subject: Annotated[str | None, "The first line of the comments of that change."]
    files: Annotated[int | None, "The number of files that were changed."]
    change_ids: Annotated[list[int], "The ids of its changes in Buildbot."]
    verdict: Annotated[RevisionVerdict, "The verdict by the latest result of each builder."]
    counts: _StateCounts
    builders: Annotated[list[PushBuilder], "What needs attention comes first."]
    built_with: _BuiltWith
    url: Annotated[_Url, "The page of the revision."]


class _MaybeBranch(TypedDict, total=False):
    branch: Annotated[str, "The name of the branch. Only present among the pushes of a user."]


class Push(_Push, _MaybeBranch):
    """A revision that was pushed or built."""


Pushes = Annotated[list[Push], "Pushes, newest first."]


class LastGreen(TypedDict):
    """The newest revision at which all the selected builders passed."""

    revision: Annotated[str, "The whole revision."]
    when: Annotated[int | None, "When it was changed, or first requested. Epoch seconds."]
    distance: Annotated[int, "The number of newer pushes."]


# -- what waits

ReasonCode = Literal[
    "master_shutting_down",
    "distribution_stopped",
    "builder_not_on_this_master",
    "builder_has_no_workers",
    "no_worker_connected",
    "worker_not_connected",
    "workers_busy",
    "worker_paused",
    "worker_graceful",
    "worker_quarantined",
    "worker_starting",
    "lock_held",
    "behind",
    "held_back_by_configuration",
    "held",
    "starting",
    "acquiring_locks",
    "master_gone",
    "unknown",
]


class BlockingBuild(TypedDict):
    """A build that something waits for."""

    build_id: Annotated[int | None, "The id of the build; null while it is only beginning."]
    buildnumber: Annotated[int | None, "Its number on its builder; null likewise."]
    buildername: _BuilderName
    worker: Annotated[str, "The name of the worker that builds it."]
    url: Annotated[str | None, "Buildbot's own page of it; null likewise."]


class _Reason(TypedDict):
    code: Annotated[ReasonCode, "What it waits for, as a word."]
    msg: Annotated[str, "What it waits for, in a sentence."]
    blocking: Annotated[bool, "Whether it could not start now because of this."]
    capacity: Annotated[bool, "Whether more workers would help."]
    fatal: Annotated[bool, "Whether it will never start as things are."]


class Reason(_Reason, total=False):
    """Why a build request waits. What it concerns is only present where there is some."""

    workers: Annotated[list[str], "The names of the workers that it concerns."]
    builds: Annotated[list[BlockingBuild], "The builds that it waits for."]
    locks: Annotated[list[str], "The names of the locks that it waits for."]
    masters: Annotated[list[str], "The names of the masters that it concerns."]
    requests: Annotated[list[int], "The ids of requests that are built before it, at most 20."]
    settings: Annotated[list[str], "The settings of the configuration that it concerns."]
    until: Annotated[int, "When it ends. Epoch seconds."]
    who: Annotated[str, "The user who holds it."]


class Eta(TypedDict):
    """When it is likely done."""

    earliest: Annotated[
        int, "If every build takes as long as the median of its builder. Epoch seconds."
    ]
    likely: Annotated[
        int, "If every build takes as long as nine in ten do not exceed. Epoch seconds."
    ]


class Why(TypedDict):
    """Why a build request waits."""

    request_id: Annotated[int, "The id of the build request."]
    state: Annotated[str, "pending, running, or the name of its result."]
    position: Annotated[
        int | None,
        "Its place among the pending requests of its builder, 1 for the next; null if it is not"
        " pending, or if the nextBuild of an operator decides.",
    ]
    ahead: Annotated[int | None, "Number of pending requests of its builder before it."]
    eta: Annotated[Eta | None, "When it is likely done; null when unknown."]
    eta_reason: Annotated[str, "Why that is unknown; empty otherwise."]
    reasons: Annotated[
        list[Reason], "Why it waits; the first says what matters most. Empty if it does not wait."
    ]


_Wait = Annotated[
    int | None,
    "Of the waits of requests that started within the last day, in seconds; null without any.",
]
_Waiting = Annotated[int, "Number of pending requests."]
_Oldest = Annotated[int, "Seconds since the oldest of them was requested."]


class QueuedBuilder(TypedDict):
    """What waits for a builder."""

    buildername: _BuilderName
    builder_id: _BuilderId
    waiting: _Waiting
    running: Annotated[int, "Number of its running builds, on all branches."]
    oldest: _Oldest
    p50: _Wait
    p90: _Wait
    reasons: Annotated[dict[str, int], "Number of its pending requests by the code of the reason."]
    owners: Annotated[dict[str, int], "Number of its pending requests by user; empty if unknown."]


class WorkerSet(TypedDict):
    """What waits for a set of workers."""

    workers: Annotated[list[str], "The names of the workers."]
    builders: Annotated[list[str], "The builders that wait for them."]
    waiting: _Waiting
    busy: Annotated[int, "Number of the workers that have a build."]
    oldest: _Oldest
    p50: _Wait
    p90: _Wait
    not_connected: Annotated[
        list[str], "Those that are not connected, without those that start when they are needed."
    ]


class QueuedRequest(TypedDict):
    """A pending build request."""

    request_id: Annotated[int, "The id of the build request."]
    buildername: _BuilderName
    branch: Annotated[str, "The name of the branch in this API; empty if it belongs to none."]
    revision: _Revision
    submittime: Annotated[int, "When it was requested. Epoch seconds."]
    complete: Annotated[int, "Whether it has ended.", {"enum": [0, 1]}]
    complete_at: Annotated[int | None, "When it ended; null before. Epoch seconds."]
    priority: Annotated[int, "Requests with a higher priority are built first."]
    claimed_at: Annotated[int, "When a master claimed it; 0 before. Epoch seconds."]
    reason: Annotated[Reason, "Why it waits."]
    buildset_reason: Annotated[str | None, "The reason of its buildset."]
    owner: Annotated[
        str | None, "The user who requested it, or else the author of its newest change."
    ]
    builder_id: _BuilderId
    url: _Page


class Queue(TypedDict):
    """What waits."""

    waiting: _Waiting
    oldest: Annotated[int | None, "Seconds since the oldest of them was requested; null if none."]
    builders: Annotated[list[QueuedBuilder], "The builders that something waits for."]
    worker_sets: Annotated[list[WorkerSet], "The sets of workers that something waits for."]
    requests: Annotated[list[QueuedRequest], "At most 200 of them, the next first."]


class Hold(TypedDict):
    """A hold: what it keeps from starting."""

    branch: _BranchName
    reason: Annotated[str, "Why, as it was given."]
    who: _Sender
    since: Annotated[int, "When it was made. Epoch seconds."]
    expires: Annotated[int, "When it ends by itself. Epoch seconds."]
    builders: Annotated[list[str], "Names and patterns of its builders; empty for any."]
    tags: Annotated[list[str], "Names and patterns of the tags of its builders; empty for any."]
    exclude_builders: Annotated[list[str], "Names and patterns of builders that are left out."]
    above: Annotated[
        int | None, "Requests with this priority or a higher one start; null for none."
    ]
    waiting: Annotated[int, "Number of pending requests that it keeps from starting now."]
    job_id: _JobId


Holds = Annotated[list[Hold], "The holds of the branch; the one that ends first comes first."]


# -- where things are built


class Branch(TypedDict):
    """A branch."""

    repo: Annotated[str, "Its repository."]
    repo_type: Annotated[str, "The kind of that repository."]
    graph_branches: Annotated[list[str], "Its name."]


Branches = Annotated[dict[str, Branch], "Branches by name, the most recently active first."]
Builders = Annotated[list[str], "Names of builders, sorted."]


class Possible(TypedDict):
    """What can be built at a revision."""

    branch: _BranchName
    revision: Annotated[str, "The whole revision, or the text that was given."]
    known: Annotated[bool, "Whether Buildbot knows it on this branch."]
    reacting: Annotated[
        list[str], "Builders that are configured in the schedulers which would build it."
    ]
    sets: Annotated[dict[str, _BuilderNames], "The builders of each set."]
    builders: _BuilderNames
    undecided: Annotated[
        list[str],
        "Schedulers that would build it, and decide on their builders when they do.",
    ]
    undecided_sets: Annotated[
        dict[str, list[str]],
        "Schedulers of each set that decide on their builders when they build.",
    ]
    lately: Annotated[
        dict[str, _BuilderNames],
        "Builders that such schedulers have chosen in their last builds on this branch.",
    ]
    failing: Annotated[list[str], "Schedulers whose change filters fail."]
    unclear: Annotated[
        list[str],
        "Schedulers of which it is not known whether they would build it: this branch has no"
        " change yet, and their change filters ask for more than its name.",
    ]
    elsewhere: Annotated[
        dict[str, Annotated[list[str], "Revisions."]],
        "Revisions that it may be on other branches, by branch, if it is unknown here.",
    ]


# -- job requests


Outcome = Literal[
    "created",
    "cancelled",
    "stopped",
    "stop_sent",
    "already_complete",
    "reprioritized",
    "held",
    "released",
    "skipped",
    "waiting",
    "denied",
    "left_out",
    "failed",
    "would_create",
    "would_cancel",
    "would_stop",
    "would_reprioritize",
    "would_hold",
    "would_release",
]
#: Outcomes of requests and builders to which nothing was done.
NOTHING_DONE = frozenset[Outcome]({"failed", "denied", "left_out"})


class _RequestOutcome(TypedDict):
    request_id: Annotated[int | None, "The id of the build request; null if none was made."]
    buildername: _BuilderName
    outcome: Annotated[Outcome, "The outcome, read from the database afterwards."]
    build_ids: Annotated[list[int], "The ids of its builds."]
    url: Annotated[str | None, "Buildbot's own page of it."]
    msg: Annotated[str, "Details; may be empty."]


class RequestOutcome(_RequestOutcome, total=False):
    """What happened to a build request, or would happen."""

    revision: Annotated[
        str | None,
        "What it would build, null when unknown, of would_create. Of other outcomes only where the"
        " job request is about several revisions.",
    ]
    priority: Annotated[int, "The priority that it would have. Only in plans."]


_Outcomes = Annotated[
    list[RequestOutcome], "What happened to each build request, read from the database afterwards."
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


class _Sending(TypedDict):
    job_id: _JobId
    action: _Action
    who: _Sender
    via: Annotated[
        str, "How the user was authenticated: session, basic, remote_user, anonymous, token:NAME."
    ]
    remote: Annotated[str, "The address it was sent from."]
    when: _Sent
    branch: _BranchName
    what: Annotated[dict[str, Any], "What was requested, under the names of the original API."]
    status: Annotated[str, "Its status.", {"enum": ["running", "ok", "failed", "unknown"]}]
    completed_at: Annotated[int | None, "When it ended; null before. Epoch seconds."]


class _MadeBuildsets(TypedDict):
    buildset_ids: _BuildsetIds


class _Ending(TypedDict):
    complete_data: Annotated[CompleteData | None, "How it ended; null while it is running."]


class Job(_Sending, _Ending, _MadeBuildsets):
    """A job request, as the journal has it."""


class _RequestOutcomeNow(_RequestOutcome):
    state: Annotated[
        str | None,
        "Its state now: pending, running, or the name of its result; null if there is no request.",
    ]
    results: Annotated[int | None, f"{_RESULT} Null until it has ended."]


class RequestOutcomeNow(_RequestOutcomeNow, total=False):
    """What happened to a build request, and what it has come to by now."""

    revision: Annotated[str, "What it builds, where the job request is about several revisions."]


class JobBodyNow(TypedDict):
    """The end of it."""

    errors: Annotated[bool, "Whether it failed."]
    msg: Annotated[str, "How it ended, in a sentence."]
    requests: Annotated[
        list[RequestOutcomeNow],
        "What happened to each build request, and what it has come to by now.",
    ]


class CompleteDataNow(TypedDict):
    """How it ended."""

    request_id: _JobId
    body: JobBodyNow


class _EndingNow(TypedDict):
    complete_data: Annotated[CompleteDataNow | None, "How it ended; null while it is running."]


class JobDetail(_Sending, _EndingNow, _MadeBuildsets):
    """A job request, as the journal has it, and what its build requests have come to."""


Jobs = Annotated[list[Job], "Job requests, newest first."]


class _MaybeKnown(TypedDict, total=False):
    known: Annotated[
        bool,
        "Whether Buildbot knew the revision on this branch before. Only of new builds at a"
        " revision.",
    ]


class _Receipt(TypedDict):
    status: Annotated[
        str,
        "FAILED if part of it was not done; denied targets do not count.",
        {"enum": ["OK", "FAILED"]},
    ]
    msg: Annotated[str, "What was done, in a sentence."]
    request_id: Annotated[int, "The same as job_id, under its name in the original API."]
    job_id: _JobId
    job_url: Annotated[str, "The path of the job request."]
    completed_at: Annotated[int | None, "When it was completed. Epoch seconds."]
    requests: _Outcomes
    buildset_ids: _BuildsetIds


class Receipt(_Receipt, _MaybeKnown):
    """The answer to a job request, once it has been done."""


class _PlannedReceipt(TypedDict):
    status: Annotated[Literal["PLANNED"], "Always PLANNED."]
    msg: Annotated[str, "What would be done, in a sentence."]
    plan: Annotated[str, "The same as long as the plan is; send it back as if_plan."]
    requests: Annotated[list[RequestOutcome], "What would happen to each build request."]
    buildset_ids: Annotated[list[int], "Always empty."]


class PlannedReceipt(_PlannedReceipt, _MaybeKnown):
    """The answer to a dry run: what the receipt of the job request would be."""


BisectionStatus = Literal[
    "running",
    "found",
    "flaky",
    "range_only",
    "insufficient_data",
    "cancelled",
    "failed",
]
RangeState = Literal["passed", "failed", "flaky", "exception", "pending", "running", "untested"]


class TestedRevision(TypedDict):
    """A revision of a bisection's range."""

    revision: Annotated[str, "The whole revision."]
    state: Annotated[
        RangeState,
        "What is known of it; exception: nothing, though it was tried.",
    ]
    build_id: Annotated[int | None, "The id of its latest build with a result; null without any."]


class RangeRevision(TestedRevision):
    """The same, with what Buildbot knows of its change."""

    author: Annotated[str | None, "The author of its newest change; null without any."]
    subject: Annotated[str, "The first line of the comments of that change."]
    builds: Annotated[int, "How often it was tried."]


class Culprit(TypedDict):
    """The revision that broke it."""

    revision: Annotated[str, "The whole revision."]
    author: Annotated[str | None, "The author of its newest change; null without any."]
    subject: Annotated[str, "The first line of the comments of that change."]
    when: Annotated[int | None, "When that change was made; null without any. Epoch seconds."]
    url: Annotated[_Url, "The page of the revision."]


class Bisection(TypedDict):
    """A bisection: how far it has come, or how it ended."""

    status: Annotated[BisectionStatus, "running, or how it ended."]
    msg: Annotated[str, "The same in a sentence."]
    job_id: _JobId
    job_url: Annotated[str, "The path of the job request."]
    branch: _BranchName
    buildername: _BuilderName
    good: Annotated[str, "The revision that passes."]
    bad: Annotated[str, "The revision that fails."]
    candidates: Annotated[list[str], "The revisions between the two, oldest first."]
    low: Annotated[str, "The newest revision before the culprit that is known to pass."]
    high: Annotated[str, "The first revision after it that is known to fail."]
    tested: Annotated[list[TestedRevision], "Those that were built, or will be, oldest first."]
    revisions: Annotated[list[RangeRevision], "All of them, from the good one to the bad one."]
    next: Annotated[str | None, "The revision that is built next; null if it waits for others."]
    culprit: Annotated[Culprit | None, "The revision that broke it; null until it is found."]
    left_steps: Annotated[int, "How many builds are still needed, if all goes well."]
    confirm: Annotated[
        int, "How often the last good and the first bad revision are built again, at least."
    ]
    builds: Annotated[int, "The number of builds that it has requested."]
    who: _Sender
    when: _Sent
    completed_at: Annotated[int | None, "When it ended; null before. Epoch seconds."]


class Decision(TypedDict):
    """Whether the user may send a job request."""

    allowed: Annotated[bool | None, "Null if it depends on the target."]
    why: Annotated[str, "Why not, or what it depends on; empty when they may."]
    depends_on: Annotated[
        list[Annotated[str, "One of these.", {"enum": ["builder", "owner", "target"]}]],
        "What it depends on.",
    ]


class Limit(TypedDict):
    """A limit of this Buildbot."""

    limit: Annotated[int, "The limit for each user and each token."]
    left: Annotated[int, "What the user has left."]
    resets_in: Annotated[int, "Seconds until the whole limit is available again."]


class Permissions(TypedDict):
    """What the user may do on a branch."""

    branch: _BranchName
    who: Annotated[str | None, "The name of the user; null if anonymous."]
    via: Annotated[str, "How the user was authenticated, as in the journal."]
    builders: Annotated[
        list[str] | None, "The builders that were selected; null if none were, for any builder."
    ]
    actions: Annotated[dict[str, Decision], "By the name of the job request."]
    limits: Annotated[dict[str, Limit], "Limits by name; empty where there are none."]


# -- the API itself

Parameter = TypedDict(
    "Parameter",
    {
        "name": Annotated[str, "Its name on the wire."],
        "in": Annotated[str, "Where it is sent.", {"enum": ["path", "query", "body"]}],
        "required": Annotated[bool, "Whether it is required."],
        "text": Annotated[str, "What it means."],
        "schema": Annotated[dict[str, Any], "The JSON schema of its value."],
    },
)
Parameter.__doc__ = "A parameter."


class Route(TypedDict):
    """A route."""

    method: Annotated[str, "The HTTP method."]
    path: Annotated[str, "The path, with parameter names in braces."]
    text: Annotated[str, "What it does."]
    parameters: Annotated[list[Parameter], "Its parameters."]


class Manual(TypedDict):
    """What this API can do."""

    routes: Annotated[list[Route], "Its routes."]
    branches: Annotated[
        list[str], "The most recently active branches, at most 100; /branches lists all."
    ]


class Destination(TypedDict):
    """A page."""

    url: Annotated[str, "Its path, on this server."]


class FoundRevision(TypedDict):
    """A revision that was found."""

    branch: Annotated[str, "The branch that it is on."]
    revision: Annotated[str, "The whole revision."]
    url: Annotated[str, "The path of its page."]


class FoundBuilder(TypedDict):
    """A builder that was found."""

    builder_id: Annotated[int, "Its id in Buildbot."]
    buildername: Annotated[str, "Its name."]
    url: Annotated[str, "A path that leads to the branch where it was last requested."]


class FoundAuthor(TypedDict):
    """An author who was found."""

    author: Annotated[str, "The name, as changes have it."]
    url: Annotated[str, "The path of the page with their pushes."]


class FoundBranch(TypedDict):
    """A branch that was found."""

    branch: Annotated[str, "Its name."]
    url: Annotated[str, "The path of its page."]


class FoundBuild(TypedDict):
    """A build that was found."""

    build_id: Annotated[int, "Its id."]
    buildername: Annotated[str, "The name of its builder."]
    branch: Annotated[str, "Its branch."]
    url: Annotated[str, "The path of its page."]


class FoundRequest(TypedDict):
    """A build request that was found."""

    request_id: Annotated[int, "Its id."]
    buildername: Annotated[str, "The name of its builder."]
    branch: Annotated[str, "Its branch."]
    url: Annotated[str, "The path of its page."]


class FoundPush(TypedDict):
    """A push that was found."""

    branch: Annotated[str, "Its branch."]
    revision: Annotated[str, "Its revision."]
    subject: Annotated[str, "The first line of its comments."]
    url: Annotated[str, "The path of its page."]


class SearchResults(TypedDict):
    """What a text may mean, at most limit of each kind."""

    revisions: Annotated[list[FoundRevision], "The revisions that are or begin with it."]
    builders: Annotated[list[FoundBuilder], "The builders with it in their names."]
    authors: Annotated[list[FoundAuthor], "The authors with it in their names."]
    branches: Annotated[list[FoundBranch], "The branches with it in their names."]
    builds: Annotated[list[FoundBuild], "The build whose id it is."]
    requests: Annotated[list[FoundRequest], "The build request whose id it is."]
    pushes: Annotated[
        list[FoundPush], "The pushes with it in their subjects, of the newest 1,000 changes."
    ]
    more: Annotated[list[str], "The names of those lists that are cut: there are more."]


ApiDocument = Annotated[dict[str, Any], "An OpenAPI 3.1 document."]


class _Refusal(TypedDict):
    status: Annotated[Literal["FAILED"], "Always FAILED."]
    msg: Annotated[str, "What is wrong."]


class Failure(_Refusal, total=False):
    """Why it was refused."""

    detail: Annotated[str, "What to do about it, or what would be right."]
    job_id: Annotated[int, "The job request that has started and whose end is unknown yet."]
    job_url: Annotated[str, "Its path."]
    plan: Annotated[str, "If the plan has changed, the plan of now."]
    requests: Annotated[list[RequestOutcome], "What would happen to each build request now."]
