"""Limits the number of waiting clients, in total and per address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.errors import Unavailable

#: Seconds after which a client that was turned away may retry.
RETRY_AFTER = 5


class ConnectionLimit:
    """Counts waiting clients, each of which keeps a connection open."""

    def __init__(self) -> None:
        self.most = 1000
        self.most_of_one = 600
        self._taken: Counter[str] = Counter()

    @contextmanager
    def taken(self, client: str) -> Iterator[None]:
        """Count *client* for as long as the context lasts.

        :raises TooMany: the client has as many waiting requests as one address may have
        :raises Unavailable: the total limit is reached
        """
        if self._taken.total() >= self.most:
            raise Unavailable("Too many clients are waiting", retry_after=RETRY_AFTER)
        if self._taken[client] >= self.most_of_one:
            raise TooMany(
                "Too many requests from your address are waiting",
                f"at most {self.most_of_one} requests from one address may wait at once",
                retry_after=RETRY_AFTER,
            )
        self._taken[client] += 1
        try:
            yield
        finally:
            self._taken[client] -= 1
            if not self._taken[client]:
                del self._taken[client]
