"""Self-serve's own paths for the questions that are measured."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import quote

from benchmarks.history.cases import Case

ROOT = "/self-serve"


def branch(name: str, *segments: str) -> str:
    """Return the path of something of a branch."""
    return "/".join([ROOT, *(quote(one, safe="") for one in (name, *segments))])


#: What is asked, by the names that the tables have for it. The history ends long before today, so
#: that today's page of a branch holds just what waits and runs.
PATHS: dict[str, Callable[[Case], str]] = {
    "revision": lambda case: branch(case.branch, "rev", case.revision),
    "is_done": lambda case: branch(case.branch, "rev", case.revision, "is_done"),
    "day": lambda case: f"{branch(case.branch)}?date={case.date}",
    "user": lambda case: branch(case.branch, "user", case.user),
    "build": lambda case: branch(case.branch, "build", str(case.build_id)),
    "request": lambda case: branch(case.branch, "request", str(case.request_id)),
    "pending": lambda case: branch(case.branch),
    "builders": lambda case: branch(case.branch, "builders"),
}
