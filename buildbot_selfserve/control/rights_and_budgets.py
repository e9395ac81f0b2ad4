"""Decides what a job request may create, right before it is inserted.

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

from buildbot_selfserve.control import virtual_builder_names
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import NewRequest
from buildbot_selfserve.model import Order
from buildbot_selfserve.model import Outcome
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

    :param target: what the user was allowed to act on, where copies of it are made; without it,
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
        self._branch: Branch | None = None
        self._codebases: frozenset[str] = frozenset()
        self._left_out: dict[str, RequestOutcome] = {}
        self._shares: dict[str, int] = {}
        self._share = ""
        self._decided: dict[NewRequest | None, bool] = {}
        #: names and masters of builders, by their ids
        self._builders: dict[int, tuple[str, Sequence[int]]] = {}

    def expect(self, branch: Branch, codebases: Iterable[str]) -> None:
        """Ask about each other branch that is built in one of these *codebases*, too."""
        self._branch = branch
        self._codebases = frozenset(codebases)

    @property
    def denied(self) -> bool:
        """Whether any builder was denied."""
        return any(one.outcome == "denied" for one in self._left_out.values())

    def left_out(self, made: Container[str] = ()) -> list[RequestOutcome]:
        """Return the outcomes of the builders that got no request.

        :param made: names of the builders that got one: each builder has one outcome
        """
        return [one for name, one in self._left_out.items() if name not in made]

    async def reserve(self, shares: Mapping[str, int]) -> None:
        """Take all *shares* from the user's budget, before any build is made.

        :param shares: numbers of builds, by what makes them
        :raises TooMany: so many builds are not left
        """
        if any(shares.values()):
            await self.order.take_builds(sum(shares.values()))
        self._shares.update(shares)

    def begin(self, share: str) -> None:
        """Charge what is inserted from now on to *share*, until that is used up."""
        self._share = share

    async def usable(
        self,
        builder_ids: Iterable[int],
        properties: Mapping[str, Any],
        of_changes: Sequence[str] = (),
        branches: Sequence[str] = (),
    ) -> list[int]:
        """Return which builders the user may build with; remember why not with the others.

        :param properties: the values of those of the request, by name
        :param of_changes: the names of virtual builders that properties of its changes give
        :param branches: other branches than the one that was asked for, if it builds any
        """
        if not self._builders:
            rows = await self._master.data.get(("builders",))
            self._builders = {row["builderid"]: (row["name"], row["masterids"]) for row in rows}
        return [
            builder_id
            for builder_id in dict.fromkeys(builder_ids)
            if await self._may_build(builder_id, properties, of_changes, branches)
        ]

    async def require_some(self, buildset: NewBuildset) -> None:
        """Check that any request of *buildset* may be created.

        :raises Forbidden: the user may build with none of its builders
        """
        if not await self._allowed(buildset) and self.denied:
            raise Forbidden("You may not build with any of the builders")

    async def admitted(self, buildset: NewBuildset) -> NewBuildset:
        """Return *buildset* with those of its builders that the user may build with.

        What it takes of the budget and was not reserved is taken now.

        :raises NothingAdmitted: there is none
        :raises TooMany: so many builds are not left
        """
        builder_ids = await self._allowed(buildset)
        if not builder_ids:
            raise NothingAdmitted()
        number, reserved = len(builder_ids), self._shares.get(self._share, 0)
        self._shares[self._share] = max(0, reserved - number)
        missing = max(0, number - reserved)
        if missing:
            await self.order.take_builds(missing)
        return replace(buildset, builder_ids=builder_ids)

    async def _allowed(self, buildset: NewBuildset) -> list[int]:
        """Return the ids of the builders of *buildset* that may build it."""
        if self._target is not None:
            return list(buildset.builder_ids) if await self._may(None, self._target) else []
        stamps = list(buildset.sourcestamps)
        of_changes = await self._master.db.pool.do(virtual_builder_names.of_sourcestamps, stamps)
        values = {name: value for name, (value, _source) in buildset.properties.items()}
        branches = await self._other_branches(stamps) if self._branch is not None else ()
        return await self.usable(buildset.builder_ids, values, of_changes, branches)

    async def _other_branches(self, stamps: Sequence[int | Mapping[str, Any]]) -> list[str]:
        """Return the branches of *stamps* that were not asked for."""
        assert self._branch is not None
        found = []
        for stamp in stamps:
            whole = await self._whole(stamp)
            if whole["codebase"] in self._codebases:
                found.append(whole.get("branch"))
        return [branch or "" for branch in found if branch not in self._branch.branches]

    async def _whole(self, stamp: int | Mapping[str, Any]) -> Mapping[str, Any]:
        if not isinstance(stamp, int):
            return stamp
        found: Mapping[str, Any] = await self._master.data.get(("sourcestamps", str(stamp)))
        return found

    async def _may_build(
        self,
        builder_id: int,
        properties: Mapping[str, Any],
        of_changes: Sequence[str],
        branches: Sequence[str],
    ) -> bool:
        """Whether a builder may build with *properties*; where it may not, remember why."""
        name, master_ids = self._builders.get(builder_id, (f"builder {builder_id}", ()))
        if not master_ids:
            self._leave_out(name, "left_out", "no master builds for it")
            return False
        builder = Builder(builder_id, name)
        names = virtual_builder_names.names(self._master, builder.name, properties, of_changes)
        for name, branch in itertools.product((builder.name, *names), (None, *branches)):
            request = NewRequest(builder, name, branch)
            if not await self._may(request, request):
                self._leave_out(name, "denied", _why(request))
                return False
        return True

    async def _may(self, key: NewRequest | None, target: Target) -> bool:
        if key not in self._decided:
            self._decided[key] = await self.order.may(target)
        return self._decided[key]

    def _leave_out(self, name: str, outcome: Outcome, msg: str) -> None:
        self._left_out[name] = RequestOutcome(None, name, outcome, (), msg)


def _why(request: NewRequest) -> str:
    """Return what a receipt says of a *request* that is denied, where it is not what was asked."""
    if request.branch is not None:
        return f"its scheduler would build branch {request.branch or 'none'}"
    if request.name != request.builder.name:
        return f"{request.builder.name} would build under this name"
    return ""
