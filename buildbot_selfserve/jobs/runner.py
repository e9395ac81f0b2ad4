"""Runs a job request: opens its row, acts, closes the row, returns the receipt."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any
from typing import Concatenate
from typing import ParamSpec

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from buildbot_selfserve.deferreds import independent
from buildbot_selfserve.errors import CustomCodeFailed
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.jobs.close_row import RowCloser
from buildbot_selfserve.jobs.left_open import LeftOpen
from buildbot_selfserve.jobs.open_row import Requester
from buildbot_selfserve.jobs.open_row import RowOpener
from buildbot_selfserve.jobs.open_row import new_job
from buildbot_selfserve.jobs.open_row import unfinished
from buildbot_selfserve.journal import budgets
from buildbot_selfserve.journal import store
from buildbot_selfserve.model import NO_LIMITS
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Limits
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import Receipt
from buildbot_selfserve.model import RequestOutcome

#: An act gets so much of the timeout; the rest is for closing its row and answering.
ACT_SHARE = 0.8

Params = ParamSpec("Params")
Act = Callable[..., Awaitable[Effect]]
#: An act that needs to be told only for which job request it is.
Bound = Callable[[Order], Awaitable[Effect]]


class _Running:
    """A job request on its way; ``job`` gets its id when its row is written."""

    def __init__(self, job: Job, requester: Requester, deadline: float) -> None:
        self.job = job
        self.requester = requester
        self.deadline = deadline


class Jobs:
    """Runs job requests of one master, one journal row each.

    :param clock: the reactor
    :param write: runs ``function(connection, *arguments)`` on the journal's database, elsewhere
    :param check_available: raises :class:`Unavailable` when the master cannot do anything now
    :param reconcile: says what a job that was cut short has really done
    :param follow: waits until what a job told to stop has ended; says how
    :param masterid: returns the id of this master
    :param closed: is told of each job whose row was closed
    :ivar left_open: closes what killed and gone masters have left open
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        write: Callable[..., Awaitable[Any]],
        check_available: Callable[[], Awaitable[None]],
        reconcile: Callable[[Job], Awaitable[Effect]],
        follow: Callable[[Job], Awaitable[Effect]],
        masterid: Callable[[], int],
        closed: Callable[[Job], None] = lambda job: None,
    ) -> None:
        self.clock = clock
        self.timeout = 10.0
        self.limits: Limits = NO_LIMITS
        self.incarnation = uuid.uuid4().hex
        self._write = write
        self._check_available = check_available
        self._masterid = masterid
        self._closing = RowCloser(clock, write, reconcile, follow, closed)
        self._opening = RowOpener(clock, write, masterid, lambda: self.incarnation, self._closing)
        #: what is being done, and until when somebody waits for it
        self._in_flight: dict[defer.Deferred[Any], float] = {}
        self.left_open = LeftOpen(
            write, masterid, lambda: self.incarnation, self._opening, self._closing
        )

    async def run(
        self, requester: Requester, action: str, act: Act, *nouns: Any, **params: Any
    ) -> Receipt:
        """Journal, ``await act(order, *nouns, **params)``, journal; return the receipt.

        :raises Unavailable: the master cannot do it now, or it did not end within the timeout
        :raises Refused: the act cannot be done with this target; nothing was written
        :raises TooMany: the requester has no budget left for it; nothing was done
        """
        await self._check_available()
        deadline = requester.begun + self.timeout * ACT_SHARE
        running = _Running(new_job(requester, action, nouns, params), requester, deadline)
        due = requester.begun + self.timeout
        work = self._begin(running, lambda order: act(order, *nouns, **params), due)
        try:
            # when nobody waits any more, what happened stands in the journal
            return Receipt(await independent(work).addTimeout(self._left(due), self.clock))
        except defer.TimeoutError:
            raise unfinished(running.job) from None

    @property
    def under_way(self) -> int:
        """Return how many job requests are being done now."""
        return len(self._in_flight)

    async def finish(self) -> None:
        """Wait until what runs has ended, for as long as a client would."""
        self._closing.stop()
        await self._no_more_run()

    async def begin_anew(self) -> None:
        """Let what runs end, likewise, before the journal is opened anew, maybe elsewhere.

        What does not end in time has no row there, even if another one has its id.
        """
        await self._no_more_run()
        self.incarnation = uuid.uuid4().hex

    async def _no_more_run(self) -> None:
        everything = defer.DeferredList(list(self._in_flight), consumeErrors=True)
        # each has at least the time that was configured when it came
        left = max([self.timeout, *map(self._left, self._in_flight.values())])
        try:
            await independent(everything).addTimeout(left, self.clock)
        except defer.TimeoutError:
            self.log.warn("selfserve: {n} jobs did not end in time", n=len(self._in_flight))

    def _left(self, due: float) -> float:
        return max(0.0, due - self.clock.seconds())

    def _begin(self, running: _Running, act: Bound, due: float) -> defer.Deferred[Job]:
        """Do it, so that nobody's going away ends it."""
        work = defer.Deferred.fromCoroutine(self._perform(running, act))
        self._in_flight[work] = due

        def over(result: Any) -> Any:
            self._in_flight.pop(work, None)
            self._opening.open_rows.discard(running.job.row)
            return result

        return work.addBoth(over)

    async def _perform(self, running: _Running, act: Bound) -> Job:
        requester, deadline = running.requester, running.deadline
        per_minute = self.limits.job_requests_per_minute
        opened = await self._opening.open(running.job, requester, deadline, per_minute)
        job = running.job = opened.job
        if not opened.new:
            return job
        order = Order(
            job.job_id,
            job.who,
            deadline,
            requester.may,
            partial(self._take_builds, job),
            partial(self._note_targets, running),
        )
        try:
            if self.clock.seconds() > deadline:
                raise Unavailable("The master's database was too slow; nothing was done")
            effect = await act(order)
        except (Refused, Forbidden, TooMany) as refusal:
            await self._closing.close(job, Effect(refusal.msg, errors=True))
            raise
        except Exception as error:
            if not isinstance(error, CustomCodeFailed):  # of which the log tells already
                self.log.failure("selfserve: job {job.job_id} ({job.action}) failed", job=job)
            return await self._cut_short(running.job, error)
        return _known(await self._closing.close(job, effect))

    async def _cut_short(self, job: Job, error: Exception) -> Job:
        """Return what a job has done that ended with *error*.

        :raises Unavailable: nothing
        :raises CustomCodeFailed: nothing, and it would be the same another time
        """
        job = _known(await self._closing.close_as_reconciled(job))
        if not job.did_something and isinstance(error, CustomCodeFailed):
            raise error
        if not job.did_something:
            msg = error.msg if isinstance(error, Unavailable) else "The master could not do this"
            raise Unavailable(msg, job.msg, job_id=job.job_id)
        return job

    async def _take_builds(self, job: Job, number: int) -> None:
        limit = self.limits.builds_per_hour
        if limit is None:
            return
        refusal: TooMany | None = await self._write(budgets.take_builds, job, number, limit)
        if refusal is not None:
            raise refusal

    async def _note_targets(self, running: _Running, targets: Sequence[RequestOutcome]) -> None:
        running.job = replace(running.job, requests=tuple(targets))
        await self._write(store.note_targets, running.job)


def _known(job: Job) -> Job:
    """Return *job* if its row tells how it ended.

    :raises Unavailable: another master took the row over, and has not closed it yet
    """
    if job.status == "running":
        raise unfinished(job)
    return job


class JobRunner:
    """Runs the act of one job request for one requester: ``ctx.jobs`` of a handler.

    :param action: the name of what is done, as the journal has it
    """

    def __init__(self, jobs: Jobs, master: Any, requester: Requester, action: str) -> None:
        self._jobs = jobs
        self._master = master
        self._requester = requester
        self._action = action

    async def run(
        self,
        act: Callable[Concatenate[Any, Order, Params], Awaitable[Effect]],
        *nouns: Params.args,
        **params: Params.kwargs,
    ) -> Receipt:
        """Journal, ``await act(master, order, *nouns, **params)``, journal; return the receipt."""
        bound = partial(act, self._master)
        return await self._jobs.run(self._requester, self._action, bound, *nouns, **params)
