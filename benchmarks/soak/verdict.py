"""What must be true of a master that was used for a long time, once it has come to rest."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

from benchmarks import ours
from benchmarks.master import Master
from benchmarks.soak.builders import SECONDS
from benchmarks.soak.clients import BRANCHES
from benchmarks.soak.clients import REVISIONS

#: Seconds in which a master comes to rest, and in which a builder builds.
PATIENCE = 120.0
#: So much more of each than at the first rest is no leak: pools of threads grow when they must,
#: caches fill up, and Python keeps some of the memory that it had.
SLACK = {
    "threads": 12,
    "files": 16,
    "connections": 4,
    "deferreds": 60,
    "timers": 12,
    "children": 0,
}
#: Memory may grow by this share and so many megabytes: while builds are made, the history that the
#: readers know, and the answers that are made of it; while there is nothing new, next to nothing.
GROWTH, STANDSTILL = (0.1, 10.0), (0.03, 4.0)

Census = dict[str, Any]


class Restless(Exception):
    """The master did not come to rest."""


def rest(master: Master) -> Census:
    """Cancel everything that waits or runs, wait until nothing does, and count what there is.

    :raises Restless: something goes on
    """
    deadline = time.monotonic() + PATIENCE
    while left := _left(master):
        if time.monotonic() > deadline:
            raise Restless(f"still not complete: {left}")
        for branch in BRANCHES:
            for revision in REVISIONS:
                master.process.send("DELETE", ours.branch(branch, "rev", revision))
        time.sleep(1)
    time.sleep(3)  # connections are closed, timers run out
    return {**master.probe("census"), "megabytes": master.megabytes()}


def _left(master: Master) -> dict[str, list[int]]:
    """Return the ids of what waits and runs, as far as there is any."""
    found = {}
    for name, key in (("buildrequests", "buildrequestid"), ("builds", "buildid")):
        items = _rest_api(master, f"{name}?complete=false")[name]
        found[name] = [one[key] for one in items]
    return found if any(found.values()) else {}


def _rest_api(master: Master, path: str) -> Any:
    """Return what Buildbot's own REST API says, which loses an answer now and then."""
    for _ in range(3):
        status, answer = master.process.send("GET", f"/api/v2/{path}")
        if status == 200:
            return answer
    raise Restless(f"{path} is not answered: {answer}")


def faults(master: Master, first: Census, last: Census, read: Census) -> list[str]:
    """Return what is wrong with the master.

    :param first: what there was at a rest after some while
    :param last: likewise when all was done
    :param read: likewise after it was only read
    """
    return [
        *leaks(first, last),
        *growth(first, last, GROWTH),
        *leaks(last, read),
        *growth(last, read, STANDSTILL),
        *_open_rows(master),
        *_wedged(master),
        *tracebacks(master.process.log),
    ]


def leaks(before: Census, after: Census) -> Iterator[str]:
    """Yield what there is more of at a later rest than at an earlier one."""
    for name, slack in SLACK.items():
        if after[name] > before[name] + slack:
            yield f"{name}: {before[name]} before, {after[name]} after"


def growth(before: Census, after: Census, most: tuple[float, float]) -> Iterator[str]:
    """Yield whose memory has grown by more than a share of it and so many megabytes."""
    share, slack = most
    for whose, megabytes in before["megabytes"].items():
        now = after["megabytes"][whose]
        if now > megabytes * (1 + share) + slack:
            yield f"memory of {whose}: {megabytes} MB before, {now} MB after"


def _open_rows(master: Master) -> Iterator[str]:
    """Yield the rows of the journal that are open or whose end nobody knows."""
    offset = 0
    while True:
        jobs = master.process.get(f"/jobs?num=500&offset={offset}")
        for job in jobs:
            if job["status"] in ("running", "unknown") or job["completed_at"] is None:
                yield f"job {job['job_id']} ({job['action']}) is {job['status']}"
        if len(jobs) < 500:
            return
        offset += 500


def _wedged(master: Master) -> Iterator[str]:
    """Yield the builders that do not build any more."""
    asked = {}
    for name in SECONDS:
        path = ours.branch(BRANCHES[0], "builders", name, REVISIONS[0])
        status, receipt = master.process.send("POST", path)
        if status == 202:
            asked[name] = receipt["requests"][0]["request_id"]
        else:
            yield f"{name} cannot be asked: {status}"
    deadline = time.monotonic() + PATIENCE
    while asked and time.monotonic() < deadline:
        time.sleep(0.5)
        asked = {name: one for name, one in asked.items() if not _complete(master, one)}
    yield from (f"{name} is wedged: request {one} is not built" for name, one in asked.items())


def _complete(master: Master, request_id: int) -> bool:
    status, row = master.process.send("GET", ours.branch(BRANCHES[0], "request", str(request_id)))
    return status == 200 and bool(row["complete"])


def tracebacks(log: str) -> Iterator[str]:
    """Yield the tracebacks in the log that go through code of ours.

    Buildbot has some of its own: a stop that arrives while a step ends, for one.
    """
    for event in re.split(r"^(?=\d{4}-\d\d-\d\d )", log, flags=re.MULTILINE):
        if "Traceback (most recent call last)" in event and "/buildbot_selfserve/" in event:
            yield f"in the log: {event.strip()[-2000:]}"
