"""What the master's log says of job requests: one line each, which programs can read.

Much of it was sent by a client. As JSON in ASCII it stays on its line whatever it is. Of what a
client sent, no parameter is logged but those that name the target.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.model import Job

#: A longer text is cut; clients can send thousands of characters.
LONGEST = 256


@dataclass
class AuditRecord:
    """What the log will tell of a job request; it becomes known on the way.

    :param begun: monotonic seconds; *target* are the texts that name what it is about, by noun
    :param action: our name of it
    """

    begun: float
    remote: str
    target: Mapping[str, str]
    action: str
    who: str | None = None
    via: str | None = None
    job_id: int | None = None
    outcome: str = "failed"
    msg: str | None = None

    def done(self, job: Job) -> None:
        """Note that it was done, as *job*."""
        self.action, self.job_id = job.action, job.job_id
        self.outcome, self.msg = job.status, job.msg

    def planned(self, job: Job) -> None:
        """Note that it was a dry run; *job* is how it would end, and has no row."""
        self.action, self.outcome, self.msg = job.action, "planned", job.msg

    def refused(self, error: SelfServeError) -> None:
        """Note that it was refused, or that its end is not known yet."""
        self.outcome, self.msg = type(error).__name__, error.msg
        self.job_id = getattr(error, "job_id", None) or self.job_id

    def line(self, now: float) -> str:
        """Return it on one line, as JSON.

        :param now: monotonic seconds
        """
        return fields(
            action=self.action,
            who=self.who,
            via=self.via,
            remote=self.remote,
            target=self.target,
            job_id=self.job_id,
            outcome=self.outcome,
            msg=self.msg,
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
