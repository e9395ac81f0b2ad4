"""Opens the journal row of a job request before its act, or finds the row of its key."""

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
from buildbot_selfserve.jobs.close_row import RowCloser
from buildbot_selfserve.journal import store
from buildbot_selfserve.model import Attempt
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import JobRow
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Target

#: Seconds between two looks at a job request that was sent again while it runs.
AGAIN_INTERVAL = 0.2
#: Seconds between two looks for rows that nobody does.
ORPHANS_INTERVAL = 1.0


@dataclass(frozen=True)
class Requester:
    """The user or script that sends a job request, and where it comes from.

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


class RowOpener:
    """Opens the rows of one master's job requests.

    :param clock: the reactor
    :param write: runs ``function(connection, *arguments)`` on the journal's database, elsewhere
    :param masterid: returns the id of this master
    :param incarnation: returns which of its lives this is
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
        #: rows that somebody here does
        self.open_rows: set[JobRow] = set()

    async def open(
        self, job: Job, requester: Requester, deadline: float, per_minute: int | None
    ) -> store.Opened:
        """Write the row of *job*, which is to be done now; or return what was done before.

        That is what has the same Idempotency-Key, when it has ended, unless it failed and has done
        nothing.

        :param per_minute: so many job requests an requester may send in a minute
        :raises KeyTaken: the key was given to another job request
        :raises TooMany: the requester sends too many of them; nothing was written
        :raises Unavailable: the earlier one has not ended yet, or the database does not answer
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
        """Whether the same job request was sent before, under the same key.

        :raises KeyTaken: the key was given to another job request
        """
        if requester.attempt is None:
            return False
        found: store.Opened | None = await self._write(store.known, job, requester.attempt)
        if found is not None:
            _require_same(found, requester)
        return found is not None

    async def _row(self, job: Job, requester: Requester, per_minute: int | None) -> store.Opened:
        """Write the row of *job*, or find the one that its key has.

        What the database may have written though it failed is closed later.
        """
        begun: list[int] = []  # lasts while the database is asked again
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
        except Exception:
            self.log.failure("selfserve: the row of a job request cannot be written")
            self._closing.in_background(self._close_orphans())
            raise Unavailable("The master's database does not answer; nothing was done") from None
        if isinstance(opened, TooMany):
            raise opened
        if opened.new:
            self.open_rows.add(opened.job.row)
        return opened

    async def _close_orphans(self) -> None:
        """Close rows that were written though their writing failed: nobody does those jobs.

        A connection that breaks at the wrong moment does that. A row counts as such when it is
        there twice, because another's may have been written just now.
        """
        seen: set[JobRow] | None = None
        while True:
            await task.deferLater(self._clock, ORPHANS_INTERVAL)
            try:
                left = await self._write(store.open_now, self._masterid(), self._incarnation())
            except defer.CancelledError:
                raise  # the master stops
            except Exception:
                self.log.failure("selfserve: the journal cannot be read, trying again")
                continue
            orphans = {
                job.row: job
                for job in left
                # what goes on was begun, and somebody goes on with it
                if job.row not in self.open_rows and job.ongoing is None
            }
            if seen is not None:
                for row in seen & orphans.keys():
                    await self._closing.close_as_reconciled(orphans[row])
                return
            seen = set(orphans)


def _require_same(found: store.Opened, requester: Requester) -> None:
    """Check that *found* is what *requester* sends under the same key.

    :raises KeyTaken: it is another job request
    """
    if requester.attempt is None or found.fingerprint != requester.attempt.fingerprint:
        raise KeyTaken(
            f"This Idempotency-Key was already used for job {found.job.job_id}",
            "which was a different request; use another key",
        )


def new_job(
    requester: Requester, action: str, nouns: Sequence[Any], params: Mapping[str, Any]
) -> Job:
    """Return the job request of *requester* to do *action* to the *nouns*, with no row yet."""
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
    )


def unfinished(job: Job) -> Unavailable:
    """Return what to say to a client that has waited for *job* long enough."""
    if not job.job_id:
        return Unavailable("The master's database does not answer")
    return Unavailable(
        f"Job {job.job_id} has started but not ended yet",
        "check in the journal how it ended before you send it again",
        job_id=job.job_id,
    )
