"""Pushes: what each builder has made of a revision, and how that compares with what was before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from buildbot_selfserve.answers import BuilderChange
from buildbot_selfserve.answers import BuilderStateName
from buildbot_selfserve.answers import RevisionVerdict
from buildbot_selfserve.model.branches import Branch
from buildbot_selfserve.model.branches import Revision
from buildbot_selfserve.model.results import EXCEPTION
from buildbot_selfserve.model.results import FAILING
from buildbot_selfserve.model.results import FAILURE
from buildbot_selfserve.model.results import PASSING
from buildbot_selfserve.model.results import SUCCESS
from buildbot_selfserve.model.results import WARNINGS

#: The states of builders that have a result, by the result.
RESULT_STATES: Mapping[int | None, BuilderStateName] = {
    SUCCESS: "passed",
    WARNINGS: "warnings",
    FAILURE: "failed",
    EXCEPTION: "exception",
}
PASSED_STATES = frozenset(RESULT_STATES[one] for one in PASSING)
FAILED_STATES = frozenset(RESULT_STATES[one] for one in FAILING)
OPEN_STATES = frozenset({"running", "pending"})

#: What needs eyes first.
_FIRST: Mapping[str, int] = {
    "regressed": 0,
    "new": 1,
    "still_failing": 2,
    "flaky": 3,
    "unknown": 4,
    "fixed": 6,
    "passing": 7,
}
_OPEN: Mapping[str, int] = {
    "exception": 0,
    "failed": 1,
    "running": 2,
    "pending": 3,
    "missing": 4,
    "cancelled": 5,
    "skipped": 6,
    "warnings": 7,
    "passed": 8,
}


class BuilderState(NamedTuple):
    """What one builder has made of a revision.

    :param buildername: the name that its builds have, that of a virtual builder too
    :param state: of what is under way, or else its latest result; ``missing`` where it was not
        asked for though a scheduler would
    :param attempts: so many builds, without those that were tried again by Buildbot itself
    :param build_id: of the build that *state* is about, ``None`` of a request without one; *number*
        is that of the build on its builder
    :param request_id: of its request; ``None`` where it was not asked for
    :param result: its latest result, as a state, also while something is under way; or empty
    :param result_build_id: the build of that result
    :param flaky: it has both passed and failed
    :param started: when that build started; *ended*: when it ended. Epoch seconds
    :param open: all its requests that are pending or running; *waiting*: those that are pending
    """

    buildername: str
    builder_id: int
    state: BuilderStateName
    attempts: int
    build_id: int | None
    number: int | None
    request_id: int | None
    result: str
    flaky: bool
    started: int | None
    ended: int | None
    result_build_id: int | None = None
    open: tuple[int, ...] = ()
    waiting: tuple[int, ...] = ()


class BuilderHealth(NamedTuple):
    """The same, compared with a revision before it.

    :param change: how it compares
    :param base_state: the result of this builder at *base_revision*, and how many revisions
        (*distance*) that is before this one; ``None`` where there is nothing to compare with
    :param failed_step: the name of the step that failed last in the build, where that was asked
    """

    at: BuilderState
    change: BuilderChange
    base_state: str | None
    base_revision: str | None
    distance: int | None
    failed_step: str | None = None

    @property
    def order(self) -> tuple[int, int, str]:
        """Return what builders are sorted by: what needs eyes comes first."""
        at = self.at
        failing = at.result in FAILED_STATES
        first = _FIRST[self.change]
        if self.change == "new" and not failing:
            first = 8
        elif self.change == "flaky" and not failing:
            first = 5
        elif at.state in OPEN_STATES and not failing:
            first = 4
        return first, _OPEN[at.state], at.buildername


@dataclass(frozen=True)
class ChangeInfo:
    """What Buildbot's changes say of a push.

    :param change_ids: the newest is the last
    :param subject: the first line of the comments
    :param files: the number of changed files
    :param when: epoch seconds
    """

    change_ids: tuple[int, ...]
    author: str
    subject: str
    comments: str
    files: tuple[str, ...]
    file_count: int
    when: int
    revlink: str | None


@dataclass(frozen=True)
class Health:
    """Whether a revision is good, builder by builder.

    :param base: the revision that it is compared with, or the nearest before it; ``None``: none
    :param verdict: by the latest result of each builder
    :param builders: what needs eyes comes first
    :param change: ``None`` where Buildbot has no change of it
    :param when: when it was pushed or first asked for, in epoch seconds
    :param built_with: the nearest newer push that was built, where nothing was requested for this
        one but by backfills and bisections
    """

    revision: Revision
    base: str | None
    verdict: RevisionVerdict
    builders: tuple[BuilderHealth, ...]
    change: ChangeInfo | None
    when: int | None
    built_with: str | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Return how many builders are in each state."""
        return dict(Counter(one.at.state for one in self.builders))

    def named(self, *changes: str) -> list[BuilderHealth]:
        """Return the builders that compare in one of these ways."""
        return [one for one in self.builders if one.change in changes]

    @property
    def failing(self) -> list[BuilderHealth]:
        """Return the builders whose latest result is a failure."""
        return [one for one in self.builders if one.at.result in FAILED_STATES]

    @property
    def open(self) -> list[BuilderHealth]:
        """Return the builders with something under way."""
        return [one for one in self.builders if one.at.state in OPEN_STATES]

    @property
    def open_requests(self) -> set[int]:
        """Return all pending and running requests; a builder may have several."""
        return {request_id for one in self.open for request_id in one.at.open}

    @property
    def waiting_requests(self) -> set[int]:
        """Return the requests that are pending."""
        return {request_id for one in self.open for request_id in one.at.waiting}

    @property
    def under_way(self) -> list[BuilderHealth]:
        """Return what is under way: each builder that builds, and each request that is pending."""
        found = []
        for one in self.open:
            found += [one] if one.at.state == "running" else []
            found += (_waiting(one, request_id) for request_id in sorted(one.at.waiting))
        return found

    @property
    def unbuilt(self) -> list[BuilderHealth]:
        """Return the builders that were asked for and have no result, or were not asked for."""
        return [one for one in self.builders if one.at.state in ("missing", "cancelled", "skipped")]


def _waiting(one: BuilderHealth, request_id: int) -> BuilderHealth:
    """Return a builder with one of its pending requests."""
    at = one.at._replace(state="pending", build_id=None, number=None, request_id=request_id)
    return one._replace(at=at._replace(started=None, ended=None))


@dataclass(frozen=True)
class Pushes:
    """Revisions of a branch or of a user, the newest first.

    :param branch: ``None`` for those of a user on all branches
    :param older_branch: the branch of that one, among the pushes of a user
    :param author: only those of this author
    :param also: or of these, which are the same user
    :param older: the revision before which the next ones are, ``None`` if these are the last
    """

    branch: Branch | None
    pushes: tuple[Health, ...]
    older: str | None
    author: str | None = None
    older_branch: str | None = None
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class LastGreen:
    """The newest revision at which all of some builders passed.

    :param when: when it was pushed, in epoch seconds
    :param distance: so many pushes are newer
    """

    revision: Revision
    when: int | None
    distance: int


def by_need(builders: Iterable[BuilderHealth]) -> tuple[BuilderHealth, ...]:
    """Return *builders* in the order in which somebody wants to see them."""
    return tuple(sorted(builders, key=lambda one: one.order))
