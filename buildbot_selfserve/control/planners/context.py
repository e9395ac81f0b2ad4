"""The context that planners take as ``ctx``."""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import TypeVar

from buildbot_selfserve.control.enforce_holds import Holds
from buildbot_selfserve.control.rights import Rights
from buildbot_selfserve.model import REQUESTED_BY
from buildbot_selfserve.model import Job

Found = TypeVar("Found")
Planner = TypeVar("Planner", bound=Callable[..., Any])


@dataclass(frozen=True)
class PlanContext:
    """The ``ctx`` of a planner.

    :param who: the user who sent the job request
    :param rights: the rights of that user
    :param ask: calls a function in a reader with the ``History`` and further arguments
    :param holds: the holds that this master enforces
    :param ongoing: returns the ongoing job requests with an action, of all masters
    :param most_ongoing: the number of ongoing job requests with one action that may run at once
    :param backfill_priority: the default priority of backfills and bisections
    """

    master: Any
    who: str
    rights: Rights
    ask: Callable[..., Awaitable[Any]]
    holds: Holds
    ongoing: Callable[[str], Awaitable[Sequence[Job]]]
    most_ongoing: int
    backfill_priority: int = -1

    async def read(self, function: Callable[..., Found], *arguments: Any) -> Found:
        """Call ``function(history, *arguments)`` in a reader; return its result."""
        found: Found = await self.ask(function, *arguments)
        return found


def requested_by(who: str) -> str:
    """Return the reason of buildsets that are not copies."""
    return f"{REQUESTED_BY}{who}"


def convergent(planner: Planner) -> Planner:
    """Mark *planner*: its job requests for one target run one after the other.

    Such a planner checks for existing builds, so sending its job request twice builds nothing
    twice.
    """
    planner.is_convergent = True  # type: ignore[attr-defined]
    return planner


def is_convergent(planner: Callable[..., Any]) -> bool:
    """Return whether *planner* is :func:`convergent`."""
    return bool(getattr(planner, "is_convergent", False))
