"""Builds and build requests, alone and in lists, and the state of a revision.

The rows are named tuples and not dataclasses: a day has thousands, and they are made in a third of
the time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from typing import NamedTuple

from buildbot_selfserve.answers import RevisionVerdict
from buildbot_selfserve.model.branches import Branch
from buildbot_selfserve.model.branches import Revision
from buildbot_selfserve.model.job_mentions import JobMention
from buildbot_selfserve.model.results import result_name
from buildbot_selfserve.model.steps_and_logs import FailedStep
from buildbot_selfserve.model.steps_and_logs import Step


class RequestRow(NamedTuple):
    """A build request on a branch.

    ``owner`` is who asked for it, or else the author of the newest of its changes. ``status`` is
    the result code once the request is complete and ``None`` before; the times are epoch seconds.
    ``patched`` says that a patch was put on top of the revision.
    """

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
    status: int | None
    buildset_id: int
    owner: str | None = None
    patched: bool = False

    @property
    def request(self) -> RequestRow:
        """Return itself: the request of a row, whichever it is."""
        return self

    @property
    def state(self) -> str:
        """Return ``pending``, ``running`` or the name of the result."""
        if self.complete:
            return result_name(self.status)
        return "running" if self.claimed_at else "pending"

    @property
    def starttime(self) -> int:
        return self.submittime

    @property
    def endtime(self) -> int | None:
        return self.complete_at if self.complete else None

    def asked(self) -> dict[str, Any]:
        """Return how the journal names this target (``what`` in docs/api.md, "Job")."""
        return {"brid": self.request_id, "branch": self.branch}


class BuildRow(NamedTuple):
    """A build of a request; ``endtime`` and ``status`` are ``None`` while it runs."""

    build_id: int
    request: RequestRow
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
    state_string: str

    @property
    def state(self) -> str:
        """Return ``running`` or the name of the result."""
        return "running" if self.endtime is None else result_name(self.status)

    @property
    def patched(self) -> bool:
        """Whether a patch was put on top of the revision."""
        return self.request.patched

    def asked(self) -> dict[str, Any]:
        """Return how the journal names this target (``what`` in docs/api.md, "Job")."""
        return {"bid": self.build_id, "branch": self.branch}


Row = BuildRow | RequestRow


@dataclass(frozen=True)
class BuildDetail:
    """One build with the properties of its request, and its steps.

    :param failed_step: the last step that failed; ``None`` where none has, or the build succeeded
    :param jobs: the job requests that it was the target of, newest first
    """

    build: BuildRow
    properties: dict[str, Any]
    steps: tuple[Step, ...] = ()
    failed_step: FailedStep | None = None
    jobs: tuple[JobMention, ...] = ()


@dataclass(frozen=True)
class RequestDetail:
    """One request with its properties and its builds, oldest first.

    :param jobs: the job requests that it was the target of, newest first
    """

    request: RequestRow
    properties: dict[str, Any]
    builds: tuple[BuildRow, ...]
    jobs: tuple[JobMention, ...] = ()


@dataclass(frozen=True)
class Day:
    """What happened on a branch on one day, newest first.

    :param date: ISO date; *earlier* and *later* are those beside it, ``None`` where there is none
    """

    branch: Branch
    date: str
    earlier: str | None
    later: str | None
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class RevisionRows:
    """Everything that was asked for at a revision, and how far it is.

    :param judge: answers what ``is_done`` asks
    :param left_out: so many rows had a patch on top of the revision, and are not among *rows*
    """

    revision: Revision
    rows: tuple[Row, ...]
    judge: Callable[[], Done]
    left_out: int = 0

    @cached_property
    def done(self) -> Done:
        """Return how far the revision is; judged where a page shows it."""
        return self.judge()


#: Seconds that must have passed since the last build ended, unless the client says otherwise.
STABLE_DELAY = 180


@dataclass(frozen=True)
class BuilderResult:
    """What one builder has made of a revision, and what of it is under way.

    :param buildername: the name that its builds have, that of a virtual builder too
    :param row: the build or request with its latest result; ``None`` where it has none
    :param state: the name of that result, or empty
    :param open: ``pending`` or ``running`` where something is under way, or empty
    :param has_result: something was built and has a result, or has skipped itself
    """

    buildername: str
    row: Row | None
    state: str
    open: str
    has_result: bool

    @property
    def request_id(self) -> int:
        """Return the request of its latest result, 0 without one."""
        return 0 if self.row is None else self.row.request.request_id

    @property
    def lending_builder(self) -> str:
        """Return the name of the builder whose request was built."""
        return self.buildername if self.row is None else self.row.request.buildername


@dataclass(frozen=True)
class Done:
    """Whether a revision is done, and how it went (docs/api.md, "Done").

    :param stable_delay: seconds that must have passed since the last row ended
    :param failing: the builders whose latest result is a failure, also while others are open
    :param flaky: the builders that have both passed and failed
    :param built_with: the newer push with which it is built, where nothing was requested for it
    """

    stable_delay: int
    job_complete: bool
    job_passed: bool
    pending: int = 0
    running: int = 0
    builds: int = 0
    failed: int = 0
    cancelled: int = 0
    skipped: int = 0
    verdict: RevisionVerdict = "pending"
    failing: tuple[str, ...] = ()
    flaky: tuple[str, ...] = ()
    built_with: str | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing was requested."""
        ended = self.builds or self.failed or self.cancelled or self.skipped
        return not (self.pending or self.running or ended)


#: Among what has to happen first: that something is asked for, whatever it is.
NEW_REQUEST = ("buildrequests", 0)


@dataclass(frozen=True)
class WaitCondition:
    """When it is worth looking at something again that somebody waits for.

    :param open: what has to end first, each ``builds`` or ``buildrequests`` and an id; or, where
        nothing was asked for yet, NEW_REQUEST
    :param seconds: when nothing has to end any more: after so many seconds, 0 for now
    """

    open: frozenset[tuple[str, int]] = frozenset()
    seconds: float = 0


@dataclass(frozen=True)
class UserRows:
    """What somebody has built, is building and waits for on a branch, each the newest first.

    :param user: the name or address that was asked for
    """

    branch: Branch
    user: str
    builds: tuple[BuildRow, ...]
    running: tuple[BuildRow, ...]
    pending: tuple[RequestRow, ...]
