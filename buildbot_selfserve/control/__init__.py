"""Plans and makes changes to Buildbot's state, and reports their outcome.

This code runs in the reactor, where the master's own APIs are. Nothing else creates, cancels or
changes Buildbot's objects. A planner takes a ``PlanContext``, targets and parameters, and returns a
``Plan``; ``execute`` takes the ``Order`` of the job request and the plan, and returns an
``Effect``. ``availability`` checks whether the master can run job requests now, and ``reconcile``
finds out what an interrupted job request has done.
"""
