"""Runs a job request: journal, act, journal.

What was begun is ended whatever happens to the client that asked for it: an act runs by itself,
and whoever waits for it only waits. ``opening`` writes the journal's row before the act,
``closing`` writes what really happened when the act is over or was cut short, and goes on with
what is not over with the answer; ``running`` is the way from one to the other.
"""

from __future__ import annotations

from buildbot_selfserve.jobs.requester import Requester
from buildbot_selfserve.jobs.runner import AskedJobs
from buildbot_selfserve.jobs.runner import Jobs

__all__ = ["AskedJobs", "Jobs", "Requester"]
