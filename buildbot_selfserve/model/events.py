"""Events of a branch, and metrics."""

from __future__ import annotations

from dataclasses import dataclass

from buildbot_selfserve.model.branches import Branch


@dataclass(frozen=True)
class Event:
    """Something has happened to a build request or to its build.

    :param request_id: ``None`` for a new change, and when so much has happened that only a look at
        everything will do
    :param build_id: ``None`` when it was to the request alone
    """

    request_id: int | None
    build_id: int | None


@dataclass(frozen=True)
class EventStream:
    """All that happens on a branch from now on."""

    branch: Branch


@dataclass(frozen=True)
class Measured:
    """What was counted and measured, as text for Prometheus.

    :param media_type: the version of the text's format, as a Content-Type
    """

    text: bytes
    media_type: str
