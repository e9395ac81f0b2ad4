"""Lets Buildbot refuse a wrong value of ours while it reads master.cfg.

Buildbot takes the values of ``c['www']['plugins']`` as they are, and shows them to a plugin when it
sets up the web server: too late for a master that starts, which would stop with a traceback, and
for one that runs, which would be left between two configurations.
"""

from __future__ import annotations

import functools
from typing import Any

from buildbot import config as buildbot_config
from buildbot.config.master import MasterConfig

from buildbot_selfserve.config.matcher import SelfServeEndpointMatcher
from buildbot_selfserve.config.selfserve import SelfServe
from buildbot_selfserve.config.selfserve import mistake_in

#: Our key in ``c['www']['plugins']``.
KEY = "selfserve"


def check_when_loaded() -> None:
    """Let ``MasterConfig.load_www`` report wrong values and rules of ours among its own mistakes.

    A master imports us before it reads master.cfg. ``buildbot checkconfig`` does so when master.cfg
    uses one of our classes, and otherwise not at all.
    """
    original = MasterConfig.load_www

    @functools.wraps(original)
    def load_www(self: Any, filename: str, config_dict: dict[str, Any]) -> None:
        original(self, filename, config_dict)
        plugins = self.www.get("plugins")
        if isinstance(plugins, dict) and KEY in plugins:
            mistake = mistake_in(plugins[KEY])
            if mistake:
                buildbot_config.error(mistake)
        elif isinstance(plugins, list | tuple | set | str) and KEY in plugins:
            buildbot_config.error("c['www']['plugins'] must be a dict: {'selfserve': True}")

        _check_rules(self.www.get("authz"), plugins.get(KEY) if isinstance(plugins, dict) else None)

    MasterConfig.load_www = load_www


def _check_rules(authz: Any, value: object) -> None:
    """Report rules of ours that would never match, which only their ``util.Authz`` can tell."""
    branches = value.branches if isinstance(value, SelfServe) else None
    sets = {name for one in branches or () for name, _ in one.branch.sets}
    for rule in getattr(authz, "allowRules", ()):
        if isinstance(rule, SelfServeEndpointMatcher):
            rule.check_action(authz.match, sets)
