"""Makes and ends holds."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from buildbot_selfserve.control import current_state
from buildbot_selfserve.control.enforce_holds import Holds
from buildbot_selfserve.journal import holds as journal_holds
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import HeldRequest
from buildbot_selfserve.model import Hold
from buildbot_selfserve.model import HoldChange
from buildbot_selfserve.model import Outcome
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import in_utc
from buildbot_selfserve.model import plural


async def change(master: Any, holds: Holds, job_id: int, wanted: HoldChange) -> Effect:
    """Make or end holds; return the effect. Repeating this changes nothing."""
    if wanted.hold is None:
        await holds.write(journal_holds.release, wanted.ended)
        holds.release(wanted.ended)
        return _released(wanted)
    hold = replace(wanted.hold, job_id=job_id)
    if not hold.lasts(time.time()):
        return Effect("Interrupted: nothing was done, the hold has ended", errors=True)
    if not await holds.write(journal_holds.put, hold):
        return Effect("Another hold has taken its place meanwhile")
    holds.put(hold)
    outcomes = await _outcomes(master, wanted.waiting)
    held = sum(one.outcome == "held" for one in outcomes)
    return Effect(f"{_sentence(wanted)}, {_waiting(held)}", tuple(outcomes))


def _released(wanted: HoldChange) -> Effect:
    outcomes = [RequestOutcome(*one, "released") for one in wanted.waiting]
    ended, number = len(wanted.ended), len(outcomes)
    return Effect(
        f"{ended} {plural(ended, 'hold')} ended, {number} pending"
        f" {plural(number, 'request')} released",
        tuple(outcomes),
    )


async def _outcomes(master: Any, waiting: Iterable[HeldRequest]) -> list[RequestOutcome]:
    """Return the outcomes of the requests to hold; some may have started meanwhile."""
    found = []
    states = await current_state.request_states(master, [one.request_id for one in waiting])
    for one in waiting:
        state = states.get(one.request_id)
        waits = state is not None and not state.complete and not state.claimed
        outcome: Outcome = "held" if waits else "left_out"
        found.append(RequestOutcome(*one, outcome, msg="" if waits else "waits no more"))
    return found


def planned(wanted: HoldChange) -> str:
    """Return a sentence that says what would be done."""
    ended, number = len(wanted.ended), len(wanted.waiting)
    if wanted.hold is not None:
        return f"{_sentence(wanted, would_be=True)}, {_waiting(number)}"
    requests = f"{number} pending {plural(number, 'request')}"
    return f"{ended} {plural(ended, 'hold')} would end, {requests} would be released"


def _sentence(wanted: HoldChange, *, would_be: bool = False) -> str:
    """Return the beginning of a sentence about the hold of the branch.

    :param would_be: the hold is only planned
    """
    hold = wanted.hold
    assert hold is not None
    until, verb = f"until {in_utc(hold.expires)}", "would be" if would_be else "is"
    if not wanted.ended:
        return f"Branch {hold.branch} {verb} held {until}"
    before = wanted.ended[0]
    is_longer = hold.expires > before.expires and _same(hold, before)
    return f"The hold of {before.who} {verb} {'extended' if is_longer else 'replaced'}, {until}"


def _same(hold: Hold, other: Hold) -> bool:
    return (hold.reason, hold.above) == (other.reason, other.above)


def _waiting(number: int) -> str:
    return f"{number} pending {plural(number, 'request')} held"
