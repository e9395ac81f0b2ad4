"""The state of a master: what only its live objects know of workers, locks and builds.

All of it is plain data, so that a reader can work out why a build request waits. They are named
tuples, because a master with hundreds of builders makes many of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from buildbot_selfserve.model.holds import Hold

_NO_ALIASES: Mapping[str, tuple[str, ...]] = {}


class LockAccess(NamedTuple):
    """How something needs a lock.

    :param on_worker: each worker has a lock of its own
    :param amount: how much of it; an exclusive access needs all of it
    :param capacity: how many may hold it, as far as the configuration says
    """

    name: str
    on_worker: bool
    is_exclusive: bool
    amount: int
    capacity: Mapping[str, int] | int

    def capacity_on(self, worker: str) -> int:
        """Return how many may hold the lock of *worker*."""
        if isinstance(self.capacity, int):
            return self.capacity
        return self.capacity.get(worker, self.capacity[""])


class LiveBuild(NamedTuple):
    """A build that has not ended.

    :param build_id: ``None`` where it has no row in the database yet
    :param builder_id: the builder under which its page is, which may be a virtual one
    :param lender: the name of the builder whose worker it uses
    :param waits: ``worker``, ``locks`` or ``step`` for what it waits for, or empty
    :param step: the name of the step that waits for locks
    :param locks: the names of the locks that it waits for, each with the worker whose lock it is,
        or an empty text
    """

    build_id: int | None
    number: int | None
    builder_id: int | None
    lender: str
    worker: str
    request_ids: tuple[int, ...]
    waits: str = ""
    step: str = ""
    locks: tuple[tuple[str, str], ...] = ()


class LiveLock(NamedTuple):
    """A lock that exists.

    :param is_outdated: the configuration may say another capacity by now
    :param is_exclusive: somebody holds it exclusively
    :param counting: how much of it is held
    :param waiting: how many builds and steps wait for it; *exclusive_waiting*: so many of them
        exclusively
    :param builds: the builds that hold it, by their place in ``MasterState.builds``
    :param workers: the workers that hold it for their builds
    """

    capacity: int
    is_outdated: bool
    is_exclusive: bool
    counting: int
    waiting: int
    exclusive_waiting: int
    builds: tuple[int, ...]
    workers: tuple[str, ...]

    def is_free(self, access: LockAccess, capacity: int) -> bool:
        """Whether a build that comes now would get it (buildbot/locks.py, ``isAvailable``).

        :param capacity: how many may hold it
        """
        if not access.amount:
            return True
        if access.is_exclusive:
            return not (self.is_exclusive or self.counting or self.waiting)
        taken = self.counting + self.waiting + access.amount
        return not (self.is_exclusive or self.exclusive_waiting) and taken <= capacity


class LiveWorker(NamedTuple):
    """A worker of this master's configuration.

    :param quarantined_until: epoch seconds, ``None`` if it is not in quarantine
    :param busy: how many builders have a build there, or are about to
    :param is_latent: it starts when it is needed
    :param is_between: it is latent, and starts or stops for a build
    :param is_stopping: it is latent, and stops; it may have to start again for a build
    :param is_picky: what it runs now may not suit another build
    :param has_own_rule: its class decides itself whether a build can start
    """

    connected: bool
    paused: bool
    pause_reason: str | None
    graceful: bool
    quarantined_until: int | None
    max_builds: int | None
    busy: int
    locks: tuple[LockAccess, ...] = ()
    is_latent: bool = False
    is_between: bool = False
    is_picky: bool = False
    has_own_rule: bool = False
    is_stopping: bool = False


class LiveBuilder(NamedTuple):
    """A builder as this master's configuration has it.

    :param hooks: functions of the operator's that choose what is built, by name
    :param enforces_worker: a request whose property ``workername`` names a worker goes only there
    :param locks: what a build needs before it starts; ``None`` if that depends on the build
    """

    builder_id: int
    name: str
    workers: tuple[str, ...]
    hooks: tuple[str, ...] = ()
    enforces_worker: bool = False
    locks: tuple[LockAccess, ...] | None = ()


class MasterState(NamedTuple):
    """What a master knew at one moment.

    :param taken_at: epoch seconds
    :param distributes: it starts builds; while it shuts down, perhaps only those that another build
        waits for (*only_waited_for*)
    :param looking: the ids of the builders that it is about to look at
    :param is_looking: it is choosing builds right now, or the builders to look at
    :param has_own_order: a function of the operator's decides which builder comes first
    :param builders: by id
    :param attaching: workers that are not ready for a builder yet, or no more, by its id
    :param busy: workers that have a build of a builder, by its id
    :param locks: by name and worker, with an empty text for a lock of the whole master
    :param starting: the ids of build requests that are being made into builds
    :param holds: those that it keeps to
    :param aliases: names of virtual builders that the configuration gives, by builder
    """

    master_id: int
    name: str
    taken_at: int
    shutting_down: bool
    distributes: bool
    only_waited_for: bool
    looking: frozenset[int]
    is_looking: bool
    has_own_order: bool
    builders: Mapping[int, LiveBuilder]
    attaching: Mapping[int, tuple[str, ...]]
    busy: Mapping[int, tuple[str, ...]]
    workers: Mapping[str, LiveWorker]
    locks: Mapping[tuple[str, str], LiveLock]
    builds: tuple[LiveBuild, ...]
    starting: frozenset[int]
    holds: tuple[Hold, ...] = ()
    aliases: Mapping[str, tuple[str, ...]] = _NO_ALIASES
