"""Runs a job request: journal, act, journal.

What was begun is ended whatever happens to the client that asked for it: an act runs by itself,
and whoever waits for it only waits. The journal's row is written before the act; when the act is
over, or was cut short, it is closed with what really happened.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Coroutine
from dataclasses import dataclass
from dataclasses import replace
from functools import partial
from typing import Any

from twisted.internet import defer
from twisted.internet import task
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from buildbot_selfserve import loglines
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import KeyTaken
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.journal import budgets
from buildbot_selfserve.journal import store
from buildbot_selfserve.model import NO_LIMITS
from buildbot_selfserve.model import Attempt
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Limits
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import Receipt
from buildbot_selfserve.model import Target
from buildbot_selfserve.waiting import independent

#: An act gets so much of the timeout; the rest is for closing its row and answering.
ACT_SHARE = 0.8
#: Seconds between two looks at a job request that was sent again while it runs.
AGAIN_INTERVAL = 0.2
#: Seconds between attempts to close a row while the database is away; the last one repeats.
RETRIES = (0.5, 1.0, 2.0, 5.0, 10.0)
#: Seconds between attempts to have built what a job made that was cut short.
REMINDERS = (2.0, 10.0, 30.0)

Act = Callable[..., Awaitable[Effect]]


@dataclass(frozen=True)
class Asker:
    """Who asks for a job request, and where from.

    :param via: how they proved it: ``session``, ``basic``, ``remote_user`` or ``anonymous``
    :param begun: when they asked, in reactor seconds; from then on the timeout counts
    :param may: says whether they may do what they ask for to one of several targets
    :param attempt: the key under which they may send it again, if they gave one
    """

    who: str
    via: str
    remote: str
    begun: float
    may: Callable[[Target], Awaitable[bool]]
    attempt: Attempt | None = None


class _Running:
    """A job request on its way; ``job`` gets its id when its row is written."""

    def __init__(self, job: Job) -> None:
        self.job = job


class Jobs:
    """Runs job requests of one master, one journal row each.

    :param clock: the reactor
    :param write: runs ``function(connection, *arguments)`` on the journal's database, elsewhere
    :param check_available: raises :class:`Unavailable` when the master cannot do anything now
    :param settle: says what a job that was cut short has really done
    :param follow: waits until what a job told to stop has ended; says how
    :param masterid: returns the id of this master
    :param ended: is told of each job whose row was closed
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        write: Callable[..., Awaitable[Any]],
        check_available: Callable[[], Awaitable[None]],
        settle: Callable[[Job], Awaitable[Effect]],
        follow: Callable[[Job], Awaitable[Effect]],
        masterid: Callable[[], int],
        ended: Callable[[Job], None] = lambda job: None,
    ) -> None:
        self.clock = clock
        self.timeout = 10.0
        self.limits: Limits = NO_LIMITS
        self.incarnation = uuid.uuid4().hex
        self._write = write
        self._check_available = check_available
        self._settle = settle
        self._follow = follow
        self._masterid = masterid
        self._ended = ended
        self._in_flight: set[defer.Deferred[Any]] = set()
        self._background: set[defer.Deferred[Any]] = set()
        self._open_ids: set[int] = set()
        self._stopping = False

    def asked_by(self, asker: Asker) -> AskedJobs:
        """Return what runs job requests for *asker*."""
        return AskedJobs(self, asker)

    async def run(self, asker: Asker, action: str, act: Act, *nouns: Any, **params: Any) -> Receipt:
        """Journal, ``await act(order, *nouns, **params)``, journal; return the receipt.

        :raises Unavailable: the master cannot do it now, or it did not end within the timeout
        :raises Refused: the act cannot be done with this target; nothing was written
        :raises TooMany: the asker has no budget left for it; nothing was done
        """
        await self._check_available()
        running = _Running(_asked(asker, action, nouns, params))
        deadline = asker.begun + self.timeout * ACT_SHARE
        left = max(0.0, asker.begun + self.timeout - self.clock.seconds())
        work = self._independent(
            running, self._perform(running, asker, deadline, act, nouns, params)
        )
        return Receipt(await self._wait(running, work, left))

    @property
    def under_way(self) -> int:
        """Return how many job requests are being done now."""
        return len(self._in_flight)

    async def settle_left_open(self) -> int:
        """Close the rows that earlier lives of this master left open; return how many.

        What they were following is followed on.
        """
        for job in await self._write(store.left_followed, self._masterid(), self.incarnation):
            self._follow_on(job)
        left = await self._write(store.left_open, self._masterid(), self.incarnation)
        for job in left:
            await self._close_as_settled(job)
        return len(left)

    async def settle_of_gone(self, gone: Collection[int]) -> int:
        """Close the rows that masters left open that are *gone*; return how many.

        What they were following is followed on. Several masters may do this at once.
        """
        if not gone:
            return 0
        taken = await self._write(store.take_over, gone, self._masterid(), self.incarnation)
        for job in taken:
            if job.status == "running":
                self._open_ids.add(job.job_id)  # it is no orphan
                await self._close_as_settled(job)
                self._open_ids.discard(job.job_id)
            else:
                self._follow_on(job)
        return len(taken)

    async def finish(self) -> None:
        """Wait until what runs has ended, for as long as a client would."""
        self._stopping = True
        for going_on in list(self._background):
            going_on.cancel()  # the next start goes on with it
        everything = defer.DeferredList(list(self._in_flight), consumeErrors=True)
        try:
            await independent(everything).addTimeout(self.timeout, self.clock)
        except defer.TimeoutError:
            self.log.warn("selfserve: {n} jobs did not end in time", n=len(self._in_flight))

    # -- one job

    async def _perform(
        self,
        running: _Running,
        asker: Asker,
        deadline: float,
        act: Act,
        nouns: tuple[Any, ...],
        params: dict[str, Any],
    ) -> Job:
        earlier = await self._open(running, asker, deadline)
        if earlier is not None:
            return earlier
        job = running.job
        order = Order(job.job_id, job.who, deadline, asker.may, partial(self._take_builds, job))
        try:
            if self.clock.seconds() > deadline:
                raise Unavailable("The master's database was too slow; nothing was done")
            effect = await act(order, *nouns, **params)
        except (Refused, Forbidden, TooMany) as refusal:
            await self._close(_ended(job, Effect(refusal.msg, errors=True)))
            raise
        except Exception as error:
            self.log.failure("selfserve: job {job.job_id} ({job.action}) failed", job=job)
            job = await self._close_as_settled(job)
            if not job.did_something:
                msg = error.msg if isinstance(error, Unavailable) else "The master could not do it"
                raise Unavailable(msg, job.msg, job_id=job.job_id) from None
            return job
        job = await self._close(_ended(job, effect))
        if job.unsettled and not self._stopping:
            self._follow_on(job)
        return job

    async def _take_builds(self, job: Job, number: int) -> None:
        limit = self.limits.builds_per_hour
        if limit is None:
            return
        refusal: TooMany | None = await self._write(budgets.take_builds, job, number, limit)
        if refusal is not None:
            raise refusal

    async def _open(self, running: _Running, asker: Asker, deadline: float) -> Job | None:
        """Write the row of a job that is to be done now; return the one that was done before.

        That is one of the same Idempotency-Key, when it has ended and has done something.

        :raises KeyTaken: the key was given to another job request
        :raises Unavailable: the earlier one has not ended yet
        """
        asked = running.job
        while True:
            opened = await self._open_row(asked, asker)
            running.job = opened.job
            if opened.new:
                return None
            if asker.attempt is None or opened.fingerprint != asker.attempt.fingerprint:
                raise KeyTaken(
                    f"This Idempotency-Key belongs to job {opened.job.job_id}",
                    "which asked for something else; take another key",
                )
            if opened.job.status != "running":
                return running.job
            if self.clock.seconds() > deadline:
                raise _unfinished(running.job)
            await task.deferLater(self.clock, AGAIN_INTERVAL)

    async def _open_row(self, job: Job, asker: Asker) -> store.Opened:
        """Write the row of *job*, or find the one that its key has.

        :raises TooMany: the asker sends too many of them; nothing was written
        :raises Unavailable: the database failed; whatever it may have written is closed later
        """
        try:
            opened: store.Opened | TooMany = await self._write(
                store.open_job,
                job,
                self._masterid(),
                self.incarnation,
                asker.attempt,
                self.limits.job_requests_per_minute,
            )
        except Exception:
            self.log.failure("selfserve: the row of a job request cannot be written")
            self._in_background(self._close_orphans())
            raise Unavailable("The master's database does not answer; nothing was done") from None
        if isinstance(opened, TooMany):
            raise opened
        if opened.new:
            self._open_ids.add(opened.job.job_id)
        return opened

    async def _close_orphans(self) -> None:
        """Close rows that were written though their writing failed: nobody does those jobs.

        A connection that breaks at the wrong moment does that. A row counts as such when it is
        there twice, because another's may have been written just now.
        """
        seen: set[int] | None = None
        while True:
            await task.deferLater(self.clock, RETRIES[1])
            try:
                rows = await self._write(store.open_now, self._masterid(), self.incarnation)
            except defer.CancelledError:
                raise  # the master stops
            except Exception:
                self.log.failure("selfserve: the journal cannot be read, trying again")
                continue
            orphans = {row.job_id: row for row in rows if row.job_id not in self._open_ids}
            if seen is not None:
                for job_id in seen & orphans.keys():
                    await self._close_as_settled(orphans[job_id])
                return
            seen = set(orphans)

    # -- what goes on after the answer

    def _follow_on(self, job: Job) -> None:
        """Follow what *job* told to stop, in the background."""
        self._in_background(self._until_settled(job))

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        """Run *work* until it ends, or the master does."""
        going_on = defer.Deferred.fromCoroutine(work)
        self._background.add(going_on)

        def over(result: Any) -> None:
            self._background.discard(going_on)
            if isinstance(result, Failure) and not result.check(defer.CancelledError):
                self.log.failure("selfserve: gave up on what went on in the background", result)

        going_on.addBoth(over)

    async def _until_settled(self, job: Job) -> None:
        while job.unsettled:
            try:
                job = _ended(job, await self._follow(job))
                await self._write(store.amend_job, job)
            except defer.CancelledError:
                raise  # the master stops
            except Exception:
                self.log.failure("selfserve: job {job_id} cannot be followed", job_id=job.job_id)
                await task.deferLater(self.clock, RETRIES[-1])
        self._log_end(job)

    # -- closing

    async def _close_as_settled(self, job: Job) -> Job:
        """Close *job* with what it has really done; try until the database says."""
        closed = await self._close_with(job, lambda: self._settle(job))
        if closed.did_something and not self._stopping:
            self._in_background(self._remind(closed))
        return closed

    async def _remind(self, job: Job) -> None:
        """Make builders look again for what *job* made.

        What failed the job may have failed their own look, and they look only when told to.
        """
        for seconds in REMINDERS:
            await task.deferLater(self.clock, seconds)
            try:
                await self._settle(job)
            except defer.CancelledError:
                raise  # the master stops
            except Exception:
                self.log.failure("selfserve: job {job_id} cannot be looked at", job_id=job.job_id)

    async def _close(self, job: Job) -> Job:
        return await self._persist(lambda: self._write_end(job))

    async def _close_with(self, job: Job, find_out: Callable[[], Awaitable[Effect]]) -> Job:
        async def close() -> Job:
            return await self._write_end(_ended(job, await find_out()))

        return await self._persist(close)

    async def _write_end(self, job: Job) -> Job:
        await self._write(store.close_job, job)
        self._log_end(job)
        self._ended(job)
        return job

    def _log_end(self, job: Job) -> None:
        ended = loglines.fields(
            job_id=job.job_id,
            action=job.action,
            who=job.who,
            via=job.via,
            remote=job.remote,
            branch=job.branch,
            outcome=job.status,
            msg=job.msg,
        )
        self.log.info("selfserve: job ended {ended}", ended=ended)

    async def _persist(self, attempt: Callable[[], Awaitable[Job]]) -> Job:
        """Repeat *attempt* until it succeeds; while the master stops, it gets one chance."""
        retries = 0
        while True:
            try:
                return await attempt()
            except Exception:
                if self._stopping:
                    raise  # the next start settles it
                self.log.failure("selfserve: the journal cannot be written, trying again")
            await task.deferLater(self.clock, RETRIES[min(retries, len(RETRIES) - 1)])
            retries += 1

    # -- waiting

    def _independent(self, job: _Running, work: Any) -> defer.Deferred[Job]:
        """Run *work*, which does *job*, so that nobody's going away ends it."""
        running = defer.Deferred.fromCoroutine(work)
        self._in_flight.add(running)

        def ended(result: Any) -> Any:
            self._in_flight.discard(running)
            self._open_ids.discard(job.job.job_id)
            return result

        return running.addBoth(ended)

    async def _wait(self, running: _Running, work: defer.Deferred[Job], seconds: float) -> Job:
        """Wait for *work* at most *seconds*, without ending it."""
        try:
            # when nobody waits any more, what happened stands in the journal
            return await independent(work).addTimeout(seconds, self.clock)
        except defer.TimeoutError:
            raise _unfinished(running.job) from None


class AskedJobs:
    """Runs job requests for one asker: ``ctx.jobs`` of a handler."""

    def __init__(self, jobs: Jobs, asker: Asker) -> None:
        self._jobs = jobs
        self._asker = asker

    async def run(self, action: str, act: Act, *nouns: Any, **params: Any) -> Receipt:
        """Journal, act on *nouns* with *params*, journal; return the receipt."""
        return await self._jobs.run(self._asker, action, act, *nouns, **params)


def _asked(asker: Asker, action: str, nouns: tuple[Any, ...], params: dict[str, Any]) -> Job:
    what: dict[str, Any] = {}
    for noun in nouns:
        what.update(noun.asked())
    what.update({name: value for name, value in params.items() if value is not None})
    return Job(
        job_id=0,
        action=action,
        who=asker.who,
        via=asker.via,
        remote=asker.remote,
        when=int(time.time()),
        branch=what.get("branch", ""),
        what=what,
    )


def _ended(job: Job, effect: Effect) -> Job:
    return replace(
        job,
        status="failed" if effect.errors else "ok",
        completed_at=int(time.time()),
        errors=effect.errors,
        msg=effect.msg,
        requests=effect.requests,
        buildset_ids=effect.buildset_ids,
    )


def _unfinished(job: Job) -> Unavailable:
    if not job.job_id:
        return Unavailable("The master's database does not answer")
    return Unavailable(
        f"Job {job.job_id} was begun and has not ended yet",
        "whether and how it ended will stand in the journal; look there before you ask again",
        job_id=job.job_id,
    )
