"""Permissions: what a user may do."""

from __future__ import annotations

from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Permissions
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Selection
from buildbot_selfserve.params.declared import ABOUT_BUILD
from buildbot_selfserve.params.declared import ABOUT_BUILDER
from buildbot_selfserve.params.declared import ABOUT_REQUEST
from buildbot_selfserve.permissions import PERMISSIONS
from buildbot_selfserve.resources.context import ReadContext
from buildbot_selfserve.routes import declare


@declare(
    "GET",
    "/<branch>/permissions",
    params=(ABOUT_BUILD, ABOUT_REQUEST, ABOUT_BUILDER),
    selects=True,
    needs_setup=True,
    offers=PERMISSIONS,
    tells_offers=True,
    returns=Permissions,
    template="permissions.html",
)
def permissions(
    ctx: ReadContext,
    branch: Branch,
    selection: Selection,
    build: BuildRow | None = None,
    request: RequestRow | None = None,
    builder: Builder | None = None,
) -> Permissions:
    """List which job requests the user may send on this branch, and why not the others.

    Where that depends on the target, "allowed" is null; name a build, a request or a builder to get
    the answer for it. With selectors, the answer is about the builders that they select: what is
    allowed with none of them is not allowed, and what is allowed with some of them depends on the
    builder. If there are limits, the answer includes what is left of them.
    """
    who, via = ctx.visitor.name, ctx.visitor.via
    names = None if selection.names is None else tuple(sorted(selection.names))
    budgets = ctx.journal.budgets(who or via, via)
    return Permissions(branch, who, via, ctx.decisions, budgets, names)
