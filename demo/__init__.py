"""The demo: a real Buildbot that builds a real repository, and a walk through self-serve."""
