"""Bare twisted.web, or bare Klein, that answers with given bytes: ``python -m benchmarks.bare``.

Reads from standard input, as a line of JSON, which of the two, the bodies by the names that they
have in URLs, and the file of its access log. Writes the port on which it listens as a line, and
ends when standard input does.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from typing import Any

from klein import Klein
from twisted.internet import reactor as _reactor
from twisted.web.resource import Resource
from twisted.web.server import Request
from twisted.web.server import Site

from benchmarks import wire

reactor: Any = _reactor


class _Body(Resource):
    def __init__(self, body: bytes) -> None:
        Resource.__init__(self)
        self.isLeaf = True
        self._body = body

    def render_GET(self, request: Request) -> bytes:
        request.setHeader(b"Content-Type", wire.JSON.encode())
        return self._body


def _end_with_input() -> None:
    sys.stdin.read()
    os._exit(0)


def _twisted(bodies: dict[str, bytes]) -> Resource:
    root = Resource()
    for name, body in bodies.items():
        root.putChild(name.encode(), _Body(body))
    return root


def _klein(bodies: dict[str, bytes]) -> Resource:
    app = Klein()

    def answer(request: Request, name: str) -> bytes:
        request.setHeader(b"Content-Type", wire.JSON.encode())
        request.setHeader(b"Content-Length", b"%d" % len(bodies[name]))
        return bodies[name]

    app.route("/<name>")(answer)
    resource: Resource = app.resource()
    return resource


def main() -> None:
    """Serve until standard input ends."""
    told = json.loads(sys.stdin.readline())
    bodies = {name: text.encode() for name, text in told["bodies"].items()}
    root = {"twisted": _twisted, "klein": _klein}[told["kind"]](bodies)
    site = Site(root, logPath=told["access_log"])  # as every master has one
    port = reactor.listenTCP(0, site, interface="127.0.0.1")
    print(port.getHost().port, flush=True)
    threading.Thread(target=_end_with_input, daemon=True).start()
    reactor.run()


if __name__ == "__main__":
    main()
