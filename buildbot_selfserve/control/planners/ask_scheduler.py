"""Asks schedulers what they would build: runs their own code and records their buildsets."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import sqlalchemy as sa
from buildbot.interfaces import IRenderable
from buildbot.process.properties import Properties as BuildbotProperties
from twisted.internet import defer
from twisted.internet import task
from twisted.logger import Logger
from twisted.python import failure

from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control.planners import revision_sourcestamps
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.control.planners.context import requested_by
from buildbot_selfserve.control.planners.scheduler_gate import Gate
from buildbot_selfserve.control.planners.unrecorded import Unrecorded
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.errors import NotNow
from buildbot_selfserve.model import KEY_PROPERTY
from buildbot_selfserve.model import MARKS
from buildbot_selfserve.model import SCHEDULER
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import NewBuildset
from buildbot_selfserve.model import Properties

_log = Logger()

#: Errors that a later attempt may not meet again.
LATER = (NotNow, sa.exc.OperationalError, sa.exc.InterfaceError)
#: Seconds that schedulers have to add buildsets after they have returned, and checks meanwhile.
LATENESS, LATENESS_CHECKS = 1.0, 10
#: Seconds after which a scheduler that has not returned counts as failed.
PATIENCE = 60.0

#: The largest number of characters of a property's name (buildbot/db/model.py).
NAME_LENGTH = 256
#: The required fields of a sourcestamp (buildbot/db/sourcestamps.py, findOrCreateId).
NEEDED = frozenset({"codebase", "project", "repository"})

_keys = itertools.count()


@dataclass(frozen=True)
class Failed:
    """Why a scheduler could not tell what it would build."""

    msg: str
    error: Exception


class Asked:
    """A scheduler, and the buildsets that it would add.

    :param names: the names of all builders, by builder id
    :param revision: the revision to build, as shown to users
    :param priority: the priority of all its buildsets; ``None`` for the scheduler's own priorities
    :param given: properties to add to all its buildsets
    :ivar buildsets: the buildsets that it would add
    """

    def __init__(
        self,
        ctx: PlanContext,
        scheduler: Any,
        unrecorded: Unrecorded,
        *,
        names: Mapping[int, str],
        revision: str,
        priority: int | None = None,
        given: Properties = MappingProxyType({}),
    ) -> None:
        self._ctx = ctx
        self._names = names
        self.scheduler = scheduler
        self._unrecorded = unrecorded
        self._revision = revision
        self._priority = priority
        self._given = given
        self._ids = itertools.count(-1, -1)
        self._is_over = False
        self.gate = Gate(ctx.master, unrecorded, self._record)
        self.buildsets: list[NewBuildset] = []
        self.failed: Failed | None = None

    async def build_changes(self, change_ids: Sequence[int]) -> None:
        """Let the scheduler build changes, as if it had received them."""
        await self._call("addBuildsetForChanges", changeids=list(change_ids))

    async def build_sourcestamps(self, stamps: Sequence[Mapping[str, Any]]) -> None:
        """Let the scheduler build sourcestamps, and its defaults for further codebases."""
        await self._call(
            "addBuildsetForSourceStampsWithDefaults", sourcestamps=[dict(one) for one in stamps]
        )

    async def _call(self, method: str, **arguments: Any) -> None:
        gate, scheduler = self.gate, self.scheduler
        key = (gate.key(str(next(_keys))), current_state.KEY_SOURCE)
        owner = (self._ctx.who, current_state.SOURCE)
        properties = {**self._given, "owner": owner, KEY_PROPERTY: key}
        try:
            with revision_sourcestamps.noted_anew(scheduler):
                asked = gate.call(
                    getattr(gate.gated(scheduler), method),
                    reason=requested_by(self._ctx.who),
                    properties=BuildbotProperties.fromDict(properties),
                    priority=self._priority,
                    **arguments,
                )
                await asked.addTimeout(PATIENCE, monotonic(self._ctx.master.reactor))
                await gate.idle(PATIENCE)
        except Exception as error:
            self.failed = self._failure(error)

    def _failure(self, error: Exception) -> Failed:
        # one scheduler's failure, perhaps in code from master.cfg, must not affect the others
        name = self.scheduler.name
        if isinstance(error, defer.TimeoutError):
            return Failed(f"scheduler {name} did not answer within {PATIENCE:g} seconds", error)
        text = "selfserve: scheduler {name} could not build"
        _log.failure(text, failure.Failure(error), name=name)
        return Failed(f"scheduler {name} failed, see the master's log", error)

    def _record(
        self, waited_for: bool = False, scheduler: str | None = None, **asked: Any
    ) -> defer.Deferred[tuple[int | None, dict[int, int]]]:
        """Record a buildset; arguments and result are those of ``data.updates.addBuildset``.

        The ids returned are not in the database.

        :raises Forbidden: the plan is made already
        """
        if self._is_over:
            raise Forbidden("A scheduler created builds too late: the plan is made")
        buildset = self._planned(scheduler or SCHEDULER, **asked)
        self.buildsets.append(buildset)
        ids = {one.builder_id: next(self._ids) for one in buildset.builders}
        return defer.succeed((next(self._ids), ids))

    def _planned(
        self,
        scheduler: str,
        sourcestamps: Sequence[int | Mapping[str, Any]] = (),
        reason: str = "",
        properties: Mapping[str, tuple[Any, str]] | None = None,
        builderids: Sequence[int] = (),
        priority: int = 0,
        **more: Any,
    ) -> NewBuildset:
        """Return the planned buildset, with our reason and priority instead of the scheduler's."""
        values = {
            name: (value, source)
            for name, (value, source) in (properties or {}).items()
            if name not in MARKS
        }
        _require_insertable(values, sourcestamps)
        more.pop("submitted_at", None)
        return NewBuildset(
            sourcestamps=tuple(map(self._unrecorded.planned, sourcestamps)),
            builders=tuple(
                Builder(one, self._names.get(one, f"builder {one}")) for one in builderids
            ),
            properties=values,
            reason=requested_by(self._ctx.who),
            priority=priority if self._priority is None else self._priority,
            scheduler=scheduler,
            revision=self._revision,
            more=more,
            fixed=frozenset(values) - self._rendered(),
        )

    async def end(self) -> None:
        """Wait until the scheduler has finished, and refuse further buildsets."""
        try:
            await self.gate.idle(PATIENCE)
        except defer.TimeoutError as error:
            self.failed = self.failed or self._failure(error)
        finally:
            self._is_over = True
            self.gate.close()

    def _rendered(self) -> frozenset[str]:
        """Return the names of its properties that are renderables, computed for each buildset."""
        own = self.scheduler.properties.asDict()
        return frozenset(n for n, (value, _) in own.items() if IRenderable.providedBy(value))


def _require_insertable(
    values: Mapping[str, Any], sourcestamps: Sequence[int | Mapping[str, Any]]
) -> None:
    """Raise errors in the scheduler's code that the database would raise for the whole plan."""
    json.dumps([values, *sourcestamps])  # the journal stores them as JSON
    for name in values:
        if len(name) > NAME_LENGTH:
            raise ValueError(f"the name of a property is too long: {name[:40]}...")
    for stamp in sourcestamps:
        missing = set() if isinstance(stamp, int) else NEEDED.difference(stamp)
        if missing:
            raise ValueError(f"a sourcestamp has no {', '.join(sorted(missing))}")


async def let_end(ctx: PlanContext, asked: Sequence[Asked]) -> None:
    """Wait shortly for schedulers that add buildsets late, unless any has added one.

    Nothing indicates whether a scheduler will.
    """
    for _ in range(LATENESS_CHECKS):
        if any(one.buildsets or one.failed for one in asked):
            break
        await task.deferLater(monotonic(ctx.master.reactor), LATENESS / LATENESS_CHECKS)
    for one in asked:
        await one.end()
