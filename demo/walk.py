"""The walk: each step does something over HTTP and checks it against Buildbot's own REST API."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from demo.client import DEVELOPER
from demo.client import GUEST
from demo.client import Client
from demo.client import same
from demo.client import say
from demo.client import title
from demo.client import wait
from demo.repository import GOOD
from demo.repository import PUSH
from demo.repository import Commit
from demo.repository import Repository

SUCCESS, CANCELLED = 0, 6
ON_MAIN = Commit("Ada", "A change on main", {"NEWS": "A change on main\n"})
ON_FEATURE_X = Commit("Ada", "A change on feature/x", {"NEWS": "A change on feature/x\n"})


def walk(client: Client, repository: Repository) -> None:
    """Walk through what self-serve does.

    :raises Differs: something is not as Buildbot has it
    """
    revision, good = _push(client, repository)
    _stop_running(client, revision)
    _may(client)
    bad = _rerun(client, repository, good)
    _regressed(client, good, bad)
    _cancel_pending(client, revision)
    _build_anew(client, revision)
    _one_builder(client, revision)
    _cancel_everything(client, revision)
    _journal(client)


def _push(client: Client, repository: Repository) -> tuple[str, str]:
    title("Somebody pushes to main and to release; Buildbot sees it and starts builds")
    revision = repository.commit("main", ON_MAIN)
    good = repository.commit("release", GOOD)
    repository.push("main", "release")
    _wait_for(client, "main", revision, {"tests": "ended", "long-tests": "running"})
    for name, row in sorted(_rows(client, revision, show=True).items()):
        theirs = client.buildbot(f"builds/{row['build_id']}")[0]
        same(f"number of the build of {name}", row["buildnumber"], theirs["number"])
        same("its request", row["requests"][0]["request_id"], theirs["buildrequestid"])
    return revision, good


def _wait_for(client: Client, branch: str, revision: str, states: dict[str, str]) -> None:
    """Wait until each builder has come so far at a revision that Buildbot may not know yet."""

    def so_far() -> bool:
        day = client.get(f"/{quote(branch, safe='')}", show=False)
        return states == {
            row["buildername"]: _state(row) for row in day if row["revision"] == revision
        }

    wait(f"{branch} is built", so_far)


def _state(row: dict[str, Any]) -> str:
    return "ended" if row.get("endtime") else "running" if "build_id" in row else "pending"


def _rows(client: Client, revision: str, show: bool = False) -> dict[str, Any]:
    """Return the rows at a revision of main by builder, the oldest build of each."""
    rows = client.get(f"/main/rev/{revision}", show=show)
    return {row["buildername"]: row for row in reversed(rows)}


def _stop_running(client: Client, revision: str) -> None:
    title("Is main done? Not while long-tests runs; cancel its request, and its build is stopped")
    done = client.get(f"/main/rev/{revision}/is_done?stableDelay=0")
    same("done", done["job_complete"], False)
    # release may be building, too
    unfinished = _unfinished(client, "long-tests")
    same("running and pending", done["running"] + done["pending"], len(unfinished))
    request_id = _rows(client, revision)["long-tests"]["requests"][0]["request_id"]
    receipt = client.job("DELETE", f"/main/request/{request_id}")
    same("outcome", receipt["requests"][0]["outcome"], "stopped")
    same("result in Buildbot", client.buildbot_request(request_id)["results"], CANCELLED)
    done = client.get(f"/main/rev/{revision}/is_done?stableDelay=0")
    same("done now", done["job_complete"], True)
    same("passed, with a cancelled build", done["job_passed"], False)


def _rerun(client: Client, repository: Repository, good: str) -> str:
    title("Is the push to release good? It failed: see what a rerun would do, then do just that")
    _wait_for(client, "release", good, {"tests": "ended", "network-tests": "ended"})
    _judge(client, good, "failed", {"network-tests": "new", "tests": "new"})
    plan = client.job("POST", f"/release/rev/{good}/failed", dry_run=1)
    receipt = client.job("POST", f"/release/rev/{good}/failed", if_plan=plan["plan"])
    (request,) = receipt["requests"]
    # meanwhile people push: five commits at once
    bad = repository.commit("release", *PUSH)
    feature = repository.commit("feature/x", ON_FEATURE_X)
    repository.push("release", "feature/x")
    same("builder", request["buildername"], plan["requests"][0]["buildername"])
    wait("it is built", lambda: client.buildbot_request(request["request_id"])["complete"])
    _judge(client, good, "passed", {"network-tests": "flaky", "tests": "new"})
    _wait_for(client, "release", bad, {"tests": "ended", "network-tests": "ended"})
    _wait_for(client, "feature/x", feature, {"tests": "ended"})
    done = client.get(f"/feature%2Fx/rev/{feature[:8]}/is_done?stableDelay=0")
    (row,) = client.get(f"/feature%2Fx/rev/{feature}", show=False)
    results = client.buildbot(f"builds/{row['build_id']}")[0]["results"]
    same("feature/x passed", done["job_passed"], results == SUCCESS)
    return bad


def _regressed(client: Client, good: str, bad: str) -> None:
    title("Five commits came as one push, and only the newest was built: what has it broken?")
    health = _judge(client, bad, "failed", {"network-tests": "regressed", "tests": "regressed"})
    same("compared with", {one["base_revision"] for one in health["builders"]}, {good})
    same("the newest that passed", client.get("/release/last_green")["revision"], good)
    build_id = next(one["build_id"] for one in health["builders"] if one["buildername"] == "tests")
    build = client.get(f"/release/build/{build_id}")
    failed = build["failed_step"]
    say("\n".join(line["text"] for line in failed["log"]["tail"]))
    theirs = [one for one in client.buildbot(f"builds/{build_id}/steps") if not one["hidden"]]
    members = ("number", "name", "state_string", "results")
    same(
        "its steps",
        [[one[name] for name in members] for one in build["steps"]],
        [[one[name] for name in members] for one in theirs],
    )
    same("the step that failed", failed["name"], theirs[-1]["name"])


def _judge(client: Client, revision: str, verdict: str, changes: dict[str, str]) -> Any:
    """Return the health of a revision of release, after a look at whether it is as expected."""
    health = client.get(f"/release/rev/{revision}/health")
    same("verdict", health["verdict"], verdict)
    for one in health["builders"]:
        same(one["buildername"], one["change"], changes[one["buildername"]])
        theirs = client.buildbot(f"builds/{one['build_id']}")[0]
        same("passed in Buildbot", one["state"] == "passed", theirs["results"] == SUCCESS)
    return health


def _may(client: Client) -> None:
    title("What may one do? It is as Buildbot's own authz rules have it")
    for user, expected in (("", {False}), (GUEST, {False}), (DEVELOPER, {True})):
        told = client.get("/main/permissions", user=user)
        who = told["who"] or "nobody in particular"
        same(f"what {who} may do", {one["allowed"] for one in told["actions"].values()}, expected)


def _cancel_pending(client: Client, revision: str) -> None:
    title("Build long-tests again, twice: one runs, one waits; cancel both")
    build_id = _rows(client, revision)["long-tests"]["build_id"]
    receipt = client.job("POST", "/main/build", build_id=build_id, count=2)
    same("outcomes", [outcome["outcome"] for outcome in receipt["requests"]], ["created"] * 2)
    requests = [outcome["request_id"] for outcome in receipt["requests"]]
    running, pending = wait("one of them runs", lambda: _one_runs(client, requests))
    why = client.get(f"/main/request/{pending}/why")
    waits_for = [one["build_id"] for one in why["reasons"][0].get("builds", ())]
    same("what it waits for", waits_for, [client.buildbot_builds(running)[0]["buildid"]])
    waiting = [one["request_id"] for one in client.get("/main/pending", show=False)["requests"]]
    same("what waits", waiting, [pending])
    for request_id, expected in ((pending, "cancelled"), (running, "stopped")):
        receipt = client.job("DELETE", f"/main/request/{request_id}")
        same("outcome", receipt["requests"][0]["outcome"], expected)
        theirs = client.buildbot_request(request_id)
        same("complete and cancelled in Buildbot", theirs["results"], CANCELLED)
    same("builds of the one that waited", client.buildbot_builds(pending), [])


def _one_runs(client: Client, requests: list[int]) -> tuple[int, int] | None:
    """Return the request whose build is under way, and the one that waits."""
    states = {one: client.buildbot_builds(one) for one in requests}
    running = [
        one for one, builds in states.items() if builds and builds[0]["state_string"] != "created"
    ]
    pending = [one for one in requests if one not in running]
    return (running[0], pending[0]) if len(running) == 1 else None


def _build_anew(client: Client, revision: str) -> None:
    title("Build the revision anew, as on the push, and then the nightly set in one buildset")
    for path, expected in (("", "tests"), ("/nightly", "windows-tests")):
        receipt = client.job("POST", f"/main/rev/{revision}{path}")
        requests = {one["buildername"]: one["request_id"] for one in receipt["requests"]}
        same("builders", sorted(requests), ["long-tests", expected])
        (buildset_id,) = receipt["buildset_ids"]
        (buildset,) = client.buildbot(f"buildsets/{buildset_id}")
        same("reason in Buildbot", buildset["reason"], "Self-serve: Requested by demo")
        same("revision in Buildbot", buildset["sourcestamps"][0]["revision"], revision)
    (reason, *_) = client.get(f"/main/request/{requests['windows-tests']}/why")["reasons"]
    same("why windows-tests waits", reason["code"], "no_worker_connected")
    away = [one["name"] for one in client.buildbot("workers") if not one["connected_to"]]
    same("workers that are not connected", reason["workers"], away)


def _one_builder(client: Client, revision: str) -> None:
    title("Build it with one builder, with a property")
    path = f"/main/builders/long-tests/{revision}"
    (buildset_id,) = client.job("POST", path, properties='{"level": 3}')["buildset_ids"]
    (properties,) = client.buildbot(f"buildsets/{buildset_id}/properties")
    same("the property in Buildbot", properties["level"][0], 3)


def _cancel_everything(client: Client, revision: str) -> None:
    title("Cancel everything at the revision: what waits first, then what runs")
    wait("tests is over", lambda: not _unfinished(client, "tests"))
    unfinished = client.buildbot("buildrequests?complete=false")
    receipt = client.job("DELETE", f"/main/rev/{revision}")
    ended = {outcome["request_id"] for outcome in receipt["requests"]}
    same("requests", sorted(ended), sorted(one["buildrequestid"] for one in unfinished))
    results = {client.buildbot_request(one)["results"] for one in ended}
    same("results in Buildbot", results, {CANCELLED})
    done = client.get(f"/main/rev/{revision}/is_done?stableDelay=0")
    same("done", done["job_complete"], True)


def _unfinished(client: Client, builder: str) -> list[Any]:
    """Return what is pending or running of a builder as Buildbot has it."""
    (theirs,) = client.buildbot(f"builders?name={builder}")
    return client.buildbot(f"buildrequests?complete=false&builderid={theirs['builderid']}")


def _journal(client: Client) -> None:
    title("Who did all this? The journal knows")
    jobs = client.get("/jobs")
    for job in jobs:
        msg = job["complete_data"]["body"]["msg"]
        say(f"{job['job_id']:>2}  {job['who']}  {job['action']:24} {job['status']}  {msg}")
    same("jobs in the journal", [job["job_id"] for job in jobs], list(range(9, 0, -1)))
    same("jobs that did not end well", [job for job in jobs if job["status"] != "ok"], [])
