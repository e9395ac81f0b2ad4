"""Job requests over HTTP: what they do in the master, what they answer, what the journal says."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted

from tests.harness import REVISION
from tests.harness import USER
from tests.harness import builder
from tests.harness import config
from tests.steps import Deaf
from tests.steps import deaf_build
from tests.steps import with_stubborn_master

EVERY_DATABASE = "heavy"
SUCCESS, SKIPPED, CANCELLED = 0, 3, 6


@pytest_twisted.ensureDeferred
async def test_a_rebuild_makes_as_many_builds_as_were_asked_for(master: Any) -> None:
    build = await master.finished_build(properties={"branch": ("main", "Change"), "x": (1, "y")})
    fields = {"build_id": build["buildid"], "count": 3, "priority": 5}
    answer = await master.post("/self-serve/main/build", user=USER, data=fields)
    assert answer.status == 202
    receipt = answer.json
    assert receipt["status"] == "OK"
    assert receipt["request_id"] == receipt["job_id"] == 1
    assert receipt["job_url"] == "/self-serve/jobs/1"
    assert [one["outcome"] for one in receipt["requests"]] == ["created"] * 3
    for one in receipt["requests"]:
        request = await master.completed(one["request_id"])
        assert request["results"] == SUCCESS
        assert request["priority"] == 5
        builds = await master.data("buildrequests", one["request_id"], "builds")
        assert len(builds) == 1
        buildset = await master.data("buildsets", request["buildsetid"])
        assert buildset["reason"] == "Self-serve: Rebuilt by ada"
        assert buildset["rebuilt_buildid"] == build["buildid"]
        assert [stamp["revision"] for stamp in buildset["sourcestamps"]] == [REVISION]
        properties = await master.data("buildsets", request["buildsetid"], "properties")
        assert properties["owner"][0] == USER
        assert properties["selfserve_job"][0] == receipt["job_id"]
        assert properties["x"] == (1, "y")
    old = await master.data("buildsets", build["buildrequestid"], "properties")
    assert "owner" not in old


@pytest_twisted.ensureDeferred
async def test_rebuilds_on_a_busy_builder_are_not_collapsed(master: Any) -> None:
    build = await master.finished_build()
    master.pause()
    before = await master.add_request()
    fields = {"build_id": build["buildid"], "count": 3}
    receipt = (await master.post("/self-serve/main/build", user=USER, data=fields)).json
    # an ordinary request that comes later collapses neither them
    later = await master.add_request()
    master.resume()
    for one in receipt["requests"]:
        assert (await master.completed(one["request_id"]))["results"] == SUCCESS
    assert (await master.completed(later))["results"] == SUCCESS
    # nor did they take the one that was there before: that was the later one's doing
    assert (await master.completed(before))["results"] == SKIPPED


def eager() -> Any:
    """A builder that collapses whatever it can, whoever asked for it."""

    def always(master: Any, one: Any, new: Any, old: Any) -> bool:
        return True

    made = config()
    made["builders"] = [builder("fast", collapseRequests=always), *made["builders"][1:]]
    return made


@pytest.mark.parametrize("master", [eager], indirect=True)
@pytest_twisted.ensureDeferred
async def test_rebuilds_do_not_collapse_each_other_whatever_the_rule(master: Any) -> None:
    build = await master.finished_build()
    master.pause()
    fields = {"build_id": build["buildid"], "count": 3}
    receipt = (await master.post("/self-serve/main/build", user=USER, data=fields)).json
    assert [one["outcome"] for one in receipt["requests"]] == ["created"] * 3
    master.resume()
    for one in receipt["requests"]:
        assert (await master.completed(one["request_id"]))["results"] == SUCCESS


@pytest_twisted.ensureDeferred
async def test_a_pending_request_is_cancelled(master: Any) -> None:
    master.pause()
    request_id = await master.add_request()
    events: list[Any] = []
    consumer = await master.master.mq.startConsuming(
        lambda key, event: events.append(key), ("buildrequests", str(request_id), None)
    )
    answer = await master.request("DELETE", f"/self-serve/main/request/{request_id}", user=USER)
    consumer.stopConsuming()
    (outcome,) = answer.json["requests"]
    assert (answer.status, outcome["outcome"]) == (202, "cancelled")
    assert (outcome["request_id"], outcome["buildername"]) == (request_id, "fast")
    request = await master.data("buildrequests", request_id)
    assert (request["complete"], request["results"]) == (True, CANCELLED)
    assert (await master.data("buildsets", request["buildsetid"]))["complete"]
    assert [key[-1] for key in events][-2:] == ["complete", "cancel"]
    # nothing is left behind: what comes next on this builder is built
    master.resume()
    await master.finished_build(revision="d" * 40)


@pytest_twisted.ensureDeferred
async def test_a_running_request_is_stopped(master: Any) -> None:
    request_id = await master.add_request("slow")
    build = await master.running_build(request_id)
    answer = await master.request("DELETE", f"/self-serve/main/request/{request_id}", user=USER)
    (outcome,) = answer.json["requests"]
    assert (outcome["outcome"], outcome["build_ids"]) == ("stopped", [build["buildid"]])
    stopped = await master.data("builds", build["buildid"])
    assert (stopped["complete"], stopped["results"]) == (True, CANCELLED)
    # not in its state_string: Buildbot writes that twice at the end, and waits for neither, so that
    # on PostgreSQL the step's may come last (buildbot/process/build.py, stepDone)
    assert "stopping build: Cancelled via self-serve by ada" in master.log


@pytest_twisted.ensureDeferred
async def test_cancelling_what_is_complete_says_so(master: Any) -> None:
    build = await master.finished_build()
    path = f"/self-serve/main/request/{build['buildrequestid']}"
    answer = await master.request("DELETE", path, user=USER)
    assert answer.status == 202
    assert [one["outcome"] for one in answer.json["requests"]] == ["already_complete"]
    assert answer.json["msg"] == f"Request {build['buildrequestid']} is already complete"


@with_stubborn_master
@pytest_twisted.ensureDeferred
async def test_a_stop_that_takes_long_is_said_to_be_sent(master: Any) -> None:
    request_id = await deaf_build(master)
    answer = await master.request("DELETE", f"/self-serve/main/request/{request_id}", user=USER)
    assert answer.status == 202
    assert [one["outcome"] for one in answer.json["requests"]] == ["stop_sent"]
    (job,) = (await master.get("/self-serve/jobs")).json
    assert job["status"] == "ok"
    Deaf.may_end = True


@pytest_twisted.ensureDeferred
async def test_a_builder_that_is_gone_is_a_clear_refusal(master: Any) -> None:
    build = await master.finished_build("opt/mac #1")

    def without() -> Any:
        made = config()
        made["builders"].pop()
        made["schedulers"][1] = type(made["schedulers"][1])(name="rest", builderNames=["slow"])
        return made

    await master.reconfig(without)
    answer = await master.post(
        "/self-serve/main/build", user=USER, data={"build_id": build["buildid"]}
    )
    assert answer.status == 400
    assert answer.json["msg"] == "Builder opt/mac #1 is no longer configured"
    assert len((await master.get("/self-serve/main")).json) == 1
    (job,) = (await master.get("/self-serve/jobs")).json
    assert (job["status"], job["complete_data"]["body"]["errors"]) == ("failed", True)


@pytest_twisted.ensureDeferred
async def test_a_request_is_rebuilt_also_while_it_waits(master: Any) -> None:
    master.pause()
    request_id = await master.add_request()
    fields = {"request_id": request_id, "count": 2, "priority": 3}
    receipt = (await master.post("/self-serve/main/request", user=USER, data=fields)).json
    assert [one["outcome"] for one in receipt["requests"]] == ["created"] * 2
    job = (await master.get(f"/self-serve/jobs/{receipt['job_id']}")).json
    assert (job["action"], job["what"]["brid"]) == ("rebuild_request", request_id)
    master.resume()
    for one in (request_id, *(outcome["request_id"] for outcome in receipt["requests"])):
        assert (await master.completed(one))["results"] == SUCCESS


@pytest_twisted.ensureDeferred
async def test_a_rebuild_takes_the_revision_that_was_found_if_asked_to(master: Any) -> None:
    build = await master.finished_build(revision=None)
    master.pause()
    targets = {"build_id": build["buildid"]}, {"request_id": build["buildrequestid"]}

    async def rebuilt(target: dict[str, int], **more: str) -> Any:
        path = f"/self-serve/main/{next(iter(target))[:-3]}"
        return await master.post(path, user=USER, data={**target, **more})

    for target in targets:
        refused = await rebuilt(target, same_revision="1")
        assert refused.status == 400
        assert refused.json["msg"].startswith("It is not known which revision ")
    found = build["buildid"], "got_revision", REVISION, "Git"
    await master.master.data.updates.setBuildProperty(*found)
    for target in targets:
        for same_revision, revision in (("1", REVISION), ("0", None), ("", None)):
            planned = await rebuilt(target, same_revision=same_revision, dry_run="1")
            assert [one["revision"] for one in planned.json["requests"]] == [revision]
            receipt = (await rebuilt(target, same_revision=same_revision)).json
            buildset = await master.data("buildsets", receipt["buildset_ids"][0])
            assert [one["revision"] for one in buildset["sourcestamps"]] == [revision]
            what = (await master.get(receipt["job_url"])).json["what"]
            assert what.get("same_revision") == (revision and True)
    # what names its revision is built at that anyway
    (named,) = (await rebuilt(targets[0], same_revision="1")).json["requests"]
    again = {"request_id": named["request_id"]}
    planned = await rebuilt(again, same_revision="1", dry_run="1")
    assert [one["revision"] for one in planned.json["requests"]] == [REVISION]


@pytest_twisted.ensureDeferred
async def test_a_build_is_cancelled_while_it_runs(master: Any) -> None:
    build = await master.running_build(await master.add_request("slow"))
    path = f"/self-serve/main/build/{build['buildid']}"
    answer = await master.request("DELETE", path, user=USER)
    (outcome,) = answer.json["requests"]
    assert (outcome["outcome"], outcome["build_ids"]) == ("stopped", [build["buildid"]])
    job = (await master.get(f"/self-serve/jobs/{answer.json['job_id']}")).json
    assert (job["action"], job["what"]["bid"]) == ("cancel_build", build["buildid"])
    assert answer.json["msg"] == f"Build {build['buildid']} is stopped"
    ended = f"Build {build['buildid']} had already ended"
    planned = await master.request("DELETE", f"{path}?dry_run=1", user=USER)
    assert planned.json["msg"] == ended
    answer = await master.request("DELETE", path, user=USER)
    assert [one["outcome"] for one in answer.json["requests"]] == ["already_complete"]
    assert answer.json["msg"] == ended
    job = (await master.get(f"/self-serve/jobs/{answer.json['job_id']}")).json
    assert job["complete_data"]["body"]["msg"] == ended


@pytest_twisted.ensureDeferred
async def test_a_pending_request_is_built_sooner(master: Any) -> None:
    master.pause()
    later = await master.add_request(revision="1" * 40)
    sooner = await master.add_request(revision="2" * 40)
    path = f"/self-serve/main/request/{sooner}"
    answer = await master.request("PUT", path, user=USER, data={"priority": "5"})
    assert (answer.status, answer.json["requests"][0]["outcome"]) == (202, "reprioritized")
    assert (await master.get(path)).json["priority"] == 5
    job = (await master.get(f"/self-serve/jobs/{answer.json['job_id']}")).json
    assert job["what"] == {"brid": sooner, "branch": "main", "priority": 5}
    form = {"_method": "PUT", "priority": "6"}
    assert (await master.post(path, user=USER, data=form)).status == 202
    master.resume()
    first, second = await master.completed(sooner), await master.completed(later)
    assert first["claimed_at"] <= second["claimed_at"]
    builds = await master.data("builds")
    assert [build["buildrequestid"] for build in builds] == [sooner, later]
    answer = await master.request("PUT", path, user=USER, data={"priority": "5"})
    assert (answer.status, answer.json["msg"]) == (400, "Request already complete")


@pytest_twisted.ensureDeferred
async def test_a_running_request_keeps_its_priority(master: Any) -> None:
    request_id = await master.add_request("slow")
    await master.running_build(request_id)
    path = f"/self-serve/main/request/{request_id}"
    answer = await master.request("PUT", path, user=USER, data={"priority": "5"})
    assert (answer.status, answer.json["msg"]) == (400, "Request is already running")
    for fields in ({}, {"priority": ""}, {"priority": "high"}):
        answer = await master.request("PUT", path, user=USER, data=fields)
        assert (answer.status, answer.json["msg"]) == (400, "Bad priority")


# -- what is asked for


BAD: list[tuple[dict[str, str], str]] = [
    ({}, "Bad build_id"),
    ({"build_id": ""}, "Bad build_id"),
    ({"build_id": "x"}, "Bad build_id"),
    ({"build_id": "0"}, "Bad build_id"),
    ({"build_id": "1", "count": "0"}, "Bad count"),
    ({"build_id": "1", "count": "101"}, "Bad count"),
    ({"build_id": "1", "count": "2.5"}, "Bad count"),
    ({"build_id": "1", "priority": "high"}, "Bad priority"),
    ({"build_id": "1", "priority": str(2**31)}, "Bad priority"),
]


@pytest_twisted.ensureDeferred
async def test_a_bad_parameter_is_named_and_nothing_is_written(master: Any) -> None:
    await master.finished_build()
    for fields, msg in BAD:
        answer = await master.post("/self-serve/main/build", user=USER, data=fields)
        assert (answer.status, answer.json["msg"]) == (400, msg)
        assert answer.json["status"] == "FAILED"
    assert (await master.get("/self-serve/jobs")).json == []
    assert len((await master.get("/self-serve/main")).json) == 1


@pytest_twisted.ensureDeferred
async def test_parameters_belong_into_the_body(master: Any) -> None:
    build = await master.finished_build()
    path = "/self-serve/main/build?count=3"
    answer = await master.post(path, user=USER, data={"build_id": build["buildid"]})
    assert (answer.status, answer.json["msg"]) == (400, "Bad count")


#: What is sent with which method to which path of a branch, and the parameter that is meant.
MISSPELLED: list[tuple[str, str, dict[str, str], str]] = [
    ("POST", "/build", {"build_id": "1", "dryrun": "1"}, "dry_run"),
    ("POST", "/build", {"build_id": "1", "dry-run": "1"}, "dry_run"),
    ("POST", "/build", {"build_id": "1", "DRY_RUN": "1"}, "dry_run"),
    ("POST", "/build", {"build_id": "1", "counts": "3"}, "count"),
    ("POST", "/build", {"build_id": "1", "priortiy": "3"}, "priority"),
    ("PUT", f"/rev/{REVISION}", {"builder": "te*", "priority": "3"}, "builders"),
    ("DELETE", f"/rev/{REVISION}", {"builder_name": "fast"}, "builders"),
    ("DELETE", f"/rev/{REVISION}", {"exclude": "fast"}, "exclude_builders"),
    ("DELETE", f"/rev/{REVISION}", {"plan": "x"}, "if_plan"),
    ("POST", f"/rev/{REVISION}", {"method": "DELETE"}, "_method"),
]


@pytest_twisted.ensureDeferred
async def test_a_misspelled_parameter_is_refused_and_nothing_is_written(master: Any) -> None:
    await master.finished_build()
    for method, path, fields, meant in MISSPELLED:
        path = f"/self-serve/main{path}"
        (wrong,) = fields.keys() - {"build_id", "priority"}
        as_json = {
            "data": json.dumps(fields).encode(),
            "headers": {"Content-Type": "application/json"},
        }
        rest = {name: text for name, text in fields.items() if name != wrong}
        for to, more in (
            (path, {"data": fields}),
            (path, as_json),
            (f"{path}?{wrong}=1", {"data": rest}),
        ):
            answer = await master.request(method, to, user=USER, **more)
            detail = f"there is no such parameter; did you mean {meant}?"
            told = {"status": "FAILED", "msg": f"Bad {wrong}", "detail": detail}
            assert (answer.status, answer.json) == (400, told)
    for path, meant in (("/last_green?builder=fast", "builders"), ("?dates=2024-01-01", "date")):
        answer = await master.get(f"/self-serve/main{path}")
        assert (answer.status, answer.json["detail"][-len(meant) - 1 :]) == (400, f"{meant}?")
    assert (await master.get("/self-serve/jobs")).json == []
    assert len((await master.get("/self-serve/main")).json) == 1


@pytest_twisted.ensureDeferred
async def test_other_unknown_parameters_are_ignored(master: Any) -> None:
    build_id = (await master.finished_build())["buildid"]
    fields = {"build_id": build_id, "branch": "main", "revision": REVISION, "_method": "POST"}
    more = {"submit": "Rebuild", "return_to": "/", "builder_name": "fast", "comments": "x"}
    path = "/self-serve/main/build?format=json&_=1&x=y"
    answer = await master.post(path, user=USER, data={**fields, **more})
    assert answer.status == 202, answer.text
    assert (await master.get("/self-serve/main?_=1&callback=x")).status == 200


@pytest_twisted.ensureDeferred
async def test_bodies_of_every_kind_are_read(master: Any) -> None:
    build_id = (await master.finished_build())["buildid"]
    for more in (
        {"data": {"build_id": build_id, "priority": ""}},
        {"files": {}, "data": {"build_id": str(build_id)}},
        {
            "data": json.dumps({"build_id": build_id}).encode(),
            "headers": {"Content-Type": "application/json"},
        },
    ):
        answer = await master.post("/self-serve/main/build", user=USER, **more)
        assert answer.status == 202, answer.text
    # as bare http.client sends it
    bare = {"data": f"build_id={build_id}".encode(), "headers": {"Content-Type": ""}}
    assert (await master.post("/self-serve/main/build", user=USER, **bare)).status == 202
    packed = {"data": {"build_id": build_id}, "headers": {"Content-Encoding": "gzip"}}
    assert (await master.post("/self-serve/main/build", user=USER, **packed)).status == 415
    wrong = {"data": b"<x/>", "headers": {"Content-Type": "text/xml"}}
    assert (await master.post("/self-serve/main/build", user=USER, **wrong)).status == 415
    large = {"data": {"build_id": build_id, "x": "y" * 70000}}
    assert (await master.post("/self-serve/main/build", user=USER, **large)).status == 413
    broken = {"data": b"{", "headers": {"Content-Type": "application/json"}}
    assert (await master.post("/self-serve/main/build", user=USER, **broken)).status == 400


@pytest_twisted.ensureDeferred
async def test_what_does_not_exist_cannot_be_changed(master: Any) -> None:
    await master.finished_build()
    fields = {"build_id": 4711}
    answer = await master.post("/self-serve/main/build", user=USER, data=fields)
    assert (answer.status, answer.json["msg"]) == (404, "Build 4711 not found on branch main")
    answer = await master.request("DELETE", "/self-serve/main/request/4711", user=USER)
    assert (answer.status, answer.json["msg"]) == (404, "Request 4711 not found on branch main")
    # an id that was asked for before it existed is built when it does
    assert (await master.get("/self-serve/jobs")).json == []


@pytest_twisted.ensureDeferred
async def test_a_form_may_say_delete(master: Any) -> None:
    master.pause()
    request_id = await master.add_request()
    path = f"/self-serve/main/request/{request_id}"
    answer = await master.post(f"{path}?_method=DELETE", user=USER, data={"x": "y"})
    assert answer.status == 405
    answer = await master.post(path, user=USER, data={"_method": "PATCH"})
    assert (answer.status, answer.json["msg"]) == (400, "Bad _method")
    answer = await master.post(path, user=USER, data={"_method": "delete"})
    assert (answer.status, answer.json["requests"][0]["outcome"]) == (202, "cancelled")


# -- how it is answered


@pytest_twisted.ensureDeferred
async def test_each_client_gets_its_kind_of_receipt(master: Any) -> None:
    build = await master.finished_build()

    async def rebuild(accept: str | None) -> Any:
        headers = {} if accept is None else {"Accept": accept}
        return await master.post(
            "/self-serve/main/build",
            user=USER,
            json=False,
            headers=headers,
            data={"build_id": build["buildid"]},
        )

    script = await rebuild("application/json")
    assert (script.status, script.json["job_id"]) == (202, 1)
    browser = await rebuild("text/html,application/xhtml+xml,*/*;q=0.8")
    assert (browser.status, browser.header("location")) == (303, "/self-serve/jobs/2")
    for number, accept in ((3, "*/*"), (4, None)):
        anybody = await rebuild(accept)
        assert (anybody.status, anybody.header("location")) == (202, f"/self-serve/jobs/{number}")
        assert anybody.header("content-type") == "text/html; charset=utf-8"
        assert "1 build requested" in anybody.text


@pytest_twisted.ensureDeferred
async def test_the_journal_has_who_what_when_and_how_it_ended(master: Any) -> None:
    build = await master.finished_build()
    fields = {"build_id": build["buildid"], "count": 2}
    receipt = (await master.post("/self-serve/main/build", user=USER, data=fields)).json
    job = (await master.get("/self-serve/jobs/1")).json
    assert job["action"] == "rebuild_build"
    assert (job["who"], job["via"], job["remote"]) == (USER, "basic", "127.0.0.1")
    assert (job["branch"], job["status"]) == ("main", "ok")
    assert job["what"] == {"bid": build["buildid"], "branch": "main", "count": 2, "priority": 0}
    assert job["when"] <= job["completed_at"]
    data = job["complete_data"]
    assert data["request_id"] == 1
    assert (data["body"]["errors"], data["body"]["msg"]) == (False, receipt["msg"])
    assert [one["request_id"] for one in data["body"]["requests"]] == [
        one["request_id"] for one in receipt["requests"]
    ]


@pytest_twisted.ensureDeferred
async def test_the_journal_is_filtered_and_paged(master: Any) -> None:
    build = await master.finished_build()
    for _ in range(3):
        await master.post("/self-serve/main/build", user=USER, data={"build_id": build["buildid"]})

    async def ids(query: str) -> list[int]:
        return [job["job_id"] for job in (await master.get(f"/self-serve/jobs?{query}")).json]

    assert await ids("") == [3, 2, 1]
    assert await ids("num=2") == [3, 2]
    assert await ids("num=2&offset=2") == [1]
    assert await ids("who=ada&action=rebuild_build&branch=main") == [3, 2, 1]
    assert await ids("who=eve") == []
    assert await ids("branch=other") == []
    assert await ids("action=cancel_request") == []
    assert await ids("until=1000") == []
    assert await ids("since=1000") == [3, 2, 1]
    page = await master.get("/self-serve/jobs?num=1&who=ada", json=False)
    assert "num=1&amp;offset=1&amp;who=ada" in page.text.replace("&offset", "&amp;offset").replace(
        "&who", "&amp;who"
    )
    for query in ("num=x", "offset=-1", "since=yesterday"):
        assert (await master.get(f"/self-serve/jobs?{query}")).status == 400
