"""The folder of the demo, which one demo at a time uses."""

from __future__ import annotations

import fcntl
import os
import shutil
import sys
from pathlib import Path

#: What tells the folder of a demo from others; who uses the folder has it locked.
LOCK = "demo.lock"


def take(folder: Path) -> int:
    """Make *folder* anew; return the descriptor of its lock.

    It is locked until all processes that have the descriptor have ended.

    :raises SystemExit: another demo uses it, or it is somebody else's
    """
    lock = folder / LOCK
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()) and not _is_of_a_demo(folder):
        sys.exit(f"{folder} has other files. Name a folder that is empty or does not exist.")
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(_in_use(folder, os.pread(descriptor, 20, 0).decode()))
    note_process(descriptor, os.getpid())
    for entry in folder.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry != lock:
            entry.unlink()
    return descriptor


def note_process(descriptor: int, process: int) -> None:
    """Note in a lock which process ends the demo when it is told to end."""
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, str(process).encode(), 0)


def _is_of_a_demo(folder: Path) -> bool:
    # a demo of before locked nothing
    return (folder / LOCK).exists() or (folder / "project.git").exists()


def _in_use(folder: Path, process: str) -> str:
    return f"""\
A demo is running in {folder}. End it with Ctrl-C in its terminal, or with:

    kill {process}

Or use another folder:

    make demo ARGS='--folder {folder.name}-2'"""
