"""What the master's log says of job requests: one line each, which programs can read.

Much of it was sent by a client. As JSON in ASCII it stays on its line whatever it is. Of what a
client sent, no parameter is logged but those that name the target.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildbot_selfserve.model import Job

#: A longer text is cut; clients can send thousands of characters.
LONGEST = 256


@dataclass
class AuditRecord:
    """What the log will tell of a job request; it becomes known on the way.

    :param begun: monotonic seconds; *target* are the texts that name what it is about, by noun
    """

    begun: float
    remote: str
    target: Mapping[str, str]
    who: str | None = None
    via: str | None = None
    job: Job | None = None
    job_id: int | None = None
    outcome: str | None = None
    msg: str | None = None

    def line(self, action: str, now: float) -> str:
        """Return it on one line, as JSON.

        :param action: our name of it, where the job request itself does not say better
        :param now: monotonic seconds
        """
        job = self.job
        return fields(
            action=action if job is None else job.action,
            who=self.who,
            via=self.via,
            remote=self.remote,
            target=self.target,
            job_id=self.job_id if job is None else job.job_id,
            outcome=self.outcome or "failed",
            msg=self.msg if job is None else job.msg,
            seconds=round(now - self.begun, 3),
        )


def fields(**values: Any) -> str:
    """Return *values* as a JSON object on one line, without those that are ``None``."""
    kept = {name: _short(value) for name, value in values.items() if value is not None}
    return json.dumps(kept)


def _short(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _short(inner) for name, inner in value.items()}
    if isinstance(value, str) and len(value) > LONGEST:
        return f"{value[:LONGEST]}..."
    return value
