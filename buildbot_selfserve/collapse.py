"""Keeps an operator's own ``collapseRequests`` from collapsing requests of self-serve."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from buildbot import config as buildbot_config
from twisted.internet import defer

from buildbot_selfserve.model import JOB_PROPERTY


def collapse_spare(
    collapse: Callable[..., Any] | bool,
) -> Callable[..., defer.Deferred[Any]] | bool:
    """Return *collapse*, but for requests that self-serve made: those are never collapsed.

    Buildbot's default rule spares them already; a function of your own knows nothing of them.

    :param collapse: a ``collapseRequests`` callable, ``(master, builder, request, other)``, which
        returns whether the two may become one, or a Deferred or coroutine of that. ``True`` and
        ``False`` stay what they are to Buildbot: its default rule, and never
    """
    if not _is_rule(collapse):
        buildbot_config.error(
            f"collapse_spare: {collapse!r} must be True, False or a callable"
            " (master, builder, request, other)"
        )
    if not callable(collapse):
        return collapse

    async def spare(master: Any, builder: Any, request: Any, other: Any) -> Any:
        for one in (request, other):
            path = ("buildsets", str(one["buildsetid"]), "properties")
            if JOB_PROPERTY in await master.data.get(path):
                return False
        answer = collapse(master, builder, request, other)
        return await answer if hasattr(answer, "__await__") else answer

    @wraps(collapse)
    def spared(master: Any, builder: Any, request: Any, other: Any) -> defer.Deferred[Any]:
        return defer.Deferred.fromCoroutine(spare(master, builder, request, other))

    return spared


def _is_rule(collapse: object) -> bool:
    return isinstance(collapse, bool) or callable(collapse)
