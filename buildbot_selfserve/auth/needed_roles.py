"""Tells which roles the rules of a master.cfg want for what an API token is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from buildbot.config.master import FileLoader
from buildbot.scripts.base import getConfigFileFromTac
from buildbot.www.authz import Authz

from buildbot_selfserve.auth.authentication import with_token
from buildbot_selfserve.auth.authorization import Action
from buildbot_selfserve.auth.permission_preview import Needs
from buildbot_selfserve.auth.permission_preview import needs
from buildbot_selfserve.config import SelfServeToken
from buildbot_selfserve.permissions import NEW_SET_AT_REVISION
from buildbot_selfserve.permissions import PERMISSIONS
from buildbot_selfserve.permissions import SET_ACTION
from buildbot_selfserve.permissions import actions_of
from buildbot_selfserve.permissions import every_action


def config_of(folder: Path) -> Any:
    """Return the configuration of the master in *folder*, which need not run.

    :raises ConfigErrors: its master.cfg is wrong, or there is none
    """
    # without buildbot.tac it is the usual name
    has_tac = (folder / "buildbot.tac").is_file()
    name = getConfigFileFromTac(str(folder), quiet=True) if has_tac else "master.cfg"
    return FileLoader(str(folder), name).loadConfig()


def authz_of(config: Any) -> Any:
    """Return ``www.authz`` of a configuration."""
    authz = config.www.get("authz") or Authz()
    authz.setMaster(None)
    return authz


def by_action(token: SelfServeToken, authz: Any) -> dict[str, Needs]:
    """Return the roles that the rules of *authz* require of *token*, for each of its actions.

    The actions are those of every branch, in their usual order, and the sets that it names.
    """
    sets = (one for one in token.actions or () if SET_ACTION.fullmatch(one))
    names = dict.fromkeys([*filter(token.is_for, every_action()), *sets])
    return {name: _needs_of(token, authz, name) for name in names}


def _needs_of(token: SelfServeToken, authz: Any, name: str) -> Needs:
    """Return what *token* needs for the action *name* on any of its branches."""
    permission = next((one for one in PERMISSIONS if name in actions_of(one)), NEW_SET_AT_REVISION)
    ruled = (getattr(rule, "branch", None) for rule in authz.allowRules)
    branches = token.branches or ("main", *(one for one in ruled if isinstance(one, str)))
    found = [
        needs(authz, with_token(token), Action(permission, name, branch)) for branch in branches
    ]
    roles = dict.fromkeys(role for one in found for role in one.roles)
    return Needs(tuple(roles), all(one.always for one in found))
