"""Reads branches, revisions, builds and build requests from Buildbot's tables.

Each read is a function in the module named after what it returns. It takes a ``History`` and plain
values, and returns values of ``model``. No read writes anything or depends on the thread or process
that it runs in. Data that never changes is kept in memory by ``index/``, and nowhere else.
``control/`` is the only other folder with queries on Buildbot's tables.
"""

from __future__ import annotations

from buildbot_selfserve.history.context import History

__all__ = ["History"]
