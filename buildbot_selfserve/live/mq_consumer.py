"""Consumes Buildbot's messages about builds, build requests and new changes.

Only the routing key of a message is relied on: messages from other masters have passed through
JSON, and some have no content.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.mq_subscriptions import MqSubscriptions

BUILDS, REQUESTS, CHANGES = "builds", "buildrequests", "changes"
_TOPICS = ((BUILDS, None, None), (REQUESTS, None, None), (CHANGES, None, "new"))
#: Messages after which a build or request has ended. A request that is cancelled while pending is
#: completed first.
ENDS = frozenset({(BUILDS, "finished"), (REQUESTS, "complete")})
#: The fields of a change's place, besides its branch.
_TEXTS = ("codebase", "repository", "project")


@dataclass(frozen=True)
class MqEvent:
    """A message about a build, a build request or a new change.

    :param what: ``builds``, ``buildrequests`` or ``changes``, with the id
    :param name: the event, such as ``new``, ``update`` or ``finished``
    :param request_id: the build request concerned; ``None`` if the message does not name it
    :param place: the place of the change; ``None`` if the message does not have it
    """

    what: tuple[str, int]
    name: str
    request_id: int | None
    place: Sourcestamp | None = None

    @property
    def begins(self) -> bool:
        """Return whether a build request was made."""
        return (self.what[0], self.name) == (REQUESTS, "new")

    @property
    def ends(self) -> bool:
        """Return whether the build or build request has ended."""
        return (self.what[0], self.name) in ENDS


class MqConsumer:
    """Consumes the messages of all masters.

    :param happened: called with each message
    """

    def __init__(self, happened: Callable[[MqEvent], None]) -> None:
        self._happened = happened
        self._subscriptions = MqSubscriptions(self._heard)

    def start(self, start_consuming: Callable[..., Any]) -> None:
        """Start consuming."""
        self._subscriptions.start(start_consuming, _TOPICS)

    async def stop(self) -> None:
        """Stop consuming."""
        await self._subscriptions.stop()

    def _heard(self, key: tuple[str, str, str], content: Any) -> None:
        plural, number, name = key
        if not number.isdecimal():
            return
        told = content if isinstance(content, dict) else {}
        request_id: int | None = int(number)
        if plural != REQUESTS:
            request_id = told.get("buildrequestid")
        place = _place(told) if plural == CHANGES else None
        self._happened(MqEvent((plural, int(number)), name, request_id, place))


def _place(change: Mapping[str, Any]) -> Sourcestamp | None:
    """Return the place of a change, ``None`` if its message does not have it."""
    if not {"branch", *_TEXTS} <= change.keys():
        return None
    return Sourcestamp(change["branch"], *(str(change[name] or "") for name in _TEXTS))
