"""Plans backfills: the missing builds between a good and a bad revision."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from buildbot_selfserve.control.current_state import RequestState
from buildbot_selfserve.control.planners.builders import of_builders
from buildbot_selfserve.control.planners.builders import require_configured
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.control.planners.context import convergent
from buildbot_selfserve.control.planners.context import requested_by
from buildbot_selfserve.control.planners.originals import Original
from buildbot_selfserve.control.planners.originals import originals
from buildbot_selfserve.control.planners.own_requests import ending_pending
from buildbot_selfserve.control.planners.own_requests import made_by
from buildbot_selfserve.control.planners.own_requests import outcomes_of
from buildbot_selfserve.control.planners.own_requests import revisions_of
from buildbot_selfserve.control.rights import no_builder
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.history.ranges import at_revisions
from buildbot_selfserve.history.ranges import find_range
from buildbot_selfserve.model import CANCELLED
from buildbot_selfserve.model import MARKS
from buildbot_selfserve.model import RUNNING
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import NewBuildset
from buildbot_selfserve.model import Ongoing
from buildbot_selfserve.model import OngoingStep
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import Range
from buildbot_selfserve.model import RangeRevision
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import Stamp
from buildbot_selfserve.model import WantedRange
from buildbot_selfserve.model import in_halving_order
from buildbot_selfserve.model import one_spelling
from buildbot_selfserve.model import plural
from buildbot_selfserve.permissions import BACKFILL
from buildbot_selfserve.state_words import LATER

#: The order with few pending or running requests at a time: each result decides what to build next.
HALVING = "halving"
#: The number of requests that are pending or running at a time in this order.
AT_ONCE = 2
#: Properties that are never copied, as they belong to one build, and those that builds of another
#: revision must not copy either.
_OF_ONE_BUILD = MARKS | {"buildid", "builduid"}
_OF_ONE_REVISION = _OF_ONE_BUILD | {"revision", "got_revision"}


@convergent
async def backfill(
    ctx: PlanContext,
    wanted: WantedRange,
    *,
    max: int,
    times: int,
    order: str,
    priority: int | None,
    force: bool | None,
) -> Plan:
    """Plan the missing builds between a good and a bad revision.

    Builds that are done, pending or running count, no matter who requested them, so a job request
    that is sent twice builds nothing twice.

    :param max: the largest number of revisions between the two
    :param times: the number of results that each of these revisions should have
    :param order: ``newest``, ``oldest`` or ``halving``
    :param priority: ``None`` for the configured priority
    :param force: if none of *max* revisions passed, build them all
    :raises Refused: there is no such range, or its revisions cannot be built
    :raises BadParameter: the good revision is not before the bad one, or too far before it
    :raises Forbidden: the user may not build with the builder
    """
    builder = wanted.builder
    if not await ctx.rights.may(builder):
        raise no_builder()
    found = await ctx.read(find_range, wanted, max, bool(force))
    lacking = _lacking(found, times)
    if priority is None:
        priority = ctx.backfill_priority
    if order == HALVING and sum(lacking.values()) > AT_ONCE:
        return await _begun(ctx, wanted, found, lacking, times, priority)
    numbers = _ORDERS[order](found, lacking)
    each = [(found.candidates[number], lacking[number]) for number in numbers]
    range_builder = RangeBuilder(ctx, found, builder)
    buildsets = [await range_builder.buildset(one, count, priority) for one, count in each]
    admitted = [await ctx.rights.admitted(one) for one in buildsets]
    planned = tuple(one for one in admitted if one is not None)
    if buildsets and not planned:
        raise no_builder()
    return Plan(
        buildsets=planned,
        untouched=(
            *(
                _denied(ctx, one, builder)
                for one, may in zip(buildsets, admitted, strict=True)
                if not may
            ),
            *_left_out(found, lacking, times),
        ),
        nothing="Nothing is missing",
    )


def _lacking(found: Range, times: int) -> dict[int, int]:
    """Return the number of missing results of each candidate that lacks any, by its number."""
    return {
        number: count
        for number, one in enumerate(found.candidates)
        if (count := times - one.results - len(one.open)) > 0
    }


def _newest(found: Range, lacking: Mapping[int, int]) -> list[int]:
    return sorted(lacking, reverse=True)


def _oldest(found: Range, lacking: Mapping[int, int]) -> list[int]:
    return sorted(lacking)


def _halving(found: Range, lacking: Mapping[int, int]) -> list[int]:
    known = [number for number, one in enumerate(found.candidates) if one.results or one.open]
    return in_halving_order(len(found.candidates), known, lacking)


_ORDERS: Mapping[str, Callable[[Range, Mapping[int, int]], list[int]]] = {
    "newest": _newest,
    "oldest": _oldest,
    HALVING: _halving,
}


# -- ongoing backfills, with few pending or running requests at a time


async def _begun(
    ctx: PlanContext,
    wanted: WantedRange,
    found: Range,
    lacking: Mapping[int, int],
    times: int,
    priority: int,
) -> Plan:
    """Plan the first requests of an ongoing backfill, which requests the others later."""
    spec = {
        "branch": wanted.branch.name,
        "builder_id": wanted.builder.builder_id,
        "buildername": wanted.builder.name,
        "good": None if found.good is None else found.good.text,
        "bad": found.bad.text,
        "times": times,
        "priority": priority,
    }
    for job in await ctx.ongoing(BACKFILL.action):
        if job.ongoing is not None and job.ongoing.spec.items() >= spec.items():
            return Plan(joins=job.job_id, nothing=f"Job {job.job_id} does this already")
    buildsets = await _next(ctx, found, lacking, AT_ONCE, wanted.builder, priority)
    if not buildsets:
        raise no_builder()
    made_now = {one.revision for one in buildsets}
    later = [
        RequestOutcome(None, wanted.builder.name, "left_out", (), LATER, one.text)
        for number, one in enumerate(found.candidates)
        if number in lacking and one.text not in made_now
    ]
    most = {found.candidates[number].text: count for number, count in lacking.items()}
    number = sum(lacking.values())
    later_on = number - len(buildsets)
    return Plan(
        buildsets=tuple(buildsets),
        untouched=(*later, *_left_out(found, lacking, times)),
        begun=f"Requesting {number} builds, {len(buildsets)} now and {later_on} later",
        ongoing=Ongoing(
            {
                **spec,
                "requested_builder_id": buildsets[0].builders[0].builder_id,
                "revisions": [one.text for one in found.candidates],
                "most": most,
            },
            {"status": RUNNING},
        ),
    )


async def _next(
    ctx: PlanContext,
    found: Range,
    lacking: Mapping[int, int],
    room: int,
    builder: Builder,
    priority: int,
) -> list[NewBuildset]:
    """Return the buildsets to request next.

    :param room: the largest number of buildsets
    """
    range_builder = RangeBuilder(ctx, found, builder)
    numbers = _halving(found, lacking)[: max(0, room)]
    planned = [
        await range_builder.buildset(found.candidates[number], 1, priority) for number in numbers
    ]
    return await ctx.rights.admitted_of(planned)


async def next_step(ctx: PlanContext, job: Job, made: Mapping[int, RequestState]) -> OngoingStep:
    """Return the next step of the backfill *job*, from the current state of the database.

    Each revision is requested as often as it lacked results at the beginning, even if requests give
    no result. Cancelling any of its requests stops the backfill.

    :param made: its requests by number of their buildset
    :raises SelfServeError: the backfill cannot continue
    """
    assert job.ongoing is not None  # as in all ongoing jobs
    spec = job.ongoing.spec
    found = await _range_now(ctx, spec)
    texts = await revisions_of(ctx, made)
    own = list(made.values())
    built = [
        (state.request_id, one.text)
        for one in (*found.candidates, found.bad)
        for state in own
        if one.text in texts.get(state.request_id, ())
    ]
    asked = Counter(text for _, text in built)
    lacking = {
        number: count
        for number, count in _lacking(found, spec["times"]).items()
        if asked[found.candidates[number].text] < spec["most"].get(found.candidates[number].text, 0)
    }
    going_on = sum(one.is_open for one in own)
    buildsets: list[NewBuildset] = []
    end = None
    if any(one.complete and one.results == CANCELLED for one in own):
        end = f"{len(own)} {plural(len(own), 'build')} requested; stopped, as one was cancelled"
    elif lacking or going_on:
        asked_of = Builder(spec["requested_builder_id"], spec["buildername"])
        await require_configured(ctx.master, asked_of)  # else requests would wait forever
        builder = Builder(spec["builder_id"], spec["buildername"])
        room = AT_ONCE - going_on
        buildsets = await _next(ctx, found, lacking, room, builder, spec["priority"])
        if lacking and room > 0 and not buildsets:
            raise Refused(f"Builder {builder.name} is no longer configured")
    else:
        end = f"{len(own)} {plural(len(own), 'build')} requested"
    first_number = max(made, default=-1) + 1
    return _step_of(
        job, own, dict(built), Plan(buildsets=tuple(buildsets), first_number=first_number), end
    )


async def _range_now(ctx: PlanContext, spec: Mapping[str, Any]) -> Range:
    """Return the current range of a backfill, without revisions that no longer exist.

    :raises Refused: the bad revision no longer exists
    """
    texts = [*([spec["good"]] if spec["good"] else []), *spec["revisions"], spec["bad"]]
    there = await ctx.read(at_revisions, spec["branch"], spec["buildername"], texts)
    if spec["bad"] not in there:
        raise Refused(f"Revision {spec['bad']} does not exist any more")
    candidates = tuple(there[one] for one in spec["revisions"] if one in there)
    good = there.get(spec["good"]) if spec["good"] else None
    return Range(spec["buildername"], good, there[spec["bad"]], candidates)


async def last_step(ctx: PlanContext, job: Job, status: str, why: str) -> OngoingStep:
    """Return the step that ends the backfill *job* now and cancels its pending requests."""
    own = list((await made_by(ctx.master, job)).values())
    step = _step_of(job, own, {}, Plan(), why, status)
    return replace(step, drop=tuple(ending_pending(own)), errors=status == "failed")


def _step_of(
    job: Job,
    own: Sequence[RequestState],
    told: Mapping[int, str],
    plan: Plan,
    end: str | None,
    status: str = "done",
) -> OngoingStep:
    assert job.ongoing is not None  # as in all ongoing jobs
    now = {**job.ongoing.now, "status": RUNNING if end is None else status, "msg": end or ""}
    return OngoingStep(
        plan,
        replace(job.ongoing, now=now),
        (),
        outcomes_of(own, told),
        tuple(sorted({one.buildset_id for one in own})),
        end,
    )


def _denied(ctx: PlanContext, buildset: NewBuildset, builder: Builder) -> RequestOutcome:
    why = next((one.msg for one in ctx.rights.untouched(())), "")
    return RequestOutcome(None, builder.name, "denied", msg=why, revision=buildset.revision)


def _left_out(found: Range, lacking: Mapping[int, int], times: int) -> Iterator[RequestOutcome]:
    """Yield the outcomes of the revisions that have enough results, oldest first."""
    for number, one in enumerate(found.candidates):
        if number not in lacking:
            yield RequestOutcome(
                None, found.buildername, "left_out", (), _why_enough(one, times), one.text
            )


def _why_enough(one: RangeRevision, times: int) -> str:
    if one.results >= times:
        return f"has {one.results} {plural(one.results, 'result')}"
    has = f"has {one.results} {plural(one.results, 'result')}, and " if one.results else ""
    return f"{has}{len(one.open)} {'is' if len(one.open) == 1 else 'are'} pending or running"


class RangeBuilder:
    """Makes the buildsets for revisions of a range.

    A revision that the builder was requested for is built like that request. Any other is built
    like the nearest request before it, or else the nearest one after it, but with its own
    sourcestamps: with the same properties, and with the same revisions of further codebases. If the
    builder was never requested in the range, the revision is built like a single build of a
    builder.

    :param builder: the builder to build as, which may be virtual
    """

    def __init__(self, ctx: PlanContext, found: Range, builder: Builder) -> None:
        self._ctx = ctx
        self._line = [*([found.good] if found.good else []), *found.candidates, found.bad]
        self._numbers = {one.text: number for number, one in enumerate(self._line)}
        self._builder = builder
        self._originals: dict[int, Original] | None = None

    async def buildset(self, one: RangeRevision, count: int, priority: int) -> NewBuildset:
        """Return the buildset to build *one* *count* times.

        :raises Refused: no master has the builder, or only other builds trigger it
        """
        model = await self._model(one)
        branch, where = one.revision.branch, one.revision.sourcestamps
        self._ctx.rights.expect(branch, {place.codebase for place in where})
        if model is None:
            new = await of_builders(self._ctx, one.revision, [self._builder], priority=priority)
            await require_configured(self._ctx.master, self._builder)
            return _looking_back(
                new.sourcestamps, self._builder, {}, new.reason, one, count, priority
            )
        await require_configured(self._ctx.master, model.builder)
        is_own = model.request_id == one.request_id
        left_out = _OF_ONE_BUILD if is_own else _OF_ONE_REVISION
        properties = {name: pair for name, pair in model.properties.items() if name not in left_out}
        stamps = _stamps(one, model, is_own)
        reason = requested_by(self._ctx.who)
        return _looking_back(stamps, model.builder, properties, reason, one, count, priority)

    async def _model(self, one: RangeRevision) -> Original | None:
        """Return the request to build *one* like, ``None`` if there is none.

        :raises Refused: all requests in the range were triggered by other builds
        """
        if self._originals is None:
            ids = [one.request_id for one in self._line if one.request_id is not None]
            self._originals = await originals(self._ctx.master, ids)
        number = self._numbers[one.text]
        nearest = itertools.chain(reversed(self._line[: number + 1]), self._line[number + 1 :])
        there = (self._originals.get(its.request_id or 0) for its in nearest)
        found = [its for its in there if its is not None]
        model = next((its for its in found if its.more["parent_buildid"] is None), None)
        if model is None and found:
            raise await self._triggered(found[0])
        if model is None and not await self._is_configured():
            raise Refused(f"Builder {self._builder.name} is virtual, and has built nothing here")
        return model

    async def _is_configured(self) -> bool:
        return self._builder.name in await self._ctx.rights.built_names()

    async def _triggered(self, one: Original) -> Refused:
        """Return the error for a builder that only other builds trigger."""
        parent_id = one.more["parent_buildid"]
        build = await self._ctx.master.data.get(("builds", str(parent_id)))
        parent = await self._ctx.master.data.get(("builders", str(build["builderid"])))
        name = parent["name"]
        return Refused(
            f"Builder {self._builder.name} is triggered by builds of {name}",
            "such a build gets properties from the one that triggers it, which belong to one"
            f" revision: backfill {name} in its place",
        )


def _looking_back(
    stamps: Iterable[Stamp],
    builder: Builder,
    properties: Mapping[str, tuple[Any, str]],
    reason: str,
    one: RangeRevision,
    count: int,
    priority: int,
) -> NewBuildset:
    return NewBuildset(
        sourcestamps=tuple(stamps),
        builders=(builder,),
        properties=properties,
        reason=reason,
        priority=priority,
        revision=one.text,
        count=count,
        looks_back=True,
    )


def _stamps(one: RangeRevision, model: Original, is_own: bool) -> Sequence[Stamp]:
    """Return the sourcestamps of *one*, with those of *model* for further codebases.

    :param is_own: *model* is a request of *one*. Its sourcestamp is kept if it names the revision;
        without one, it means the newest commit, whatever its builds have found
    """
    own = {place.codebase: place for place in one.revision.sourcestamps}
    stamps: dict[str, Stamp] = dict(zip(model.codebases, model.sourcestamps, strict=True))
    named = zip(model.codebases, model.built, strict=True)
    kept = {codebase for codebase, (_, text) in named if is_own and one_spelling(text) == one.text}
    stamps.update(
        (codebase, place.at(one.revision.revision))
        for codebase, place in own.items()
        if codebase not in kept
    )
    return [stamps[codebase] for codebase in sorted(stamps)]
