"""Bisections outlast their master: one that is killed, and one that another master replaces."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from tests import databases
from tests import two_masters
from tests.process_master import JUDGED
from tests.process_master import ProcessMaster

pytestmark = pytest.mark.heavy

#: The oldest first; those that begin with a letter are broken.
REVISIONS = [digit * 40 for digit in "123456789abc"]
CULPRIT = "a" * 40
#: So many builds find it: four steps, and both edges once more.
MOST_BUILDS = 4 + 2 + 2
#: Gives the tests time to disturb a build.
SLOWLY = JUDGED.replace("case", "sleep 0.5; case")


def push(master: ProcessMaster) -> None:
    """Let Buildbot know of the revisions, and build the first and the last one."""
    # of a branch without any build nobody knows
    master.force("fast")
    for revision in REVISIONS:
        status, told = master.send("POST", f"/self-serve/main/rev/{revision}", priority=0)
        assert status == 202, told
    for revision in (REVISIONS[0], REVISIONS[-1]):
        master.send("POST", f"/self-serve/main/builders/judged/{revision}", priority=5)
    master.until(
        lambda: not master.data("buildrequests?complete=false")["buildrequests"], "all are built"
    )


def begin(master: ProcessMaster) -> int:
    status, receipt = master.send("POST", "/self-serve/main/bisect", builder_name="judged")
    assert status == 202, receipt
    return int(receipt["job_id"])


def bisection(master: ProcessMaster, job_id: int) -> Any:
    return master.get(f"/main/bisect/{job_id}")


def requested(master: ProcessMaster, job_id: int) -> list[Any]:
    """Return the requests of a bisection that Buildbot has, by their mark."""
    found = []
    for buildset in master.data("buildsets")["buildsets"]:
        properties = master.data(f"buildsets/{buildset['bsid']}/properties")["properties"][0]
        if properties.get("selfserve_range", [None])[0] == job_id:
            found.append(buildset["sourcestamps"][0]["revision"])
    return found


def was_found(master: ProcessMaster, job_id: int) -> None:
    """Check that the culprit is found, and that nothing was requested twice for nothing."""
    found = master.until(
        lambda: (now := bisection(master, job_id)).get("status") != "running" and now,
        "it has ended",
    )
    assert (found["status"], found["culprit"]["revision"]) == ("found", CULPRIT)
    made = requested(master, job_id)
    assert len(made) == found["builds"] <= MOST_BUILDS
    assert all(made.count(one) <= 2 for one in made)


@pytest.fixture
def slow_master(tmp_path: Path) -> Iterator[ProcessMaster]:
    running = ProcessMaster(tmp_path, more=SLOWLY)
    running.start()
    yield running
    running.stop()


def test_a_master_that_is_killed_again_and_again_goes_on_with_it(
    slow_master: ProcessMaster,
) -> None:
    push(slow_master)
    job_id = begin(slow_master)
    for kills in range(3):
        slow_master.until(
            lambda kills=kills: bisection(slow_master, job_id)["builds"] > kills, "it goes on"
        )
        slow_master.kill()
        slow_master.start()
    was_found(slow_master, job_id)


def test_another_master_goes_on_with_it(router: str, postgresql: sa.URL, tmp_path: Path) -> None:
    folders = (tmp_path / "front", tmp_path / "back")
    for folder in folders:
        folder.mkdir()
    url = databases.fresh_database(postgresql)
    with two_masters.running(folders, router, url, back=SLOWLY) as (front, back):
        push(back)
        job_id = begin(front)
        assert begin(back) == job_id
        front.stop()
        was_found(back, job_id)
