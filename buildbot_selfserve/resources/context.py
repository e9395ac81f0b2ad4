"""What handlers find in ``ctx``: all that this room knows of the rest of the house."""

from __future__ import annotations

import datetime
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import Protocol

from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Budget
from buildbot_selfserve.model import BuildDetail
from buildbot_selfserve.model import Builders
from buildbot_selfserve.model import BuilderSet
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Day
from buildbot_selfserve.model import Decision
from buildbot_selfserve.model import Done
from buildbot_selfserve.model import Jobs
from buildbot_selfserve.model import ListedBranch
from buildbot_selfserve.model import Measured
from buildbot_selfserve.model import Possible
from buildbot_selfserve.model import Receipt
from buildbot_selfserve.model import RequestDetail
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import RevisionRows
from buildbot_selfserve.model import UserRows
from buildbot_selfserve.model import WaitCondition


class History(Protocol):
    """What can be read of the builds of this Buildbot."""

    def branches(self, search: str | None = None) -> Sequence[ListedBranch]: ...

    def revisions(self, branch: Branch, text: str) -> list[Revision]: ...
    def revisions_on(self, branches: Sequence[Branch], text: str) -> list[Revision]: ...

    def day(self, branch: Branch, date: datetime.date | None) -> Day: ...

    def rows_at(self, revision: Revision, patched: bool = False) -> RevisionRows: ...

    def done(self, revision: Revision, stable_delay: int) -> Done: ...

    def wait_condition(self, revision: Revision, stable_delay: int) -> WaitCondition: ...

    def builders(self, branch: Branch) -> Builders: ...

    def builder_sets(self, branch: Branch) -> tuple[BuilderSet, ...]: ...

    def is_built(self, row: BuildRow | RequestRow) -> bool: ...

    def possible(self, revision: AnyRevision) -> Possible: ...

    def rows_of_user(self, branch: Branch, user: str, request_ids: Iterable[int]) -> UserRows: ...

    def build_detail(self, build: BuildRow) -> BuildDetail: ...

    def request_detail(self, branch: Branch, request: RequestRow) -> RequestDetail: ...


class Journal(Protocol):
    """What can be read of the journal."""

    def jobs(self, num: int, offset: int, **filters: Any) -> Jobs: ...

    def requests_made_for(self, who: str, branch: Branch) -> list[int]: ...

    def budgets(self, who: str, via: str) -> tuple[Budget, ...]: ...


class Visitor(Protocol):
    """Who asks."""

    @property
    def name(self) -> str | None: ...

    @property
    def via(self) -> str: ...


class ReadContext(Protocol):
    """The ``ctx`` of a GET handler; it lives outside the reactor."""

    @property
    def history(self) -> History: ...

    @property
    def journal(self) -> Journal: ...

    def openapi(self) -> dict[str, Any]:
        """Return this API as an OpenAPI document."""
        ...

    @property
    def visitor(self) -> Visitor: ...

    @property
    def decisions(self) -> Mapping[str, Decision]:
        """Return whether the visitor may do what the route offers, by action."""
        ...


class LiveContext(Protocol):
    """The ``ctx`` of the handler of a live GET; it lives in the reactor."""

    def measured(self) -> Measured: ...


class Control(Protocol):
    """What can be done in the master; each is given to ``jobs.run``, never called by a handler."""

    rebuild: Callable[..., Awaitable[Any]]
    cancel_build: Callable[..., Awaitable[Any]]
    cancel_request: Callable[..., Awaitable[Any]]
    cancel_revision: Callable[..., Awaitable[Any]]
    reprioritize: Callable[..., Awaitable[Any]]
    new_builds: Callable[..., Awaitable[Any]]
    build_set: Callable[..., Awaitable[Any]]
    build: Callable[..., Awaitable[Any]]


class JobRunner(Protocol):
    """Runs a job request for whoever asks, and records it."""

    async def run(
        self, action: str, act: Callable[..., Any], *nouns: Any, **params: Any
    ) -> Receipt:
        """Journal, act on *nouns* with *params*, journal; return the receipt."""
        ...


class JobContext(Protocol):
    """The ``ctx`` of the handler of a job request; it lives in the reactor."""

    @property
    def control(self) -> Control: ...

    @property
    def jobs(self) -> JobRunner: ...
