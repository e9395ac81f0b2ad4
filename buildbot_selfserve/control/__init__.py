"""Changes Buildbot's state, and reports the outcome.

Runs in the reactor, where the master's own APIs are; nothing else creates, cancels or changes
anything of Buildbot's. Each act takes the master, the ``Order`` of its job request, what it is
about and its parameters, and returns an ``Effect``. ``availability`` says whether the master can do
anything now, and ``reconcile`` finds out what an act that was cut short has done.
"""
