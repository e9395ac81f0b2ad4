"""Builders: those of a branch."""

from __future__ import annotations

from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builders
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import declare


@declare(
    "GET",
    "/<branch>/builders",
    needs_reacting=True,
    returns=Builders,
    template="builders.html",
)
def builders(ctx: ReadContext, branch: Branch) -> Builders:
    """The names of the builders of this branch, sorted.

    Those that are configured for it, or that would build a change on it, or have built it; and
    only those that some master builds for now.
    """
    return ctx.history.builders(branch)
