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
        self._is_over = False

    def start(self, start_consuming: Callable[..., Any], topics: Iterable[Topic]) -> None:
        """Subscribe to *topics*.

        :param start_consuming: of the master's message queue
        """
        for topic in topics:
            begun = defer.maybeDeferred(start_consuming, self._heard, topic)
            begun.addCallbacks(
                self._came,
                lambda failure: self.log.failure("selfserve: cannot hear of events", failure),
            )

    async def stop(self) -> None:
        """End all subscriptions; those that have not come yet end when they do."""
        self._is_over = True
        consumers, self._consumers = self._consumers, []
        for consumer in consumers:
            await self._end(consumer)

    def _came(self, consumer: Any) -> None:
        if self._is_over:
            defer.Deferred.fromCoroutine(self._end(consumer))
        else:
            self._consumers.append(consumer)

    async def _end(self, consumer: Any) -> None:
        try:
            await defer.maybeDeferred(consumer.stopConsuming)
        except Exception:
            self.log.failure("selfserve: cannot stop hearing of events")
