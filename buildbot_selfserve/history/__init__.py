"""Reads Buildbot's tables: branches, revisions, builds and requests of the past and of now.

Every read is a function of the module of its noun. It takes a ``History`` and plain values, and
returns values of ``model``; none writes, or knows in which thread or process it runs. What never
changes is kept in ``index/``, and nowhere else. Nothing else in the house reads Buildbot's tables.
"""

from __future__ import annotations

from buildbot_selfserve.history.context import History

__all__ = ["History"]
