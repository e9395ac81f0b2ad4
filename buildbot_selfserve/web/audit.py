"""What the log tells of each job request that is received, done or refused.

Names and ids only: no header, no parameter but those that name the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from buildbot_selfserve import log_format
from buildbot_selfserve.model import Job


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
        return log_format.fields(
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
