"""The state of the index: all that the threads of a reader share."""

from __future__ import annotations

import threading
import time

from buildbot_selfserve.history.index.builds import Builds
from buildbot_selfserve.history.index.buildsets import Buildsets
from buildbot_selfserve.history.index.changes import Changes
from buildbot_selfserve.history.index.cursor import Cursor
from buildbot_selfserve.history.index.pushed import KeptPushed
from buildbot_selfserve.history.index.sourcestamps import Stamps


class IndexState:
    """The parts of the index. Take the lock to look at them, or to change them.

    Nobody asks the database meanwhile, so that nobody waits for longer than it takes to look
    something up.

    :param rising: ids become visible in their order, as where one writes at a time
    """

    def __init__(self, rising: bool) -> None:
        self.lock = threading.Lock()
        self.stamps = Stamps()
        self.buildsets = Buildsets()
        self.changes = Changes()
        self.builds = Builds(self.stamps.line)
        self.pushed = KeptPushed()
        #: of builders, workers and masters; none of them is changed in place
        self.names: dict[str, dict[int, str]] = {}
        #: the branches of codebases by their ids; how many there were, and when one last moved
        self.codebase_branches: dict[int, str] = {}
        self.codebase_branches_end: tuple[int, int | None] = (0, None)
        self.cursors = {
            name: Cursor(time.monotonic, rising)
            for name in ("builds", "changes", "links", "stamps")
        }
