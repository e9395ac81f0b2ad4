"""Nothing outlives a run of the tests, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests import PATIENCE

#: Starts a daemon that nobody ends, and waits.
SCRIPT = """
import subprocess, sys, time
from pathlib import Path
from tests import reaper
folder = reaper.own_folder()
reaper.watch(folder)
code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
left = subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
print(left.pid, folder, flush=True)
{then}
"""


def until(check: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline, f"it never came true: {what}"
        time.sleep(0.05)


def has_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.parametrize("number", [None, signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_what_a_process_leaves_is_ended(number: signal.Signals | None) -> None:
    then = "" if number is None else "time.sleep(600)"
    command = [sys.executable, "-c", SCRIPT.format(then=then)]
    root = Path(__file__).parent.parent
    run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=root)
    assert run.stdout is not None
    words = run.stdout.readline().split()
    left, folder = int(words[0]), Path(os.fsdecode(words[1]))
    if number is not None:
        run.send_signal(number)
    run.stdout.close()
    run.wait(PATIENCE)
    until(lambda: has_gone(left), "what it left has ended")
    until(lambda: not folder.exists(), "its folder is gone")
