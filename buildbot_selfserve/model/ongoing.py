"""What the journal keeps of a job request that goes on, such as a bisection."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

#: The status of one that goes on.
RUNNING = "running"


@dataclass(frozen=True)
class Ongoing:
    """A job request that goes on after its answer, over restarts and from master to master.

    Both parts are JSON.

    :param spec: what it was begun with; that never changes
    :param now: how far it has come, for those who look at it. What it does next depends on the
        database alone, so that nothing is lost when it is cut short
    """

    spec: Mapping[str, Any]
    now: Mapping[str, Any] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """Return ``running``, or how it ended."""
        return str(self.now.get("status", RUNNING))


def ongoing_as_json(ongoing: Ongoing | None) -> dict[str, Any] | None:
    """Return *ongoing* as the journal keeps it."""
    return None if ongoing is None else {"spec": ongoing.spec, "now": ongoing.now}


def ongoing_from_json(read: Mapping[str, Any] | None) -> Ongoing | None:
    """Return what :func:`ongoing_as_json` made *read* of."""
    return None if read is None else Ongoing(read["spec"], read["now"])
