"""Says which build of a builder counts, and what the builders of a revision come to: its verdict.

Nothing here reads a database. What counts of a builder is its latest result: that of the newest of
its builds that ended with success, warnings, a failure or an exception. What was cancelled, skipped
or collapsed has passed nothing, and a RETRY is no result at all.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from typing import Generic
from typing import TypeVar

from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import PASSED
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Done
from buildbot_selfserve.model import RevisionVerdict
from buildbot_selfserve.model import Row
from buildbot_selfserve.model.pushes import FAILED_STATES
from buildbot_selfserve.model.pushes import PASSED_STATES
from buildbot_selfserve.model.pushes import RESULT_STATES

#: A build, as its reader knows it.
Build = TypeVar("Build")

#: Virtual builders, by the buildsets that they would build. A build has its builder's name, but a
#: request the one of the builder that lends the virtual one its workers.
Virtual = Mapping[int, str]

_NONE: Virtual = {}

#: Seconds by which the clock of another master may be ahead.
CLOCK_SLACK = 60


def past(end: int, now: float) -> int:
    """Return *end*, or 0 if it lies in the future: the clock was set back since, who knows when.

    :param end: epoch seconds, like *now*
    """
    return end if end <= now + CLOCK_SLACK else 0


class BuilderResults(Generic[Build]):
    """Keeps what the builds of a builder at a revision have come to, as far as they have ended.

    :ivar latest: the newest build that passed or failed, ``None`` if there is none
    :ivar result: how it ended, as a state; empty if there is none
    :ivar passed: one of them passed; *failed*: one failed
    """

    # of most builders one build is seen, so what need not be set is not
    latest: Build | None = None
    result: str = ""
    passed: bool = False
    failed: bool = False
    _latest_id: int = -1

    @property
    def flaky(self) -> bool:
        """Whether the builder has both passed and failed."""
        return self.passed and self.failed

    def add(self, build_id: int, status: int | None, build: Build) -> bool:
        """Take in a build that has ended; return whether it has a result."""
        result = RESULT_STATES.get(status)
        if result is None:
            return False
        if result in PASSED_STATES:
            self.passed = True
        else:
            self.failed = True
        # ids of builds rise in the order in which they began, whatever the clocks of masters say
        if build_id > self._latest_id:
            self._latest_id, self.latest, self.result = build_id, build, result
        return True


def verdict_of(states: Iterable[str]) -> RevisionVerdict:
    """Return the verdict on a revision.

    :param states: of each builder that was asked: what is under way, and else its result, or how
        it ended without one. More than one of a builder do no harm.
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
    """Return the name of the builder that a row counts for: of a build, it is in the row."""
    if isinstance(row, BuildRow):
        return row.buildername
    return virtual.get(row.buildset_id, row.buildername)


def by_builder(
    found: Iterable[Row], virtual: Virtual = _NONE
) -> dict[str, BuilderResults[BuildRow]]:
    """Return what each builder has made of a revision, as far as its rows have ended."""
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
    """Count *found*, and say whether all of it ended long enough before *now*, and passed.

    No rows are not done: something may be asked for yet.

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
    # every row passed, and of each builder something was built that did
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
    """Return the buildsets of the requests in *found* that ended without a build."""
    return sorted(
        {row.buildset_id for row in found if not isinstance(row, BuildRow) and row.complete}
    )
