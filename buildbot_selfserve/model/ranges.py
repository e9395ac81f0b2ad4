"""Ranges of revisions: what one builder has made of those between a good one and a bad one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildbot_selfserve.model.branches import AnyRevision
from buildbot_selfserve.model.branches import Branch
from buildbot_selfserve.model.branches import Builder
from buildbot_selfserve.model.branches import Revision
from buildbot_selfserve.model.pushes import FAILED_STATES
from buildbot_selfserve.model.pushes import PASSED_STATES

#: So many revisions lie between the two ends of a range, at most.
LONGEST_RANGE = 100


@dataclass(frozen=True)
class WantedRange:
    """What somebody wants to look back over.

    :param builder: as which the builds are built: a builder of a master, or a virtual one
    :param bad: ``None`` for the newest revision that fails
    :param good: ``None`` for the last one before it that passes
    """

    branch: Branch
    builder: Builder
    bad: Revision | None = None
    good: Revision | None = None

    def asked(self) -> dict[str, Any]:
        """Return how the journal names this target (``what`` in docs/api.md, "Job")."""
        ends = {"revision": self.bad, "good": self.good}
        named = {name: one.revision for name, one in ends.items() if one is not None}
        return {"branch": self.branch.name, **self.builder.asked(), **named}


@dataclass(frozen=True)
class RangeRevision:
    """A revision of a range, and what the builder has made of it.

    :param revision: with the sourcestamps to build it with
    :param author: of its newest change; ``None`` if Buildbot has no change of it
    :param subject: the first line of the comments of that change
    :param when: when that change was made, in epoch seconds
    :param state: the latest result: ``passed``, ``warnings``, ``failed`` or ``exception``; or empty
    :param build_id: of that result
    :param tested: the latest of these that says something of the revision, which an exception does
        not; *tested_build_id*: of that one
    :param counts: how often requests and builds ended in each way, by ``passed``, ``warnings``,
        ``failed``, ``exception``, ``cancelled``, ``skipped`` and ``retry``; a request without a
        build counts as cancelled or skipped
    :param open: the ids of the requests that wait or run
    :param request_id: the first request, open or not; ``None`` if the builder was never asked
    :param sourceless: builds that failed before they had the revision's sources, which count as
        exceptions
    """

    revision: AnyRevision
    author: str | None
    subject: str
    when: int | None
    state: str
    build_id: int | None
    tested: str
    tested_build_id: int | None
    counts: Mapping[str, int]
    open: tuple[int, ...]
    request_id: int | None
    sourceless: frozenset[int]

    @property
    def text(self) -> str:
        """Return the whole revision in the spelling of rows."""
        return self.revision.shown

    @property
    def passes(self) -> bool:
        """Whether the latest result is good."""
        return self.state in PASSED_STATES

    @property
    def fails(self) -> bool:
        """Whether the latest result is bad."""
        return self.state in FAILED_STATES

    @property
    def results(self) -> int:
        """Return how many results there are that count: those that ``state`` may be."""
        return sum(self.counts.get(one, 0) for one in (*PASSED_STATES, *FAILED_STATES))


@dataclass(frozen=True)
class Range:
    """The revisions of a branch between a good one and a bad one.

    :param buildername: the name that the builds have, that of a virtual builder too
    :param good: ``None`` where none was found, and the range was asked for all the same
    :param candidates: the revisions between the two, the oldest first
    """

    buildername: str
    good: RangeRevision | None
    bad: RangeRevision
    candidates: tuple[RangeRevision, ...]
