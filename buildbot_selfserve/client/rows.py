"""What self-serve answers, as types: the JSON as it is, so that nothing new in it gets lost.

Times are whole epoch seconds; ``status`` is Buildbot's result code. docs/api.md describes the
routes that these come from.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Mapping
from typing import Any

from buildbot_selfserve import answers
from buildbot_selfserve.answers import Bisection as Bisection
from buildbot_selfserve.answers import BuildDetail as BuildDetail
from buildbot_selfserve.answers import BuilderHealth as BuilderHealth
from buildbot_selfserve.answers import BuildRow as BuildRow
from buildbot_selfserve.answers import CompleteData as CompleteData
from buildbot_selfserve.answers import Done as Done
from buildbot_selfserve.answers import FailedStep as FailedStep
from buildbot_selfserve.answers import Health as Health
from buildbot_selfserve.answers import Hold as Hold
from buildbot_selfserve.answers import Job as Job
from buildbot_selfserve.answers import JobBody as JobBody
from buildbot_selfserve.answers import JobDetail as JobDetail
from buildbot_selfserve.answers import LastGreen as LastGreen
from buildbot_selfserve.answers import Log as Log
from buildbot_selfserve.answers import LogLine as LogLine
from buildbot_selfserve.answers import Permissions as Permissions
from buildbot_selfserve.answers import Possible as Possible
from buildbot_selfserve.answers import Push as Push
from buildbot_selfserve.answers import PushBuilder as PushBuilder
from buildbot_selfserve.answers import Queue as Queue
from buildbot_selfserve.answers import QueuedRequest as QueuedRequest
from buildbot_selfserve.answers import RangeRevision as RangeRevision
from buildbot_selfserve.answers import Reason as Reason
from buildbot_selfserve.answers import Receipt as Receipt
from buildbot_selfserve.answers import RequestDetail as RequestDetail
from buildbot_selfserve.answers import RequestRow as RequestRow
from buildbot_selfserve.answers import Row as Row
from buildbot_selfserve.answers import Step as Step
from buildbot_selfserve.answers import UserRows as UserRows
from buildbot_selfserve.answers import Why as Why
from buildbot_selfserve.answers import WorkerSet as WorkerSet

BranchInfo = answers.Branch
Outcome = answers.RequestOutcome
OutcomeNow = answers.RequestOutcomeNow
#: What a dry run returns.
Plan = answers.PlannedReceipt
RESULTS = answers.RESULT_NAMES
#: The states of builders that fail.
FAILED_STATES = ("failed", "exception")
#: Outcomes of a build request that a job request has not brought about.
UNDONE = answers.NOTHING_DONE


def state(row: Mapping[str, Any]) -> str:
    """Return ``pending``, ``running`` or the word for the result of a row."""
    if row.get("endtime") is not None:
        status = row.get("status")
        known = isinstance(status, int) and 0 <= status < len(RESULTS)
        return RESULTS[status] if known and status is not None else "none"
    return "running" if "build_id" in row or row.get("claimed_at") else "pending"


def is_passed_over(done: Mapping[str, Any]) -> bool:
    """Return whether a revision without requests was built with a newer one.

    Older servers do not tell.
    """
    return done.get("built_with") is not None


def request_of(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the build request of a row: of a build, the one that it was made for."""
    request: Mapping[str, Any] = row["requests"][0] if row.get("requests") else row
    return request


def went_wrong(receipt: Receipt, spared: Collection[str] = ()) -> bool:
    """Whether something that a job request was to do was not done.

    :param spared: outcomes with which all is well: a rerun, for example, leaves out what is pending
    """
    wrong = UNDONE.difference(spared)
    return receipt["status"] != "OK" or any(one["outcome"] in wrong for one in receipt["requests"])
