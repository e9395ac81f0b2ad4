"""Returns each builder's latest result at a revision, for planners that check before they build."""

from __future__ import annotations

from collections.abc import Iterable

from buildbot_selfserve.history.verdict import BuilderResults
from buildbot_selfserve.history.verdict import Virtual
from buildbot_selfserve.history.verdict import built_as
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import BuilderResult
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Row

#: The latest row of a builder without a result is the newest row of the first of these groups that
#: has one.
_RANKS = (frozenset({CANCELLED, SKIPPED}), frozenset({RETRY}))


def by_builder(found: Iterable[Row], virtual: Virtual) -> list[BuilderResult]:
    """Return the latest result of each builder in *found*, sorted by builder name.

    :param virtual: names of virtual builders by the ids of the buildsets that they build
    """
    rows: dict[str, list[Row]] = {}
    for row in found:
        rows.setdefault(built_as(row, virtual), []).append(row)
    return [_result(name, its) for name, its in sorted(rows.items())]


def _result(name: str, its: list[Row]) -> BuilderResult:
    results: BuilderResults[Row] = BuilderResults()
    ended = [row for row in its if row.endtime is not None]
    built = [row for row in ended if isinstance(row, BuildRow)]
    for row in built:
        results.add(row.build_id, row.status, row)
    latest = results.latest or _latest_other(ended)
    states = {row.state for row in its if row.endtime is None}
    return BuilderResult(
        name,
        latest,
        "" if latest is None else latest.state,
        "running" if "running" in states else "pending" if states else "",
        bool(results.result) or any(row.status == SKIPPED for row in built),
    )


def _latest_other(ended: list[Row]) -> Row | None:
    for statuses in _RANKS:
        counted = [row for row in ended if row.status in statuses]
        if counted:
            return max(counted, key=_order)
    return None


def _order(row: Row) -> tuple[int, int]:
    """Return the sort key for rows by start: ids rise even if clocks are wrong."""
    return row.request.request_id, row.build_id if isinstance(row, BuildRow) else 0
