"""Keeps held build requests from starting, on this master.

Holds are stored in the journal. Each master that shares the journal keeps them in memory, and every
few seconds a reader checks them for changes. No query is made for each request: what a hold
compares of a request never changes, and is read once from the master's database. Buildbot queries
the same database for the builder's unclaimed requests a moment before.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from twisted.internet import defer
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from buildbot_selfserve import buildbot_private
from buildbot_selfserve.clock import next_turn
from buildbot_selfserve.control import request_places
from buildbot_selfserve.control import virtual_builder_names
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Hold
from buildbot_selfserve.model import RequestPlace
from buildbot_selfserve.model import Site
from buildbot_selfserve.mq_subscriptions import MqSubscriptions
from buildbot_selfserve.outages import Outage

#: Seconds between two reads of the holds, and between two reads before the first has succeeded.
INTERVAL, FIRST_INTERVAL = 3.0, 0.1
#: Seconds after its start for which a master without known holds starts no builds. A journal that
#: cannot be read must not stop a whole farm for longer.
START_PATIENCE = 60.0
#: The largest number of buildsets whose ``RequestPlace`` is cached.
MOST_PLACES = 20_000
#: The number of builders to process before the reactor gets a turn.
BATCH = 20


class Holds:
    """The holds that this master enforces.

    :param clock: the reactor with a monotonic clock
    :param look: reads the current holds, with the names of their builders
    :param write: runs ``function(connection, *arguments)`` on the journal's database, outside the
        reactor
    :param site: returns the site, with the configured branches
    """

    log = Logger()

    def __init__(
        self,
        master: Any,
        clock: IReactorTime,
        look: Callable[[], Awaitable[Sequence[Hold]]],
        write: Callable[..., Awaitable[Any]],
        site: Callable[[], Site],
    ) -> None:
        self.write = write
        self._master = master
        self._clock = clock
        self._look_up = look
        self._site = site
        #: the holds by key; ``None`` until they are known
        self._holds: dict[str, Hold] | None = None
        #: counts the holds made and ended here: a read that began before does not include them
        self._changes = 0
        #: the holds with their configured branches; ``None`` until needed
        self._on_branches: tuple[tuple[Hold, Branch], ...] | None = None
        #: whether there may be new builders that were not matched with the patterns yet
        self._has_new_builders = False
        #: the place of each buildset; equal places are the same object, kept in ``_same``
        self._places: dict[int, RequestPlace] = {}
        self._same: dict[RequestPlace, RequestPlace] = {}
        #: the names of builders with held requests
        self._held_up: set[str] = set()
        self._unfilter: Callable[[], None] | None = None
        self._subscriptions = MqSubscriptions(self._reprioritized)
        self._timers: list[Any] = []
        self._next_look: Any = None
        self._outage = Outage(clock, "the holds are read again")
        self._started = 0.0
        #: whether requests were held because their places could not be read
        self._unsure = False

    # -- life

    def start(self, start_consuming: Callable[..., Any]) -> None:
        """Start enforcing the holds.

        :param start_consuming: ``startConsuming`` of the master's message queue
        """
        self._started = self._clock.seconds()
        self._unfilter = buildbot_private.filter_requests(self._master.botmaster.brd, self.held)
        self._subscriptions.start(start_consuming, [("buildrequests", None, "update")])
        self._plan_look(0.0)

    def stop(self) -> None:
        """Stop enforcing the holds, unless the master is stopping: then no build should start."""
        if self._unfilter is None:
            return
        unfilter, self._unfilter = self._unfilter, None
        for timer in self._timers:
            if timer.active():
                timer.cancel()
        self._timers = []
        defer.Deferred.fromCoroutine(self._subscriptions.stop())
        if self._master.running:
            unfilter()
            self._holds = {}
            self._look_again()

    def reconfigured(self) -> None:
        """Follow a reconfig, which may change branches and builders.

        Until the next read, holds of some builders are taken to cover new builders.
        """
        self._on_branches = None
        if self._unfilter is not None:
            self._has_new_builders = bool(self._holds)
            self._plan_look(0.0)

    def _reprioritized(self, key: Any, message: Mapping[str, Any]) -> None:
        """Let builders choose again, as a new priority may exempt a request from holds."""
        if any(hold.above is not None for hold in self.now):
            self._look_again()

    # -- the known holds

    @property
    def now(self) -> tuple[Hold, ...]:
        """Return the holds in force, ordered by end."""
        now = time.time()
        found = (self._holds or {}).values()
        return tuple(sorted((one for one in found if one.lasts(now)), key=lambda o: o.expires))

    def put(self, hold: Hold) -> None:
        """Start enforcing *hold*, which is in the journal."""
        self._take({**(self._holds or {}), hold.key: hold}, self._holds is not None)
        self._plan_end()

    def release(self, some: Iterable[Hold]) -> None:
        """Stop enforcing *some* holds, which were deleted from the journal."""
        keys = {one.key for one in some}
        left = {key: one for key, one in (self._holds or {}).items() if key not in keys}
        self._take(left, self._holds is not None)

    def _take(self, holds: dict[str, Hold], known: bool) -> None:
        self._changes += 1
        if known:
            self._apply(holds)

    def _apply(self, holds: dict[str, Hold]) -> None:
        """Enforce *holds*; if they differ from the last ones, let builders choose again."""
        if holds == self._holds and all(
            (one.names, one.excluded) == (holds[key].names, holds[key].excluded)
            for key, one in (self._holds or {}).items()
        ):
            return
        self._holds = holds
        self._on_branches = None
        self._look_again()

    def _plan_look(self, seconds: float) -> None:
        if self._next_look is not None and self._next_look.active():
            self._next_look.cancel()
        self._timers = [one for one in self._timers if one.active()]
        self._next_look = self._clock.callLater(seconds, self._look)
        self._timers.append(self._next_look)

    def _plan_end(self) -> None:
        """Schedule the end of the next hold if near; a later read notices a changed clock."""
        ends = min((one.expires for one in self.now), default=None)
        if ends is not None and ends - time.time() < INTERVAL:
            self._timers.append(
                self._clock.callLater(max(0.0, ends - time.time()) + 0.01, self._drop_ended)
            )

    def _look(self) -> None:
        looking = defer.Deferred.fromCoroutine(self._looked())
        looking.addErrback(
            lambda failure: self.log.failure("selfserve: enforcing holds failed", failure)
        )

    async def _looked(self) -> None:
        changes = self._changes
        try:
            found: Sequence[Hold] | None = await self._look_up()
        except Exception as error:
            found = None  # keep the last known holds
            self._complain(error)
        if self._unfilter is None:
            return  # stopped during the read
        now = time.time()
        if found is not None:
            self._outage.end()
        if found is not None and changes == self._changes:
            self._apply({one.key: one for one in found if one.lasts(now)})
        else:
            self._drop_ended()
        if self._holds is None and self._waited_long:
            self._look_again()
        if self._unsure or self._has_new_builders:
            self._unsure = self._has_new_builders = False
            self._look_again()
        self._plan_end()
        unknown = self._holds is None and not self._waited_long
        self._plan_look(FIRST_INTERVAL if unknown else INTERVAL)

    def _complain(self, error: Exception) -> None:
        """Log why the holds cannot be read, unless they may be soon, or others are known."""
        if self._unfilter is None:
            return
        if self._holds is None and self._waited_long:
            self._outage.failed(
                "the holds cannot be read; builds start without them until they can", error
            )
        elif not isinstance(error, Unavailable):
            self._outage.failed("the holds cannot be read, trying again", error)

    def _drop_ended(self) -> None:
        """Drop the holds that have ended."""
        now = time.time()
        if self._holds is not None:
            self._apply({key: one for key, one in self._holds.items() if one.lasts(now)})

    @property
    def _waited_long(self) -> bool:
        return self._clock.seconds() - self._started > START_PATIENCE

    def _look_again(self) -> None:
        """Let builders with held requests choose again."""
        names, self._held_up = self._held_up, set()
        names &= set(self._master.botmaster.builders)
        if names:
            self._master.botmaster.brd.maybeStartBuildsOn(sorted(names))

    # -- held requests

    @defer.inlineCallbacks
    def held(self, builder: Any, requests: Sequence[Mapping[str, Any]]) -> Any:
        """Return the ids of the unclaimed *requests* of *builder* that must not start now.

        A request that a running build waits for is never held.
        """
        rest = [one for one in requests if not one["waited_for"]]
        if self._holds is None and not self._waited_long:
            return self._remember(builder, {one["buildrequestid"] for one in rest})
        if not self._lasting():
            return frozenset()
        yield self._learn({one["buildsetid"] for one in rest})
        names, lasting = self._names(builder), self._lasting()
        # thousands of requests share few places and priorities
        decided: dict[tuple[int, int], bool] = {}
        ids = set()
        for one in rest:
            place, priority = self._places.get(one["buildsetid"]), one["priority"]
            key = (id(place), priority)
            if key not in decided:
                decided[key] = self._is_held(names, lasting, place, priority)
            if decided[key]:
                ids.add(one["buildrequestid"])
        return self._remember(builder, ids)

    def _remember(self, builder: Any, ids: Collection[int]) -> Collection[int]:
        if ids:
            self._held_up.add(builder.name)
        return ids

    def _lasting(self) -> tuple[tuple[Hold, Branch], ...]:
        """Return the holds in force, each with its configured branch.

        Holds of branches that are no longer configured are left out.
        """
        if not self._holds:
            return ()
        if self._on_branches is None:
            site = self._site()
            found = ((one, site.branch(one.branch)) for one in self._holds.values())
            self._on_branches = tuple((one, its) for one, its in found if its is not None)
        now = time.time()
        return tuple((one, branch) for one, branch in self._on_branches if one.lasts(now))

    @defer.inlineCallbacks
    def _learn(self, buildset_ids: Collection[int]) -> Any:
        """Read the places of buildsets that are not cached.

        Requests whose place cannot be read are held until the next read of the holds; Buildbot
        cannot claim them then either.
        """
        unknown = [one for one in buildset_ids if one not in self._places]
        if not unknown:
            return
        try:
            found = yield self._master.db.pool.do(request_places.of_buildsets, unknown)
        except Exception:
            self.log.failure("selfserve: the places of build requests cannot be read, holding them")
            self._unsure = True
            return
        if len(self._places) + len(found) > MOST_PLACES:
            self._places = {one: its for one, its in self._places.items() if one in buildset_ids}
            self._same = {one: one for one in self._places.values()}
        for buildset_id, place in found.items():
            self._places[buildset_id] = self._same.setdefault(place, place)

    def _names(self, builder: Any) -> tuple[str, ...]:
        return (builder.name, *virtual_builder_names.names(self._master, builder.name, {}))

    async def aliases(self) -> dict[str, tuple[str, ...]]:
        """Return the configured virtual builder names of each builder, by builder name."""
        found: dict[str, tuple[str, ...]] = {}
        for number, name in enumerate(list(self._master.botmaster.builders)):
            if number % BATCH == 0:
                await next_turn(self._master.reactor)
            its = virtual_builder_names.names(self._master, name, {})
            found |= {name: its} if its else {}
        return found

    def _is_held(
        self,
        names: tuple[str, ...],
        lasting: Sequence[tuple[Hold, Branch]],
        place: RequestPlace | None,
        priority: int,
    ) -> bool:
        if place is None:
            return bool(lasting)
        return any(
            hold.covers((*names, *place.names), priority, self._has_new_builders)
            and place.is_on(branch)
            for hold, branch in lasting
        )
