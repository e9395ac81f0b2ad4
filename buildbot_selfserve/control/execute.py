"""Executes plans: the only code that creates, cancels or changes Buildbot's objects.

A plan is executed in steps, between which the reactor and other job requests get turns. Each step
can be repeated: the buildsets that an interrupted job request made are found by their marks, and
the rest is made.
"""

from __future__ import annotations

import datetime
import json
import uuid
from collections import Counter
from collections.abc import Collection
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from twisted.internet import defer

from buildbot_selfserve.clock import next_turn
from buildbot_selfserve.control import cancel
from buildbot_selfserve.control import change_holds
from buildbot_selfserve.control import changes
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control import effects
from buildbot_selfserve.control import insert_buildsets
from buildbot_selfserve.control import set_priority
from buildbot_selfserve.control.enforce_holds import Holds
from buildbot_selfserve.control.insert_buildsets import Insertion
from buildbot_selfserve.control.rights import Rights
from buildbot_selfserve.model import JOB_PROPERTY
from buildbot_selfserve.model import KEY_PROPERTY
from buildbot_selfserve.model import RANGE_PROPERTY
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import NewBuildset
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import Properties
from buildbot_selfserve.model import Stamp

#: The number of requests to insert in one transaction and announce together. A buildset with more
#: requests is inserted whole.
BATCH = 200
#: No buildset exists yet.
NOTHING: Mapping[int, int] = MappingProxyType({})


async def execute(
    master: Any,
    order: Order,
    plan: Plan,
    rights: Rights,
    made: Mapping[int, int] = NOTHING,
    holds: Holds | None = None,
) -> Effect:
    """Execute *plan*; return its effect according to the database.

    :param made: the ids of buildsets that exist already, by number; the others are made
    :param holds: the holds of this master, for a plan that changes holds
    :raises Forbidden: a buildset was not admitted by *rights*
    """
    return await _Execution(master, order, plan, rights, made, holds).run()


class _Execution:
    """The execution of one plan.

    :param made: the ids of buildsets that exist already, by number
    """

    def __init__(
        self,
        master: Any,
        order: Order,
        plan: Plan,
        rights: Rights,
        made: Mapping[int, int],
        holds: Holds | None,
    ) -> None:
        self._master = master
        self._order = order
        self._plan = plan
        self._rights = rights
        self._there = made
        self._holds = holds
        self._request_ids: list[int] = []
        self._stamps: dict[str, int] = {}
        #: for a plan of several revisions, the revision of each buildset by id
        self._revisions: dict[int, str | None] = {
            made[number]: one.revision
            for number, one in plan.each_buildset()
            if number in made and one.looks_back
        }

    async def run(self) -> Effect:
        plan, master = self._plan, self._master
        if plan.is_empty:
            return effects.nothing(plan)
        if plan.buildsets:
            effect = await self._create()
        elif plan.endings:
            outcomes = await cancel.end(master, self._order.who, plan.endings, self._order.deadline)
            effect = effects.ended([*outcomes, *plan.untouched], self._order.build_id)
        elif plan.holding is not None:
            assert self._holds is not None  # the planner needed them
            effect = await change_holds.change(
                master, self._holds, self._order.job_id, plan.holding
            )
        else:
            effect = await self._reprioritize()
        for write in plan.writes:
            await defer.maybeDeferred(write)
        return effect

    # -- creating

    async def _create(self) -> Effect:
        lacking = await self._lacking()
        # before the first buildset; others may have recorded newer ones since
        for change in () if self._there else self._plan.changes:
            await changes.record(self._master, change)
        for batch in _batches(self._left(lacking)):
            self._order.check_running()
            await self._insert(batch)
            await next_turn(self._master.reactor)
        states = await current_state.request_states(self._master, self._request_ids)
        states |= await current_state.requests_of(self._master, self._there.values())
        return effects.created(
            dict(sorted(states.items())),
            self._plan.builds,
            self._plan.untouched,
            self._revisions,
        )

    async def _lacking(self) -> set[int]:
        """Return the numbers of the existing buildsets that lack requests."""
        states = await current_state.requests_of(self._master, self._there.values())
        have = Counter(one.buildset_id for one in states.values())
        return {
            number
            for number, buildset in self._plan.each_buildset()
            if number in self._there and have[self._there[number]] < len(buildset.builders)
        }

    def _left(self, lacking: Collection[int]) -> Iterator[tuple[int, NewBuildset]]:
        for number, buildset in self._plan.each_buildset():
            if buildset.builders and (number not in self._there or number in lacking):
                yield number, buildset

    async def _insert(self, batch: Sequence[tuple[int, NewBuildset]]) -> None:
        insertions = [await self._insertion(number, buildset) for number, buildset in batch]
        made = await insert_buildsets.insert(
            self._master, self._rights, self._order.job_id, insertions
        )
        for one in made:
            self._request_ids += one.request_ids.values()
            if one.insertion.buildset.looks_back:
                self._revisions[one.buildset_id] = one.insertion.buildset.revision
        await insert_buildsets.announce(self._master, made)

    async def _insertion(self, number: int, buildset: NewBuildset) -> Insertion:
        stamp_ids = [await self._stamp_id(one) for one in buildset.sourcestamps]
        properties = {**buildset.properties, **marks(self._order, number, buildset)}
        return Insertion(number, buildset, stamp_ids, properties, self._there.get(number))

    async def _stamp_id(self, stamp: Stamp) -> int:
        if isinstance(stamp, int):
            return stamp
        key = json.dumps(stamp, sort_keys=True)
        if key not in self._stamps:
            found = await self._master.db.sourcestamps.findSourceStampId(**stamp)
            self._stamps[key] = int(found)
        return self._stamps[key]

    # -- changing

    async def _reprioritize(self) -> Effect:
        states, wanted = await set_priority.reprioritize(self._master, self._plan.priorities)
        return effects.reprioritized(states.values(), wanted)


def _batches(
    buildsets: Iterator[tuple[int, NewBuildset]],
) -> Iterator[list[tuple[int, NewBuildset]]]:
    """Yield *buildsets* in batches of at most ``BATCH`` requests."""
    batch: list[tuple[int, NewBuildset]] = []
    size = 0
    for number, buildset in buildsets:
        if batch and size + len(buildset.builders) > BATCH:
            yield batch
            batch, size = [], 0
        batch.append((number, buildset))
        size += len(buildset.builders)
    if batch:
        yield batch


def marks(order: Order, number: int, buildset: NewBuildset) -> Properties:
    """Return the properties that mark a buildset as made by this job request.

    Buildsets that are not copies also get the ids of the original API.

    :param number: the buildset's number in the plan
    """
    marked: dict[str, tuple[Any, str]] = {
        "owner": (order.who, current_state.SOURCE),
        JOB_PROPERTY: (order.job_id, current_state.SOURCE),
        KEY_PROPERTY: (f"{order.job_id}/{number}", current_state.KEY_SOURCE),
    }
    if buildset.looks_back:
        marked[RANGE_PROPERTY] = (order.job_id, current_state.SOURCE)
    if buildset.is_copy:
        return marked
    now = datetime.datetime.now(datetime.timezone.utc)
    return {
        **marked,
        "buildid": (now.strftime("%Y%m%d%H%M%S"), current_state.SOURCE),
        "builduid": (uuid.uuid4().hex, current_state.SOURCE),
    }
