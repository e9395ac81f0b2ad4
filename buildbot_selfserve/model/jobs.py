"""Job requests: what was requested, what an act did, what the journal has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol

from buildbot_selfserve.answers import NOTHING_DONE
from buildbot_selfserve.answers import Outcome
from buildbot_selfserve.model.branches import Builder
from buildbot_selfserve.model.kept_fields import known_fields
from buildbot_selfserve.model.ongoing import Ongoing
from buildbot_selfserve.model.rows import BuildRow


@dataclass(frozen=True)
class RequestOutcome:
    """What became of one build request, as the database said after the act, or what would.

    :param revision: what it would build; *priority*: the priority that it would have
    """

    request_id: int | None
    buildername: str
    outcome: Outcome
    build_ids: tuple[int, ...] = ()
    msg: str = ""
    revision: str | None = None
    priority: int | None = None


def outcome_from_json(read: Mapping[str, Any]) -> RequestOutcome:
    """Return the outcome of which the journal keeps *read*."""
    build_ids = tuple(read["build_ids"])
    return RequestOutcome(**{**known_fields(RequestOutcome, read), "build_ids": build_ids})


#: The property that tells which job request made a buildset, and the one that tells each request
#: of a job from all others, so that none is collapsed.
JOB_PROPERTY, KEY_PROPERTY = "selfserve_job", "selfserve_key"
#: The property that tells which job request has asked for a build only to look back over a range.
RANGE_PROPERTY = "selfserve_range"
#: How the reason of a buildset begins that is no copy of another, and so the comments of a change
#: that was recorded for a revision without one.
REQUESTED_BY = "Self-serve: Requested by "
#: The properties that belong to one job request: the executor sets or removes them in each
#: buildset, whatever it had.
MARKS = frozenset({"owner", JOB_PROPERTY, KEY_PROPERTY, RANGE_PROPERTY})
#: The properties that move a build to a virtual builder and rewrite that builder's record. If
#: Buildbot cannot use a value, the build never begins, and its worker stays busy forever
#: (buildbot/process/build.py, getBuilderId).
VIRTUAL_BUILDER = frozenset(
    {
        "virtual_builder_name",
        "virtual_builder_description",
        "virtual_builder_project",
        "virtual_builder_tags",
    }
)
#: Outcomes that are not the last word: what was told to end may still do so, or not.
UNSETTLED = frozenset({"stop_sent", "waiting"})
#: Outcomes of build requests of others, which wait and are built whatever becomes of the job.
_OF_OTHERS = NOTHING_DONE | {"reprioritized", "held", "released"}


class RequestTarget(Protocol):
    """A build request, however much is known of it."""

    @property
    def request_id(self) -> int: ...

    @property
    def buildset_id(self) -> int: ...

    @property
    def builder_id(self) -> int: ...

    @property
    def buildername(self) -> str: ...


@dataclass(frozen=True)
class NewRequest:
    """A build request that is about to be made.

    :param name: the name under which it may be built: that of *builder*, or of a virtual builder
    :param branch: the branch that it builds, where that is not the one that was asked for
    """

    builder: Builder
    name: str
    branch: str | None = None


#: Something that a job request is about.
Target = Builder | NewRequest | BuildRow | RequestTarget


@dataclass(frozen=True)
class Order:
    """What the executor must know of the job request whose plan it carries out.

    :param deadline: monotonic seconds until which it waits for builds to stop
    :param check_running: is called between two steps; raises when the master stops
    :param build_id: the build that it cancels, if it cancels one
    """

    job_id: int
    who: str
    deadline: float
    check_running: Callable[[], None]
    build_id: int | None = None


@dataclass(frozen=True)
class Effect:
    """What an act did: the true outcome for each build request, and what to say of it."""

    msg: str
    requests: tuple[RequestOutcome, ...] = ()
    buildset_ids: tuple[int, ...] = ()
    errors: bool = False


#: Which life of a master does a job, and the job's id, which in another journal is another job's.
JobRow = tuple[str, int]


@dataclass(frozen=True)
class Job:
    """A job request: one self-serve mutation as the journal knows it.

    :param when: epoch seconds at which it was asked for; ``completed_at`` likewise
    :param via: how the user proved who they are
    :param remote: the address that it came from
    :param status: ``running``, ``ok``, ``failed`` or ``unknown``
    :param what: what was asked, under the names of the original API
    :param requests: what became of each
    :param incarnation: which life of a master does it
    :param plan: what it is to do, as JSON; only while it runs
    :param revision: at which its target is, where that is known; only until its row is opened
    :param ongoing: how far it has come, where it goes on after its answer
    :param known: Buildbot knew the revision before; only of new builds at one
    """

    job_id: int
    action: str
    who: str
    via: str
    remote: str
    when: int
    branch: str
    what: dict[str, Any]
    status: str = "running"
    completed_at: int | None = None
    errors: bool = False
    msg: str = ""
    requests: tuple[RequestOutcome, ...] = ()
    buildset_ids: tuple[int, ...] = ()
    incarnation: str = field(default="", compare=False)
    plan: str | None = field(default=None, compare=False, repr=False)
    revision: str | None = field(default=None, compare=False, repr=False)
    ongoing: Ongoing | None = field(default=None, compare=False, repr=False)
    known: bool | None = None

    @property
    def row(self) -> JobRow:
        """Return what tells its row from all others, those of other journals among them."""
        return self.incarnation, self.job_id

    @property
    def cancelled_build(self) -> int | None:
        """Return the build that it cancels, ``None`` if it does anything else."""
        return self.what.get("bid") if self.action == "cancel_build" else None

    @property
    def did_something(self) -> bool:
        """Whether any build request is now what the job wanted it to be, or may become so."""
        return any(one.outcome not in NOTHING_DONE for one in self.requests)

    @property
    def unsettled(self) -> bool:
        """Whether an outcome is not the last word."""
        return any(one.outcome in UNSETTLED for one in self.requests)


@dataclass(frozen=True)
class RequestNow:
    """What a build request has come to by now.

    :param state: ``pending``, ``running`` or the name of its result; ``None`` if there is none
    :param results: its result code; ``None`` until it is complete
    :param build_ids: of all its builds, oldest first
    """

    state: str | None
    results: int | None
    build_ids: tuple[int, ...]


@dataclass(frozen=True)
class JobDetail:
    """A job request, and what its build requests have come to.

    :param now: by the id of the request, without those that no longer exist
    """

    job: Job
    now: Mapping[int, RequestNow]

    @property
    def is_open(self) -> bool:
        """Whether it runs, or something that it has made or told to stop has not ended."""
        return (
            self.job.status == "running"
            or self.job.unsettled
            or any(state in ("pending", "running") for state in self._states)
        )

    @property
    def _states(self) -> list[str]:
        """Return the states of the requests that it has made or was to end."""
        its = {one.request_id for one in self.job.requests if one.outcome not in _OF_OTHERS}
        return [now.state for one, now in self.now.items() if one in its and now.state]

    @property
    def counts(self) -> dict[str, int]:
        """Return how many requests that it has made or was to end are in each state.

        What is under way comes first.
        """
        numbers = Counter(self._states)
        order = sorted(numbers, key=lambda one: (one not in ("running", "pending"), one))
        return {one: numbers[one] for one in order}

    def now_of(self, outcome: RequestOutcome) -> RequestNow:
        """Return what the build request of *outcome* has come to."""
        now = None if outcome.request_id is None else self.now.get(outcome.request_id)
        return now or RequestNow(None, None, outcome.build_ids)


@dataclass(frozen=True)
class Attempt:
    """One sending of a job request that its client may send again.

    :param key: the text of its Idempotency-Key
    :param fingerprint: the hash of what it asks for
    """

    key: str
    fingerprint: str


@dataclass(frozen=True)
class Jobs:
    """One page of the journal, newest first.

    :param more: there are older ones
    """

    jobs: tuple[Job, ...]
    num: int
    offset: int
    more: bool
    filters: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Receipt:
    """The answer to a job request: the job when it has ended."""

    job: Job


@dataclass(frozen=True)
class PlannedReceipt:
    """The answer to a dry run: the job as it would end.

    :param plan: the text of the plan
    :param changes: it changes something
    """

    job: Job
    plan: str
    changes: bool = True


def plural(number: int, noun: str) -> str:
    """Return *noun* as it stands behind *number*."""
    return noun if number == 1 else f"{noun}s"
