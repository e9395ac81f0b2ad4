"""The client: asks self-serve over HTTP, from scripts, from Twisted and as a command.

Of the rest of the package it knows only the types of the answers (``answers``). ``exchange`` has
one question and its answer, ``core`` all questions; ``sync`` and ``deferred`` carry them out, and
``command`` is ``selfserve``. What it needs comes with the extra ``cli``; the client for Twisted is
in ``client.deferred``.
"""

from __future__ import annotations

from buildbot_selfserve.client import errors
from buildbot_selfserve.client import rows
from buildbot_selfserve.client.errors import ClientError
from buildbot_selfserve.client.settings import Credentials
from buildbot_selfserve.client.settings import Settings
from buildbot_selfserve.client.settings import load
from buildbot_selfserve.client.sync import Client

__all__ = [
    "Client",
    "ClientError",
    "Credentials",
    "Settings",
    "errors",
    "load",
    "rows",
]
