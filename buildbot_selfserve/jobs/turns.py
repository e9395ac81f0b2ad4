"""Lets job requests for the same target have their turns, whichever master they were sent to.

In one master they queue. Of several masters that share the journal, the one that holds the lease of
the target has its turn; nothing in the database is locked meanwhile.
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

#: Seconds between two renewals of a lease, and without any after which it is taken from its holder.
RENEWAL, PATIENCE = 1.0, 5.0
#: Seconds for which it is remembered how a lease was seen that nobody waits for any more.
MEMORY = 60.0
#: Job requests that take turns whatever revision they are about.
_TOGETHER = frozenset({BISECT.action, CANCEL_BISECT.action})
#: Seconds between two looks whether somebody still holds a lease.
INTERVAL = 0.1


@dataclass(frozen=True)
class _Seen:
    """Somebody else's lease, and since when it is as it is, in monotonic seconds."""

    lease: Lease
    since: float


class Turns:
    """Gives turns.

    :param clock: the reactor
    :param write: runs ``function(connection, *arguments)`` on the journal's database, elsewhere
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, write: Callable[..., Awaitable[Any]]) -> None:
        self.clock = clock
        self.write = write
        self._queues: dict[str, defer.DeferredLock] = {}
        #: the leases that somebody has waited for in vain: who comes next goes on from there
        self._seen: dict[str, _Seen] = {}

    async def take(self, job: Job, deadline: float) -> Turn:
        """Return the turn of *job*, when it has come.

        :param deadline: until when to wait for it, in monotonic seconds
        :raises Unavailable: that is over
        """
        name = lease_name(job)
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
                    self.log.warn("selfserve: took a turn from one who gave no sign of life")
                self._seen.pop(turn.name, None)
                return
            seen = self._seen.get(turn.name)
            # where the database is slow, the holder may have tried to renew it
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
        """Let the next one of this master have its turn."""
        queue = self._queues[name]
        queue.release()
        if not queue.locked and not queue.waiting:
            del self._queues[name]


class Turn:
    """One turn: from when it has come until its :meth:`end`."""

    def __init__(self, turns: Turns, name: str) -> None:
        self.name = name
        self.holder = uuid.uuid4().hex
        self._turns = turns
        self._renewing = task.LoopingCall(self._renew)
        self._renewing.clock = turns.clock

    def begin(self) -> None:
        """Renew the lease from now on."""
        self._renewing.start(RENEWAL, now=False)

    def _renew(self) -> defer.Deferred[None]:
        renewed = defer.Deferred.fromCoroutine(self._is_held())
        # the next time perhaps; whether it was lost, who acts asks
        return renewed.addBoth(lambda _: None)

    async def _is_held(self) -> bool:
        held: bool = await self._turns.write(leases.renew, self.name, self.holder)
        return held

    async def check(self) -> None:
        """Check that nobody else has it, right before something is done in it.

        :raises Unavailable: it was taken by another master, which saw no sign of life of this one
        """
        if not await self._is_held():
            raise Unavailable("The master was too slow, and another one has taken over")

    async def end(self) -> None:
        """Let the next one have its turn."""
        self._renewing.stop()
        try:
            await self._turns.write(leases.give_back, self.name, self.holder)
        except Unavailable:
            pass  # the master stops; the lease is soon stale
        except Exception:
            # likewise
            Turns.log.failure("selfserve: a turn cannot be given back")
        finally:
            self._turns.leave(self.name)


def lease_name(job: Job) -> str:
    """Return the name of the lease for what *job* is about."""
    target = json.dumps(_about(job))
    return hashlib.sha256(target.encode()).hexdigest()


def _about(job: Job) -> tuple[Any, ...]:
    if job.action in _TOGETHER:
        # they look at each other: how many there are, and what the others have requested
        return (BISECT.action,)
    if "builder_name" in job.what:
        # a builder at several revisions, whichever of them was named
        return job.branch, "builder", job.what["builder_name"]
    return job.branch, job.what.get("revision")


def _busy() -> Unavailable:
    return Unavailable(
        "Another job request for this revision has not ended yet", "nothing was done"
    )
