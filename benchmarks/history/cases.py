"""Picks from a history what is asked: the four cases, and what a crowd of clients asks for."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any

from benchmarks.history.plan import BRANCHES
from benchmarks.history.plan import DAY
from benchmarks.history.plan import END
from benchmarks.history.plan import USERS
from benchmarks.history.plan import Buildset
from benchmarks.history.plan import History

#: Ages of the revisions in days; the names of the cases say them.
AGES = {"new": 2, "old": 40}
#: The quiet branch is one that gets about a hundredth of all pushes, where it has any.
_QUIET = 24
#: So many different revisions are asked for by a crowd.
_CROWD = 200
#: Days with about so many rows are asked for by a crowd.
ROWS_OF_DAYS = (2200, 4600)
#: As people copy it from a page.
SHORT = 12


@dataclass(frozen=True)
class Case:
    """What one client asks for.

    :param name: which branch, and how old a revision
    :param revision: as the client writes it, short
    :param date: the day of its push, as ``YYYY-MM-DD``
    :param begin: when that day begins, in epoch seconds
    """

    name: str
    branch: str
    revision: str
    date: str
    begin: int
    build_id: int
    request_id: int
    user: str


@dataclass(frozen=True)
class DayCase:
    """A day of a branch."""

    branch: str
    date: str
    rows: int


@dataclass(frozen=True)
class Cases:
    """All that is asked of a history.

    :param crowd: branches and revisions
    """

    cases: tuple[Case, ...]
    crowd: tuple[tuple[str, str], ...]
    days: tuple[DayCase, ...]

    def as_json(self) -> dict[str, Any]:
        """Return plain data, for a file."""
        return asdict(self)

    @classmethod
    def of_json(cls, data: dict[str, Any]) -> Cases:
        """Return what ``as_json`` has made data of."""
        return cls(
            tuple(Case(**one) for one in data["cases"]),
            tuple((branch, revision) for branch, revision in data["crowd"]),
            tuple(DayCase(**one) for one in data["days"]),
        )


def pick(history: History) -> Cases:
    """Pick what is asked of *history*, always the same."""
    found = {one.got.revision for one in history.buildsets if one.tip is None}
    # what a nightly found out by itself no client of stock REST can find
    pushed = [
        one
        for one in history.buildsets
        if one.scheduler.startswith("push-")
        and one.got.revision not in found
        and any(request.builds for request in one.requests)
    ]
    pushes = Counter(one.branch for one in pushed)
    quiet = next((place for place in range(_QUIET, 0, -1) if pushes[place] > 1), 0)
    cases = tuple(
        _case(f"{kind} branch, {age} revision", _near(pushed, branch, END - days * DAY))
        for kind, branch in (("busy", 0), ("quiet", quiet))
        for age, days in AGES.items()
    )
    step = max(1, len(pushed) // _CROWD)
    crowd = tuple(
        (BRANCHES[one.branch], one.got.revision[:SHORT]) for one in pushed[::step][:_CROWD]
    )
    return Cases(cases, crowd, _days(history))


def _near(pushed: Sequence[Buildset], branch: int, at: int) -> Buildset:
    return min(
        (one for one in pushed if one.branch == branch), key=lambda one: abs(one.submitted - at)
    )


def _case(name: str, push: Buildset) -> Case:
    build = next(build for request in push.requests for build in request.builds)
    return Case(
        name,
        BRANCHES[push.branch],
        push.got.revision[:SHORT],
        _date(build.started),
        build.started // DAY * DAY,
        build.build_id,
        build.request.request_id,
        USERS[push.got.author],
    )


def _date(at: int) -> str:
    return datetime.datetime.fromtimestamp(at, datetime.timezone.utc).date().isoformat()


def _days(history: History) -> tuple[DayCase, ...]:
    rows = Counter(
        (build.request.buildset.branch, build.started // DAY) for build in history.builds
    )
    chosen = [min(rows, key=lambda one: (abs(rows[one] - wanted), one)) for wanted in ROWS_OF_DAYS]
    return tuple(
        DayCase(BRANCHES[branch], _date(day * DAY), rows[branch, day]) for branch, day in chosen
    )
