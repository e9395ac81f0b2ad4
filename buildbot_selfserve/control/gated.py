"""Lets schedulers add buildsets only through ours.

An operator's scheduler class does what it likes before it adds a buildset, so that what it does
cannot be foreseen; but whatever it adds passes here.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from twisted.internet import defer

from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.instead import Instead

#: Adds a buildset as ``data.updates.addBuildset`` does, of which it takes the arguments.
AddBuildset = Callable[..., defer.Deferred[tuple[int, dict[int, int]]]]
#: What Buildbot's control API would build past us.
_BUILDING = frozenset({"force", "rebuild"})


def gated(scheduler: Any, add_buildset: AddBuildset) -> Any:
    """Return *scheduler*, but that it adds its buildsets with *add_buildset*.

    It is the same object in all else: what its methods remember, the real one remembers. The other
    schedulers that it finds through its master are gated, too.
    """
    kind = type(scheduler)
    # its master is a property of its class (buildbot/util/service.py)
    parts = {"master": _master(scheduler.master, add_buildset)}
    same: Any = object.__new__(type(kind.__name__, (kind,), parts))
    same.__dict__ = scheduler.__dict__
    return same


def _master(master: Any, add_buildset: AddBuildset) -> Any:
    """Return *master*, but that nothing is built past *add_buildset*."""

    def control(action: str, args: Any, path: Any) -> Any:
        if action in _BUILDING:
            raise Forbidden(f"a scheduler may not {action} builds for a job request")
        return master.data.control(action, args, path)

    def all_schedulers() -> list[Any]:
        return [gated(one, add_buildset) for one in master.allSchedulers()]

    def insert(
        sourcestamps: Any,
        reason: Any,
        properties: Any,
        builderids: Any,
        waited_for: Any,
        external_idstring: Any = None,
        submitted_at: Any = None,  # now
        **more: Any,
    ) -> defer.Deferred[tuple[int, dict[int, int]]]:
        return add_buildset(
            waited_for,
            sourcestamps=sourcestamps,
            reason=reason,
            properties=properties,
            builderids=builderids,
            external_idstring=external_idstring,
            **more,
        )

    updates = Instead(master.data.updates, addBuildset=add_buildset)
    named = _Gated(master.scheduler_manager.namedServices, add_buildset)
    return Instead(
        master,
        allSchedulers=all_schedulers,
        data=Instead(master.data, updates=updates, control=control),
        db=Instead(master.db, buildsets=Instead(master.db.buildsets, addBuildset=insert)),
        scheduler_manager=Instead(master.scheduler_manager, namedServices=named),
    )


class _Gated(Mapping[str, Any]):
    """The schedulers by name, gated."""

    def __init__(self, schedulers: Mapping[str, Any], add_buildset: AddBuildset) -> None:
        self._schedulers = schedulers
        self._add_buildset = add_buildset

    def __getitem__(self, name: str) -> Any:
        return gated(self._schedulers[name], self._add_buildset)

    def __iter__(self) -> Iterator[str]:
        return iter(self._schedulers)

    def __len__(self) -> int:
        return len(self._schedulers)
