"""Where Buildbot's login and logout end: on the page of ours that led there."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs
from urllib.parse import quote
from urllib.parse import urlsplit

import pytest
import pytest_twisted
from buildbot.plugins import util
from buildbot.www.auth import NoAuth
from buildbot.www.oauth2 import OAuth2Auth
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import Site

from tests.harness import PASSWORD
from tests.harness import USER
from tests.harness import config

HERE = "/self-serve/main?date=2026-01-31"


def door(name: str, back: str) -> str:
    return f"/auth/{name}?redirect={quote(back, safe='')}"


class Checker(util.CustomAuth):
    """A password check of an operator's own."""

    def check_credentials(self, username: bytes, password: bytes) -> bool:
        return (username, password) == (USER.encode(), PASSWORD.encode())


def with_custom_auth() -> Any:
    return config(auth=Checker())


def with_a_password_file() -> Any:
    path = Path(tempfile.mkdtemp()) / "htpasswd"
    path.write_text(f"{USER}:{PASSWORD}\n")
    return config(auth=util.HTPasswdAuth(str(path)))


@pytest.mark.parametrize("master", [config, with_custom_auth, with_a_password_file], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_login_and_a_logout_end_on_the_page(master: Any) -> None:
    asked = await master.get(door("login", HERE))
    assert (asked.status, "basic" in asked.text.lower()) == (401, False)
    assert any(
        value.startswith("basic") for value in asked.headers.getRawHeaders("www-authenticate")
    )
    login = await master.get(door("login", HERE), auth=(USER, PASSWORD))
    assert (login.status, login.header("location")) == (302, HERE)
    cookie = login.headers.getRawHeaders("set-cookie")[-1].partition(";")[0]
    page = await master.get(HERE, json=False, headers={"Cookie": cookie})
    assert f"<span>{USER}</span>" in page.text
    logout = await master.get(door("logout", HERE), headers={"Cookie": cookie})
    assert (logout.status, logout.header("location")) == (302, HERE)
    cookie = logout.headers.getRawHeaders("set-cookie")[-1].partition(";")[0]
    page = await master.get(HERE, json=False, headers={"Cookie": cookie})
    assert f"<span>{USER}</span>" not in page.text


#: What leads to no page of ours stays Buildbot's affair: one of its own pages, after a "#".
ELSEWHERE = (
    "/builders/1",
    "/self-server",
    "//evil.example/self-serve",
    "https://evil.example/self-serve",
    "/self-serve.evil.example",
    "/self-serve@evil.example",
    "/self-serve/../..//evil.example",
    "/self-serve/main/%2E%2e/../x",
    "/self-serve/.",
    "/self-serve/main\\..\\..\\\\evil.example",
    "/self-serve/main\r\nX-Evil: 1",
    "/self-serve/main\0",
    "/self-serve/b\xe4ume",
    "/self-serve/main#/builders",
    "",
)


@pytest_twisted.ensureDeferred
async def test_a_login_leads_to_no_other_place(master: Any) -> None:
    for name in ("login", "logout"):
        for back in ELSEWHERE:
            answer = await master.get(door(name, back), auth=(USER, PASSWORD))
            assert answer.header("location").startswith(f"{master.url}/#"), back
            assert answer.header("x-evil") is None
        answer = await master.get(f"/auth/{name}", auth=(USER, PASSWORD))
        assert answer.header("location") == f"{master.url}/#/"
        # only the first of several counts, as for Buildbot
        path = f"{door(name, '/builders')}&redirect=%2Fself-serve"
        answer = await master.get(path, auth=(USER, PASSWORD))
        assert answer.header("location") == f"{master.url}/#/builders"
    for back in ("/self-serve", "/self-serve?x=1", "/self-serve/a..b/rev/%2F%25?x=/../"):
        answer = await master.get(door("login", back), auth=(USER, PASSWORD))
        assert answer.header("location") == back
    # what else is below /auth is as it was
    assert (await master.get("/auth/elsewhere?redirect=%2Fself-serve")).status == 404
    # nor does it fail at what Buildbot would not read
    answer = await master.get("/auth/login?state=%25ff%3D%2500", auth=(USER, PASSWORD))
    assert answer.header("location") == f"{master.url}/#/"


def moved() -> Any:
    return {
        **config(util.SelfServe(path="tools/ci")),
        "buildbotURL": "https://ci.example.org/bb/",
    }


@pytest_twisted.ensureDeferred
async def test_it_follows_the_configuration(master: Any) -> None:
    await master.reconfig(moved)
    answer = await master.get(door("login", HERE), auth=(USER, PASSWORD))
    assert answer.header("location") == "/bb/tools/ci/main?date=2026-01-31"
    # without us, all is Buildbot's own
    await master.reconfig(lambda: config(None))
    answer = await master.get(door("login", HERE), auth=(USER, PASSWORD))
    assert answer.header("location") == f"{master.url}/#{HERE}"
    await master.reconfig(config)
    answer = await master.get(door("login", HERE), auth=(USER, PASSWORD))
    assert answer.header("location") == HERE
    assert master.errors == []


# -- logins that end elsewhere first


class Provider(Resource):
    """An OAuth provider: it takes the code ``good``, and knows one user."""

    def __init__(self) -> None:
        super().__init__()
        self.isLeaf = True

    def render_POST(self, request: Any) -> bytes:
        """Give a token for a code."""
        if request.args[b"code"] != [b"good"]:
            request.setResponseCode(400)
            return b"{}"
        return json.dumps({"access_token": "token"}).encode()

    def render_GET(self, _request: Any) -> bytes:
        """Tell who has the token."""
        return json.dumps({"username": "octo", "email": "octo@example.org"}).encode()


class Login(OAuth2Auth):
    """A login at ``Provider``."""

    def __init__(self, url: str) -> None:
        super().__init__("id", "secret")
        self.resourceEndpoint = url
        self.authUri, self.tokenUri = f"{url}/authorize", f"{url}/token"

    def getUserInfoFromOAuthClient(self, c: Any) -> Any:
        """Return what the provider knows."""
        return self.get(c, "/user")


@pytest_twisted.async_yield_fixture
async def provider() -> AsyncIterator[str]:
    """Run a provider; return its URL."""
    site: Any = Site(Provider())
    port: Any = reactor.listenTCP(0, site, interface="127.0.0.1")
    yield f"http://127.0.0.1:{port.getHost().port}"
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_login_elsewhere_ends_on_the_page(master: Any, provider: str) -> None:
    await master.reconfig(lambda: config(auth=Login(provider)))
    asked = await master.get(door("login", HERE))
    url = urlsplit(asked.header("location"))
    assert (asked.status, f"{url.scheme}://{url.netloc}{url.path}") == (
        302,
        f"{provider}/authorize",
    )
    query = parse_qs(url.query)
    # the one that is registered with the provider
    assert query["redirect_uri"] == [f"{master.url}/auth/login"]
    back = quote(query["state"][0], safe="")
    login = await master.get(f"/auth/login?code=good&state={back}")
    assert (login.status, login.header("location")) == (302, HERE)
    cookie = login.headers.getRawHeaders("set-cookie")[-1].partition(";")[0]
    page = await master.get(HERE, json=False, headers={"Cookie": cookie})
    assert "<span>octo@example.org</span>" in page.text
    logout = await master.get(door("logout", HERE), headers={"Cookie": cookie})
    assert logout.header("location") == HERE
    # a state that leads elsewhere, or is none
    for state in ("redirect=%2F%2Fevil.example", "redirect=/builders", "x", ""):
        login = await master.get(f"/auth/login?code=good&state={quote(state, safe='')}")
        assert login.header("location").startswith(f"{master.url}/"), state
        assert "evil" not in login.header("location").partition("#")[0]


def behind_a_proxy() -> Any:
    return config(auth=util.RemoteUserAuth(header="X-User", headerRegex=r"(?P<username>\w+)"))


def nobody_logs_in() -> Any:
    return config(auth=NoAuth())


@pytest.mark.parametrize(
    ("master", "status"), [(behind_a_proxy, 403), (nobody_logs_in, 500)], indirect=["master"]
)
@pytest_twisted.ensureDeferred
async def test_where_nobody_can_log_in_no_page_offers_it(master: Any, status: int) -> None:
    await master.finished_build()
    for path in ("/self-serve", HERE, "/self-serve/main/build/1", "/self-serve/nowhere"):
        page = await master.get(path, json=False)
        assert "/auth/" not in page.text, path
    assert (await master.get(door("login", HERE))).status == status
