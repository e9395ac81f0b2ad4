"""Decides which build of a builder counts, and the verdict on a revision.

Nothing here reads a database. A builder's latest result counts: that of its newest build that ended
with success, warnings, a failure or an exception. Builds and requests that were cancelled, skipped
or collapsed have not passed; RETRY is not a result.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Generic
from typing import TypeVar

from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import CLOCK_SLACK
from buildbot_selfserve.model import PASSED
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Done
from buildbot_selfserve.model import RevisionVerdict
from buildbot_selfserve.model import Row
from buildbot_selfserve.model.pushes import FAILED_STATES
from buildbot_selfserve.model.pushes import PASSED_STATES
from buildbot_selfserve.model.pushes import RESULT_STATES

#: A build in any representation.
Build = TypeVar("Build")

#: Names of virtual builders by the ids of the buildsets that they build. A build has the virtual
#: builder's name; its request has the name of the builder that lends its workers.
Virtual = Mapping[int, str]

_NONE: Virtual = {}


def past(end: int, now: float) -> int:
    """Return *end*, or 0 if it is in the future because the clock was set back since.

    :param end: epoch seconds, like *now*
    """
    return end if end <= now + CLOCK_SLACK else 0


class BuilderResults(Generic[Build]):
    """Collects the results of a builder's ended builds at a revision.

    :ivar latest: the newest build that passed or failed, ``None`` without one
    :ivar result: the state in which *latest* ended; empty without one
    :ivar passed: any build passed
    :ivar failed: any build failed
    """

    # class attributes are the defaults: most builders have one build, so few are ever set
    latest: Build | None = None
    result: str = ""
    passed: bool = False
    failed: bool = False
    _latest_id: int = -1

    @property
    def flaky(self) -> bool:
        """Return whether the builder has both passed and failed."""
        return self.passed and self.failed

    def add(self, build_id: int, status: int | None, build: Build) -> bool:
        """Add a build that has ended; return whether it has a result."""
        result = RESULT_STATES.get(status)
        if result is None:
            return False
        if result in PASSED_STATES:
            self.passed = True
        else:
            self.failed = True
        # build ids rise in the order in which builds began, even if the masters' clocks differ
        if build_id > self._latest_id:
            self._latest_id, self.latest, self.result = build_id, build, result
        return True


def verdict_of(states: Iterable[str]) -> RevisionVerdict:
    """Return the verdict on a revision.

    :param states: for each requested builder: pending or running, or else its result, or else how
        it ended without one; several states of one builder do no harm
    """
    states = frozenset(states)
    if "running" in states:
        return "running"
    if "pending" in states or not states:
        return "pending"
    if states & FAILED_STATES:
        return "failed"
    return "passed" if states <= PASSED_STATES else "incomplete"


def built_as(row: Row, virtual: Virtual) -> str:
    """Return the name of the builder that a row counts for, virtual builders included."""
    if isinstance(row, BuildRow):
        return row.buildername
    return virtual.get(row.buildset_id, row.buildername)


def by_builder(
    found: Iterable[Row], virtual: Virtual = _NONE
) -> dict[str, BuilderResults[BuildRow]]:
    """Return the results of each builder's ended rows, by builder name."""
    results: dict[str, BuilderResults[BuildRow]] = {}
    for row in found:
        if row.endtime is None:
            continue
        name = built_as(row, virtual)
        its = results.get(name)
        if its is None:
            its = results[name] = BuilderResults()
        if isinstance(row, BuildRow):
            its.add(row.build_id, row.status, row)
    return results


def judge(found: Iterable[Row], stable_delay: int, now: float, virtual: Virtual = _NONE) -> Done:
    """Count *found*, and return whether all rows ended long enough before *now*, and passed.

    A revision without rows is not done: builds may still be requested.

    :param stable_delay: seconds that must have passed since the last row ended
    :param now: epoch seconds
    """
    found = list(found)
    states = [row.state for row in found if row.endtime is None]
    ended = [row for row in found if row.endtime is not None]
    statuses = [row.status for row in ended]
    cancelled = statuses.count(CANCELLED)
    failed = len([one for one in statuses if one not in PASSED]) - cancelled
    ends = [row.endtime or 0 for row in ended]
    last_end = max([past(end, now) for end in set(ends)], default=0)
    complete = bool(ended) and not states and last_end + stable_delay <= now
    results = by_builder(ended, virtual)
    # every row passed, and each builder has a build that passed
    passed = not failed and not cancelled and all(one.passed for one in results.values())
    return Done(
        stable_delay=stable_delay,
        job_complete=complete,
        job_passed=complete and passed,
        pending=states.count("pending"),
        running=states.count("running"),
        builds=len([row for row in ended if isinstance(row, BuildRow)]),
        failed=failed,
        cancelled=cancelled,
        skipped=statuses.count(SKIPPED),
        verdict=verdict_of([*states, *[one.result for one in results.values()]]),
        failing=tuple(sorted([it for it, one in results.items() if one.result in FAILED_STATES])),
        flaky=tuple(sorted([name for name, one in results.items() if one.flaky])),
    )


def unbuilt_buildsets(found: Iterable[Row]) -> list[int]:
    """Return the ids of the buildsets of requests in *found* that ended without a build."""
    return sorted(
        {row.buildset_id for row in found if not isinstance(row, BuildRow) and row.complete}
    )
