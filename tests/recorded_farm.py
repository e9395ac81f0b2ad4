"""A farm in which time is only counted: it records what was asked for, and when it began and ended.

Builders share workers and take different times, with noise; some builds fail early, and some
requests come with a higher priority after others. It is the same for the same seed.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from statistics import mean

from buildbot_selfserve.control.explain.eta import Forecaster
from buildbot_selfserve.control.explain.reasons import Explainer
from buildbot_selfserve.history.durations import COUNTED
from buildbot_selfserve.history.durations import FEWEST
from buildbot_selfserve.history.durations import percentiles
from buildbot_selfserve.model import Duration
from buildbot_selfserve.model import Eta
from buildbot_selfserve.model import LiveBuild
from buildbot_selfserve.model import LiveBuilder
from buildbot_selfserve.model import LiveWorker
from buildbot_selfserve.model import MasterState
from buildbot_selfserve.model import OpenBuild
from buildbot_selfserve.model import OtherMaster
from buildbot_selfserve.model import Pending
from buildbot_selfserve.model import PendingRequest

#: (median seconds, workers) of each builder
BUILDERS = {
    1: (180, ("w1", "w2")),
    2: (420, ("w1", "w2", "w3")),
    3: (900, ("w2", "w3")),
    4: (1500, ("w3", "w4")),
    5: (300, ("w4",)),
    6: (2400, ("w4", "w5")),
}
WORKERS = ("w1", "w2", "w3", "w4", "w5")


@dataclass
class Recorded:
    """A request: when it came, began and ended, and what was forecast of it when it came.

    :param takes: seconds
    :param simple: the median of its builder alone, and the mean for it and each before it
    """

    request: PendingRequest
    takes: int
    succeeds: bool
    eta: Eta | None = None
    simple: tuple[float, float] = (0, 0)
    worker: str = ""
    started_at: int = 0
    ended_at: int = 0


@dataclass
class Farm:
    """Runs requests as Buildbot would: the highest priority first, then the oldest."""

    seed: int
    pushes: int
    now: int = 1_000_000
    waiting: list[Recorded] = field(default_factory=list)
    running: dict[str, Recorded] = field(default_factory=dict)
    took: dict[int, list[int]] = field(default_factory=dict)
    done: list[Recorded] = field(default_factory=list)

    def record(self) -> list[Recorded]:
        """Return all requests, in the order in which they ended."""
        chance = random.Random(self.seed)
        ends: list[tuple[int, int, str]] = []
        arrivals = list(self._arrivals(chance))
        while arrivals or ends:
            if ends and (not arrivals or ends[0][0] <= arrivals[0].request.submitted_at):
                self.now, _, worker = heapq.heappop(ends)
                self._end(worker)
            else:
                new = arrivals.pop(0)
                self.now = new.request.submitted_at
                self.waiting.append(new)
                self._forecast(new)
            for one in self._start(chance):
                heapq.heappush(ends, (one.ended_at, one.request.request_id, one.worker))
        return self.done

    def _arrivals(self, chance: random.Random) -> Iterator[Recorded]:
        at, number = self.now, 0
        for _ in range(self.pushes):
            at += 1 + int(chance.expovariate(1 / 1600))
            for builder_id, (median, _workers) in BUILDERS.items():
                if chance.random() < 0.2:
                    continue
                number += 1
                priority = int(chance.random() < 0.05)
                takes = median * chance.lognormvariate(0, 0.3)
                succeeds = chance.random() < 0.9
                if not succeeds:
                    takes *= chance.uniform(0.3, 1)
                request = PendingRequest(number, builder_id, number, priority, at, False)
                yield Recorded(request, max(1, int(takes)), succeeds)

    def _end(self, worker: str) -> None:
        one = self.running.pop(worker)
        self.done.append(one)
        if one.succeeds:
            self.took.setdefault(one.request.builder_id, []).append(one.takes)

    def _start(self, chance: random.Random) -> Iterator[Recorded]:
        for one in sorted(
            self.waiting, key=lambda it: (-it.request.priority, it.request.request_id)
        ):
            builder_id = one.request.builder_id
            free = [name for name in BUILDERS[builder_id][1] if name not in self.running]
            if free:
                one.worker = chance.choice(free)
                one.started_at, one.ended_at = self.now, self.now + one.takes
                self.running[one.worker] = one
                self.waiting.remove(one)
                yield one

    # -- what is forecast

    def _forecast(self, one: Recorded) -> None:
        builder_id = one.request.builder_id
        took = self.took.get(builder_id, [])[-COUNTED:]
        if len(took) < FEWEST:
            return
        ahead = sum(it.request.builder_id == builder_id for it in self.waiting) - 1
        one.simple = (
            self.now + percentiles(took)[0],
            self.now + (ahead + 1) * mean(took),
        )
        durations = {
            key: Duration(*percentiles(its[-COUNTED:]))
            for key, its in self.took.items()
            if len(its) >= FEWEST
        }
        forecaster = Forecaster(Explainer(self._state(), self._pending()), durations)
        one.eta = forecaster.of_request(one.request.request_id).eta

    def _pending(self) -> Pending:
        names = {one: f"b{one}" for one in BUILDERS}
        here = {1: OtherMaster("farm", True)}
        builds = tuple(
            OpenBuild(
                one.request.request_id,
                1,
                one.request.request_id,
                one.request.builder_id,
                one.request.builder_id,
                name,
                1,
                "building",
                one.started_at,
            )
            for name, one in self.running.items()
        )
        requests = tuple(one.request for one in self.waiting)
        return Pending(requests, names, builds, dict.fromkeys(BUILDERS, here), {}, {})

    def _state(self) -> MasterState:
        live = tuple(
            LiveBuild(
                one.request.request_id,
                1,
                one.request.builder_id,
                f"b{one.request.builder_id}",
                name,
                (one.request.request_id,),
            )
            for name, one in self.running.items()
        )
        busy: dict[int, tuple[str, ...]] = {}
        for name, one in self.running.items():
            builder_id = one.request.builder_id
            busy[builder_id] = (*busy.get(builder_id, ()), name)
        return MasterState(
            master_id=1,
            name="farm",
            taken_at=self.now,
            shutting_down=False,
            distributes=True,
            only_waited_for=False,
            looking=frozenset(BUILDERS),
            is_looking=True,
            has_own_order=False,
            builders={
                one: LiveBuilder(one, f"b{one}", workers) for one, (_, workers) in BUILDERS.items()
            },
            attaching={},
            busy=busy,
            workers={
                one: LiveWorker(True, False, None, False, None, 1, int(one in self.running))
                for one in WORKERS
            },
            locks={},
            builds=live,
            starting=frozenset(),
        )
