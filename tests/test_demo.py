"""``make demo``, where one runs already."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.folder import LOCK
from demo.folder import take
from tests import PATIENCE

ROOT = Path(__file__).parent.parent


def demo(folder: Path) -> list[str]:
    return [sys.executable, "-m", "demo", "--folder", str(folder)]


@pytest.fixture
def running(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the demo in ``demo-run`` until its master runs."""
    process = subprocess.Popen(
        demo(tmp_path / "demo-run"),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    try:
        assert any("The master runs at" in line for line in process.stdout)
        master = master_of(tmp_path / "demo-run")
        yield process
        with contextlib.suppress(ProcessLookupError):
            os.kill(master, signal.SIGKILL)
    finally:
        process.kill()
        process.communicate()


def master_of(folder: Path) -> int:
    return int((folder / LOCK).read_text())


def again(folder: Path) -> str:
    done = subprocess.run(
        demo(folder), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr


def test_a_second_demo_leaves_the_folder_of_the_first_alone(
    tmp_path: Path, running: subprocess.Popen[str]
) -> None:
    folder = tmp_path / "demo-run"
    said = again(folder)
    assert f"A demo is running in {folder}. End it with Ctrl-C in its terminal" in said
    assert f"\n    kill {master_of(folder)}\n" in said
    assert "make demo ARGS='--folder demo-run-2'\n" in said
    # its master may go on without it
    running.kill()
    running.wait()
    assert again(folder) == said
    assert (folder / "project.git").is_dir()
    os.kill(master_of(folder), signal.SIGTERM)
    os.close(take_soon(folder))
    assert [entry.name for entry in folder.iterdir()] == [LOCK]


def take_soon(folder: Path) -> int:
    """Take *folder* when the processes of the demo have ended."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return take(folder)
        except SystemExit:
            assert time.monotonic() < deadline
            time.sleep(0.1)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis").touch()
    assert again(tmp_path).startswith(f"{tmp_path} has other files")
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis"]


def test_a_demo_that_has_ended_makes_way(tmp_path: Path) -> None:
    (tmp_path / "project.git").mkdir()
    (tmp_path / "project.git" / "config").touch()
    (tmp_path / "link").symlink_to(tmp_path / "project.git")
    for _ in range(2):
        os.close(take(tmp_path))
        assert [entry.name for entry in tmp_path.iterdir()] == [LOCK]
