"""Lets schedulers build only through a gate of ours, which records and writes nothing.

An operator's scheduler class does what it likes before it adds a buildset, so that what it does
cannot be foreseen; but whatever it adds passes here. Three things see to it, since each of them
misses some ways. The scheduler that is asked has a master whose parts are ours. What is called on
its behalf, however it was found, reaches the real master in a context that says so. And what a
scheduler builds in another context, such as a loop of its own, carries a key that was given to it.

What else it would write, its state or an event, is recorded as well, to be written when the plan is
carried out; a state that was recorded is read back.
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

#: Takes the arguments of ``data.updates.addBuildset``, and returns what that does.
AddBuildset = Callable[..., defer.Deferred[tuple[int | None, dict[int, int]]]]
#: What Buildbot's control API would build past us.
_BUILDING = frozenset({"force", "rebuild"})
#: How methods begin that write nothing, but perhaps a name that somebody has looked for.
_READING = ("get", "find", "is_", "thd")
#: The parts of the master's database that schedulers use on the way to a buildset.
_USED = ("changes", "schedulers", "sourcestamps", "state")
#: Seconds between two looks whether schedulers still wait for something.
LONGEST_PAUSE = 0.02
#: Begins the keys that are given to schedulers; no build request in the database has one.
_GIVEN = "given "
#: So many keys are remembered; what comes with an older one from nowhere known is refused.
_REMEMBERED = 100

#: On whose behalf code runs that may add buildsets.
_current: contextvars.ContextVar[Gate | None] = contextvars.ContextVar("gate", default=None)
#: Each gate by the key that its scheduler was given, the oldest first.
_by_key: dict[str, Gate] = {}


class Gate:
    """Lets what schedulers add come to *add_buildset*, and knows when they have done their work.

    :param master: the real one
    :param shown: what they find beside what is recorded
    :ivar writes: what else they would write
    """

    def __init__(self, master: Any, shown: Unrecorded, add_buildset: AddBuildset) -> None:
        _watch(master)
        self._real = master
        self._unrecorded = shown
        #: states that were recorded, as JSON, by object and name
        self._states: dict[tuple[Any, Any], str] = {}
        self.writes: list[Callable[[], Any]] = []
        self._waiting = 0
        self._add_buildset = self._counted(add_buildset)
        self._master = self._gated_master()

    def key(self, name: str) -> str:
        """Return the key *name* as it is given to a scheduler, so that what it builds is known."""
        given = f"{_GIVEN}{name}"
        _by_key[given] = self
        if len(_by_key) > _REMEMBERED:
            del _by_key[next(iter(_by_key))]
        return given

    def call(self, function: Callable[..., Any], **kwargs: Any) -> defer.Deferred[Any]:
        """Call *function*; all that it calls in turn adds its buildsets here."""
        context = contextvars.copy_context()
        context.run(_current.set, self)
        return context.run(partial(defer.maybeDeferred, function, **kwargs))

    def gated(self, scheduler: Any) -> Any:
        """Return *scheduler*, but that it adds its buildsets here.

        It is the same object in all else: what its methods remember, the real one remembers. The
        other schedulers that it finds through its master are gated, too.
        """
        return buildbot_private.with_master(scheduler, self._master)

    async def idle(self, patience: float) -> None:
        """Wait until the schedulers wait for nothing any more.

        One may return before its parent has done what it was called for.

        :param patience: seconds
        :raises twisted.internet.defer.TimeoutError: they wait for something even then
        """
        clock = monotonic(self._real.reactor)
        end, pause = clock.seconds() + patience, 0.0
        while True:
            # who waited for the last answer asks for the next one in the same turn
            await task.deferLater(clock, pause)
            if not self._waiting:
                return
            if clock.seconds() > end:
                raise defer.TimeoutError
            pause = min(LONGEST_PAUSE, pause + 0.001)

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
        """Return the master, but that nothing is written."""
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
        """Return *function*, but that its answers are counted as long as they are waited for."""
        return self._counted(function)

    def later(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return what records a call of *function*, and answers ``None``."""

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
        # as the database would: it raises here what is no JSON, and later changes do not count
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
        """Add a buildset; take and return what ``data.updates.addBuildset`` does.

        A loop of a scheduler may have begun in one job request and build for the next ones.
        """
        gate = _gate_of(kwargs.get("properties"), self)
        return (gate or self)._add_buildset(*args, **kwargs)

    def control(self, action: str, args: Any, path: Any) -> Any:
        """Call ``data.control``, unless that builds.

        :raises Forbidden: it does
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
        """Add a buildset; take and return what ``db.buildsets.addBuildset`` does."""
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
    """See to it that what is added on behalf of a gate comes there, from wherever it is added."""
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
    """Check that an *action* of ``data.control`` builds nothing.

    :raises Forbidden: it does
    """
    if action in _BUILDING:
        raise Forbidden(f"A scheduler may not {action} builds for a job request")


def _watched(real: Callable[..., Any], ours: Callable[..., Any]) -> Callable[..., Any]:
    """Return *real*, but *ours* for what is added on behalf of a gate.

    :param ours: takes the gate, and what *real* takes, with the properties by name
    """

    def add(*args: Any, **kwargs: Any) -> Any:
        bound = signature.bind(*args, **kwargs).arguments
        gate = _gate_of(bound.get("properties"), _current.get())
        return real(*args, **kwargs) if gate is None else ours(gate, **bound)

    signature = inspect.signature(real)
    return add


def _gate_of(properties: Any, otherwise: Gate | None) -> Gate | None:
    """Return the gate whose key a scheduler was given that adds *properties*.

    :param otherwise: the gate to return where there is no key, or it is forgotten whose it is
    :raises Forbidden: it is forgotten, and there is no other
    """
    key, _source = (properties or {}).get(KEY_PROPERTY, ("", ""))
    if not (isinstance(key, str) and key.startswith(_GIVEN)):
        return otherwise
    gate = _by_key.get(key, otherwise)
    if gate is None:
        raise Forbidden("A scheduler created builds too late: their job request is no longer known")
    return gate


class _Recorded:
    """All that *whole* is, but that its methods record what they would write.

    :param parts: its own methods, by name
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
