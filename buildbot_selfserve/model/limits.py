"""How much one user may request, and what is left of it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What every user and every token may ask for; ``None`` is as much as they like.

    :param builds_per_hour: builds that their job requests make in any 3600 seconds
    :param job_requests_per_minute: job requests in any 60 seconds
    """

    builds_per_hour: int | None = None
    job_requests_per_minute: int | None = None


NO_LIMITS = Limits()


@dataclass(frozen=True)
class Budget:
    """What is left of one limit.

    :param name: that of the limit, as :class:`Limits` has it
    :param left: never negative, also when the limit was lowered
    :param resets_in: seconds after which all of it is there again, if nothing more is asked for
    """

    name: str
    limit: int
    left: int
    resets_in: int


def asker_key(who: str, via: str) -> str:
    """Return what tells one user from all others, for databases that compare loosely.

    A token is somebody else than a user of the same name, and so is nobody in particular.

    :param who: the name that the journal writes; *via* likewise
    """
    kind = "token" if via.startswith("token:") else via if via == "anonymous" else "user"
    return hashlib.sha256(json.dumps([kind, who]).encode()).hexdigest()
