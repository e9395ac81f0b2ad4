"""Whether a user may do something, and why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from buildbot_selfserve.model.branches import Branch
from buildbot_selfserve.model.limits import Budget


@dataclass(frozen=True)
class Decision:
    """Whether somebody may do something.

    :param allowed: ``None`` where it depends on what they would do it to
    :param why: why they may not, or what it depends on; empty when they may
    :param depends_on: ``builder``, ``owner`` or ``target``, where it does
    """

    allowed: bool | None
    why: str = ""
    depends_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Permissions:
    """What somebody may do on a branch, or to one thing there.

    :param who: their name, ``None`` for nobody; *via*: how that is known
    :param decisions: by the name of the action in the journal
    :param budgets: what is left to them of each limit
    :param builders: the names of the builders that this is about; ``None`` for any
    """

    branch: Branch
    who: str | None
    via: str
    decisions: Mapping[str, Decision]
    budgets: tuple[Budget, ...] = ()
    builders: tuple[str, ...] | None = None
