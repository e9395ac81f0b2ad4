"""Lets schedulers build only through a gate, which records buildsets and writes nothing.

A scheduler class in master.cfg can do anything before it adds a buildset, but every buildset passes
here. There are three ways, as each misses some cases. The asked scheduler has a master with
replaced parts. Calls on its behalf that reach the real master anyway run in a context that names
the gate. Buildsets from another context, such as a loop of the scheduler's own, carry a key that
was given to the scheduler.

Other writes of the scheduler, such as state or events, are recorded as well, and made when the plan
is executed. A recorded state is read back.
"""

from __future__ import annotations

import contextvars
import inspect
import json
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from functools import partial
from typing import Any

from twisted.internet import defer
from twisted.internet import task

from buildbot_selfserve import buildbot_private
from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.control.planners import unrecorded
from buildbot_selfserve.control.planners.unrecorded import Unrecorded
from buildbot_selfserve.errors import Forbidden
from buildbot_selfserve.model import KEY_PROPERTY
from buildbot_selfserve.override import Override

#: A function with the arguments and result of ``data.updates.addBuildset``.
AddBuildset = Callable[..., defer.Deferred[tuple[int | None, dict[int, int]]]]
#: Actions of Buildbot's control API that would build past the gate.
_BUILDING = frozenset({"force", "rebuild"})
#: Prefixes of methods that write nothing, except perhaps a name that is looked up.
_READING = ("get", "find", "is_", "thd")
#: The database connectors that schedulers use to make a buildset.
_USED = ("changes", "schedulers", "sourcestamps", "state")
#: The largest number of seconds between two checks whether schedulers have finished.
LONGEST_PAUSE = 0.02
#: The prefix of the keys given to schedulers; no build request in the database has such a key.
_GIVEN = "given "

#: The gate on whose behalf the current code runs.
_current: contextvars.ContextVar[Gate | None] = contextvars.ContextVar("gate", default=None)
#: The gates that are open, by the key given to their scheduler.
_by_key: dict[str, Gate] = {}


class Gate:
    """Passes schedulers' buildsets to *add_buildset*, and knows when schedulers have finished.

    :param master: the real master
    :param shown: the unrecorded changes and sourcestamps that schedulers can read
    :ivar writes: the other writes of schedulers, to call when the plan is executed
    """

    def __init__(self, master: Any, shown: Unrecorded, add_buildset: AddBuildset) -> None:
        _watch(master)
        self._real = master
        self._unrecorded = shown
        #: recorded states as JSON, by object and name
        self._states: dict[tuple[Any, Any], str] = {}
        self.writes: list[Callable[[], Any]] = []
        self._waiting = 0
        self._key = ""
        self._add_buildset = self._counted(add_buildset)
        self._master = self._gated_master()

    def key(self, name: str) -> str:
        """Return a key to give to the scheduler, which its buildsets are recognized by."""
        self._key = f"{_GIVEN}{name}"
        _by_key[self._key] = self
        return self._key

    def close(self) -> None:
        """Refuse further buildsets with the key."""
        _by_key.pop(self._key, None)

    def call(self, function: Callable[..., Any], **kwargs: Any) -> defer.Deferred[Any]:
        """Call *function*, so that it and all that it calls add buildsets to this gate."""
        context = contextvars.copy_context()
        context.run(_current.set, self)
        return context.run(partial(defer.maybeDeferred, function, **kwargs))

    def gated(self, scheduler: Any) -> Any:
        """Return *scheduler* with a master that adds its buildsets to this gate.

        It is otherwise the same object: attributes that its methods set are set on the real
        scheduler. Other schedulers that it finds through its master are gated, too.
        """
        return buildbot_private.with_master(scheduler, self._master)

    async def idle(self, patience: float) -> None:
        """Wait until no scheduler waits for an answer.

        A method may return before its superclass has done its work.

        :param patience: seconds
        :raises twisted.internet.defer.TimeoutError: a scheduler still waits for an answer
        """
        clock = monotonic(self._real.reactor)
        end, pause = clock.seconds() + patience, 0.0
        while True:
            # code that got the last answer asks the next question in the same turn of the reactor
            await task.deferLater(clock, pause)
            if not self._waiting:
                return
            if clock.seconds() > end:
                raise defer.TimeoutError
            pause = min(LONGEST_PAUSE, pause + 0.001)

    def _counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return *function* with its unfired Deferreds counted."""

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
        """Return the master with parts that record writes."""
        master = self._real
        get = self._counted(master.data.get)
        updates = _Recorded(master.data.updates, self, addBuildset=self.add_buildset)
        named = _Gated(master.scheduler_manager.namedServices, self.gated)
        return Override(
            master,
            allSchedulers=lambda: [self.gated(one) for one in master.allSchedulers()],
            data=Override(master.data, get=get, updates=updates, control=self.control),
            db=Override(master.db, **self._gated_db()),
            mq=Override(master.mq, produce=self.later(master.mq.produce)),
            scheduler_manager=Override(master.scheduler_manager, namedServices=named),
        )

    def _gated_db(self) -> dict[str, Any]:
        db = self._real.db
        replaced: dict[str, dict[str, Any]] = {
            "sourcestamps": {"findSourceStampId": self._find_sourcestamp},
            "state": {
                "getObjectId": self._counted(self._get_object_id),
                "getState": self._counted(self._get_state),
                "setState": self._set_state,
                "atomicCreateState": self._counted(self._create_state),
            },
        }
        parts: dict[str, Any] = {
            name: _Recorded(getattr(db, name), self, **replaced.get(name, {})) for name in _USED
        }
        return {**parts, "buildsets": Override(db.buildsets, addBuildset=self.insert)}

    def counted(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return *function* with its unfired Deferreds counted."""
        return self._counted(function)

    def later(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a function that records a call of *function*, and answers ``None``."""

        def record(*args: Any, **kwargs: Any) -> Any:
            self.writes.append(partial(function, *args, **kwargs))
            return defer.succeed(None)

        return record

    def _find_sourcestamp(self, **stamp: Any) -> Any:
        return defer.succeed(self._unrecorded.sourcestamp_id(stamp))

    def _get_object_id(self, name: str, class_name: str) -> Any:
        found = unrecorded.object_id(self._real, name, class_name)
        return defer.Deferred.fromCoroutine(found)

    def _get_state(self, objectid: Any, name: Any, *args: Any, **kwargs: Any) -> Any:
        if (objectid, name) in self._states:
            return defer.succeed(json.loads(self._states[objectid, name]))
        found = unrecorded.get_state(self._real, objectid, name, *args, **kwargs)
        return defer.Deferred.fromCoroutine(found)

    def _set_state(self, objectid: Any, name: Any, value: Any) -> Any:
        # like the database: a value that is not JSON raises here, and later changes of it do not
        # count
        text = self._states[objectid, name] = json.dumps(value)
        return self.later(self._real.db.state.setState)(objectid, name, json.loads(text))

    def _create_state(self, objectid: Any, name: Any, create: Callable[[], Any]) -> Any:
        async def created() -> Any:
            found = await self._get_state(objectid, name, None)
            if found is None:
                await self._set_state(objectid, name, create())
            return await self._get_state(objectid, name)

        return defer.Deferred.fromCoroutine(created())

    def add_buildset(self, *args: Any, **kwargs: Any) -> Any:
        """Add a buildset; arguments and result are those of ``data.updates.addBuildset``.

        A scheduler's loop may begin in the context of one job request, and add buildsets of later
        ones.
        """
        gate = _gate_of(kwargs.get("properties"), self)
        return (gate or self)._add_buildset(*args, **kwargs)

    def control(self, action: str, args: Any, path: Any) -> Any:
        """Call ``data.control``, unless the action builds.

        :raises Forbidden: the action builds
        """
        _refuse_to_build(action)
        return self._real.data.control(action, args, path)

    def insert(
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
        """Add a buildset; arguments and result are those of ``db.buildsets.addBuildset``."""
        return self.add_buildset(
            waited_for,
            sourcestamps=sourcestamps,
            reason=reason,
            properties=properties,
            builderids=builderids,
            external_idstring=external_idstring,
            **more,
        )


def _watch(master: Any) -> None:
    """Patch the real master, so that buildsets added on behalf of a gate go to the gate."""
    updates, buildsets, data = master.data.updates, master.db.buildsets, master.data
    if hasattr(buildsets, "selfserve_watched"):
        return
    buildsets.selfserve_watched = True
    updates.addBuildset = _watched(updates.addBuildset, Gate.add_buildset)
    buildsets.addBuildset = _watched(buildsets.addBuildset, Gate.insert)
    control = data.control

    def controlled(action: str, args: Any, path: Any) -> Any:
        if _current.get() is not None:
            _refuse_to_build(action)
        return control(action, args, path)

    data.control = controlled


def _refuse_to_build(action: str) -> None:
    """Check that an *action* of ``data.control`` does not build.

    :raises Forbidden: the action builds
    """
    if action in _BUILDING:
        raise Forbidden(f"A scheduler may not {action} builds for a job request")


def _watched(real: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function that calls *ours* on behalf of a gate, and *real* otherwise.

    :param ours: takes the gate, and the arguments of *real* by keyword
    """

    def add(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs).arguments
        gate = _gate_of(bound.get("properties"), _current.get())
        return real(*args, **kwargs) if gate is None else ours(gate, **bound)

    signature = inspect.signature(real)
    return add


def _gate_of(properties: Any, otherwise: Gate | None) -> Gate | None:
    """Return the gate of the key in *properties*.

    :param otherwise: the gate to return if there is no key
    :raises Forbidden: the gate of the key is closed
    """
    key, _source = (properties or {}).get(KEY_PROPERTY, ("", ""))
    if not (isinstance(key, str) and key.startswith(_GIVEN)):
        return otherwise
    gate = _by_key.get(key)
    if gate is None:
        raise Forbidden("A scheduler created builds too late: their job request is no longer known")
    return gate


class _Recorded:
    """A proxy of *whole* whose writing methods record their calls.

    :param parts: methods to replace, by name
    """

    def __init__(self, whole: Any, gate: Gate, **parts: Any) -> None:
        self._whole = whole
        self._gate = gate
        self.__dict__.update(parts)

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._whole, name)
        if not callable(found):
            return found
        reads = name.startswith(_READING)
        return self._gate.counted(found) if reads else self._gate.later(found)


class _Gated(Mapping[str, Any]):
    """The gated schedulers, by name."""

    def __init__(self, schedulers: Mapping[str, Any], gated: Callable[[Any], Any]) -> None:
        self._schedulers = schedulers
        self._gated = gated

    def __getitem__(self, name: str) -> Any:
        return self._gated(self._schedulers[name])

    def __iter__(self) -> Iterator[str]:
        return iter(self._schedulers)

    def __len__(self) -> int:
        return len(self._schedulers)
