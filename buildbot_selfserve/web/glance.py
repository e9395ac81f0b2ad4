"""What somebody wants to know first of a revision: what did not pass, what waits, what runs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import PASSED
from buildbot_selfserve.model import SUCCESS
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Row


@dataclass(frozen=True)
class Fall:
    """A row that did not pass.

    :param since: a later build of the same builder that did, if there is one
    """

    row: Row
    since: BuildRow | None


@dataclass(frozen=True)
class Glance:
    """The rows that matter, each kind the newest first."""

    failed: tuple[Fall, ...]
    cancelled: tuple[Fall, ...]
    running: tuple[Row, ...]
    pending: tuple[RequestRow, ...]


def glance(rows: Iterable[Row]) -> Glance:
    """Return what matters in *rows*, which are the newest first.

    What was built with a patch on top says nothing of the revision.
    """
    passed: dict[int, BuildRow] = {}
    failed: list[Fall] = []
    cancelled: list[Fall] = []
    running: list[Row] = []
    pending: list[RequestRow] = []
    for row in rows:
        if row.patched:
            continue
        if row.endtime is not None:
            if row.status not in PASSED:
                kind = cancelled if row.status == CANCELLED else failed
                kind.append(Fall(row, passed.get(row.builder_id)))
            elif isinstance(row, BuildRow) and row.status == SUCCESS:
                passed.setdefault(row.builder_id, row)
        elif isinstance(row, RequestRow) and row.state == "pending":
            pending.append(row)
        else:
            running.append(row)
    return Glance(tuple(failed), tuple(cancelled), tuple(running), tuple(pending))
