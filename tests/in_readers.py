"""What readers are asked in tests: they import this module into a process of their own."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from buildbot_selfserve import errors
from buildbot_selfserve.readers import Lengthy
from buildbot_selfserve.readers import room

#: Bytes that are held for clients here, and of a text of which two have no room.
TIGHT, LONG = 3_500_000, 2_000_000


def open_state(name: str) -> dict[str, Any]:
    return {"name": name, "pid": os.getpid()}


def greet(state: dict[str, Any], word: str) -> str:
    return f"{word}, {state['name']}"


def where(state: dict[str, Any]) -> int:
    pid: int = state["pid"]
    return pid


def large_answer(state: dict[str, Any], size: int) -> bytes:
    return b"x" * size


def wait(state: dict[str, Any], seconds: float) -> str:
    time.sleep(seconds)
    return "waited"


def wait_for(state: dict[str, Any], gate: str) -> str:
    while not os.path.exists(gate):  # noqa: PTH110
        time.sleep(0.02)
    return "waited"


def refuse(state: dict[str, Any]) -> None:
    raise errors.NotFound("Nothing here", "nor there")


def refuse_parameter(state: dict[str, Any]) -> None:
    raise errors.BadParameter("count", "a number")


def fail(state: dict[str, Any]) -> None:
    raise ZeroDivisionError("on purpose")


def die(state: dict[str, Any]) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def chatter(state: dict[str, Any]) -> str:
    print("this is not an answer")  # noqa: T201
    return "quiet"


def die_once(state: dict[str, Any], marker: str) -> str:
    if not os.path.exists(marker):  # noqa: PTH110
        open(marker, "w").close()  # noqa: PTH123
        os.kill(os.getpid(), signal.SIGKILL)
    return "alive"


def long_answer(state: dict[str, Any], size: int) -> Lengthy:
    return Lengthy(f"{size} long", bytes(range(256)) * (size // 256))


def open_tight(name: str) -> dict[str, Any]:
    room.MOST_HELD = TIGHT
    return open_state(name)


def text(state: dict[str, Any], letter: str) -> Lengthy:
    return Lengthy(letter, letter.encode() * LONG)


def text_begun(state: dict[str, Any], letter: str, marker: str) -> Lengthy:
    """Leave a *marker* that the question has been begun."""
    open(marker, "w").close()  # noqa: PTH123
    return text(state, letter)


class Configured:
    """An argument that tells how often it was sent, and whose it is."""

    sent = 0

    def __init__(self, name: str) -> None:
        self.name = name

    def __getstate__(self) -> dict[str, Any]:
        Configured.sent += 1
        return self.__dict__


def name_of(state: dict[str, Any], configured: Configured, word: str) -> str:
    return f"{word}, {configured.name} and {state['name']}"


def open_never(name: str) -> Any:
    """End the process, as what it needs is not there."""
    os._exit(3)


def open_slowly(name: str) -> dict[str, Any]:
    time.sleep(4.0)
    return open_state(name)


def open_when_let(gate: str) -> dict[str, Any]:
    while not os.path.exists(gate):  # noqa: PTH110
        time.sleep(0.02)
    return open_state("Ada")
