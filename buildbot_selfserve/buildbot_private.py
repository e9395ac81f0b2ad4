"""Every private attribute of Buildbot's that self-serve touches.

Each has a test in ``tests/test_buildbot_private.py``, which fails when an upgrade of Buildbot takes
it away.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any

from buildbot.data import buildrequests
from twisted.internet import defer


def is_initialized(master: Any) -> bool:
    """Return whether *master* has started, with all services of its configuration."""
    return bool(master._master_initialized)


def config_arguments(service: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return what a ``BuildbotService`` was configured with: arguments, and those by name."""
    return tuple(service._config_args), dict(service._config_kwargs)


def forget_last_codebases(scheduler: Any) -> None:
    """Let *scheduler* read the newest revisions of its codebases from the database again.

    One that creates absolute sourcestamps reads them there but once (buildbot/util/codebase.py).
    """
    if hasattr(scheduler, "_lastCodebases"):
        scheduler._lastCodebases = None


def branches_of_filter(change_filter: Any) -> set[str]:
    """Return the branches that a ``ChangeFilter`` names.

    One that matches by a regular expression or a function names none; the others keep their values
    in objects of a private class (buildbot/util/ssfilter.py, _FilterExactMatch).
    """
    return {
        value
        for one in getattr(change_filter, "filters", ())
        if getattr(one, "prop", None) == "branch" and type(one).__name__ == "_FilterExactMatch"
        for value in one.values
        if isinstance(value, str) and value
    }


def takes_parts(change_filter: Any, change: Any, parts: tuple[str, ...]) -> bool:
    """Return whether what a ``ChangeFilter`` says of some *parts* lets *change* pass.

    Functions are not asked.

    :param parts: attributes of changes, such as ``branch`` and ``codebase``
    """
    return all(
        one.is_matched(getattr(change, one.prop))
        for one in getattr(change_filter, "filters", ())
        if getattr(one, "prop", None) in parts
    )


def request_as_data(model: Any) -> dict[str, Any]:
    """Return a build request of the database as the Data API has it, without properties."""
    found: dict[str, Any] = buildrequests._db2data(model, None)
    return found


def with_master(service: Any, master: Any) -> Any:
    """Return *service*, with all its attributes, as if it were a service of *master*.

    A service's master is a property of its class (buildbot/util/service.py).
    """
    kind = type(service)
    same: Any = object.__new__(type(kind.__name__, (kind,), {"master": master}))
    same.__dict__ = service.__dict__
    return same


def builders_by_id(botmaster: Any) -> dict[int, Any]:
    """Return the builders of a master by their ids; none before it is configured."""
    found: dict[int, Any] = getattr(botmaster, "_builders_byid", {})
    return found


def starting_requests(botmaster: Any) -> frozenset[int]:
    """Return the ids of the build requests that a master is making into builds."""
    return frozenset(botmaster._starting_brid_to_cancel)


def builders_to_look_at(botmaster: Any) -> tuple[set[int], set[str]]:
    """Return the builders that a master is about to choose builds for: some by id, some by name."""
    return set(botmaster._pending_builderids), set(botmaster.brd._pending_builders)


def is_graceful(worker: Any) -> bool:
    """Return whether a worker shuts down when its builds have ended."""
    return bool(worker._graceful)


def pause(worker: Any) -> tuple[bool, str | None]:
    """Return whether a worker is paused, and the reason that was given."""
    return bool(worker._paused), worker._pause_reason


def lock_use(lock: Any) -> tuple[bool, int]:
    """Return whether a lock is held exclusively, and how much of it is held otherwise."""
    return bool(lock._claimed_excl), int(lock._claimed_counting)


def builder_of(build: Any) -> int | None:
    """Return the id of the builder that a build counts for, ``None`` until it has a row."""
    found: int | None = build._builderid
    return found


def waits_for_worker(build: Any) -> bool:
    """Return whether the latent worker of a build is starting."""
    return bool(build._is_substantiating)


def lock_waited_for(build: Any) -> Any:
    """Return the lock that a build waits for before its steps, or ``None``.

    One that has got its lock keeps what it waited for, but is in no queue any more.
    """
    lock = build._acquiringLock[0] if build._acquiringLock else None
    if lock is not None and any(waiter[0] == id(build) for waiter in lock.waiting):
        return lock
    return None


def lock_of_step(step: Any) -> Any:
    """Return the lock that a step waits for, or ``None``."""
    if not getattr(step, "_waitingForLocks", False) or not step._acquiringLocks:
        return None
    return step._acquiringLocks[-1][0]


def filter_requests(
    distributor: Any,
    held: Callable[[Any, Sequence[Mapping[str, Any]]], Any],
) -> Callable[[], None]:
    """Keep pending requests from what a ``BuildRequestDistributor`` chooses from; return the end.

    Each chooser that it makes does not see them: neither its own order nor the ``nextBuild`` and
    ``nextWorker`` of an operator comes to a request that is held, and none waits behind it. It is
    asked once more after ``canStartBuild`` of the operator's, which may have taken its time, right
    before the request is claimed (buildbot/process/buildrequestdistributor.py). What operators have
    configured is called as ever, and so is what they have put in the place of the chooser.

    :param held: called with a builder and unclaimed requests, as the Data API has them; returns the
        ids of those that must not start, via a Deferred
    """
    make, is_wrapped = distributor.createBuildChooser, "createBuildChooser" in vars(distributor)
    active = [True]

    def create(builder: Any, master: Any) -> Any:
        chooser = make(builder, master)
        if active:
            _filter_choices(chooser, held, active)
        return chooser

    def end() -> None:
        active.clear()
        # somebody may have wrapped it, too: then it does nothing any more
        if vars(distributor).get("createBuildChooser") is create:
            if is_wrapped:
                distributor.createBuildChooser = make
            else:
                del distributor.createBuildChooser

    distributor.createBuildChooser = create
    return end


def _filter_choices(chooser: Any, held: Callable[..., Any], active: Collection[bool]) -> None:
    fetch, can_start = chooser._fetchUnclaimedBrdicts, chooser.canStartBuild
    seen: dict[int, Mapping[str, Any]] = {}

    @defer.inlineCallbacks
    def fetch_unheld() -> Any:
        yield fetch()
        found = chooser.unclaimedBrdicts
        if active and found:
            ids = yield held(chooser.bldr, list(found))
            if ids:
                found[:] = [one for one in found if one["buildrequestid"] not in ids]
            seen.update((one["buildrequestid"], one) for one in found)
        return found

    @defer.inlineCallbacks
    def can_start_unheld(worker: Any, request: Any) -> Any:
        can = yield can_start(worker, request)
        if not can or not active or request.id not in seen:
            return can
        ids = yield held(chooser.bldr, [seen[request.id]])
        return request.id not in ids

    chooser._fetchUnclaimedBrdicts = fetch_unheld
    chooser.canStartBuild = can_start_unheld
