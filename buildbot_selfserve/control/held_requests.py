"""Finds the pending build requests that holds keep from starting. Runs in a reader."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from buildbot_selfserve.control import request_places
from buildbot_selfserve.history import History
from buildbot_selfserve.history.queue import read_requests
from buildbot_selfserve.model import HeldRequest
from buildbot_selfserve.model import Hold
from buildbot_selfserve.model import PendingRequest
from buildbot_selfserve.model import RequestPlace

#: The configured virtual builder names of each builder, by builder name.
Aliases = Mapping[str, Sequence[str]]


def by_request(
    history: History,
    holds: Iterable[Hold],
    requests: Sequence[PendingRequest],
    names: Mapping[int, str],
    aliases: Aliases,
) -> dict[int, Hold]:
    """Return the hold that keeps each held request from starting, by request id.

    If there are several holds, the one that ends last is returned. A request that a running build
    waits for is not held.

    :param requests: all pending requests
    :param names: the names of their builders, by id
    """
    found: dict[int, Hold] = {}
    for hold in sorted(holds, key=lambda one: one.expires):
        for one in _held_by(history, hold, requests, names, aliases):
            found[one.request_id] = hold
    return found


def of_holds(history: History, holds: Sequence[Hold], aliases: Aliases) -> list[HeldRequest]:
    """Return the requests that *holds* keep or would keep from starting, ordered by id."""
    requests, names = read_requests(history)
    held = by_request(history, holds, requests, names, aliases)
    return [
        HeldRequest(one.request_id, names[one.builder_id])
        for one in requests
        if one.request_id in held
    ]


def numbers(history: History, holds: Iterable[Hold], aliases: Aliases) -> list[int]:
    """Return how many requests each of *holds* keeps from starting."""
    requests, names = read_requests(history)
    return [len(_held_by(history, one, requests, names, aliases)) for one in holds]


def _held_by(
    history: History,
    hold: Hold,
    requests: Iterable[PendingRequest],
    names: Mapping[int, str],
    aliases: Aliases,
) -> list[PendingRequest]:
    branch = history.site.branch(hold.branch)
    if branch is None:
        return []  # no longer configured
    some = [one for one in requests if not one.waited_for]
    its = history.facts.on_branch(branch, {one.buildset_id for one in some})
    places: Mapping[int, RequestPlace] = {}
    if hold.names is not None or hold.excluded:
        places = request_places.of_buildsets(history.connection, its)
    found = []
    for one in some:
        if one.buildset_id in its:
            name = names[one.builder_id]
            given = places.get(one.buildset_id, RequestPlace()).names
            if hold.covers((name, *aliases.get(name, ()), *given), one.priority):
                found.append(one)
    return found
