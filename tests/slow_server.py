"""A server that answers slowly: one piece of the body after the other.

It runs in a thread of its own, so that tests in a reactor can ask it with either client.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager

from tests import PATIENCE


class SlowServer:
    """Answers one request after the other with *pieces*, and waits some *seconds* after each.

    :param missing: bytes that are promised and never come
    :ivar requests: how many have come
    :ivar begun: the head of an answer was sent
    """

    def __init__(self, pieces: Sequence[bytes], seconds: float, missing: int) -> None:
        self.requests = 0
        self.begun = threading.Event()
        self._pieces = pieces
        self._length = sum(map(len, pieces)) + missing
        self._seconds = seconds
        self._left = threading.Event()
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def was_left(self) -> bool:
        """Whether the client hangs up soon."""
        return self._left.wait(PATIENCE / 2)

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(2 * PATIENCE)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return  # closed
            with connection:
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        connection.recv(65536)
        self.requests += 1
        head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
        connection.sendall(f"{head}Content-Length: {self._length}\r\n\r\n".encode())
        for piece in self._pieces:
            connection.sendall(piece)
            self.begun.set()
            if self._hangs_up(connection):
                self._left.set()
                return

    def _hangs_up(self, connection: socket.socket) -> bool:
        """Wait a while; return whether the client has gone in it."""
        connection.settimeout(self._seconds)
        try:
            return not connection.recv(1)
        except TimeoutError:
            return False
        except OSError:
            return True


@contextmanager
def slow_server(pieces: Sequence[bytes], seconds: float, missing: int = 0) -> Iterator[SlowServer]:
    """Run a server that answers with *pieces*."""
    server = SlowServer(pieces, seconds, missing)
    try:
        yield server
    finally:
        server.close()
