"""Requests that nobody who means well would send, made from the declarations.

Whatever comes out is a request that must not change anything: it comes from nobody, from somebody
whose password is wrong, from EVE, whom the rules let do nothing, with a token that is for reading,
or from ada with something in it that cannot be.
"""

from __future__ import annotations

import base64
import contextlib
import json
import socket
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from urllib.parse import urlencode

from hypothesis import strategies as st

from buildbot_selfserve.params.kinds import Param
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.routes import Route
from tests import PATIENCE
from tests.harness import PASSWORD
from tests.harness import USER
from tests.process_master import REVISION

EVE = "eve"
#: The name and the secret of a token that is good for nothing but reading.
READER, TOKEN = "reader", "a-token-that-may-read-hunter2"

#: What there is in the master that is attacked.
EXISTING = {
    "branch": "main",
    "build": "1",
    "step": "1",
    "log": "stdio",
    "request": "1",
    "revision": REVISION,
    "any_revision": REVISION,
    "builder": "fast",
    "builder_set": "nightly",
    "user": USER,
    "anybody": USER,
    "job": "1",
    "good": REVISION,
    "built_builder": "fast",
    "bisection": "5",
}
#: Ends a branch that cannot exist.
NOWHERE = "\x00nowhere"

TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            " ",
            "0",
            "-1",
            "1.5",
            "1e9",
            "٣",
            "99999999999",
            "9" * 30,
            "9" * 5000,
            "NaN",
            "null",
            "true",
            "[]",
            "{}",
            "[" * 2000,
            '{"a":' * 500,
            '{"a": NaN}',
            '{"a": 1e999}',
            '{"a": "\\u0000"}',
            '{"a": "\\ud800"}',
            '{"owner": "ada"}',
            '["a", 1]',
            "a/b",
            "..",
            ".",
            "%",
            "%25",
            "\x00",
            "a\r\nX-Injected: yes",
            "\x1b[2J",
            "\u202e",
            "\ufeff",
            "\U0001f4a9",
            "İ",
            "'; DROP TABLE builds; --",
            "<script>alert(1)</script>",
            "{{7*7}}",
            "${7*7}",
            "x" * 257,
            "x" * 4000,
            "2026-02-30",
            "0000-00-00",
            "9999-12-31",
            "main",
            REVISION,
            REVISION[:6],
        ]
    ),
    st.text(max_size=30),
    st.integers().map(str),
    st.floats().map(str),
)
#: Segments as they stand in a request, which need not be any text's encoding.
SEGMENTS = st.one_of(
    TEXTS.map(lambda text: quote(text, safe="", errors="surrogatepass")),
    st.sampled_from(
        [
            "",
            ".",
            "..",
            "%2e%2e",
            "%2E.",
            "%00",
            "%FF",
            "%C0%AF",
            "%ED%A0%80",
            "%F5%80%80%80",
            "%",
            "%zz",
            "%u0041",
            "a%2Fb",
            "%2F",
            "a;b=c",
            "a:b",
            "@",
            "~",
            "*",
            "\\",
            "^",
            "[",
            "{}",
        ]
    ),
    st.binary(max_size=8).map(quote),
)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=5,
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "get", "X-Y")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


#: What says who somebody is, without anybody being ada.
CREDENTIALS = st.sampled_from(
    [
        [],
        [("Authorization", basic(EVE, PASSWORD))],
        [("Authorization", basic(EVE, PASSWORD))],
        [("Authorization", basic(USER, "wrong"))],
        [("Authorization", basic(USER, ""))],
        [("Authorization", "Basic")],
        [("Authorization", "Basic !!!!")],
        [("Authorization", "Basic " + "A" * 3000)],
        [("Authorization", "Basic /////w==")],
        [("Authorization", f"Bearer {TOKEN}")],
        [("Authorization", "Bearer x")],
        [("Authorization", "Bearer ")],
        [("Authorization", "Digest username=ada")],
        [("Authorization", "\xff\xfe")],
        [("Cookie", "TWISTED_SESSION=x.y.z")],
        [("Cookie", ";=;;=")],
        [("X-Remote-User", USER), ("Remote-User", USER)],
    ]
)
OTHERS = st.lists(
    st.sampled_from(
        [
            ("Accept", "application/json"),
            ("Accept", "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"),
            ("Accept", ";q=;,,=;\xff"),
            ("Accept-Encoding", "gzip, br;q=0, \xff"),
            ("Origin", "https://evil.example"),
            ("Origin", "null"),
            ("Origin", "https://[evil"),
            ("Origin", "http://x:99999999"),
            ("Referer", "https://evil.example/"),
            ("Sec-Fetch-Site", "cross-site"),
            ("X-Requested-With", "x"),
            ("Idempotency-Key", "k"),
            ("Idempotency-Key", "\xff" * 300),
            ("If-None-Match", '*, W/"x", "'),
            ("Content-Encoding", "gzip"),
            ("X-HTTP-Method-Override", "DELETE"),
            ("X-Forwarded-For", "\xff"),
            ("X-Forwarded-Host", "evil.example"),
            ("Access-Control-Request-Method", "DELETE"),
            ("Range", "bytes=0-1"),
            ("Expect", "200-maybe"),
            ("Upgrade", "websocket"),
        ]
    ),
    max_size=4,
)
CONTENT_TYPES = st.sampled_from(
    [
        "application/x-www-form-urlencoded",
        "application/json",
        "multipart/form-data; boundary=xyz",
        "multipart/form-data",
        "text/plain",
        "application/json; charset=utf-16",
        "/; x*=%",
        "\xff",
    ]
)


@dataclass(frozen=True)
class Sent:
    """A request as it goes over the wire."""

    def __str__(self) -> str:
        return f"{self.method} {self.target[:25]} {self.body[:20]!r}"

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def encoded(self) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: 127.0.0.1", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


@dataclass(frozen=True)
class Received:
    """A whole answer; ``bare`` when it is Twisted's own, which closes without a header."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def bare(self) -> bool:
        return not self.headers and not self.body


def _names(route: Route) -> list[str]:
    return [param.name for param in route.all_params]


@st.composite
def queries(draw: Any, route: Route) -> str:
    """Return a query, without its question mark."""
    names = st.sampled_from([*_names(route), "format", "_method", "limit", "offset", "x", ""])
    pairs = draw(st.lists(st.tuples(names, TEXTS), max_size=4))
    # whoever may wait, waits no longer than the tests
    kept = [(name, "0" if name == "wait" and value.isdigit() else value) for name, value in pairs]
    encoded = urlencode(kept, errors="surrogatepass")
    return str(encoded + draw(st.sampled_from(["", "", "", "&%FF=1", "&%", "&" * 100])))


@st.composite
def bodies(draw: Any, route: Route, params: tuple[Param, ...]) -> tuple[str, bytes]:
    """Return a content type, and a body that may be of that type."""
    names = st.sampled_from([*(param.name for param in params), "_method", "x", ""])
    kind = draw(CONTENT_TYPES)
    if draw(st.integers(0, 9)) == 0:
        return kind, draw(st.binary(max_size=200))
    if "json" in kind:
        value = draw(st.dictionaries(names, JSONS, max_size=4) | JSONS)
        return kind, json.dumps(value).encode()
    fields = draw(st.lists(st.tuples(names, TEXTS), max_size=4))
    if "multipart" in kind:
        parts = [
            f'--xyz\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
            for name, value in fields
        ]
        return kind, "".join([*parts, "--xyz--\r\n"]).encode("utf-8", "surrogatepass")
    return kind, urlencode(fields, errors="surrogatepass").encode()


@st.composite
def requests(draw: Any, route: Route) -> Sent:
    """Return a request to *route*, or to something beside it."""
    segments = []
    for part in route.path[1:].split("/"):
        noun = part.strip("<>")
        if noun == part:
            segments.append(part)
        elif draw(st.booleans()):
            segments.append(quote(EXISTING[noun], safe=""))
        else:
            segments.append(draw(SEGMENTS))
    if draw(st.integers(0, 9)) == 0:
        segments.insert(draw(st.integers(0, len(segments))), draw(SEGMENTS))
    credentials = draw(CREDENTIALS)
    if segments and route.nouns[:1] == ("branch",) and draw(st.integers(0, 4)) == 0:
        credentials = [("Authorization", basic(USER, PASSWORD))]
        segments[0] = quote(draw(TEXTS) + NOWHERE, safe="", errors="surrogatepass")
    target = "/self-serve/" + "/".join(segments).replace("\r", "").replace("\n", "")
    query = draw(queries(route))
    method = draw(st.sampled_from([route.method] * 6 + list(METHODS)))
    headers = [*credentials, *draw(OTHERS)]
    body = b""
    if method not in ("GET", "HEAD") and draw(st.integers(0, 5)):
        params = tuple({param.name: param for one in ROUTES for param in one.params}.values())
        kind, body = draw(bodies(route, route.params if draw(st.booleans()) else params))
        headers.append(("Content-Type", kind))
    return Sent(method, target.rstrip("/") + (f"?{query}" if query else ""), tuple(headers), body)


def exchange(port: int, sent: bytes) -> Received:
    """Send bytes as they are; return what comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        # it may have heard enough, and answered
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
        data = b""
        while True:
            try:
                piece = connection.recv(65536)
            except ConnectionResetError:
                break
            if not piece:
                break
            data += piece
            if b"content-type: text/event-stream" in data.lower():
                break  # it never ends
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    pairs = [line.split(":", 1) for line in lines if ":" in line]
    headers = {name.lower(): value.strip() for name, value in pairs}
    return Received(int(first.split()[1]) if first else 0, headers, body)
