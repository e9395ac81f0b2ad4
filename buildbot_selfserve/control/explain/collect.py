"""Collects the state of a master's live objects: builders, workers, locks and builds.

This runs in the reactor in slices. It only reads attributes: it creates no lock, calls no function
from master.cfg and makes no query.
"""

from __future__ import annotations

import functools
import operator
import pickle
import time
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from buildbot import locks as buildbot_locks
from buildbot.interfaces import IRenderable
from buildbot.process.builder import enforceChosenWorker
from buildbot.process.workerforbuilder import States
from buildbot.worker.latent import AbstractLatentWorker
from buildbot.worker.latent import States as LatentStates
from twisted.internet import defer

from buildbot_selfserve import buildbot_private
from buildbot_selfserve.clock import next_turn
from buildbot_selfserve.control import virtual_builder_names
from buildbot_selfserve.control.enforce_holds import Holds
from buildbot_selfserve.model import LiveBuild
from buildbot_selfserve.model import LiveBuilder
from buildbot_selfserve.model import LiveLock
from buildbot_selfserve.model import LiveWorker
from buildbot_selfserve.model import LockAccess
from buildbot_selfserve.model import MasterState

#: Seconds of reactor time after which a slice ends; it may exceed them by one builder.
SLICE = 0.001
#: A state is valid for this many times as long as it took to collect. All callers within these few
#: milliseconds share it, so the reactor spends at most a fifth of its time on this.
SHARED_FOR = 4

_STOPPING = (LatentStates.INSUBSTANTIATING, LatentStates.INSUBSTANTIATING_SUBSTANTIATING)

#: Stands in the place of a worker's name for the whole master, or for all other workers.
ANYWHERE = ""


class MasterStates:
    """Collects the state of a master for all callers together.

    :param holds: the holds that the master enforces
    """

    def __init__(self, master: Any, holds: Holds) -> None:
        self._master = master
        self._holds = holds
        self._configured = Configured()
        self._pickled = b""
        self._good_until = 0.0
        self._waiters: list[defer.Deferred[bytes]] = []
        self._is_collecting = False

    async def pickled(self) -> bytes:
        """Return the current state for :func:`unpickled`; it is pickled once for all callers."""
        if time.monotonic() < self._good_until:
            return self._pickled
        waiter: defer.Deferred[bytes] = defer.Deferred()
        self._waiters.append(waiter)
        if not self._is_collecting:
            self._is_collecting = True
            defer.Deferred.fromCoroutine(self._collect()).addBoth(self._collected)
        return await waiter

    async def _collect(self) -> bytes:
        busy, slices = 0.0, collect(self._master, self._configured)
        while True:
            begun = time.monotonic()
            state = _run_slice(slices, begun + SLICE)
            if state is not None:
                break
            busy += time.monotonic() - begun
            await next_turn(self._master.reactor)
        state = state._replace(builders={}, holds=self._holds.now)
        self._pickled = _pickled((self._configured.pickled, state))
        now = time.monotonic()
        self._good_until = now + SHARED_FOR * (busy + now - begun)
        return self._pickled

    def _collected(self, result: Any) -> None:
        self._is_collecting = False
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.called:  # not cancelled by a client that hung up
                waiter.callback(result)  # a Failure calls the errback


def _pickled(value: Any) -> bytes:
    return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)


def unpickled(state: bytes) -> MasterState:
    """Return the state that :class:`MasterStates` pickled."""
    builders, rest = pickle.loads(state)
    found: MasterState = rest._replace(builders=_builders(builders))
    return found


@functools.lru_cache(maxsize=2)
def _builders(pickled: bytes) -> dict[int, LiveBuilder]:
    builders: dict[int, LiveBuilder] = pickle.loads(pickled)
    return builders


def _run_slice(slices: Iterator[MasterState | None], until: float) -> MasterState | None:
    """Run slices until the state is complete, or until the monotonic time *until*."""
    for state in slices:
        if state is not None or time.monotonic() >= until:
            return state
    return None


class Configured:
    """The builders of the configuration, made once for each configuration.

    :ivar pickled: the builders, pickled for a reader
    :ivar aliases: the configured virtual builder names of each builder, by builder name
    """

    def __init__(self) -> None:
        self.aliases: dict[str, tuple[str, ...]] = {}
        self.builders: dict[int, LiveBuilder] = {}
        self.pickled = _pickled({})
        self._made_of: list[Any] = []

    def update(self, master: Any) -> Iterator[None]:
        """Make the builders again if the configuration has changed."""
        by_id = buildbot_private.builders_by_id(master.botmaster)
        chooses = master.config.select_next_worker
        made_of = [chooses]
        for builder_id, builder in by_id.items():
            made_of += (builder_id, builder.config)
        before = self._made_of
        if len(before) == len(made_of) and all(map(operator.is_, before, made_of)):
            return
        hooks = ("select_next_worker",) if chooses else ()
        found: dict[int, LiveBuilder] = {}
        aliases: dict[str, tuple[str, ...]] = {}
        for builder_id, builder in list(by_id.items()):
            if builder.config is not None:
                found[builder_id] = _builder(builder_id, builder.config, hooks)
                its = virtual_builder_names.names(master, builder.name, {})
                aliases |= {builder.name: its} if its else {}
            yield
        self.builders, self.aliases, self._made_of = found, aliases, made_of
        self.pickled = _pickled(found)


def collect(master: Any, configured: Configured) -> Iterator[MasterState | None]:
    """Yield ``None`` where the reactor may get a turn, and finally the state of *master*."""
    botmaster, running = master.botmaster, _Builds()
    yield from configured.update(master)
    yield from running.take(botmaster)
    locks = _Locks(master.config_version, running)
    locks.take(botmaster)
    yield None
    workers: dict[str, LiveWorker] = {}
    for name, worker in list(master.workers.workers.items()):
        workers[name] = _worker(worker)
        yield None
    attaching: dict[int, tuple[str, ...]] = {}
    busy: dict[int, tuple[str, ...]] = {}
    by_id = buildbot_private.builders_by_id(botmaster)
    for builder_id, builder in list(by_id.items()):
        if builder.building:
            busy[builder_id] = _busy(builder)
        known = configured.builders.get(builder_id)
        if known is not None and len(builder.workers) < len(known.workers):
            attaching[builder_id] = _attaching(builder, known, workers)
            yield None
    brd = botmaster.brd
    looking, named = buildbot_private.builders_to_look_at(botmaster)
    looking |= {one for one, builder in configured.builders.items() if builder.name in named}
    yield MasterState(
        master_id=int(master.masterid),
        name=master.name,
        taken_at=int(master.reactor.seconds()),
        shutting_down=bool(botmaster.shuttingDown),
        distributes=bool(brd.can_distribute),
        only_waited_for=bool(brd.distribute_only_waited_childs),
        looking=frozenset(looking),
        is_looking=bool(brd.active or brd.pending_builders_lock.locked),
        has_own_order=master.config.prioritizeBuilders is not None,
        builders=configured.builders,
        attaching={one: its for one, its in attaching.items() if its},
        busy=busy,
        workers=workers,
        locks=locks.found,
        builds=tuple(locks.with_names(running.found)),
        starting=buildbot_private.starting_requests(botmaster),
        aliases=configured.aliases,
    )


# -- builders and workers


def _builder(builder_id: int, config: Any, hooks: tuple[str, ...]) -> LiveBuilder:
    enforces = config.canStartBuild is enforceChosenWorker
    its = tuple(
        name
        for name in ("nextBuild", "nextWorker", "canStartBuild")
        if getattr(config, name) is not None and not (enforces and name == "canStartBuild")
    )
    if "nextWorker" in its:
        hooks = ()  # it overrides the hook for all builders
    return LiveBuilder(
        builder_id,
        config.name,
        tuple(dict.fromkeys(config.workernames)),
        (*hooks, *its),
        enforces,
        None if IRenderable.providedBy(config.locks) else _accesses(config.locks),
    )


def _attaching(
    builder: Any, known: LiveBuilder, workers: Mapping[str, LiveWorker]
) -> tuple[str, ...]:
    there = {one.worker.workername for one in builder.workers if one.worker is not None}
    away = (name for name in known.workers if name not in there and name in workers)
    return tuple(name for name in away if workers[name].connected or workers[name].is_latent)


def _busy(builder: Any) -> tuple[str, ...]:
    """Return the workers that have a build of *builder*, so that no other can start there."""
    used = (build.workerforbuilder for build in builder.building)
    return tuple(
        one.worker.workername
        for one in used
        if one is not None and one.worker is not None and one.state is not States.AVAILABLE
    )


def _worker(worker: Any) -> LiveWorker:
    paused, reason = buildbot_private.pause(worker)
    timer, connected = worker.quarantine_timer, worker.conn is not None
    busy = 0
    if worker.max_builds:
        available = States.AVAILABLE
        busy = sum([one.state is not available for one in worker.workerforbuilders.values()])
    is_latent = isinstance(worker, AbstractLatentWorker)
    return LiveWorker(
        connected,
        paused,
        reason,
        buildbot_private.is_graceful(worker),
        int(timer.getTime()) if timer is not None else None,
        worker.max_builds or None,
        busy,
        _accesses(worker.access),
        is_latent,
        is_latent and not connected and bool(worker.building),
        _is_picky(worker),
        not (_is_buildbots(worker.canStartBuild) and _is_buildbots(worker.locksAvailable)),
        is_latent and worker.state in _STOPPING,
    )


def _is_picky(worker: Any) -> bool:
    """Return whether a worker may refuse a build because of its properties.

    Buildbot's own latent workers compare a build with their running instance, so they take any
    build before they run.
    """
    if not worker.builds_may_be_incompatible:
        return False
    return worker.conn is not None or not _is_buildbots(worker.isCompatibleWithBuild)


def _is_buildbots(function: Any) -> bool:
    return getattr(function, "__module__", "").startswith("buildbot.")


# -- locks


def _accesses(locks: Iterable[Any]) -> tuple[LockAccess, ...]:
    return tuple(_access(one) for one in locks) if locks else ()


def _access(given: Any) -> LockAccess:
    """Return an access to a lock; without a given mode it is counting, as in Buildbot."""
    has_mode = isinstance(given, buildbot_locks.LockAccess)
    lock_id = given.lockid if has_mode else given
    on_worker = isinstance(lock_id, buildbot_locks.WorkerLock)
    capacity: Mapping[str, int] | int = lock_id.maxCount
    if on_worker:
        capacity = {**lock_id.maxCountForWorker, ANYWHERE: lock_id.maxCount}
    is_exclusive = has_mode and given.mode == "exclusive"
    return LockAccess(
        lock_id.name, on_worker, is_exclusive, given.count if has_mode else 1, capacity
    )


class _Builds:
    """The unfinished builds of a master, with the objects that hold locks for them.

    The owners of locks are given as ``id()`` of objects; a reference to each object is kept, so
    that no other object gets the same id meanwhile.
    """

    def __init__(self) -> None:
        self.found: list[tuple[LiveBuild, Any]] = []
        self.by_object: dict[int, int] = {}
        self._kept: list[Any] = []

    def take(self, botmaster: Any) -> Iterator[None]:
        for builder in list(botmaster.builders.values()):
            # including builds of a predecessor, and builds from before a reconfig
            for build in [*builder.building, *builder.old_building]:
                self._add(build)
            if builder.building:
                yield None

    def _add(self, build: Any) -> None:
        if id(build) in self.by_object:
            return
        step = build.currentStep
        self.by_object[id(build)] = len(self.found)
        self._kept.append(build)
        if step is not None:
            self.by_object[id(step)] = len(self.found)
            self._kept.append(step)
        waits, lock = "", buildbot_private.lock_waited_for(build)
        if buildbot_private.waits_for_worker(build):
            waits = "worker"
        elif lock is not None:
            waits = "locks"
        else:
            lock = buildbot_private.lock_of_step(step) if step is not None else None
            waits = "step" if lock is not None else ""
        live = LiveBuild(
            build.buildid,
            build.number,
            buildbot_private.builder_of(build),
            build.builder.name,
            _worker_of(build),
            tuple(request.id for request in build.requests),
            waits,
            step.name if waits == "step" else "",
        )
        self.found.append((live, lock))


def _worker_of(build: Any) -> str:
    given = build.workerforbuilder
    worker = None if given is None else given.worker
    name = getattr(build, "workername", None) if worker is None else worker.workername
    return name or ""


class _Locks:
    """The existing locks of a master."""

    def __init__(self, config_version: int, builds: _Builds) -> None:
        self.found: dict[tuple[str, str], LiveLock] = {}
        self._builds = builds
        self._config_version = config_version
        self._names: dict[int, tuple[str, str]] = {}
        self._workers: dict[int, str] = {}

    def take(self, botmaster: Any) -> None:
        self._workers = {
            id(worker): name for name, worker in botmaster.master.workers.workers.items()
        }
        for service in botmaster.namedServices.values():
            if isinstance(service, buildbot_locks.RealMasterLock):
                self._add(service, ANYWHERE, service.config_version)
            elif isinstance(service, buildbot_locks.RealWorkerLock):
                for worker, lock in service.locks.items():
                    self._add(lock, worker, service.config_version)

    def _add(self, lock: Any, worker: str, config_version: int) -> None:
        exclusive, counting = buildbot_private.lock_use(lock)
        owners = [owner for owner, _ in lock.owners]
        known = self._builds.by_object
        self._names[id(lock)] = (lock.lockName, worker)
        self.found[lock.lockName, worker] = LiveLock(
            lock.maxCount,
            config_version < self._config_version,
            exclusive,
            counting,
            len(lock.waiting),
            sum(access.mode == "exclusive" for _, access, _ in lock.waiting),
            tuple(dict.fromkeys(known[one] for one in owners if one in known)),
            tuple(dict.fromkeys(self._workers[one] for one in owners if one in self._workers)),
        )

    def with_names(self, builds: Iterable[tuple[LiveBuild, Any]]) -> Iterator[LiveBuild]:
        """Yield *builds* with the names of the locks that they wait for."""
        for build, lock in builds:
            name = None if lock is None else self._names.get(id(lock))
            yield build if name is None else build._replace(locks=(name,))
