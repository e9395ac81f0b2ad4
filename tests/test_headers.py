"""Headers of every answer of every route; what pages of other sites may read and send."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.endpoints import connectProtocol
from twisted.web import http

from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.views.error_responses import STATUS
from buildbot_selfserve.web.responses import PHRASES
from buildbot_selfserve.web.security_headers import EVERY
from tests.harness import USER
from tests.harness import Received
from tests.harness import config
from tests.harness import running_master
from tests.test_authentication import log_in
from tests.test_contract import body_of
from tests.test_contract import fits
from tests.test_contract import furnish
from tests.test_contract import path_of
from tests.test_contract import reads
from tests.test_contract import url_of

TOOLS = "https://tools.example.org"
EVIL = "https://evil.example"


def with_origins(*origins: str, **more: Any) -> Any:
    return lambda: config(allowed_origins=list(origins), **more)


def lacking(answer: Any) -> dict[str, str | None]:
    """Return those of the headers of every answer that *answer* has otherwise."""
    return {
        name: answer.header(name) for name, value in EVERY.items() if answer.header(name) != value
    }


def cors(answer: Any) -> dict[str, str]:
    """Return the headers of *answer* that tell browsers what other sites may do."""
    return {
        name.decode().lower(): values[0].decode()
        for name, values in answer.headers.getAllRawHeaders()
        if name.lower().startswith(b"access-control-")
    }


async def exchange(master: Any, sent: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes as they are; return the status, the headers and the body."""
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", master.loader.port)
    received = await connectProtocol(endpoint, Received())
    received.transport.write(sent)
    head, _, body = (await received.whole).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return int(first.split()[1]), {name.lower(): value for name, value in pairs}, body


@pytest.mark.heavy
@pytest.mark.parametrize("master", [with_origins(TOOLS)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_every_route_has_them_whatever_it_answers(master: Any) -> None:
    await furnish(master)
    seen = set()
    for route in ROUTES:
        path, body = path_of(route), body_of(route)
        # a stream would never end, but its head does
        own = "HEAD" if route.live == "text/event-stream" else route.method
        for method in (own, "PATCH", "OPTIONS", "HEAD"):
            for user in (None, USER):
                for headers in ({}, {"Origin": TOOLS}, {"Origin": EVIL}):
                    for json in (True, False):
                        # no builds are made: what is asked for here is refused
                        data = {**body, "priority": "x"} if method in ("POST", "PUT") else None
                        method_path = path if method != "DELETE" else path.replace("main", "none")
                        answer = await master.request(
                            method, method_path, user=user, json=json, headers=headers, data=data
                        )
                        what = f"{method} {path} {headers} {answer.status}"
                        assert lacking(answer) == {}, what
                        allowed = headers.get("Origin") == TOOLS
                        assert bool(cors(answer)) == allowed, what
                        if allowed:
                            assert cors(answer)["access-control-allow-origin"] == TOOLS, what
                            assert cors(answer)["access-control-allow-credentials"] == "true", what
                        seen.add(answer.status)
    assert {200, 204, 400, 401, 403, 404, 405} <= seen


@pytest.mark.parametrize("master", [with_origins(TOOLS)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_so_have_answers_that_come_from_elsewhere(master: Any) -> None:
    await furnish(master)
    origin = {"Origin": TOOLS}
    tag = str((await master.raw("/self-serve/branches", {})).header("etag"))
    for status, answer in (
        (304, await master.raw("/self-serve/branches", {"If-None-Match": tag, **origin})),
        (301, await master.get("/self-serve/branches/", headers=origin)),
        (308, await master.post("/self-serve/main/build/", headers=origin)),
        (404, await master.get("/self-serve/a//b", headers=origin)),
        (404, await master.get("/self-serve//", headers=origin)),
        (400, await master.get("/self-serve/%FF", headers=origin)),
        (400, await master.get("/self-serve/branches?format=xml", headers=origin)),
        (400, await master.post("/self-serve/main/build", data={"_method": "X"}, headers=origin)),
        (413, await master.post("/self-serve/main/build", user=USER, data=b"x" * 99999)),
        (
            415,
            await master.post(
                "/self-serve/main/build",
                user=USER,
                data=b"x",
                headers={"Content-Type": "text/plain", **origin},
            ),
        ),
    ):
        assert answer.status == status
        assert lacking(answer) == {}, status
        assert bool(cors(answer)) == (status != 413), status


@pytest.mark.parametrize(
    "master", [lambda: config(util.SelfServe(path="tools/ci/self-serve"))], indirect=True
)
@pytest_twisted.ensureDeferred
async def test_so_has_what_is_on_the_way_to_us(master: Any) -> None:
    for path in (
        "/tools",
        "/tools/",
        "/tools/ci",
        "/tools/ci/",
        "/tools/elsewhere/x",
        "/tools/%FF",
    ):
        for method in ("GET", "POST", "HEAD", "OPTIONS"):
            answer = await master.request(method, path)
            assert (answer.status, lacking(answer)) == (404, {}), f"{method} {path}"
        assert (await master.get(path)).json["status"] == "FAILED"
        page = await master.get(path, json=False)
        assert page.text.startswith("<!DOCTYPE html>")
    assert (await master.get("/tools/ci/self-serve/branches")).status == 200
    assert master.errors == []


@pytest_twisted.ensureDeferred
async def test_old_clients_get_them_too(master: Any) -> None:
    for head in (
        b"GET /self-serve/branches HTTP/1.0\r\n\r\n",
        b"GET /self-serve/nowhere/x HTTP/1.0\r\n\r\n",
        b"POST /self-serve/main/build HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
        b"GET /self-serve/branches HTTP/1.1\r\nConnection: close\r\n\r\n",
    ):
        status, headers, _ = await exchange(master, head)
        assert status < 500, head
        for name, value in EVERY.items():
            assert headers[name.lower()] == value, head


@pytest.mark.parametrize("host", [b"a..b", b".", b"", b"\xff", b"x" * 64, b"[::1", b"a b:c", b":"])
@pytest_twisted.ensureDeferred
async def test_nothing_depends_on_the_name_of_the_host(master: Any, host: bytes) -> None:
    for path, status in ((b"", 200), (b"/branches", 200), (b"/nowhere", 404), (b"/jobs/", 301)):
        lines = [b"GET /self-serve" + path + b" HTTP/1.1", b"Host: " + host, b"Connection: close"]
        answer, headers, _ = await exchange(master, b"\r\n".join([*lines, b"", b""]))
        assert answer == status
        assert headers.get("location") in (None, "/self-serve/jobs")
    assert master.errors == []


@pytest_twisted.ensureDeferred
async def test_a_proxy_may_ask_through_a_socket(tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket must be short
    async with running_master(tmp_path, monkeypatch, lambda: config(port="unix:web")) as master:
        for host in (b"", b"Host: x\r\n"):
            received = await connectProtocol(UNIXClientEndpoint(reactor, "web"), Received())
            received.transport.write(b"GET /self-serve/branches HTTP/1.0\r\n" + host + b"\r\n")
            assert (await received.whole).startswith(b"HTTP/1.0 200 OK")
        assert master.errors == []


@pytest.mark.parametrize("master", [with_origins(TOOLS)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_every_path_tells_a_browser_beforehand_what_may_be_sent(master: Any) -> None:
    await furnish(master)
    for route in ROUTES:
        has = {other.method for other in ROUTES if fits(other, route)}
        methods = sorted({*has, "OPTIONS", *({"HEAD"} if "GET" in has else set())})
        plain = await master.request("OPTIONS", path_of(route))
        assert (plain.status, plain.body) == (204, b"")
        assert plain.header("allow") == ", ".join(methods), route.name
        assert cors(plain) == {}
        asking = {
            "Access-Control-Request-Method": route.method,
            "Access-Control-Request-Headers": "authorization, idempotency-key",
        }
        asked = await master.request("OPTIONS", path_of(route), headers={"Origin": TOOLS, **asking})
        assert asked.status == 204
        told = cors(asked)
        assert told["access-control-allow-origin"] == TOOLS
        assert told["access-control-allow-credentials"] == "true"
        assert route.method in told["access-control-allow-methods"].split(", ")
        assert {"Authorization", "Content-Type", "Idempotency-Key"} <= set(
            told["access-control-allow-headers"].split(", ")
        )
        foreign = await master.request(
            "OPTIONS", path_of(route), headers={"Origin": EVIL, **asking}
        )
        assert (foreign.status, cors(foreign)) == (204, {})
    nowhere = await master.request("OPTIONS", "/self-serve/a/b/c/d/e", headers={"Origin": TOOLS})
    assert nowhere.status == 404


@pytest.mark.parametrize("master", [with_origins(TOOLS)], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_dashboard_elsewhere_cancels_with_its_visitors_session(master: Any) -> None:
    master.pause()
    request_id = await master.add_request()
    cookie = await log_in(master)
    path = f"/self-serve/main/request/{request_id}"
    fields = {"_method": "DELETE"}
    for origin in (EVIL, "null", "https://tools.example.org.evil.example"):
        answer = await master.post(path, data=fields, headers={"Cookie": cookie, "Origin": origin})
        assert (answer.status, cors(answer)) == (403, {})
    answer = await master.post(path, data=fields, headers={"Cookie": cookie, "Origin": TOOLS})
    assert answer.status == 202
    assert answer.json["requests"][0]["outcome"] == "cancelled"
    assert cors(answer) == {
        "access-control-allow-origin": TOOLS,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "ETag, Link, Location, Retry-After, WWW-Authenticate",
    }
    (job,) = (await master.get("/self-serve/jobs")).json
    assert (job["who"], job["via"], job["action"]) == (USER, "session", "cancel_request")


@pytest.mark.parametrize("pattern", ["*", "*://*", "https://*", "http*", "https://*:*"])
@pytest_twisted.ensureDeferred
async def test_who_lets_everybody_in_lets_nobody_act_for_others(
    tmp_path: Any, monkeypatch: Any, pattern: str
) -> None:
    from tests.harness import running_master

    async with running_master(tmp_path, monkeypatch, with_origins(pattern)) as master:
        build = await master.finished_build()
        cookie = await log_in(master)
        evil = "https://evil.example:8443"
        headers = {"Cookie": cookie, "Origin": evil}
        fields = {"build_id": build["buildid"]}
        answer = await master.post("/self-serve/main/build", data=fields, headers=headers)
        assert answer.status == 403
        read = await master.get("/self-serve/branches", headers=headers)
        assert read.status == 200
        assert cors(read) == {
            "access-control-allow-origin": evil,
            "access-control-expose-headers": "ETag, Link, Location, Retry-After, WWW-Authenticate",
        }


@pytest.mark.parametrize("master", [with_origins("*")], indirect=True)
@pytest_twisted.ensureDeferred
async def test_who_lets_everybody_in_is_still_at_home(master: Any) -> None:
    build = await master.finished_build()
    cookie = await log_in(master)
    answer = await master.post(
        "/self-serve/main/build",
        data={"build_id": build["buildid"]},
        headers={"Cookie": cookie, "Origin": master.url},
    )
    assert answer.status == 202


@pytest_twisted.ensureDeferred
async def test_two_origins_are_no_origin(master: Any) -> None:
    await furnish(master)
    for route in reads():
        sent = (
            f"GET {url_of(route)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Accept: application/json\r\nOrigin: {master.url}\r\nOrigin: {EVIL}\r\n\r\n"
        )
        status, headers, _ = await exchange(master, sent.encode())
        assert status == 200, route.path
        assert "access-control-allow-origin" not in headers


def test_every_status_has_words() -> None:
    assert set(STATUS.values()) <= {*http.RESPONSES, *PHRASES}
