"""Subscribes to topics of Buildbot's message queue, and ends the subscriptions."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from typing import Any

from twisted.internet import defer
from twisted.logger import Logger

#: The first, second and third part of a key; ``None`` stands for any.
Topic = tuple[str, str | None, str | None]


class MqSubscriptions:
    """Keeps the subscriptions of one listener.

    A topic that cannot be subscribed to is logged: every listener also looks at the database from
    time to time.

    :param heard: called with the key and the content of each message
    """

    log = Logger()

    def __init__(self, heard: Callable[[Any, Any], None]) -> None:
        self._heard = heard
        self._consumers: list[Any] = []

    def start(self, start_consuming: Callable[..., Any], topics: Iterable[Topic]) -> None:
        """Subscribe to *topics*.

        :param start_consuming: of the master's message queue
        """
        for topic in topics:
            begun = defer.maybeDeferred(start_consuming, self._heard, topic)
            begun.addCallbacks(
                self._consumers.append,
                lambda failure: self.log.failure("selfserve: cannot hear of events", failure),
            )

    async def stop(self) -> None:
        """End all subscriptions."""
        consumers, self._consumers = self._consumers, []
        for consumer in consumers:
            try:
                await defer.maybeDeferred(consumer.stopConsuming)
            except Exception:
                self.log.failure("selfserve: cannot stop hearing of events")
