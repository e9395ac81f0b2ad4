"""Every private attribute of Buildbot's that self-serve touches.

Each has a test in ``tests/test_buildbot_private.py``, which fails when an upgrade of Buildbot takes
it away.
"""

from __future__ import annotations

from typing import Any

from buildbot.data import buildrequests


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
