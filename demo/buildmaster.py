"""A Buildbot master in a process of its own, from ``master.cfg.example`` unless told otherwise."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

EXAMPLE = Path(__file__).parent.parent / "master.cfg.example"
#: The command that pip installed beside this Python.
BUILDBOT = Path(sys.executable).with_name("buildbot")
FIRST_PORT = 8010
#: Seconds in which a master has started, or never will.
PATIENCE = 300


class Buildmaster:
    """A master in *folder* that builds *repository*; ``start`` starts it.

    :param config: its master.cfg
    :param polls: it has started when it has polled the repository once
    :param port: where it listens; by default the usual port, or the next one that is free
    """

    def __init__(
        self,
        folder: Path,
        repository: Path,
        config: Path = EXAMPLE,
        *,
        polls: bool = True,
        port: int | None = None,
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.log = folder / "twistd.log"
        self._environment = {
            **os.environ,
            "SELFSERVE_REPOSITORY": str(repository),
            "SELFSERVE_PORT": str(self.port),
            # Buildbot goes through sets of names: so the ids are the same in every run, and the
            # commands in the documents can be pasted
            "PYTHONHASHSEED": "0",
        }
        self._process: subprocess.Popen[bytes] | None = None
        self._buildbot("create-master", "--quiet", str(folder))
        shutil.copy(config, folder / "master.cfg")
        self._polls = polls

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def start(self, *, inherits: Sequence[int] = ()) -> int:
        """Start it, and wait until it has started; return the id of its process.

        :param inherits: descriptors that it gets
        """
        self._buildbot("checkconfig", str(self.folder))
        command = [str(BUILDBOT), "start", "--nodaemon", str(self.folder)]
        self._process = subprocess.Popen(
            command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=(self.folder / "stdout.log").open("wb"),
            stderr=subprocess.STDOUT,
            pass_fds=inherits,
        )
        deadline = time.monotonic() + PATIENCE
        while not self._has_started():
            if self._process.poll() is not None or time.monotonic() > deadline:
                sys.exit(f"The master did not start:\n{self._last_words()}")
            time.sleep(0.2)
        return self._process.pid

    def stop(self) -> None:
        """Stop it as ``buildbot stop`` does."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def wait(self) -> None:
        """Wait until it has ended."""
        if self._process is not None:
            self._process.wait()

    def _has_started(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/self-serve?format=json", timeout=5) as answer:
                polled = b"gitpoller: processing" in self.log.read_bytes()
                return answer.status == 200 and (polled or not self._polls)
        except (urllib.error.URLError, OSError):
            return False

    def _last_words(self) -> str:
        logs = [self.folder / "stdout.log", self.log]
        return "\n".join(log.read_text()[-3000:] for log in logs if log.exists())

    def _buildbot(self, *arguments: str) -> None:
        done = subprocess.run(
            [str(BUILDBOT), *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            sys.exit(f"buildbot {arguments[0]} failed:\n{done.stdout}{done.stderr}")


def free_port() -> int:
    """Return a port that nothing listens on: the usual one, if it is free."""
    for port in (*range(FIRST_PORT, FIRST_PORT + 20), 0):
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                print(f"Port {port} is taken, trying the next one.")
                continue
            found: int = listener.getsockname()[1]
            return found
    raise AssertionError("the kernel always has a port")
