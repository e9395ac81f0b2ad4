"""Explains what waits: one build request, the queue of a branch, or the whole queue."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence

from buildbot_selfserve.answers import ReasonCode
from buildbot_selfserve.control import held_requests
from buildbot_selfserve.control.explain.eta import Forecaster
from buildbot_selfserve.control.explain.reasons import Explainer
from buildbot_selfserve.history import History
from buildbot_selfserve.history.builders import BUILDBOTS_OWN
from buildbot_selfserve.history.queue import claim_of
from buildbot_selfserve.history.queue import read_pending
from buildbot_selfserve.history.queue import request_rows
from buildbot_selfserve.history.queue import waits_of
from buildbot_selfserve.model import MOST_QUEUED
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Claim
from buildbot_selfserve.model import Forecast
from buildbot_selfserve.model import MasterState
from buildbot_selfserve.model import OpenBuild
from buildbot_selfserve.model import PendingRequest
from buildbot_selfserve.model import Queue
from buildbot_selfserve.model import QueuedBuilder
from buildbot_selfserve.model import QueuedRequest
from buildbot_selfserve.model import QueueFigures
from buildbot_selfserve.model import Reason
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Selection
from buildbot_selfserve.model import Waiting
from buildbot_selfserve.model import Why
from buildbot_selfserve.model import WorkerSet

#: Seconds after which a claimed request should have a build.
LONGEST_START = 60
#: The largest number of worker sets in metrics, those with the longest waits, and the largest
#: number of workers in the name of a set.
MOST_SETS, MOST_WORKERS = 50, 3
#: The name of all other sets together.
OTHER_SETS = "other"
#: The state strings of a build before its first step (buildbot/process/build.py, ``startBuild``).
_BEGINNING = frozenset({"created", "starting", "preparing worker", "pinging worker"})
_ACQUIRING = "acquiring locks"


def why(history: History, state: MasterState, request: RequestRow) -> Why:
    """Return why a build request waits."""
    explainer = _explainer(history, state)
    pending = explainer.pending
    found = next((one for one in pending.requests if one.request_id == request.request_id), None)
    if found is not None:
        ahead = explainer.ahead(found.request_id)
        reasons = explainer.reasons(found)
        position = None if ahead is None else ahead + 1
        told = _forecaster(history, explainer).of_request(found.request_id)
        return Why(request, "pending", position, ahead, reasons, told.eta, told.reason)
    if request.complete:
        return Why(request, request.state, None, None, (), None, "It is complete")
    held = _of_claimed(history, explainer, request)
    told = _forecaster(history, explainer).of_request(request.request_id)
    if held and held[0].fatal:
        told = Forecast(None, "It will never start as things are")
    elif held and held[0].code == "master_gone":
        told = Forecast(None, held[0].msg)
    return Why(request, "running", None, None, held, told.eta, told.reason)


def forecaster(history: History, state: MasterState) -> Forecaster:
    """Return a forecaster of requests and builds, which makes no further queries."""
    return _forecaster(history, _explainer(history, state))


def _forecaster(history: History, explainer: Explainer) -> Forecaster:
    pending = explainer.pending
    waiting = {one.builder_id for one in pending.requests}
    running = {one.build_builder_id for one in pending.builds}
    durations = history.index.durations.of(history.connection, sorted(waiting | running))
    return Forecaster(explainer, durations)


def waiting_and_forecaster(
    history: History, state: MasterState, request_ids: Collection[int]
) -> tuple[dict[int, Waiting], Forecaster]:
    """Return why each pending request waits, by request id, and a forecaster."""
    explainer = _explainer(history, state)
    waiting = (one for one in explainer.pending.requests if one.request_id in request_ids)
    reasons = ((one.request_id, explainer.reasons(one)) for one in waiting)
    found = {
        request_id: Waiting(its[0], explainer.ahead(request_id) == 0)
        for request_id, its in reasons
        if its
    }
    return found, _forecaster(history, explainer)


def queue(
    history: History, state: MasterState, branch: Branch | None, selection: Selection
) -> Queue:
    """Return the pending requests of the selected builders, on one branch or on all."""
    explainer = _explainer(history, state)
    names = explainer.pending.builders
    requests = [
        one
        for one in explainer.pending.requests
        if selection.takes(names[one.builder_id])
        and not names[one.builder_id].startswith(BUILDBOTS_OWN)
    ]
    if branch is not None:
        its = history.facts.on_branch(branch, {one.buildset_id for one in requests})
        requests = [one for one in requests if one.buildset_id in its]
    if not requests:
        return Queue(branch, 0, None)
    return _Assembly(history, explainer, branch, requests).queue()


def figures(queue: Queue) -> QueueFigures:
    """Return the figures of *queue* for metrics, for a bounded number of worker sets."""
    oldest: dict[str, int] = {}
    for number, one in enumerate(queue.worker_sets):
        name = _set_name(one.workers) if number < MOST_SETS else OTHER_SETS
        oldest[name] = max(one.oldest, oldest.get(name, 0))
    return QueueFigures(queue.reasons, oldest)


def _set_name(workers: Sequence[str]) -> str:
    more = len(workers) - MOST_WORKERS
    return ",".join(workers[:MOST_WORKERS]) + (f" and {more} more" if more > 0 else "")


def _explainer(history: History, state: MasterState) -> Explainer:
    enforcing = [one for one, builder in state.builders.items() if builder.enforces_worker]
    pending = read_pending(history, state.master_id, enforcing)
    holds = held_requests.by_request(
        history, state.holds, pending.requests, pending.builders, state.aliases
    )
    return Explainer(state, pending, holds)


class _Assembly:
    """Assembles the queue of at least one request."""

    def __init__(
        self,
        history: History,
        explainer: Explainer,
        branch: Branch | None,
        requests: Sequence[PendingRequest],
    ) -> None:
        self._history = history
        self._explainer = explainer
        self._branch = branch
        self._reasons = {one.request_id: explainer.first(one) for one in requests}
        self._requests = sorted(requests, key=self._order)
        self._waits = history.index.recent_waits.of(history.connection)
        self._by_builder: dict[int, list[PendingRequest]] = {}
        for one in self._requests:
            self._by_builder.setdefault(one.builder_id, []).append(one)

    def _order(self, request: PendingRequest) -> tuple[bool, bool, int, int]:
        """Return the place of a request: what cannot start comes last, whatever its priority."""
        request_id = request.request_id
        is_held = request_id in self._explainer.holds
        return self._reasons[request_id].fatal, is_held, -request.priority, request_id

    def queue(self) -> Queue:
        return Queue(
            self._branch,
            len(self._requests),
            self._oldest(self._requests),
            self._builders(),
            self._worker_sets(),
            self._rows(),
            self._counted(self._requests),
        )

    def _oldest(self, requests: Iterable[PendingRequest]) -> int:
        now = self._explainer.state.taken_at
        return max(0, now - min(one.submitted_at for one in requests))

    def _counted(self, requests: Iterable[PendingRequest]) -> dict[ReasonCode, int]:
        counted = Counter(self._reasons[one.request_id].code for one in requests)
        return dict(counted.most_common())

    def _builders(self) -> tuple[QueuedBuilder, ...]:
        pending = self._explainer.pending
        owners = self._history.facts.owners({one.buildset_id for one in self._requests})
        running = Counter(one.builder_id for one in pending.builds)
        found = [
            QueuedBuilder(
                builder_id,
                pending.builders[builder_id],
                len(its),
                running[builder_id],
                self._oldest(its),
                waits_of(self._waits, [builder_id]),
                self._counted(its),
                dict(Counter(owners.get(one.buildset_id) or "" for one in its).most_common()),
            )
            for builder_id, its in self._by_builder.items()
        ]
        return tuple(sorted(found, key=lambda one: (-one.oldest, one.buildername)))

    def _worker_sets(self) -> tuple[WorkerSet, ...]:
        pending, of_set = self._explainer.pending, self._workers_of_builders()
        busy = {one.worker for one in pending.builds}
        there = self._connected()
        found = []
        for workers, builder_ids in of_set.items():
            its = [one for builder_id in builder_ids for one in self._by_builder[builder_id]]
            found.append(
                WorkerSet(
                    workers,
                    tuple(sorted(pending.builders[one] for one in builder_ids)),
                    len(its),
                    len(busy.intersection(workers)),
                    self._oldest(its),
                    waits_of(self._waits, builder_ids),
                    tuple(one for one in workers if one not in there),
                )
            )
        return tuple(sorted(found, key=lambda one: (-one.oldest, one.workers)))

    def _connected(self) -> set[str]:
        """Return the workers that some master has, or that start when they are needed."""
        here, elsewhere = self._explainer.state.workers, self._explainer.pending.workers
        found = {name for name, one in here.items() if one.connected or one.is_latent}
        found.update(one.name for its in elsewhere.values() for one in its if one.connected)
        return found

    def _workers_of_builders(self) -> dict[tuple[str, ...], list[int]]:
        """Return the builders of each worker set, which has the workers of all masters."""
        state, elsewhere = self._explainer.state, self._explainer.pending.workers
        named: dict[int, set[str]] = {}
        for (builder_id, master_id), those in elsewhere.items():
            if master_id != state.master_id:
                named.setdefault(builder_id, set()).update(one.name for one in those)
        found: dict[tuple[str, ...], list[int]] = {}
        for builder_id in self._by_builder:
            here = state.builders.get(builder_id)
            workers = {*(() if here is None else here.workers), *named.get(builder_id, ())}
            found.setdefault(tuple(sorted(workers)), []).append(builder_id)
        return found

    def _rows(self) -> tuple[QueuedRequest, ...]:
        some = self._requests[:MOST_QUEUED]
        rows = request_rows(self._history, self._branch, some)
        return tuple(
            QueuedRequest(
                rows[one.request_id],
                self._reasons[one.request_id],
                self._explainer.ahead(one.request_id) == 0,
            )
            for one in some
            if one.request_id in rows
        )


# -- claimed requests


def _of_claimed(history: History, explainer: Explainer, request: RequestRow) -> tuple[Reason, ...]:
    """Return why a claimed request waits; empty if its build runs."""
    claim = claim_of(history, request.request_id)
    if claim is None:
        return ()
    build = next(
        (one for one in explainer.pending.builds if one.request_id == request.request_id), None
    )
    name = claim.master.name
    if not claim.master.is_active and build is not None:
        # a master marks itself inactive before its builds have stopped
        msg = f"Its build ran on master {name}, which has stopped, or is about to"
        return (Reason("master_gone", msg, masters=(name,)),)
    if not claim.master.is_active:
        return (
            Reason(
                "master_gone",
                f"Master {name} was about to build it, and is gone; it waits until that master"
                " starts again",
                fatal=True,
                masters=(name,),
            ),
        )
    if claim.master_id == explainer.state.master_id:
        found = explainer.of_build(request.request_id)
        if found or (build is not None and build.state_string not in _BEGINNING):
            return found
    return _of_claim(claim, build, explainer.state.taken_at)


def _of_claim(claim: Claim, build: OpenBuild | None, now: int) -> tuple[Reason, ...]:
    """Return why a claimed request waits according to the database."""
    name = claim.master.name
    if build is not None and build.state_string == _ACQUIRING:
        return (
            Reason(
                "acquiring_locks",
                f"Its build waits for locks on master {name}",
                masters=(name,),
            ),
        )
    if build is not None and build.state_string not in _BEGINNING:
        return ()
    if build is None and now - claim.claimed_at > LONGEST_START:
        msg = f"Master {name} has claimed it, and no build of it runs"
        return (Reason("unknown", msg, masters=(name,)),)
    msg = f"Its build is starting on master {name}"
    if build is not None:
        msg += f": {build.state_string}"
    return (Reason("starting", msg, blocking=False, masters=(name,)),)
