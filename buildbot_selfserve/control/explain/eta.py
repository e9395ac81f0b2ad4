"""Forecasts when builds are done, from earlier durations and the builds that come first.

The queue is simulated twice: with each builder's median duration for the earliest end, and with the
90th percentile for the likely end. Nothing here makes a query.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from functools import cached_property

from buildbot_selfserve.control.explain.reasons import Explainer
from buildbot_selfserve.model import Duration
from buildbot_selfserve.model import Eta
from buildbot_selfserve.model import Forecast
from buildbot_selfserve.model import Health
from buildbot_selfserve.model import LiveBuilder
from buildbot_selfserve.model import LiveWorker
from buildbot_selfserve.model import OpenBuild
from buildbot_selfserve.model import PendingRequest
from buildbot_selfserve.model import Reason
from buildbot_selfserve.model import in_utc

#: The largest number of requests to simulate; later requests have no forecast.
MOST_SIMULATED = 300
#: The reasons for waiting that end when builds end.
_ENDS_WITH_BUILDS = frozenset({"workers_busy", "worker_starting", "starting", "behind"})


@dataclass
class _Played:
    """A simulation of the queue with one duration for each builder; times are in epoch seconds.

    :param slots: when each slot of a worker becomes free, for workers with ``max_builds``
    :param used: when a worker becomes free for a builder, as it has one build of a builder at a
        time
    :param ends: when each request is done, by request id
    """

    slots: dict[str, list[float]] = field(default_factory=dict)
    used: dict[tuple[int, str], float] = field(default_factory=dict)
    ends: dict[int, float] = field(default_factory=dict)

    def occupy(self, worker: str, builder_id: int, until: float) -> None:
        """Give a slot of *worker* to a build."""
        key = (builder_id, worker)
        self.used[key] = max(until, self.used.get(key, 0))
        slots = self.slots.get(worker)
        if slots:
            slots[slots.index(min(slots))] = until

    def play(self, request: PendingRequest, workers: Iterable[str], now: int, takes: float) -> None:
        """Build *request* on the worker that becomes free first."""
        free = {one: self._free(one, request.builder_id, now) for one in workers}
        if not free:
            return  # it cannot start, so it takes no slot
        worker = min(free, key=lambda one: free[one])
        end = self.ends[request.request_id] = free[worker] + takes
        self.occupy(worker, request.builder_id, end)

    def _free(self, worker: str, builder_id: int, now: int) -> float:
        slots = self.slots.get(worker) or [0]
        return max(now, min(slots), self.used.get((builder_id, worker), 0))


class Forecaster:
    """Forecasts when requests and builds are done; the queue is simulated once for all.

    :param durations: the known durations of builders' builds, by builder id
    """

    def __init__(self, explainer: Explainer, durations: Mapping[int, Duration]) -> None:
        self._explainer = explainer
        self._state = explainer.state
        self._pending = explainer.pending
        self._durations = durations
        self._now = explainer.state.taken_at

    def of(self, request_ids: Collection[int]) -> Forecast:
        """Forecast when all these pending and running requests are done.

        There is no forecast for complete requests.
        """
        found = [self.of_request(one) for one in request_ids]
        etas = [one.eta for one in found if one.eta is not None]
        if len(etas) < len(found) or not etas:
            return Forecast(None, next((one.reason for one in found if one.reason), ""))
        return Forecast(Eta(max(one.earliest for one in etas), max(one.likely for one in etas)))

    def of_push(self, push: Health) -> Forecast:
        """Forecast when all open requests of a push are done; no forecast if none is open."""
        return self.of([it for one in push.open for it in one.at.open])

    def of_request(self, request_id: int) -> Forecast:
        """Forecast when a pending or running request is done."""
        build = self._builds.get(request_id)
        if build is not None:
            return self._of_build(build)
        request = self._requests.get(request_id)
        return _unknown("No build of it runs yet") if request is None else self._of(request)

    @cached_property
    def _builds(self) -> dict[int, OpenBuild]:
        return {one.request_id: one for one in self._pending.builds}

    @cached_property
    def _requests(self) -> dict[int, PendingRequest]:
        return {one.request_id: one for one in self._pending.requests}

    # -- running builds

    def _of_build(self, build: OpenBuild) -> Forecast:
        held = [one for one in self._explainer.of_build(build.request_id) if one.blocking]
        if held and held[0].code not in _ENDS_WITH_BUILDS:
            return _lasts(held[0])
        took = self._durations.get(build.build_builder_id)
        known = self._state.builders.get(build.builder_id)
        name = "its builder" if known is None else known.name
        if build.build_id in self._explainer.stuck:
            return _unknown("It waits for requests that it keeps from starting")
        if took is None:
            return _too_few(name)
        if build.started_at + took.p90 < self._now:
            return _unknown(f"It has run for longer than most builds of {name}")
        begun = build.started_at
        return Forecast(Eta(max(self._now, begun + took.p50), begun + took.p90))

    # -- pending requests

    def _of(self, request: PendingRequest) -> Forecast:
        """Forecast when an unclaimed request is done."""
        builder = self._state.builders.get(request.builder_id)
        name = self._pending.builders[request.builder_id]
        why = self._not_known(request, builder, name)
        if why is not None:
            return why
        if request.request_id not in self._simulated:
            return _unknown(f"More than {MOST_SIMULATED} requests come before it")
        earliest, likely = (one.ends.get(request.request_id, math.inf) for one in self._played)
        if math.inf in (earliest, likely):
            return _unknown(
                "It waits for builds of which it is not known when they end: they have run for"
                " longer than most, or too few of their builder have succeeded"
            )
        return Forecast(Eta(int(earliest), int(max(earliest, likely))))

    def _not_known(
        self, request: PendingRequest, builder: LiveBuilder | None, name: str
    ) -> Forecast | None:
        """Return why there can be no forecast whatever the queue, ``None`` if there can be one."""
        if builder is None:
            return _unknown(f"Builder {name} is not on this master")
        masters = self._pending.masters.get(request.builder_id, {}).items()
        if any(one.is_active for id_, one in masters if id_ != self._state.master_id):
            return _unknown(f"Other masters have builder {name}, too")
        if builder.hooks:
            hooks = ", ".join(builder.hooks)
            return _unknown(f"The configuration decides what is built when ({hooks})")
        if self._state.has_own_order:
            return _unknown("The configuration decides what is built when (prioritizeBuilders)")
        reasons = self._explainer.reasons(request)
        cause = next((one for one in reasons if one.code != "behind"), None)
        if cause is not None and (cause.fatal or cause.code not in _ENDS_WITH_BUILDS):
            return _lasts(cause)
        if self._needs_locks(builder):
            return _unknown("It needs locks, and it is not known when it gets them")
        return _too_few(name) if request.builder_id not in self._durations else None

    def _needs_locks(self, builder: LiveBuilder) -> bool:
        workers = (self._state.workers.get(one) for one in builder.workers)
        return builder.locks != () or any(one.locks for one in workers if one is not None)

    @cached_property
    def _simulated(self) -> dict[int, PendingRequest]:
        """Return the requests to simulate, by id, in the order in which they are built."""
        held = self._explainer.holds
        some = (one for one in self._requests.values() if one.request_id not in held)
        ordered = sorted(some, key=lambda one: (-one.priority, one.request_id))
        counted: Counter[int] = Counter()
        found: dict[int, PendingRequest] = {}
        for one in ordered:
            if one.builder_id in self._state.builders:
                group = self._groups[one.builder_id]
                counted[group] += 1
                if counted[group] <= MOST_SIMULATED:
                    found[one.request_id] = one
        return found

    @cached_property
    def _groups(self) -> dict[int, int]:
        """Return a group number for each builder; builders that compete for workers share it.

        Builders do not compete for workers without ``max_builds``.
        """
        groups: dict[int, int] = {}
        builders_of: dict[str, list[int]] = {}
        for builder_id, builder in self._state.builders.items():
            for name in builder.workers:
                builders_of.setdefault(name, []).append(builder_id)
        for first in self._state.builders:
            reached = [first] if first not in groups else []
            while reached:
                builder_id = reached.pop()
                if builder_id in groups:
                    continue
                groups[builder_id] = first
                for name in self._state.builders[builder_id].workers:
                    worker = self._state.workers.get(name)
                    if worker is not None and worker.max_builds is not None:
                        reached += builders_of.pop(name, ())
        return groups

    @cached_property
    def _played(self) -> tuple[_Played, _Played]:
        """Return the simulations with the median and the 90th percentile of durations."""
        return self._play(is_earliest=True), self._play(is_earliest=False)

    def _play(self, is_earliest: bool) -> _Played:
        played = _Played()
        for name, worker in self._state.workers.items():
            if worker.max_builds is not None:
                played.slots[name] = [float(self._now)] * worker.max_builds
        by_id = {one.build_id: one for one in self._pending.builds}
        begun: set[int] = set()
        for live in self._state.builds:
            begun.update(live.request_ids)
            row = by_id.get(live.build_id or 0)
            lender = self._ids.get(live.lender, 0)
            builder_id, started = lender, self._now
            if row is not None:
                builder_id, started = row.build_builder_id, row.started_at
            is_stuck = live.build_id in self._explainer.stuck
            until = math.inf if is_stuck else self._end(builder_id, started, is_earliest)
            played.occupy(live.worker, lender, until)
            played.ends.update(dict.fromkeys(live.request_ids, until))
        for request in self._simulated.values():
            if request.request_id in begun:
                continue
            builder = self._state.builders[request.builder_id]
            if is_earliest and (builder.hooks or self._needs_locks(builder)):
                continue  # it may have to wait for more than a worker
            takes = self._end(request.builder_id, 0, is_earliest, 0)
            played.play(request, self._usable(request, builder), self._now, takes)
        return played

    def _end(self, builder_id: int, started: int, is_earliest: bool, now: int = -1) -> float:
        """Return when a build of a builder ends; if unknown, now (earliest) or never (likely)."""
        now = self._now if now < 0 else now
        took = self._durations.get(builder_id)
        if took is None:
            return now if is_earliest else math.inf
        if is_earliest:
            return max(now, started + took.p50)
        return math.inf if started + took.p90 < now else started + took.p90

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {one.name: builder_id for builder_id, one in self._state.builders.items()}

    def _usable(self, request: PendingRequest, builder: LiveBuilder) -> list[str]:
        """Return the workers that can build *request*."""
        chosen = self._pending.chosen.get(request.buildset_id) if builder.enforces_worker else None
        named = builder.workers if chosen is None else (chosen,)
        workers = ((one, self._state.workers.get(one)) for one in named)
        return [name for name, one in workers if one is not None and _is_usable(one)]


def _is_usable(worker: LiveWorker) -> bool:
    there = worker.connected or worker.is_latent
    held = worker.paused or worker.graceful or worker.quarantined_until is not None
    return there and not held and not worker.has_own_rule


def _unknown(reason: str) -> Forecast:
    return Forecast(None, reason)


def _too_few(name: str) -> Forecast:
    return _unknown(f"Too few builds of {name} have succeeded to know how long one takes")


def _lasts(reason: Reason) -> Forecast:
    if reason.fatal:
        return _unknown("It will never start as things are")
    if reason.until is not None:
        return _unknown(f"It does not start before {in_utc(reason.until)}")
    return _unknown(f"It is not known how long this lasts: {reason.msg}")
