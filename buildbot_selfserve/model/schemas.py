"""The JSON schema of every type that ``wire`` writes.

Schemas name each other as OpenAPI does, by ``#/components/schemas/NAME``. They are open: a client
must not mind a member that is not here yet. ``tests/test_openapi.py`` holds the answers of real
masters against them, closed, so that a member without a line here is found.
"""

from __future__ import annotations

from typing import Any

from buildbot_selfserve.model.api_document import ApiDocument
from buildbot_selfserve.model.api_document import Manual
from buildbot_selfserve.model.branches import Branch
from buildbot_selfserve.model.branches import Branches
from buildbot_selfserve.model.branches import Builders
from buildbot_selfserve.model.branches import Possible
from buildbot_selfserve.model.decisions import Decision
from buildbot_selfserve.model.decisions import Permissions
from buildbot_selfserve.model.jobs import Job
from buildbot_selfserve.model.jobs import Jobs
from buildbot_selfserve.model.jobs import Receipt
from buildbot_selfserve.model.jobs import RequestOutcome
from buildbot_selfserve.model.rows import BuildDetail
from buildbot_selfserve.model.rows import BuildRow
from buildbot_selfserve.model.rows import Day
from buildbot_selfserve.model.rows import Done
from buildbot_selfserve.model.rows import RequestDetail
from buildbot_selfserve.model.rows import RequestRow
from buildbot_selfserve.model.rows import RevisionRows
from buildbot_selfserve.model.rows import UserRows

Schema = dict[str, Any]

#: The name of the schema of every refusal; ``views.error_responses`` writes those.
FAILURE = "Failure"

_ROW_KINDS = "A row with a build_id is a build; one without is a request that has no build."


def reference(name: str) -> Schema:
    """Return the schema that stands for the one called *name*."""
    return {"$ref": f"#/components/schemas/{name}"}


def schema_name(kind: type) -> str:
    """Return under which name the schema of a wire type is found in :func:`schemas`.

    :raises KeyError: the type has none
    """
    return _NAMES[kind]


def kinds() -> frozenset[type]:
    """Return the wire types."""
    return frozenset(_SCHEMAS)


def schemas() -> dict[str, Schema]:
    """Return every schema by its name."""
    return {**{_NAMES[kind]: schema for kind, schema in _SCHEMAS.items()}, FAILURE: _FAILURE}


def _is(kind: str | list[str], text: str, **more: Any) -> Schema:
    return {"type": kind, "description": text, **more}


def _text(text: str, **more: Any) -> Schema:
    return _is("string", text, **more)


def _number(text: str, **more: Any) -> Schema:
    return _is("integer", text, **more)


def _time(text: str) -> Schema:
    return _number(f"{text} Epoch seconds.")


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


def _list(of: Schema, text: str) -> Schema:
    return _is("array", text, items=of)


def _object(text: str, members: dict[str, Schema], optional: tuple[str, ...] = ()) -> Schema:
    """Return the schema of an object that has all *members*, but for those that are *optional*."""
    required = [name for name in members if name not in optional]
    return _is("object", text, properties=members, required=required)


def _by_name(of: Schema | bool, text: str) -> Schema:
    return _is("object", text, additionalProperties=of)


_BUILDERNAME = _text("The name of the builder.")
_BRANCH = _text("The name of the branch in this API.")
_REVISION = _or_null(
    _text("The whole revision, a hash in small letters; null when nobody knows it.")
)
_RESULT = (
    "Buildbot's result code: 0 success, 1 warnings, 2 failure, 3 skipped, 4 exception, 5 retry,"
    " 6 cancelled."
)
_PROPERTIES = _by_name(
    True,
    "Its properties by name. Told as text: numbers of over 4,300 digits, NaN and infinite ones,"
    " values nested over 200 deep, and what is no JSON.",
)
_NAMES_OF_BUILDERS = _list({"type": "string"}, "Names of builders.")
_PATCHED = _is(
    "boolean",
    "A patch was put on top of the revision, as by a try scheduler. Only where it is true.",
)

_REQUEST_ROW = {
    "request_id": _number("The id of the build request."),
    "buildername": _BUILDERNAME,
    "branch": _BRANCH,
    "revision": _REVISION,
    "submittime": _time("When it was asked for."),
    "complete": _number("Whether it has ended.", enum=[0, 1]),
    "complete_at": _or_null(_time("When it ended; null before.")),
    "priority": _number("Requests of a higher priority are built first."),
    "claimed_at": _time("When a master took it up; 0 before."),
    "reason": _or_null(_text("Why it was asked for.")),
    "owner": _or_null(_text("Who asked for it, or else the author of its newest change.")),
    "builder_id": _number("The id of the builder."),
    "url": _text("Buildbot's own page of it.", format="uri"),
    "status": _or_null(_number(f"{_RESULT} Only where it has ended.")),
    "endtime": _or_null(_time("When it ended. Only where it has.")),
    "patched": _PATCHED,
}
_ONLY_SOMETIMES = ("status", "endtime", "patched")

_BUILD_ROW = {
    "build_id": _number("The id of the build."),
    "requests": _list(reference("RequestRow"), "The request that it is a build of."),
    "buildnumber": _number("Its number among those of the builder."),
    "buildername": _BUILDERNAME,
    "branch": _BRANCH,
    "revision": _REVISION,
    "starttime": _time("When it began."),
    "endtime": _or_null(_time("When it ended; null while it runs.")),
    "status": _or_null(_number(f"{_RESULT} Null while it runs.")),
    "claimed_by_name": _or_null(_text("The name of the master that builds it.")),
    "builder_id": _number("The id of the builder."),
    "worker": _or_null(_text("The name of the worker that builds it.")),
    "url": _text("Buildbot's own page of it.", format="uri"),
    "patched": _PATCHED,
}

_WITH_PROPERTIES = {**_REQUEST_ROW, "properties": _PROPERTIES}
_ROW: Schema = {"anyOf": [reference("BuildRow"), reference("RequestRow")]}

_OUTCOMES = [
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
_OUTCOME_LIST = _list(
    reference("RequestOutcome"), "What became of each build request, read after the act."
)
_BUILDSET_IDS = _list({"type": "integer"}, "The ids of the buildsets that it made.")
_JOB_ID = _number("The id of the job request.")

_RECEIPT = {
    "status": _text(
        "FAILED when something of it was not done; what was denied does not count.",
        enum=["OK", "FAILED"],
    ),
    "msg": _text("What was done, in a sentence."),
    "request_id": _number("The same as job_id, under the name that the original API has for it."),
    "job_id": _JOB_ID,
    "job_url": _text("The path of the job request."),
    "completed_at": _or_null(_time("When it had been done.")),
    "requests": _OUTCOME_LIST,
    "buildset_ids": _BUILDSET_IDS,
}

_JOB = {
    "job_id": _JOB_ID,
    "action": _text("What was to be done, such as rebuild_build."),
    "who": _text("Who asked for it."),
    "via": _text(
        "How they proved who they are: session, basic, remote_user, anonymous, token:NAME."
    ),
    "remote": _text("The address that it came from."),
    "when": _time("When it was asked for."),
    "branch": _BRANCH,
    "what": _by_name(True, "What was asked for, under the names of the original API."),
    "status": _text("How it stands.", enum=["running", "ok", "failed", "unknown"]),
    "completed_at": _or_null(_time("When it had ended; null before.")),
    "complete_data": {
        "anyOf": [
            _object(
                "How it ended.",
                {
                    "request_id": _JOB_ID,
                    "body": _object(
                        "The end of it.",
                        {
                            "errors": _is("boolean", "Whether it failed."),
                            "msg": _text("How it ended, in a sentence."),
                            "requests": _OUTCOME_LIST,
                        },
                    ),
                },
            ),
            {"type": "null"},
        ],
        "description": "How it ended; null while it runs.",
    },
    "buildset_ids": _BUILDSET_IDS,
}

_PARAMETER = {
    "name": _text("Its name on the wire."),
    "in": _text("Where it goes.", enum=["path", "query", "body"]),
    "required": _is("boolean", "Whether it must be given."),
    "text": _text("What it means."),
    "schema": _by_name(True, "The JSON schema of its value."),
}

_ROUTE = {
    "method": _text("The HTTP method."),
    "path": _text("The path, with names of parameters between braces."),
    "text": _text("What it does."),
    "parameters": _list(_object("A parameter.", _PARAMETER), "What it takes."),
}

_FAILURE = _object(
    "Why it was refused.",
    {
        "status": _text("Says so.", const="FAILED"),
        "msg": _text("What is wrong."),
        "detail": _text("What would be right."),
        "job_id": _number("The job request that was begun, and whose end is not known yet."),
        "job_url": _text("Its path."),
    },
    optional=("detail", "job_id", "job_url"),
)

_COUNTS = {
    "pending": "requests wait.",
    "running": "builds run.",
    "builds": "builds have ended.",
    "failed": "rows failed.",
    "cancelled": "rows were cancelled.",
    "skipped": "requests were collapsed into others.",
}

_SCHEMAS: dict[type, Schema] = {
    RequestRow: _object("A build request.", _REQUEST_ROW, optional=_ONLY_SOMETIMES),
    BuildRow: _object("A build.", _BUILD_ROW, optional=("patched",)),
    BuildDetail: _object(
        "A build, with the properties of its request.",
        {
            **_BUILD_ROW,
            "requests": _list(
                _object("Its request.", _WITH_PROPERTIES, optional=_ONLY_SOMETIMES),
                "The request that it is a build of.",
            ),
        },
        optional=("patched",),
    ),
    RequestDetail: _object(
        "A build request, with its properties and its builds.",
        {
            **_WITH_PROPERTIES,
            "build_ids": _list({"type": "integer"}, "The ids of its builds, oldest first."),
        },
        optional=_ONLY_SOMETIMES,
    ),
    Branch: _object(
        "A branch.",
        {
            "repo": _text("The repository that it lives in."),
            "repo_type": _text("What kind of repository that is."),
            "graph_branches": _list({"type": "string"}, "Its name."),
        },
    ),
    Branches: _by_name(reference("Branch"), "Branches by name, the one that last moved first."),
    Day: _list(_ROW, f"What happened on a day, the newest first. {_ROW_KINDS}"),
    RevisionRows: _list(_ROW, f"All that was asked for at a revision. {_ROW_KINDS}"),
    Builders: _list({"type": "string"}, "Names of builders, sorted."),
    Possible: _object(
        "What can be built at a revision.",
        {
            "branch": _BRANCH,
            "revision": _text("The whole revision, or the text that was given."),
            "known": _is("boolean", "Whether Buildbot knows it on this branch."),
            "reacting": _NAMES_OF_BUILDERS,
            "sets": _by_name(_NAMES_OF_BUILDERS, "The builders of each set."),
            "builders": _NAMES_OF_BUILDERS,
            "elsewhere": _by_name(
                _list({"type": "string"}, "Revisions."),
                "What a revision that is not known here means on other branches, by branch.",
            ),
        },
    ),
    Decision: _object(
        "Whether somebody may do something.",
        {
            "allowed": _or_null(_is("boolean", "Null where it depends on what it is done to.")),
            "why": _text("Why not, or what it depends on; empty when they may."),
            "depends_on": _list(
                _text("One of these.", enum=["builder", "owner", "target"]),
                "What it depends on.",
            ),
        },
    ),
    Permissions: _object(
        "What the user may do on a branch.",
        {
            "branch": _BRANCH,
            "who": _or_null(_text("The name of the user; null for nobody in particular.")),
            "via": _text("How that is known, as the journal writes it."),
            "actions": _by_name(reference("Decision"), "By the name of the job request."),
            "limits": _by_name(
                _object(
                    "A limit of this Buildbot's.",
                    {
                        "limit": _number("How much everybody may ask for."),
                        "left": _number("What is left to the user."),
                        "resets_in": _number("Seconds after which all of it is there again."),
                    },
                ),
                "Limits by name; empty where there are none.",
            ),
        },
    ),
    UserRows: _object(
        "What a user has built, is building and waits for.",
        {
            "builds": _list(reference("BuildRow"), "Builds that have ended, the newest first."),
            "running": _list(reference("BuildRow"), "Builds that run, the newest first."),
            "pending": _list(reference("RequestRow"), "Requests that wait, the newest first."),
        },
    ),
    Done: _object(
        "Whether a revision is done, and how it went.",
        {
            "stableDelay": _number("Seconds that must have passed since the last row ended."),
            "job_complete": _is("boolean", "Whether everything ended at least so long ago."),
            "job_passed": _is(
                "boolean",
                "Whether it is complete and every row ended with success: or with a retry, or"
                " skipped, where the same builder has a success here, too.",
            ),
            **{name: _number(f"How many {text}") for name, text in _COUNTS.items()},
            "verdict": _text(
                "How it stands by the latest result of each builder.",
                enum=["pending", "running", "passed", "failed", "incomplete"],
            ),
            "failing": _list(
                {"type": "string"},
                "The builders whose latest result is a failure or an exception, also while"
                " something is open.",
            ),
            "flaky": _list({"type": "string"}, "The builders that have both passed and failed."),
        },
    ),
    RequestOutcome: _object(
        "What became of a build request.",
        {
            "request_id": _or_null(_number("The id of the build request; null if none was made.")),
            "buildername": _BUILDERNAME,
            "outcome": _text("What the database said after the act.", enum=_OUTCOMES),
            "build_ids": _list({"type": "integer"}, "The ids of its builds."),
            "url": _or_null(_text("Buildbot's own page of it.")),
            "msg": _text("More of it; may be empty."),
        },
    ),
    Job: _object("A job request, as the journal has it.", _JOB),
    Jobs: _list(reference("Job"), "Job requests, the newest first."),
    Receipt: _object("The answer to a job request, once it has been done.", _RECEIPT),
    Manual: _object(
        "What this API can do.",
        {
            "routes": _list(_object("A route.", _ROUTE), "Its routes."),
            "branches": _list(
                {"type": "string"},
                "The branches on which something last moved, at most 100; /branches has all.",
            ),
        },
    ),
    ApiDocument: _is("object", "An OpenAPI 3.1 document.", additionalProperties=True),
}

_NAMES = {kind: kind.__name__ for kind in _SCHEMAS}
