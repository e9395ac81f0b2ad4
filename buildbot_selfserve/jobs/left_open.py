"""Takes over and closes the rows that killed and gone masters left open."""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from twisted.internet import defer

from buildbot_selfserve.control.reconcile import LOOKING_FIRST
from buildbot_selfserve.deferreds import independent
from buildbot_selfserve.jobs.close_row import RowCloser
from buildbot_selfserve.jobs.ongoing import OngoingJobs
from buildbot_selfserve.jobs.open_row import RowOpener
from buildbot_selfserve.jobs.turns import Turn
from buildbot_selfserve.jobs.turns import Turns
from buildbot_selfserve.journal import store
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import JobRow

#: Seconds that a job to be closed waits for its turn.
LONGEST_WAIT = 30.0
#: Seconds for which the caller waits until jobs are closed.
LONGEST_CLOSING = 60.0


class LeftOpen:
    """Closes rows that were left open.

    :param write: runs ``function(connection, *arguments)`` on the journal's database, outside the
        reactor
    :param masterid: returns the id of this master
    :param incarnation: returns this master's incarnation, which changes when it starts or reopens
        the journal
    """

    def __init__(
        self,
        write: Callable[..., Awaitable[Any]],
        masterid: Callable[[], int],
        incarnation: Callable[[], str],
        opening: RowOpener,
        closing: RowCloser,
        turns: Turns,
        ongoing: OngoingJobs,
    ) -> None:
        self._write = write
        self._masterid = masterid
        self._incarnation = incarnation
        self._opening = opening
        self._closing = closing
        self._turns = turns
        self._ongoing = ongoing
        #: rows that a failed call may have taken over
        self._doubtful: set[JobRow] = set()
        self._one_at_a_time = defer.DeferredLock()

    async def of_this_master(self) -> int:
        """Close the rows that earlier runs of this master left open; return their number.

        Rows that they followed are followed again, and count as well. A row that takes long is
        closed after this has returned.
        """
        return await self._reconcile_of({self._masterid()})

    async def of_gone_masters(self, gone: Collection[int]) -> int:
        """Close the rows of masters that are *gone*. Several masters may do this at once."""
        return await self._reconcile_of(gone) if gone or self._doubtful else 0

    async def _reconcile_of(self, masters: Collection[int]) -> int:
        # each call registers its rows as being worked on before the next call looks
        await self._one_at_a_time.acquire()
        try:
            taken = await self._take_over(masters)
            open_now = [job for job in taken if job.status == "running"]
            still_open = [job for job in open_now if job.ongoing is None]
            self._opening.open_rows.update(job.row for job in still_open)  # they are not orphans
            for job in taken:
                if job.status != "running":
                    self._closing.follow_on(job)
                elif job.ongoing is not None:
                    self._ongoing.run(job)
        finally:
            self._one_at_a_time.release()
        closings = [self._closing.in_background(self._close(job)) for job in still_open]
        # what takes longer goes on, and keeps no other row from being taken over
        with suppress(defer.TimeoutError):
            everything = independent(defer.DeferredList(closings))
            await everything.addTimeout(LONGEST_CLOSING, self._turns.clock)
        return len(taken)

    async def _close(self, job: Job) -> None:
        """Close *job*; if it is of a kind that takes turns, wait for its turn.

        It is closed even without its turn, if others take long or the database fails: requests that
        exist by then are left out in any case.
        """
        try:
            turn = await self._turn(job) if job.action in LOOKING_FIRST else None
            try:
                await self._closing.close_as_reconciled(job)
            finally:
                if turn is not None:
                    await turn.end()
        finally:
            self._opening.open_rows.discard(job.row)

    async def _turn(self, job: Job) -> Turn | None:
        try:
            return await self._turns.take(job, self._turns.clock.seconds() + LONGEST_WAIT)
        except defer.CancelledError:
            raise  # the master is stopping
        except Exception:
            return None

    async def _take_over(self, masters: Collection[int]) -> list[Job]:
        """Take over the rows of *masters*, and those that a failed call may have taken over."""
        incarnation = self._incarnation()
        begun = [job_id for life, job_id in self._doubtful if life == incarnation]
        self._doubtful.clear()
        busy = self._opening.open_rows | self._closing.followed | self._ongoing.rows
        try:
            taken: list[Job] = await self._write(
                store.take_over, masters, self._masterid(), incarnation, busy, begun
            )
        except Exception:
            self._doubtful.update((incarnation, job_id) for job_id in begun)
            raise
        return taken
