"""Closes journal rows with what really happened, and follows what goes on after the answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Coroutine
from dataclasses import replace
from typing import Any

from twisted.internet import defer
from twisted.internet import task
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from buildbot_selfserve import audit_log
from buildbot_selfserve.journal import store
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import JobRow

#: Seconds between attempts to close a row while the database is away; the last one repeats.
RETRIES = (0.5, 1.0, 2.0, 5.0, 10.0)
#: Seconds between attempts to have built what a job made that was cut short.
REMINDERS = (2.0, 10.0, 30.0)


class RowCloser:
    """Closes the rows of one master's job requests.

    :param clock: the reactor
    :param write: runs ``function(connection, *arguments)`` on the journal's database, elsewhere
    :param reconcile: says what a job that was cut short has really done
    :param follow: waits until what a job told to stop has ended; says how
    :param closed: is told of each job whose row was closed
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        write: Callable[..., Awaitable[Any]],
        reconcile: Callable[[Job], Awaitable[Effect]],
        follow: Callable[[Job], Awaitable[Effect]],
        closed: Callable[[Job], None],
    ) -> None:
        self._clock = clock
        self._write = write
        self._reconcile = reconcile
        self._follow = follow
        self._closed = closed
        self._background: set[defer.Deferred[Any]] = set()
        #: whether the master stops
        self.stopping = False
        #: rows that somebody here follows
        self.followed: set[JobRow] = set()

    async def close(self, job: Job, effect: Effect) -> Job:
        """Close *job* with what it has done; what it told to stop is followed from then on.

        :return: what its row says, which another master may have taken over meanwhile
        """

        async def found() -> Effect:
            return effect

        closed = await self._close(job, found)
        if closed.unsettled and self._goes_on(job, closed):
            self.follow_on(closed)
        return closed

    async def close_as_reconciled(self, job: Job) -> Job:
        """Close *job* with what it has really done; try until the database says.

        What it told to stop is followed, likewise.
        """
        closed = await self._close(job, lambda: self._reconcile(job))
        if closed.did_something and self._goes_on(job, closed):
            self.in_background(self._remind(closed))
        if closed.unsettled and self._goes_on(job, closed):
            self.follow_on(closed)
        return closed

    def follow_on(self, job: Job) -> None:
        """Follow what *job* told to stop, in the background."""
        self.in_background(self._until_finished(job))

    def in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* until it ends, or the master does."""
        going_on = defer.Deferred.fromCoroutine(work)
        self._background.add(going_on)

        def over(result: Any) -> None:
            self._background.discard(going_on)
            if isinstance(result, Failure) and not result.check(defer.CancelledError):
                self.log.failure("selfserve: gave up on what went on in the background", result)

        going_on.addBoth(over)

    def stop(self) -> None:
        """End what goes on in the background; the next start of the master goes on with it."""
        self.stopping = True
        for going_on in list(self._background):
            going_on.cancel()

    async def _close(self, job: Job, find_out: Callable[[], Awaitable[Effect]]) -> Job:
        """Repeat until *job* is closed; while the master stops, there is one chance."""
        retries = 0
        while True:
            try:
                closed = ended(job, await find_out())
                stands: Job | None = await self._write(store.close_job, closed)
                break
            except Exception:
                if self.stopping:
                    raise  # the next start settles it
                self.log.failure("selfserve: the journal cannot be written, trying again")
            await task.deferLater(self._clock, RETRIES[min(retries, len(RETRIES) - 1)])
            retries += 1
        if stands is None or stands.row != job.row:
            self._tell_lost(closed)
            return stands or job
        self._tell(stands)
        self._closed(stands)
        return stands

    def _goes_on(self, job: Job, closed: Job) -> bool:
        """Return whether there may be more to do for *job*, and it is for us to do."""
        return closed.row == job.row and closed.status != "running" and not self.stopping

    async def _remind(self, job: Job) -> None:
        """Make builders look again for what *job* made.

        What failed the job may have failed their own look, and they look only when told to.
        """
        for seconds in REMINDERS:
            await task.deferLater(self._clock, seconds)
            try:
                await self._reconcile(replace(job, plan=None))  # there is nothing left to do
            except defer.CancelledError:
                raise  # the master stops
            except Exception:
                self.log.failure("selfserve: job {job_id} cannot be looked at", job_id=job.job_id)

    async def _until_finished(self, job: Job) -> None:
        """Follow *job*, and write how it ended until that stands in the journal."""
        self.followed.add(job.row)
        try:
            job, stands = await self._amended(job)
        finally:
            self.followed.discard(job.row)
        if stands is None or stands.row != job.row:
            self._tell_lost(job)
        else:
            self._tell(stands)

    async def _amended(self, job: Job) -> tuple[Job, Job | None]:
        """Return how *job* ended, and what its row says."""
        while True:
            try:
                if job.unsettled:
                    job = ended(job, await self._follow(job))
                return job, await self._write(store.amend_job, job)
            except defer.CancelledError:
                raise  # the master stops
            except Exception:
                self.log.failure("selfserve: job {job_id} cannot be followed", job_id=job.job_id)
                await task.deferLater(self._clock, RETRIES[-1])

    def _tell_lost(self, job: Job) -> None:
        """Tell what *job* did, because its row does not: others have closed that, or will.

        They took us for gone, or the journal is elsewhere now.
        """
        self.log.warn(
            "selfserve: job {job.job_id} is not ours any more, its row stands as others write it;"
            " here it ended as {job.status}, {job.msg}, {outcomes}",
            job=job,
            outcomes=[(one.request_id, one.outcome) for one in job.requests],
        )

    def _tell(self, job: Job) -> None:
        told = audit_log.fields(
            job_id=job.job_id,
            action=job.action,
            who=job.who,
            via=job.via,
            remote=job.remote,
            branch=job.branch,
            outcome=job.status,
            msg=job.msg,
        )
        self.log.info("selfserve: job ended {ended}", ended=told)


def ended(job: Job, effect: Effect) -> Job:
    """Return *job* as it is when it has ended with *effect*."""
    return replace(
        job,
        status="failed" if effect.errors else "ok",
        completed_at=int(time.time()),
        errors=effect.errors,
        msg=effect.msg,
        requests=effect.requests,
        buildset_ids=effect.buildset_ids,
    )
