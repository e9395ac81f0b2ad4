"""Who may ask for what: nobody, the wrong password, the wrong role, the right one, another site."""

from __future__ import annotations

import base64
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from buildbot.www.auth import NoAuth

from tests.harness import PASSWORD
from tests.harness import USER
from tests.harness import config

BROWSER = "text/html,application/xhtml+xml"


async def rebuild(master: Any, **more: Any) -> Any:
    more.setdefault("data", {"build_id": "1"})
    return await master.post("/self-serve/main/build", **more)


async def is_untouched(master: Any) -> bool:
    """Whether nothing was done and nothing recorded."""
    rows = (await master.get("/self-serve/main")).json
    return len(rows) == 1 and (await master.get("/self-serve/jobs")).json == []


@pytest_twisted.ensureDeferred
async def test_nobody_is_refused_with_a_challenge(master: Any) -> None:
    await master.finished_build()
    answer = await rebuild(master)
    assert (answer.status, answer.json["status"]) == (401, "FAILED")
    assert answer.header("www-authenticate") == 'Basic realm="buildbot"'
    # a browser would open its own dialogue over the page that asks
    script = await rebuild(master, headers={"X-Requested-With": "XMLHttpRequest"})
    assert (script.status, script.header("www-authenticate")) == (401, None)
    page = await rebuild(master, json=False, headers={"Accept": BROWSER})
    assert (page.status, page.header("www-authenticate")) == (401, None)
    assert "/auth/login?redirect=%2Fself-serve%2Fmain%2Fbuild" in page.text
    assert await is_untouched(master)


WRONG = (
    "Basic " + base64.b64encode(b"ada:wrong").decode(),
    "Basic " + base64.b64encode(b"eve:analytical").decode(),
    "Basic " + base64.b64encode(b"ada").decode(),
    "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
    "Basic !!!",
    "Basic",
    "Bearer abc",
    "",
)


@pytest_twisted.ensureDeferred
async def test_wrong_credentials_are_refused(master: Any) -> None:
    await master.finished_build()
    for credentials in WRONG:
        answer = await rebuild(master, headers={"Authorization": credentials})
        assert answer.status == 401, credentials
    answer = await rebuild(master, headers={"Authorization": "a-secret-without-a-scheme"})
    assert (answer.status, "secret" in answer.text) == (401, False)
    assert await is_untouched(master)


async def log_in(master: Any, user: str = USER, password: str = PASSWORD) -> str:
    """Log in as a browser does; return the cookie."""
    answer = await master.get("/auth/login", auth=(user, password))
    assert answer.status == 302
    # the first one is of nobody's session, which the second one replaces
    cookie: str = answer.headers.getRawHeaders("set-cookie")[-1]
    return cookie.partition(";")[0]


@pytest_twisted.ensureDeferred
async def test_a_session_of_buildbot_is_good_here(master: Any) -> None:
    await master.finished_build()
    cookie = await log_in(master)
    page = await master.get("/self-serve/main", json=False, headers={"Cookie": cookie})
    assert "<span>ada</span>" in page.text
    headers = {"Cookie": cookie, "Origin": master.url, "Accept": BROWSER}
    answer = await rebuild(master, json=False, headers=headers)
    assert (answer.status, answer.header("location")) == (303, "/self-serve/jobs/1")
    job = (await master.get("/self-serve/jobs/1")).json
    assert (job["who"], job["via"]) == (USER, "session")


@pytest_twisted.ensureDeferred
async def test_nobody_is_given_a_session_that_they_did_not_ask_for(master: Any) -> None:
    for method, path in (("GET", "/self-serve"), ("POST", "/self-serve/main/build")):
        for json in (True, False):
            headers = {"Cookie": "a=b"}
            answer = await master.request(method, path, json=json, headers=headers)
            assert answer.header("set-cookie") is None


@pytest_twisted.ensureDeferred
async def test_a_forged_session_is_nobody(master: Any) -> None:
    await master.finished_build()
    headers = {"Cookie": "TWISTED_SESSION=eyJhbGciOiJub25lIn0.e30.", "X-Requested-With": "x"}
    assert (await rebuild(master, headers=headers)).status == 401


@pytest_twisted.ensureDeferred
async def test_another_site_cannot_use_a_session(master: Any) -> None:
    await master.finished_build()
    cookie = await log_in(master)
    for sent in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "https://evil.example", "X-Requested-With": "x"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Referer": "https://evil.example/page"},
        {},
    ):
        answer = await rebuild(master, headers={"Cookie": cookie, **sent})
        assert answer.status == 403, sent
    assert await is_untouched(master)
    for sent in (
        {"Origin": master.url},
        {"Sec-Fetch-Site": "same-origin"},
        {"Referer": f"{master.url}/self-serve/main"},
        {"X-Requested-With": "a script"},
    ):
        answer = await rebuild(master, headers={"Cookie": cookie, **sent})
        assert answer.status == 202, sent


@pytest_twisted.ensureDeferred
async def test_another_site_cannot_use_remembered_passwords(master: Any) -> None:
    await master.finished_build()
    answer = await rebuild(master, user=USER, headers={"Origin": "https://evil.example"})
    assert answer.status == 403
    assert await is_untouched(master)


def behind_a_proxy() -> Any:
    return config(auth=util.RemoteUserAuth(header="X-User", headerRegex=r"(?P<username>\w+)"))


@pytest.mark.parametrize("master", [behind_a_proxy], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_proxys_word_is_taken_where_it_is_configured(master: Any) -> None:
    await master.finished_build()
    assert (await rebuild(master)).status == 401
    assert (await rebuild(master, headers={"X-User": "!"})).status == 401
    # a proxy may pass on the password that it checked
    headers = {"X-User": "grace", "Authorization": "Basic Z3JhY2U6aG9wcGVy"}
    assert (await rebuild(master, headers=headers)).status == 202
    job = (await master.get("/self-serve/jobs/1")).json
    assert (job["who"], job["via"]) == ("grace", "remote_user")


@pytest_twisted.ensureDeferred
async def test_a_proxys_word_is_not_taken_elsewhere(master: Any) -> None:
    await master.finished_build()
    assert (await rebuild(master, headers={"REMOTE_USER": "ada@example.org"})).status == 401


def nobody_logs_in() -> Any:
    return config(auth=NoAuth())


@pytest.mark.parametrize("master", [nobody_logs_in], indirect=True)
@pytest_twisted.ensureDeferred
async def test_without_any_login_nothing_can_be_asked_for(master: Any) -> None:
    await master.finished_build()
    answer = await rebuild(master)
    assert (answer.status, answer.header("www-authenticate")) == (401, None)
    assert (await rebuild(master, user=USER)).status == 401
    assert await is_untouched(master)


def open_house() -> Any:
    return config(util.SelfServe(require_login=False), auth=NoAuth())


@pytest.mark.parametrize("master", [open_house], indirect=True)
@pytest_twisted.ensureDeferred
async def test_an_operator_may_let_everybody_in(master: Any) -> None:
    await master.finished_build()
    assert (await rebuild(master, headers={"Origin": "https://evil.example"})).status == 403
    assert (await rebuild(master)).status == 202
    job = (await master.get("/self-serve/jobs/1")).json
    assert (job["who"], job["via"]) == ("anonymous", "anonymous")


# -- the operator's rules


def ruled(*rules: Any) -> Any:
    """Return a master where ada is a builder-user and bob is nothing."""

    def make() -> Any:
        return config(
            auth=util.UserPasswordAuth({USER: PASSWORD, "bob": PASSWORD, "root": PASSWORD}),
            authz=util.Authz(
                allowRules=list(rules),
                roleMatchers=[
                    util.RolesFromUsername(roles=["devs"], usernames=[USER]),
                    util.RolesFromUsername(roles=["admins"], usernames=["root"]),
                    util.RolesFromOwner(role="owner"),
                ],
            ),
        )

    return make


async def cancel(master: Any, user: str) -> Any:
    """Cancel a new pending request as *user*; it belongs to nobody."""
    master.pause()
    request_id = await master.add_request()
    return await master.request("DELETE", f"/self-serve/main/request/{request_id}", user=user)


@pytest.mark.parametrize(
    ("master", "rebuilds", "cancels"),
    [
        # rule-less: any user that is known
        (ruled(), {USER, "bob", "root"}, {USER, "bob", "root"}),
        (ruled(util.AnyControlEndpointMatcher(role="admins")), {"root"}, {"root"}),
        (ruled(util.AnyEndpointMatcher(role="admins")), {"root"}, {"root"}),
        (ruled(util.RebuildBuildEndpointMatcher(role="devs")), {USER}, {USER, "bob", "root"}),
        (ruled(util.StopBuildEndpointMatcher(role="devs")), {USER, "bob", "root"}, {USER}),
        (
            ruled(util.StopBuildEndpointMatcher(builder="slow", role="devs")),
            {USER, "bob", "root"},
            {USER, "bob", "root"},
        ),
        (
            ruled(util.StopBuildEndpointMatcher(builder="fa*", role="devs")),
            {USER, "bob", "root"},
            {USER},
        ),
        (
            ruled(
                util.StopBuildEndpointMatcher(role="devs", defaultDeny=False),
                util.AnyControlEndpointMatcher(role="admins"),
            ),
            {"root"},
            {USER, "root"},
        ),
        (
            ruled(
                util.AnyControlEndpointMatcher(role="admins"),
                util.RebuildBuildEndpointMatcher(role="devs"),
            ),
            {"root"},
            {"root"},
        ),
    ],
    indirect=["master"],
)
@pytest_twisted.ensureDeferred
async def test_the_operators_rules_hold(master: Any, rebuilds: set[str], cancels: set[str]) -> None:
    await master.finished_build()
    for user in (USER, "bob", "root"):
        assert ((await rebuild(master, user=user)).status == 202) == (user in rebuilds), user
        assert ((await cancel(master, user)).status == 202) == (user in cancels), user


@pytest.mark.parametrize("master", [ruled(util.AnyEndpointMatcher(role="devs"))], indirect=True)
@pytest_twisted.ensureDeferred
async def test_what_is_closed_in_buildbot_is_closed_here(master: Any) -> None:
    for path in ("", "/branches", "/jobs", "/main"):
        assert (await master.get(f"/self-serve{path}")).status == 401
        assert (await master.get(f"/self-serve{path}", user="bob")).status == 403
    assert (await master.get("/self-serve/jobs", user=USER)).status == 200


@pytest.mark.parametrize(
    "master",
    [ruled(util.RebuildBuildEndpointMatcher(builder="fa*", role="devs"))],
    indirect=True,
)
@pytest_twisted.ensureDeferred
async def test_a_rule_about_rebuilding_builds_holds_for_requests(master: Any) -> None:
    master.pause()
    fast, slow = await master.add_request(), await master.add_request("slow")
    for user, request_id, status in (
        ("bob", fast, 403),
        (USER, fast, 202),
        ("bob", slow, 202),
    ):
        fields = {"request_id": request_id}
        answer = await master.post("/self-serve/main/request", user=user, data=fields)
        assert answer.status == status, user


@pytest.mark.parametrize(
    "master", [ruled(util.StopBuildEndpointMatcher(role="devs"))], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_a_rule_about_stopping_builds_holds_for_cancelling_them(master: Any) -> None:
    build = await master.running_build(await master.add_request("slow"))
    path = f"/self-serve/main/build/{build['buildid']}"
    assert (await master.request("DELETE", path, user="bob")).status == 403
    assert (await master.request("DELETE", path, user=USER)).status == 202


@pytest.mark.parametrize(
    "master", [ruled(util.StopBuildEndpointMatcher(role="owner"))], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_owners_may_cancel_what_is_theirs(master: Any) -> None:
    await master.finished_build()
    master.pause()
    receipt = (await rebuild(master, user="bob")).json
    path = f"/self-serve/main/request/{receipt['requests'][0]['request_id']}"
    refused = await master.request("DELETE", path, user=USER)
    assert (refused.status, refused.json["msg"]) == (403, "you need to have role 'owner'")
    assert (await master.request("DELETE", path, user="bob")).status == 202
