"""Opens the journal row of a job request, or finds the row with its Idempotency-Key."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from twisted.internet import defer
from twisted.internet import task
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from buildbot_selfserve.errors import KeyTaken
from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.history import db_engine
from buildbot_selfserve.jobs.close_row import RowCloser
from buildbot_selfserve.journal import store
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Attempt
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import JobRow
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Target
from buildbot_selfserve.outages import Outage

#: Seconds between two reads of a running job request that was sent again.
AGAIN_INTERVAL = 0.2
#: Seconds between two searches for orphaned rows, whose jobs nobody runs.
ORPHANS_INTERVAL = 1.0


@dataclass(frozen=True)
class Requester:
    """The user or script that sends a job request.

    :param via: how they authenticated: ``session``, ``basic``, ``remote_user``, ``token:NAME`` or
        ``anonymous``
    :param begun: when the job request came, in monotonic seconds; the timeout counts from then
    :param refusals: returns for each target why they do not have the permission for it
    :param attempt: the Idempotency-Key and fingerprint, if they gave a key
    """

    who: str
    via: str
    remote: str
    begun: float
    refusals: Callable[[Sequence[Target]], Awaitable[list[str | None]]]
    attempt: Attempt | None = None


class RowOpener:
    """Opens the rows of one master's job requests.

    :param clock: the reactor
    :param write: runs ``function(connection, *arguments)`` on the journal's database, outside the
        reactor
    :param masterid: returns the id of this master
    :param incarnation: returns this master's incarnation, which changes when it starts or reopens
        the journal
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        write: Callable[..., Awaitable[Any]],
        masterid: Callable[[], int],
        incarnation: Callable[[], str],
        closing: RowCloser,
    ) -> None:
        self._clock = clock
        self._write = write
        self._masterid = masterid
        self._incarnation = incarnation
        self._closing = closing
        #: rows of jobs that run here
        self.open_rows: set[JobRow] = set()

    async def open(
        self, job: Job, requester: Requester, deadline: float, per_minute: int | None
    ) -> store.Opened:
        """Write the row of *job*, or return the row of its Idempotency-Key.

        An earlier job with the same key is returned when it has ended or is ongoing, unless it
        failed without doing anything.

        :param per_minute: the number of job requests that a requester may send per minute
        :raises KeyTaken: the key belongs to another job request
        :raises TooMany: the requester sends too many job requests; nothing was written
        :raises Unavailable: the earlier job has not ended yet, or the database does not answer
        """
        while True:
            opened = await self._row(job, requester, per_minute)
            if opened.new:
                return opened
            _require_same(opened, requester)
            if opened.job.status != "running" or opened.job.ongoing is not None:
                return opened
            if self._clock.seconds() > deadline:
                raise unfinished(opened.job)
            await task.deferLater(self._clock, AGAIN_INTERVAL)

    async def is_known(self, job: Job, requester: Requester) -> bool:
        """Return whether the same job request was sent before with the same key.

        :raises KeyTaken: the key belongs to another job request
        """
        if requester.attempt is None:
            return False
        found: store.Opened | None = await self._write(store.known, job, requester.attempt)
        if found is not None:
            _require_same(found, requester)
        return found is not None

    async def _row(self, job: Job, requester: Requester, per_minute: int | None) -> store.Opened:
        """Write the row of *job*, or find the row with its key.

        A row that was written although the call failed is closed later.
        """
        begun: list[int] = []  # kept while the call is retried
        try:
            opened: store.Opened | TooMany = await self._write(
                store.open_job,
                job,
                self._masterid(),
                self._incarnation(),
                requester.attempt,
                per_minute,
                begun,
            )
        except Exception as error:
            if not isinstance(error, db_engine.AWAY):  # which is logged where it is written
                self.log.failure("selfserve: the row of a job request cannot be written")
            self._closing.in_background(self._close_orphans())
            whose = db_engine.whose(error)
            raise Unavailable(f"The {whose}'s database does not answer; nothing was done") from None
        if isinstance(opened, TooMany):
            raise opened
        if opened.new:
            self.open_rows.add(opened.job.row)
        return opened

    async def _close_orphans(self) -> None:
        """Close rows that were written although the call failed: nobody runs their jobs.

        This happens if a connection breaks at the wrong moment. A row is an orphan if two searches
        find it: a row found once may belong to a job that has just begun.
        """
        seen: set[JobRow] | None = None
        outage = Outage(self._clock, "the journal is read again")
        while True:
            await task.deferLater(self._clock, ORPHANS_INTERVAL)
            try:
                left = await self._write(store.open_now, self._masterid(), self._incarnation())
            except defer.CancelledError:
                raise  # the master is stopping
            except Exception as error:
                outage.failed("the journal cannot be read, trying again", error)
                continue
            outage.end()
            orphans = {
                job.row: job
                for job in left
                # ongoing jobs are run by ``OngoingJobs``
                if job.row not in self.open_rows and job.ongoing is None
            }
            if seen is not None:
                for row in seen & orphans.keys():
                    self._closing.in_background(self._closing.close_as_reconciled(orphans[row]))
                return
            seen = set(orphans)


def _require_same(found: store.Opened, requester: Requester) -> None:
    """Check that *found* is the job request that *requester* sends with the same key.

    :raises KeyTaken: *found* is another job request
    """
    if requester.attempt is None or found.fingerprint != requester.attempt.fingerprint:
        raise KeyTaken(
            f"This Idempotency-Key was already used for job {found.job.job_id}",
            "which was a different request; use another key",
        )


def new_job(
    requester: Requester, action: str, nouns: Sequence[Any], params: Mapping[str, Any]
) -> Job:
    """Return a new job without a row.

    :param nouns: the targets that the job request names
    """
    what: dict[str, Any] = {}
    for noun in nouns:
        what.update(noun.asked())
    what.update({name: value for name, value in params.items() if value is not None})
    return Job(
        job_id=0,
        action=action,
        who=requester.who,
        via=requester.via,
        remote=requester.remote,
        when=int(time.time()),
        branch=what.get("branch", ""),
        what=what,
        revision=next(
            (one.revision for one in nouns if isinstance(one, BuildRow | RequestRow)), None
        ),
        known=next((one.known for one in nouns if isinstance(one, AnyRevision)), None),
    )


def unfinished(job: Job, whose: str = "") -> Unavailable:
    """Return the error for a client that has waited for *job* until its timeout.

    :param whose: whose database does not answer, if that is known
    """
    if not job.job_id:
        database = f"The {whose}'s database" if whose else "The database"
        return Unavailable(f"{database} does not answer")
    return Unavailable(
        f"Job {job.job_id} has started but not ended yet",
        "check in the journal how it ended before you send it again",
        job_id=job.job_id,
    )
