"""Clients written for the original API do all ten job requests, unchanged.

What came of it is looked up in Buildbot's own REST API.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import PATIENCE
from tests.harness import PASSWORD
from tests.harness import USER
from tests.process_master import REVISION
from tests.process_master import ProcessMaster

CLIENTS = Path(__file__).parent / "clients"
CANCELLED = 6

#: A builder for the sets, one whose name needs care in a URL, and one that nothing is built by.
MORE = """
from buildbot.plugins import worker
c["workers"].append(worker.LocalWorker("idle"))
c["builders"] += [
    util.BuilderConfig(name="set/one #1", workernames=["worker"], tags=["nightly", "pgo"],
                       factory=util.BuildFactory()),
    util.BuilderConfig(name="idle", workernames=["idle"], factory=util.BuildFactory(),
                       canStartBuild=lambda *arguments: False),
]
c["schedulers"].append(schedulers.ForceScheduler(
    name="idle", builderNames=["idle"],
    codebases=[util.CodebaseParameter("", branch=util.FixedParameter("branch", default="main"),
               revision=util.FixedParameter("revision", default="%s"))]))
c["schedulers"].append(schedulers.Triggerable(name="sets", builderNames=["set/one #1"]))
"""
#: What waits to be cancelled with all its revision.
WAITING_AT = "d" * 40


class Client:
    """One of the old clients, at work on a master."""

    def __init__(self, command: list[str], master: ProcessMaster) -> None:
        self.command = command
        self.master = master

    def do(self, act: str, *arguments: object) -> Any:
        """Let it do something; return what it has understood."""
        root = f"http://127.0.0.1:{self.master.port}/self-serve"
        line = [*self.command, root, USER, PASSWORD, act, *map(str, arguments)]
        done = subprocess.run(line, capture_output=True, text=True, timeout=PATIENCE)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert told["status"] == 202, told
        assert told["job"]["action"] == act
        assert told["job"]["who"] == USER
        assert told["job"]["complete_data"]["body"]["errors"] is False, told
        if "receipt" in told:
            assert told["receipt"]["status"] == "OK"
            assert told["receipt"]["request_id"] == told["job"]["complete_data"]["request_id"]
        return told

    def outcomes(self, act: str, *arguments: object) -> dict[int, str]:
        """Let it do something; return the outcome of each request in its journal."""
        requests = self.do(act, *arguments)["job"]["complete_data"]["body"]["requests"]
        return {one["request_id"]: one["outcome"] for one in requests}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessMaster]:
    master = ProcessMaster(tmp_path_factory.mktemp("master"), more=MORE % WAITING_AT)
    master.start()
    yield master
    master.stop()


@pytest.fixture(params=["python", "node"])
def client(request: Any, place: ProcessMaster) -> Client:
    if request.param == "python":
        return Client([sys.executable, str(CLIENTS / "old_client.py")], place)
    if shutil.which("node") is None:
        assert not os.environ.get("CI"), "node is not installed"
        pytest.skip("node is not installed: its client was not tried")
    return Client(["node", str(CLIENTS / "old_client.js")], place)


def request_of(master: ProcessMaster, request_id: int) -> Any:
    (found,) = master.data(f"buildrequests/{request_id}")["buildrequests"]
    return found


def buildset_of(master: ProcessMaster, request_id: int) -> Any:
    buildset_id = request_of(master, request_id)["buildsetid"]
    (found,) = master.data(f"buildsets/{buildset_id}")["buildsets"]
    return found


def builds_of(master: ProcessMaster, request_id: int) -> list[Any]:
    found = master.data(f"builds?buildrequestid={request_id}&property=*")["builds"]
    return list(found)


def forced(master: ProcessMaster, scheduler: str, builder: str) -> int:
    """Ask Buildbot itself for a build; return the id of its request."""
    params = {"builderNames": [builder], "owner": "somebody"}
    _, requests = master.control(f"forceschedulers/{scheduler}", "force", **params)
    (request_id,) = requests.values()
    return int(request_id)


def finished(master: ProcessMaster, request_id: int) -> Any:
    """Wait until a request has a build that has ended; return that."""

    def ended() -> Any:
        return [one for one in builds_of(master, request_id) if one["complete"]]

    return master.until(ended, f"request {request_id} is built")[0]


def running(master: ProcessMaster, request_id: int) -> Any:
    def runs() -> Any:
        return [one for one in builds_of(master, request_id) if one["state_string"] != "created"]

    return master.until(runs, f"request {request_id} runs")[0]


def check_built(client: Client, outcomes: dict[int, str], reason: str, priority: int = 0) -> None:
    """Each was made as it had to be, and is built."""
    assert set(outcomes.values()) == {"created"}
    for request_id in outcomes:
        build = finished(client.master, request_id)
        assert build["results"] == 0
        assert build["properties"]["owner"][0] == USER
        assert request_of(client.master, request_id)["priority"] == priority
        assert buildset_of(client.master, request_id)["reason"] == f"Self-serve: {reason} by {USER}"


def _changeid(change: Any) -> int:
    return int(change["changeid"])


@pytest.mark.parametrize("act", ["rebuild_build", "rebuild_request"])
def test_they_build_again(client: Client, act: str) -> None:
    request_id = forced(client.master, "force", "fast")
    build = finished(client.master, request_id)
    number = build["buildid"] if act == "rebuild_build" else request_id
    outcomes = client.outcomes(act, "main", number, 2, 5)
    assert len(outcomes) == 2
    check_built(client, outcomes, "Rebuilt", 5)


def test_they_cancel_a_build(client: Client) -> None:
    request_id = forced(client.master, "force", "slow")
    build = running(client.master, request_id)
    assert client.outcomes("cancel_build", "main", build["buildid"]) == {request_id: "stopped"}
    assert builds_of(client.master, request_id)[0]["results"] == CANCELLED
    assert request_of(client.master, request_id)["results"] == CANCELLED


def test_they_let_wait_and_cancel_what_waits(client: Client) -> None:
    request_id = forced(client.master, "idle", "idle")
    told = client.do("reprioritize", "main", request_id, 7)
    assert told["job"]["what"]["priority"] == 7
    assert told.get("states", {str(request_id): "pending"})[str(request_id)] == "pending"
    assert request_of(client.master, request_id)["priority"] == 7
    told = client.do("cancel_request", "main", request_id)
    assert told.get("states", {str(request_id): "finished 6"})[str(request_id)] == "finished 6"
    cancelled = request_of(client.master, request_id)
    assert (cancelled["complete"], cancelled["results"]) == (True, CANCELLED)
    assert not builds_of(client.master, request_id)


def test_they_build_a_revision(client: Client) -> None:
    outcomes = client.outcomes("new_build_at_revision", "main", REVISION)
    check_built(client, outcomes, "Requested")
    for request_id in outcomes:
        (stamp,) = buildset_of(client.master, request_id)["sourcestamps"]
        assert (stamp["branch"], stamp["revision"]) == ("main", REVISION)


@pytest.mark.parametrize("act", ["new_nightly_at_revision", "new_pgobuild_at_revision"])
def test_they_build_a_set(client: Client, act: str) -> None:
    outcomes = client.outcomes(act, "main", REVISION)
    assert len(outcomes) == 1
    check_built(client, outcomes, "Requested")


def test_they_build_with_any_builder(client: Client) -> None:
    outcomes = client.outcomes("new_build_for_builder", "main", "set/one #1", REVISION)
    check_built(client, outcomes, "Requested")
    (request_id,) = outcomes
    (build,) = builds_of(client.master, request_id)
    properties = {name: value for name, (value, _) in build["properties"].items()}
    assert properties["buildername"] == "set/one #1"
    assert properties["level"] == 3
    assert len(properties["buildid"]) == 14
    assert len(properties["builduid"]) == 32
    (stamp,) = buildset_of(client.master, request_id)["sourcestamps"]
    changes = client.master.data(f"sourcestamps/{stamp['ssid']}/changes")["changes"]
    assert "http://example.org/installer.zip" in max(changes, key=_changeid)["files"]


def test_they_cancel_everything_at_a_revision(client: Client) -> None:
    waiting = forced(client.master, "idle", "idle")
    assert client.outcomes("cancel_revision", "main", WAITING_AT) == {waiting: "cancelled"}
    assert request_of(client.master, waiting)["results"] == CANCELLED
