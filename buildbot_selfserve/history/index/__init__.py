"""Keeps in memory what is needed to find builds without searching the database.

Only what never changes is kept: sourcestamps, which buildsets are of them, who made changes, and
the like; the state of requests and builds is asked for every time. ``Index`` brings it up to date
at each question; ``Facts`` answers, and is what everybody else gets to see.
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
    "load_names",
    "near",
]
