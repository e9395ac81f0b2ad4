"""Job requests as builds and build requests tell of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

#: Outcomes of build requests to which something was done.
EFFECTS = frozenset({"created", "skipped", "cancelled", "stopped", "stop_sent", "reprioritized"})


@dataclass(frozen=True)
class Related:
    """What has to do with what job requests are looked for by.

    :param build_ids: the builds of a request
    :param request_id: of a build; ``None`` if it is not known
    :param spellings: of a revision
    """

    build_ids: tuple[int, ...] = ()
    request_id: int | None = None
    spellings: tuple[str, ...] = ()


NOTHING_RELATED = Related()


@dataclass(frozen=True)
class JobMention:
    """A job request, as it is told of where something was done to a build or a build request.

    :param when: epoch seconds at which it was sent
    :param what: what was asked, under the names of the original API
    :param outcome: what became of the build request; empty if it was only asked about
    """

    job_id: int
    action: str
    who: str
    when: int
    status: str
    branch: str
    what: dict[str, Any]
    outcome: str = ""

    @property
    def has_effect(self) -> bool:
        """Whether it has made, ended or reprioritized the build request."""
        return self.outcome in EFFECTS
