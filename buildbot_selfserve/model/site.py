"""The site: what readers must know of the configuration of a master."""

from __future__ import annotations

import datetime
import zoneinfo
from dataclasses import dataclass
from functools import cached_property
from urllib.parse import urlparse

from buildbot_selfserve.model.branches import Branch
from buildbot_selfserve.model.limits import NO_LIMITS
from buildbot_selfserve.model.limits import Limits


@dataclass(frozen=True)
class Setup:
    """What this master is configured to build on one branch, as plain data.

    :param builder_branches: names of builders and the value of their property ``branch``
    :param reacting: names of the builders whose schedulers would react to a change on the branch
    :param nightly: names of the builders of the ``Nightly`` schedulers of the branch
    :param schedulers: names of all schedulers and of their builders
    """

    builder_branches: tuple[tuple[str, str], ...] = ()
    reacting: tuple[str, ...] = ()
    nightly: tuple[str, ...] = ()
    schedulers: tuple[tuple[str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Site:
    """What a reader must know of the master's configuration, as plain data.

    :param path: our path under Buildbot's root, without slashes around it
    :param buildbot_url: Buildbot's own URL, with a trailing slash
    :param title: the title of this Buildbot
    :param timezone: whose midnight ``date=`` means
    :param max_count: largest ``count`` of a rebuild
    :param limits: what each user and each token may ask for
    :param branches: the configured branches, or ``None`` when the master's own history says
    :param hinted_branches: branches that the schedulers' change filters name
    :param setup: what is configured to build the branch that is asked about; only there where a
        route needs it
    """

    path: str
    buildbot_url: str
    title: str = "Buildbot"
    timezone: str = "UTC"
    max_count: int = 100
    limits: Limits = NO_LIMITS
    branches: tuple[Branch, ...] | None = None
    hinted_branches: tuple[str, ...] = ()
    setup: Setup | None = None

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
