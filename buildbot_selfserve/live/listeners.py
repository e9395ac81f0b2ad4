"""Sends the events on a branch to its listeners.

Messages name a build request but not its branch. The branches of a request never change, so they
are looked up once, for many requests in one read. A message about a change has the change's branch.
"""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from collections.abc import Set
from contextlib import contextmanager

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from buildbot_selfserve.deferreds import Batcher
from buildbot_selfserve.live.mq_consumer import BUILDS
from buildbot_selfserve.live.mq_consumer import MqEvent
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Event
from buildbot_selfserve.model import Sourcestamp

#: Seconds of the window whose events are sent together.
WINDOW = 0.25
#: The largest number of events of a window to send one by one.
MOST_TOLD = 100
#: The number of requests whose sourcestamps are cached.
MOST_REMEMBERED = 10_000
#: Sent instead of too many events, for events of unknown branches, and for new changes.
SOMETHING = Event(None, None)

#: Returns the sourcestamps of build requests by id.
LookUp = Callable[[Sequence[int]], Awaitable[Mapping[int, tuple[Sourcestamp, ...]]]]


class Listener:
    """A client that listens to the events on a branch.

    :param hear: called with the events
    """

    def __init__(self, branch: Branch, hear: Callable[[Sequence[Event]], None]) -> None:
        self.branch = branch
        self.hear = hear
        #: whether the client is being checked after a reconfig, and has missed events meanwhile
        self.muted = False
        self.missed = False
        #: fires when there will be no more events
        self.over: defer.Deferred[None] = defer.Deferred()


class Listeners:
    """The listeners of one master.

    :param clock: the reactor
    :param look_up: reads the sourcestamps of build requests in a reader
    """

    log = Logger()

    def __init__(self, clock: IReactorTime, look_up: LookUp) -> None:
        self.clock = clock
        self._look_up = look_up
        # in the order in which they came
        self._listeners: dict[Listener, None] = {}
        self._fresh: dict[int, int | None] = {}
        self._changed: set[Sourcestamp] = set()
        self._too_many = False
        self._telling = False
        self._places: dict[int, tuple[Sourcestamp, ...]] = {}

    def __len__(self) -> int:
        return len(self._listeners)

    @contextmanager
    def listening(
        self, branch: Branch, hear: Callable[[Sequence[Event]], None]
    ) -> Iterator[Listener]:
        """Call *hear* with the events on *branch*, for as long as the context lasts."""
        listener = Listener(branch, hear)
        self._listeners[listener] = None
        try:
            yield listener
        finally:
            self._listeners.pop(listener, None)

    def mute(self) -> None:
        """Send no events until :meth:`hear_again`."""
        for listener in self._listeners:
            listener.muted = True

    def hear_again(self, listener: Listener, branch: Branch) -> None:
        """Send *listener* the events on *branch*, as now configured, again."""
        listener.branch = branch
        listener.muted, missed, listener.missed = False, listener.missed, False
        if missed:
            listener.hear((SOMETHING,))

    def end(self, listener: Listener) -> None:
        """Stop sending events to *listener*."""
        if self._listeners.pop(listener, False) is None:
            listener.over.callback(None)

    def release(self) -> None:
        """Stop sending events to all listeners."""
        listeners, self._listeners = self._listeners, {}
        for listener in listeners:
            listener.over.callback(None)

    def happened(self, event: MqEvent) -> None:
        """Note an event for the current window."""
        if not self._listeners or (event.request_id is None and event.place is None):
            return
        if event.place is not None:
            self._changed.add(event.place)
        elif event.request_id is not None:
            self._add(event.request_id, event)
        if not self._telling:
            self._telling = True
            self.clock.callLater(WINDOW, self._begin)

    def _add(self, request_id: int, event: MqEvent) -> None:
        build_id = event.what[1] if event.what[0] == BUILDS else None
        if len(self._fresh) >= MOST_REMEMBERED:
            self._too_many = True
        elif build_id is not None or request_id not in self._fresh:
            self._fresh[request_id] = build_id

    def _begin(self) -> None:
        telling = defer.Deferred.fromCoroutine(self._tell())
        telling.addErrback(
            lambda failure: self.log.failure("selfserve: cannot send events", failure)
        )

    async def _tell(self) -> None:
        """Send the events of the window to all listeners."""
        fresh, self._fresh = self._fresh, {}
        changed, self._changed = self._changed, set()
        too_many, self._too_many = self._too_many, False
        try:
            known = not too_many and await self._find_out(fresh)
            told = _Told(fresh, self._places, changed) if known else None
            Batcher(self.clock).each(list(self._listeners), lambda one: self._tell_one(one, told))
        finally:
            self._telling = False
            if (self._fresh or self._changed) and self._listeners:
                self._telling = True
                self.clock.callLater(WINDOW, self._begin)

    def _tell_one(self, listener: Listener, told: _Told | None) -> None:
        changes = (SOMETHING,) if told is None else told.on(listener.branch)
        if not changes or listener not in self._listeners:
            return
        if listener.muted:
            listener.missed = True
        else:
            listener.hear(changes)

    async def _find_out(self, request_ids: Mapping[int, object]) -> bool:
        """Look up the sourcestamps of build requests; return whether that succeeded."""
        unknown = [one for one in request_ids if one not in self._places]
        if not unknown:
            return True
        try:
            found = await self._look_up(unknown)
        except Exception:
            self.log.failure("selfserve: the branches of events cannot be read")
            return False
        if len(self._places) + len(unknown) > MOST_REMEMBERED:
            self._places = {one: self._places[one] for one in request_ids if one in self._places}
        self._places.update(found)
        return True


class _Told:
    """The events of a window, grouped by branch once for all listeners.

    :param fresh: the ids of requests with events, each with the id of its build or ``None``
    :param places: the sourcestamps of requests, by request id
    :param changed: the sourcestamps of new changes, which may never get a build request
    """

    def __init__(
        self,
        fresh: Mapping[int, int | None],
        places: Mapping[int, tuple[Sourcestamp, ...]],
        changed: Set[Sourcestamp],
    ) -> None:
        self._changed = changed
        self._changes = [Event(*one) for one in fresh.items()]
        # by branch name and sourcestamp: indexes in ``_changes``
        self._at: dict[str | None, dict[Sourcestamp, list[int]]] = {}
        for number, request_id in enumerate(fresh):
            for stamp in places.get(request_id, ()):
                numbers = self._at.setdefault(stamp.branch, {}).setdefault(stamp, [])
                if len(numbers) <= MOST_TOLD:
                    numbers.append(number)
        self._of_branch: dict[str, Sequence[Event]] = {}

    def on(self, branch: Branch) -> Sequence[Event]:
        """Return the events on *branch*, in order."""
        if branch.name not in self._of_branch:
            self._of_branch[branch.name] = self._find(branch)
        return self._of_branch[branch.name]

    def _find(self, branch: Branch) -> Sequence[Event]:
        if any(place.belongs(branch) for place in self._changed):
            return (SOMETHING,)
        found: set[int] = set()
        for name in branch.branches:
            for stamp, numbers in self._at.get(name, {}).items():
                if stamp.belongs(branch):
                    found.update(numbers)
                if len(found) > MOST_TOLD:
                    return (SOMETHING,)
        return tuple(self._changes[number] for number in sorted(found))
