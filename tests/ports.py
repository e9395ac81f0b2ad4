"""Ports for servers that are started in a moment."""

from __future__ import annotations

import random
import socket

#: Below those that the kernel gives to connections, which could take one before its server does.
PORTS = range(12000, 32000)


def free_port() -> int:
    """Return a port that nobody listens on, and that no outgoing connection gets meanwhile."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
