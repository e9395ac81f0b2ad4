"""The state of the index, which the threads of a reader share."""

from __future__ import annotations

import threading
import time

from buildbot_selfserve.history.index.builds import Builds
from buildbot_selfserve.history.index.buildsets import Buildsets
from buildbot_selfserve.history.index.changes import Changes
from buildbot_selfserve.history.index.cursor import Cursor
from buildbot_selfserve.history.index.pushed import KeptPushed
from buildbot_selfserve.history.index.sourcestamps import Stamps
from buildbot_selfserve.history.index.user_buildsets import UserBuildsets


class IndexState:
    """The parts of the index. Hold the lock to read or change them.

    Do not query the database while holding the lock: other threads must not wait for it.

    :param rising: ids become visible in ascending order, as in a database with one writer at a time
    """

    def __init__(self, rising: bool) -> None:
        self.lock = threading.Lock()
        self.stamps = Stamps()
        self.buildsets = Buildsets()
        self.changes = Changes()
        self.user_buildsets = UserBuildsets(self.stamps, self.changes, self.buildsets)
        self.builds = Builds(self.stamps.line)
        self.pushed = KeptPushed()
        #: whether all late builds are there
        self.has_late = False
        #: names by id of builders, workers and masters; never changed in place
        self.names: dict[str, dict[int, str]] = {}
        #: Buildbot's codebase branches by id; their number, and the latest time any of them moved
        self.codebase_branches: dict[int, str] = {}
        self.codebase_branches_end: tuple[int, int | None] = (0, None)
        self.cursors = {
            name: Cursor(time.monotonic, rising)
            for name in ("builds", "changes", "links", "stamps")
        }
