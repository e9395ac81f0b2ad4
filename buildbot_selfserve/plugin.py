"""Puts the house together inside a master, and keeps it together through reconfigs.

``application`` is what Buildbot loads (entry point ``buildbot.www``). It makes a child service of
the master, which is told of every reconfig and of the master's end.
"""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Sequence
from typing import Any

from buildbot.config import ConfigErrors
from buildbot.util.service import AsyncService
from buildbot.util.service import ReconfigurableServiceMixin
from buildbot.www.plugin import Application
from twisted.internet import defer
from twisted.internet import task
from twisted.logger import Logger

from buildbot_selfserve.auth.login_redirects import LoginRedirects
from buildbot_selfserve.auth.tokens import Tokens
from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.config import SelfServe
from buildbot_selfserve.config import configured
from buildbot_selfserve.control import Control
from buildbot_selfserve.control.availability import Availability
from buildbot_selfserve.control.branch_setup import setup
from buildbot_selfserve.control.branch_setup import watched_branches
from buildbot_selfserve.databases import Databases
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.gc_freeze import GcFreeze
from buildbot_selfserve.jobs import Jobs
from buildbot_selfserve.live import Live
from buildbot_selfserve.metrics import Metrics
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import Setup
from buildbot_selfserve.model import Site
from buildbot_selfserve.readers import Readers
from buildbot_selfserve.secrets import Secrets
from buildbot_selfserve.views.read_handler import resolve
from buildbot_selfserve.views.read_handler import sourcestamps_of
from buildbot_selfserve.web.mounting import Mount
from buildbot_selfserve.web.pipeline import Pipeline

#: Our key in ``c['www']['plugins']``.
KEY = "selfserve"
#: So many branches are remembered with what builds them: those that were last asked for.
MOST_REMEMBERED = 200
#: Seconds between two looks for what masters left open that have gone.
GONE_INTERVAL = 60.0


class SelfServeService(ReconfigurableServiceMixin, AsyncService):
    """Self-serve in one master: a child service that holds all rooms together.

    :param web_root: the resource at ``/`` of the master's web port
    :param retired: called when this service stops, because its master does or because the plugin
        was taken out of the configuration
    """

    name = "selfserve"
    log = Logger()
    # after everything that pages tell of has its new configuration
    reconfig_priority = 1

    def __init__(self, master: Any, web_root: Any, config: SelfServe, retired: Any) -> None:
        self._master = master
        self._web_root = web_root
        self._retired = retired
        self._site: Site | None = None
        self._setups: dict[str, Setup] = {}
        self.config = config
        clock = monotonic(master.reactor)
        secrets = Secrets(master)
        self.databases = Databases(
            master, secrets, self._reconcile_left_open, lambda: self.jobs.begin_anew()
        )
        self.live = Live(clock, self._sourcestamps_of)
        self.metrics = Metrics()
        self.control = Control(master)
        self._tokens = Tokens(master, secrets)
        # the configuration of Buildbot's whose secrets they have
        self._tokens_of: Any = None
        self._gc_freeze = GcFreeze(clock.callLater)
        self._availability = Availability(master, clock)
        self.jobs = Jobs(
            clock,
            self.databases.write,
            self._check_available,
            self.control.reconcile,
            self.control.follow,
            lambda: int(master.masterid),
            self.metrics.job_ended,
        )
        self._watch()
        self._takeover_loop = task.LoopingCall(self._reconcile_of_gone)
        self._takeover_loop.clock = clock
        self._pipeline = Pipeline(master, self)
        self._mount = Mount(self._pipeline.nothing())
        self._login_redirects = LoginRedirects(master, lambda: self.site)
        self.configure(config)

    # -- what the pipeline asks for

    @property
    def site(self) -> Site:
        """Return what readers must know of the configuration."""
        if self._site is None:
            site = _site(self._master, self.config)
            if not self._master._master_initialized:
                return site  # schedulers may still be missing
            self._site = site
        return self._site

    async def setup(self, branch_name: str) -> Setup:
        """Return what is configured to build the branch.

        It is worked out here in the reactor, by functions of the operator's: for branches that
        there are, and for no text that somebody makes up.

        :raises NotFound: there is no such branch
        """
        if branch_name not in self._setups:
            found = await self.readers.ask(resolve, self.site, {"branch": branch_name})
            branch_name = found["branch"].name
        if branch_name not in self._setups:
            self._setups[branch_name] = setup(self._master, self._branch(branch_name))
        known = self._setups[branch_name] = self._setups.pop(branch_name)  # the last one now
        if len(self._setups) > MOST_REMEMBERED:
            del self._setups[next(iter(self._setups))]
        return known

    def _branch(self, name: str) -> Branch:
        named = (one for one in self.site.branches or () if one.name == name)
        return next(named, Branch(name, (name,)))

    @property
    def readers(self) -> Readers:
        """Return where reads run.

        :raises Unavailable: they have not started yet, or have ended
        """
        return self.databases.readers

    @property
    def tokens(self) -> Tokens:
        """Return the API tokens of the configuration of now.

        We are not told of a reconfig in which something fails before it comes to us.
        """
        if self._tokens_of is not self._master.config and not self._master.initLock.locked:
            plugins = self._master.config.www.get("plugins") or {}
            now = _or_nothing(plugins.get(KEY, False))
            now = now or SelfServe()
            self._tokens.configure(now.tokens, now.timezone)
            self._load_tokens()
        return self._tokens

    def _load_tokens(self) -> None:
        self._tokens_of = self._master.config
        self._tokens.load()

    # -- life

    def configure(self, config: SelfServe) -> None:
        """Follow the configuration *config*."""
        self.config = config
        self.jobs.timeout = config.timeout
        self.jobs.limits = config.limits
        self._tokens.configure(config.tokens, config.timezone)
        if self.running and not self._master._master_initialized:
            self._load_tokens()  # else when the reconfig has come to us
        self._forget_configuration()
        self._mount.move(self._web_root, config.segments, self._pipeline.resource)
        self._login_redirects.install(self._web_root)

    def startService(self) -> None:
        """Start the readers, and bring the journal up to date in the background."""
        super().startService()
        self.live.start(self._master.mq.startConsuming)
        self.databases.open(self.config)
        self._takeover_loop.start(GONE_INTERVAL, now=False)
        self._load_tokens()
        self._freeze_gc()

    @defer.inlineCallbacks
    def reconfigServiceWithBuildbotConfig(self, new_config: Any) -> Any:
        """Forget what was worked out from the old configuration; go if we are not in the new."""
        self._forget_configuration()
        if KEY not in (new_config.www.get("plugins") or {}):
            yield self.disownServiceParent()
        else:
            # the providers of secrets are those of the new configuration now
            self._load_tokens()
            if self.running:
                self.databases.open(self.config)
            self.live.reconfigured()
            self._freeze_gc()

    @defer.inlineCallbacks
    def stopService(self) -> Any:
        """End job requests that run, then the readers."""
        yield super().stopService()
        self._takeover_loop.stop()
        self._gc_freeze.stop()
        self._retired()
        self._mount.remove()
        self._login_redirects.remove(self._web_root)
        yield defer.Deferred.fromCoroutine(self.live.stop())
        self._tokens.stop()
        yield defer.Deferred.fromCoroutine(self.jobs.finish())
        yield self.databases.close()

    def _forget_configuration(self) -> None:
        self._site = None
        self._setups.clear()
        self.live.connections.most = self.config.max_waiting
        self.live.connections.most_of_one = self.config.max_waiting_per_client

    def _freeze_gc(self) -> None:
        """Let the master come to rest, and spare it long looks for garbage, if we may."""
        if not self.config.gc_freeze:
            self._gc_freeze.stop()
        elif self.running:
            self._gc_freeze.freeze_when_idle()

    async def _reconcile_left_open(self) -> None:
        """Close what this master left open when it stopped the last time."""
        reconciled = await self.jobs.reconcile_left_open()
        if reconciled:
            self.log.info("selfserve: settled {n} jobs that were left open", n=reconciled)

    @defer.inlineCallbacks
    def _reconcile_of_gone(self) -> Any:
        """Close what masters left open that will not do so themselves."""
        if not self.databases.ready:
            return
        try:
            reconciled = yield defer.Deferred.fromCoroutine(self._take_over())
        except Exception:
            self.log.failure("selfserve: cannot settle what other masters left open")
            return
        if reconciled:
            self.log.info("selfserve: took over {n} jobs of masters that are gone", n=reconciled)

    async def _take_over(self) -> int:
        # those that stop end their jobs first, after they have said that they stop
        gone = await self.control.gone_masters(self.config.timeout + GONE_INTERVAL)
        return await self.jobs.reconcile_of_gone(gone)

    # -- what live answers need

    def _sourcestamps_of(self, request_ids: Sequence[int]) -> Awaitable[Any]:
        return self.readers.ask(sourcestamps_of, self.site, request_ids)

    def _watch(self) -> None:
        """Let the metrics see what there is now."""
        for name, text, value in (
            ("selfserve_held_answers", "Answers that are held back.", lambda: self.live.wait_for),
            (
                "selfserve_event_streams",
                "Clients that listen to events.",
                lambda: self.live.listening_now,
            ),
            (
                "selfserve_running_jobs",
                "Job requests that are being done.",
                lambda: self.jobs.under_way,
            ),
            (
                "selfserve_reader_questions",
                "Questions that readers have not answered.",
                lambda: self.databases.unanswered,
            ),
        ):
            self.metrics.watch(name, text, value)
        self.metrics.watch(
            "selfserve_reader_restarts",
            "Readers that died or hung, and were replaced.",
            lambda: self.databases.restarts,
            counts=True,
        )

    # -- what job requests need

    async def _check_available(self) -> None:
        await self._availability.check()
        # at last, because from here on it counts as one that runs
        if not self.databases.ready:
            raise Unavailable("The journal is not ready", "the master's log says why")


class SelfServeApplication(Application):
    """What Buildbot loads: the static files, and the service in each master that configures us."""

    def __init__(self) -> None:
        super().__init__("buildbot_selfserve", "Self-serve")
        self._service: SelfServeService | None = None

    def setMaster(self, master: Any) -> None:
        """Learn which master it is; another one than before begins anew."""
        if getattr(self, "master", None) is not master:
            self._service = None
        super().setMaster(master)

    def setConfiguration(self, config: object) -> None:
        """Follow the value of ``c['www']['plugins']['selfserve']``.

        Buildbot calls this twice at start and at every reconfig (buildbot/www/service.py).

        :raises buildbot.config.ConfigErrors: it is no configuration of ours
        """
        settings = configured(config)
        super().setConfiguration(settings)
        if self._service is not None:
            self._service.configure(settings)
            return
        www = self.master.www
        web_root = www.apps.get(www.base_plugin_name).resource
        self._service = SelfServeService(self.master, web_root, settings, self._forget)
        self._service.setServiceParent(self.master)

    def _forget(self) -> None:
        self._service = None


def _or_nothing(value: object) -> SelfServe | None:
    """Return the configuration that *value* stands for, if it is one."""
    try:
        return configured(value)
    except ConfigErrors:
        return None


def _site(master: Any, config: SelfServe) -> Site:
    configured_branches = config.branches
    return Site(
        path=config.path,
        buildbot_url=master.config.buildbotURL,
        title=master.config.title,
        timezone=config.timezone,
        max_count=config.max_count,
        limits=config.limits,
        branches=None
        if configured_branches is None
        else tuple(one.branch for one in configured_branches),
        hinted_branches=watched_branches(master),
    )


application = SelfServeApplication()
