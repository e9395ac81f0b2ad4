"""Reads over HTTP, against what Buildbot itself says."""

from __future__ import annotations

import datetime
from typing import Any
from urllib.parse import unquote

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import util

from buildbot_selfserve.journal.tables import metadata
from buildbot_selfserve.params.kinds import LAST_MOMENT
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import config

EVERY_DATABASE = True

REQUEST_FIELDS = {
    "request_id",
    "buildername",
    "branch",
    "revision",
    "submittime",
    "complete",
    "complete_at",
    "priority",
    "claimed_at",
    "reason",
}
BUILD_FIELDS = {
    "build_id",
    "requests",
    "buildnumber",
    "buildername",
    "branch",
    "revision",
    "starttime",
    "endtime",
    "status",
    "claimed_by_name",
}
ADDITIVE = {"url", "builder_id", "worker"}
ADDITIVE_REQUEST = {"url", "builder_id", "owner"}


@pytest_twisted.ensureDeferred
async def test_a_finished_build_is_a_build_row(master: Any) -> None:
    build = await master.finished_build()
    (row,) = (await master.get(f"/self-serve/main/rev/{REVISION}")).json
    assert set(row) == BUILD_FIELDS | ADDITIVE
    assert row["build_id"] == build["buildid"]
    assert row["buildnumber"] == build["number"]
    assert row["buildername"] == "fast"
    assert row["branch"] == "main"
    assert row["revision"] == REVISION
    assert row["starttime"] == int(build["started_at"].timestamp())
    assert row["endtime"] == int(build["complete_at"].timestamp())
    assert row["status"] == 0
    assert row["claimed_by_name"] == master.master.name
    (request,) = row["requests"]
    assert set(request) == REQUEST_FIELDS | ADDITIVE_REQUEST | {"status", "endtime"}
    assert request["request_id"] == build["buildrequestid"]
    assert request["complete"] == 1
    assert request["reason"] == "a push"


@pytest_twisted.ensureDeferred
async def test_a_running_build_has_no_end_and_no_status_yet(master: Any) -> None:
    request_id = await master.add_request("slow")
    build = await master.running_build(request_id)
    (row,) = (await master.get(f"/self-serve/main/rev/{REVISION}")).json
    assert row["build_id"] == build["buildid"]
    assert row["endtime"] is None
    assert row["status"] is None
    assert row["requests"][0]["claimed_at"] > 0


@pytest_twisted.ensureDeferred
async def test_a_pending_request_has_neither_key(master: Any) -> None:
    master.pause()
    request_id = await master.add_request(priority=7)
    (row,) = (await master.get(f"/self-serve/main/rev/{REVISION}")).json
    assert set(row) == REQUEST_FIELDS | ADDITIVE_REQUEST
    assert row["request_id"] == request_id
    assert row["complete"] == 0
    assert row["claimed_at"] == 0
    assert row["priority"] == 7


@pytest_twisted.ensureDeferred
async def test_a_request_cancelled_while_pending_has_ended(master: Any) -> None:
    master.pause()
    request_id = await master.add_request()
    await master.request("DELETE", f"/self-serve/main/request/{request_id}", user="ada")
    (row,) = (await master.get(f"/self-serve/main/rev/{REVISION}")).json
    assert (row["request_id"], row["complete"], row["status"]) == (request_id, 1, 6)
    assert row["endtime"] == row["complete_at"]


@pytest_twisted.ensureDeferred
async def test_details_carry_the_properties(master: Any) -> None:
    build = await master.finished_build(properties={"branch": ("main", "x"), "deep": ([1], "x")})
    request_id = build["buildrequestid"]
    detail = (await master.get(f"/self-serve/main/build/{build['buildid']}")).json
    assert detail["requests"][0]["properties"] == {"branch": "main", "deep": [1]}
    detail = (await master.get(f"/self-serve/main/request/{request_id}")).json
    assert detail["properties"] == {"branch": "main", "deep": [1]}
    assert detail["build_ids"] == [build["buildid"]]


@pytest_twisted.ensureDeferred
async def test_is_done_follows_the_builds(master: Any) -> None:
    path = f"/self-serve/main/rev/{REVISION}/is_done"
    master.pause()
    request_id = await master.add_request()
    done = (await master.get(f"{path}?stableDelay=0")).json
    assert (done["job_complete"], done["job_passed"], done["pending"]) == (False, False, 1)
    master.resume()
    await master.completed(request_id)
    done = (await master.get(f"{path}?stableDelay=0")).json
    assert (done["job_complete"], done["job_passed"], done["builds"]) == (True, True, 1)
    done = (await master.get(path)).json
    assert (done["job_complete"], done["stableDelay"]) == (False, 180)


@pytest_twisted.ensureDeferred
async def test_a_day_has_what_started_on_it_and_today_what_is_open(master: Any) -> None:
    await master.finished_build()
    running = await master.running_build(await master.add_request("slow"))
    pending_id = await master.add_request("slow")
    rows = (await master.get("/self-serve/main")).json
    assert len(rows) == 3
    today = datetime.datetime.now(datetime.timezone.utc).date()
    assert (await master.get(f"/self-serve/main?date={today}")).json == rows
    yesterday = today - datetime.timedelta(days=1)
    assert (await master.get(f"/self-serve/main?date={yesterday}")).json == []
    assert {row.get("request_id") for row in rows} == {None, pending_id}
    assert running["buildid"] in {row.get("build_id") for row in rows}


@pytest_twisted.ensureDeferred
async def test_a_revision_is_known_by_its_beginning(master: Any) -> None:
    short, long, other = "aaaaaa1" * 5 + "a" * 5, "aaaaaa2" + "b" * 57, "aaaaaa3" + "c" * 33
    for revision in (short, long, other):
        await master.finished_build(revision=revision)
    for text in ("aaaaaa2", "AAAAAA2b", long.upper(), f"%20{long[:40]}%09"):
        assert (await master.get(f"/self-serve/main/rev/{text}")).json[0]["revision"] == long
    ambiguous = await master.get("/self-serve/main/rev/aaaaaa")
    assert ambiguous.status == 404
    assert ambiguous.json["msg"] == "Revision aaaaaa not found on branch main"
    for whole in (short, long, other):
        assert whole in ambiguous.json["detail"]
    for text in ("aaaaa", "aaaaa%", "aaaaa_2"):
        assert (await master.get(f"/self-serve/main/rev/{text.replace('%', '%25')}")).status == 404


MISSING = {
    "/nowhere": "Branch nowhere not found",
    "/nowhere/build/1": "Branch nowhere not found",
    "/main/build/4711": "Build 4711 not found on branch main",
    "/main/build/x": "Build x not found on branch main",
    "/main/build/01": "Build 01 not found on branch main",
    "/main/build/+1": "Build +1 not found on branch main",
    "/main/build/99999999999999999999": "Build 99999999999999999999 not found on branch main",
    "/main/request/4711": "Request 4711 not found on branch main",
    "/main/rev/4711": "Revision 4711 not found on branch main",
    "/main/rev/4711/is_done": "Revision 4711 not found on branch main",
    "/jobs/4711": "Job 4711 not found",
    "/main/rev/%00%EF%BF%BF": "Revision \x00\uffff not found on branch main",
    "/main/user/%00": "User \x00 not found on branch main",
    f"/main/user/{'x' * 257}": f"User {'x' * 257} not found on branch main",
}


@pytest_twisted.ensureDeferred
async def test_what_does_not_exist_is_named(master: Any) -> None:
    await master.finished_build()
    for path, msg in MISSING.items():
        answer = await master.get(f"/self-serve{path}")
        assert (answer.status, answer.json) == (404, {"status": "FAILED", "msg": msg})
        page = await master.get(f"/self-serve{path}", json=False)
        assert page.status == 404
        assert page.header("content-type") == "text/html; charset=utf-8"


#: What every branch has in a path of two segments.
OF_A_BRANCH = ("builders", f"rev?revision={REVISION}", f"new?revision={REVISION}", "permissions")


@pytest_twisted.ensureDeferred
async def test_a_branch_called_like_a_page_of_ours_has_all_but_its_first_page(master: Any) -> None:
    for branch in ("jobs", "branches", "metrics", "openapi.json"):
        build = await master.finished_build(branch=branch)
        details = f"build/{build['buildid']}", f"rev/{REVISION}", f"user/{USER}"
        for path in (*OF_A_BRANCH, *details):
            answer = await master.get(f"/self-serve/{branch}/{path}", user=USER)
            assert answer.status == 200, (branch, path)
        events = await master.get(f"/self-serve/{branch}/events?format=json")
        assert (events.status, events.json["msg"]) == (400, "Bad format")
        fields = {"build_id": build["buildid"]}
        answer = await master.post(f"/self-serve/{branch}/build", user=USER, data=fields)
        assert answer.status == 202
    assert (await master.get("/self-serve/jobs/1")).json["branch"] == "jobs"
    for text in ("buildersx", "xnew", "1x", "a%2Fbuilders", "user", "New"):
        answer = await master.get(f"/self-serve/jobs/{text}")
        said = f"Job {unquote(text)} not found"
        assert (answer.status, answer.json["msg"]) == (404, said)


@pytest_twisted.ensureDeferred
async def test_a_build_belongs_to_its_own_branch_only(master: Any) -> None:
    build = await master.finished_build(branch="release")
    await master.finished_build(branch="release-2")
    assert (await master.get(f"/self-serve/release/build/{build['buildid']}")).status == 200
    answer = await master.get(f"/self-serve/release-2/build/{build['buildid']}")
    assert answer.json["msg"] == f"Build {build['buildid']} not found on branch release-2"
    assert len((await master.get("/self-serve/release")).json) == 1


@pytest_twisted.ensureDeferred
async def test_encoded_characters_in_a_segment_are_data(master: Any) -> None:
    name = "feature/ü?#%2F x"
    build = await master.finished_build(branch=name, revision="r/1?2#3%41 z")
    branch = "feature%2F%C3%BC%3F%23%252F%20x"
    rows = (await master.get(f"/self-serve/{branch}/rev/r%2F1%3F2%233%2541%20z")).json
    assert [row["build_id"] for row in rows] == [build["buildid"]]
    page = await master.get(f"/self-serve/{branch}", json=False)
    assert f"/self-serve/{branch}/build/{build['buildid']}" in page.text


@pytest_twisted.ensureDeferred
async def test_the_format_is_what_the_query_or_else_accept_says(master: Any) -> None:
    async def kind(path: str, accept: str | None) -> str:
        headers = {} if accept is None else {"Accept": accept}
        answer = await master.get(path, json=False, headers=headers)
        return str(answer.header("content-type")).partition(";")[0]

    path = "/self-serve/branches"
    assert await kind(path, None) == "text/html"
    assert await kind(path, "*/*") == "text/html"
    assert await kind(path, "text/html, application/json;q=0.5") == "application/json"
    assert await kind(f"{path}?format=html", "application/json") == "text/html"
    assert await kind(f"{path}?format=json", "text/html") == "application/json"
    wrong = await master.get(f"{path}?format=xml")
    assert (wrong.status, wrong.json["msg"]) == (400, "Bad format")


@pytest_twisted.ensureDeferred
async def test_one_trailing_slash_leads_to_the_path_without(master: Any) -> None:
    await master.finished_build(branch="feature/x")
    for path in ("/self-serve", "/self-serve/feature%2Fx", "/self-serve/jobs"):
        answer = await master.get(f"{path}/?num=3")
        assert (answer.status, answer.header("location")) == (301, f"{path}?num=3")
    # a client must not take the answer of another request for that of its own
    answer = await master.request("DELETE", "/self-serve/main/request/1/", user="ada")
    assert (answer.status, answer.header("location")) == (308, "/self-serve/main/request/1")
    assert (await master.get("/self-serve/jobs//")).status == 404
    assert (await master.get("/self-serve//jobs")).status == 404


@pytest_twisted.ensureDeferred
async def test_head_and_the_wrong_method(master: Any) -> None:
    whole = await master.get("/self-serve/branches")
    head = await master.request("HEAD", "/self-serve/branches")
    assert (head.status, head.body) == (200, b"")
    assert head.header("etag") == whole.header("etag")
    wrong = await master.request("PUT", "/self-serve/branches", user="ada")
    assert wrong.status == 405
    assert wrong.header("allow") == "GET, HEAD, OPTIONS"
    assert wrong.json["status"] == "FAILED"
    wrong = await master.get("/self-serve/main/build")
    assert (wrong.status, wrong.header("allow")) == (405, "OPTIONS, POST")


@pytest_twisted.ensureDeferred
async def test_an_unchanged_answer_is_not_sent_again(master: Any) -> None:
    first = await master.get("/self-serve/branches")
    headers = {"If-None-Match": first.header("etag")}
    assert (await master.get("/self-serve/branches", headers=headers)).status == 304
    anything = {"If-None-Match": "*"}
    assert (await master.get("/self-serve/branches", headers=anything)).status == 304
    await master.finished_build()
    assert (await master.get("/self-serve/branches", headers=headers)).status == 200


@pytest_twisted.ensureDeferred
async def test_a_page_that_shows_something_else_is_sent_again(master: Any) -> None:
    path = "/self-serve/branches"
    first = await master.get(path, json=False)
    headers = {"If-None-Match": first.header("etag")}
    assert (await master.get(path, json=False, headers=headers)).status == 304
    await master.reconfig(lambda: {**config(), "title": "Another title"})

    async def shown() -> bool:
        return "Another title" in (await master.get(path, json=False, headers=headers)).text

    await master.until(shown, "the page shows the new title")


@pytest_twisted.ensureDeferred
async def test_a_page_links_its_json_twin(master: Any) -> None:
    await master.finished_build()
    page = await master.get(f"/self-serve/main/rev/{REVISION}/is_done?stableDelay=0", json=False)
    twin = f"/self-serve/main/rev/{REVISION}/is_done?stableDelay=0&format=json"
    assert page.header("link") == f'<{twin}>; rel="alternate"; type="application/json"'
    assert twin.replace("&", "&amp;") in page.text
    assert "Done: passed" in page.text


@pytest_twisted.ensureDeferred
async def test_every_answer_keeps_browsers_from_mischief(master: Any) -> None:
    for path in ("", "/nowhere", "/branches?format=xml"):
        answer = await master.get(f"/self-serve{path}", json=False)
        assert "frame-ancestors 'none'" in str(answer.header("content-security-policy"))
        assert answer.header("x-content-type-options") == "nosniff"
        assert answer.header("referrer-policy") == "same-origin"
        assert answer.header("cache-control") == "no-store"
        assert answer.header("vary") == "Accept, Accept-Encoding, Cookie, Origin"


def configured_branches() -> Any:
    return config(
        util.SelfServe(
            branches=[
                util.SelfServeBranch(
                    "trunk", branch=["main", None], repo="https://x/", repo_type="hg"
                ),
                util.SelfServeBranch("try", codebase="other"),
            ],
            timezone="Pacific/Kiritimati",
        )
    )


@pytest.mark.parametrize("master", [configured_branches], indirect=True)
@pytest_twisted.ensureDeferred
async def test_configured_branches_are_the_only_ones(master: Any) -> None:
    build = await master.finished_build(branch=None, revision=None)
    await master.finished_build(branch="try")
    listed = (await master.get("/self-serve/branches")).json
    assert listed == {
        "trunk": {"repo": "https://x/", "repo_type": "hg", "graph_branches": ["trunk"]},
        "try": {"repo": "", "repo_type": "git", "graph_branches": ["try"]},
    }
    assert (await master.get("/self-serve/main")).status == 404
    (row,) = (await master.get("/self-serve/trunk")).json
    assert (row["build_id"], row["branch"], row["revision"]) == (build["buildid"], "trunk", None)
    # there it is tomorrow already, or still the same day
    ahead = datetime.datetime.now(datetime.timezone(datetime.timedelta(hours=14))).date()
    assert (await master.get(f"/self-serve/trunk?date={ahead}")).json == [row]
    # built, but in another codebase than the one that is meant
    assert (await master.get("/self-serve/try")).json == []


@pytest_twisted.ensureDeferred
async def test_the_root_tells_of_every_route_and_branch(master: Any) -> None:
    await master.finished_build()
    manual = (await master.get("/self-serve")).json
    assert manual["branches"] == ["main"]
    routes = {(route["method"], route["path"]) for route in manual["routes"]}
    assert ("POST", "/self-serve/{branch}/build") in routes
    assert (await master.get("/self-serve/api")).json == manual
    page = await master.get("/self-serve/api", json=False)
    assert "/self-serve/{branch}/rev/{revision}/is_done" in page.text


@pytest_twisted.ensureDeferred
async def test_a_revision_is_found_on_the_branches_that_know_it(master: Any) -> None:
    for branch, revision in (("main", "abc123" + "0" * 34), ("feature/x", "abc123" + "1" * 34)):
        await master.completed(await master.add_request(branch=branch, revision=revision))
    await master.completed(await master.add_request(branch="other"))
    both = (await master.get("/self-serve/branches?revision=abc123")).json
    assert sorted(both) == ["feature/x", "main"]
    one = (await master.get("/self-serve/branches?revision=abc1231")).json
    assert list(one) == ["feature/x"]
    # too short for the beginning of one
    assert (await master.get("/self-serve/branches?revision=abc12")).json == {}
    # the only one is shown at once
    page = await master.get("/self-serve/branches?revision=abc1231", json=False)
    its_page = f"/self-serve/feature%2Fx/rev/abc123{'1' * 34}"
    assert (page.status, page.header("location")) == (302, its_page)
    page = await master.get("/self-serve/branches?revision=abc123", json=False)
    assert page.status == 200
    assert f'href="{its_page}"' in page.text
    page = await master.get("/self-serve/branches?revision=abc12", json=False)
    assert "Buildbot has not seen this revision" in page.text
    assert 'name="revision" required minlength="1" maxlength="256" value="abc12"' in page.text


@pytest_twisted.ensureDeferred
async def test_the_journal_has_a_page_for_the_latest_moment(master: Any) -> None:
    for form in ("html", "json"):
        latest = f"since={LAST_MOMENT}&until={LAST_MOMENT}"
        assert (await master.get(f"/self-serve/jobs?{latest}&format={form}")).status == 200
        answer = await master.get(f"/self-serve/jobs?since={LAST_MOMENT + 1}&format={form}")
        assert answer.status == 400


def rename_tables(connection: sa.Connection) -> None:
    """Let the journal be as before its tables were made."""
    for name in metadata.tables:
        connection.exec_driver_sql(f"ALTER TABLE {name} RENAME TO gone_{name}")
    connection.commit()


def limited() -> Any:
    return config(util.SelfServe(limits=util.SelfServeLimits(builds_per_hour=5)))


@pytest.mark.parametrize("master", [limited], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_journal_that_is_not_there_yet_is_to_be_asked_again(master: Any) -> None:
    await master.finished_build()
    await master.master.db.pool.do(rename_tables)
    for path in ("/jobs", "/jobs/1", "/main/user/ada", "/main/permissions"):
        answer = await master.get(f"/self-serve{path}", user=USER)
        assert (answer.status, bool(answer.header("Retry-After"))) == (503, True), path
    assert (await master.get("/self-serve/main")).status == 200
