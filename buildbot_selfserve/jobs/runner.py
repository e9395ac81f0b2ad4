"""Runs a job request: opens its row, plans, executes the plan, closes the row."""

from __future__ import annotations

import uuid
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from types import MappingProxyType
from typing import Any
from typing import Concatenate
from typing import ParamSpec

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from buildbot_selfserve.control import effects
from buildbot_selfserve.control.enforce_holds import Holds
from buildbot_selfserve.control.execute import execute
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.control.planners.context import is_convergent
from buildbot_selfserve.control.rights import Rights
from buildbot_selfserve.control.rights import everything
from buildbot_selfserve.deferreds import independent
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import CustomCodeFailed
from buildbot_selfserve.errors import DatabaseAway
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import MasterStops
from buildbot_selfserve.errors import PlanChanged
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.errors import reason
from buildbot_selfserve.history import db_engine
from buildbot_selfserve.jobs import turns
from buildbot_selfserve.jobs.close_row import RowCloser
from buildbot_selfserve.jobs.close_row import ended
from buildbot_selfserve.jobs.left_open import LeftOpen
from buildbot_selfserve.jobs.ongoing import OngoingJobs
from buildbot_selfserve.jobs.open_row import Requester
from buildbot_selfserve.jobs.open_row import RowOpener
from buildbot_selfserve.jobs.open_row import new_job
from buildbot_selfserve.jobs.open_row import unfinished
from buildbot_selfserve.jobs.turns import Turn
from buildbot_selfserve.jobs.turns import Turns
from buildbot_selfserve.journal import budgets
from buildbot_selfserve.journal import store
from buildbot_selfserve.model import NO_LIMITS
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Limits
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import PlannedReceipt
from buildbot_selfserve.model import Receipt
from buildbot_selfserve.model import plan_to_json

#: The share of the timeout in which a job request may plan, execute and wait for builds to stop;
#: the rest is for closing its row and answering.
ACT_SHARE = 0.8
#: The largest number of characters of a plan as JSON; the journal's column has room for 16 million
#: on MySQL and MariaDB.
LARGEST_PLAN = 8_000_000

Params = ParamSpec("Params")
#: A planner with all arguments bound but the context.
Planner = Callable[[PlanContext], Awaitable[Plan]]


@dataclass(frozen=True)
class Wanted:
    """A job request to plan, and to execute unless it is a dry run.

    :param action: the name of the action, as in the journal
    :param nouns: the targets, for the journal
    :param params: the parameters, for the journal
    :param if_plan: the text of the plan that the user has seen; no other plan is executed
    :param alone: job requests with the same target take turns
    """

    requester: Requester
    action: str
    planner: Planner
    nouns: Sequence[Any]
    params: dict[str, Any]
    if_plan: str | None = None
    alone: bool = False

    def job(self) -> Job:
        """Return a new job for this request, without a row."""
        return new_job(self.requester, self.action, self.nouns, self.params)


@dataclass(frozen=True)
class _Planned:
    plan: Plan
    rights: Rights


class _Running:
    """A running job request; ``job`` gets its id when its row is written."""

    def __init__(self, job: Job, wanted: Wanted, deadline: float) -> None:
        self.job = job
        self.wanted = wanted
        self.deadline = deadline
        #: the turn, if the job request has to take one
        self.turn: Turn | None = None


class Jobs:
    """Runs the job requests of one master, with one journal row each.

    :param master: Buildbot's master
    :param clock: the reactor
    :param write: runs ``function(connection, *arguments)`` on the journal's database, outside the
        reactor
    :param ask: calls a function in a reader with the ``History`` and further arguments
    :param check_available: raises :class:`Unavailable` if the master cannot run job requests now
    :param reconcile: finishes a job that was cut short; returns what it has really done
    :param follow: waits until the builds that a job told to stop have ended; returns the final
        effect
    :param masterid: returns the id of this master
    :param holds: the holds that this master enforces
    :param closed: called with each job whose row was closed
    :ivar left_open: closes the rows that killed and gone masters left open
    :ivar ongoing: runs ongoing job requests after their answer
    :ivar most_ongoing: the number of ongoing job requests with one action that may run at once, on
        all masters
    """

    log = Logger()

    def __init__(
        self,
        master: Any,
        clock: IReactorTime,
        write: Callable[..., Awaitable[Any]],
        ask: Callable[..., Awaitable[Any]],
        check_available: Callable[[], Awaitable[None]],
        reconcile: Callable[[Job], Awaitable[Effect]],
        follow: Callable[[Job], Awaitable[Effect]],
        masterid: Callable[[], int],
        holds: Holds,
        closed: Callable[[Job], None] = lambda job: None,
    ) -> None:
        self.clock = clock
        self.timeout = 10.0
        self.limits: Limits = NO_LIMITS
        self.most_ongoing = 4
        self.backfill_priority = -1
        self.incarnation = uuid.uuid4().hex
        self._master = master
        self._write = write
        self._ask = ask
        self._check_available = check_available
        self._holds = holds
        self._closing = RowCloser(clock, write, reconcile, follow, closed)
        self._opening = RowOpener(clock, write, masterid, lambda: self.incarnation, self._closing)
        #: the running job requests, with the monotonic seconds at which their clients time out
        self._in_flight: dict[defer.Deferred[Any], float] = {}
        #: turns that are being ended
        self._ending: set[defer.Deferred[None]] = set()
        #: when the master stops: until when job requests may run on, in monotonic seconds
        self._stop_at: float | None = None
        self._turns = Turns(clock, write)
        self.ongoing = OngoingJobs(
            master,
            clock,
            write,
            lambda who: self._context(who, Rights(master, everything)),
            check_available,
            self.check_running,
            lambda: self.limits,
            self._closing,
            self._turns,
        )
        self.left_open = LeftOpen(
            write,
            masterid,
            lambda: self.incarnation,
            self._opening,
            self._closing,
            self._turns,
            self.ongoing,
        )

    async def run(self, wanted: Wanted) -> Receipt:
        """Run a job request with a row in the journal; return the receipt.

        A job request that has begun runs to its end, even if nobody waits for it any more.

        :raises Unavailable: the master cannot run it now, a database cannot be reached, or it did
            not end within the timeout
        :raises Refused: it cannot be done with this target; nothing was done
        :raises TooMany: the requester's budget is used up; nothing was done
        :raises PlanChanged: the plan differs from the one that the user has seen; nothing was done
        """
        await self._check_available()
        begun = wanted.requester.begun
        running = _Running(wanted.job(), wanted, begun + self.timeout * ACT_SHARE)
        due = begun + self.timeout
        work = self._begin(running, due)
        try:
            # after a timeout, the journal tells what happened
            return Receipt(await independent(work).addTimeout(self._left(due), self.clock))
        except defer.TimeoutError:
            raise unfinished(running.job) from None
        except db_engine.AWAY as error:
            self.log.failure("selfserve: {action} failed", action=wanted.action)
            raise unfinished(running.job, db_engine.whose(error)) from None

    async def plan(self, wanted: Wanted) -> PlannedReceipt:
        """Return the receipt of a dry run; write nothing.

        :raises SelfServeError: the error that the job request itself would be refused with
        """
        await self._check_available()
        work = independent(defer.Deferred.fromCoroutine(self._dry_run(wanted)))
        try:
            left = self._left(wanted.requester.begun + self.timeout)
            planned: PlannedReceipt = await work.addTimeout(left, self.clock)
            return planned
        except defer.TimeoutError:
            raise Unavailable("The plan was not made in time", "nothing was done") from None
        except db_engine.AWAY as error:
            self.log.failure("selfserve: {action} cannot be planned", action=wanted.action)
            whose = db_engine.whose(error)
            raise DatabaseAway(whose, reason(error), "nothing was done") from None

    @property
    def under_way(self) -> int:
        """Return the number of running job requests."""
        return len(self._in_flight)

    def check_running(self) -> None:
        """Check that the master is not stopping, or that job requests may still run.

        :raises MasterStops: that time is over; the next start continues the job
        """
        if self._stop_at is not None and self.clock.seconds() > self._stop_at:
            raise MasterStops

    async def finish(self) -> None:
        """Wait until the running job requests have ended, for as long as a client would."""
        self._closing.stop()
        self._stop_at = self.clock.seconds() + self.timeout * ACT_SHARE
        await self._no_more_run()
        await self.ongoing.stop()

    async def begin_anew(self) -> None:
        """Wait likewise before the journal is reopened, maybe in another database.

        A job request that does not end in time has no row there, even if another row has its id.
        """
        await self._no_more_run()
        await self.ongoing.rest()
        self.incarnation = uuid.uuid4().hex

    async def _no_more_run(self) -> None:
        everything = defer.Deferred.fromCoroutine(self._over())
        # each has at least the timeout that was configured when it came
        left = max([self.timeout, *map(self._left, self._in_flight.values())])
        try:
            await independent(everything).addTimeout(left, self.clock)
        except defer.TimeoutError:
            self.log.warn("selfserve: {n} jobs did not end in time", n=len(self._in_flight))

    async def _over(self) -> None:
        for some in (self._in_flight, self._ending):
            await defer.DeferredList(list(some), consumeErrors=True)

    def _left(self, due: float) -> float:
        return max(0.0, due - self.clock.seconds())

    def _begin(self, running: _Running, due: float) -> defer.Deferred[Job]:
        """Start the job request, independent of its client."""
        work = defer.Deferred.fromCoroutine(self._perform(running))
        self._in_flight[work] = due

        def over(result: Any) -> Any:
            self._in_flight.pop(work, None)
            self._opening.open_rows.discard(running.job.row)
            return result

        return work.addBoth(over)

    async def _dry_run(self, wanted: Wanted) -> PlannedReceipt:
        await self._opening.is_known(wanted.job(), wanted.requester)  # may raise KeyTaken
        planned = await self._planned(wanted)
        return await self._receipt(wanted, planned.plan)

    async def _receipt(self, wanted: Wanted, plan: Plan) -> PlannedReceipt:
        """Return the receipt of a dry run with this *plan*.

        :raises TooMany: the user's budget is too small
        """
        job = wanted.job()
        if self.limits != NO_LIMITS:
            refusal = await self._write(budgets.refusal, job, plan.builds, self.limits)
            if refusal is not None:
                raise refusal
        planned = replace(ended(job, effects.planned(plan)), ongoing=plan.ongoing)
        changes = not plan.is_empty or plan.ongoing is not None
        return PlannedReceipt(planned, plan.text, changes)

    async def _planned(self, wanted: Wanted) -> _Planned:
        rights = Rights(self._master, wanted.requester.refusals)
        return _Planned(await wanted.planner(self._context(wanted.requester.who, rights)), rights)

    def _context(self, who: str, rights: Rights) -> PlanContext:
        return PlanContext(
            self._master,
            who,
            rights,
            self._ask,
            self._holds,
            self._goes_on,
            self.most_ongoing,
            self.backfill_priority,
        )

    async def _goes_on(self, action: str) -> list[Job]:
        found: list[Job] = await self._write(store.ongoing, action)
        return found

    async def _seen(self, running: _Running) -> _Planned | None:
        """Return a fresh plan if it is the one that the user has seen; ``None`` without *if_plan*.

        A job request that was sent before with the same key is not planned again.

        :raises PlanChanged: the plan differs; nothing was written
        """
        wanted = running.wanted
        if wanted.if_plan is None or await self._opening.is_known(running.job, wanted.requester):
            return None
        planned = await self._planned(wanted)
        if planned.plan.text != wanted.if_plan:
            raise PlanChanged(await self._receipt(wanted, planned.plan))
        return planned

    async def _perform(self, running: _Running) -> Job:
        """Run the job request, in its turn if it takes turns."""
        if not running.wanted.alone:
            return await self._done(running)
        turn = running.turn = await self._turns.take(running.job, running.deadline)
        try:
            return await self._done(running)
        finally:
            self._end(turn)

    def _end(self, turn: Turn) -> None:
        """End a turn: the next job request for its target waits for that, the client need not."""
        ending = defer.Deferred.fromCoroutine(turn.end())
        self._ending.add(ending)
        ending.addBoth(lambda _: self._ending.discard(ending))

    async def _done(self, running: _Running) -> Job:
        wanted = running.wanted
        seen = await self._seen(running)
        per_minute = self.limits.job_requests_per_minute
        opened = await self._opening.open(
            running.job, wanted.requester, running.deadline, per_minute
        )
        job = running.job = opened.job
        if not opened.new:
            return job
        try:
            if self.clock.seconds() > running.deadline:
                raise Unavailable("The database was too slow; nothing was done")
            planned = seen or await self._planned(wanted)
            if wanted.if_plan is not None and planned.plan.text != wanted.if_plan:
                raise PlanChanged(await self._receipt(wanted, planned.plan))
            if planned.plan.joins is not None:
                return await self._joined(job, planned.plan)
            effect = await self._in_turn(running, planned)
        except MasterStops:
            raise unfinished(job) from None  # the next start of the master continues the job
        except (BadParameter, Refused, Forbidden, TooMany, PlanChanged) as refusal:
            await self._closing.close(job, Effect(refusal.msg, errors=True))
            raise
        except Exception as error:
            if not isinstance(error, CustomCodeFailed):  # which was logged already
                self.log.failure("selfserve: job {job.job_id} ({job.action}) failed", job=job)
            if running.job.ongoing is not None:
                self.ongoing.run(running.job)  # whose next step does what is missing
                return replace(running.job, msg=planned.plan.begun)
            return await self._cut_short(running.job, error)
        if running.job.ongoing is not None:
            return await self._begun(running.job, effect)
        job = replace(running.job, ongoing=planned.plan.ongoing)
        return _known(await self._closing.close(job, effect))

    async def _joined(self, job: Job, plan: Plan) -> Job:
        """Close *job* as doing nothing; return the job request that does the same already."""
        await self._closing.close(job, Effect(plan.nothing))
        found: Job | None = await self._write(store.job, plan.joins)
        return found or job

    async def _begun(self, job: Job, effect: Effect) -> Job:
        """Run the ongoing *job* after its first step; return the job for the receipt."""
        job = replace(
            job, msg=effect.msg, requests=effect.requests, buildset_ids=effect.buildset_ids
        )
        try:
            await self._write(store.note_progress, job)
        except Exception:
            self.log.failure(
                "selfserve: the first step of job {job.job_id} cannot be stored yet", job=job
            )
        self.ongoing.run(job)
        return job

    async def _in_turn(self, running: _Running, planned: _Planned) -> Effect:
        """Execute a plan; if it records changes, in turn with others that record the same ones.

        Each looks for the newest change first, so that at once they would all record one.
        """
        if not planned.plan.changes:
            return await self._carried_out(running, planned)
        revision = planned.plan.changes[0].revision  # all are of one revision
        turn = await self._turns.take_recording(revision, running.deadline)
        try:
            return await self._carried_out(running, planned)
        finally:
            self._end(turn)

    async def _carried_out(self, running: _Running, planned: _Planned) -> Effect:
        """Execute a plan, stored in the journal meanwhile; return its effect.

        :raises Refused: the plan is too large
        :raises TooMany: the user may not request so many builds
        """
        plan = planned.plan
        job = running.job
        if plan.found:
            job = running.job = replace(job, what={**job.what, **plan.found})
            await self._write(store.note_found, job)
        if not plan.is_empty or plan.ongoing is not None:
            text = plan_to_json(plan)
            if len(text) > LARGEST_PLAN:
                raise Refused("This would create too much at once", "choose fewer builders")
            await self._take_builds(job, plan.builds)
            lease = None if running.turn is None else running.turn.lease
            if not await self._write(store.note_plan, replace(job, plan=text), lease):
                raise turns.lost()
            goes_on = None if plan.is_ended else plan.ongoing
            running.job = replace(job, plan=text, ongoing=goes_on)
        order = Order(
            job.job_id, job.who, running.deadline, self.check_running, job.cancelled_build
        )
        if plan.stops is not None:
            await self.ongoing.end(plan.stops, f"Stopped by {job.who}")
        effect = await execute(self._master, order, plan, planned.rights, holds=self._holds)
        return replace(effect, msg=f"{plan.begun}: {effect.msg}") if plan.begun else effect

    async def _cut_short(self, job: Job, error: Exception) -> Job:
        """Return the job as closed, after *error* cut it short.

        :raises Unavailable: the job has done nothing
        :raises CustomCodeFailed: the job has done nothing, and another attempt would fail as well
        """
        job = _known(await self._closing.close_as_reconciled(job))
        if job.did_something or not job.errors:
            return job
        if isinstance(error, CustomCodeFailed):
            raise error
        msg = error.msg if isinstance(error, Unavailable) else "The master could not do this"
        raise Unavailable(msg, job.msg, job_id=job.job_id)

    async def _take_builds(self, job: Job, number: int) -> None:
        limit = self.limits.builds_per_hour
        if limit is None or not number:
            return
        refusal: TooMany | None = await self._write(budgets.take_builds, job, number, limit)
        if refusal is not None:
            raise refusal


def _known(job: Job) -> Job:
    """Return *job* if its row is closed.

    :raises Unavailable: another master has taken the row over, and has not closed it yet
    """
    if job.status == "running":
        raise unfinished(job)
    return job


class JobRunner:
    """Runs the planner of one job request for one requester; handlers find it in ``ctx.jobs``.

    :param action: the name of the action, as in the journal
    :param selectors: the selectors of the job request, for the journal
    :param dry_run: only return what would be done
    :param if_plan: as in :class:`Wanted`
    """

    def __init__(
        self,
        jobs: Jobs,
        requester: Requester,
        action: str,
        selectors: Mapping[str, Any] = MappingProxyType({}),
        *,
        dry_run: bool = False,
        if_plan: str | None = None,
    ) -> None:
        self._jobs = jobs
        self._requester = requester
        self._action = action
        self._selectors = selectors
        self._dry_run = dry_run
        self._if_plan = if_plan

    async def run(
        self,
        planner: Callable[Concatenate[PlanContext, Params], Awaitable[Plan]],
        *nouns: Params.args,
        **params: Params.kwargs,
    ) -> Receipt | PlannedReceipt:
        """Plan with ``planner(ctx, *nouns, **params)`` and execute the plan; return the receipt.

        A dry run returns the receipt of the plan and executes nothing.
        """

        def bound(ctx: PlanContext) -> Awaitable[Plan]:
            return planner(ctx, *nouns, **params)

        told = {**params, **self._selectors}
        wanted = Wanted(
            self._requester,
            self._action,
            bound,
            nouns,
            told,
            self._if_plan,
            alone=is_convergent(planner),
        )
        if self._dry_run:
            return await self._jobs.plan(wanted)
        return await self._jobs.run(wanted)
