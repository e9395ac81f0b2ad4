"""What handlers find in ``ctx``."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote
from urllib.parse import urlencode

from buildbot_selfserve.history import History
from buildbot_selfserve.jobs import JobRunner
from buildbot_selfserve.journal.reader import JournalReader
from buildbot_selfserve.model import Decision
from buildbot_selfserve.model import MasterState
from buildbot_selfserve.model import Measured
from buildbot_selfserve.model import PlannedReceipt
from buildbot_selfserve.model import Receipt

#: What a job request returns: its receipt, or that of a dry run.
Answer = Receipt | PlannedReceipt


@dataclass(frozen=True)
class Visitor:
    """The user who looks at an answer.

    :param name: ``None`` for nobody in particular
    :param also: the other names by which Buildbot knows them
    :param via: how they proved it, as the journal writes it
    :param login: the URL at which they can log in; empty when they cannot
    :param logout: the URL at which they can log out; likewise
    """

    name: str | None = None
    login: str = ""
    logout: str = ""
    via: str = "anonymous"
    also: tuple[str, ...] = ()

    @property
    def own_pushes(self) -> str:
        """Return the path below the root of the page of their pushes."""
        path = f"/user/{quote(self.name or '', safe='', errors='replace')}/pushes"
        query = urlencode([("also", one) for one in self.also], errors="replace")
        return f"{path}?{query}" if query else path


@dataclass(frozen=True)
class ReadContext:
    """The ``ctx`` of a GET handler, in a reader.

    :param openapi: returns this API as an OpenAPI document
    :param decisions: whether the visitor may do what the route offers, by action
    :param state: what the live objects of the master know, where the route needs it
    """

    history: History
    journal: JournalReader
    openapi: Callable[[], dict[str, Any]]
    visitor: Visitor
    decisions: Mapping[str, Decision]
    state: MasterState | None = None

    @property
    def master_state(self) -> MasterState:
        """Return what the live objects of the master know."""
        assert self.state is not None, "the route does not say that it needs the master's state"
        return self.state


@dataclass(frozen=True)
class LiveContext:
    """The ``ctx`` of the handler of a live GET, in the reactor."""

    measured: Callable[[], Measured]


@dataclass(frozen=True)
class JobContext:
    """The ``ctx`` of the handler of a job request, in the reactor.

    :param jobs: runs a planner of ``control/planners``, carries its plan out, and records that in
        the journal
    """

    jobs: JobRunner
