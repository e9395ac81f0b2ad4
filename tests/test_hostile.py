"""Whatever is sent: a clear answer, nothing changed, nothing in the log but who sent it.

``make fuzz`` sends ten thousand requests; the suite some hundred.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sqlite3
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck
from hypothesis import given
from hypothesis import settings

from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.web.security_headers import EVERY
from tests import hostile
from tests.harness import PASSWORD
from tests.harness import USER
from tests.hostile import EVE
from tests.hostile import READER
from tests.hostile import TOKEN
from tests.hostile import Received
from tests.hostile import Sent
from tests.hostile import basic
from tests.hostile import exchange
from tests.process_master import REVISION
from tests.process_master import ProcessMaster

#: How many requests to send to all routes together.
REQUESTS = int(os.environ.get("SELFSERVE_FUZZ", "750"))
EACH = max(1, REQUESTS // len(list(ROUTES)))

#: The largest head of a request that Twisted reads (twisted/web/http.py, totalHeadersSize).
TWISTEDS_LARGEST = 16384

#: What a request could change.
TABLES = (
    "buildrequest_claims",
    "buildrequests",
    "builds",
    "build_properties",
    "builders",
    "buildset_properties",
    "buildset_sourcestamps",
    "buildsets",
    "change_files",
    "changes",
    "schedulers",
    "sourcestamps",
    "users",
)

MORE = f"""
c["www"]["auth"] = util.UserPasswordAuth({{"{USER}": "{PASSWORD}", "{EVE}": "{PASSWORD}"}})
c["www"]["authz"] = util.Authz(
    allowRules=[util.AnyControlEndpointMatcher(role="admins")],
    roleMatchers=[util.RolesFromUsername(roles=["admins"], usernames=["{USER}"])])
from tests.harness import builder
c["builders"][1] = builder("slow", "sleep 3600")
"""
SELFSERVE = f"""util.SelfServe(
    tokens=[util.SelfServeToken("{READER}", "{TOKEN}", actions=[])],
    branches=[util.SelfServeBranch("main", sets={{"nightly": ["fast", "slow"]}})])"""


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: Any) -> Iterator[ProcessMaster]:
    """Run a master with a build that is over, one that runs, and a request that waits."""
    folder = tmp_path_factory.mktemp("attacked")
    master = ProcessMaster(folder, selfserve=SELFSERVE, more=MORE)
    master.start()
    try:
        for name in ("fast", "slow", "slow"):
            status, _ = master.send("POST", f"/self-serve/main/builders/{name}/{REVISION}")
            assert status == 202
        # a bisection that waits for what waits for ever, as job 5
        later = "d" * 40
        master.send("POST", f"/self-serve/main/builders/slow/{later}")
        ends = {"builder_name": "slow", "revision": later, "good": REVISION}
        status, begun = master.send("POST", "/self-serve/main/bisect", **ends)
        assert (status, str(begun["job_id"])) == (202, hostile.EXISTING["bisection"])
        states = [True, False]
        master.until(
            lambda: [build["complete"] for build in master.data("builds")["builds"]] == states,
            "one build is over, another runs",
        )
        time.sleep(1)  # its step has begun, so that nothing changes any more by itself
        yield master
    finally:
        master.kill()


def contents(master: ProcessMaster) -> dict[str, list[Any]]:
    """Return all rows of all tables that a request could change."""
    url = f"file:{master.folder}/state.sqlite?mode=ro"
    with sqlite3.connect(url, uri=True) as connection:
        return {
            name: connection.execute(f"SELECT * FROM {name} ORDER BY 1, 2").fetchall()
            for name in TABLES
        }


def journal(master: ProcessMaster) -> list[tuple[Any, ...]]:
    """Return who asked for what, and how it ended."""
    url = f"file:{master.folder}/state.sqlite?mode=ro"
    with sqlite3.connect(url, uri=True) as connection:
        query = "SELECT id, who, action, status, result FROM selfserve_jobs ORDER BY id"
        return connection.execute(query).fetchall()


def check(master: ProcessMaster, sent: Sent) -> Received:
    """Send a request; make sure that it was answered as anything must be, and changed nothing."""
    before, jobs = contents(master), journal(master)
    answer = exchange(master.port, sent.encoded())
    assert_decent(sent, answer)
    assert contents(master) == before
    # what may be done to no single one of several targets was asked for, and is on record
    for _, who, _, status, result in journal(master)[len(jobs) :]:
        assert (status, answer.status) == ("failed", 403)
        assert who in (EVE, READER)
        assert json.loads(result)["errors"]
    return answer


def assert_decent(sent: Sent, answer: Received) -> None:
    if answer.bare:
        # Twisted's own, to what is no HTTP; it may be lost when it closes in the middle of much
        assert answer.status == 400 or len(sent.encoded()) > TWISTEDS_LARGEST
        return
    assert 200 <= answer.status < 500
    assert answer.status not in (202, 303)
    assert b"Traceback" not in answer.body
    assert "x-injected" not in answer.headers
    for name, value in EVERY.items():
        assert answer.headers.get(name.lower()) == value, name
    if sent.method == "HEAD" or answer.status < 400:
        return
    kind = answer.headers["content-type"]
    if kind == "application/json":
        error = json.loads(answer.body)
        assert error["status"] == "FAILED"
        assert isinstance(error["msg"], str)
        assert error["msg"]
        assert set(error) <= {"status", "msg", "detail", "job_id", "job_url"}
    else:
        assert kind == "text/html; charset=utf-8"
        assert answer.body.startswith(b"<!DOCTYPE html>")
        assert b"<script>alert" not in answer.body


def assert_quiet(master: ProcessMaster) -> None:
    """Make sure that nothing went wrong inside."""
    assert not re.search("Traceback|Unhandled|selfserve: .* failed", master.log), master.log[-5000:]


SETTINGS = settings(
    max_examples=EACH,
    database=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize("name", [route.name for route in ROUTES])
def test_whatever_is_sent_is_answered_and_changes_nothing(
    attacked: ProcessMaster, name: str
) -> None:
    @SETTINGS
    @given(sent=hostile.requests(ROUTES[name]))
    def run(sent: Sent) -> None:
        check(attacked, sent)

    run()
    assert_quiet(attacked)


@pytest.mark.parametrize("name", [route.name for route in ROUTES if route.method != "GET"])
def test_whatever_the_rules_deny_is_denied_though_all_else_is_right(
    attacked: ProcessMaster, name: str
) -> None:
    """The requests above would prove nothing if none of them came as far as the rules."""
    route = ROUTES[name]
    path = re.sub("<([a-z_]+)>", lambda match: hostile.EXISTING[match[1]], route.path)
    fields = {"build_id": 1, "request_id": 1, "priority": 1, "builder_name": "fast"}
    fields["revision"] = REVISION
    fields |= {"reason": "r", "expires": int(time.time()) + 86_400}
    known = {param.name for param in route.params}
    body = json.dumps({key: value for key, value in fields.items() if key in known}).encode()
    headers = [("Accept", "application/json"), ("Authorization", basic(EVE, PASSWORD))]
    headers.append(("Content-Type", "application/json"))
    answer = check(attacked, Sent(route.method, f"/self-serve{path}", tuple(headers), body))
    assert answer.status == 403, answer.body


# -- sizes


def get(target: str, *headers: tuple[str, str]) -> Sent:
    return Sent("GET", target, (("Accept", "application/json"), *headers), b"")


def post(body: bytes, kind: str = "application/json", method: str = "POST") -> Sent:
    headers = (
        ("Accept", "application/json"),
        ("Authorization", basic(EVE, PASSWORD)),
        ("Content-Type", kind),
    )
    target = "/self-serve/main/" + ("build" if method.upper() == "POST" else "request/1")
    return Sent(method, target, headers, body)


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize(
    ("sent", "status", "msg"),
    [
        (get("/self-serve/" + "x" * 10000), 404, "Branch xxx"),
        (get("/self-serve/main/rev/" + "x" * 10000), 404, "Revision xxx"),
        (get("/self-serve/" + "/".join(["x"] * 5000)), 404, "There is nothing at this URL"),
        (get("/self-serve/main?" + "a=1&" * 1000), 400, "Bad query"),
        (get("/self-serve/main?date=" + "1" * 10000), 400, "Bad date"),
        (get("/self-serve/main?%FF=1"), 400, "Bad query"),
        (get("/self-serve/main/request/" + "9" * 10000), 404, "Request 999"),
        (get("/self-serve/a%00b"), 404, "Branch a\x00b not found"),
        (get("/self-serve/%C0%AF"), 400, "Bad URL"),
        (get("/self-serve/%ED%A0%80"), 400, "Bad URL"),
        (get("/self-serve/main/../branches"), 404, "There is nothing at this URL"),
        (get("/self-serve/main/%2e%2e/branches"), 404, "There is nothing at this URL"),
        (get("/self-serve/.."), 404, "Branch .. not found"),
        (get("/self-serve//main"), 404, "There is nothing at this URL"),
        (get("/self-serve/jobs?who=" + "x" * 300), 400, "Bad who"),
        (post(b"x" * 70000), 413, "The body is too large"),
        (post(b"x" * 10_000_000), 413, "The body is too large"),
        (
            post(b"a=1&" * 10000, FORM),
            400,
            "The body is not valid application/x-www-form-urlencoded",
        ),
        (post(b"[" * 60000), 400, "The body is not valid application/json"),
        (post(b'{"build_id": ' + b"[" * 20000 + b"]" * 20000 + b"}"), 400, ""),
        (post(b'{"build_id": NaN}'), 400, "The body is not valid application/json"),
        (post(b'{"build_id": Infinity}'), 400, "The body is not valid application/json"),
        (post(b'{"build_id": 1e999}'), 400, "The body is not valid application/json"),
        (post(b'{"build_id": 1.0}'), 400, "Bad build_id"),
        (post(b'{"build_id": "\\ud800"}'), 400, "Bad build_id"),
        (post(b'{"build_id": "1\\u0000"}'), 400, "Bad build_id"),
        (post(b'{"build_id": "\xc0\xaf"}'), 400, "The body is not valid application/json"),
        (post(b"build_id=%C0%AF", FORM), 400, "The body is not valid application/x-www-form"),
        (post(b'{"build_id": 1, "build_id": "x"}'), 400, ""),
        (post(b"[1]"), 400, "The body is not valid application/json"),
        (post(b"x", "text/plain"), 415, "Bodies of type text/plain are not supported"),
        # Twisted itself takes bodies of POST apart, and only of that
        (post(b"", "(" * 15000), 400, "Bad build_id"),
        (post(b"x", "(" * 15000, "post"), 415, "Bodies of type (none) are not supported"),
        (post(b"x", "(" * 15000, "PUT"), 415, "Bodies of type (none) are not supported"),
        (post(b"x", "(" * 250, "PUT"), 415, "Bodies of type"),
        (post(b"x", "a/b; x*", "PUT"), 415, "Bodies of type"),
    ],
    ids=lambda value: str(value)[:50],
)
def test_what_is_too_large_too_deep_or_no_text_is_named(
    attacked: ProcessMaster, sent: Sent, status: int, msg: str
) -> None:
    answer = check(attacked, sent)
    assert answer.status == status
    assert json.loads(answer.body)["msg"].startswith(msg)
    assert len(answer.body) < 20000
    assert_quiet(attacked)


@pytest.mark.parametrize(
    "sent",
    [
        # over Twisted's own bounds, and what is no HTTP: it answers 400 and closes
        get("/self-serve/" + "x" * 64 * 1024).encoded(),
        get("/self-serve/branches", ("X", "x" * 64 * 1024)).encoded(),
        get("/self-serve/branches", *[(f"X-{n}", "x") for n in range(1000)]).encoded(),
        b"GET /self-serve/branches HTTP/1.1\r\nContent-Length: x\r\n\r\n",
        b"GET /self-serve/branches\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"POST /self-serve/main/build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /self-serve/main/build HTTP/1.1\r\nContent-Length: 1\r\n"
        b"Content-Type: multipart/form-data; boundary=\r\nConnection: close\r\n\r\nx",
    ],
    ids=lambda sent: repr(sent[:40]),
)
def test_what_is_no_http_is_dropped_and_the_master_lives(
    attacked: ProcessMaster, sent: bytes
) -> None:
    before = contents(attacked)
    answer = exchange(attacked.port, sent)
    # the 400 may be lost when the connection is closed in the middle of what was sent
    assert answer.status in (0, 400)
    assert answer.bare
    assert contents(attacked) == before
    assert attacked.send("GET", "/self-serve/branches")[0] == 200
    assert_quiet(attacked)


def test_a_body_that_comes_slowly_keeps_nobody_waiting(attacked: ProcessMaster) -> None:
    whole = post(b'{"build_id": 1}').encoded()
    slow = [socket.create_connection(("127.0.0.1", attacked.port)) for _ in range(50)]
    try:
        for one in slow:
            one.sendall(whole[:-10])
        begun = time.monotonic()
        assert attacked.send("GET", "/self-serve/branches")[0] == 200
        assert time.monotonic() - begun < 30
        slow[0].sendall(whole[-10:])
        assert slow[0].recv(100).startswith(b"HTTP/1.1 403")
    finally:
        for one in slow:
            one.close()
    assert_quiet(attacked)


def test_a_type_that_twisted_cannot_read_is_dropped_and_the_master_lives(
    process_master: ProcessMaster,
) -> None:
    """Twisted reads the type of a POST before we see it, and logs a traceback of its own."""
    for kind in ("a/b; x*", "(" * 15000):
        assert exchange(process_master.port, post(b"x", kind).encoded()) == Received(0, {}, b"")
    assert process_master.send("GET", "/self-serve/branches")[0] == 200
    assert "_parseContentType" in process_master.log
    assert journal(process_master) == []
