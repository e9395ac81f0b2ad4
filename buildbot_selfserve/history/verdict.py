"""Judges the rows of a revision: whether all of it has ended, and which builders pass.

Nothing here reads a database. What counts of a builder is its latest result: that of the newest of
its builds that ended with success, warnings, a failure or an exception. What was cancelled, skipped
or collapsed has passed nothing, and a RETRY is no result at all.
"""

from __future__ import annotations

from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Mapping

from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import FAILING
from buildbot_selfserve.model import PASSED
from buildbot_selfserve.model import PASSING
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import SUCCESS
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Done
from buildbot_selfserve.model import RevisionVerdict
from buildbot_selfserve.model import Row

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


class BuilderResults:
    """What one builder has made of a revision.

    :ivar latest: the newest build that passed or failed, ``None`` if there is none
    :ivar passes: that build passed; *fails*: it failed
    :ivar succeeded: a build ended with success; *passed*: one did, or with warnings;
        *failed*: one failed
    """

    __slots__ = ("failed", "fails", "latest", "passed", "passes", "succeeded")

    def __init__(self) -> None:
        self.latest: BuildRow | None = None
        self.succeeded = self.passed = self.failed = self.passes = self.fails = False

    def add(self, row: BuildRow) -> None:
        """Take in a build that has ended."""
        status = row.status
        passes = status in PASSING
        if passes:
            self.passed = True
            self.succeeded = self.succeeded or status == SUCCESS
        elif status in FAILING:
            self.failed = True
        else:
            return
        # ids of builds rise in the order in which they began, whatever the clocks of masters say
        if self.latest is None or row.build_id > self.latest.build_id:
            self.latest, self.passes, self.fails = row, passes, not passes


def built_as(row: Row, virtual: Virtual) -> str:
    """Return the name of the builder that a row counts for: of a build, it is in the row."""
    if isinstance(row, BuildRow):
        return row.buildername
    return virtual.get(row.buildset_id, row.buildername)


def by_builder(found: Iterable[Row], virtual: Virtual = _NONE) -> dict[str, BuilderResults]:
    """Return what each builder has made of a revision, as far as its rows have ended."""
    results: dict[str, BuilderResults] = {}
    for row in found:
        if row.endtime is None:
            continue
        name = built_as(row, virtual)
        its = results.get(name)
        if its is None:
            its = results[name] = BuilderResults()
        if isinstance(row, BuildRow):
            its.add(row)
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
    passed = not failed and not cancelled and all(one.succeeded for one in results.values())
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
        verdict=_verdict(states, results),
        failing=tuple(sorted([name for name, one in results.items() if one.fails])),
        flaky=tuple(sorted([name for name, one in results.items() if one.passed and one.failed])),
    )


def _verdict(states: Container[str], results: Mapping[str, BuilderResults]) -> RevisionVerdict:
    """Return the verdict; *states* are those of what is open."""
    if "running" in states:
        return "running"
    if "pending" in states or not results:
        return "pending"
    if any(one.fails for one in results.values()):
        return "failed"
    return "passed" if all(one.passes for one in results.values()) else "incomplete"


def unbuilt_buildsets(found: Iterable[Row]) -> list[int]:
    """Return the buildsets of the requests in *found* that ended without a build."""
    return sorted(
        {row.buildset_id for row in found if not isinstance(row, BuildRow) and row.complete}
    )
