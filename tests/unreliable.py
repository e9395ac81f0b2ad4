"""A proxy before a real master that now and then does what networks and proxies do.

It runs in threads of its own, so that tests in a reactor and tests of another process can use it.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import field
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from typing import Any

from tests import PATIENCE

#: The request does not reach the master; the connection is closed.
LOST = "lost"
#: The master does what it was asked; its answer is lost.
DONE_BUT_LOST = "done but lost"


@dataclass
class Fault:
    """An answer that the proxy makes itself."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Seen:
    """A request that came."""

    method: str
    path: str
    headers: dict[str, str]


class Unreliable(ThreadingHTTPServer):
    """Passes requests on to *upstream*, a port, but for one fault of ``faults`` after the other.

    :param prefix: stands before each path, and is taken away
    """

    daemon_threads = True

    def __init__(self, upstream: int, prefix: str = "") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.prefix = prefix
        self.faults: list[Fault | str] = []
        #: what every request gets once ``faults`` are used up
        self.always: Fault | str | None = None
        self.seen: list[Seen] = []

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def url(self) -> str:
        return f"{self.origin}{self.prefix}/self-serve"


class _Handler(BaseHTTPRequestHandler):
    server: Any

    def _handle(self) -> None:
        proxy: Unreliable = self.server
        headers = {name.lower(): value for name, value in self.headers.items()}
        body = self.rfile.read(int(headers.get("content-length", 0)))
        proxy.seen.append(Seen(self.command, self.path, headers))
        fault = proxy.faults.pop(0) if proxy.faults else proxy.always
        if isinstance(fault, Fault):
            self._say(fault.status, fault.headers, fault.body)
            return
        if fault != LOST:
            answer = self._passed_on(proxy, headers, body)
            if fault != DONE_BUT_LOST:
                self._say(*answer)
        self.close_connection = True

    do_GET = do_POST = do_PUT = do_DELETE = _handle  # noqa: N815

    def _passed_on(
        self, proxy: Unreliable, headers: dict[str, str], body: bytes
    ) -> tuple[int, dict[str, str], bytes]:
        assert self.path.startswith(proxy.prefix)
        upstream = http.client.HTTPConnection("127.0.0.1", proxy.upstream, timeout=PATIENCE)
        try:
            path = self.path.removeprefix(proxy.prefix)
            upstream.request(self.command, path, body or None, headers)
            answer = upstream.getresponse()
            kept = dict(answer.getheaders())
            return answer.status, kept, answer.read()
        finally:
            upstream.close()

    def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def unreliable(upstream: int, prefix: str = "") -> Iterator[Unreliable]:
    """Run a proxy before the master at a port of this machine."""
    proxy = Unreliable(upstream, prefix)
    thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.shutdown()
        proxy.server_close()
        thread.join(PATIENCE)
