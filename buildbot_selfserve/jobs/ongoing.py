"""Ongoing job requests, such as bisections, which take steps after their answer.

The state of an ongoing job is its row in the journal, which stays open, and the build requests in
the database that have its mark. Each step reads both, decides, and requests the next builds. A job
that was cut short anywhere thus continues, on this master or another, and requests nothing twice.
"""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from buildbot_selfserve.control import current_state
from buildbot_selfserve.control.current_state import RequestState
from buildbot_selfserve.control.execute import execute
from buildbot_selfserve.control.gone_masters import let_others_build
from buildbot_selfserve.control.planners import backfill
from buildbot_selfserve.control.planners import bisect
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.control.planners.own_requests import made_by
from buildbot_selfserve.control.reconcile import make_known
from buildbot_selfserve.deferreds import independent
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import CustomCodeFailed
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import MasterStops
from buildbot_selfserve.errors import NotFound
from buildbot_selfserve.errors import NotNow
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.jobs.close_row import RowCloser
from buildbot_selfserve.jobs.turns import Turn
from buildbot_selfserve.jobs.turns import Turns
from buildbot_selfserve.journal import budgets
from buildbot_selfserve.journal import store
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import JobRow
from buildbot_selfserve.model import Limits
from buildbot_selfserve.model import Ongoing
from buildbot_selfserve.model import OngoingStep
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import Plan
from buildbot_selfserve.mq_subscriptions import MqSubscriptions
from buildbot_selfserve.permissions import BACKFILL
from buildbot_selfserve.permissions import BISECT

#: Seconds after which a job takes a step without an event, as events can be lost.
INTERVAL = 60.0
#: The smallest number of seconds between two steps of a job.
SETTLING = 0.1
#: Seconds that a step waits for its turn.
LONGEST_WAIT = 30.0
#: Seconds before the first retry of a failed step, and at most; each wait is twice the last.
FIRST_RETRY, LAST_RETRY = 1.0, 60.0
#: The number of consecutive attempts that may fail while the database answers.
MOST_FAILURES = 12
#: Seconds that a builder may have no master if several masters share the database: its master may
#: be restarting.
GONE_PATIENCE = 600.0
#: Seconds in which a step must end when the master stops; another master takes the steps that
#: remain.
STOP_PATIENCE = 10.0
#: Errors after which a later attempt would fail as well.
_FINAL = (BadParameter, CustomCodeFailed, Forbidden, NotFound, Refused)
#: Buildbot's messages after which a job may take a step.
_TOPICS = (("buildrequests", None, None), ("builds", None, "finished"))
_TELLING = frozenset({"complete", "finished", "unclaimed"})


@dataclass(frozen=True)
class Kind:
    """A kind of ongoing job request.

    :param next_step: returns the next step, given the requests so far
    :param last_step: returns the step that ends the job now, given a status and a reason
    """

    next_step: Callable[[PlanContext, Job, Mapping[int, RequestState]], Awaitable[OngoingStep]]
    last_step: Callable[[PlanContext, Job, str, str], Awaitable[OngoingStep]]


#: The kinds by action.
KINDS: Mapping[str, Kind] = {
    BISECT.action: Kind(bisect.next_step, bisect.last_step),
    BACKFILL.action: Kind(backfill.next_step, backfill.last_step),
}


class _Followed:
    """An ongoing job that this master runs.

    :ivar woken: an event has come since the last step
    :ivar called: it is to take a step soon, also if the last one failed
    :ivar pauses: the last step failed or was refused, so that events do not end the wait
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.woken = False
        self.called = False
        self.pauses = False
        self.failures = 0
        #: whether a step may have been cut short, here or elsewhere, or an event was lost
        self.is_doubtful = True
        #: when a step was first refused, in monotonic seconds; ``None`` if the last one was not
        self.refused_since: float | None = None
        self._waiter: defer.Deferred[None] | None = None

    @property
    def builder_id(self) -> int | None:
        """Return the id of the builder whose requests the job waits for."""
        assert self.job.ongoing is not None  # as in all jobs here
        found: int | None = self.job.ongoing.spec.get("requested_builder_id")
        return found

    def wake(self) -> None:
        """Let the job take a step, or note an event during a pause."""
        self.woken = True
        self._end_wait()

    def call(self) -> None:
        """Let the job take a step, also during a pause."""
        self.called = True
        self._end_wait()

    @property
    def _is_ready(self) -> bool:
        return self.called or (self.woken and not self.pauses)

    def _end_wait(self) -> None:
        waiter = self._waiter
        if waiter is not None and self._is_ready:
            self._waiter = None
            waiter.callback(None)

    async def wait(self, seconds: float, clock: IReactorTime) -> None:
        """Wait until the job is woken or called, or for *seconds*."""
        if not self._is_ready:
            waiter = self._waiter = defer.Deferred()
            waiter.addTimeout(seconds, clock)
            try:
                await waiter
            except defer.TimeoutError:
                self.is_doubtful = True
            finally:
                self._waiter = None
        self.woken = self.called = False


class OngoingJobs:
    """Runs the ongoing job requests of one master.

    :param clock: the reactor
    :param write: runs ``function(connection, *arguments)`` on the journal's database, outside the
        reactor
    :param context: returns a planner's ``ctx`` with the rights that *who* had when they sent the
        job request
    :param check_available: raises :class:`Unavailable` if the master cannot run job requests now
    :param check_running: raises :class:`MasterStops` if the master is stopping
    :param limits: returns the limits of users
    """

    log = Logger()

    def __init__(
        self,
        master: Any,
        clock: IReactorTime,
        write: Callable[..., Awaitable[Any]],
        context: Callable[[str], PlanContext],
        check_available: Callable[[], Awaitable[None]],
        check_running: Callable[[], None],
        limits: Callable[[], Limits],
        closing: RowCloser,
        turns: Turns,
    ) -> None:
        self._master = master
        self._clock = clock
        self._write = write
        self._context = context
        self._check_available = check_available
        self._check_running = check_running
        self._limits = limits
        self._closing = closing
        self._turns = turns
        self._followed: dict[JobRow, _Followed] = {}
        self._running: set[defer.Deferred[None]] = set()
        self._subscriptions = MqSubscriptions(self._heard)
        self._stopping = False

    @property
    def rows(self) -> set[JobRow]:
        """Return the rows of the jobs that run here."""
        return set(self._followed)

    # -- life

    def listen(self, start_consuming: Callable[..., Any]) -> None:
        """Start consuming messages about requests and builds."""
        self._subscriptions.start(start_consuming, _TOPICS)

    def run(self, job: Job) -> None:
        """Run *job* until it ends, unless it runs here already."""
        if job.row in self._followed or self._stopping:
            return
        one = self._followed[job.row] = _Followed(job)
        work = defer.Deferred.fromCoroutine(self._until_ended(one))
        self._running.add(work)

        def over(result: Any) -> None:
            self._running.discard(work)
            self._followed.pop(job.row, None)

        work.addErrback(
            lambda failure: self.log.failure("selfserve: gave up an ongoing job", failure)
        )
        work.addBoth(over)

    def look(self) -> None:
        """Let all jobs take a step soon: the configuration may have changed."""
        for one in list(self._followed.values()):
            one.call()

    async def end(self, job_id: int, why: str) -> None:
        """Close the row of an ongoing job request of any master as cancelled.

        The caller cancels its build requests.
        """
        while True:
            job: Job | None = await self._write(store.job, job_id)
            if job is None or job.status != "running" or job.ongoing is None:
                return
            step = await KINDS[job.action].last_step(self._context(job.who), job, "cancelled", why)
            effect = Effect(why, step.requests, step.buildset_ids)
            # repeat, as another master may have taken the row over meanwhile
            await self._closing.close(replace(job, ongoing=step.ongoing), effect)

    async def rest(self) -> None:
        """Stop running all jobs, once each has ended its step; another master will run them."""
        await self._rest()
        self._stopping = False

    async def _rest(self) -> None:
        self._stopping = True
        self.look()
        everything = defer.DeferredList(list(self._running), consumeErrors=True)
        try:
            await independent(everything).addTimeout(STOP_PATIENCE, self._clock)
        except defer.TimeoutError:
            self.log.warn("selfserve: a step of an ongoing job did not end in time")

    async def stop(self) -> None:
        """Stop running all jobs, as the master stops."""
        await self._subscriptions.stop()
        await self._rest()

    def _heard(self, key: tuple[str, ...], content: Any) -> None:
        if key[-1] not in _TELLING:
            return
        builder_id = content.get("builderid") if isinstance(content, dict) else None
        for one in list(self._followed.values()):
            # a build of a virtual builder has another builder id, but its request has not
            if builder_id in (None, one.builder_id):
                one.wake()

    # -- steps

    async def _until_ended(self, one: _Followed) -> None:
        while not self._stopping:
            pause = await self._tried(one)
            if pause is None:
                return
            if not self._stopping:
                await one.wait(pause, self._clock)
            if not self._stopping:
                quiet: defer.Deferred[None] = defer.Deferred()
                self._clock.callLater(SETTLING, quiet.callback, None)
                await quiet

    async def _tried(self, one: _Followed) -> float | None:
        """Try a step; return the seconds until the next, ``None`` if the job ends here."""
        one.pauses = True
        try:
            await self._check_available()
            goes_on = await self._in_turn(one)
        except MasterStops:
            return None
        except NotNow as error:
            one.failures = 0  # the database is away, or the user's budget is used up
            return float(min(max(error.retry_after, FIRST_RETRY), INTERVAL))
        except Exception:
            self.log.failure("selfserve: a step of job {job_id} failed", job_id=one.job.job_id)
            one.failures += 1
            one.is_doubtful = True
            doublings = min(one.failures, MOST_FAILURES) - 1
            return float(min(FIRST_RETRY * 2**doublings, LAST_RETRY))
        one.failures, one.pauses = 0, False
        return INTERVAL if goes_on else None

    async def _in_turn(self, one: _Followed) -> bool:
        """Take a step in turn with other masters; return whether the job goes on."""
        turn = await self._turns.take(one.job, self._clock.seconds() + LONGEST_WAIT)
        try:
            job = await self._write(store.job, one.job.job_id)
            if job is None or job.row != one.job.row or job.status != "running":
                return False  # the job was stopped, or another master has taken it over
            return await self._step(one, job, turn)
        finally:
            await turn.end()

    async def _step(self, one: _Followed, job: Job, turn: Turn) -> bool:
        ctx, kind = self._context(job.who), KINDS[job.action]
        try:
            made = await made_by(self._master, job)
            made |= await self._made_known(one, made)
            step = await kind.next_step(ctx, job, made)
            await self._do(ctx, job, step, turn)
            one.refused_since = None
        except _FINAL as error:
            if await self._may_come_back(one, error):
                return True
            step = await kind.last_step(ctx, job, "failed", error.msg)
            await self._do(ctx, job, step, turn)
        except NotNow:
            raise
        except Exception:
            if one.failures < MOST_FAILURES:
                raise
            self.log.failure("selfserve: job {job_id} cannot go on", job_id=job.job_id)
            why = "the master could not go on with it; its log says why"
            step = await kind.last_step(ctx, job, "failed", why)
            await self._do(ctx, job, step, turn)
        return step.end is None

    async def _made_known(
        self, one: _Followed, made: Mapping[int, RequestState]
    ) -> dict[int, RequestState]:
        """Tell builders of requests that they may not know; return the states that changed.

        An earlier step may have inserted requests without telling the builders, or another master
        may have abandoned them, or claimed them and gone.
        """
        kept = {state.request_id: at for at, state in made.items() if state.abandoned}
        changed: dict[int, RequestState] = {}
        if kept:
            await let_others_build(self._master, list(kept))
            states = await current_state.request_states(self._master, list(kept))
            changed = {kept[request_id]: state for request_id, state in states.items()}
        if kept or one.is_doubtful:
            await make_known(self._master, {**made, **changed})
        one.is_doubtful = False
        return changed

    async def _may_come_back(self, one: _Followed, error: SelfServeError) -> bool:
        """Return whether a refused step may succeed once another master has restarted."""
        every = await self._master.db.masters.getMasters()
        now = self._clock.seconds()
        if one.refused_since is None:
            one.refused_since = now
        waits = len(every) > 1 and now - one.refused_since < GONE_PATIENCE
        return waits and isinstance(error, Refused)

    async def _do(self, ctx: PlanContext, job: Job, step: OngoingStep, turn: Turn) -> None:
        """Do *step*, and store the progress of the job."""
        order = Order(job.job_id, job.who, self._clock.seconds(), self._check_running)
        if step.drop:
            await turn.check()
            await execute(self._master, order, Plan(endings=step.drop), ctx.rights)
        job = replace(job, ongoing=step.ongoing)
        effect = Effect(step.end or "", step.requests, step.buildset_ids, errors=step.errors)
        if step.end is not None:
            await self._closing.close(job, effect)
            return
        if step.plan.buildsets:
            waiting = await self._without_budget(job, step.plan)
            if waiting is not None:
                await self._note(_saying(job, effect, f"{waiting.msg}; it goes on later"))
                raise waiting
            await turn.check()
            self._check_running()
            made = await execute(self._master, order, step.plan, ctx.rights)
            effect = replace(
                effect,
                requests=(*effect.requests, *made.requests),
                buildset_ids=(*effect.buildset_ids, *made.buildset_ids),
            )
        await self._note(_saying(job, effect, str(step.ongoing.now.get("msg", ""))))

    async def _without_budget(self, job: Job, plan: Plan) -> TooMany | None:
        """Take *plan*'s builds from the user's budget; return the refusal if they are too many."""
        limit = self._limits().builds_per_hour
        if limit is None:
            return None
        refusal: TooMany | None = await self._write(
            budgets.take_later_builds, job, plan.first_number, plan.builds, limit
        )
        return refusal

    async def _note(self, job: Job) -> None:
        await self._write(store.note_progress, job)


def _saying(job: Job, effect: Effect, msg: str) -> Job:
    """Return *job* with its requests so far and with *msg*."""
    assert job.ongoing is not None  # as in all jobs here
    ongoing = Ongoing(job.ongoing.spec, {**job.ongoing.now, "msg": msg})
    return replace(
        job,
        requests=effect.requests,
        buildset_ids=effect.buildset_ids,
        ongoing=ongoing,
    )
