"""Subscribes to builds, build requests and new changes in Buildbot's message queue.

Only the key of a message is relied on: what comes from another master has gone through JSON, and
some messages have no content at all.
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
#: Events after which a thing has ended. What is cancelled while it waits is complete first.
ENDS = frozenset({(BUILDS, "finished"), (REQUESTS, "complete")})
#: What says where a change is, beside its branch.
_TEXTS = ("codebase", "repository", "project")


@dataclass(frozen=True)
class MqEvent:
    """Something happened to a build or to a build request, or a change is new.

    :param what: ``builds``, ``buildrequests`` or ``changes``, and the id
    :param name: such as ``new``, ``update`` or ``finished``
    :param request_id: the build request that it happened to; ``None`` when the message did not say
    :param place: where the change is; ``None`` likewise
    """

    what: tuple[str, int]
    name: str
    request_id: int | None
    place: Sourcestamp | None = None

    @property
    def begins(self) -> bool:
        """Whether something was asked for with this."""
        return (self.what[0], self.name) == (REQUESTS, "new")

    @property
    def ends(self) -> bool:
        """Whether it has ended with this."""
        return (self.what[0], self.name) in ENDS


class MqConsumer:
    """Hears of what happens, on every master.

    :param happened: called with each event
    """

    def __init__(self, happened: Callable[[MqEvent], None]) -> None:
        self._happened = happened
        self._subscriptions = MqSubscriptions(self._heard)

    def start(self, start_consuming: Callable[..., Any]) -> None:
        """Begin to hear."""
        self._subscriptions.start(start_consuming, _TOPICS)

    async def stop(self) -> None:
        """Hear nothing any more."""
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
    """Return where a change is; ``None`` if its message does not say."""
    if not {"branch", *_TEXTS} <= change.keys():
        return None
    return Sourcestamp(change["branch"], *(str(change[name] or "") for name in _TEXTS))
