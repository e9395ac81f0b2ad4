"""The routes, one noun a file: declarations and short handlers.

Nothing here knows HTTP, SQL or the master: a handler gets values and what it needs in ``ctx``, and
returns a value. Importing this room declares every route.
"""

from __future__ import annotations

from buildbot_selfserve.resources import bisections
from buildbot_selfserve.resources import branches
from buildbot_selfserve.resources import builders
from buildbot_selfserve.resources import builds
from buildbot_selfserve.resources import holds
from buildbot_selfserve.resources import jobs
from buildbot_selfserve.resources import live
from buildbot_selfserve.resources import permissions
from buildbot_selfserve.resources import pushes
from buildbot_selfserve.resources import queue
from buildbot_selfserve.resources import ranges
from buildbot_selfserve.resources import requests
from buildbot_selfserve.resources import revisions
from buildbot_selfserve.resources import root
from buildbot_selfserve.resources import search
from buildbot_selfserve.resources import users
from buildbot_selfserve.routes import ROUTES

__all__ = [
    "ROUTES",
    "bisections",
    "branches",
    "builders",
    "builds",
    "holds",
    "jobs",
    "live",
    "permissions",
    "pushes",
    "queue",
    "ranges",
    "requests",
    "revisions",
    "root",
    "search",
    "users",
]
