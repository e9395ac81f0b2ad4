"""What planners find in ``ctx``."""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import TypeVar

from buildbot_selfserve.control.enforce_holds import Holds
from buildbot_selfserve.control.rights import Rights
from buildbot_selfserve.model import Job

Found = TypeVar("Found")
Planner = TypeVar("Planner", bound=Callable[..., Any])


@dataclass(frozen=True)
class PlanContext:
    """The ``ctx`` of a planner.

    :param who: the user who sent the job request
    :param rights: theirs
    :param ask: asks a reader: calls a function there with the history and further arguments
    :param holds: those that this master keeps to
    :param ongoing: returns the job requests with an action that go on, on all masters
    :param most_ongoing: so many of one action may go on at once
    :param backfill_priority: of builds that look back, unless another one is asked for
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
        """Return what ``function(history, *arguments)`` returns in a reader."""
        found: Found = await self.ask(function, *arguments)
        return found


def requested_by(who: str) -> str:
    """Return the reason of builds that copy no others."""
    return f"Self-serve: Requested by {who}"


def convergent(planner: Planner) -> Planner:
    """Let *planner* plan one job request for a target at a time, when the one before has ended.

    It looks at what is there, so that asking twice makes nothing twice.
    """
    planner.is_convergent = True  # type: ignore[attr-defined]
    return planner


def is_convergent(planner: Callable[..., Any]) -> bool:
    """Return whether *planner* is :func:`convergent`."""
    return bool(getattr(planner, "is_convergent", False))
