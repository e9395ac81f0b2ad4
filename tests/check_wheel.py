"""Uses an installed buildbot-selfserve as a stranger does: ``python tests/check_wheel.py``.

Run by the Python that it is installed in, in a master without a line of this repository: the
master.cfg gets one line. Exits 1 and says what is wrong.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

BUILDBOT = Path(sys.executable).with_name("buildbot")
CHECKOUT = Path(__file__).parent.parent / "buildbot_selfserve"
#: Seconds in which something happens, or never will.
PATIENCE = 300

BEFORE = """
from buildbot.plugins import schedulers, steps, util, worker
c = BuildmasterConfig = {{
    "buildbotNetUsageData": None,
    "buildbotURL": "http://127.0.0.1:{port}/",
    "protocols": {{"null": {{}}}},
    "workers": [worker.LocalWorker("worker")],
    "builders": [util.BuilderConfig(name="all", workernames=["worker"],
        factory=util.BuildFactory([steps.ShellCommand(command=["true"])]))],
    "schedulers": [
        schedulers.AnyBranchScheduler(name="any", builderNames=["all"]),
        schedulers.ForceScheduler(name="force", builderNames=["all"]),
    ],
    "www": {{"port": "tcp:{port}:interface=127.0.0.1",
             "auth": util.UserPasswordAuth({{"ada": "analytical"}})}},
}}
"""
THE_LINE = 'c["www"]["plugins"] = {"selfserve": util.SelfServe()}\n'


class Wrong(Exception):
    """The installed package does not do what it should."""


def main() -> int:
    """Check the package that this Python has; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            _check(Path(folder))
        except Wrong as wrong:
            sys.stderr.write(f"{wrong}\n")
            log = Path(folder, "master", "twistd.log")
            sys.stderr.write(log.read_text()[-3000:] if log.exists() else "")
            return 1
    return 0


def _check(folder: Path) -> None:
    import buildbot_selfserve

    if Path(buildbot_selfserve.__file__).parent == CHECKOUT:
        raise Wrong("this is the checkout, not an installed package")
    master = folder / "master"
    port = _free_port()
    _buildbot("create-master", "--quiet", str(master))
    (master / "master.cfg").write_text(BEFORE.format(port=port) + THE_LINE)
    _buildbot("checkconfig", str(master))
    process = subprocess.Popen([str(BUILDBOT), "start", "--nodaemon", str(master)])
    try:
        _use(Site(port))
    finally:
        process.terminate()
        process.wait(PATIENCE)
    if "Traceback" in (master / "twistd.log").read_text():
        raise Wrong("there is a traceback in twistd.log")
    sys.stdout.write(f"buildbot-selfserve {buildbot_selfserve.__version__} works here\n")


class Site:
    """The master that listens on *port*."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"

    def ask(self, path: str, data: bytes | None = None, kind: str = "json") -> Any:
        """Return the JSON of an answer, or the text of a page."""
        headers = {
            "Accept": "application/json" if kind == "json" else "text/html",
            "Authorization": "Basic " + base64.b64encode(b"ada:analytical").decode(),
        }
        if data is not None and data.startswith(b"{"):
            headers["Content-Type"] = "application/json"
        request = urllib.request.Request(self.url + path, data=data, headers=headers)
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            body = answer.read().decode()
        return json.loads(body) if kind == "json" else body


def _use(site: Site) -> None:
    _until("the master answers", lambda: site.ask("/self-serve/branches") == {})
    force = {"jsonrpc": "2.0", "method": "force", "id": 1, "params": {"branch": "main"}}
    site.ask("/api/v2/forceschedulers/force", json.dumps(force).encode())
    _until("a build has ended", lambda: _statuses(site) == [0])
    receipt = site.ask("/self-serve/main/build", b"build_id=1&count=2")
    outcomes = [one["outcome"] for one in receipt["requests"]]
    if outcomes != ["created", "created"]:
        raise Wrong(f"the outcomes of a rebuild are {outcomes}")
    _until("the rebuilds have ended", lambda: _statuses(site) == [0, 0, 0])
    if "/main/build/1" not in site.ask("/self-serve/main", kind="page"):
        raise Wrong("the page of the day does not show the build")
    if "{" not in site.ask("/plugins/selfserve/selfserve.css", kind="text"):
        raise Wrong("there are no styles")
    if site.ask("/self-serve/openapi.json")["openapi"] != "3.1.0":
        raise Wrong("there is no OpenAPI document")


def _statuses(site: Site) -> list[int | None]:
    return [row.get("status") for row in site.ask("/self-serve/main")]


def _until(what: str, check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            if check():
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise Wrong(f"it never came true: {what}")
        time.sleep(0.2)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _buildbot(*arguments: str) -> None:
    done = subprocess.run([str(BUILDBOT), *arguments], capture_output=True, text=True)
    if done.returncode:
        raise Wrong(f"buildbot {arguments[0]} failed:\n{done.stdout}{done.stderr}")


if __name__ == "__main__":
    sys.exit(main())
