"""Job requests: what was requested, what an act did, what the journal has."""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import Protocol

from buildbot_selfserve.answers import NOTHING_DONE
from buildbot_selfserve.answers import Outcome
from buildbot_selfserve.model.branches import Builder
from buildbot_selfserve.model.rows import BuildRow


@dataclass(frozen=True)
class RequestOutcome:
    """What became of one build request, as the database said after the act."""

    request_id: int | None
    buildername: str
    outcome: Outcome
    build_ids: tuple[int, ...] = ()
    msg: str = ""


#: The property that tells which job request made a buildset, and the one that tells each request
#: of a job from all others, so that none is collapsed.
JOB_PROPERTY, KEY_PROPERTY = "selfserve_job", "selfserve_key"
#: Outcomes that are not the last word: what was told to end may still do so, or not.
UNSETTLED = frozenset({"stop_sent", "waiting"})


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
    """What an act must know of the job request that it belongs to.

    :param deadline: monotonic seconds after which nothing new may be begun
    :param may: says whether the user may do this to one of several targets
    :param take_builds: takes so many builds from the user's budget, before they are made; raises
        :class:`~buildbot_selfserve.errors.TooMany` when so many are not left
    :param note_targets: writes into the journal which requests are meant, before anything is done
        to them, where the job request itself does not say it
    """

    job_id: int
    who: str
    deadline: float
    may: Callable[[Target], Awaitable[bool]]
    take_builds: Callable[[int], Awaitable[None]]
    note_targets: Callable[[Sequence[RequestOutcome]], Awaitable[None]]


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
    :param requests: what became of each, and while it runs what is meant, if that is noted
    :param incarnation: which life of a master does it
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

    @property
    def row(self) -> JobRow:
        """Return what tells its row from all others, those of other journals among them."""
        return self.incarnation, self.job_id

    @property
    def did_something(self) -> bool:
        """Whether any build request is now what the job wanted it to be, or may become so."""
        return any(one.outcome not in NOTHING_DONE for one in self.requests)

    @property
    def unsettled(self) -> bool:
        """Whether an outcome is not the last word."""
        return any(one.outcome in UNSETTLED for one in self.requests)


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


def plural(number: int, noun: str) -> str:
    """Return *noun* as it stands behind *number*."""
    return noun if number == 1 else f"{noun}s"
