"""Ends what a run of the tests has started, however the run ends.

Tests start masters, readers, database servers and browsers, some of which make themselves daemons.
A test ends what it has started, but not if its process is killed, or interrupted at the wrong
moment. So each process of a run has a reaper: when it has gone, its reaper ends all processes that
have its mark in their environment, and removes its folder of temporary files.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

#: The environment variable with the marks of all processes of the run above.
VARIABLE = "SELFSERVE_TESTS"
#: Seconds that processes have to end when they are asked to.
GRACE = 5.0

_mine: list[int] = []


def watch(folder: Path | None = None) -> None:
    """Let a reaper watch this process.

    :param folder: is removed afterwards
    """
    mark = uuid.uuid4().hex
    ours, its = os.pipe()
    command = [sys.executable, "-S", "-E", __file__, mark, str(folder or "")]
    # without a mark, and out of reach of a Ctrl-C
    env = {name: value for name, value in os.environ.items() if name != VARIABLE}
    subprocess.Popen(command, stdin=ours, env=env, start_new_session=True)
    os.close(ours)
    _mine.append(its)  # stays open until this process ends
    os.environ[VARIABLE] = f"{os.environ.get(VARIABLE, '')} {mark}".strip()


def environment(**more: str) -> dict[str, str]:
    """Return an environment with nothing of ours, but by what a reaper knows whose it is."""
    kept = {name: os.environ[name] for name in (VARIABLE, "TMPDIR") if name in os.environ}
    return {"PATH": "/usr/bin:/bin", **kept, **more}


def own_folder() -> Path:
    """Make a folder for the temporary files of this process and of those that it starts."""
    folder = Path(tempfile.mkdtemp(prefix="selfserve-tests-"))
    os.environ["TMPDIR"] = str(folder)
    tempfile.tempdir = None  # is asked for again
    return folder


def marked(mark: str) -> Iterator[int]:
    """Yield the ids of the processes that have *mark* in their environment."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark.encode() in (entry / "environ").read_bytes():
                yield int(entry.name)
        except OSError:
            continue  # it has just ended, or is somebody else's


def end(mark: str) -> None:
    """End all marked processes; those that do not end when they are asked to are killed."""
    deadline = time.monotonic() + GRACE
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in marked(mark):
            _send(pid, number)
            _send(pid, signal.SIGCONT)  # a test may have stopped it
        while any(marked(mark)) and time.monotonic() < deadline:
            time.sleep(0.05)


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def main(mark: str, folder: str) -> None:
    """Wait until the watched process has gone, then clean up behind it."""
    sys.stdin.buffer.read()
    end(mark)
    if folder:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
