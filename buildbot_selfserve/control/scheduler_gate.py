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
from twisted.internet import task

from buildbot_selfserve import buildbot_private
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.override import Override

#: Adds a buildset as ``data.updates.addBuildset`` does, of which it takes the arguments.
AddBuildset = Callable[..., defer.Deferred[tuple[int | None, dict[int, int]]]]
#: What Buildbot's control API would build past us.
_BUILDING = frozenset({"force", "rebuild"})
#: The parts of the master's database that schedulers ask on the way to a buildset.
_ASKED = ("changes", "schedulers", "sourcestamps", "state")


class Gate:
    """Lets what schedulers add come to *add_buildset*, and knows when they have done their work.

    :param master: the real one
    """

    def __init__(self, master: Any, add_buildset: AddBuildset) -> None:
        self._real = master
        self._waiting = 0
        self._add_buildset = self._counted(add_buildset)
        self._master = self._gated_master()

    def gated(self, scheduler: Any) -> Any:
        """Return *scheduler*, but that it adds its buildsets here.

        It is the same object in all else: what its methods remember, the real one remembers. The
        other schedulers that it finds through its master are gated, too.
        """
        return buildbot_private.with_master(scheduler, self._master)

    async def idle(self) -> None:
        """Wait until the schedulers wait for nothing any more.

        One may return before its parent has done what it was called for.
        """
        while True:
            # who waited for the last answer asks for the next one in the same turn
            await task.deferLater(self._real.reactor, 0)
            if not self._waiting:
                return

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return *function*, but that its answers are counted as long as they are waited for."""

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = function(*args, **kwargs)
            if isinstance(answer, defer.Deferred):
                self._waiting += 1
                answer.addBoth(over)
            return answer

        def over(result: Any) -> Any:
            self._waiting -= 1
            return result

        return call

    def _gated_master(self) -> Any:
        """Return the master, but that nothing is built past us."""
        master = self._real
        updates = Override(master.data.updates, addBuildset=self._add_buildset)
        get = self._counted(master.data.get)
        asked = {name: _Counted(getattr(master.db, name), self._counted) for name in _ASKED}
        buildsets = Override(master.db.buildsets, addBuildset=self._insert)
        named = _Gated(master.scheduler_manager.namedServices, self.gated)
        return Override(
            master,
            allSchedulers=lambda: [self.gated(one) for one in master.allSchedulers()],
            data=Override(master.data, get=get, updates=updates, control=self._control),
            db=Override(master.db, buildsets=buildsets, **asked),
            scheduler_manager=Override(master.scheduler_manager, namedServices=named),
        )

    def _control(self, action: str, args: Any, path: Any) -> Any:
        if action in _BUILDING:
            raise Forbidden(f"A scheduler may not {action} builds for a job request")
        return self._real.data.control(action, args, path)

    def _insert(
        self,
        sourcestamps: Any,
        reason: Any,
        properties: Any,
        builderids: Any,
        waited_for: Any,
        external_idstring: Any = None,
        submitted_at: Any = None,  # now
        **more: Any,
    ) -> Any:
        """Do what ``db.buildsets.addBuildset`` does, of which it takes the arguments."""
        return self._add_buildset(
            waited_for,
            sourcestamps=sourcestamps,
            reason=reason,
            properties=properties,
            builderids=builderids,
            external_idstring=external_idstring,
            **more,
        )


class _Counted:
    """All that *whole* is, but that the answers of its methods are counted."""

    def __init__(self, whole: Any, counted: Callable[[Any], Any]) -> None:
        self._whole = whole
        self._counted = counted

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._whole, name)
        return self._counted(found) if callable(found) else found


class _Gated(Mapping[str, Any]):
    """The schedulers by name, gated."""

    def __init__(self, schedulers: Mapping[str, Any], gated: Callable[[Any], Any]) -> None:
        self._schedulers = schedulers
        self._gated = gated

    def __getitem__(self, name: str) -> Any:
        return self._gated(self._schedulers[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._schedulers)

    def __len__(self) -> int:
        return len(self._schedulers)
