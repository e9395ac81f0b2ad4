"""A buildmaster in a process of its own, which can be killed."""

from __future__ import annotations

import atexit
import base64
import functools
import http.client
import json
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests import PATIENCE
from tests import reaper
from tests import zygote
from tests.databases import SQLITE
from tests.harness import PASSWORD
from tests.harness import USER
from tests.ports import free_port
from tests.zygote import BUILDBOT

#: So many answers of Buildbot's own REST API may be garbled in a row.
GARBLED = 5
ROOT = Path(__file__).parent.parent

CONFIG = """
from tests.harness import config, give_time
from buildbot.plugins import schedulers, util
c = BuildmasterConfig = config({selfserve})
give_time(c["www"]["plugins"])
c["db"] = {{"db_url": {db_url!r}}}
c["www"]["change_hook_dialects"] = {{"base": True}}
c["www"]["port"] = "tcp:{port}:interface=127.0.0.1"
c["buildbotURL"] = "http://127.0.0.1:{port}/"
c["schedulers"].append(schedulers.ForceScheduler(
    name="force", builderNames=["fast", "slow"],
    codebases=[util.CodebaseParameter("", branch=util.FixedParameter("branch", default="main"),
               revision=util.FixedParameter("revision", default="{revision}"))]))
"""
REVISION = "c" * 40
#: Lets a master pause before each few buildsets that it inserts, so that it can be disturbed.
SLOW_INSERTS = """
from buildbot_selfserve.control import execute, insert_buildsets
from twisted.internet import reactor, task
execute.BATCH = 4
if not hasattr(insert_buildsets, "at_once"):
    insert_buildsets.at_once = insert_buildsets.insert
    async def insert_later(*arguments):
        await task.deferLater(reactor, 0.2)
        return await insert_buildsets.at_once(*arguments)
    insert_buildsets.insert = insert_later
"""

#: A builder that fails at revisions that begin with a letter.
JUDGED = """
from tests.harness import builder
judge = util.Interpolate("case %(prop:revision)s in [a-z]*) exit 1;; esac")
c["builders"].append(builder("judged", judge))
c["schedulers"].append(schedulers.Triggerable(name="judges", builderNames=["judged"]))
"""


def _create(folder: Path, db_url: str) -> None:
    """Do what ``buildbot create-master`` does; on SQLite with a copy of what it did before."""
    if db_url != SQLITE:
        _create_master(folder, "--db", db_url)
        return
    created = _created()
    for file in created.iterdir():
        shutil.copy(file, folder)
    tac = folder / "buildbot.tac"
    tac.write_text(tac.read_text().replace(repr(str(created)), repr(str(folder))))


@functools.cache
def _created() -> Path:
    """Return the folder of a master that never ran."""
    folder = Path(tempfile.mkdtemp(prefix="master-"))
    atexit.register(shutil.rmtree, folder)
    _create_master(folder)
    return folder


def _create_master(folder: Path, *options: str) -> None:
    command = [BUILDBOT, "create-master", "--quiet", *options, str(folder)]
    zygote.run(command, check=True, capture_output=True)


class ProcessMaster:
    """A master in *folder*; call ``start``, and in the end ``kill`` or ``stop``.

    :param more: what stands at the end of its master.cfg
    :param begin: what starts the process; ``subprocess.Popen`` does it as users do
    """

    def __init__(
        self,
        folder: Path,
        db_url: str = SQLITE,
        selfserve: str = "True",
        more: str = "",
        begin: Any = zygote.Popen,
    ) -> None:
        self.folder = folder
        self._begin = begin
        self._begun = 0
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        _create(folder, db_url)
        text = CONFIG.format(db_url=db_url, port=self.port, revision=REVISION, selfserve=selfserve)
        (folder / "master.cfg").write_text(text + more)

    def start(self, patience: float = PATIENCE) -> None:
        """Start it, and wait until it answers, also to job requests."""
        self.begin()
        self.until_ready(patience)

    def until_ready(self, patience: float = PATIENCE) -> None:
        """Wait until it answers, also to job requests."""
        self.until(self._is_ready, "the master answers", patience)

    def begin(self) -> None:
        """Start it."""
        self._begun = self._times_begun() + 1
        self._process = self._begin(
            [BUILDBOT, "start", "--nodaemon", str(self.folder)],
            cwd=ROOT,
            env=reaper.environment(PYTHONPATH=str(ROOT)),
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "stdout.log").open("ab"),
            stderr=subprocess.STDOUT,
        )

    def start_daemon(self) -> int:
        """Start it as ``buildbot start`` does, in the background; return its pid."""
        self.command("start", f"--start_timeout={PATIENCE}")
        self.until(lambda: self.get("/branches") == {}, "the daemon answers")
        return int((self.folder / "twistd.pid").read_text())

    def command(self, name: str, *options: str) -> None:
        """Run a ``buildbot`` command on the master."""
        done = subprocess.run(
            [BUILDBOT, name, *options, str(self.folder)],
            cwd=ROOT,
            env=reaper.environment(PYTHONPATH=str(ROOT)),
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    def signal(self, what: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(what)

    def reconfig(self) -> None:
        """Send the signal that ``buildbot reconfig`` sends."""
        self.signal(signal.SIGHUP)

    def wait(self, patience: float = PATIENCE) -> None:
        """Wait until it has ended by itself."""
        assert self._process is not None
        self._process.wait(patience)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        return (self.folder / "twistd.log").read_text()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill it as the kernel does when memory is short."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """Stop it as ``buildbot stop`` does."""
        assert self._process is not None
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def send(
        self, method: str, path: str, *, key: str | None = None, **fields: Any
    ) -> tuple[int, Any]:
        """Send a request, with *key* as its Idempotency-Key; return the status and the JSON."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=urllib.parse.urlencode(fields).encode() if fields else None,
            headers={
                "Accept": "application/json",
                "Authorization": "Basic "
                + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode(),
                **({} if key is None else {"Idempotency-Key": key}),
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError as error:
            return 0, str(error)  # nobody listens

    def get(self, path: str) -> Any:
        return self.send("GET", f"/self-serve{path}")[1]

    def data(self, path: str) -> Any:
        """Return what Buildbot's own REST API says.

        It writes from a thread, so that about one answer in a hundred is garbled.
        """
        for attempt in range(GARBLED):
            try:
                status, answer = self.send("GET", f"/api/v2/{path}")
                break
            except (http.client.IncompleteRead, ValueError):
                if attempt == GARBLED - 1:
                    raise
        assert status == 200, answer
        return answer

    def control(self, path: str, method: str, **params: Any) -> Any:
        """Ask Buildbot's own REST API to do something; return what came of it."""
        body = {"jsonrpc": "2.0", "method": method, "id": 1, "params": params}
        request = urllib.request.Request(
            f"{self.url}/api/v2/{path}",
            data=json.dumps(body).encode(),
            headers={"Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)["result"]

    def force(self, builder_name: str) -> int:
        """Ask Buildbot itself for a build; return the id of its request."""
        params = {"builderNames": [builder_name], "owner": USER}
        _, requests = self.control("forceschedulers/force", "force", **params)
        (request_id,) = requests.values()
        return int(request_id)

    def push(self, **change: str) -> None:
        """Let a push arrive, as a forge's hook reports it."""
        request = urllib.request.Request(
            f"{self.url}/change_hook/base", data=urllib.parse.urlencode(change).encode()
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            assert answer.status == 200

    def pause(self, worker: str, paused: bool) -> None:
        """Pause the worker of that name, or let it work again; wait until it does."""

        def found() -> Any:
            return self.data(f"workers?name={worker}")["workers"][0]

        self.control(f"workers/{found()['workerid']}", "pause" if paused else "unpause")
        self.until(lambda: found()["paused"] == paused, f"{worker}: paused is {paused}")

    def until(self, check: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
        """Return the first true answer of *check*."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline:
            found = check()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"it never came true: {what}\n{self._last_words()}")

    def _is_ready(self) -> bool:
        self._check_alive()
        return self._times_begun() >= self._begun and self.answers()

    def answers(self) -> bool:
        """Return whether it answers a GET; job requests may still be refused."""
        self._check_alive()
        try:
            return self.send("GET", "/self-serve/branches")[0] == 200
        except OSError:
            return False

    def _check_alive(self) -> None:
        assert self._process is not None
        assert self._process.poll() is None, self._last_words()

    def _times_begun(self) -> int:
        """Return how often it has said that it is ready; until then job requests are refused."""
        there = (self.folder / "twistd.log").exists()
        return self.log.count("BuildMaster is running") if there else 0

    def _last_words(self) -> str:
        return self.log[-4000:]
