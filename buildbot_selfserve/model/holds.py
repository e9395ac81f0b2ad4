"""Holds: what of a branch is not to start for a while."""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Collection
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import NamedTuple

from buildbot_selfserve.model.branches import Branch
from buildbot_selfserve.model.branches import Sourcestamp
from buildbot_selfserve.model.kept_fields import known_fields
from buildbot_selfserve.model.selection import Selection


@dataclass(frozen=True)
class Hold:
    """Pending build requests of a branch do not start while it lasts.

    :param branch: the name of the branch in this API
    :param who: the user who sent it
    :param since: epoch seconds; *expires* likewise
    :param builders: the patterns that select its builders; *tags* and *exclude_builders* likewise
    :param above: requests with this priority or a higher one start all the same
    :param job_id: the job request that made it
    :param names: of the builders that the patterns select; ``None`` for all
    :param excluded: names of the builders that are left out
    """

    branch: str
    reason: str
    who: str
    since: int
    expires: int
    builders: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    exclude_builders: tuple[str, ...] = ()
    above: int | None = None
    job_id: int = 0
    names: frozenset[str] | None = field(default=None, compare=False)
    excluded: frozenset[str] = field(default=frozenset(), compare=False)

    @property
    def key(self) -> str:
        """Return what tells it from other holds: one with the same selectors takes its place."""
        told = json.dumps([self.branch, *map(sorted, self.selectors.values())])
        return hashlib.sha256(told.encode()).hexdigest()

    @property
    def selectors(self) -> Mapping[str, Sequence[str]]:
        """Return the patterns that select its builders, by the name of the parameter."""
        return {
            "builders": self.builders,
            "tags": self.tags,
            "exclude_builders": self.exclude_builders,
        }

    @property
    def is_whole(self) -> bool:
        """Return whether it is about all requests of its branch."""
        return self.above is None and not any(self.selectors.values())

    @property
    def selection(self) -> Selection:
        """Return the builders that it is about."""
        return Selection(self.names, excluded=self.excluded)

    def lasts(self, now: float) -> bool:
        """Return whether it has not ended yet.

        :param now: epoch seconds
        """
        return now < self.expires

    def covers(self, names: Collection[str], priority: int, or_others: bool = False) -> bool:
        """Return whether it holds a request of its branch.

        :param names: the names under which the request may be built: that of its builder, and those
            of virtual builders
        :param or_others: its patterns may select other builders by now
        """
        if self.above is not None and priority >= self.above:
            return False
        if not self.excluded.isdisjoint(names):
            return False
        return self.names is None or or_others or not self.names.isdisjoint(names)


class HeldRequest(NamedTuple):
    """A pending request that a hold keeps from starting."""

    request_id: int
    buildername: str


@dataclass(frozen=True)
class BranchHold:
    """A hold, and what of it is so now.

    :param waiting: how many requests it keeps from starting
    """

    hold: Hold
    waiting: int


@dataclass(frozen=True)
class Holds:
    """The holds of a branch, the one that ends first first."""

    branch: Branch
    holds: tuple[BranchHold, ...]


class RequestPlace(NamedTuple):
    """What a hold looks at of a request, beside its builder and its priority.

    :param names: of virtual builders under which it may be built
    """

    stamps: tuple[Sourcestamp, ...] = ()
    names: tuple[str, ...] = ()

    def is_on(self, branch: Branch) -> bool:
        """Return whether it belongs to *branch*."""
        return any(one.belongs(branch) for one in self.stamps)


def in_utc(seconds: int) -> str:
    """Return epoch seconds as people read them, with the time zone."""
    moment = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    return moment.strftime("%Y-%m-%d %H:%M UTC")


def hold_to_json(hold: Hold) -> dict[str, Any]:
    """Return *hold* as a plan keeps it."""
    told = {**vars(hold), "names": None if hold.names is None else sorted(hold.names)}
    return {**told, "excluded": sorted(hold.excluded)}


def hold_from_json(read: Mapping[str, Any]) -> Hold:
    """Return the hold that :func:`hold_to_json` made *read* of."""
    names = read["names"]
    lists = {name: tuple(read[name]) for name in ("builders", "tags", "exclude_builders")}
    more: dict[str, Any] = {"names": None if names is None else frozenset(names)}
    more["excluded"] = frozenset(read["excluded"])
    return Hold(**{**known_fields(Hold, read), **lists, **more})
