"""Decides what a job request may create, at the last place before it is inserted.

An operator's scheduler class may do as it likes with what it is asked for: name other builders,
give other properties, add several buildsets. So rights and budgets are held against each buildset
as it is about to be inserted, and receipts tell what was inserted.
"""

from __future__ import annotations

import itertools
from collections.abc import Container
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from typing import Any

from buildbot_selfserve.control import virtual
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import NewRequest
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import Target

#: Properties as a buildset has them: values and their sources, by name.
Properties = Mapping[str, tuple[Any, str]]


@dataclass(frozen=True)
class NewBuildset:
    """A buildset to be made.

    :param sourcestamps: one a codebase: ids, or what ``db.sourcestamps.findSourceStampId`` takes
    :param more: further columns, as ``db.buildsets.addBuildset`` takes them
    """

    sourcestamps: Sequence[int | Mapping[str, Any]]
    builder_ids: Sequence[int]
    properties: Properties
    reason: str
    priority: int
    more: Mapping[str, Any] = field(default_factory=dict)


class NothingAdmitted(Exception):
    """None of a buildset's requests may be made; without requests, it would succeed at once."""


class Admission:
    """Admits what one job request creates.

    :param target: what the asker was allowed to act on, where copies of it are made; without it,
        each builder is asked about
    """

    def __init__(self, master: Any, order: Order, target: Target | None = None) -> None:
        self.order = order
        #: ids of the requests that were inserted
        self.made: list[int] = []
        #: tells the buildsets of the job request from each other
        self.numbers = itertools.count()
        self._master = master
        self._target = target
        self._left_out: dict[str, RequestOutcome] = {}
        self._reserved = 0
        self._decided: dict[NewRequest | None, bool] = {}
        self._builders: dict[int, Any] = {}

    @property
    def denied(self) -> bool:
        """Whether any builder was denied."""
        return any(one.outcome == "denied" for one in self._left_out.values())

    def left_out(self, made: Container[str] = ()) -> list[RequestOutcome]:
        """Return the outcomes of the builders that got no request.

        :param made: names of the builders that got one: each builder has one outcome
        """
        return [one for name, one in self._left_out.items() if name not in made]

    async def reserve(self, builders: int) -> None:
        """Take so many builds from the asker's budget, before any of them is made.

        :raises TooMany: so many are not left
        """
        await self.order.take_builds(builders)
        self._reserved += builders

    async def usable(
        self,
        builder_ids: Iterable[int],
        properties: Mapping[str, Any],
        of_changes: Sequence[str] = (),
    ) -> list[int]:
        """Return which builders the asker may build with; remember why not with the others.

        :param properties: the values of those of the request, by name
        :param of_changes: the names of virtual builders that properties of its changes give
        """
        if not self._builders:
            rows = await self._master.data.get(("builders",))
            self._builders = {row["builderid"]: row for row in rows}
        return [
            builder_id
            for builder_id in dict.fromkeys(builder_ids)
            if await self._may_build(builder_id, properties, of_changes)
        ]

    async def require_some(self, buildset: NewBuildset) -> None:
        """Return if any request of *buildset* may be made.

        :raises Forbidden: the asker may build with none of its builders
        """
        if not await self._allowed(buildset) and self.denied:
            raise Forbidden("You may build with none of the builders")

    async def admitted(self, buildset: NewBuildset) -> NewBuildset:
        """Return *buildset* with those of its builders that the asker may build with.

        What it takes of the budget and was not reserved is taken now.

        :raises NothingAdmitted: there is none
        :raises TooMany: so many builds are not left
        """
        builder_ids = await self._allowed(buildset)
        if not builder_ids:
            raise NothingAdmitted()
        number = len(builder_ids)
        missing = max(0, number - self._reserved)
        self._reserved = max(0, self._reserved - number)
        if missing:
            await self.order.take_builds(missing)
        return replace(buildset, builder_ids=builder_ids)

    async def _allowed(self, buildset: NewBuildset) -> list[int]:
        """Return the ids of the builders of *buildset* that may build it."""
        if self._target is not None:
            return list(buildset.builder_ids) if await self._may(None, self._target) else []
        stamps = list(buildset.sourcestamps)
        of_changes = await self._master.db.pool.do(virtual.of_sourcestamps, stamps)
        values = {name: value for name, (value, _source) in buildset.properties.items()}
        return await self.usable(buildset.builder_ids, values, of_changes)

    async def _may_build(
        self, builder_id: int, properties: Mapping[str, Any], of_changes: Sequence[str]
    ) -> bool:
        """Whether a builder may build with *properties*; where it may not, remember why."""
        row = self._builders.get(builder_id)
        if row is None or not row["masterids"]:
            name = f"builder {builder_id}" if row is None else row["name"]
            self._leave_out(name, "left_out", "no master builds for it")
            return False
        builder = Builder(builder_id, row["name"])
        for name in (
            builder.name,
            *virtual.names(self._master, builder.name, properties, of_changes),
        ):
            request = NewRequest(builder, name)
            if not await self._may(request, request):
                why = "" if name == builder.name else f"{builder.name} would build under this name"
                self._leave_out(name, "denied", why)
                return False
        return True

    async def _may(self, key: NewRequest | None, target: Target) -> bool:
        if key not in self._decided:
            self._decided[key] = await self.order.may(target)
        return self._decided[key]

    def _leave_out(self, name: str, outcome: str, msg: str) -> None:
        self._left_out[name] = RequestOutcome(None, name, outcome, (), msg)
