"""What master.cfg says, checked while it is read.

Mistakes are reported through ``buildbot.config.error``, so that ``buildbot checkconfig`` names all
of them at once. Nothing here may leak: Buildbot publishes the values of ``c['www']['plugins']`` to
every visitor, and of ours only ``getConfigDict()``, which is the path.
"""

from __future__ import annotations

from buildbot_selfserve.config.branches import SelfServeBranch
from buildbot_selfserve.config.checkconfig import check_when_loaded
from buildbot_selfserve.config.limits import SelfServeLimits
from buildbot_selfserve.config.matcher import SelfServeEndpointMatcher
from buildbot_selfserve.config.selfserve import SelfServe
from buildbot_selfserve.config.selfserve import configured
from buildbot_selfserve.config.selfserve import configured_or_none
from buildbot_selfserve.config.selfserve import database_url
from buildbot_selfserve.config.tokens import SelfServeToken
from buildbot_selfserve.config.unmatched import unmatched

__all__ = [
    "SelfServe",
    "SelfServeBranch",
    "SelfServeEndpointMatcher",
    "SelfServeLimits",
    "SelfServeToken",
    "configured",
    "configured_or_none",
    "database_url",
    "unmatched",
]

check_when_loaded()
