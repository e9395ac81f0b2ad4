"""A real buildmaster in this process, with a real worker, on a real port.

Nothing from ``buildbot.test``: importing it turns every warning of the process into an error.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Iterator
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import treq
from buildbot.config.master import MasterConfig
from buildbot.db import enginestrategy
from buildbot.interfaces import IConfigLoader
from buildbot.master import BuildMaster
from buildbot.plugins import schedulers
from buildbot.plugins import steps
from buildbot.plugins import util
from buildbot.plugins import worker
from twisted.internet import defer
from twisted.internet import reactor
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.endpoints import connectProtocol
from twisted.internet.protocol import Protocol
from twisted.logger import eventAsText
from twisted.logger import globalLogBeginner
from twisted.logger import globalLogPublisher
from twisted.logger import textFileLogObserver
from twisted.web.client import Agent
from twisted.web.client import HTTPConnectionPool
from twisted.web.client import readBody
from twisted.web.http_headers import Headers
from zope.interface import implementer

from buildbot_selfserve import plugin
from buildbot_selfserve.journal import schema
from buildbot_selfserve.readers import processes
from tests import PATIENCE
from tests import databases
from tests import validating
from tests import zygote
from tests.databases import SQLITE
from tests.ports import free_port

USER, PASSWORD = "ada", "analytical"
REVISION = "1234567890abcdef1234567890abcdef12345678"
#: Seconds between two looks at what is waited for, where no event tells to look again. A look takes
#: some milliseconds of a processor, which others need, too.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.01, 0.2
#: Seconds that an act may take under ``short_acts``, and that its answer may.
ACT_SECONDS, ANSWER_SECONDS = 4.0, 40

Config = dict[str, Any]

# else Twisted keeps what was logged for an observer that never comes, and with it whole masters
globalLogBeginner.beginLoggingTo([], discardBuffer=True, redirectStandardIO=False)


def builder(name: str, command: Any = "true", **more: Any) -> Any:
    factory = util.BuildFactory([steps.ShellCommand(command=["sh", "-c", command])])
    return util.BuilderConfig(name=name, workernames=["worker"], factory=factory, **more)


def outcomes(told: Any) -> dict[int, str]:
    """Return what became of each request, as a receipt or the body of a job tells."""
    return {one["request_id"]: one["outcome"] for one in told["requests"]}


def config(selfserve: Any = True, **www: Any) -> Config:
    """Return the configuration of a small master: a fast builder, a slow one, one user."""
    return {
        "buildbotNetUsageData": None,
        "protocols": {"null": {}},
        "workers": [worker.LocalWorker("worker")],
        "builders": [builder("fast"), builder("slow", "sleep 60"), builder("opt/mac #1")],
        "schedulers": [
            schedulers.AnyBranchScheduler(name="any", builderNames=["fast"]),
            schedulers.Triggerable(name="rest", builderNames=["slow", "opt/mac #1"]),
        ],
        "www": {
            "auth": util.UserPasswordAuth({USER: PASSWORD}),
            "plugins": {} if selfserve is None else {"selfserve": selfserve},
            "logfileName": None,
            **www,
        },
    }


def patient() -> Config:
    """Return the configuration of a master whose answers may take long, as under ``short_acts``."""
    return config(util.SelfServe(timeout=ANSWER_SECONDS))


def give_time(plugins: dict[str, Any]) -> None:
    """Let answers take longer than by default, unless a test says how long they may take."""
    selfserve = plugins.get("selfserve")
    if selfserve is True:
        selfserve = plugins["selfserve"] = util.SelfServe()
    if getattr(selfserve, "timeout", 0) == util.SelfServe().timeout:
        selfserve.timeout = ANSWER_SECONDS


@implementer(IConfigLoader)
class _Loader:
    def __init__(self, make: Callable[[], Config], port: int) -> None:
        self.make = make
        self.port = port

    def loadConfig(self) -> Any:
        made = self.make()
        give_time(made["www"].get("plugins", {}))
        made["www"].setdefault("port", f"tcp:{self.port}:interface=127.0.0.1")
        made.setdefault("buildbotURL", f"http://127.0.0.1:{self.port}/")
        return MasterConfig.loadFromDict(made, "<test>")


@dataclass
class Response:
    """A whole response."""

    status: int
    headers: Any
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def json(self) -> Any:
        import json

        return json.loads(self.body)

    def header(self, name: str) -> str | None:
        value: str | None = self.headers.getRawHeaders(name, [None])[0]
        return value


class Received(Protocol):
    """Collects all that the other side sends."""

    def __init__(self) -> None:
        self.whole: defer.Deferred[bytes] = defer.Deferred()
        self._data = b""

    def dataReceived(self, data: bytes) -> None:
        self._data += data

    def connectionLost(self, reason: Any = None) -> None:
        self.whole.callback(self._data)


class Events:
    """Wakes what waits when a master produces an event."""

    def __init__(self) -> None:
        self._waiting: list[defer.Deferred[None]] = []

    def listen_to(self, master: Any) -> None:
        produce = master.mq.produce

        def heard(key: Any, data: Any) -> None:
            produce(key, data)
            waiting, self._waiting = self._waiting, []
            for one in waiting:
                # many come at once; and what happens in the master goes on first
                reactor.callLater(SHORTEST_PAUSE, one.callback, None)

        master.mq.produce = heard

    async def wait(self, longest: float) -> None:
        """Wait for an event, but at most so many seconds."""
        event: defer.Deferred[None] = defer.Deferred()
        self._waiting.append(event)
        late = reactor.callLater(longest, self._give_up, event)
        await event
        if late.active():
            late.cancel()

    def _give_up(self, event: defer.Deferred[None]) -> None:
        if event in self._waiting:
            self._waiting.remove(event)
            event.callback(None)


@dataclass
class Master:
    """A running master and its client."""

    master: Any
    loader: _Loader
    agent: Agent
    errors: list[Any] = field(default_factory=list)
    events: Events = field(default_factory=Events)

    @property
    def log(self) -> str:
        """Return what the master has logged."""
        return Path(self.master.basedir, "twistd.log").read_text()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.loader.port}"

    async def request(
        self, method: str, path: str, *, json: bool = True, user: str | None = None, **more: Any
    ) -> Response:
        """Send a request; *user* with the right password, *json* with an Accept for it."""
        headers = dict(more.pop("headers", {}))
        if json:
            headers.setdefault("Accept", "application/json")
        if user is not None:
            more["auth"] = (user, PASSWORD)
        response = await treq.request(
            method,
            self.url + path,
            headers=headers,
            agent=self.agent,
            allow_redirects=False,
            **more,
        )
        answer = Response(response.code, response.headers, await response.content())
        kind = answer.header("content-type") or ""
        validating.check(method, path, answer.status, kind, answer.body)
        return answer

    async def get(self, path: str, **more: Any) -> Response:
        return await self.request("GET", path, **more)

    async def raw(self, path: str, headers: dict[str, str]) -> Response:
        """GET with these headers and no others, and do not unpack the answer."""
        sent = Headers({name: [value] for name, value in headers.items()})
        response = await self.agent.request(b"GET", (self.url + path).encode(), sent)
        return Response(response.code, response.headers, await readBody(response))

    async def content_length(self, method: str, path: str) -> int:
        """Return the Content-Length of an answer, which clients do not show for HEAD."""
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", self.loader.port)
        received = await connectProtocol(endpoint, Received())
        head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        received.transport.write(head.encode())
        whole = await received.whole
        (length,) = re.findall(rb"(?i)\r\ncontent-length: ([0-9]+)\r\n", whole)
        assert whole.endswith(b"\r\n\r\n")
        return int(length)

    async def post(self, path: str, **more: Any) -> Response:
        return await self.request("POST", path, **more)

    async def reconfig(self, make: Callable[[], Config]) -> None:
        self.loader.make = make
        await self.master.doReconfig()

    # -- making things to look at

    async def add_request(
        self, builder_name: str = "fast", *, branch: str | None = "main", **more: Any
    ) -> int:
        """Ask for a build as a scheduler would; return the id of the request."""
        stamp = {
            "branch": branch,
            "revision": more.pop("revision", REVISION),
            "repository": "https://example.org/repo",
            "codebase": "",
            "project": "",
        }
        builder_id = await self.master.data.updates.findBuilderId(builder_name)
        properties = more.pop("properties", {"branch": (branch, "Change")})
        _, requests = await self.master.data.updates.addBuildset(
            waited_for=more.pop("waited_for", False),
            scheduler="any",
            sourcestamps=more.pop("sourcestamps", [stamp]),
            reason=more.pop("reason", "a push"),
            properties=properties,
            builderids=[builder_id],
            **more,
        )
        request_id: int = requests[builder_id]
        return request_id

    async def data(self, *path: Any) -> Any:
        return await self.master.data.get(tuple(str(part) for part in path))

    async def requests(self) -> Any:
        """Return all build requests."""
        return await self.data("buildrequests")

    async def add_change(self, **change: Any) -> Any:
        """Let a push arrive; return the id of its change."""
        return await self.master.data.updates.addChange(**change)

    async def until(
        self, check: Callable[[], Any], what: str = "", patience: float = PATIENCE
    ) -> Any:
        """Wait until *check* returns something true, and return that."""
        deadline = reactor.seconds() + patience
        pause = SHORTEST_PAUSE
        while True:
            found = check()
            if hasattr(found, "__await__"):
                found = await found
            if found:
                return found
            assert reactor.seconds() < deadline, f"it never came true: {what or check}"
            await self.events.wait(pause)
            pause = min(1.5 * pause, LONGEST_PAUSE)

    async def completed(self, request_id: int) -> Any:
        """Wait until a request is complete; return it."""

        async def check() -> Any:
            request = await self.data("buildrequests", request_id)
            return request if request["complete"] else None

        return await self.until(check, f"request {request_id} complete")

    async def running_build(self, request_id: int) -> Any:
        """Wait until a build of a request hears a stop; return it."""

        async def check() -> Any:
            for build in await self.data("buildrequests", request_id, "builds"):
                if not build["complete"] and build["state_string"] != "created":
                    return build
            return None

        return await self.until(check, f"request {request_id} running")

    async def finished_build(self, builder_name: str = "fast", **more: Any) -> Any:
        """Build something; return its build."""
        request_id = await self.add_request(builder_name, **more)
        await self.completed(request_id)
        builds = await self.data("buildrequests", request_id, "builds")
        return builds[0]

    def pause(self) -> None:
        """Let no build start, so that what is asked for waits."""
        for one in self.master.workers.workers.values():
            # not paused: a worker that is only starting would take that from the database
            one.canStartBuild = lambda: False

    @contextlib.contextmanager
    def paused(self) -> Iterator[None]:
        """Let no build start meanwhile; one that was paused before stays so."""
        before = any("canStartBuild" in vars(one) for one in self.master.workers.workers.values())
        self.pause()
        try:
            yield
        finally:
            if not before:
                self.resume()

    def resume(self) -> None:
        for one in self.master.workers.workers.values():
            vars(one).pop("canStartBuild", None)
        self.master.botmaster.maybeStartBuildsForAllBuilders()


@contextlib.asynccontextmanager
async def running_master(
    basedir: Path,
    monkeypatch: Any,
    make: Callable[[], Config] = config,
    db_url: str = SQLITE,
) -> AsyncIterator[Master]:
    """Start a master in *basedir*; stop it at the end."""
    stopped: list[bool] = []
    # BuildMaster stops the reactor on a fatal error
    monkeypatch.setattr(reactor, "stop", lambda: stopped.append(True))
    if zygote.available:
        spawn = zygote.spawner(reactor, processes._BOOTSTRAP)
        monkeypatch.setattr(reactor, "spawnProcess", spawn)
    loader = _Loader(lambda: {"db_url": db_url, **make()}, free_port())
    errors: list[Any] = []
    observer = _log_to(basedir / "twistd.log", errors)
    globalLogPublisher.addObserver(observer)
    master = BuildMaster(str(basedir), reactor=reactor, config_loader=loader)
    master.config.db.db_url = db_url
    await _set_up_database(master, basedir, db_url)
    master.db.setup = lambda: defer.succeed(None)  # startService must not check again
    await master.startService()
    assert not stopped, (basedir / "twistd.log").read_text()
    pool = HTTPConnectionPool(reactor, persistent=False)
    running = Master(master, loader, Agent(reactor, pool=pool), errors)
    running.events.listen_to(master)
    if plugin.application._service is not None:
        await running.until(
            lambda: plugin.application._service.databases.ready, "the journal is ready"
        )
    try:
        yield running
    finally:
        await master.stopService()
        _forget(master)
        globalLogPublisher.removeObserver(observer)


async def _set_up_database(master: Any, basedir: Path, db_url: str) -> None:
    """Open the database of *master*; make its tables and the journal's, unless there are some."""
    url = sa.engine.make_url(db_url)
    if db_url == SQLITE:
        url = url.set(database=str(basedir / "state.sqlite"))
    # one in memory is gone when nobody uses it
    is_empty = bool(url.database) and databases.is_empty(url)
    is_made = is_empty and databases.restore(url)
    await master.db.setup(check_version=False)
    if is_made:
        return
    await master.db.model.upgrade()
    if is_empty:
        engine = sa.create_engine(url)
        schema.upgrade(engine)
        engine.dispose()
        master.db.pool.engine.dispose()  # what is open cannot be copied
        databases.keep(url)


def _log_to(path: Path, errors: list[str]) -> Any:
    """Return a log observer that writes to *path* and collects errors."""
    file = textFileLogObserver(path.open("w"))

    def observe(event: Any) -> None:
        file(event)
        if event.get("log_failure") is not None or event.get("isError"):
            errors.append(eventAsText(event))

    return observe


def _forget(master: Any) -> None:
    """Let go of a stopped *master*: each one that is kept makes all garbage collections longer."""
    for one in master.workers.workers.values():
        # goes on for an hour: the worker was lost while the master stopped
        one.stopMissingTimer()
    if getattr(master.www, "authz", None) is not None:
        # the rules belong to the parameters of a test
        master.www.authz.setMaster(None)
    # the tree of web resources belongs to the process, not to the master
    root = master.www.apps.get("base").resource
    for name in list(root.children):
        root.delEntity(name)


@sa.event.listens_for(sa.Engine, "connect")
def _unsafe(connection: Any, _record: Any) -> None:
    """Let no SQLite database of the tests wait for the disk: nobody wants it back."""
    if isinstance(connection, sqlite3.Connection):
        connection.execute("PRAGMA synchronous = OFF")


# Buildbot opens a database on SQLite anew for each question, and reads its schema each time: that
# is a third of the processor time of a test
enginestrategy.NullPool = sa.pool.SingletonThreadPool
