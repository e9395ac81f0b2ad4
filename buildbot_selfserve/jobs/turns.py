"""Lets job requests with the same target take turns, on all masters.

Within a master they queue. Among masters that share the journal, the one that holds the target's
lease has its turn; no database lock is held meanwhile.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Awaitable
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from twisted.internet import defer
from twisted.internet import task
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.journal import leases
from buildbot_selfserve.journal.leases import Lease
from buildbot_selfserve.model import Job
from buildbot_selfserve.permissions import BISECT
from buildbot_selfserve.permissions import CANCEL_BISECT

#: Seconds between two renewals of a lease, and seconds without a renewal after which it is taken
#: from its holder.
RENEWAL, PATIENCE = 1.0, 5.0
#: Seconds to remember the state of a lease that nobody waits for any more.
MEMORY = 60.0
#: Actions whose job requests all share one lease.
_TOGETHER = frozenset({BISECT.action, CANCEL_BISECT.action})
#: Seconds between two reads of a lease that another turn holds.
INTERVAL = 0.1


@dataclass(frozen=True)
class _Seen:
    """Another turn's lease, and since when it is unchanged, in monotonic seconds."""

    lease: Lease
    since: float


class Turns:
    """Gives turns to job requests.

    :param clock: the reactor
    :param write: runs ``function(connection, *arguments)`` on the journal's database, outside the
        reactor
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, write: Callable[..., Awaitable[Any]]) -> None:
        self.clock = clock
        self.write = write
        self._queues: dict[str, defer.DeferredLock] = {}
        #: leases that were waited for in vain; the next to wait continues from their state
        self._seen: dict[str, _Seen] = {}

    async def take(self, job: Job, deadline: float) -> Turn:
        """Wait for the turn of *job*, and return it.

        :param deadline: until when to wait, in monotonic seconds
        :raises Unavailable: the turn did not come in time
        """
        return await self._take(lease_name(job), deadline)

    async def take_recording(self, revision: str, deadline: float) -> Turn:
        """Wait for the turn to record changes of *revision*, and return it.

        Who has a turn for a target may wait for this one, but not the other way round.

        :param deadline: as for :meth:`take`, and so is what is raised
        """
        return await self._take(_named("changes", revision), deadline)

    async def _take(self, name: str, deadline: float) -> Turn:
        queue = self._queues.setdefault(name, defer.DeferredLock())
        try:
            await queue.acquire().addTimeout(max(0.0, deadline - self.clock.seconds()), self.clock)
        except defer.TimeoutError:
            raise _busy() from None
        try:
            turn = Turn(self, name)
            await self._hold(turn, deadline)
        except BaseException:
            self.leave(name)
            raise
        turn.begin()
        return turn

    async def _hold(self, turn: Turn, deadline: float) -> None:
        """Wait until *turn* holds its lease."""
        stale: Lease | None = None
        while True:
            begun = self.clock.seconds()
            found: Lease = await self.write(leases.take, turn.name, turn.holder, stale)
            now = self.clock.seconds()
            if found.holder == turn.holder:
                if stale is not None:
                    self.log.warn("selfserve: took over a lease that its holder did not renew")
                self._seen.pop(turn.name, None)
                return
            seen = self._seen.get(turn.name)
            # if the database is slow, the holder may have tried to renew the lease
            if seen is None or seen.lease != found or now - begun > RENEWAL:
                seen = self._note(turn.name, _Seen(found, now))
            stale = found if now - seen.since > PATIENCE else None
            if now > deadline:
                raise _busy()
            if stale is None:
                await task.deferLater(self.clock, INTERVAL)

    def _note(self, name: str, seen: _Seen) -> _Seen:
        before = self._seen
        self._seen = {n: one for n, one in before.items() if seen.since - one.since < MEMORY}
        self._seen[name] = seen
        return seen

    def leave(self, name: str) -> None:
        """Let the next job request of this master take its turn."""
        queue = self._queues[name]
        queue.release()
        # the next one may have failed already, and left
        is_ours = self._queues.get(name) is queue
        if is_ours and not queue.locked and not queue.waiting:
            del self._queues[name]


class Turn:
    """A turn, which lasts until its :meth:`end`."""

    def __init__(self, turns: Turns, name: str) -> None:
        self.name = name
        self.holder = uuid.uuid4().hex
        self._turns = turns
        self._renewing = task.LoopingCall(self._renew)
        self._renewing.clock = turns.clock

    @property
    def lease(self) -> tuple[str, str]:
        """Return the name and the holder of the lease."""
        return self.name, self.holder

    def begin(self) -> None:
        """Start renewing the lease."""
        self._renewing.start(RENEWAL, now=False)

    def _renew(self) -> defer.Deferred[None]:
        renewed = defer.Deferred.fromCoroutine(self._is_held())
        # ignore failures: the next renewal may succeed, and ``check`` finds out if the lease was
        # lost
        return renewed.addBoth(lambda _: None)

    async def _is_held(self) -> bool:
        held: bool = await self._turns.write(leases.renew, *self.lease)
        return held

    async def check(self) -> None:
        """Check that the lease is still held, right before acting in this turn.

        :raises Unavailable: another master has taken the lease, as it was not renewed
        """
        if not await self._is_held():
            raise lost()

    async def end(self) -> None:
        """Release the lease, and let the next job request take its turn."""
        self._renewing.stop()
        try:
            await self._turns.write(leases.give_back, *self.lease)
        except Unavailable:
            pass  # the master is stopping; the lease will expire soon
        except Exception:
            # the lease will expire soon
            Turns.log.failure("selfserve: a lease cannot be released")
        finally:
            self._turns.leave(self.name)


def lease_name(job: Job) -> str:
    """Return the name of the lease for the target of *job*."""
    return _named(*_about(job))


def _named(*target: Any) -> str:
    return hashlib.sha256(json.dumps(target).encode()).hexdigest()


def _about(job: Job) -> tuple[Any, ...]:
    if job.action in _TOGETHER:
        # bisections read each other: their number, and their requests
        return (BISECT.action,)
    if "builder_name" in job.what:
        # one builder at several revisions, whichever revision the job request names
        return job.branch, "builder", job.what["builder_name"]
    return job.branch, job.what.get("revision")


def lost() -> Unavailable:
    """Return the error for a job request whose turn another master has taken."""
    return Unavailable("The master was too slow, and another one has taken over")


def _busy() -> Unavailable:
    return Unavailable(
        "Another job request for the same target has not ended yet", "nothing was done"
    )
