"""Describes what was done to build requests, according to the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from types import MappingProxyType

from buildbot_selfserve.control import change_holds
from buildbot_selfserve.control.current_state import RequestState
from buildbot_selfserve.model import SKIPPED
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Outcome
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import plural
from buildbot_selfserve.state_words import outcome_word

_ENDED: Mapping[Outcome, str] = {
    "cancelled": "cancelled",
    "stopped": "stopped",
    "stop_sent": "told to stop, but not stopped yet",
    "already_complete": "already complete",
    "waiting": "about to start, and not stopped yet",
    "denied": "denied",
    "left_out": "left out",
    "failed": "not cancelled",
}
#: Outcomes of a request that has a build.
_OF_BUILDS = frozenset({"stopped", "stop_sent", "already_complete"})
#: All buildsets build the revision of the job request.
_SAME: Mapping[int, str | None] = MappingProxyType({})


def created(
    states: Mapping[int, RequestState],
    wanted: int | None = None,
    untouched: Sequence[RequestOutcome] = (),
    revisions: Mapping[int, str | None] = _SAME,
) -> Effect:
    """Return the effect of creating requests.

    :param wanted: the number of requests there should be, if known
    :param untouched: the outcomes of builders or requests that were left alone
    :param revisions: the revision of each buildset by id, if the buildsets build several revisions
    """
    outcomes = [
        # only a custom collapseRequests in master.cfg does that
        state.outcome("skipped", "collapsed by this master's collapseRequests")
        if state.results == SKIPPED
        else state.outcome("created")
        for state in states.values()
    ]
    if revisions:
        outcomes = [
            replace(one, revision=revisions.get(state.buildset_id))
            for one, state in zip(outcomes, states.values(), strict=True)
        ]
    number = len(outcomes)
    of = "" if wanted is None or wanted == number else f" of {wanted}"
    builds = plural(wanted if wanted is not None else number, "build")
    return Effect(
        f"{number}{of} {builds} requested{_beside(untouched)}",
        (*outcomes, *_shown(untouched)),
        tuple(sorted({state.buildset_id for state in states.values()})),
        errors=(wanted is not None and number < wanted) or _failed(untouched),
    )


def ended(outcomes: Sequence[RequestOutcome], build_id: int | None = None) -> Effect:
    """Return the effect of cancelling requests.

    :param build_id: the build that was to be cancelled, if it was not the request
    """
    errors = any(one.outcome in ("failed", "waiting") for one in outcomes)
    if len(outcomes) == 1:
        msg = _one_ended(outcomes[0], build_id)
    else:
        counts = Counter(one.outcome for one in outcomes)
        told = [f"{counts[name]} {words}" for name, words in _ENDED.items() if counts[name]]
        msg = (
            f"{len(outcomes)} requests: {', '.join(told)}" if told else "Nothing was left to cancel"
        )
    return Effect(msg, tuple(outcomes), errors=errors)


def build_ended(build_id: int) -> str:
    """Return what to say of a build that was to be cancelled and ran no more."""
    return f"Build {build_id} had already ended"


def _one_ended(one: RequestOutcome, build_id: int | None) -> str:
    if build_id is None or one.outcome not in _OF_BUILDS:
        return f"Request {one.request_id} is {_ENDED[one.outcome]}"
    if one.outcome == "already_complete":
        return build_ended(build_id)
    return f"Build {build_id} is {_ENDED[one.outcome]}"


def reprioritized(states: Iterable[RequestState], priorities: Mapping[int, int]) -> Effect:
    """Return the effect of changing priorities.

    :param priorities: the wanted priority of each request, by request id
    """
    found = list(states)
    outcomes = [
        one.outcome(
            "reprioritized" if one.priority == priorities[one.request_id] else "failed",
        )
        for one in found
    ]
    if len(found) == 1:
        msg = f"Request {found[0].request_id} has priority {found[0].priority}"
    else:
        done = sum(one.outcome == "reprioritized" for one in outcomes)
        msg = f"{done} of {len(priorities)} requests reprioritized"
    missing = len(found) < len(priorities)
    return Effect(
        msg, tuple(outcomes), errors=missing or any(one.outcome == "failed" for one in outcomes)
    )


def planned(plan: Plan) -> Effect:
    """Return what *plan* would do, as an effect."""
    outcomes = plan.outcomes()
    begun = f"{plan.begun}: " if plan.begun else ""
    if plan.is_empty:
        return Effect(f"{begun}{plan.nothing}{_beside(plan.untouched)}", outcomes)
    counts = Counter[str](one.outcome for one in outcomes)
    if plan.holding is not None:
        return Effect(change_holds.planned(plan.holding), outcomes)
    told = [
        f"{counts[word]} {plural(counts[word], noun)} would be {verb}"
        for word, noun, verb in (
            ("would_create", "build", "requested"),
            ("would_cancel", "request", "cancelled"),
            ("would_stop", "build", "stopped"),
            ("would_reprioritize", "request", "reprioritized"),
        )
        if counts[word]
    ]
    return Effect(f"{begun}{', '.join(told)}{_beside(plan.untouched)}", outcomes)


def nothing(plan: Plan) -> Effect:
    """Return the effect of a *plan* with nothing to do."""
    untouched = plan.untouched
    return Effect(
        f"{plan.nothing}{_beside(untouched)}", _shown(untouched), errors=_failed(untouched)
    )


def _shown(untouched: Iterable[RequestOutcome]) -> tuple[RequestOutcome, ...]:
    """Return the outcomes of what was left alone, as a plan shows them.

    A failed scheduler is shown as left out; ``_beside`` says that it failed.
    """
    return tuple(
        replace(one, outcome="left_out") if one.outcome == "failed" else one for one in untouched
    )


def _beside(untouched: Sequence[RequestOutcome]) -> str:
    """Return the numbers of what was left alone, as the end of a sentence.

    What is only put off is not: the beginning of the sentence tells of that.
    """
    counts = Counter(outcome_word(one.outcome, one.msg) for one in untouched)
    told = "".join(f", {counts[word]} {word}" for word in ("denied", "left out") if counts[word])
    failed = sum(one.outcome == "failed" for one in untouched)
    return f"{told}, {failed} {plural(failed, 'scheduler')} failed" if failed else told


def _failed(untouched: Sequence[RequestOutcome]) -> bool:
    return any(one.outcome == "failed" for one in untouched)
