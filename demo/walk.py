"""The walk: each step does something over HTTP and checks it against Buildbot's own REST API."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from demo.client import Client
from demo.client import same
from demo.client import title
from demo.client import wait
from demo.repository import Repository

CANCELLED = 6


def walk(client: Client, repository: Repository) -> None:
    """Walk through what self-serve does.

    :raises Differs: something is not as Buildbot has it
    """
    revision = _push(client, repository)
    _running(client, revision)
    _stop_running(client, revision)
    _done(client, repository)
    _steps(client, revision)
    _may(client)
    _rebuild(client, revision)
    _cancel_pending(client, revision)
    _build_anew(client, revision)
    _one_builder(client, revision)
    _cancel_everything(client, revision)
    _journal(client)


def _rows(client: Client, revision: str, show: bool = False) -> dict[str, Any]:
    """Return the rows at a revision of main by builder, the oldest build of each."""
    rows = client.get(f"/main/rev/{revision}", show=show)
    return {row["buildername"]: row for row in reversed(rows)}


def _push(client: Client, repository: Repository) -> str:
    title("Somebody pushes to main; Buildbot sees it and starts two builds")
    revision = repository.push("main", "A change on main")
    print(f"    {revision}")
    wait("the push is seen", lambda: _seen(client, "main", revision))
    wait("both builds run", lambda: _both_started(client, revision))
    rows = _rows(client, revision, show=True)
    for name, row in sorted(rows.items()):
        theirs = client.buildbot(f"builds/{row['build_id']}")[0]
        same(f"number of the build of {name}", row["buildnumber"], theirs["number"])
        same("its request", row["requests"][0]["request_id"], theirs["buildrequestid"])
    return revision


def _seen(client: Client, branch: str, revision: str) -> bool:
    day = client.get(f"/{quote(branch, safe='')}", show=False)
    return any(row["revision"] == revision for row in day)


def _both_started(client: Client, revision: str) -> bool:
    rows = _rows(client, revision)
    started = [row for row in rows.values() if "build_id" in row]
    tests = rows.get("tests", {})
    return len(started) == 2 and tests.get("endtime") is not None


def _running(client: Client, revision: str) -> None:
    title("Is the revision done? Not while long-tests runs")
    done = client.get(f"/main/rev/{revision}/is_done?stableDelay=0")
    waiting = client.buildbot("buildrequests?complete=false")
    same("done", done["job_complete"], False)
    same("running and pending", done["running"] + done["pending"], len(waiting))


def _stop_running(client: Client, revision: str) -> None:
    title("Cancel the request of long-tests: its build is stopped")
    request_id = _rows(client, revision)["long-tests"]["requests"][0]["request_id"]
    receipt = client.job("DELETE", f"/main/request/{request_id}")
    theirs = client.buildbot_request(request_id)
    same("outcome", receipt["requests"][0]["outcome"], "stopped")
    same("result in Buildbot", theirs["results"], CANCELLED)
    done = client.get(f"/main/rev/{revision}/is_done?stableDelay=0")
    same("done now", done["job_complete"], True)
    same("passed, with a cancelled build", done["job_passed"], False)


def _done(client: Client, repository: Repository) -> None:
    title("A push to feature/x, whose name has a slash, is built and passes")
    revision = repository.push("feature/x", "A change on feature/x")
    wait("the push is seen", lambda: _seen(client, "feature/x", revision))
    path = f"/feature%2Fx/rev/{revision[:8]}/is_done?stableDelay=0"
    wait("it is done", lambda: client.get(path, show=False)["job_complete"])
    done = client.get(path)
    rows = client.get(f"/feature%2Fx/rev/{revision}", show=False)
    results = [client.buildbot(f"builds/{row['build_id']}")[0]["results"] for row in rows]
    same("passed", done["job_passed"], results == [0])


def _steps(client: Client, revision: str) -> None:
    title("Look into the build of tests: its steps")
    build_id = _rows(client, revision)["tests"]["build_id"]
    steps = client.get(f"/main/build/{build_id}", show=False)["steps"]
    theirs = client.buildbot(f"builds/{build_id}/steps")
    members = ("number", "name", "state_string", "results")
    same(
        "its steps",
        [[one[name] for name in members] for one in steps],
        [[one[name] for name in members] for one in theirs if not one["hidden"]],
    )


def _may(client: Client) -> None:
    title("What may one do? It is as Buildbot's own authz rules have it")
    for known, expected in ((False, {False}), (True, {True})):
        told = client.get("/main/permissions", known=known)
        who = told["who"] or "nobody in particular"
        same(f"what {who} may do", {one["allowed"] for one in told["actions"].values()}, expected)


def _rebuild(client: Client, revision: str) -> None:
    title("Build tests again, three times: three requests, three builds")
    build_id = _rows(client, revision)["tests"]["build_id"]
    receipt = client.job("POST", "/main/build", build_id=build_id, count=3)
    outcomes = [outcome["outcome"] for outcome in receipt["requests"]]
    same("outcomes", outcomes, ["created"] * 3)
    requests = [outcome["request_id"] for outcome in receipt["requests"]]
    wait(
        "all three are built",
        lambda: all(client.buildbot_request(one)["complete"] for one in requests),
    )
    builds = [len(client.buildbot_builds(one)) for one in requests]
    same("builds in Buildbot", builds, [1, 1, 1])


def _cancel_pending(client: Client, revision: str) -> None:
    title("Build long-tests again, twice: one runs, one waits; cancel both")
    build_id = _rows(client, revision)["long-tests"]["build_id"]
    receipt = client.job("POST", "/main/build", build_id=build_id, count=2)
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
    title("Build the revision anew: as on the push, and then the nightly set in one buildset")
    for path in (f"/main/rev/{revision}", f"/main/rev/{revision}/nightly"):
        receipt = client.job("POST", path)
        builders = sorted(outcome["buildername"] for outcome in receipt["requests"])
        same("builders", builders, ["long-tests", "tests"])
        (buildset_id,) = receipt["buildset_ids"]
        (buildset,) = client.buildbot(f"buildsets/{buildset_id}")
        same("reason in Buildbot", buildset["reason"], "Self-serve: Requested by demo")
        same("revision in Buildbot", buildset["sourcestamps"][0]["revision"], revision)


def _one_builder(client: Client, revision: str) -> None:
    title("Build it with one builder, with a property")
    receipt = client.job("POST", f"/main/builders/tests/{revision}", properties='{"level": 3}')
    (outcome,) = receipt["requests"]
    wait("it is built", lambda: client.buildbot_request(outcome["request_id"])["complete"])
    (build,) = client.buildbot(f"builds?buildrequestid={outcome['request_id']}&property=level")
    same("the property in Buildbot", build["properties"]["level"][0], 3)


def _cancel_everything(client: Client, revision: str) -> None:
    title("Cancel everything at the revision: what waits first, then what runs")
    waiting = wait("only long-tests is left", lambda: _only_long_tests(client))
    receipt = client.job("DELETE", f"/main/rev/{revision}")
    ended = {outcome["request_id"] for outcome in receipt["requests"]}
    same("requests", sorted(ended), sorted(one["buildrequestid"] for one in waiting))
    results = {client.buildbot_request(one)["results"] for one in ended}
    same("results in Buildbot", results, {CANCELLED})
    done = client.get(f"/main/rev/{revision}/is_done?stableDelay=0")
    same("done", done["job_complete"], True)


def _only_long_tests(client: Client) -> list[Any]:
    """Return the requests that are not complete when one builder has them all, else none."""
    waiting = client.buildbot("buildrequests?complete=false")
    return waiting if len({one["builderid"] for one in waiting}) == 1 else []


def _journal(client: Client) -> None:
    title("The journal has it all")
    jobs = client.get("/jobs")
    for job in jobs:
        msg = job["complete_data"]["body"]["msg"]
        print(f"    {job['job_id']}  {job['who']}  {job['action']:24} {job['status']}  {msg}")
    same("jobs in the journal", [job["job_id"] for job in jobs], list(range(9, 0, -1)))
    same("jobs that did not end well", [job for job in jobs if job["status"] != "ok"], [])
