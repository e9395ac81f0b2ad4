"""The measured master: a process of its own on a copy of a history, and its probe."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import sqlalchemy as sa

from tests import ports
from tests.process_master import ProcessMaster

#: Seconds in which the master starts and the probe answers, also while the reactor is held up. A
#: master with so many new builders takes some time on a busy machine.
_PATIENCE = 300.0

_FURNISHED = """
from benchmarks.inside import furnish
furnish(c, probe_port={port}, repeats={repeats})
"""


class Master:
    """A running master, as a process and as clients see it.

    :param started_in: seconds from the start of its process to the first answer of self-serve;
        Buildbot may still be starting its builders then
    """

    def __init__(self, process: ProcessMaster, probe_port: int, started_in: float) -> None:
        self.process = process
        self.started_in = started_in
        self.port = process.port
        self._probe = socket.create_connection(("127.0.0.1", probe_port), _PATIENCE)
        self._lines = self._probe.makefile()

    def probe(self, command: str) -> dict[str, Any]:
        """Ask the probe (``benchmarks.inside.Probe``)."""
        self._probe.sendall(f"{command}\n".encode())
        found: dict[str, Any] = json.loads(self._lines.readline())
        return found

    def megabytes(self) -> dict[str, float]:
        """Return the memory that the master and its readers have for themselves alone."""
        own = psutil.Process(self.process.pid)
        return {
            "master": _megabytes(own),
            "readers": round(sum(map(_megabytes, own.children(recursive=True))), 1),
        }

    def close(self) -> None:
        """Hang up on the probe."""
        self._lines.close()
        self._probe.close()


def _megabytes(process: psutil.Process) -> float:
    try:
        return round(float(process.memory_full_info().uss) / 1e6, 1)
    except psutil.NoSuchProcess:
        return 0.0  # a child that has ended since it was listed


@contextlib.contextmanager
def running(
    url: sa.URL,
    warm: str | None = None,
    more: str = _FURNISHED,
    selfserve: str = "util.SelfServe(timeout=60)",
    repeats: bool = False,
) -> Iterator[Master]:
    """Run a master on the database at *url*.

    :param warm: a path that is asked for until it is answered
    :param more: what its master.cfg ends with; ``{port}`` is the probe's
    :param selfserve: its plugin's configuration, as Python
    :param repeats: whether it may give an answer again (``inside.furnish``)
    """
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        probe_port = ports.free_port()
        process = ProcessMaster(
            Path(folder),
            url.render_as_string(hide_password=False),
            selfserve,
            more.format(port=probe_port, repeats=repeats),
            subprocess.Popen,
        )
        begun = time.monotonic()
        process.begin()
        try:
            process.until(process.answers, "it answers", _PATIENCE)
            started_in = time.monotonic() - begun
            process.until_ready(_PATIENCE)
            master = Master(process, probe_port, started_in)
            if warm is not None:
                answers = f"{warm} is answered"
                process.until(lambda: process.send("GET", warm)[0] == 200, answers, _PATIENCE)
            time.sleep(1)  # what is left of starting
            yield master
            master.close()
        finally:
            process.stop()
