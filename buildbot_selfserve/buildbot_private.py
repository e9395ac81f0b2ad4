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
