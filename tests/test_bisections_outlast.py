"""Bisections and backfills outlast masters: those that go on with them, and those that build.

Masters are killed in the middle, or others replace them.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from buildbot_selfserve.model import RETRY
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
#: The same builder at the front, whose worker has another name.
SLOWLY_THERE = f"""
{SLOWLY}
c["builders"][-1].workernames = ["elsewhere"]
c["schedulers"].pop()
from buildbot_selfserve.jobs import ongoing
ongoing.INTERVAL = 1  # nobody tells the front of what the back has given up
"""


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
    edges = found["low"], found["high"]
    assert all(made.count(one) <= (2 if one in edges else 1) for one in made)


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
            partial(lambda before: bisection(slow_master, job_id)["builds"] > before, kills),
            "it goes on",
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


def test_the_other_master_is_killed_while_it_builds(
    router: str, postgresql: sa.URL, tmp_path: Path
) -> None:
    folders = (tmp_path / "front", tmp_path / "back")
    for folder in folders:
        folder.mkdir()
    url = databases.fresh_database(postgresql)
    more = {"back": SLOWLY, "front": SLOWLY_THERE}
    with two_masters.running(folders, router, url, **more) as (front, back):
        push(back)
        front.pause("elsewhere", True)
        job_id = begin(front)
        (running,) = back.until(lambda: running_builds(back), "the back builds the first one")
        back.kill()
        front.pause("elsewhere", False)
        # for all that anybody knows, the back still builds it
        assert bisection(front, job_id)["builds"] == 1
        back.start()
        back.pause("worker", True)
        was_found(front, job_id)
        (lost,) = front.data(f"builds/{running['buildid']}")["builds"]
        assert lost["results"] == RETRY
        asked = {one["request_id"] for one in requests_of(front, job_id)}
        builds = [one for one in front.data("builds")["builds"] if one["buildrequestid"] in asked]
        # both have built something, and nothing but what was lost was built twice
        assert len({one["masterid"] for one in builds}) == 2
        assert len(builds) == len(asked) + [one["results"] for one in builds].count(RETRY)
        assert builds[0]["buildid"] == lost["buildid"]
        assert not front.data("buildrequests?complete=false")["buildrequests"]


def requests_of(master: ProcessMaster, job_id: int) -> list[Any]:
    """Return what a job request has requested, as the journal says."""
    found: list[Any] = master.get(f"/jobs/{job_id}")["complete_data"]["body"]["requests"]
    return found


def running_builds(master: ProcessMaster) -> list[Any]:
    """Return the builds that a step runs of."""
    found = master.data("builds?complete=false")["builds"]
    return [one for one in found if one["state_string"] != "created"]


def test_a_backfill_that_is_cut_short_again_and_again_is_done_once(
    slow_master: ProcessMaster,
) -> None:
    push(slow_master)
    fields = {"builder_name": "judged", "order": "halving"}
    status, receipt = slow_master.send("POST", "/self-serve/main/backfill", **fields)
    assert status == 202, receipt
    job_id = receipt["job_id"]
    for kills in range(3):
        slow_master.until(
            partial(lambda before: len(requested(slow_master, job_id)) > 2 * before, kills),
            "it goes on",
        )
        slow_master.kill()
        slow_master.start()
    job = slow_master.until(
        lambda: (now := slow_master.get(f"/jobs/{job_id}")).get("status") != "running" and now,
        "it has ended",
    )
    number = len(REVISIONS) - 2
    body = job["complete_data"]["body"]
    assert (job["status"], body["msg"]) == ("ok", f"{number} builds requested")
    assert sorted(requested(slow_master, job_id)) == REVISIONS[1:-1]
    assert {one["state"] for one in body["requests"]} == {"success", "failure"}
    builds = slow_master.data("builds")["builds"]
    ended = [one["buildrequestid"] for one in builds if one["results"] != RETRY]
    assert len(ended) == len(set(ended))
    slow_master.until(
        lambda: not slow_master.data("buildrequests?complete=false")["buildrequests"],
        "nothing waits",
    )
