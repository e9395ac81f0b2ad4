"""Readers that are forked from a process which has imported and compiled all that they need.

A reader is a process of its own, and half a second of its start is Python's imports. Hundreds of
tests start masters, so that was a quarter of the whole run. Here the same code runs in the same
way, in a child of the process that spawns it; only how the process begins is another. The tests in
``test_readers.py`` and all masters that run in processes of their own start theirs as users do.

On other systems than Linux, readers are spawned as always.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import fcntl
import os
import platform
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

#: By processor: the number of the system call (linux, arch/*/include/asm/unistd).
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE_PARENT = 0x00008000
#: Descriptors of a reader are below this.
_ABOVE_ALL = 64
_PID = struct.Struct("i")

available = sys.platform == "linux" and platform.machine() in _CLONE


class Zygote:
    """The process that others are forked from, as the tests see it."""

    def __init__(self) -> None:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        command = [sys.executable, "-m", __name__, str(its.fileno())]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(command, pass_fds=[its.fileno()], env=env)
        its.close()
        self._socket = ours
        atexit.register(self.end)

    def fork(self, fdmap: Mapping[int, int]) -> int:
        """Start a reader with these descriptors, by their numbers there; return its process id."""
        numbers = sorted(fdmap)
        files = array.array("i", [fdmap[number] for number in numbers])
        message = bytes(numbers)
        self._socket.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
        (pid,) = _PID.unpack(self._socket.recv(_PID.size))
        return int(pid)

    def end(self) -> None:
        self._socket.close()
        self._process.wait()


_running: list[Zygote] = []


def spawner(reactor: Any, bootstrap: str) -> Any:
    """Return what *reactor* spawns processes with, but that readers are forked.

    :param bootstrap: the text by which their commands are known
    """
    from twisted.internet.process import Process

    class Forked(Process):  # type: ignore[misc]
        def _trySpawnInsteadOfFork(self, *args: Any, **kwargs: Any) -> bool:
            *_, asked = args
            if not _running:
                _running.append(Zygote())
            self.pid = _running[0].fork(asked["fdmap"])
            return True

    spawn = reactor.spawnProcess

    def spawn_process(protocol: Any, executable: Any, args: Any, **more: Any) -> Any:
        if bootstrap not in args:
            return spawn(protocol, executable, args, **more)
        files = more["childFDs"]
        return Forked(
            reactor, executable, args, more["env"], None, protocol, None, None, childFDs=files
        )

    return spawn_process


# -- in the process itself


def _serve(ours: socket.socket) -> None:
    # all that a reader imports; nothing is opened, and no thread is started
    import buildbot_selfserve.views.read_handler
    import buildbot_selfserve.views.reader  # noqa: F401
    from buildbot_selfserve.readers import child
    from buildbot_selfserve.views.render import templates

    for name in templates().list_templates(["html"]):
        templates().get_template(name)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    size = socket.CMSG_SPACE(16 * array.array("i").itemsize)
    while True:
        message, ancillary, _, _ = ours.recvmsg(256, size)
        if not message:
            return
        files = array.array("i")
        for _, _, data in ancillary:
            files.frombytes(data)
        pid = _clone()
        if pid == 0:
            ours.close()
            _place(dict(zip(message, files, strict=True)))
            child.main()
            os._exit(1)
        for file in files:
            os.close(file)
        ours.send(_PID.pack(pid))


def _clone() -> int:
    """Fork, so that the new process is a child of our parent, which waits for it."""
    # os.fork() has no such flag; PyDLL does not let go of the interpreter meanwhile
    python = ctypes.pythonapi
    number = _CLONE[platform.machine()]
    python.PyOS_BeforeFork()
    pid: int = ctypes.PyDLL(None).syscall(number, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    return pid


def _place(wanted: Mapping[int, int]) -> None:
    """Give descriptors the numbers that are *wanted*, and close all others."""
    kept = {number: fcntl.fcntl(file, fcntl.F_DUPFD, _ABOVE_ALL) for number, file in wanted.items()}
    os.closerange(3, _ABOVE_ALL)
    for number, file in kept.items():
        os.dup2(file, number)
        os.close(file)


if __name__ == "__main__":
    _serve(socket.socket(fileno=int(sys.argv[1])))
