"""Processes that are forked from one which has imported all that they need.

Readers, masters in processes of their own and the ``selfserve`` command begin with half a second to
two seconds of Python's imports. Tests start thousands of them, so that this was most of the run.
Here the same code runs in the same way, in a child of the process that asks for it; only how the
process begins is another. ``test_readers.py``, and each of the others once in ``test_zygote.py``,
start theirs as users do.

On other systems than Linux, processes are started as always.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import fcntl
import os
import pickle
import platform
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: By processor: the number of the system call (linux, arch/*/include/asm/unistd).
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE_PARENT = 0x00008000
#: Descriptors of a process that begins are below this.
_ABOVE_ALL = 64
#: Bytes: more than any environment of the tests.
_LARGEST = 200_000
_PID = struct.Struct("i")

available = sys.platform == "linux" and platform.machine() in _CLONE

BIN = Path(sys.executable).parent
SELFSERVE = str(BIN / "selfserve")
BUILDBOT = str(BIN / "buildbot")


class _Asked:
    """A process that others are forked from, as the process that asks for them sees it."""

    def __init__(self) -> None:
        self._socket, self._its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * _LARGEST)
        self._asking = threading.Lock()

    def fork(self, kind: str, fdmap: Mapping[int, int], **how: Any) -> int:
        """Start a process with these descriptors, by their numbers there; return its id.

        :param kind: a key of ``KINDS``
        :param how: arguments of that function
        """
        numbers = sorted(fdmap)
        files = array.array("i", [fdmap[number] for number in numbers])
        message = pickle.dumps((kind, numbers, how))
        with self._asking:
            self._socket.sendmsg([message], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, files)])
            (pid,) = _PID.unpack(self._socket.recv(_PID.size))
        return int(pid)


class Zygote(_Asked):
    """The one of the tests themselves."""

    def __init__(self) -> None:
        super().__init__()
        its = self._its
        command = [sys.executable, "-m", __name__, str(its.fileno())]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(command, pass_fds=[its.fileno()], env=env)
        its.close()
        atexit.register(self.end)

    def end(self) -> None:
        self._socket.close()
        self._process.wait()


class _Own(_Asked):
    """The one of a master: what is forked has the parent of the process that forks it."""

    def __init__(self) -> None:
        super().__init__()
        if os.fork() == 0:
            self._socket.close()
            begin = _serve(self._its)
            os._exit(0) if begin is None else begin()
        self._its.close()


_running: list[_Asked] = []


def _zygote() -> _Asked:
    if not _running:
        _running.append(Zygote())
    return _running[0]


def spawner(reactor: Any, bootstrap: str) -> Any:
    """Return what *reactor* spawns processes with, but that readers are forked.

    :param bootstrap: the text by which their commands are known
    """
    from twisted.internet.process import Process

    class Forked(Process):
        def _trySpawnInsteadOfFork(self, *args: Any, **kwargs: Any) -> bool:
            *_, asked = args
            self.pid = _zygote().fork("reader", asked["fdmap"])
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


class Popen(subprocess.Popen[Any]):
    """Starts what ``subprocess.Popen`` does; ``selfserve`` and ``buildbot`` are forked."""

    def _execute_child(self, args: Any, *more: Any) -> None:
        kind = {SELFSERVE: "selfserve", BUILDBOT: "buildbot"}.get(os.fsdecode(args[0]))
        _, _, close_fds, pass_fds, cwd, env, _, _, shell = more[:9]
        plain = close_fds and not pass_fds and not shell
        if kind is None or not plain or not available or _differs(env):
            super()._execute_child(args, *more)  # type: ignore[misc]
            return
        p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite, _, _, _, _, _, session = more[9:21]
        files = {
            number: inherited if given == -1 else given
            for number, (given, inherited) in enumerate(
                [(p2cread, 0), (c2pwrite, 1), (errwrite, 2)]
            )
        }
        self.pid = _zygote().fork(
            kind,
            files,
            arguments=[os.fsencode(one) for one in args],
            cwd=os.fsencode(cwd or Path.cwd()),
            env=dict(os.environb) if env is None else _bytes(env),
            session=session,
        )
        self._child_created = True
        self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


def _bytes(env: Mapping[Any, Any]) -> dict[bytes, bytes]:
    return {os.fsencode(name): os.fsencode(value) for name, value in env.items()}


def _differs(env: Mapping[Any, Any] | None) -> bool:
    """Whether Python itself would begin in another way with *env*."""
    given = _bytes(os.environ if env is None else env)
    locale = given.get(b"LC_ALL", given.get(b"LC_CTYPE", given.get(b"LANG", b"C.UTF-8")))
    own = {name for name in given if name.startswith(b"PYTHON")} - {b"PYTHONPATH"}
    return bool(own - {b"PYTHONUNBUFFERED"}) or not locale.upper().endswith(b"UTF-8")


def run(
    args: Any,
    *,
    input: Any = None,
    capture_output: bool = False,
    timeout: float | None = None,
    check: bool = False,
    **more: Any,
) -> subprocess.CompletedProcess[Any]:
    """Do what ``subprocess.run`` does; ``selfserve`` and ``buildbot`` are forked."""
    if capture_output:
        more.update(stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if input is not None:
        more["stdin"] = subprocess.PIPE
    with Popen(args, **more) as process:
        try:
            out, err = process.communicate(input, timeout=timeout)
        except BaseException:
            process.kill()
            raise
    done = subprocess.CompletedProcess(args, process.returncode, out, err)
    if check:
        done.check_returncode()
    return done


# -- in the process itself


def _reader() -> Callable[[], Any]:
    # all that a reader imports; nothing is opened, and no thread is started
    import buildbot_selfserve.views.read_handler
    import buildbot_selfserve.views.reader  # noqa: F401
    from buildbot_selfserve.readers import child
    from buildbot_selfserve.views.render import templates

    for name in templates().list_templates(["html"]):
        templates().get_template(name)

    def begin() -> None:
        child.main()
        os._exit(1)

    return begin


def _selfserve() -> Callable[..., Any]:
    import requests  # noqa: F401
    import rich.console
    import rich.table  # noqa: F401

    from buildbot_selfserve import __main__ as module
    from buildbot_selfserve.client import command  # noqa: F401

    return lambda **how: _begin(module.main, **how)


def _buildbot() -> Callable[..., Any]:
    _reader()
    import sqlalchemy.dialects.sqlite  # noqa: F401
    from buildbot.scripts.runner import run
    from twisted.internet import reactor
    from twisted.scripts import twistd  # noqa: F401

    import buildbot_selfserve.config
    import buildbot_selfserve.plugin
    import buildbot_selfserve.resources  # noqa: F401
    from buildbot_selfserve.readers import processes
    from tests import harness  # noqa: F401

    def begin(**how: Any) -> Any:
        _renew(reactor)
        _running[:] = [_Own()]
        vars(reactor)["spawnProcess"] = spawner(reactor, processes._BOOTSTRAP)
        return _begin(run, **how)

    return begin


#: What can be forked: each imports what is needed, and returns what then begins.
KINDS: dict[str, Callable[[], Callable[..., Any]]] = {
    "reader": _reader,
    "selfserve": _selfserve,
    "buildbot": _buildbot,
}


def _serve(ours: socket.socket) -> Callable[[], Any] | None:
    """Fork what is asked for until nobody asks any more; return what to do in what was forked."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    size = socket.CMSG_SPACE(16 * array.array("i").itemsize)
    while True:
        message, ancillary, _, _ = ours.recvmsg(_LARGEST, size)
        if not message:
            return None
        files = array.array("i")
        for _, _, data in ancillary:
            files.frombytes(data)
        kind, numbers, how = pickle.loads(message)
        if kind not in _imported:
            _imported[kind] = KINDS[kind]()
        pid = _clone()
        if pid == 0:
            ours.close()
            _place(dict(zip(numbers, files, strict=True)))
            return lambda: _imported[kind](**how)
        for file in files:
            os.close(file)
        ours.send(_PID.pack(pid))


_imported: dict[str, Callable[..., Any]] = {}


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


def _begin(
    main: Callable[[], Any],
    arguments: list[bytes],
    cwd: bytes,
    env: dict[bytes, bytes],
    session: bool,
) -> Any:
    """Run a command's *main* as Python does that begins; end with what it returns."""
    if session:
        os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(cwd)
    os.environb.clear()
    os.environb.update(env)
    time.tzset()
    sys.argv = [os.fsdecode(one) for one in arguments]
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        # buffered as they are for a terminal, or for what is none
        mode = "r" if number == 0 else "w"
        stream = os.fdopen(number, mode, encoding="utf-8", errors=_ERRORS[number])
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)
    sys.stderr.reconfigure(line_buffering=True)
    _end(main)


def _end(main: Callable[[], Any]) -> None:
    """End as Python does after *main*, but without taking hundreds of modules apart."""
    try:
        status = main()
    except SystemExit as error:
        status = error.code
    if isinstance(status, str):
        sys.stderr.write(f"{status}\n")
        status = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status or 0)


#: How the standard streams take what is no text, by their numbers.
_ERRORS = ("strict", "strict", "backslashreplace")


def _renew(reactor: Any) -> None:
    """Give *reactor* a poller and a waker that are not the parent's, which are closed here."""
    import select

    for kept in (reactor._reads, reactor._writes, reactor._selectables, reactor._internalReaders):
        kept.clear()
    reactor._poller = select.epoll(1024)
    reactor.waker = None
    reactor.installWaker()


if __name__ == "__main__":
    _first = _serve(socket.socket(fileno=int(sys.argv[1])))
    if _first is not None:
        _first()
