"""Judges the rows of a revision: whether all of it has ended, and which builders pass there.

Nothing here reads a database. What counts of a builder is its latest result: that of the newest of
its builds that ended with success, warnings, a failure or an exception. What was cancelled, skipped
or collapsed has passed nothing, and a RETRY is no result at all.
"""

from __future__ import annotations

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
    :ivar succeeded: a build ended with success; *passed*: one did, or with warnings;
        *failed*: one failed
    """

    __slots__ = ("failed", "latest", "passed", "succeeded")

    def __init__(self) -> None:
        self.latest: BuildRow | None = None
        self.succeeded = self.passed = self.failed = False

    def add(self, row: Row) -> None:
        """Take in a row that has ended."""
        status = row.status
        if not isinstance(row, BuildRow):
            return
        if status in PASSING:
            self.passed = True
            self.succeeded = self.succeeded or status == SUCCESS
        elif status in FAILING:
            self.failed = True
        else:
            return
        # ids of builds rise in the order in which they began, whatever the clocks of masters say
        if self.latest is None or row.build_id > self.latest.build_id:
            self.latest = row

    @property
    def passes(self) -> bool:
        """Whether its latest result is one that passed."""
        return self.latest is not None and self.latest.status in PASSING

    @property
    def fails(self) -> bool:
        """Whether its latest result is one that failed."""
        return self.latest is not None and self.latest.status in FAILING


def by_builder(found: Iterable[Row], virtual: Virtual = _NONE) -> dict[str, BuilderResults]:
    """Return what each builder has made of a revision, as far as its rows have ended."""
    results: dict[str, BuilderResults] = {}
    for row in found:
        if row.endtime is not None:
            name = row.buildername
            if virtual and not isinstance(row, BuildRow):
                name = virtual.get(row.buildset_id, name)
            if name not in results:
                results[name] = BuilderResults()
            results[name].add(row)
    return results


def judge(found: Iterable[Row], stable_delay: int, now: float, virtual: Virtual = _NONE) -> Done:
    """Count *found*, and say whether all of it ended long enough before *now*, and passed.

    No rows are not done: something may be asked for yet.

    :param stable_delay: seconds that must have passed since the last row ended
    :param now: epoch seconds
    """
    found = list(found)
    pending = running = builds = failed = cancelled = skipped = 0
    last_end: int | None = None
    for row in found:
        if row.endtime is None:
            running += row.state == "running"
            pending += row.state == "pending"
            continue
        last_end = max(last_end or 0, past(row.endtime, now))
        builds += isinstance(row, BuildRow)
        cancelled += row.status == CANCELLED
        skipped += row.status == SKIPPED
        failed += row.status not in PASSED and row.status != CANCELLED
    ended = last_end is not None and not pending and not running
    complete = ended and (last_end or 0) + stable_delay <= now
    results = by_builder(found, virtual)
    # every row passed, and of each builder something was built that did
    passed = not failed and not cancelled and all(one.succeeded for one in results.values())
    return Done(
        stable_delay=stable_delay,
        job_complete=complete,
        job_passed=complete and passed,
        pending=pending,
        running=running,
        builds=builds,
        failed=failed,
        cancelled=cancelled,
        skipped=skipped,
        verdict=_verdict(pending, running, results),
        failing=tuple(sorted(name for name, one in results.items() if one.fails)),
        flaky=tuple(sorted(name for name, one in results.items() if one.passed and one.failed)),
    )


def _verdict(pending: int, running: int, results: Mapping[str, BuilderResults]) -> RevisionVerdict:
    if running:
        return "running"
    if pending or not results:
        return "pending"
    if any(one.fails for one in results.values()):
        return "failed"
    return "passed" if all(one.passes for one in results.values()) else "incomplete"


def unbuilt_buildsets(found: Iterable[Row]) -> list[int]:
    """Return the buildsets of the requests in *found* that ended without a build."""
    return sorted(
        {row.buildset_id for row in found if not isinstance(row, BuildRow) and row.complete}
    )
