"""The queue: the build requests that wait, why each does, and for how long."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import NamedTuple

from buildbot_selfserve.answers import ReasonCode
from buildbot_selfserve.model.branches import Branch
from buildbot_selfserve.model.rows import RequestRow


class PendingRequest(NamedTuple):
    """A build request that no master has claimed.

    :param submitted_at: epoch seconds
    :param waited_for: somebody waits for it; *waited_by* is the id of the build that does
    """

    request_id: int
    builder_id: int
    buildset_id: int
    priority: int
    submitted_at: int
    waited_for: bool
    waited_by: int | None = None


class OpenBuild(NamedTuple):
    """A build that runs, as the database has it; *builder_id* is that of its request.

    :param started_at: epoch seconds
    :param waited_by: the id of the build that waits for it
    """

    build_id: int
    number: int
    request_id: int
    builder_id: int
    build_builder_id: int
    worker: str
    master_id: int
    state_string: str
    started_at: int
    waited_by: int | None = None


class Duration(NamedTuple):
    """How long the latest successful builds of a builder took, in seconds.

    :param p50: the median
    :param p90: nine of ten took no longer
    """

    p50: int
    p90: int


class OtherMaster(NamedTuple):
    """A master that has a builder."""

    name: str
    is_active: bool


class WorkerElsewhere(NamedTuple):
    """A worker of a builder of another master, as the database knows it."""

    name: str
    connected: bool
    paused: bool
    pause_reason: str | None
    graceful: bool


@dataclass(frozen=True)
class Pending:
    """What the database knows of what waits and of what could build it.

    :param requests: all that wait, by id
    :param builders: the names of builders, by id
    :param builds: all builds that run
    :param masters: the masters that have a builder, by its id and theirs
    :param workers: the workers of a builder on a master, by both ids
    :param chosen: the workers that requests ask for in their property ``workername``, by buildset
    """

    requests: tuple[PendingRequest, ...]
    builders: Mapping[int, str]
    builds: tuple[OpenBuild, ...]
    masters: Mapping[int, Mapping[int, OtherMaster]]
    workers: Mapping[tuple[int, int], Sequence[WorkerElsewhere]]
    chosen: Mapping[int, str]


@dataclass(frozen=True)
class Claim:
    """Who has claimed a build request.

    :param claimed_at: epoch seconds
    """

    master_id: int
    master: OtherMaster
    claimed_at: int


@dataclass(frozen=True)
class BuildLink:
    """A build that something waits for.

    :param build_id: ``None`` for one that is only beginning; likewise *number* and *builder_id*
    """

    build_id: int | None
    number: int | None
    builder_id: int | None
    buildername: str
    worker: str

    def url(self, buildbot_url: str) -> str | None:
        """Return Buildbot's own page of it, ``None`` while it has none.

        :param buildbot_url: with a trailing slash
        """
        if self.number is None or self.builder_id is None:
            return None
        return f"{buildbot_url}#/builders/{self.builder_id}/builds/{self.number}"


@dataclass(frozen=True)
class Reason:
    """Why a build request waits.

    :param blocking: it could not start now because of this
    :param capacity: more workers would help
    :param fatal: it will never start as things are
    :param until: epoch seconds
    :param who: the user who holds it
    """

    code: ReasonCode
    msg: str
    blocking: bool = True
    capacity: bool = False
    fatal: bool = False
    workers: tuple[str, ...] = ()
    builds: tuple[BuildLink, ...] = ()
    locks: tuple[str, ...] = ()
    masters: tuple[str, ...] = ()
    requests: tuple[int, ...] = ()
    settings: tuple[str, ...] = ()
    until: int | None = None
    who: str = ""


@dataclass(frozen=True)
class Eta:
    """When something is likely done, in epoch seconds."""

    earliest: int
    likely: int


@dataclass(frozen=True)
class Forecast:
    """When something is likely done, or why that is not known.

    :param eta: ``None`` if it is not known
    :param reason: why it is not known; else empty
    """

    eta: Eta | None
    reason: str = ""


@dataclass(frozen=True)
class Why:
    """Why a build request waits.

    :param state: ``pending``, ``running`` or the name of its result
    :param position: its place among the pending requests of its builder, 1 for the next; ``None``
        where it is not pending, or where an operator's function decides
    :param eta_reason: why there is no *eta*
    """

    request: RequestRow
    state: str
    position: int | None
    ahead: int | None
    reasons: tuple[Reason, ...]
    eta: Eta | None = None
    eta_reason: str = ""


class Waiting(NamedTuple):
    """The first reason why a request waits.

    :param is_next: it is the first of its builder
    """

    reason: Reason
    is_next: bool


class Waits(NamedTuple):
    """How long requests have waited before they started within the last day, in seconds."""

    p50: int | None
    p90: int | None


@dataclass(frozen=True)
class QueuedBuilder:
    """What waits for a builder.

    :param oldest: seconds for which the oldest request waits
    :param reasons: how many wait for each reason
    :param owners: how many each user has
    """

    builder_id: int
    buildername: str
    waiting: int
    running: int
    oldest: int
    waits: Waits
    reasons: Mapping[ReasonCode, int]
    owners: Mapping[str, int]


@dataclass(frozen=True)
class WorkerSet:
    """What waits for a set of workers, which is all that the same builders can use.

    :param busy: how many of the workers have a build
    :param not_connected: those of the workers that no master has, and that do not start by
        themselves when they are needed
    """

    workers: tuple[str, ...]
    builders: tuple[str, ...]
    waiting: int
    busy: int
    oldest: int
    waits: Waits
    not_connected: tuple[str, ...] = ()


@dataclass(frozen=True)
class QueuedRequest:
    """A request that waits, and the first reason why.

    :param is_next: it is the first of its builder
    """

    request: RequestRow
    reason: Reason
    is_next: bool = False


@dataclass(frozen=True)
class Queue:
    """The build requests that wait, on one branch or on all.

    :param branch: ``None`` for all
    :param oldest: seconds for which the oldest request waits, ``None`` if nothing waits
    :param requests: at most :data:`MOST_QUEUED`, in the order in which they would be built
    """

    branch: Branch | None
    waiting: int
    oldest: int | None
    builders: tuple[QueuedBuilder, ...] = ()
    worker_sets: tuple[WorkerSet, ...] = ()
    requests: tuple[QueuedRequest, ...] = ()
    reasons: Mapping[ReasonCode, int] = field(default_factory=dict)


@dataclass(frozen=True)
class QueueFigures:
    """What metrics say of the queue.

    :param reasons: how many requests wait for each reason
    :param oldest: for how many seconds the oldest request waits for each set of workers, which are
        named in a text
    """

    reasons: Mapping[ReasonCode, int]
    oldest: Mapping[str, int]


#: So many requests of the queue are listed.
MOST_QUEUED = 200
