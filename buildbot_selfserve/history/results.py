"""Tells what each builder has made of a revision, for planners that look before they build."""

from __future__ import annotations

from collections.abc import Iterable

from buildbot_selfserve.history.verdict import Virtual
from buildbot_selfserve.history.verdict import built_as
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import EXCEPTION
from buildbot_selfserve.model import FAILURE
from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import SUCCESS
from buildbot_selfserve.model import WARNINGS
from buildbot_selfserve.model import BuilderResult
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Row

#: Which of its results is the latest of a builder: the newest of the first group that it has.
RANKS = (
    frozenset({SUCCESS, WARNINGS, FAILURE, EXCEPTION}),
    frozenset({CANCELLED, SKIPPED}),
    frozenset({RETRY}),
)
#: What a build that has ended has made of a revision.
_RESULTS = RANKS[0] | {SKIPPED}


def by_builder(found: Iterable[Row], virtual: Virtual) -> list[BuilderResult]:
    """Return the results of each builder in *found*, by name.

    :param virtual: names of virtual builders, by the buildsets that they would build
    """
    rows: dict[str, list[Row]] = {}
    for row in found:
        rows.setdefault(built_as(row, virtual), []).append(row)
    return [_result(name, its) for name, its in sorted(rows.items())]


def _result(name: str, its: list[Row]) -> BuilderResult:
    latest = _latest([row for row in its if row.endtime is not None])
    states = {row.state for row in its if row.endtime is None}
    return BuilderResult(
        name,
        latest,
        "" if latest is None else latest.state,
        "running" if "running" in states else "pending" if states else "",
        any(isinstance(row, BuildRow) and row.status in _RESULTS for row in its),
    )


def _latest(ended: list[Row]) -> Row | None:
    for statuses in RANKS:
        counted = [row for row in ended if row.status in statuses]
        if counted:
            return max(counted, key=_order)
    return None


def _order(row: Row) -> tuple[int, int]:
    """Return what sorts rows by when they began: ids rise, whatever clocks say."""
    return row.request.request_id, row.build_id if isinstance(row, BuildRow) else 0
