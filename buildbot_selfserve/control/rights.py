"""Decides which build requests a user may create.

A scheduler class in master.cfg may name other builders, set other properties, or add several
buildsets. So each recorded buildset is checked, and the executor inserts only buildsets that were
admitted here.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from typing import TypeVar

from buildbot_selfserve.control import virtual_builder_names
from buildbot_selfserve.control.current_state import RequestState
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import NewBuildset
from buildbot_selfserve.model import NewRequest
from buildbot_selfserve.model import Outcome
from buildbot_selfserve.model import RequestOutcome
from buildbot_selfserve.model import Stamp
from buildbot_selfserve.model import Target

#: Returns for each target why the user does not have the permission for it, ``None`` if they have.
Refusals = Callable[[Sequence[Target]], Awaitable[list[str | None]]]

Some = TypeVar("Some", bound=Target)


class Rights:
    """The rights of the user who sent one job request.

    :param refusals: returns for each target why the user does not have the permission for it
    """

    def __init__(self, master: Any, refusals: Refusals) -> None:
        self._refusals = refusals
        self._master = master
        self._branch: Branch | None = None
        self._codebases: frozenset[str] = frozenset()
        self._untouched: dict[str, RequestOutcome] = {}
        #: why each may not be made; ``None`` if it may
        self._decided: dict[NewRequest, str | None] = {}
        #: the admitted buildsets by ``id()``
        self._admitted: dict[int, NewBuildset] = {}
        #: name and master ids of each builder, by builder id
        self._builders: dict[int, tuple[str, Sequence[int]]] = {}

    def expect(self, branch: Branch, codebases: Iterable[str]) -> None:
        """Also check every other branch that would be built in these *codebases*."""
        self._branch = branch
        self._codebases = frozenset(codebases)

    async def may(self, target: Target) -> bool:
        """Return whether the user has the permission for *target*."""
        return await self._refusal(target) is None

    async def _refusal(self, target: Target) -> str | None:
        (why,) = await self._refusals([target])
        return why

    async def denied_of(self, targets: Sequence[Some]) -> list[Some]:
        """Return those of *targets* that the user does not have the permission for."""
        every = zip(targets, await self._refusals(targets), strict=True)
        return [one for one, why in every if why is not None]

    async def parted(
        self, states: Sequence[RequestState]
    ) -> tuple[list[RequestState], tuple[RequestOutcome, ...]]:
        """Return those of *states* that the user has the permission for, and what is denied."""
        every = list(zip(states, await self._refusals(states), strict=True))
        allowed = [one for one, why in every if why is None]
        return allowed, tuple(one.outcome("denied", why) for one, why in every if why is not None)

    @property
    def denied(self) -> bool:
        """Return whether any builder was denied."""
        return any(one.outcome == "denied" for one in self._untouched.values())

    def untouched(self, planned: Iterable[NewBuildset]) -> list[RequestOutcome]:
        """Return the outcomes of the builders that get no request.

        :param planned: the buildsets to create; their builders are left out, as each builder has
            one outcome
        """
        names = {builder.name for one in planned for builder in one.builders}
        return [one for name, one in self._untouched.items() if name not in names]

    async def builder_names(self) -> dict[int, str]:
        """Return the names of all builders, by builder id."""
        return {builder_id: name for builder_id, (name, _) in (await self._known()).items()}

    async def built_names(self) -> set[str]:
        """Return the names of the builders that some master has."""
        return {name for name, master_ids in (await self._known()).values() if master_ids}

    async def _known(self) -> Mapping[int, tuple[str, Sequence[int]]]:
        if not self._builders:
            rows = await self._master.data.get(("builders",))
            self._builders = {row["builderid"]: (row["name"], row["masterids"]) for row in rows}
        return self._builders

    async def admitted(self, buildset: NewBuildset) -> NewBuildset | None:
        """Return *buildset* with the builders that the user may build with, if there are any."""
        if buildset.copied is not None:
            return self._copied(buildset, await self._refusal(buildset.copied))
        stamps = list(buildset.sourcestamps)
        of_changes = await self._master.db.pool.do(virtual_builder_names.of_sourcestamps, stamps)
        values = {name: value for name, (value, _source) in buildset.properties.items()}
        branches = await self._other_branches(stamps) if self._branch is not None else ()
        builders = tuple(
            [
                builder
                for builder in dict.fromkeys(buildset.builders)
                if await self._may_build(builder, values, of_changes, branches)
            ]
        )
        return self._admit(replace(buildset, builders=builders)) if builders else None

    async def admitted_of(self, buildsets: Iterable[NewBuildset]) -> list[NewBuildset]:
        """Return the admitted part of *buildsets*; see :meth:`admitted`."""
        every = list(buildsets)
        copied = [one.copied for one in every if one.copied is not None]
        refusals = iter(await self._refusals(copied))
        found = [
            await self.admitted(one) if one.copied is None else self._copied(one, next(refusals))
            for one in every
        ]
        return [one for one in found if one is not None]

    def _copied(self, buildset: NewBuildset, why: str | None) -> NewBuildset | None:
        """Return *buildset*, which is a copy, unless it may not be made."""
        if why is None:
            return self._admit(buildset)
        self.leave_out(buildset.builders[0].name, "denied", why)
        return None

    async def require(self, buildset: NewBuildset) -> NewBuildset:
        """Return *buildset* with the builders that the user may build with.

        :raises Forbidden: the user may build with none of them
        """
        admitted = await self.admitted(buildset)
        if admitted is None and (self.denied or buildset.copied is not None):
            raise no_builder()
        return admitted or replace(buildset, builders=())

    def _admit(self, buildset: NewBuildset) -> NewBuildset:
        self._admitted[id(buildset)] = buildset
        return buildset

    def check(self, buildset: NewBuildset) -> None:
        """Check right before insertion that this very *buildset* object was admitted.

        :raises Forbidden: it was not admitted
        """
        if self._admitted.get(id(buildset)) is not buildset:
            raise no_builder()

    async def _other_branches(self, stamps: Sequence[Stamp]) -> list[str]:
        """Return the branches of *stamps* other than the job request's branch."""
        assert self._branch is not None
        found = []
        for stamp in stamps:
            whole = await self._whole(stamp)
            if whole["codebase"] in self._codebases:
                found.append(whole.get("branch"))
        return [branch or "" for branch in found if branch not in self._branch.branches]

    async def _whole(self, stamp: Stamp) -> Mapping[str, Any]:
        if not isinstance(stamp, int):
            return stamp
        found: Mapping[str, Any] = await self._master.data.get(("sourcestamps", str(stamp)))
        return found

    async def _may_build(
        self,
        builder: Builder,
        properties: Mapping[str, Any],
        of_changes: Sequence[str],
        branches: Sequence[str],
    ) -> bool:
        """Return whether the user may build with *builder*; note the outcome if not."""
        _, master_ids = (await self._known()).get(builder.builder_id, ("", ()))
        if not master_ids:
            self.leave_out(builder.name, "left_out", "no master builds for it")
            return False
        names = virtual_builder_names.names(self._master, builder.name, properties, of_changes)
        for name, branch in itertools.product((builder.name, *names), (None, *branches)):
            request = NewRequest(builder, name, branch)
            if request not in self._decided:
                self._decided[request] = await self._refusal(request)
            why = self._decided[request]
            if why is not None:
                self.leave_out(name, "denied", f"{_stands_for(request)}{why}")
                return False
        return True

    def leave_out(self, name: str, outcome: Outcome, msg: str) -> None:
        """Note that the builder *name* gets no request, and why."""
        self._untouched[name] = RequestOutcome(None, name, outcome, (), msg)


def no_builder() -> Forbidden:
    """Return the error for a user who may build with none of the builders."""
    return Forbidden("You may not build with any of the builders")


async def everything(targets: Sequence[Target]) -> list[str | None]:
    """Allow everything: rights that were checked before an interruption are not checked again."""
    return [None] * len(targets)


def _stands_for(request: NewRequest) -> str:
    """Return what a denied *request* is, if its name or branch is not the one requested."""
    if request.branch is not None:
        return f"its scheduler would build branch {request.branch or 'none'}; "
    if request.name != request.builder.name:
        return f"{request.builder.name} would build under this name; "
    return ""
