"""What master.cfg says of how much one user may request."""

from __future__ import annotations

from typing import Any

from buildbot_selfserve.config.checker import Checker
from buildbot_selfserve.model import Limits


class SelfServeLimits:
    """How much every user, and every token, may ask for; without a limit as much as they like.

    :param builds_per_hour: how many builds their job requests may make in any hour
    :param job_requests_per_minute: how many job requests they may send in any minute
    """

    _KEYS = ("builds_per_hour", "job_requests_per_minute")

    def __init__(
        self,
        *unexpected: Any,
        builds_per_hour: int | None = None,
        job_requests_per_minute: int | None = None,
        **unknown: Any,
    ) -> None:
        check = Checker("SelfServeLimits")
        check.keywords(unexpected, unknown, self._KEYS)
        for key, value in (
            ("builds_per_hour", builds_per_hour),
            ("job_requests_per_minute", job_requests_per_minute),
        ):
            if value is not None:
                check.whole(key, value, 1, 1_000_000)
        self.limits = Limits(builds_per_hour, job_requests_per_minute)
