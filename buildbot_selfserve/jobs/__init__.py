"""Runs job requests: opens the journal row, plans, executes, closes the row.

A job request runs to its end even if its client hangs up or times out, or the master is killed: it
runs independently, and clients only wait for it. ``open_row`` writes the journal row before
anything is done. ``close_row`` stores what really happened when the job ends or is cut short, and
follows what continues after the answer. ``runner`` calls them in order.
"""

from __future__ import annotations

from buildbot_selfserve.jobs.open_row import Requester
from buildbot_selfserve.jobs.runner import JobRunner
from buildbot_selfserve.jobs.runner import Jobs

__all__ = ["JobRunner", "Jobs", "Requester"]
