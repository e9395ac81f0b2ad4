"""The leanest client of HTTP: what it takes counts against everybody whom it asks."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Collection

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HEAD_END = b"\r\n\r\n"
JSON, HTML = "application/json", "text/html"


class Lost(Exception):
    """No answer came, or no whole one."""


def request(path: str, accept: str = JSON) -> bytes:
    """Return a GET for *path*, which is encoded already."""
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: {accept}\r\n\r\n".encode()


def whole(received: bytes | bytearray) -> tuple[int, int, int] | None:
    """Return the status and where the body of the answer in *received* begins and ends.

    ``None`` while it is not whole.

    :raises Lost: it does not say how long it is
    """
    head = received.find(_HEAD_END)
    if head < 0:
        return None
    found = _LENGTH.search(received, 0, head + 2)
    if found is None:
        raise Lost(bytes(received[:head]).decode("latin-1"))
    begin = head + len(_HEAD_END)
    end = begin + int(found[1])
    return None if len(received) < end else (int(received[9:12]), begin, end)


class Connection:
    """A connection that is kept, and made anew after an answer was lost.

    :param timeout: seconds
    :ivar lost: seconds that were spent on answers that never came
    """

    def __init__(self, port: int, timeout: float = 60.0) -> None:
        self.port = port
        self.timeout = timeout
        self.lost = 0.0
        self._socket: socket.socket | None = None

    def get(
        self,
        path: str,
        accept: str = JSON,
        attempts: int = 1,
        statuses: Collection[int] = (200,),
    ) -> bytes:
        """Return the body of the answer.

        :param attempts: how often it is asked when no answer comes
        :param statuses: that are answers
        :raises Lost: none came, or its status is another one
        """
        for last in range(attempts - 1, -1, -1):
            begun = time.perf_counter()
            try:
                status, body = self._ask(request(path, accept))
            except (OSError, Lost):
                self.close()
                self.lost += time.perf_counter() - begun
                if not last:
                    raise
                continue
            if status not in statuses:
                raise Lost(f"{status} for {path}: {body[:200]!r}")
            return body
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Hang up."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _ask(self, sent: bytes) -> tuple[int, bytes]:
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self.port), self.timeout)
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.sendall(sent)
        received = bytearray()
        while True:
            piece = self._socket.recv(1 << 18)
            if not piece:
                raise Lost("hung up")
            received += piece
            found = whole(received)
            if found is not None:
                status, begin, end = found
                return status, bytes(received[begin:end])
