"""The services of one master's pipeline: configuration, readers, tokens, jobs, live answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from twisted.internet import defer

from buildbot_selfserve import buildbot_private
from buildbot_selfserve.auth import time_limits
from buildbot_selfserve.auth.tokens import Tokens
from buildbot_selfserve.config import SelfServe
from buildbot_selfserve.config import configured_or_none
from buildbot_selfserve.control.branch_setup import BranchSetups
from buildbot_selfserve.control.branch_setup import watched_branches
from buildbot_selfserve.control.enforce_holds import Holds
from buildbot_selfserve.control.explain.collect import MasterStates
from buildbot_selfserve.databases import Databases
from buildbot_selfserve.history.index import Version
from buildbot_selfserve.jobs import Jobs
from buildbot_selfserve.live import Live
from buildbot_selfserve.metrics import Metrics
from buildbot_selfserve.model import Setup
from buildbot_selfserve.model import SetupBasis
from buildbot_selfserve.model import Site
from buildbot_selfserve.readers import Readers
from buildbot_selfserve.routes import Route
from buildbot_selfserve.views.read_handler import setup_basis

#: Our key in ``c['www']['plugins']``.
KEY = "selfserve"
#: So many branches are remembered with what builds them: those that were last asked for.
MOST_REMEMBERED = 200
#: The views that come with Buildbot, by their key in ``c['www']['plugins']``: path and caption in
#: its sidebar.
VIEWS = {
    "grid_view": ("grid", "Grid View"),
    "console_view": ("console", "Console View"),
    "waterfall_view": ("waterfall", "Waterfall View"),
}
#: The setting that ``static/scripts.js`` adds to Buildbot's settings, and what its choices mean.
SCHEME_SETTING = "Selfserve.color_scheme"
SCHEMES = {"Light": "light", "Dark": "dark"}


class Backend:
    """Holds what handling a request needs; a reconfig may change all of it."""

    def __init__(
        self,
        master: Any,
        config: SelfServe,
        databases: Databases,
        tokens: Tokens,
        jobs: Jobs,
        live: Live,
        metrics: Metrics,
        holds: Holds,
    ) -> None:
        self.master = master
        self.config = config
        self.jobs = jobs
        self.live = live
        self.metrics = metrics
        self._databases = databases
        self._tokens = tokens
        # the configuration of Buildbot's whose secrets the tokens have
        self._tokens_of: Any = None
        self._site: Site | None = None
        self._setups: dict[SetupBasis, Setup] = {}
        #: what readers were last told of nouns, until they find that it is outdated
        self._likely: dict[tuple[str, ...], Site] = {}
        self._branch_setups = BranchSetups(master)
        self._states = MasterStates(master, holds)

    @property
    def readers(self) -> Readers:
        """Return where reads run.

        :raises Unavailable: they have not started yet, or have ended
        """
        return self._databases.readers

    @property
    def version(self) -> Version:
        """Return the version of the database, if it can be told at once (``Databases.version``)."""
        return self._databases.version

    def ask_version(self) -> defer.Deferred[Version] | None:
        """Return the version of the database from its server (``Databases.ask_version``)."""
        return self._databases.ask_version()

    @property
    def limits(self) -> dict[str, int]:
        """Return the bounds of parameters that the operator configured."""
        return {"max_count": self.config.max_count}

    @property
    def site(self) -> Site:
        """Return what readers must know of the configuration."""
        if self._site is None:
            site = _site(self.master, self.config)
            if not buildbot_private.is_initialized(self.master):
                return site  # schedulers may still be missing
            self._site = site
        return self._site

    async def site_for(self, route: Route, texts: dict[str, str], form: str = "json") -> Site:
        """Return what a reader must know of the configuration to answer *route* in a *form*.

        :raises NotFound: the route needs to know what builds the branch, or a revision of it, and
            there is no such one
        """
        if not needs_setup(route, form):
            return self.site
        nouns = _setup_nouns(route, texts)
        basis, setup = await self._setup(nouns)
        site = replace(self.site, setup=setup)
        if self._setups.get(basis) is setup:
            key = tuple(nouns.values())
            self._likely.pop(key, None)
            self._likely[key] = replace(site, basis=basis)
            if len(self._likely) > MOST_REMEMBERED:
                del self._likely[next(iter(self._likely))]
        return site

    def likely_site(self, route: Route, texts: dict[str, str]) -> Site | None:
        """Return what :meth:`site_for` returned the last time, with its basis, if it is known.

        So a reader is asked once; it raises :class:`OutdatedSetup` where the basis is another now.
        """
        key = tuple(_setup_nouns(route, texts).values())
        site = self._likely.pop(key, None)
        if site is None or site.basis is None:
            return None
        # what was asked for last is forgotten last
        self._likely[key] = site
        known = self._setups.pop(site.basis, None)
        if known is not None:
            self._setups[site.basis] = known
        return site

    async def master_state_for(self, route: Route, form: str = "json") -> bytes:
        """Return what the live objects of the master know, pickled, if *route* needs it."""
        if not (route.needs_master_state or (route.page_needs_master_state and form == "html")):
            return b""
        return await self.master_state()

    async def master_state(self) -> bytes:
        """Return what the live objects of the master know, pickled."""
        return await self._states.pickled()

    async def _setup(self, nouns: dict[str, str]) -> tuple[SetupBasis, Setup]:
        """Return what is configured to build a branch, or a revision of it, and its basis.

        It is worked out here in the reactor, by functions of the operator's: for branches that
        there are, and for no text that somebody makes up. A new change on the branch makes it
        another one.

        :raises NotFound: there is no such branch
        """
        basis = await self.readers.ask(setup_basis, self.site, nouns)
        if not buildbot_private.is_initialized(self.master):
            # some may be missing
            return basis, await self._worked_out(BranchSetups(self.master), basis)
        known, remembered = self._setups.pop(basis, None), self._setups
        if known is None:
            known = await self._worked_out(self._branch_setups, basis)
        # after a reconfig meanwhile, it is remembered no more
        remembered[basis] = known
        if len(remembered) > MOST_REMEMBERED:
            del remembered[next(iter(remembered))]
        return basis, known

    async def _worked_out(self, setups: BranchSetups, basis: SetupBasis) -> Setup:
        """Return what is configured to build what *basis* is about; it asks for its changes.

        :raises Unavailable: the master's database does not answer in time
        """
        return await time_limits.in_time(self.master, setups.setup(basis), self.config.timeout)

    @property
    def tokens(self) -> Tokens:
        """Return the API tokens of the configuration of now.

        We are not told of a reconfig in which something fails before it comes to us.
        """
        if self._tokens_of is not self.master.config and not self.master.initLock.locked:
            plugins = self.master.config.www.get("plugins") or {}
            now = configured_or_none(plugins.get(KEY, False)) or SelfServe()
            self._tokens.configure(now.tokens, now.timezone)
            self.load_tokens()
        return self._tokens

    def load_tokens(self) -> None:
        """Read the secrets of the tokens, which the configuration of now gives."""
        self._tokens_of = self.master.config
        self._tokens.load()

    def configure(self, config: SelfServe) -> None:
        """Follow the configuration *config*, but for the secrets of its tokens."""
        self.config = config
        self.jobs.timeout = config.timeout
        self.jobs.limits = config.limits
        self.jobs.most_ongoing = config.max_bisections
        self.jobs.backfill_priority = config.backfill_priority
        self._tokens.configure(config.tokens, config.timezone)
        self.forget_configuration()

    def forget_configuration(self) -> None:
        """Forget what was worked out from an earlier configuration."""
        self._site = None
        self._setups = {}
        self._likely = {}
        self._branch_setups = BranchSetups(self.master)
        self.live.connections.most = self.config.max_waiting
        self.live.connections.most_of_one = self.config.max_waiting_per_client


def needs_setup(route: Route, form: str) -> bool:
    """Return whether *route* needs to know in this *form* what builds the branch."""
    return route.needs_setup or (route.page_needs_setup and form == "html")


def _setup_nouns(route: Route, texts: dict[str, str]) -> dict[str, str]:
    """Return the nouns that what builds the branch depends on; for a job request, only that."""
    about = ("branch", "any_revision", "revision") if route.method == "GET" else ("branch",)
    return {noun: texts[noun] for noun in about if noun in texts}


def _site(master: Any, config: SelfServe) -> Site:
    branches = config.branches
    return Site(
        path=config.path,
        buildbot_url=master.config.buildbotURL,
        title=master.config.title,
        buildbot_views=_views(master.config.www),
        color_scheme=_color_scheme(master.config.www),
        timezone=config.timezone,
        max_count=config.max_count,
        limits=config.limits,
        branches=None if branches is None else tuple(one.branch for one in branches),
        hinted_branches=watched_branches(master),
    )


def _views(www: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    plugins = www.get("plugins") or {}
    return tuple(view for key, view in VIEWS.items() if key in plugins)


def _color_scheme(www: Mapping[str, Any]) -> str:
    """Return what the operator has set for all visitors, as other settings of Buildbot's pages."""
    defaults = www.get("ui_default_config")
    chosen = defaults.get(SCHEME_SETTING) if isinstance(defaults, dict) else None
    return SCHEMES.get(str(chosen), "")
