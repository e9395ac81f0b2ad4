"""Closes journal rows with what really happened, and follows builds that stop after the answer."""

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
from buildbot_selfserve.errors import NotNow
from buildbot_selfserve.history import db_engine
from buildbot_selfserve.journal import store
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import JobRow
from buildbot_selfserve.outages import Outage

#: Seconds between attempts to close a row while the database is away; the last value repeats.
RETRIES = (0.5, 1.0, 2.0, 5.0, 10.0)
#: The number of attempts to reconcile a job that may fail while the database answers.
MOST_FAILURES = 5
#: Seconds before each reminder to builders of the requests of a job that was cut short.
REMINDERS = (2.0, 10.0, 30.0)
#: Errors after which a later attempt may succeed.
_LATER = (NotNow, *db_engine.AWAY)


class RowCloser:
    """Closes the rows of one master's job requests.

    :param clock: the reactor
    :param write: runs ``function(connection, *arguments)`` on the journal's database, outside the
        reactor
    :param reconcile: finishes a job that was cut short; returns what it has really done
    :param follow: waits until the builds that a job told to stop have ended; returns the final
        effect
    :param closed: called with each job whose row was closed
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
        #: whether the master is stopping
        self.stopping = False
        #: rows of jobs that this object follows
        self.followed: set[JobRow] = set()

    async def close(self, job: Job, effect: Effect) -> Job:
        """Close *job* with its effect; follow the builds that it told to stop.

        :return: the job as in its row, which another master may have taken over meanwhile
        """

        async def found() -> Effect:
            return effect

        closed = await self._close(job, found)
        if closed.unsettled and self._goes_on(job, closed):
            self.follow_on(closed)
        return closed

    async def close_as_reconciled(self, job: Job) -> Job:
        """Close *job* with what it has really done; retry until the database answers.

        The builds that it told to stop are followed. If it cannot be reconciled though the database
        answers, it is closed as interrupted.
        """
        failures = 0

        async def found() -> Effect:
            nonlocal failures
            try:
                return await self._reconcile(job)
            except _LATER:
                raise
            except Exception:
                failures += 1
                if failures < MOST_FAILURES or self.stopping:
                    raise
                self.log.failure(
                    "selfserve: job {job_id} cannot be reconciled, it is closed as interrupted",
                    job_id=job.job_id,
                )
                return await self._interrupted(job)

        closed = await self._close(job, found)
        if closed.did_something and self._goes_on(job, closed):
            self.in_background(self._remind(closed))
        if closed.unsettled and self._goes_on(job, closed):
            self.follow_on(closed)
        return closed

    def follow_on(self, job: Job) -> None:
        """Follow the builds that *job* told to stop, in the background."""
        self.in_background(self._until_finished(job))

    def in_background(self, work: Coroutine[Any, Any, object]) -> defer.Deferred[Any]:
        """Run *work* until it ends or the master stops; return what fires then."""
        going_on = defer.Deferred.fromCoroutine(work)
        self._background.add(going_on)

        def over(result: Any) -> None:
            self._background.discard(going_on)
            if isinstance(result, Failure) and not result.check(defer.CancelledError):
                self.log.failure("selfserve: a background task failed", result)

        return going_on.addBoth(over)

    def stop(self) -> None:
        """Cancel all background work; the next start of the master continues it."""
        self.stopping = True
        for going_on in list(self._background):
            going_on.cancel()

    async def _close(self, job: Job, find_out: Callable[[], Awaitable[Effect]]) -> Job:
        """Retry until *job* is closed; make one attempt if the master is stopping."""
        retries = 0
        outage = Outage(self._clock, f"the row of job {job.job_id} is closed")
        while True:
            try:
                closed = ended(job, await find_out())
                stands: Job | None = await self._write(store.close_job, closed)
                break
            except Exception as error:
                if self.stopping:
                    raise  # the next start of the master closes the row
                trouble = f"the row of job {job.job_id} cannot be closed, trying again"
                outage.failed(trouble, error)
            await task.deferLater(self._clock, RETRIES[min(retries, len(RETRIES) - 1)])
            retries += 1
        outage.end()
        if stands is None or stands.row != job.row:
            self._tell_lost(closed)
            return stands or job
        self._tell(stands)
        self._closed(stands)
        return stands

    async def _interrupted(self, job: Job) -> Effect:
        """Return the effect of *job*, which cannot be reconciled: what it is seen to have made."""
        msg = "Interrupted: the master could not finish it; its log says why"
        try:
            made = await self._reconcile(replace(job, plan=None))
        except (*_LATER, defer.CancelledError):
            raise
        except Exception:
            return Effect(msg, errors=True)
        return replace(made, msg=msg)

    def _goes_on(self, job: Job, closed: Job) -> bool:
        """Return whether there may be more to do for *job*, and this master is to do it."""
        return closed.row == job.row and closed.status != "running" and not self.stopping

    async def _remind(self, job: Job) -> None:
        """Make builders look again for the build requests of *job*.

        The failure that cut the job short may have failed the builders' own look, and they look
        only when told to.
        """
        for seconds in REMINDERS:
            await task.deferLater(self._clock, seconds)
            try:
                await self._reconcile(replace(job, plan=None))  # the plan is done
            except defer.CancelledError:
                raise  # the master is stopping
            except Exception:
                self.log.failure("selfserve: job {job_id} cannot be reconciled", job_id=job.job_id)

    async def _until_finished(self, job: Job) -> None:
        """Follow *job*, and store how it ended; retry until the journal has it."""
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
        """Return the ended *job*, and the job as in its row."""
        outage = Outage(self._clock, f"job {job.job_id} is followed again")
        while True:
            try:
                if job.unsettled:
                    job = ended(job, await self._follow(job))
                stands = await self._write(store.amend_job, job)
            except defer.CancelledError:
                raise  # the master is stopping
            except Exception as error:
                outage.failed(f"job {job.job_id} cannot be followed, trying again", error)
                await task.deferLater(self._clock, RETRIES[-1])
            else:
                outage.end()
                return job, stands

    def _tell_lost(self, job: Job) -> None:
        """Log what *job* did here, as another master has closed its row, or will.

        The other master took this one for gone, or the journal was moved to another database.
        """
        self.log.warn(
            "selfserve: job {job.job_id} is not ours any more, another master writes its row;"
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
    """Return *job* as ended with *effect*."""
    return replace(
        job,
        status="failed" if effect.errors else "ok",
        completed_at=int(time.time()),
        errors=effect.errors,
        msg=effect.msg,
        requests=effect.requests,
        buildset_ids=effect.buildset_ids,
    )
