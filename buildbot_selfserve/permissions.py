"""The named permissions: what each job request is called, for us and for Buildbot.

Every permission knows the Data API path and action under which Buildbot's own web UI would do the
same thing, because the operator's ``www.authz`` rules are written for those. A path that is
Buildbot's own matters: its authorization allows whatever matches no rule (buildbot-authz,
``Authz.assertUserAllowed``).
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Permission:
    """One thing that a person may or may not do.

    :param action: our name of the job request, as the journal writes it
    :param noun: which resolved noun of the route it is about: ``build`` or ``request``
    :param endpoint: the first element of the Data API path, ``builds`` or ``buildrequests``
    :param native: the Data API action that Buildbot's own UI would send there
    """

    action: str
    noun: str
    endpoint: str
    native: str


REBUILD_BUILD = Permission("rebuild_build", "build", "builds", "rebuild")
CANCEL_BUILD = Permission("cancel_build", "build", "builds", "stop")
#: Buildbot's UI rebuilds builds only; web.may asks its Rebuild rules about requests, too.
REBUILD_REQUEST = Permission("rebuild_request", "request", "buildrequests", "rebuild")
CANCEL_REQUEST = Permission("cancel_request", "request", "buildrequests", "cancel")
REPRIORITIZE = Permission("reprioritize", "request", "buildrequests", "set_priority")
