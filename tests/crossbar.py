"""A crossbar router for the tests: what masters that share a database tell each other goes there.

It wants other versions of some packages than a master, so it has a virtual environment of its own,
which ``make test`` makes.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests import PATIENCE
from tests import documented
from tests import reaper
from tests.ports import free_port

#: The variable of the environment that says where crossbar is, if it is elsewhere.
VARIABLE = "CROSSBAR"
ROOT = Path(__file__).parent.parent
EXECUTABLE = Path(os.environ.get(VARIABLE) or ROOT / ".venv-crossbar" / "bin" / "crossbar")
#: What to say when it is not there.
MISSING = f"crossbar is not at {EXECUTABLE} (make test installs it)"


def is_installed() -> bool:
    return os.access(EXECUTABLE, os.X_OK)


@contextlib.contextmanager
def router() -> Iterator[str]:
    """Run a router; yield the URL at which masters reach it."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="crossbar-") as name:
        folder = Path(name)
        (folder / "config.json").write_text(_config(port))
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [str(EXECUTABLE), "start", "--cbdir", name, "--color", "false"],
                env=reaper.environment(HOME=name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            _wait_for(port, process, folder / "log")
            yield f"ws://127.0.0.1:{port}/ws"
        finally:
            _end(process)


def _config(port: int) -> str:
    """Return the documented configuration, with another port."""
    documents = documented.block("multimaster.md", "crossbar")
    return documented.changed(documents, {'"port": 8080': f'"port": {port}'})


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Return when it listens: that is the last thing that it does as it starts."""
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.1)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End it with the process that it has started, which does the routing."""
    with contextlib.suppress(psutil.NoSuchProcess):
        routing = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for one in routing:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
