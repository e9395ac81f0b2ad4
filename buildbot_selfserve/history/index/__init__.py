"""Keeps in memory what it takes to find builds without searching the database.

The index has only data that never changes: sourcestamps, buildsets, authors of changes and the
like. The state of requests and builds is read from the database every time. ``Index`` brings the
index up to date for each read; ``Facts`` is its interface for everything else.
"""

from __future__ import annotations

from buildbot_selfserve.history.index.branch_names import can_be_named
from buildbot_selfserve.history.index.branch_names import near
from buildbot_selfserve.history.index.builds import got_revision
from buildbot_selfserve.history.index.facts import About
from buildbot_selfserve.history.index.facts import Chosen
from buildbot_selfserve.history.index.facts import Facts
from buildbot_selfserve.history.index.facts import OwnPush
from buildbot_selfserve.history.index.facts import StampsAndBuilds
from buildbot_selfserve.history.index.push_order import Position
from buildbot_selfserve.history.index.pushed import Pushed
from buildbot_selfserve.history.index.sourcestamps import ByBranch
from buildbot_selfserve.history.index.sourcestamps import Stamp
from buildbot_selfserve.history.index.sync import Index
from buildbot_selfserve.history.index.sync import Version
from buildbot_selfserve.history.index.sync import builders_on
from buildbot_selfserve.history.index.sync import chosen_lately
from buildbot_selfserve.history.index.sync import load_branches
from buildbot_selfserve.history.index.sync import load_found
from buildbot_selfserve.history.index.sync import load_late
from buildbot_selfserve.history.index.sync import load_names

__all__ = [
    "About",
    "ByBranch",
    "Chosen",
    "Facts",
    "Index",
    "OwnPush",
    "Position",
    "Pushed",
    "Stamp",
    "StampsAndBuilds",
    "Version",
    "builders_on",
    "can_be_named",
    "chosen_lately",
    "got_revision",
    "load_branches",
    "load_found",
    "load_late",
    "load_names",
    "near",
]
