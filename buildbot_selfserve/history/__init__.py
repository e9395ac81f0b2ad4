"""Reads Buildbot's tables: branches, revisions, builds and requests of the past and of now.

Every function takes a connection and plain values and returns values of ``model``; none of them
writes, or knows in which thread or process it runs. What never changes is kept in ``index/``,
and nowhere else. Nothing else in the house reads Buildbot's tables.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import sqlalchemy as sa

from buildbot_selfserve.history import branches
from buildbot_selfserve.history import builders
from buildbot_selfserve.history import builds
from buildbot_selfserve.history import days
from buildbot_selfserve.history import health
from buildbot_selfserve.history import logs
from buildbot_selfserve.history import pushes
from buildbot_selfserve.history import queue
from buildbot_selfserve.history import ranges
from buildbot_selfserve.history import revisions
from buildbot_selfserve.history import search
from buildbot_selfserve.history import sourcestamps
from buildbot_selfserve.history import steps
from buildbot_selfserve.history import users
from buildbot_selfserve.history.index import Facts
from buildbot_selfserve.history.index import Index
from buildbot_selfserve.history.index import Version
from buildbot_selfserve.model import AnyRevision
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import BuildDetail
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import BuilderHealth
from buildbot_selfserve.model import BuilderResult
from buildbot_selfserve.model import Builders
from buildbot_selfserve.model import BuilderSet
from buildbot_selfserve.model import BuildRow
from buildbot_selfserve.model import Claim
from buildbot_selfserve.model import Day
from buildbot_selfserve.model import Destination
from buildbot_selfserve.model import Done
from buildbot_selfserve.model import Duration
from buildbot_selfserve.model import FailedStep
from buildbot_selfserve.model import Health
from buildbot_selfserve.model import LastGreen
from buildbot_selfserve.model import ListedBranch
from buildbot_selfserve.model import Log
from buildbot_selfserve.model import LogText
from buildbot_selfserve.model import Pending
from buildbot_selfserve.model import PendingRequest
from buildbot_selfserve.model import Possible
from buildbot_selfserve.model import Pushes
from buildbot_selfserve.model import Range
from buildbot_selfserve.model import RangeRevision
from buildbot_selfserve.model import Related
from buildbot_selfserve.model import RequestDetail
from buildbot_selfserve.model import RequestNow
from buildbot_selfserve.model import RequestRow
from buildbot_selfserve.model import Revision
from buildbot_selfserve.model import RevisionRows
from buildbot_selfserve.model import Row
from buildbot_selfserve.model import SearchResults
from buildbot_selfserve.model import Selection
from buildbot_selfserve.model import Setup
from buildbot_selfserve.model import SetupBasis
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import Sourcestamp
from buildbot_selfserve.model import Step
from buildbot_selfserve.model import UserRows
from buildbot_selfserve.model import WaitCondition
from buildbot_selfserve.model import WantedRange


class History:
    """The reads of this room, bound to a connection: what GET handlers find in ``ctx.history``."""

    def __init__(self, connection: sa.Connection, index: Index, site: Site) -> None:
        self.connection = connection
        self.site = site
        self._index = index

    @cached_property
    def facts(self) -> Facts:
        """Return what the index knows, as new as the database is when it is first asked for."""
        return self._index.facts(self.connection)

    @property
    def version(self) -> Version:
        """Return the version of the database when ``facts`` were asked for (``Index.version``)."""
        return self._index.version(self.connection)

    # -- nouns

    def branch(self, name: str) -> Branch | None:
        """Return the branch that URLs call *name*, if there is one."""
        return branches.branch(self.connection, self.facts, self.site, name)

    def branch_names_near(self, text: str, count: int) -> Sequence[str]:
        """Return the *count* names of branches beside which *text* would stand in their order."""
        return branches.names_near(self.connection, self.facts, self.site, text, count)

    def revisions(self, branch: Branch, text: str) -> list[Revision]:
        """Return the revisions on *branch* that *text* may mean: none, one or several."""
        return revisions.candidates(self.connection, self.facts, (branch,), text)

    def revisions_on(self, branches: Sequence[Branch], text: str) -> list[Revision]:
        """Return the revisions on *branches* that *text* may mean, by branches."""
        return revisions.candidates(self.connection, self.facts, branches, text)

    def elsewhere(self, branch: Branch, text: str) -> list[Revision]:
        """Return what *text* means on some other branches."""
        return revisions.elsewhere(self.connection, self.facts, self.site, branch, text)

    def build(self, branch: Branch, build_id: int) -> BuildRow | None:
        """Return the build of this id if it belongs to *branch*."""
        return builds.build(self.connection, self.facts, branch, build_id)

    def request(self, branch: Branch, request_id: int) -> RequestRow | None:
        """Return the build request of this id if it belongs to *branch*."""
        return builds.request(self.connection, self.facts, branch, request_id)

    def steps(self, build: BuildRow) -> tuple[Step, ...]:
        """Return the steps of *build*, also those that are hidden."""
        return steps.steps(self.connection, build.build_id)

    def any_revision(self, branch: Branch, text: str) -> list[AnyRevision]:
        """Return the revisions that may be built when *text* is asked for: one, or several."""
        return revisions.to_build(self.connection, self.facts, branch, text)

    def known_revision(self, revision: Revision) -> AnyRevision:
        """Return how a *revision* is built that is known."""
        return revisions.known_revisions(self.connection, self.facts, [revision])[0]

    def builder(self, branch: Branch, name: str) -> Builder | None:
        """Return the builder of this name if one may ask for it on *branch*."""
        every = builders.allowed(self.connection, self._setup, branch)
        return next((one for one in every if one.name == name), None)

    def virtual_builder(self, branch: Branch, name: str) -> Builder | None:
        """Return the virtual builder of this name, if its lender may be asked for on *branch*."""
        allowed = builders.allowed(self.connection, self._setup, branch)
        return builders.virtual_builder(self.connection, allowed, name)

    def builder_set(self, branch: Branch, name: str) -> BuilderSet | None:
        """Return the set of builders of this name on *branch*."""
        every = self.builder_sets(branch)
        return next((one for one in every if one.name == name), None)

    def builder_names(self) -> list[str]:
        """Return the names of all builders, also of removed ones, sorted."""
        return builders.builder_names(self.connection)

    def builder_names_by_tag(self) -> dict[str, set[str]]:
        """Return the names of all builders that have a tag, by tag."""
        return builders.names_by_tag(self.connection)

    @property
    def _setup(self) -> Setup:
        assert self.site.setup is not None, "the route does not say that it needs the setup"
        return self.site.setup

    # -- reads

    def branches(self, search: str | None = None) -> Sequence[ListedBranch]:
        """Return all branches, or those with a text in their names, the newest first."""
        return branches.branches(self.connection, self.facts, self.site, search)

    def day(self, branch: Branch, date: datetime.date | None) -> Day:
        """Return what happened on *branch* on *date*, or today."""
        return days.day(self.connection, self.facts, branch, date, self.site.timezone)

    def rows_at(self, revision: Revision, patched: bool = False) -> RevisionRows:
        """Return everything that was asked for at *revision*; with *patched* also try builds."""
        return revisions.rows_at(self.connection, self.facts, revision, patched)

    def done(self, revision: Revision, stable_delay: int) -> Done | None:
        """Return whether *revision* is done, and how it went; ``None`` if nothing is there."""
        return revisions.done(self.connection, self.facts, revision, stable_delay)

    def results_at(self, revision: Revision) -> list[BuilderResult]:
        """Return what each builder has made of *revision*, by name."""
        return revisions.results_at(self.connection, self.facts, revision)

    def health(
        self, revision: Revision, base: Revision | None = None, with_change: bool = True
    ) -> Health | None:
        """Return the health of *revision*, compared with *base* or what was before it.

        :param with_change: also what its change says
        """
        reacting = builders.existing_named(self.connection, self.facts, self._setup.reacting)
        return health.health(self.connection, self.facts, revision, base, reacting, with_change)

    def health_of_build(self, branch: Branch, build: BuildRow) -> BuilderHealth | None:
        """Return how the builder of a *build* compares that failed; ``None`` if it did not."""
        return health.health_of_build(self.connection, self.facts, branch, build)

    def pushes(
        self,
        branch: Branch,
        limit: int,
        before: Revision | None = None,
        author: str | None = None,
    ) -> Pushes:
        """Return the newest pushes of *branch*, or those before a revision, or of an author."""
        return pushes.pushes(self.connection, self.facts, branch, limit, before, author)

    def pushes_named(self, users: tuple[str, ...], text: str) -> list[Revision]:
        """Return the pushes of *users* on all branches that *text* may mean, the newest first."""
        return pushes.pushes_named(self.connection, self.facts, self.site, users, text)

    def pushes_of_user(
        self, users: tuple[str, ...], limit: int, before: Revision | None = None
    ) -> Pushes:
        """Return the newest pushes of *users* on all branches, or those before one of them."""
        return pushes.pushes_of_user(self.connection, self.facts, self.site, users, limit, before)

    def newest_pushes(self, branches: Sequence[Branch]) -> dict[str, Health]:
        """Return the newest push of each of *branches*, by their names."""
        return pushes.newest_pushes(self.connection, self.facts, branches)

    def only_tags(self) -> dict[str, str]:
        """Return the tag of each builder that has just one, if another builder has it, too."""
        return builders.only_tags(self.connection)

    def last_green(self, branch: Branch, selection: Selection, most: int) -> LastGreen | int:
        """Return the newest of *most* revisions at which all selected builders passed.

        Or else how many were looked at.
        """
        return pushes.last_green(self.connection, self.facts, branch, selection, most)

    def find_range(
        self,
        branch: Branch,
        buildername: str,
        bad: Revision | None,
        good: Revision | None,
        most: int,
        force: bool = False,
    ) -> Range:
        """Return the revisions between *good* and *bad*, and what a builder has made of each.

        :raises Refused: one of the ends is to be found, and is not; see ``ranges.find_range``
        :raises BadParameter: *good* is not before *bad*, or more than *most* revisions before it
        """
        return ranges.find_range(
            self.connection, self.facts, branch, buildername, bad, good, most, force
        )

    def wait_condition(self, revision: Revision, stable_delay: int) -> WaitCondition | None:
        """Return what *revision* waits for before it is done; ``None`` as for ``done``."""
        return revisions.wait_condition(self.connection, self.facts, revision, stable_delay)

    def builders(self, branch: Branch) -> Builders:
        """Return the builders of *branch*."""
        return builders.builders(self.connection, self.facts, self._setup, branch)

    def builder_sets(self, branch: Branch) -> tuple[BuilderSet, ...]:
        """Return the sets of builders of *branch*, by name; some may have no builders."""
        return tuple(builders.builder_sets(self.connection, self.facts, self._setup, branch))

    def is_built(self, row: Row) -> bool:
        """Whether some master builds for the builder of *row* now."""
        return builders.is_built(self.connection, row.request.builder_id)

    def possible(self, revision: AnyRevision) -> Possible:
        """Return what can be built at *revision*."""
        branch, setup = revision.branch, self._setup
        sets = self.builder_sets(branch)
        deciding = {*setup.undecided, *(name for one in sets for name in one.undecided)}
        return Possible(
            revision,
            setup.reacting,
            sets,
            builders.allowed(self.connection, setup, branch),
            undecided=setup.undecided,
            failing=setup.failing,
            unclear=setup.unclear,
            lately=builders.chosen_by(self.connection, self.facts, branch, deciding),
            elsewhere=() if revision.known else tuple(self.elsewhere(branch, revision.revision)),
        )

    def setup_basis(self, branch: Branch, revision: AnyRevision | None) -> SetupBasis:
        """Return what the schedulers are to be asked with about *revision*, or about *branch*."""
        return builders.setup_basis(self.connection, self.facts, branch, revision)

    def rows_of_user(self, branch: Branch, user: str, request_ids: Iterable[int]) -> UserRows:
        """Return what *user* has built on *branch*, also by asking for *request_ids*."""
        return users.rows_of_user(self.connection, self.facts, branch, user, request_ids)

    def search(self, text: str, branch: Branch | None) -> SearchResults:
        """Return what *text* may mean; a revision is looked for on *branch* first."""
        return search.search(self.connection, self.facts, self.site, text, branch)

    def similar_authors(self, users: tuple[str, ...]) -> tuple[str, ...]:
        """Return authors of changes who may be the user that has these names."""
        return search.similar_authors(self.facts, users)

    def page_of(self, kind: str, asked: Any) -> Destination | None:
        """Return our page of a build, request, change or builder; ``None`` if it has none.

        :param kind: ``build``, ``request``, ``change`` or ``builder``
        :param asked: its id; of a builder, its id or name as text
        """
        return search.PAGES[kind](self.connection, self.facts, self.site, asked)

    def page_of_numbered_build(self, builder: str, number: int) -> Destination | None:
        """Return our page of the build with a *number* at a *builder*, an id or a name."""
        return search.page_of_numbered_build(
            self.connection, self.facts, self.site, builder, number
        )

    def spellings(self, revision: Revision) -> tuple[str, ...]:
        """Return the texts by which *revision* is known on its branch, sorted."""
        return tuple(sorted(revisions.spellings(self.facts, revision)))

    def states_of(self, request_ids: Sequence[int]) -> dict[int, RequestNow]:
        """Return what has become of requests on any branch, by id."""
        return builds.states_of(self.connection, request_ids)

    def related(
        self, request_id: int | None, build_id: int | None, revision: str | None
    ) -> Related:
        """Return the builds of a request, the request of a build, the spellings of a revision."""
        return builds.related(
            self.connection, self.facts, self.site, request_id, build_id, revision
        )

    def build_detail(self, build: BuildRow) -> BuildDetail:
        """Return *build* with the properties of its request, and its steps."""
        return builds.build_detail(self.connection, build)

    def failed_steps(self, build_ids: Sequence[int]) -> dict[int, FailedStep]:
        """Return the step that failed last in each of some builds in which one has, by build."""
        return steps.failed_steps(self.connection, build_ids)

    def log_text(self, log: Log, offset: int, tail: int | None) -> LogText:
        """Return what of *log* is to be sent; ``log_part`` reads it."""
        return logs.text(self.connection, log, offset, tail)

    def log_part(self, wanted: LogText) -> tuple[bytes, LogText | None]:
        """Return the next part of the text of a log, and what is left of it."""
        return logs.part(self.connection, wanted)

    # -- what waits

    def pending(self, master_id: int, enforcing: Collection[int]) -> Pending:
        """Return what waits on all branches, and what could build it on other masters.

        :param master_id: of the master that asks
        :param enforcing: the builders whose requests may ask for a worker
        """
        return queue.pending(self.connection, self.facts, master_id, enforcing)

    def claim(self, request_id: int) -> Claim | None:
        """Return which master has claimed a build request, if any."""
        return queue.claim(self.connection, request_id)

    def on_branch(self, branch: Branch, buildset_ids: Iterable[int]) -> set[int]:
        """Return those of *buildset_ids* that belong to *branch*."""
        return queue.on_branch(self.facts, branch, buildset_ids)

    def owners(self, buildset_ids: Iterable[int]) -> dict[int, str | None]:
        """Return who has asked for buildsets, or the author of their newest change, by id."""
        return self.facts.owners(buildset_ids)

    def pending_rows(
        self, branch: Branch | None, requests: Sequence[PendingRequest]
    ) -> dict[int, RequestRow]:
        """Return the rows of pending requests, by id; of all branches if *branch* is ``None``."""
        return queue.request_rows(self.connection, self.facts, self.site, branch, requests)

    def recent_waits(self) -> dict[int, list[int]]:
        """Return how long requests that started within a day have waited, by builder."""
        return self._index.recent_waits.of(self.connection)

    def durations(self, builder_ids: Collection[int]) -> dict[int, Duration]:
        """Return how long builds take, by builder id, where that is known."""
        return self._index.durations.of(self.connection, builder_ids)

    def sourcestamps_of(self, request_ids: Sequence[int]) -> dict[int, tuple[Sourcestamp, ...]]:
        """Return the sourcestamps of requests, by id."""
        return sourcestamps.of_requests(self.connection, request_ids)

    def request_detail(self, branch: Branch, request: RequestRow) -> RequestDetail:
        """Return *request* with its properties and builds."""
        return builds.request_detail(self.connection, self.facts, branch, request)


# What planners ask a reader for: functions, since methods of a history do not cross.


def results_at(history: History, revision: Revision) -> list[BuilderResult]:
    """Return what each builder has made of *revision*, by name."""
    return history.results_at(revision)


def find_range(history: History, wanted: WantedRange, most: int, force: bool) -> Range:
    """Return the revisions between a good and a bad one, with what a builder made of each.

    :raises SelfServeError: as ``History.find_range`` does
    """
    return history.find_range(
        wanted.branch, wanted.builder.name, wanted.bad, wanted.good, most, force
    )


def at_revisions(
    history: History, branch_name: str, buildername: str, texts: Sequence[str]
) -> dict[str, RangeRevision]:
    """Return the results of a builder at those of the whole revisions *texts* that exist."""
    branch = history.branch(branch_name)
    if branch is None:
        return {}
    return ranges.at_revisions(history.connection, history.facts, branch, buildername, texts)


def results_and_any(
    history: History, revision: Revision
) -> tuple[list[BuilderResult], AnyRevision]:
    """Return the same, and how *revision* is built."""
    return history.results_at(revision), history.known_revision(revision)
