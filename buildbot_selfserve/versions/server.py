"""Asks a PostgreSQL server for its version over a connection of the reactor's, without waiting."""

from __future__ import annotations

import math
import os
import select
import socket
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import sqlalchemy as sa
from twisted.internet import defer
from twisted.internet.interfaces import IReadDescriptor
from zope.interface import implementer

from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.deferreds import SharedResult
from buildbot_selfserve.history.index import Version
from buildbot_selfserve.history.index import queries

#: The driver whose connections the reactor can use; a server that is used through another one
#: cannot be asked.
DRIVER = "psycopg2"
#: Seconds that a server has to answer, which takes it less than a millisecond; then a reader is
#: asked. And those that it has to accept a connection.
PATIENCE = 0.3
LONGEST_CONNECT = 10.0
#: Seconds between two attempts to connect.
RETRY = 10.0
#: What names a server to PostgreSQL's own library, beside a URL.
_BESIDE = ("PGHOST", "PGHOSTADDR", "PGSERVICE")


@implementer(IReadDescriptor)
class ServerVersion:
    """The version of a PostgreSQL database.

    Those who come while it is asked share the next question. A connection that is lost is replaced
    when somebody asks.

    :param url: the database, with its password
    """

    def __init__(self, reactor: Any, url: sa.URL) -> None:
        self._reactor = reactor
        self._clock = monotonic(reactor)
        dialect = url.get_dialect()()
        self._driver: Any = dialect.import_dbapi()
        self._arguments, self._options = dialect.create_connect_args(url)
        self._text = str(queries.VERSION.compile(dialect=dialect))
        self._connection: Any = None
        self._cursor: Any = None
        self._file = -1
        self._is_open = True
        self._connect_at = 0.0
        self._asked: SharedResult | None = None
        self._asked_at = 0.0
        self._next: SharedResult | None = None
        self._look: Any = None
        self._connect()

    def now(self) -> Version:
        """Return ``None``: the server must be asked."""
        return None

    def ask(self) -> defer.Deferred[Version] | None:
        """Return the version as of a moment after this call; ``None`` if there is no connection.

        It becomes ``None`` if the server does not answer in time, or cannot tell.
        """
        if self._connection is None:
            if self._is_open and self._clock.seconds() >= self._connect_at:
                self._connect()
            return None
        if self._next is None:
            self._next = SharedResult(self._clock)
        answer = self._next.join()
        if self._asked is None:
            self._send()
        return answer

    def close(self) -> None:
        """Let go of the database."""
        self._is_open = False
        self._lose()

    def _connect(self) -> None:
        """Connect in a thread; it is the only attempt until that ends."""
        self._connect_at = math.inf
        try:
            threading.Thread(target=self._attempt, name="selfserve-version", daemon=True).start()
        except RuntimeError:  # there are too many threads
            self._connected(None)

    def _attempt(self) -> None:
        opened = None
        with suppress(Exception):  # readers tell why the database does not answer
            opened = self._opened()
        self._reactor.callFromThread(self._connected, opened)

    def _opened(self) -> tuple[Any, int]:
        """Return a new connection, and a file descriptor of it for the reactor.

        :raises Exception: there is none, for whatever reason the driver has
        """
        extensions = self._driver.extensions
        wanted = {extensions.POLL_READ: select.POLLIN, extensions.POLL_WRITE: select.POLLOUT}
        options = {**self._options, **_addresses(self._options), "async_": True}
        until = self._clock.seconds() + LONGEST_CONNECT
        connection = self._driver.connect(*self._arguments, **options)
        try:
            while (state := connection.poll()) != extensions.POLL_OK:
                ready = select.poll()
                ready.register(connection.fileno(), wanted[state])
                if not ready.poll(max(0.0, until - self._clock.seconds()) * 1000):
                    raise TimeoutError
            # the driver closes its own one as soon as the connection is lost
            return connection, os.dup(connection.fileno())
        except BaseException:
            connection.close()
            raise

    def _connected(self, opened: tuple[Any, int] | None) -> None:
        self._connect_at = self._clock.seconds() + RETRY
        if opened is None:
            return
        self._connection, self._file = opened
        self._cursor = self._connection.cursor()
        self._reactor.addReader(self)
        if not self._is_open:
            self._lose()

    def _send(self) -> None:
        self._asked, self._next = self._next, None
        self._asked_at = self._clock.seconds()
        if self._look is None:
            self._look = self._clock.callLater(PATIENCE, self._lose_if_late)
        try:
            self._cursor.execute(self._text)
        except self._driver.Error:
            self._lose()

    def _lose_if_late(self) -> None:
        """Let go of a server that does not answer; look again when it next may not have.

        A timer for each question would cost more than the question.
        """
        self._look = None
        if self._asked is None:
            return
        left = self._asked_at + PATIENCE - self._clock.seconds()
        if left > 0:
            self._look = self._clock.callLater(left, self._lose_if_late)
            return
        # where it was the reactor that stood still, the answer is there
        late = self._asked
        self.doRead()
        if self._asked is late:
            self._lose()

    def _lose(self) -> None:
        """Close the connection, and tell all who wait that nobody answers."""
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if self._connection is not None:
            self._reactor.removeReader(self)
            self._connection.close()
            os.close(self._file)
            self._connection = self._cursor = None
            self._file = -1
        waiting, self._asked, self._next = (self._asked, self._next), None, None
        for one in waiting:
            if one is not None:
                one.answered(None)

    # -- what the reactor calls

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        return self._file

    def logPrefix(self) -> str:
        """Return what the reactor's errors name."""
        return "selfserve"

    def doRead(self) -> None:
        """Take what the server has sent."""
        try:
            is_whole = self._connection.poll() == self._driver.extensions.POLL_OK
            if not is_whole or self._asked is None:
                return
            (version,) = self._cursor.fetchone()
        except self._driver.Error:
            self._lose()
            return
        asked, self._asked = self._asked, None
        if self._next is not None:
            self._send()
        asked.answered(version)

    def connectionLost(self, reason: Any) -> None:
        """Do without the server; called when its socket is broken, and when the reactor ends."""
        self._lose()


def _addresses(options: Mapping[str, Any]) -> dict[str, str]:
    """Return options with the addresses of the hosts in *options*, each of which is tried.

    The driver would look them up itself, and no thread could run until it has.

    :raises OSError: a host has no address, or is named where this cannot see it
    """
    if "hostaddr" in options:
        return {}
    if "host" not in options:
        if "service" in options or any(one in os.environ for one in _BESIDE):
            raise OSError("the host is not in the URL")
        return {}  # a socket in the usual place
    hosts = str(options["host"]).split(",")
    ports = str(options.get("port", "")).split(",")
    found = [
        (host, address, port)
        for host, port in zip(hosts, ports * (len(hosts) // len(ports)), strict=True)
        for address in _addresses_of(host)
    ]
    columns = zip(*found, strict=True)
    return dict(zip(("host", "hostaddr", "port"), map(",".join, columns), strict=True))


def _addresses_of(host: str) -> list[str]:
    if not host or host.startswith(("/", "@")):
        return [""]  # a folder with a socket
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(where[0]) for *_, where in found))
