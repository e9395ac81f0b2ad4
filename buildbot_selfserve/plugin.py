"""Builds self-serve inside a master, and follows reconfigs.

``application`` is what Buildbot loads (entry point ``buildbot.www``). It makes a child service of
the master, which is told of every reconfig and of the master's end.
"""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Sequence
from typing import Any

from buildbot.util.service import AsyncService
from buildbot.util.service import ReconfigurableServiceMixin
from buildbot.www.plugin import Application
from twisted.internet import defer
from twisted.internet import task
from twisted.logger import Logger

from buildbot_selfserve import buildbot_private
from buildbot_selfserve.auth.login_redirects import LoginRedirects
from buildbot_selfserve.auth.tokens import Tokens
from buildbot_selfserve.clock import monotonic
from buildbot_selfserve.config import SelfServe
from buildbot_selfserve.config import configured
from buildbot_selfserve.config import unmatched
from buildbot_selfserve.control import cancel
from buildbot_selfserve.control.availability import Availability
from buildbot_selfserve.control.enforce_holds import Holds
from buildbot_selfserve.control.gone_masters import GoneMasters
from buildbot_selfserve.control.reconcile import reconcile
from buildbot_selfserve.databases import Databases
from buildbot_selfserve.errors import Unavailable
from buildbot_selfserve.gc_freeze import GcFreeze
from buildbot_selfserve.history import sourcestamps
from buildbot_selfserve.jobs import Jobs
from buildbot_selfserve.jobs.pruner import Pruner
from buildbot_selfserve.live import Live
from buildbot_selfserve.metrics import Metrics
from buildbot_selfserve.model import Hold
from buildbot_selfserve.outages import Outage
from buildbot_selfserve.secrets import Secrets
from buildbot_selfserve.views.read_handler import ask_history
from buildbot_selfserve.views.read_handler import holds_now
from buildbot_selfserve.web.backend import KEY
from buildbot_selfserve.web.backend import Backend
from buildbot_selfserve.web.mounting import Mount
from buildbot_selfserve.web.pipeline import Pipeline

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
        #: the configuration of Buildbot's whose names were looked up
        self._checked: Any = None
        clock = monotonic(master.reactor)
        secrets = Secrets(master)
        self.databases = Databases(
            master,
            secrets,
            self._journal_opened,
            lambda: self.jobs.begin_anew(),
            lambda: self._availability.check(),
        )
        self.live = Live(clock, self._sourcestamps_of)
        self.metrics = Metrics()
        self._tokens = Tokens(master, secrets)
        self._gone_masters = GoneMasters(master)
        self._gc_freeze = GcFreeze(clock.callLater)
        self._availability = Availability(master, clock, self.databases.away)
        self.holds = Holds(
            master,
            clock,
            self._holds_now,
            self.databases.write,
            lambda: self.backend.site,
        )
        self.jobs = Jobs(
            master,
            clock,
            self.databases.write,
            self._ask_history,
            self._check_available,
            lambda job: reconcile(master, job, self.jobs.check_running, self.holds),
            lambda job: cancel.follow(master, job),
            lambda: int(master.masterid),
            self.holds,
            self.metrics.job_ended,
        )
        self._pruner = Pruner(
            clock, self.databases.write, self._check_available, lambda: self.config.keep_jobs
        )
        self._watch()
        self._takeover = Outage(clock, "what other masters left open is reconciled")
        self._takeover_loop = task.LoopingCall(self._reconcile_of_gone)
        self._takeover_loop.clock = clock
        self.backend = Backend(
            master,
            config,
            self.databases,
            self._tokens,
            self.jobs,
            self.live,
            self.metrics,
            self.holds,
        )
        self._pipeline = Pipeline(master, self.backend)
        self._mount = Mount(self._pipeline.nothing())
        self._login_redirects = LoginRedirects(master, lambda: self.backend.site)
        self.configure(config)

    @property
    def config(self) -> SelfServe:
        """Return the configuration of now."""
        return self.backend.config

    # -- life

    def configure(self, config: SelfServe) -> None:
        """Follow the configuration *config*."""
        self._warn_of_unmatched(config)
        self.backend.configure(config)
        self.holds.reconfigured()
        if self.running and not buildbot_private.is_initialized(self._master):
            self.backend.load_tokens()  # else when the reconfig has come to us
        self._mount.move(self._web_root, config.segments, self._pipeline.resource)
        self._login_redirects.install(self._web_root)

    def _warn_of_unmatched(self, config: SelfServe) -> None:
        """Log which names in *config* stand for nothing, once for each configuration."""
        if self._checked is self._master.config:
            return
        self._checked = self._master.config
        for text in unmatched(config.branches or (), self._checked):
            self.log.warn("selfserve: {text}", text=text)

    def startService(self) -> None:
        """Start the readers, and bring the journal up to date in the background."""
        super().startService()
        self.holds.start(self._master.mq.startConsuming)
        self.live.start(self._master.mq.startConsuming)
        self.jobs.ongoing.listen(self._master.mq.startConsuming)
        self.databases.open(self.config)
        self._takeover_loop.start(GONE_INTERVAL, now=False)
        self._pruner.start()
        self.backend.load_tokens()
        self._freeze_gc()

    @defer.inlineCallbacks
    def reconfigServiceWithBuildbotConfig(self, new_config: Any) -> Any:
        """Forget what was worked out from the old configuration; go if we are not in the new."""
        self.backend.forget_configuration()
        if KEY not in (new_config.www.get("plugins") or {}):
            yield self.disownServiceParent()
        else:
            # the providers of secrets are those of the new configuration now
            self.backend.load_tokens()
            if self.running:
                self.databases.open(self.config)
            self.live.reconfigured()
            self.holds.reconfigured()
            self.jobs.ongoing.look()
            self._pruner.look()
            self._freeze_gc()

    @defer.inlineCallbacks
    def stopService(self) -> Any:
        """End job requests that run, then the readers."""
        yield super().stopService()
        self.holds.stop()
        self._takeover_loop.stop()
        self._pruner.stop()
        self._gc_freeze.stop()
        self._retired()
        self._mount.remove()
        self._login_redirects.remove(self._web_root)
        yield defer.Deferred.fromCoroutine(self.live.stop())
        self._tokens.stop()
        yield defer.Deferred.fromCoroutine(self.jobs.finish())
        yield self.databases.close()

    def _freeze_gc(self) -> None:
        """Let the master come to rest, and spare it long looks for garbage, if we may."""
        if not self.config.gc_freeze:
            self._gc_freeze.stop()
        elif self.running:
            self._gc_freeze.freeze_when_idle()

    async def _journal_opened(self) -> None:
        self._pruner.look()
        await self._reconcile_left_open()

    async def _reconcile_left_open(self) -> None:
        """Close what this master left open when it stopped the last time."""
        reconciled = await self.jobs.left_open.of_this_master()
        if reconciled:
            self.log.info("selfserve: reconciled {n} jobs that were left open", n=reconciled)

    @defer.inlineCallbacks
    def _reconcile_of_gone(self) -> Any:
        """Close what masters left open that will not do so themselves."""
        if not self.databases.ready:
            return
        try:
            reconciled = yield defer.Deferred.fromCoroutine(self._take_over())
        except Exception as error:
            self._takeover.failed("what other masters left open cannot be reconciled", error)
            return
        self._takeover.end()
        if reconciled:
            self.log.info("selfserve: took over {n} jobs of masters that are gone", n=reconciled)

    async def _take_over(self) -> int:
        # those that stop end their jobs first, after they have said that they stop
        gone = await self._gone_masters.gone(self.config.timeout + GONE_INTERVAL)
        return await self.jobs.left_open.of_gone_masters(gone)

    async def _holds_now(self) -> Sequence[Hold]:
        if not self.databases.ready:
            raise Unavailable("The journal is not ready")
        found: Sequence[Hold] = await self.databases.readers.ask(holds_now, self.backend.site)
        return found

    # -- what live answers need

    def _sourcestamps_of(self, request_ids: Sequence[int]) -> Awaitable[Any]:
        return self.databases.readers.ask(
            ask_history, self.backend.site, sourcestamps.of_requests, (request_ids,)
        )

    def _watch(self) -> None:
        """Let the metrics see what there is now."""
        for name, text, value in (
            ("selfserve_held_answers", "Answers that are held back.", lambda: self.live.held),
            (
                "selfserve_event_streams",
                "Clients that listen to events.",
                lambda: self.live.listening_now,
            ),
            ("selfserve_holds", "Holds of branches.", lambda: len(self.holds.now)),
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

    def _ask_history(self, function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
        return self.databases.readers.ask(
            ask_history, self.backend.site, function, arguments, large=True
        )

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


application = SelfServeApplication()
