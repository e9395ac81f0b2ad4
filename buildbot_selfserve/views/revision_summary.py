"""Summarizes a revision: what fails, has no result, runs and waits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from buildbot_selfserve.history.verdict import by_builder
from buildbot_selfserve.model import FAILING
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Row


@dataclass(frozen=True)
class Recovery:
    """A build that failed, and the *latest* of its builder, which passed."""

    row: BuildRow
    latest: BuildRow


@dataclass(frozen=True)
class RevisionSummary:
    """The rows that matter, each kind the newest first.

    :param failing: the latest build of each builder that fails
    :param recovered: builds that failed, of builders that pass since
    :param without_result: of each builder that has nothing else: what was cancelled or skipped
    """

    failing: tuple[BuildRow, ...]
    recovered: tuple[Recovery, ...]
    without_result: tuple[Row, ...]
    running: tuple[Row, ...]
    pending: tuple[RequestRow, ...]


def revision_summary(rows: Iterable[Row]) -> RevisionSummary:
    """Return what matters in *rows*, which are the newest first.

    What was built with a patch on top says nothing of the revision.
    """
    rows = [row for row in rows if not row.patched]
    results = by_builder(rows)
    failing: list[BuildRow] = []
    recovered: list[Recovery] = []
    without_result: dict[str, Row] = {}
    running: list[Row] = []
    pending: list[RequestRow] = []
    for row in rows:
        if row.endtime is None:
            if isinstance(row, RequestRow) and row.state == "pending":
                pending.append(row)
            else:
                running.append(row)
            continue
        its = results[row.buildername]
        if its.latest is None:
            without_result.setdefault(row.buildername, row)
        elif isinstance(row, BuildRow) and row.status in FAILING:
            if its.passes:
                recovered.append(Recovery(row, its.latest))
            elif row is its.latest:
                failing.append(row)
    for row in (*running, *pending):
        without_result.pop(row.buildername, None)  # it may have one soon
    return RevisionSummary(
        tuple(failing),
        tuple(recovered),
        tuple(without_result.values()),
        tuple(running),
        tuple(pending),
    )
