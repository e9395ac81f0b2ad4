"""Plans the first step, the further steps and the end of bisections.

``model/bisection_steps.py`` decides each step. This module collects its input: the range, which a
reader finds, and the results of the bisection's own requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from dataclasses import dataclass
from dataclasses import replace
from typing import Any

from buildbot_selfserve.control import current_state
from buildbot_selfserve.control.current_state import RequestState
from buildbot_selfserve.control.planners.backfill import RangeBuilder
from buildbot_selfserve.control.planners.cancel import endings_of
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.control.planners.context import convergent
from buildbot_selfserve.control.planners.own_requests import ending_pending
from buildbot_selfserve.control.planners.own_requests import made_by
from buildbot_selfserve.control.planners.own_requests import outcomes_of
from buildbot_selfserve.control.planners.own_requests import revisions_of
from buildbot_selfserve.control.rights import no_builder
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.history import History
from buildbot_selfserve.history import branches
from buildbot_selfserve.history.ranges import find_range
from buildbot_selfserve.history.revisions import candidates
from buildbot_selfserve.model import EXCEPTION
from buildbot_selfserve.model import FAILURE
from buildbot_selfserve.model import LONGEST_RANGE
from buildbot_selfserve.model import RETRY
from buildbot_selfserve.model import SUCCESS
from buildbot_selfserve.model import WARNINGS
from buildbot_selfserve.model import Bisection
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import NewBuildset
from buildbot_selfserve.model import Ongoing
from buildbot_selfserve.model import OngoingStep
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import Range
from buildbot_selfserve.model import RangeRevision
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import WantedRange
from buildbot_selfserve.model import plural
from buildbot_selfserve.model.bisection_rows import shown
from buildbot_selfserve.model.bisection_steps import Evidence
from buildbot_selfserve.model.bisection_steps import decide
from buildbot_selfserve.permissions import BISECT

#: Seconds after which to retry if there are too many bisections.
RETRY_AFTER = 60


# -- the begin


@convergent
async def bisect(
    ctx: PlanContext,
    wanted: WantedRange,
    *,
    max: int,
    confirm: int,
    properties: Mapping[str, Any] | None,
) -> Plan:
    """Plan the first step of a bisection of the *wanted* range.

    A running bisection of the same builder and range is joined.

    :param max: the largest number of revisions between the good and the bad one
    :param confirm: the number of builds of both edges before the verdict
    :param properties: properties to set on the builds
    :raises Refused: there is no such range, or no master has the builder
    :raises BadParameter: a given revision is not good or bad, as it must be
    :raises Forbidden: the user may not build with the builder
    :raises TooMany: too many bisections are running already
    """
    if not await ctx.rights.may(wanted.builder):
        raise no_builder()
    found = await ctx.read(find_range, wanted, max)
    _require_opposites(found, wanted)
    assert found.good is not None  # find_range was called without force
    builder = await _require_buildable(ctx, found, wanted.builder)
    spec = {
        "branch": wanted.branch.name,
        "builder_id": wanted.builder.builder_id,
        "buildername": wanted.builder.name,
        "requested_builder_id": builder.builder_id,
        "good": found.good.revision.revision,
        "bad": found.bad.revision.revision,
        "confirm": confirm,
        "properties": dict(properties or {}),
    }
    others = await ctx.ongoing(BISECT.action)
    same = next((one for one in others if one.ongoing and one.ongoing.spec == spec), None)
    if same is not None:
        return Plan(joins=same.job_id, nothing=f"Job {same.job_id} bisects this already")
    if len(others) >= ctx.most_ongoing:
        raise TooMany(
            f"{len(others)} {plural(len(others), 'bisection')} at once are enough",
            "this Buildbot allows no more; wait until one has ended, or stop one",
            retry_after=RETRY_AFTER,
        )
    step = await _step(ctx, spec, found, [], {})
    planned = replace(
        step.plan,
        ongoing=step.ongoing,
        found={"revision": found.bad.text, "good": found.good.text},
    )
    if step.end is not None:
        return replace(planned, nothing=step.end)
    return replace(planned, begun=_begun(found), nothing="waits for what was requested already")


async def _require_buildable(ctx: PlanContext, found: Range, builder: Builder) -> Builder:
    """Return the builder to request for builds of *builder*, which may be virtual.

    :raises Refused: no master has the builder to request, so requests would wait forever
    """
    planned = await RangeBuilder(ctx, found, builder).buildset(found.bad, 1, 0)
    return planned.builders[0]


def _require_opposites(found: Range, wanted: WantedRange) -> None:
    """Check that no given revision has the opposite result.

    :raises BadParameter: a given revision has
    """
    name, good, bad = wanted.builder.name, found.good, found.bad
    if wanted.bad is not None and bad.tested in ("passed", "warnings"):
        raise BadParameter("revision", f"one that fails: {name} passed at {bad.text}")
    if wanted.good is not None and good is not None and good.tested == "failed":
        raise BadParameter("good", f"one that passes: {name} failed at {good.text}")


def _begun(found: Range) -> str:
    number = len(found.candidates)
    return f"Bisecting {number} {plural(number, 'revision')}"


# -- each step


async def next_step(ctx: PlanContext, job: Job, made: Mapping[int, RequestState]) -> OngoingStep:
    """Return the next step of the bisection *job*, from the current state of the database.

    :param made: its requests by number of their buildset
    :raises SelfServeError: the bisection cannot continue
    """
    assert job.ongoing is not None  # as in all bisections
    spec = job.ongoing.spec
    found = await ctx.read(_range_of, spec)
    await _require_buildable(ctx, found, Builder(spec["builder_id"], spec["buildername"]))
    return await _step(ctx, spec, found, list(made.values()), await revisions_of(ctx, made), made)


def _range_of(history: History, spec: Mapping[str, Any]) -> Range:
    """Return the current range of a bisection.

    :raises Refused: its branch or a revision no longer exists
    """
    branch = branches.branch(history, spec["branch"])
    if branch is None:
        raise Refused(f"Branch {spec['branch']} does not exist any more")
    ends: list[Revision] = []
    for text in (spec["bad"], spec["good"]):
        fitting = candidates(history, (branch,), text)
        if len(fitting) != 1:
            raise Refused(f"Revision {text} does not exist any more")
        ends += fitting
    wanted = WantedRange(branch, Builder(spec["builder_id"], spec["buildername"]), *ends)
    return find_range(history, wanted, LONGEST_RANGE)


@dataclass(frozen=True)
class _Tested:
    """A revision, the evidence about it, and the bisection's own requests there."""

    one: RangeRevision
    evidence: Evidence
    own: tuple[RequestState, ...]


async def _step(
    ctx: PlanContext,
    spec: Mapping[str, Any],
    found: Range,
    own: Sequence[RequestState],
    revisions_of: Mapping[int, set[str]],
    made: Mapping[int, RequestState] | None = None,
) -> OngoingStep:
    assert found.good is not None  # as in all bisections
    revisions = (found.good, *found.candidates, found.bad)
    in_vain = await _abandoned(ctx, [it for one in revisions for it in one.open])
    line = [
        _tested(one, own, revisions_of, in_vain, only_own=bool(spec["properties"]))
        for one in revisions
    ]
    decision = decide([one.evidence for one in line], spec["confirm"])
    range_builder = RangeBuilder(ctx, found, Builder(spec["builder_id"], spec["buildername"]))
    buildsets = tuple(
        [await _build(ctx, range_builder, spec, line[n].one) for n in decision.request]
    )
    now = shown(decision, [one.one for one in line], [one.evidence for one in line])
    drop = [state for number in decision.drop for state in line[number].own]
    if decision.end is not None:
        drop = list(own)
    return OngoingStep(
        Plan(buildsets=buildsets, first_number=max(made or (), default=-1) + 1),
        Ongoing(spec, now),
        tuple(ending_pending(drop)),
        outcomes_of(own, {it.request_id: one.one.text for one in line for it in one.own}),
        tuple(sorted({one.buildset_id for one in own})),
        None if decision.end is None else now["msg"],
    )


async def _build(
    ctx: PlanContext, range_builder: RangeBuilder, spec: Mapping[str, Any], one: RangeRevision
) -> NewBuildset:
    planned = await range_builder.buildset(one, 1, ctx.backfill_priority)
    given = current_state.given(spec["properties"])
    planned = replace(planned, properties={**planned.properties, **given})
    admitted = await ctx.rights.require(planned)
    if not admitted.builders:
        raise Refused(f"Builder {spec['buildername']} is no longer configured")
    return admitted


async def _abandoned(ctx: PlanContext, request_ids: Sequence[int]) -> set[int]:
    """Return the requests that gone masters have claimed, which will have no result."""
    states = await current_state.request_states(ctx.master, request_ids)
    return {one.request_id for one in states.values() if one.abandoned}


def _tested(
    one: RangeRevision,
    own: Sequence[RequestState],
    revisions_of: Mapping[int, set[str]],
    in_vain: Set[int],
    *,
    only_own: bool,
) -> _Tested:
    """Return the evidence about a revision.

    :param in_vain: requests that will have no result
    :param only_own: count only the bisection's own builds, as others have other properties
    """
    its = tuple(state for state in own if one.text in revisions_of.get(state.request_id, ()))
    results = [
        EXCEPTION if build.build_id in one.sourceless else build.results
        for state in its
        for build in state.builds
        if build.complete
    ]
    passes = sum(result in (SUCCESS, WARNINGS) for result in results)
    failures = results.count(FAILURE)
    unbuilt = sum(state.complete and not state.builds for state in its)
    evidence = Evidence(
        passes=passes,
        failures=failures,
        own=passes + failures,
        own_voids=len(results) - passes - failures + unbuilt,
        own_open=sum(one.is_open for one in its),
    )
    if not only_own:
        counts, ids = one.counts, in_vain | {state.request_id for state in its}
        tries = results.count(EXCEPTION) + results.count(RETRY)
        evidence = replace(
            evidence,
            passes=max(passes, counts.get("passed", 0) + counts.get("warnings", 0)),
            failures=max(failures, counts.get("failed", 0)),
            voids=max(0, counts.get("exception", 0) + counts.get("retry", 0) - tries),
            open=sum(request_id not in ids for request_id in one.open),
        )
    return _Tested(one, evidence, its)


# -- the end


async def last_step(ctx: PlanContext, job: Job, status: str, why: str) -> OngoingStep:
    """Return the step that ends the bisection *job* now and cancels its pending requests."""
    assert job.ongoing is not None  # as in all bisections
    own = list((await made_by(ctx.master, job)).values())
    now = {**job.ongoing.now, "status": status, "msg": why, "next": None, "left_steps": 0}
    return OngoingStep(
        Plan(),
        replace(job.ongoing, now=now),
        tuple(ending_pending(own)),
        outcomes_of(own, {one.request_id: one.revision for one in job.requests}),
        tuple(sorted({one.buildset_id for one in own})),
        why,
        errors=status == "failed",
    )


@convergent
async def cancel_bisection(ctx: PlanContext, bisection: Bisection) -> Plan:
    """Plan to stop a *bisection*, cancelling its requests and stopping its builds.

    :raises Forbidden: the user may not build with the builder
    """
    job = bisection.job
    if job.status != "running" or job.ongoing is None:
        return Plan(nothing=f"Bisection {job.job_id} has already ended")
    spec = job.ongoing.spec
    if not await ctx.rights.may(Builder(spec["builder_id"], spec["buildername"])):
        raise no_builder()
    own = (await made_by(ctx.master, job)).values()
    endings = endings_of(one for one in own if not one.complete)
    return Plan(
        endings=endings,
        stops=job.job_id,
        begun=f"Bisection {job.job_id} stopped" if endings else "",
        nothing=f"Bisection {job.job_id} stopped",
    )
