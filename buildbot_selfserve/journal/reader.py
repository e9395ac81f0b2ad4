"""Reads the journal for GETs."""

from __future__ import annotations

import datetime
import zoneinfo
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.journal import budgets
from buildbot_selfserve.journal import store
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Budget
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Jobs
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import midnight

#: So many of the newest jobs of a user are looked at for what they made.
MOST_JOBS = 1000


class JournalReader:
    """The reads of the journal, bound to a connection: ``ctx.journal`` of a GET handler."""

    def __init__(self, connection: sa.Connection, site: Site) -> None:
        self._connection = connection
        self._site = site

    def jobs(self, num: int, offset: int, **filters: Any) -> Jobs:
        """Return a page of the journal.

        :param filters: as ``store.Filters`` has them; a day counts as its begin, or as its end
        """
        zone = zoneinfo.ZoneInfo(self._site.timezone)
        for name, days_later in (("since", 0), ("until", 1)):
            if isinstance(filters.get(name), datetime.date):
                day = filters[name] + datetime.timedelta(days=days_later)
                filters[name] = midnight(day, zone) - days_later
        with self._tables() as journal:
            return store.list_jobs(journal, num, offset, store.Filters(**filters))

    def requests_made_for(self, who: str, branch: Branch) -> list[int]:
        """Return the build requests that job requests of *who* on *branch* made."""
        with self._tables() as journal:
            return store.requests_made_for(journal, who, branch.name, MOST_JOBS)

    def budgets(self, who: str, via: str) -> tuple[Budget, ...]:
        """Return what is left to a user of each limit."""
        with self._tables() as journal:
            return budgets.budgets(journal, who, via, self._site.limits)

    def job(self, job_id: int) -> Job | None:
        """Return one job request."""
        with self._tables() as journal:
            return store.job(journal, job_id)

    @contextmanager
    def _tables(self) -> Iterator[sa.Connection]:
        """Provide the journal, whose tables this master may not have been able to make yet.

        :raises Unavailable: they are missing, or not as they are now
        """
        try:
            yield self._connection
        except sa.exc.ProgrammingError as error:
            raise Unavailable(
                "The journal is not ready yet", "its tables have not been created or upgraded yet"
            ) from error
