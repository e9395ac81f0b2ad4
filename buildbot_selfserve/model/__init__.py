"""The values that travel through the house, and the one place where they become JSON.

All of them are frozen and plain, so that they can cross from one process to another. A value knows
nothing of where it comes from or of who will read it; ``wire`` alone knows the wire format.
"""

from __future__ import annotations

from buildbot_selfserve.answers import RESULT_NAMES
from buildbot_selfserve.answers import Outcome
from buildbot_selfserve.answers import RevisionVerdict
from buildbot_selfserve.model.jobs import UNSETTLED
from buildbot_selfserve.model.jobs import Attempt
from buildbot_selfserve.model.jobs import Effect
from buildbot_selfserve.model.jobs import Job
from buildbot_selfserve.model.jobs import JobRow
from buildbot_selfserve.model.jobs import Jobs
from buildbot_selfserve.model.jobs import NewRequest
from buildbot_selfserve.model.jobs import Order
from buildbot_selfserve.model.jobs import Receipt
from buildbot_selfserve.model.jobs import RequestOutcome
from buildbot_selfserve.model.jobs import RequestTarget
from buildbot_selfserve.model.jobs import Target
from buildbot_selfserve.model.limits import NO_LIMITS
from buildbot_selfserve.model.limits import Budget
from buildbot_selfserve.model.limits import Limits
from buildbot_selfserve.model.limits import asker_key
from buildbot_selfserve.model.live import Change
from buildbot_selfserve.model.live import Changes
from buildbot_selfserve.model.live import Measured
from buildbot_selfserve.model.manual import ApiDocument
from buildbot_selfserve.model.manual import Manual
from buildbot_selfserve.model.manual import RouteText
from buildbot_selfserve.model.names import SHORTEST_BUILT
from buildbot_selfserve.model.names import begins
from buildbot_selfserve.model.names import has_address
from buildbot_selfserve.model.names import is_abbreviation
from buildbot_selfserve.model.names import is_hash
from buildbot_selfserve.model.names import may_abbreviate
from buildbot_selfserve.model.names import means
from buildbot_selfserve.model.names import one_spelling
from buildbot_selfserve.model.names import trimmed
from buildbot_selfserve.model.names import user_key
from buildbot_selfserve.model.names import user_keys
from buildbot_selfserve.model.places import QUIET_AFTER
from buildbot_selfserve.model.places import AnyRevision
from buildbot_selfserve.model.places import Branch
from buildbot_selfserve.model.places import Branches
from buildbot_selfserve.model.places import Builder
from buildbot_selfserve.model.places import BuilderEntry
from buildbot_selfserve.model.places import Builders
from buildbot_selfserve.model.places import BuilderSet
from buildbot_selfserve.model.places import ListedBranch
from buildbot_selfserve.model.places import Possible
from buildbot_selfserve.model.places import Revision
from buildbot_selfserve.model.places import Setup
from buildbot_selfserve.model.places import Site
from buildbot_selfserve.model.places import Sourcestamp
from buildbot_selfserve.model.results import CANCELLED
from buildbot_selfserve.model.results import EXCEPTION
from buildbot_selfserve.model.results import FAILING
from buildbot_selfserve.model.results import FAILURE
from buildbot_selfserve.model.results import PASSED
from buildbot_selfserve.model.results import PASSING
from buildbot_selfserve.model.results import RETRY
from buildbot_selfserve.model.results import SKIPPED
from buildbot_selfserve.model.results import SUCCESS
from buildbot_selfserve.model.results import WARNINGS
from buildbot_selfserve.model.results import result_name
from buildbot_selfserve.model.rows import NEW_REQUEST
from buildbot_selfserve.model.rows import BuildDetail
from buildbot_selfserve.model.rows import BuildRow
from buildbot_selfserve.model.rows import Day
from buildbot_selfserve.model.rows import Done
from buildbot_selfserve.model.rows import Outlook
from buildbot_selfserve.model.rows import RequestDetail
from buildbot_selfserve.model.rows import RequestRow
from buildbot_selfserve.model.rows import RevisionRows
from buildbot_selfserve.model.rows import Row
from buildbot_selfserve.model.rows import UserRows
from buildbot_selfserve.model.verdicts import Permissions
from buildbot_selfserve.model.verdicts import Verdict
from buildbot_selfserve.model.wire import as_json
from buildbot_selfserve.model.words import plural

__all__ = [
    "CANCELLED",
    "EXCEPTION",
    "FAILING",
    "FAILURE",
    "NEW_REQUEST",
    "NO_LIMITS",
    "PASSED",
    "PASSING",
    "QUIET_AFTER",
    "RESULT_NAMES",
    "RETRY",
    "SHORTEST_BUILT",
    "SKIPPED",
    "SUCCESS",
    "UNSETTLED",
    "WARNINGS",
    "AnyRevision",
    "ApiDocument",
    "Attempt",
    "Branch",
    "Branches",
    "Budget",
    "BuildDetail",
    "BuildRow",
    "Builder",
    "BuilderEntry",
    "BuilderSet",
    "Builders",
    "Change",
    "Changes",
    "Day",
    "Done",
    "Effect",
    "Job",
    "JobRow",
    "Jobs",
    "Limits",
    "ListedBranch",
    "Manual",
    "Measured",
    "NewRequest",
    "Order",
    "Outcome",
    "Outlook",
    "Permissions",
    "Possible",
    "Receipt",
    "RequestDetail",
    "RequestOutcome",
    "RequestRow",
    "RequestTarget",
    "Revision",
    "RevisionRows",
    "RevisionVerdict",
    "RouteText",
    "Row",
    "Setup",
    "Site",
    "Sourcestamp",
    "Target",
    "UserRows",
    "Verdict",
    "as_json",
    "asker_key",
    "begins",
    "has_address",
    "is_abbreviation",
    "is_hash",
    "may_abbreviate",
    "means",
    "one_spelling",
    "plural",
    "result_name",
    "trimmed",
    "user_key",
    "user_keys",
]
