"""Who asks for a job request, and what for."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from buildbot_selfserve.model import Attempt
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Target


@dataclass(frozen=True)
class Requester:
    """Who asks for a job request, and where from.

    :param via: how they proved it: ``session``, ``basic``, ``remote_user``, ``token:NAME`` or
        ``anonymous``
    :param begun: when they asked, in monotonic seconds; from then on the timeout counts
    :param may: says whether they may do what they ask for to one of several targets
    :param attempt: the key under which they may send it again, if they gave one
    """

    who: str
    via: str
    remote: str
    begun: float
    may: Callable[[Target], Awaitable[bool]]
    attempt: Attempt | None = None


def new_job(asker: Requester, action: str, nouns: Sequence[Any], params: Mapping[str, Any]) -> Job:
    """Return the job request of *asker* to do *action* to the *nouns*, with no row yet."""
    what: dict[str, Any] = {}
    for noun in nouns:
        what.update(noun.asked())
    what.update({name: value for name, value in params.items() if value is not None})
    return Job(
        job_id=0,
        action=action,
        who=asker.who,
        via=asker.via,
        remote=asker.remote,
        when=int(time.time()),
        branch=what.get("branch", ""),
        what=what,
    )
