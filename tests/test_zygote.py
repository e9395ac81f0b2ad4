"""What is forked for the tests does what starts as users start it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import zygote
from tests.process_master import ProcessMaster
from tests.zygote import SELFSERVE

#: How a process starts: as users start it, and forked.
WAYS = {"started": subprocess.Popen, "forked": zygote.Popen}
RUNS: dict[str, Callable[..., Any]] = {"started": subprocess.run, "forked": zygote.run}


@pytest.mark.skipif(not zygote.available, reason="nothing is forked on this system")
@pytest.mark.parametrize("way", WAYS)
def test_a_master_and_a_command(way: str, tmp_path: Path) -> None:
    master = ProcessMaster(tmp_path, begin=WAYS[way])
    master.start()
    try:
        master.force("fast")
        url = f"{master.url}/self-serve"
        environ = {
            "PATH": os.defpath,
            "HOME": str(tmp_path),
            "LC_ALL": "C.UTF-8",
            "TZ": "Asia/Tokyo",
        }

        def selfserve(*arguments: str, **more: str) -> Any:
            command = [SELFSERVE, "--url", url, *arguments]
            ran = RUNS[way](command, env={**environ, **more}, capture_output=True, text=True)
            return ran.returncode, ran.stdout, ran.stderr

        status, out, err = selfserve("branches", "--json")
        assert (status, err) == (0, "")
        assert out.startswith("{")
        assert selfserve("rev", "main", "f" * 40) == (
            6,
            "",
            f"selfserve: Revision {'f' * 40} not found on branch main\n",
        )
        status, out, err = selfserve("branches", PYTHONIOENCODING="ascii")
        assert (status, err) == (0, "")
        assert (b"tests.zygote" in _command_of(master.pid)) == (way == "forked")
    finally:
        master.stop()
    assert "Traceback" not in master.log
    assert master.log.endswith("Server Shut Down.\n")


def _command_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()
