"""Runs a job request: journal, plan, execution, journal.

What was begun is ended even if its client hangs up, waits no longer or the master is killed: a job
request runs by itself, and clients only wait for it. ``open_row`` writes the journal's row before
anything is done, ``close_row`` writes what really happened when it is over or was cut short, and
goes on with what is not over with the answer; ``runner`` does one after the other.
"""

from __future__ import annotations

from buildbot_selfserve.jobs.open_row import Requester
from buildbot_selfserve.jobs.runner import JobRunner
from buildbot_selfserve.jobs.runner import Jobs

__all__ = ["JobRunner", "Jobs", "Requester"]
