"""The values that rooms hand to each other, and the one place where they become JSON.

All of them are frozen and plain, so that they can cross from one process to another. A value knows
nothing of where it comes from or of who will read it; ``wire`` alone knows the wire format.
"""

from __future__ import annotations

from buildbot_selfserve.answers import RESULT_NAMES
from buildbot_selfserve.answers import Outcome
from buildbot_selfserve.answers import ReasonCode
from buildbot_selfserve.answers import RevisionVerdict
from buildbot_selfserve.model.ansi import Run
from buildbot_selfserve.model.api_document import ApiDocument
from buildbot_selfserve.model.api_document import Manual
from buildbot_selfserve.model.api_document import RouteText
from buildbot_selfserve.model.bisection_rows import UNTESTED
from buildbot_selfserve.model.bisection_rows import Bisection
from buildbot_selfserve.model.bisection_rows import BisectionDetail
from buildbot_selfserve.model.branches import DAY
from buildbot_selfserve.model.branches import QUIET_AFTER
from buildbot_selfserve.model.branches import AnyRevision
from buildbot_selfserve.model.branches import Branch
from buildbot_selfserve.model.branches import Branches
from buildbot_selfserve.model.branches import Builder
from buildbot_selfserve.model.branches import BuilderEntry
from buildbot_selfserve.model.branches import Builders
from buildbot_selfserve.model.branches import BuilderSet
from buildbot_selfserve.model.branches import ListedBranch
from buildbot_selfserve.model.branches import Possible
from buildbot_selfserve.model.branches import Revision
from buildbot_selfserve.model.branches import SetPart
from buildbot_selfserve.model.branches import Sourcestamp
from buildbot_selfserve.model.branches import is_pattern
from buildbot_selfserve.model.clocks import CLOCK_SLACK
from buildbot_selfserve.model.decisions import Decision
from buildbot_selfserve.model.decisions import Permissions
from buildbot_selfserve.model.events import Event
from buildbot_selfserve.model.events import EventStream
from buildbot_selfserve.model.events import Measured
from buildbot_selfserve.model.halving import in_halving_order
from buildbot_selfserve.model.holds import BranchHold
from buildbot_selfserve.model.holds import HeldRequest
from buildbot_selfserve.model.holds import Hold
from buildbot_selfserve.model.holds import Holds
from buildbot_selfserve.model.holds import RequestPlace
from buildbot_selfserve.model.holds import in_utc
from buildbot_selfserve.model.identifiers import SHORTEST_BUILT
from buildbot_selfserve.model.identifiers import are_hashes
from buildbot_selfserve.model.identifiers import begins
from buildbot_selfserve.model.identifiers import has_address
from buildbot_selfserve.model.identifiers import is_abbreviation
from buildbot_selfserve.model.identifiers import is_hash
from buildbot_selfserve.model.identifiers import may_abbreviate
from buildbot_selfserve.model.identifiers import means
from buildbot_selfserve.model.identifiers import one_spelling
from buildbot_selfserve.model.identifiers import trimmed
from buildbot_selfserve.model.identifiers import user_key
from buildbot_selfserve.model.identifiers import user_keys
from buildbot_selfserve.model.job_mentions import EFFECTS
from buildbot_selfserve.model.job_mentions import NOTHING_RELATED
from buildbot_selfserve.model.job_mentions import JobMention
from buildbot_selfserve.model.job_mentions import Related
from buildbot_selfserve.model.jobs import JOB_PROPERTY
from buildbot_selfserve.model.jobs import KEY_PROPERTY
from buildbot_selfserve.model.jobs import MARKS
from buildbot_selfserve.model.jobs import RANGE_PROPERTY
from buildbot_selfserve.model.jobs import REQUESTED_BY
from buildbot_selfserve.model.jobs import UNSETTLED
from buildbot_selfserve.model.jobs import VIRTUAL_BUILDER
from buildbot_selfserve.model.jobs import Attempt
from buildbot_selfserve.model.jobs import Effect
from buildbot_selfserve.model.jobs import Job
from buildbot_selfserve.model.jobs import JobDetail
from buildbot_selfserve.model.jobs import JobRow
from buildbot_selfserve.model.jobs import Jobs
from buildbot_selfserve.model.jobs import NewRequest
from buildbot_selfserve.model.jobs import Order
from buildbot_selfserve.model.jobs import PlannedReceipt
from buildbot_selfserve.model.jobs import Receipt
from buildbot_selfserve.model.jobs import RequestNow
from buildbot_selfserve.model.jobs import RequestOutcome
from buildbot_selfserve.model.jobs import RequestTarget
from buildbot_selfserve.model.jobs import Target
from buildbot_selfserve.model.jobs import outcome_from_json
from buildbot_selfserve.model.jobs import plural
from buildbot_selfserve.model.limits import NO_LIMITS
from buildbot_selfserve.model.limits import Budget
from buildbot_selfserve.model.limits import Limits
from buildbot_selfserve.model.limits import asker_key
from buildbot_selfserve.model.master_state import LiveBuild
from buildbot_selfserve.model.master_state import LiveBuilder
from buildbot_selfserve.model.master_state import LiveLock
from buildbot_selfserve.model.master_state import LiveWorker
from buildbot_selfserve.model.master_state import LockAccess
from buildbot_selfserve.model.master_state import MasterState
from buildbot_selfserve.model.ongoing import RUNNING
from buildbot_selfserve.model.ongoing import Ongoing
from buildbot_selfserve.model.ongoing import ongoing_as_json
from buildbot_selfserve.model.ongoing import ongoing_from_json
from buildbot_selfserve.model.plans import NEXT
from buildbot_selfserve.model.plans import SCHEDULER
from buildbot_selfserve.model.plans import Ending
from buildbot_selfserve.model.plans import HoldChange
from buildbot_selfserve.model.plans import NewBuildset
from buildbot_selfserve.model.plans import NewChange
from buildbot_selfserve.model.plans import NewPriority
from buildbot_selfserve.model.plans import OngoingStep
from buildbot_selfserve.model.plans import Plan
from buildbot_selfserve.model.plans import Properties
from buildbot_selfserve.model.plans import Stamp
from buildbot_selfserve.model.plans import plan_from_json
from buildbot_selfserve.model.plans import plan_to_json
from buildbot_selfserve.model.pushes import BuilderHealth
from buildbot_selfserve.model.pushes import BuilderState
from buildbot_selfserve.model.pushes import ChangeInfo
from buildbot_selfserve.model.pushes import Health
from buildbot_selfserve.model.pushes import LastGreen
from buildbot_selfserve.model.pushes import Pushes
from buildbot_selfserve.model.queue import MOST_QUEUED
from buildbot_selfserve.model.queue import BuildLink
from buildbot_selfserve.model.queue import Claim
from buildbot_selfserve.model.queue import Duration
from buildbot_selfserve.model.queue import Eta
from buildbot_selfserve.model.queue import Forecast
from buildbot_selfserve.model.queue import OpenBuild
from buildbot_selfserve.model.queue import OtherMaster
from buildbot_selfserve.model.queue import Pending
from buildbot_selfserve.model.queue import PendingRequest
from buildbot_selfserve.model.queue import Queue
from buildbot_selfserve.model.queue import QueuedBuilder
from buildbot_selfserve.model.queue import QueuedRequest
from buildbot_selfserve.model.queue import QueueFigures
from buildbot_selfserve.model.queue import Reason
from buildbot_selfserve.model.queue import Waiting
from buildbot_selfserve.model.queue import Waits
from buildbot_selfserve.model.queue import Why
from buildbot_selfserve.model.queue import WorkerElsewhere
from buildbot_selfserve.model.queue import WorkerSet
from buildbot_selfserve.model.ranges import LONGEST_RANGE
from buildbot_selfserve.model.ranges import Range
from buildbot_selfserve.model.ranges import RangeRevision
from buildbot_selfserve.model.ranges import WantedRange
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
from buildbot_selfserve.model.results import is_open
from buildbot_selfserve.model.results import result_name
from buildbot_selfserve.model.rows import NEW_REQUEST
from buildbot_selfserve.model.rows import STABLE_DELAY
from buildbot_selfserve.model.rows import BuildDetail
from buildbot_selfserve.model.rows import BuilderResult
from buildbot_selfserve.model.rows import BuildRow
from buildbot_selfserve.model.rows import Day
from buildbot_selfserve.model.rows import Done
from buildbot_selfserve.model.rows import RequestDetail
from buildbot_selfserve.model.rows import RequestRow
from buildbot_selfserve.model.rows import RevisionRows
from buildbot_selfserve.model.rows import Row
from buildbot_selfserve.model.rows import UserRows
from buildbot_selfserve.model.rows import WaitCondition
from buildbot_selfserve.model.search import Destination
from buildbot_selfserve.model.search import FoundNumber
from buildbot_selfserve.model.search import FoundSubject
from buildbot_selfserve.model.search import SearchResults
from buildbot_selfserve.model.search import page_of_author
from buildbot_selfserve.model.search import page_of_branch
from buildbot_selfserve.model.search import page_of_builder
from buildbot_selfserve.model.search import page_of_revision
from buildbot_selfserve.model.selection import Selection
from buildbot_selfserve.model.site import Setup
from buildbot_selfserve.model.site import SetupBasis
from buildbot_selfserve.model.site import Site
from buildbot_selfserve.model.site import midnight
from buildbot_selfserve.model.steps_and_logs import DELETED
from buildbot_selfserve.model.steps_and_logs import HTML
from buildbot_selfserve.model.steps_and_logs import STDIO
from buildbot_selfserve.model.steps_and_logs import TEXT
from buildbot_selfserve.model.steps_and_logs import FailedStep
from buildbot_selfserve.model.steps_and_logs import Link
from buildbot_selfserve.model.steps_and_logs import Log
from buildbot_selfserve.model.steps_and_logs import LogLine
from buildbot_selfserve.model.steps_and_logs import LogText
from buildbot_selfserve.model.steps_and_logs import Step
from buildbot_selfserve.model.wire import as_json

__all__ = [
    "CANCELLED",
    "CLOCK_SLACK",
    "DAY",
    "DELETED",
    "EFFECTS",
    "EXCEPTION",
    "FAILING",
    "FAILURE",
    "HTML",
    "JOB_PROPERTY",
    "KEY_PROPERTY",
    "LONGEST_RANGE",
    "MARKS",
    "MOST_QUEUED",
    "NEW_REQUEST",
    "NEXT",
    "NOTHING_RELATED",
    "NO_LIMITS",
    "PASSED",
    "PASSING",
    "QUIET_AFTER",
    "RANGE_PROPERTY",
    "REQUESTED_BY",
    "RESULT_NAMES",
    "RETRY",
    "RUNNING",
    "SCHEDULER",
    "SHORTEST_BUILT",
    "SKIPPED",
    "STABLE_DELAY",
    "STDIO",
    "SUCCESS",
    "TEXT",
    "UNSETTLED",
    "UNTESTED",
    "VIRTUAL_BUILDER",
    "WARNINGS",
    "AnyRevision",
    "ApiDocument",
    "Attempt",
    "Bisection",
    "BisectionDetail",
    "Branch",
    "BranchHold",
    "Branches",
    "Budget",
    "BuildDetail",
    "BuildLink",
    "BuildRow",
    "Builder",
    "BuilderEntry",
    "BuilderHealth",
    "BuilderResult",
    "BuilderSet",
    "BuilderState",
    "Builders",
    "ChangeInfo",
    "Claim",
    "Day",
    "Decision",
    "Destination",
    "Done",
    "Duration",
    "Effect",
    "Ending",
    "Eta",
    "Event",
    "EventStream",
    "FailedStep",
    "Forecast",
    "FoundNumber",
    "FoundSubject",
    "Health",
    "HeldRequest",
    "Hold",
    "HoldChange",
    "Holds",
    "Job",
    "JobDetail",
    "JobMention",
    "JobRow",
    "Jobs",
    "LastGreen",
    "Limits",
    "Link",
    "ListedBranch",
    "LiveBuild",
    "LiveBuilder",
    "LiveLock",
    "LiveWorker",
    "LockAccess",
    "Log",
    "LogLine",
    "LogText",
    "Manual",
    "MasterState",
    "Measured",
    "NewBuildset",
    "NewChange",
    "NewPriority",
    "NewRequest",
    "Ongoing",
    "OngoingStep",
    "OpenBuild",
    "Order",
    "OtherMaster",
    "Outcome",
    "Pending",
    "PendingRequest",
    "Permissions",
    "Plan",
    "PlannedReceipt",
    "Possible",
    "Properties",
    "Pushes",
    "Queue",
    "QueueFigures",
    "QueuedBuilder",
    "QueuedRequest",
    "Range",
    "RangeRevision",
    "Reason",
    "ReasonCode",
    "Receipt",
    "Related",
    "RequestDetail",
    "RequestNow",
    "RequestOutcome",
    "RequestPlace",
    "RequestRow",
    "RequestTarget",
    "Revision",
    "RevisionRows",
    "RevisionVerdict",
    "RouteText",
    "Row",
    "Run",
    "SearchResults",
    "Selection",
    "SetPart",
    "Setup",
    "SetupBasis",
    "Site",
    "Sourcestamp",
    "Stamp",
    "Step",
    "Target",
    "UserRows",
    "WaitCondition",
    "Waiting",
    "Waits",
    "WantedRange",
    "Why",
    "WorkerElsewhere",
    "WorkerSet",
    "are_hashes",
    "as_json",
    "asker_key",
    "begins",
    "has_address",
    "in_halving_order",
    "in_utc",
    "is_abbreviation",
    "is_hash",
    "is_open",
    "is_pattern",
    "may_abbreviate",
    "means",
    "midnight",
    "one_spelling",
    "ongoing_as_json",
    "ongoing_from_json",
    "outcome_from_json",
    "page_of_author",
    "page_of_branch",
    "page_of_builder",
    "page_of_revision",
    "plan_from_json",
    "plan_to_json",
    "plural",
    "result_name",
    "trimmed",
    "user_key",
    "user_keys",
]
