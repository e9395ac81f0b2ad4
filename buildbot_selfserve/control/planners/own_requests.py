"""Reads the build requests that an ongoing job request has made, by its marks."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from buildbot_selfserve.control import current_state
from buildbot_selfserve.control.current_state import RequestState
from buildbot_selfserve.control.planners.cancel import endings_of
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.control.planners.originals import originals
from buildbot_selfserve.model import Ending
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import one_spelling


async def made_by(master: Any, job: Job) -> dict[int, RequestState]:
    """Return the requests of *job*, by the number of their buildset."""
    since = job.when - current_state.SET_BACK
    numbers = await master.db.pool.do(current_state.numbers_made, job.job_id, since)
    states = await current_state.requests_of(master, numbers.values())
    by_buildset = {one.buildset_id: one for one in states.values()}
    return {
        number: by_buildset[buildset_id]
        for number, buildset_id in numbers.items()
        if buildset_id in by_buildset
    }


async def revisions_of(ctx: PlanContext, made: Mapping[int, RequestState]) -> dict[int, set[str]]:
    """Return the revisions of the requests *made*, in the spelling of rows, by request id."""
    found = await originals(ctx.master, [one.request_id for one in made.values()])
    return {
        request_id: {one_spelling(revision) for _, revision in one.built if revision}
        for request_id, one in found.items()
    }


def ending_pending(states: Iterable[RequestState]) -> list[Ending]:
    """Return the endings that cancel pending requests; running builds may end."""
    waiting = (one for one in states if not one.complete and (not one.claimed or one.abandoned))
    return list(endings_of(waiting))


def outcomes_of(
    states: Iterable[RequestState], revisions: Mapping[Any, str | None]
) -> tuple[RequestOutcome, ...]:
    """Return the outcomes of requests.

    :param revisions: the revision of each request, if known, by request id
    """
    return tuple(
        replace(one.outcome("created"), revision=revisions.get(one.request_id)) for one in states
    )
