"""Keeps an operator's own ``collapseRequests`` from collapsing requests of self-serve."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from twisted.internet import defer

from buildbot_selfserve.model import JOB_PROPERTY


def collapse_spare(collapse: Callable[..., Any]) -> Callable[..., defer.Deferred[Any]]:
    """Return *collapse*, but for requests that self-serve made: those are never collapsed.

    Buildbot's default rule spares them already; a function of your own knows nothing of them.

    :param collapse: a ``collapseRequests`` callable, ``(master, builder, request, other)``, which
        returns whether the two may become one, or a Deferred or coroutine of that
    """

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
