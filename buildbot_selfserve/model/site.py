"""The site: what readers must know of the configuration of a master."""

from __future__ import annotations

import datetime
import zoneinfo
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlparse

from buildbot_selfserve.model.branches import Branch
from buildbot_selfserve.model.branches import Sourcestamp
from buildbot_selfserve.model.limits import NO_LIMITS
from buildbot_selfserve.model.limits import Limits

#: The configuration of a master where nothing is said of branches: each that there is, is one.
_EVERY_BRANCH = Branch("*", ("*",))


@dataclass(frozen=True)
class SetupBasis:
    """What the schedulers are asked with when it is worked out what builds a branch.

    :param revision: that is asked about, as its change spells it; ``None`` for any, and for one
        that is not known
    :param models: ids of the changes that a change of it is like
    :param places: where it is, or where the branch is, as far as that is known
    :param disabled: names of the schedulers that are disabled
    """

    branch: Branch
    revision: str | None = None
    models: tuple[int, ...] = ()
    places: tuple[Sourcestamp, ...] = ()
    disabled: tuple[str, ...] = ()


@dataclass(frozen=True)
class Setup:
    """What this master is configured to build on one branch, as plain data.

    :param builder_branches: names of builders and the value of their property ``branch``
    :param reacting: names of the builders that are configured in the schedulers which would take a
        change like that of the basis
    :param undecided: names of those of these schedulers that decide on their builders when they
        build
    :param failing: names of the schedulers whose change filters fail
    :param unclear: names of the schedulers that might take a change of this branch: there is none
        yet, and they ask for more than the branch
    :param reachable: names of the builders that the schedulers of the branch start, and those that
        these builders trigger; if there are none, those of the unclear schedulers
    :param elsewhere: names of the builders that only schedulers of other branches start, and those
        that their builders trigger
    :param nightly: names of the ``Nightly`` and ``NightlyTriggerable`` schedulers of the branch
    :param schedulers: names of all schedulers and of the builders that are configured in them
    :param deciding: names of all schedulers that decide on their builders when they build
    """

    builder_branches: tuple[tuple[str, str], ...] = ()
    reacting: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()
    failing: tuple[str, ...] = ()
    unclear: tuple[str, ...] = ()
    reachable: tuple[str, ...] = ()
    elsewhere: tuple[str, ...] = ()
    nightly: tuple[str, ...] = ()
    schedulers: tuple[tuple[str, tuple[str, ...]], ...] = ()
    deciding: tuple[str, ...] = ()


@dataclass(frozen=True)
class Site:
    """What a reader must know of the master's configuration, as plain data.

    :param path: our path under Buildbot's root, without slashes around it
    :param buildbot_url: Buildbot's own URL, with a trailing slash
    :param title: the title of this Buildbot
    :param buildbot_views: pages that plugins add to Buildbot's sidebar: paths and captions
    :param color_scheme: ``light`` or ``dark``, unless the visitor has chosen another; empty for
        that of the visitor's system
    :param timezone: whose midnight ``date=`` means
    :param max_count: largest ``count`` of a rebuild
    :param limits: what each user and each token may ask for
    :param branches: the configured branches and patterns of them, or ``None`` when the master's
        own history says
    :param hinted_branches: branches that the schedulers' change filters name
    :param setup: what is configured to build the branch that is asked about; only there where a
        route needs it
    :param basis: what *setup* was worked out with, unless that is what the branch has now anyway
    """

    path: str
    buildbot_url: str
    title: str = "Buildbot"
    buildbot_views: tuple[tuple[str, str], ...] = ()
    color_scheme: str = ""
    timezone: str = "UTC"
    max_count: int = 100
    limits: Limits = NO_LIMITS
    branches: tuple[Branch, ...] | None = None
    hinted_branches: tuple[str, ...] = ()
    setup: Setup | None = None
    basis: SetupBasis | None = None

    @cached_property
    def named_branches(self) -> dict[str, Branch]:
        """Return the branches that are configured by their names."""
        return {one.name: one for one in self.branches or () if not one.is_pattern}

    @cached_property
    def patterns(self) -> tuple[Branch, ...]:
        """Return what is configured for the branches that the master's own history says."""
        if self.branches is None:
            return (_EVERY_BRANCH,)
        return tuple(one for one in self.branches if one.is_pattern)

    @cached_property
    def named_or_taken(self) -> frozenset[str | None]:
        """Return the names for which no pattern stands.

        Those that are configured, and the branches that sourcestamps have under these names.
        """
        named = self.named_branches
        taken = (one.branches for one in named.values() if not one.is_narrowed)
        return frozenset(named).union(*taken)

    def branch(self, name: str) -> Branch | None:
        """Return what is configured for a branch of this name, if there is one; or ``None``."""
        if name in self.named_branches:
            return self.named_branches[name]
        pattern = self.pattern(name)
        return None if pattern is None else pattern.named(name)

    def pattern(self, name: str) -> Branch | None:
        """Return the pattern that stands for a branch of this name, which is not configured."""
        if name in self.named_or_taken:
            return None
        return next((one for one in self.patterns if one.fits(name)), None)

    def branch_of(self, place: Sourcestamp) -> Branch | None:
        """Return the branch that a sourcestamp belongs to, the one that is configured first."""
        for one in self.named_branches.values():
            if place.branch in one.branches and place.belongs(one):
                return one
        found = self.branch(place.branch) if place.branch else None
        return found if found is not None and place.belongs(found) else None

    @cached_property
    def prefix(self) -> str:
        """Return the path of Buildbot's root as clients see it, without a trailing slash.

        A proxy that serves Buildbot under a prefix takes it away before we see it.
        """
        return urlparse(self.buildbot_url).path.rstrip("/")

    @property
    def root(self) -> str:
        """Return the path of our root as clients see it, without a trailing slash."""
        return f"{self.prefix}/{self.path}"


def midnight(date: datetime.date, zone: zoneinfo.ZoneInfo) -> int:
    """Return when *date* begins in *zone*, in epoch seconds."""
    return int(datetime.datetime.combine(date, datetime.time(), tzinfo=zone).timestamp())
