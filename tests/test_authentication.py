"""Who may ask for what: nobody, the wrong password, the wrong role, the right one, another site."""

from __future__ import annotations

import base64
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from buildbot.www.auth import NoAuth
from buildbot.www.auth import build_cookie_name

from buildbot_selfserve.resources import ROUTES
from tests.harness import PASSWORD
from tests.harness import USER
from tests.harness import config
from tests.test_unreadable import EXISTING

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
    assert 'href="/auth/login?redirect=%2Fself-serve%2Fmain"' in page.text
    assert await is_untouched(master)


@pytest_twisted.ensureDeferred
async def test_a_login_leads_back_to_the_page(master: Any) -> None:
    await master.finished_build()
    day = await master.get("/self-serve/main?date=2026-01-31&limit=5", json=False)
    assert "redirect=%2Fself-serve%2Fmain%3Fdate%3D2026-01-31%26limit%3D5" in day.text
    for before, back in (
        (
            f"{master.url}/self-serve/main/build/1?x=1#top",
            "%2Fself-serve%2Fmain%2Fbuild%2F1%3Fx%3D1",
        ),
        (f"{master.url}/elsewhere", "%2Fself-serve%2Fmain"),
        ("https://[evil", "%2Fself-serve%2Fmain"),
        ("//evil.example/self-serve", "%2Fself-serve%2Fmain"),
    ):
        page = await rebuild(master, json=False, headers={"Accept": BROWSER, "Referer": before})
        assert page.status == 401
        assert f'href="/auth/login?redirect={back}"' in page.text, before


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
    answer = await rebuild(master, headers={"Authorization": "Bearer abc"})
    assert answer.json["msg"] == "This Buildbot takes no API tokens"
    assert answer.json["detail"] == "use a user name and a password"
    assert await is_untouched(master)


async def log_in(master: Any, user: str = USER, password: str = PASSWORD) -> str:
    """Log in as a browser does; return the cookie."""
    answer = await master.get("/auth/login", auth=(user, password))
    assert answer.status == 302
    # the first one is of nobody's session, which the second one replaces
    cookie: str = answer.headers.getRawHeaders("set-cookie")[-1]
    return cookie.partition(";")[0]


def with_a_token(**www: Any) -> Any:
    token = util.SelfServeToken("robot", "a-secret-that-is-long-enough")
    return lambda: config(util.SelfServe(tokens=[token]), **www)


RULED = util.Authz(
    allowRules=[util.AnyControlEndpointMatcher(role="none")],
    roleMatchers=[],
)


@pytest.mark.parametrize(
    "master", [with_a_token(), with_a_token(authz=RULED), config], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_wrong_credentials_are_refused_on_reads_as_well(master: Any) -> None:
    await master.finished_build()
    paths = [
        re.sub("<([a-z_]+)>", lambda noun: EXISTING[noun[1]], f"/self-serve{route.path}")
        for route in ROUTES
        if route.method == "GET"
    ]
    for path in paths:
        path = path.rstrip("/")
        for header in (WRONG[0], WRONG[4], "Bearer wrong", "Digest x"):
            for accept in ("application/json", "text/html"):
                headers = {"Accept": accept, "Authorization": header}
                answer = await master.get(path, json=False, headers=headers)
                assert answer.status == 401, (path, header)
        answer = await master.request("HEAD", path, headers={"Authorization": "Bearer wrong"})
        assert answer.status == 401
        # nobody in particular may read, and so may somebody
        if not path.endswith("/events"):
            for user in (None, USER):
                answer = await master.get(path, user=user)
                assert answer.status in (200, 400, 404), path
    assert master.errors == []


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


def behind_a_proxy_that_says_anything() -> Any:
    auth = util.RemoteUserAuth(header="X-User", headerRegex=r"(?P<username>.+)")
    return config(auth=auth)


@pytest.mark.parametrize("master", [behind_a_proxy_that_says_anything], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_name_that_is_no_text_is_nobodys(master: Any) -> None:
    await master.finished_build()
    headers = {"X-User": b"ren\xe9"}
    page = await master.get("/self-serve/main", json=False, headers=headers)
    assert (page.status, "<span>ren" in page.text) == (200, False)
    answer = await rebuild(master, headers=headers)
    assert (answer.status, answer.json["msg"]) == (401, "Buildbot does not know who you are")
    assert await is_untouched(master)
    assert (await rebuild(master, headers={"X-User": "rené".encode()})).status == 202
    assert (await master.get("/self-serve/jobs/1")).json["who"] == "rené"
    assert master.errors == []


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


# -- the kinds of www.auth


def session_of(master: Any, user_info: dict[str, Any]) -> dict[str, str]:
    """Return the headers of a page of somebody who has logged in, as OAuth2Auth leaves them."""
    session = master.master.www.site.makeSession()
    session.user_info = user_info
    cookie = build_cookie_name(False, [])
    return {"Cookie": f"{cookie.decode()}={session.uid}", "Origin": master.url}


#: What GitHubAuth knows of somebody (buildbot/www/oauth2.py).
OCTOCAT = {
    "email": "octo@example.org",
    "full_name": "The Octocat",
    "username": "octocat",
    "groups": ["buildbot", "buildbot/devs"],
}


def with_oauth() -> Any:
    return config(
        auth=util.GitHubAuth("id", "secret"),
        authz=util.Authz(
            allowRules=[
                util.RebuildBuildEndpointMatcher(role="devs"),
                util.StopBuildEndpointMatcher(role="owner"),
            ],
            roleMatchers=[
                util.RolesFromGroups(groupPrefix="buildbot/"),
                util.RolesFromOwner(role="owner"),
            ],
        ),
    )


@pytest.mark.parametrize("master", [with_oauth], indirect=True)
@pytest_twisted.ensureDeferred
async def test_who_logged_in_with_oauth_is_known_with_their_groups(master: Any) -> None:
    await master.finished_build()
    nobody = await rebuild(master)
    assert (nobody.status, nobody.header("www-authenticate")) == (401, None)
    master.pause()
    octocat = session_of(master, OCTOCAT)
    answer = await rebuild(master, headers=octocat)
    assert answer.status == 202
    job = (await master.get("/self-serve/jobs/1")).json
    assert (job["who"], job["via"]) == ("octo@example.org", "session")
    hubot = session_of(master, {"username": "hubot", "email": None, "groups": ["other"]})
    assert (await rebuild(master, headers=hubot)).status == 403
    path = f"/self-serve/main/request/{answer.json['requests'][0]['request_id']}"
    assert (await master.request("DELETE", path, headers=hubot)).status == 403
    assert (await master.request("DELETE", path, headers=octocat)).status == 202
    # passwords mean nothing here, and so do addresses that somebody without one may have
    assert (await rebuild(master, user=USER)).status == 401


class Checker(util.CustomAuth):
    """Somebody's own way to check a password."""

    def check_credentials(self, username: bytes, password: bytes) -> bool:
        return username == b"custom" and password == PASSWORD.encode()


def with_custom_auth() -> Any:
    return config(auth=Checker())


def with_a_password_file() -> Any:
    path = Path(tempfile.mkdtemp()) / "htpasswd"
    path.write_text(f"custom:{PASSWORD}\nada:other\n")
    return config(auth=util.HTPasswdAuth(str(path)))


@pytest.mark.parametrize("master", [with_custom_auth, with_a_password_file], indirect=True)
@pytest_twisted.ensureDeferred
async def test_passwords_are_checked_by_whoever_checks_them_for_buildbot(master: Any) -> None:
    await master.finished_build()
    assert (await rebuild(master, user=USER)).status == 401
    assert (await rebuild(master, user="custom")).status == 202
    cookie = await log_in(master, "custom")
    headers = {"Cookie": cookie, "Origin": master.url}
    assert (await rebuild(master, headers=headers)).status == 202
    jobs = (await master.get("/self-serve/jobs")).json
    assert [(job["who"], job["via"]) for job in jobs] == [
        ("custom", "session"),
        ("custom", "basic"),
    ]


def open_with_passwords() -> Any:
    return config(
        util.SelfServe(require_login=False),
        authz=util.Authz(
            allowRules=[util.StopBuildEndpointMatcher(role="devs")],
            roleMatchers=[util.RolesFromUsername(["devs"], [USER])],
        ),
    )


@pytest.mark.parametrize("master", [open_with_passwords], indirect=True)
@pytest_twisted.ensureDeferred
async def test_where_nobody_needs_to_be_known_rules_hold_all_the_same(master: Any) -> None:
    await master.finished_build()
    assert (await rebuild(master)).status == 202
    assert (await rebuild(master, user=USER)).status == 202
    # a wrong password is not made good by needing none
    assert (await rebuild(master, headers={"Authorization": WRONG[0]})).status == 401
    master.pause()
    path = f"/self-serve/main/request/{await master.add_request()}"
    assert (await master.request("DELETE", path)).status == 403
    assert (await master.request("DELETE", path, user=USER)).status == 202


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
