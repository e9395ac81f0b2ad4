"""Reads the journal for GETs."""

from __future__ import annotations

import datetime
import time
import zoneinfo
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.journal import budgets
from buildbot_selfserve.journal import holds
from buildbot_selfserve.journal import store
from buildbot_selfserve.journal import targets
from buildbot_selfserve.journal.store import Filters
from buildbot_selfserve.journal.targets import Targets
from buildbot_selfserve.model import NOTHING_RELATED
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Budget
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Hold
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import JobMention
from buildbot_selfserve.model import Jobs
from buildbot_selfserve.model import Related
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import midnight

#: The number of newest jobs of a user to search for build requests they made.
MOST_JOBS = 1000
#: The number of newest job requests shown on the page of a build or request.
MOST_MENTIONED = 100
#: The outcomes of a request before it has builds; these concern all its builds.
_BEFORE_BUILDS = frozenset({"", "created", "skipped", "reprioritized"})


class JournalReader:
    """Reads the journal over one connection; GET handlers find it in ``ctx.journal``."""

    def __init__(self, connection: sa.Connection, site: Site) -> None:
        self._connection = connection
        self._site = site

    def jobs(
        self, num: int, offset: int, related: Related = NOTHING_RELATED, **filters: Any
    ) -> Jobs:
        """Return a page of the journal.

        :param related: what is related to the request, build and revision in *filters*
        :param filters: the fields of ``store.Filters``; a date for *since* means the begin of that
            day, a date for *until* its end
        """
        zone = zoneinfo.ZoneInfo(self._site.timezone)
        for name, days_later in (("since", 0), ("until", 1)):
            if isinstance(filters.get(name), datetime.date):
                day = filters[name] + datetime.timedelta(days=days_later)
                filters[name] = midnight(day, zone) - days_later
        with self._tables() as journal:
            wanted = Filters(**filters)
            return store.list_jobs(journal, num, offset, _with_targets(wanted, related))

    def jobs_of_request(
        self, request: RequestRow, build_ids: Iterable[int]
    ) -> tuple[JobMention, ...]:
        """Return the job requests about *request*, newest first.

        :param build_ids: the builds of the request
        """
        return self._mentions(*_of_request(request.request_id, build_ids))

    def jobs_of_build(self, build: BuildRow) -> tuple[JobMention, ...]:
        """Return the job requests about *build*, newest first.

        If the request was retried, job requests about the request after this build are left out.
        """
        return self._mentions(
            Targets(targets.BUILD, (str(build.build_id),)),
            Targets(targets.REQUEST, (str(build.request.request_id),), _BEFORE_BUILDS),
        )

    def _mentions(self, *some: Targets) -> tuple[JobMention, ...]:
        with self._tables() as journal:
            return tuple(targets.mentions(journal, some, MOST_MENTIONED))

    def jobs_at(self, branch: Branch, revisions: Sequence[str], most: int) -> list[Job]:
        """Return the newest *most* job requests about a revision of *branch*, newest first.

        :param revisions: the spellings of the revision
        """
        with self._tables() as journal:
            return store.jobs_at(journal, branch.name, revisions, most)

    def requests_made_for(self, who: str, branch: Branch) -> list[int]:
        """Return the ids of build requests that job requests of *who* on *branch* made."""
        with self._tables() as journal:
            return store.requests_made_for(journal, who, branch.name, MOST_JOBS)

    def budgets(self, who: str, via: str) -> tuple[Budget, ...]:
        """Return what is left of each of a user's limits."""
        with self._tables() as journal:
            return budgets.budgets(journal, who, via, self._site.limits)

    def holds(self, branch: Branch) -> list[Hold]:
        """Return the holds in force on *branch*, sorted by end."""
        return [one for one in self.all_holds() if one.branch == branch.name]

    def all_holds(self) -> list[Hold]:
        """Return the holds in force on all branches, sorted by end."""
        now = time.time()
        with self._tables() as journal:
            return [one for one in holds.every(journal) if one.lasts(now)]

    def job(self, job_id: int) -> Job | None:
        """Return a job request by id, ``None`` if there is none."""
        with self._tables() as journal:
            return store.job(journal, job_id)

    @contextmanager
    def _tables(self) -> Iterator[sa.Connection]:
        """Provide the connection to the journal, whose tables may not exist yet.

        :raises Unavailable: the tables are missing or were not upgraded
        """
        try:
            yield self._connection
        except sa.exc.ProgrammingError as error:
            raise Unavailable(
                "The journal is not ready yet", "its tables have not been created or upgraded yet"
            ) from error


def _with_targets(filters: Filters, related: Related) -> Filters:
    """Return *filters* with the targets that their request, build and revision mean."""
    groups: list[tuple[Targets, ...]] = []
    if filters.request_id is not None:
        groups.append(_of_request(filters.request_id, related.build_ids))
    if filters.build_id is not None:
        of_request = () if related.request_id is None else (str(related.request_id),)
        its = Targets(targets.BUILD, (str(filters.build_id),))
        groups.append((its, Targets(targets.REQUEST, of_request)))
    if filters.revision is not None:
        groups.append((Targets(targets.REVISION, tuple(related.spellings)),))
    return replace(filters, targets=tuple(groups))


def _of_request(request_id: int, build_ids: Iterable[int]) -> tuple[Targets, ...]:
    return (
        Targets(targets.REQUEST, (str(request_id),)),
        Targets(targets.BUILD, tuple(map(str, build_ids))),
    )
