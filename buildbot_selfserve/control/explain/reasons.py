"""Determines why build requests wait, from the state of the master and the database.

Nothing here makes a query. A reason names its cause, or says that it is unknown. The checks are
those of ``buildbot.process.buildrequestdistributor``, in the same order.
"""

from __future__ import annotations

import bisect
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from dataclasses import dataclass
from dataclasses import replace
from functools import cached_property
from types import MappingProxyType

from buildbot_selfserve.answers import ReasonCode
from buildbot_selfserve.model import BuildLink
from buildbot_selfserve.model import Hold
from buildbot_selfserve.model import LiveBuild
from buildbot_selfserve.model import LiveBuilder
from buildbot_selfserve.model import LiveLock
from buildbot_selfserve.model import LockAccess
from buildbot_selfserve.model import MasterState
from buildbot_selfserve.model import OpenBuild
from buildbot_selfserve.model import Pending
from buildbot_selfserve.model import PendingRequest
from buildbot_selfserve.model import Reason
from buildbot_selfserve.model import WorkerElsewhere
from buildbot_selfserve.model import plural

#: Seconds within which a master learns of a new request and checks its builder, and within which a
#: master that is choosing builds starts it, unless blocked.
HEARD, SOON = 2, 10
#: The largest number of names in a sentence, and of ids in a list.
MOST_NAMES, MOST_IDS = 5, 20

#: Obstacles of a worker that pass by themselves, in the order in which they are reported; then
#: obstacles that last until somebody acts.
_PASSING: tuple[ReasonCode, ...] = ("lock_held", "workers_busy", "worker_starting", "unknown")
_LASTING: tuple[ReasonCode, ...] = (
    "worker_paused",
    "worker_graceful",
    "worker_quarantined",
    "no_worker_connected",
    "worker_not_connected",
    "held_back_by_configuration",
)

#: Reasons for which the master starts no builds, whatever its workers do.
_STOPPED: tuple[ReasonCode, ...] = ("master_shutting_down", "distribution_stopped")

_NO_HOLDS: Mapping[int, Hold] = MappingProxyType({})


@dataclass(frozen=True)
class _Obstacle:
    """The reason why a worker cannot start a build.

    :param locks: name and worker of each lock that is held
    """

    code: ReasonCode
    locks: tuple[tuple[str, str], ...] = ()
    fatal: bool = False


@dataclass(frozen=True)
class _Place:
    """The position of a request in the queue of its builder.

    :param index: the number of requests before it
    """

    request: PendingRequest
    index: int


@dataclass(frozen=True)
class _Ahead:
    """The number of requests that come first, and the ids of some of them."""

    number: int = 0
    request_ids: tuple[int, ...] = ()


class Explainer:
    """Explains why requests wait; reasons that requests share are determined once.

    :param state: the state of this master
    :param pending: the pending requests of all masters
    :param holds: the hold of each held request, by request id
    """

    def __init__(
        self, state: MasterState, pending: Pending, holds: Mapping[int, Hold] = _NO_HOLDS
    ) -> None:
        self.state = state
        self.pending = pending
        self.holds = holds
        #: by builder and chosen worker: the queue positions of requests that compete for the worker
        self._competing: dict[tuple[int, str | None], list[int]] = {}
        self._shared: dict[tuple[int, str | None], tuple[Reason, ...]] = {}
        #: by builder and whether a worker is chosen: the reasons on other masters
        self._others: dict[tuple[int, bool], tuple[Reason, ...]] = {}

    @cached_property
    def queues(self) -> dict[int, list[PendingRequest]]:
        """Return each builder's pending requests, in the order in which they are built.

        Held requests come last.
        """
        found: dict[int, list[PendingRequest]] = {}
        for one in self.pending.requests:
            found.setdefault(one.builder_id, []).append(one)
        for its in found.values():
            its.sort(key=lambda one: (one.request_id in self.holds, -one.priority, one.request_id))
        return found

    @cached_property
    def _open_builds(self) -> dict[tuple[int, int], list[OpenBuild]]:
        """Return the open builds of each master, by master and builder."""
        found: dict[tuple[int, int], list[OpenBuild]] = {}
        for one in self.pending.builds:
            found.setdefault((one.master_id, one.builder_id), []).append(one)
        return found

    @cached_property
    def _places(self) -> dict[int, _Place]:
        return {
            one.request_id: _Place(one, index)
            for its in self.queues.values()
            for index, one in enumerate(its)
        }

    def ahead(self, request_id: int) -> int | None:
        """Return the number of requests that the builder builds before this one.

        ``None`` if the request is not pending, or if ``nextBuild`` chooses among several.
        """
        place = self._places.get(request_id)
        if place is None:
            return None
        builder_id = place.request.builder_id
        builder = self.state.builders.get(builder_id)
        chooses = builder is not None and "nextBuild" in builder.hooks
        return None if chooses and len(self.queues[builder_id]) > 1 else place.index

    def first(self, request: PendingRequest) -> Reason:
        """Return the first reason why *request* waits."""
        return self._reasons(request, in_brief=True)[0]

    def reasons(self, request: PendingRequest) -> tuple[Reason, ...]:
        """Return why *request* waits, the most important reason first."""
        return self._reasons(request, in_brief=False)

    def _reasons(self, request: PendingRequest, in_brief: bool) -> tuple[Reason, ...]:
        """Return why *request* waits; with *in_brief*, only the first reason is complete."""
        if request.request_id in self.state.starting and self.state.is_looking:
            # also contains requests that another master claimed first
            return (Reason("starting", "Its build is starting", blocking=False),)
        hold = self.holds.get(request.request_id)
        if hold is not None:
            held = _held(hold)
            return (held,) if in_brief else (held, *self._unheld(request, in_brief))
        return self._unheld(request, in_brief)

    def _unheld(self, request: PendingRequest, in_brief: bool) -> tuple[Reason, ...]:
        """Return why *request* waits, apart from holds."""
        builder = self.state.builders.get(request.builder_id)
        if builder is None:
            elsewhere = self._elsewhere(request)
            not_here = self._not_here(request)
            return (*elsewhere, not_here) if _knows(elsewhere) else (not_here, *elsewhere)
        here = self._here(request, builder, in_brief)
        if here[0].fatal or here[0].code in (*_STOPPED, *_LASTING):
            # another master may have this worker or others
            elsewhere = self._elsewhere(request)
            if elsewhere:
                here = tuple(replace(one, fatal=False) if one.fatal else one for one in here)
            return (*elsewhere, *here)
        return here if in_brief else (*here, *self._elsewhere(request))

    # -- on this master

    def _here(
        self, request: PendingRequest, builder: LiveBuilder, in_brief: bool
    ) -> tuple[Reason, ...]:
        stopped = self._stopped(request)
        if stopped is not None:
            return (stopped,)
        chosen = self._chosen(request, builder)
        shared = self._shared_reasons(builder, chosen) or (self._free(request, builder),)
        if shared[0].fatal:
            return shared
        shared = self._never(request, shared)
        is_first = not shared[0].fatal and shared[0].code in (*_PASSING, "starting")
        if in_brief and not is_first:
            return shared
        ahead = (
            _Ahead() if "nextBuild" in builder.hooks else self._own_ahead(request, builder, chosen)
        )
        if ahead.number:
            behind = self._behind(ahead, f"of builder {builder.name}", shared)
            shared = (behind, *shared) if is_first else (*shared, behind)
        if in_brief:
            return shared
        return (*shared, *self._others_first(request, builder, shared))

    def _chosen(self, request: PendingRequest, builder: LiveBuilder) -> str | None:
        """Return the only worker that may build *request*, ``None`` if any may."""
        return self.pending.chosen.get(request.buildset_id) if builder.enforces_worker else None

    def _stopped(self, request: PendingRequest) -> Reason | None:
        """Return why the master starts no builds now, or not this request."""
        state = self.state
        starts = state.distributes and request.waited_by is not None
        if state.shutting_down and not starts:
            return Reason(
                "master_shutting_down",
                f"Master {state.name} is shutting down and starts no more builds",
                masters=(state.name,),
            )
        if state.only_waited_for and not starts:
            return Reason(
                "distribution_stopped",
                f"Master {state.name} has cancelled its shutdown; until the builds that ran then"
                " have ended, it starts only what a build waits for",
                masters=(state.name,),
            )
        if not state.distributes:
            return Reason(
                "distribution_stopped",
                f"Master {state.name} is not starting builds",
                masters=(state.name,),
            )
        return None

    def _shared_reasons(self, builder: LiveBuilder, chosen: str | None) -> tuple[Reason, ...]:
        """Return why all requests of a builder for a worker wait; empty if a worker is free."""
        key = (builder.builder_id, chosen)
        if key not in self._shared:
            self._shared[key] = tuple(self._worked_out(builder, chosen))
        return self._shared[key]

    def _worked_out(self, builder: LiveBuilder, chosen: str | None) -> Iterator[Reason]:
        if not builder.workers:
            yield Reason(
                "builder_has_no_workers",
                f"Builder {builder.name} has no workers",
                capacity=True,
                fatal=True,
            )
            return
        if chosen is not None and chosen not in builder.workers:
            yield Reason(
                "held_back_by_configuration",
                f"It asks for worker {chosen}, which builder {builder.name} does not have",
                fatal=True,
                workers=(chosen,),
                settings=("canStartBuild",),
            )
            return
        named = builder.workers if chosen is None else (chosen,)
        for access in builder.locks or ():
            if all(self._is_too_much(one, access) for one in named):
                yield self._held_by([_key(access, one) for one in named], "lock_held", True)
                return
        obstacles = {one: tuple(self._of_worker(one, builder)) for one in named}
        if not all(obstacles.values()):
            return
        by_code: dict[ReasonCode, list[str]] = {}
        for worker, its in obstacles.items():
            for code in dict.fromkeys(one.code for one in its):
                by_code.setdefault(code, []).append(worker)
        if len(by_code.get("worker_not_connected", ())) == len(obstacles):
            by_code["no_worker_connected"] = by_code.pop("worker_not_connected")
        for code in (*_PASSING, *_LASTING):
            if code in by_code:
                yield self._reason(code, by_code[code], builder, obstacles)

    def _of_worker(self, name: str, builder: LiveBuilder) -> Iterator[_Obstacle]:
        worker = self.state.workers.get(name)
        if worker is None:
            yield _Obstacle("worker_not_connected")
            return
        lasting = [
            code
            for code, applies in _lasting(
                worker.paused,
                worker.graceful and (worker.connected or worker.is_latent),
                worker.quarantined_until is not None,
                not (worker.connected or worker.is_latent),
            )
            if applies
        ]
        yield from (_Obstacle(code) for code in lasting)
        if lasting:
            return
        if name in self._busy_for(builder):
            yield _Obstacle("workers_busy")
        elif worker.is_between:
            yield _Obstacle("worker_starting")
        elif name in self.state.attaching.get(builder.builder_id, ()):
            # a disconnected latent worker has left its builders, and does not start again
            yield _Obstacle("worker_starting" if worker.connected else "worker_not_connected")
        elif worker.max_builds is not None and worker.busy >= worker.max_builds:
            yield _Obstacle("workers_busy")
        elif held := self._held(name, (*worker.locks, *(builder.locks or ()))):
            is_fatal = any(self._is_too_much(name, one) for one in held)
            yield _Obstacle("lock_held", tuple(_key(one, name) for one in held), is_fatal)
        elif worker.has_own_rule:
            yield _Obstacle("held_back_by_configuration")
        elif worker.is_picky:
            yield _Obstacle("unknown")

    def _busy_for(self, builder: LiveBuilder) -> tuple[str, ...]:
        return self.state.busy.get(builder.builder_id, ())

    def _held(self, worker: str, accesses: Iterable[LockAccess]) -> list[LockAccess]:
        """Return the locks that a build on *worker* would not get now."""
        return [one for one in accesses if not self._is_free(worker, one)]

    def _is_free(self, worker: str, access: LockAccess) -> bool:
        lock = self.state.locks.get(_key(access, worker))
        if lock is None:
            lock = LiveLock(0, True, False, 0, 0, 0, (), ())
        return lock.is_free(access, self._capacity(worker, access))

    def _capacity(self, worker: str, access: LockAccess) -> int:
        lock = self.state.locks.get(_key(access, worker))
        if lock is None or lock.is_outdated:
            return access.capacity_on(worker)
        return lock.capacity

    def _is_too_much(self, worker: str, access: LockAccess) -> bool:
        return not access.is_exclusive and access.amount > self._capacity(worker, access)

    # -- messages

    def _reason(
        self,
        code: ReasonCode,
        workers: Sequence[str],
        builder: LiveBuilder,
        obstacles: Mapping[str, Sequence[_Obstacle]],
    ) -> Reason:
        """Return the reason that keeps these *workers* from a build."""
        make = {
            "workers_busy": self._busy,
            "worker_starting": self._starting,
            "worker_paused": self._paused,
            "worker_quarantined": self._quarantined,
        }.get(code)
        named = tuple(workers)
        if code == "lock_held":
            return self._lock_held(named, obstacles)
        if make is not None:
            return make(named, builder)
        msg, capacity = {
            "worker_graceful": (f"{_workers(named)} {_is(named)} shutting down", True),
            "no_worker_connected": (
                f"None of its workers is connected: {_names(named)}"
                if len(named) > 1
                else f"Worker {named[0]} is not connected",
                True,
            ),
            "worker_not_connected": (f"{_workers(named)} {_is(named)} not connected", True),
            "held_back_by_configuration": (
                f"The class of {_lower(_workers(named))} decides whether a build can start there",
                False,
            ),
        }.get(
            code,
            (
                f"{_workers(named)} {_takes(named)} only some builds, and it is not known whether"
                " this is one of them",
                False,
            ),
        )
        settings = ("canStartBuild",) if code == "held_back_by_configuration" else ()
        return Reason(code, msg, capacity=capacity, workers=named, settings=settings)

    def _busy(self, workers: tuple[str, ...], builder: LiveBuilder) -> Reason:
        wanted, of_its_own = set(workers), self._busy_for(builder)
        builds = [
            one
            for one in self.state.builds
            if one.worker in wanted and (one.lender == builder.name or one.worker not in of_its_own)
        ]
        return Reason(
            "workers_busy",
            f"{_workers(workers)} {_is(workers)} busy{_with(builds)}",
            capacity=True,
            workers=workers,
            builds=_links(builds),
        )

    def _starting(self, workers: tuple[str, ...], builder: LiveBuilder) -> Reason:
        wanted = set(workers)
        builds = [one for one in self.state.builds if one.worker in wanted]
        if any(self.state.workers[one].is_latent for one in workers):
            does = "starting or stopping" + (f", for {_builds(builds)}" if builds else "")
        else:
            does = f"connected, and not ready for builder {builder.name} yet"
        return Reason(
            "worker_starting",
            f"{_workers(workers)} {_is(workers)} {does}",
            capacity=True,
            workers=workers,
            builds=_links(builds),
        )

    def _paused(self, workers: tuple[str, ...], builder: LiveBuilder) -> Reason:
        given = {self.state.workers[one].pause_reason for one in workers}
        why = sorted(one for one in given if one)
        return Reason(
            "worker_paused",
            f"{_workers(workers)} {_is(workers)} paused" + (f": {'; '.join(why)}" if why else ""),
            capacity=True,
            workers=workers,
        )

    def _quarantined(self, workers: tuple[str, ...], builder: LiveBuilder) -> Reason:
        ends = (self.state.workers[one].quarantined_until for one in workers)
        return Reason(
            "worker_quarantined",
            f"{_workers(workers)} {_is(workers)} in quarantine after a build that could not start",
            capacity=True,
            workers=workers,
            until=min(one for one in ends if one is not None),
        )

    def _lock_held(
        self, workers: tuple[str, ...], obstacles: Mapping[str, Sequence[_Obstacle]]
    ) -> Reason:
        of_workers = [
            one for worker in workers for one in obstacles[worker] if one.code == "lock_held"
        ]
        keys = list(dict.fromkeys(key for one in of_workers for key in one.locks))
        fatal = len(workers) == len(obstacles) and all(one.fatal for one in of_workers)
        on_workers = all(worker for _, worker in keys)
        return replace(
            self._held_by(keys, "lock_held", fatal),
            capacity=on_workers,
            workers=workers if on_workers else (),
        )

    def _held_by(
        self, keys: Sequence[tuple[str, str]], code: ReasonCode, never: bool = False
    ) -> Reason:
        """Return the reason for waiting for locks, with the builds that hold them.

        :param never: the build needs more of the locks than their capacity
        """
        state = self.state
        locks = [state.locks[one] for one in keys if one in state.locks]
        holders = [state.builds[at] for lock in locks for at in lock.builds]
        by_workers = {worker for lock in locks for worker in lock.workers}
        holders += [one for one in state.builds if one.worker in by_workers]
        holders = list(dict.fromkeys(holders))
        names = tuple(dict.fromkeys(name for name, _ in keys))
        what = f"{'Lock' if len(names) == 1 else 'Locks'} {_names(names)}"
        waiting = self._waiting(keys) if code == "lock_held" else []
        if never:
            msg, holders = f"{what} {_is(names)} smaller than what it needs", []
        elif holders or waiting:
            said = [f"held by {_builds(holders)}"] if holders else []
            said += [f"wanted by {_builds(waiting)}"] if waiting else []
            msg = f"{what} {_is(names)} {', and '.join(said)}"
            holders = holders or waiting
        else:
            msg = f"{what} {_is(names)} held, or wanted by others who came first"
        return Reason(code, msg, fatal=never, locks=names, builds=_links(holders))

    def _waiting(self, keys: Collection[tuple[str, str]]) -> list[LiveBuild]:
        """Return the builds that wait for any of these locks; they get them before new builds."""
        return [one for one in self.state.builds if not set(keys).isdisjoint(one.locks)]

    # -- decisions of the master

    def _free(self, request: PendingRequest, builder: LiveBuilder) -> Reason:
        """Return why a request waits although a worker is free."""
        state = self.state
        if builder.locks is None:
            and_hooks = f", and {_names(builder.hooks)} decide what starts" if builder.hooks else ""
            return Reason(
                "unknown",
                f"A worker is free; the locks of builder {builder.name} depend on the build"
                f"{and_hooks}",
                settings=("locks", *builder.hooks),
            )
        if builder.hooks:
            return Reason(
                "held_back_by_configuration",
                f"A worker is free; the configuration decides what starts: {_names(builder.hooks)}"
                f" of builder {builder.name}",
                settings=builder.hooks,
            )
        age = state.taken_at - request.submitted_at
        if state.is_looking:
            # perhaps for long: functions in master.cfg may take any time
            return Reason(
                "starting" if age < SOON else "unknown",
                f"A worker is free; master {state.name} is choosing builds",
                blocking=age >= SOON,
            )
        if age < HEARD or request.builder_id in state.looking:
            return Reason("starting", "A worker is free; it is about to start", blocking=False)
        if state.has_own_order:
            return Reason(
                "unknown",
                "A worker is free; why it does not start is not known. prioritizeBuilders decides"
                " which builders are looked at",
                settings=("prioritizeBuilders",),
            )
        return Reason("unknown", "A worker is free; why it does not start is not known")

    # -- deadlocks

    def _never(self, request: PendingRequest, shared: tuple[Reason, ...]) -> tuple[Reason, ...]:
        """Return *shared* as fatal if builds that never end hold all that *request* needs."""
        if not self.stuck or not self._is_kept_by(self.stuck, request):
            return shared
        said = "This is a deadlock: builds wait for requests that need what those builds have"
        return tuple(replace(one, msg=f"{one.msg}. {said}", fatal=True) for one in shared)

    @cached_property
    def stuck(self) -> Set[int | None]:
        """Return the deadlocked builds, which wait for requests that they keep from starting."""
        requests = [one for one in self.pending.requests if one.waited_by is not None]
        while True:
            stuck = self._waiting_for(requests)
            kept = [one for one in requests if self._is_kept_by(stuck, one)]
            if len(kept) == len(requests):
                return stuck
            requests = kept

    def _waiting_for(self, requests: Iterable[PendingRequest]) -> Set[int | None]:
        """Return the builds that wait for *requests*, and the builds that wait for those."""
        parents = {one.build_id: one.waited_by for one in self.pending.builds}
        found: set[int | None] = set()
        for one in requests:
            build_id = one.waited_by
            while build_id is not None and build_id not in found:
                found.add(build_id)
                build_id = parents.get(build_id)
        return found

    def _is_kept_by(self, builds: Set[int | None], request: PendingRequest) -> bool:
        """Return whether *request* cannot start before one of these *builds* has ended."""
        builder = self.state.builders.get(request.builder_id)
        if builder is None or any(self._others_with(request.builder_id)):
            return False
        shared = self._shared_reasons(builder, self._chosen(request, builder))
        return bool(shared) and all(
            one.code in ("workers_busy", "lock_held")
            and 0 < len(one.builds) < MOST_IDS
            and all(link.build_id in builds for link in one.builds)
            for one in shared
        )

    # -- requests that come first

    def _own_ahead(
        self, request: PendingRequest, builder: LiveBuilder, chosen: str | None
    ) -> _Ahead:
        """Return the requests of the same builder that come first for the same workers."""
        its, index = self.queues[request.builder_id], self._places[request.request_id].index
        if not builder.enforces_worker:
            return _Ahead(index, tuple(one.request_id for one in its[: min(index, MOST_IDS)]))
        key = (request.builder_id, chosen)
        if key not in self._competing:
            asked = self.pending.chosen
            self._competing[key] = [
                at
                for at, one in enumerate(its)
                if self._compete(builder, asked.get(one.buildset_id), chosen)
            ]
        competing = self._competing[key]
        number = bisect.bisect_left(competing, index)
        return _Ahead(number, tuple(its[at].request_id for at in competing[:number][:MOST_IDS]))

    def _compete(self, builder: LiveBuilder, theirs: str | None, mine: str | None) -> bool:
        """Return whether a request for worker *theirs* competes with a request for *mine*.

        ``None`` stands for any worker. A request for a worker that cannot build does not compete.
        """
        if theirs is None or mine is not None:
            return theirs in (None, mine)
        shared = self._shared_reasons(builder, theirs)
        return not shared or not (shared[0].fatal or shared[0].code in _LASTING)

    def _behind(self, ahead: _Ahead, whose: str, shared: Sequence[Reason]) -> Reason:
        """Return the reason that the requests *ahead* come first."""
        return Reason(
            "behind",
            f"{ahead.number} {plural(ahead.number, 'request')} {whose} {_come(ahead.number)} first",
            capacity=any(one.code == "workers_busy" for one in shared),
            requests=ahead.request_ids,
        )

    def _others_first(
        self, request: PendingRequest, builder: LiveBuilder, shared: Sequence[Reason]
    ) -> Iterator[Reason]:
        """Yield the reason that other builders' requests come first for workers or locks."""
        others = self._others_ahead(request, builder, shared)
        if others:
            names = self.pending.builders
            by = tuple(dict.fromkeys(names[one.builder_id] for one in others))
            ids = tuple(one.request_id for one in others[:MOST_IDS])
            yield self._behind(_Ahead(len(others), ids), f"of {_builders(by)}", shared)

    def _others_ahead(
        self, request: PendingRequest, builder: LiveBuilder, shared: Sequence[Reason]
    ) -> list[PendingRequest]:
        state = self.state
        if state.has_own_order or any(one.fatal for one in shared):
            return []
        full = {
            name
            for one in shared
            if one.code == "workers_busy"
            for name in one.workers
            if name in state.workers and state.workers[name].max_builds is not None
        }
        locks = {name for one in shared if one.code == "lock_held" for name in one.locks}
        mine = (-request.priority, request.request_id)
        found: list[PendingRequest] = []
        for builder_id, its in self.queues.items():
            other = state.builders.get(builder_id)
            if builder_id == request.builder_id or other is None:
                continue
            shares_locks = any(one.name in locks for one in other.locks or ())
            if shares_locks or not full.isdisjoint(other.workers):
                earlier = [one for one in its if (-one.priority, one.request_id) < mine]
                found += earlier if earlier and self._can_be_next(other, locks) else ()
        waits = (one for one in found if one.request_id not in self.holds)
        return sorted(waits, key=lambda one: (-one.priority, one.request_id))

    def _can_be_next(self, builder: LiveBuilder, locks: Collection[str]) -> bool:
        """Return whether builds of *builder* wait only for workers and these *locks*."""
        shared = self._shared_reasons(builder, None)
        if shared and (shared[0].fatal or shared[0].code in _LASTING):
            return False
        others = [one for one in builder.locks or () if one.name not in locks]
        return any(not self._held(name, others) for name in builder.workers)

    # -- on other masters

    def _not_here(self, request: PendingRequest) -> Reason:
        """Return the reason that this master lacks the builder, with the masters that have it."""
        name = self.pending.builders[request.builder_id]
        masters = self.pending.masters.get(request.builder_id, {})
        active = tuple(sorted(one.name for one in masters.values() if one.is_active))
        gone = tuple(sorted(one.name for one in masters.values() if not one.is_active))
        if active:
            msg = f"Builder {name} is on {_masters(active)}, and not on {self.state.name}"
        elif gone:
            msg = f"Builder {name} is on {_masters(gone)}, which {_is(gone)} not running"
        else:
            msg = f"No master has builder {name} in its configuration"
        return Reason(
            "builder_not_on_this_master",
            msg,
            blocking=not active,
            fatal=not active,
            masters=active or gone,
        )

    def _elsewhere(self, request: PendingRequest) -> tuple[Reason, ...]:
        """Return why other masters with the builder do not start it, if known."""
        builder = self.state.builders.get(request.builder_id)
        has_chosen = builder is not None and self._chosen(request, builder) is not None
        key = (request.builder_id, has_chosen)
        if key not in self._others:
            self._others[key] = tuple(
                reason
                for master_id, name in self._others_with(request.builder_id)
                for reason in self._of_master(request.builder_id, has_chosen, master_id, name)
            )
        return self._others[key]

    def _others_with(self, builder_id: int) -> Iterator[tuple[int, str]]:
        """Yield id and name of the other active masters that have the builder."""
        masters = self.pending.masters.get(builder_id, {})
        for master_id, master in sorted(masters.items()):
            if master.is_active and master_id != self.state.master_id:
                yield master_id, master.name

    def _of_master(
        self, builder_id: int, has_chosen: bool, master_id: int, master: str
    ) -> Iterator[Reason]:
        # whether the other master enforces the chosen worker too is unknown
        workers = () if has_chosen else self.pending.workers.get((builder_id, master_id), ())
        builds = self._open_builds.get((master_id, builder_id), ())
        busy = {one.worker for one in builds}
        by_code: dict[ReasonCode, list[WorkerElsewhere]] = {}
        for worker in workers:
            lasting = [
                code
                for code, applies in _lasting(
                    worker.paused,
                    worker.graceful and worker.connected,
                    False,
                    not worker.connected,
                )
                if applies
            ]
            # a worker that has a build of this builder cannot start another of it
            codes: list[ReasonCode] = lasting or ["workers_busy"] * (worker.name in busy)
            for code in codes:
                by_code.setdefault(code, []).append(worker)
            if not codes:
                yield self._not_known(master)
                return
        if not workers:
            yield self._not_known(master)
            return
        if len(by_code.get("worker_not_connected", ())) == len(workers):
            by_code["no_worker_connected"] = by_code.pop("worker_not_connected")
        for code in (*_PASSING, *_LASTING):
            if code in by_code:
                yield self._worker_elsewhere(code, by_code[code], master, builds)

    def _worker_elsewhere(
        self,
        code: ReasonCode,
        workers: Sequence[WorkerElsewhere],
        master: str,
        builds: Sequence[OpenBuild],
    ) -> Reason:
        names = tuple(one.name for one in workers)
        why = "; ".join(sorted({one.pause_reason for one in workers if one.pause_reason}))
        said = {
            "workers_busy": "busy",
            "worker_paused": f"paused: {why}" if why else "paused",
            "worker_graceful": "shutting down",
        }.get(code, "not connected; those that start when they are needed never are before")
        links = tuple(
            BuildLink(
                one.build_id,
                one.number,
                one.build_builder_id,
                self.pending.builders[one.builder_id],
                one.worker,
            )
            for one in builds
            if code == "workers_busy" and one.worker in names
        )
        return Reason(
            code,
            f"On master {master}, {_lower(_workers(names))} {_is(names)} {said}",
            capacity=True,
            workers=names,
            masters=(master,),
            builds=links,
        )

    def _not_known(self, master: str) -> Reason:
        return Reason(
            "unknown",
            f"What it waits for on master {master} is known only there",
            masters=(master,),
        )

    # -- claimed requests

    def of_build(self, request_id: int) -> tuple[Reason, ...]:
        """Return why the build of a request waits on this master; empty if it does not wait."""
        for build in self.state.builds:
            if request_id not in build.request_ids:
                continue
            worker = self.state.workers.get(build.worker)
            if build.waits == "worker" and worker is not None and worker.is_latent:
                does = "stops first, and then starts" if worker.is_stopping else "is starting"
                return (
                    Reason(
                        "worker_starting",
                        f"Worker {build.worker} {does} for its build",
                        capacity=False,
                        workers=(build.worker,),
                        builds=_links([build]),
                    ),
                )
            if build.waits in ("locks", "step"):
                held = self._held_by(build.locks, "acquiring_locks")
                whose = "Its build" if build.waits == "locks" else f"Step {build.step} of its build"
                return (replace(held, msg=f"{whose} waits: {_lower(held.msg)}"),)
            if build.build_id is None:
                return (Reason("starting", "Its build is starting", blocking=False),)
        return ()


def _held(hold: Hold) -> Reason:
    which = ", ".join(one for patterns in hold.selectors.values() for one in patterns)
    what = f"Branch {hold.branch} ({which})" if which else f"Branch {hold.branch}"
    return Reason(
        "held", f"{what} is held by {hold.who}: {hold.reason}", until=hold.expires, who=hold.who
    )


def _knows(reasons: Sequence[Reason]) -> bool:
    return bool(reasons) and reasons[0].code != "unknown"


def _lasting(
    paused: bool, graceful: bool, quarantined: bool, away: bool
) -> Iterator[tuple[ReasonCode, bool]]:
    yield "worker_paused", paused
    yield "worker_graceful", graceful
    yield "worker_quarantined", quarantined
    yield "worker_not_connected", away


def _key(access: LockAccess, worker: str) -> tuple[str, str]:
    return access.name, worker if access.on_worker else ""


def _links(builds: Iterable[LiveBuild]) -> tuple[BuildLink, ...]:
    some = list(builds)[:MOST_IDS]
    return tuple(
        BuildLink(one.build_id, one.number, one.builder_id, one.lender, one.worker) for one in some
    )


# -- words


def _names(names: Sequence[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


def _workers(names: Sequence[str]) -> str:
    return f"{'Worker' if len(names) == 1 else 'Workers'} {_names(names)}"


def _builders(names: Sequence[str]) -> str:
    return f"{'builder' if len(names) == 1 else 'builders'} {_names(names)}"


def _masters(names: Sequence[str]) -> str:
    return f"{'master' if len(names) == 1 else 'masters'} {_names(names)}"


def _builds(builds: Sequence[LiveBuild]) -> str:
    named = [
        f"a new build of {one.lender}"
        if one.build_id is None
        else f"build {one.build_id} of {one.lender}"
        for one in builds
    ]
    return _names(named)


def _with(builds: Sequence[LiveBuild]) -> str:
    return f" with {_builds(builds)}" if builds else ""


def _is(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"


def _takes(names: Sequence[str]) -> str:
    return "takes" if len(names) == 1 else "take"


def _come(number: int) -> str:
    return "comes" if number == 1 else "come"


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
