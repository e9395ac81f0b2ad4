"""Finds the examples of the documents, runs them as a reader would paste them, and judges them.

A comment before a code block says what is done with it:

- ``<!-- example: demo -->``: the lines after ``$`` are run in a shell while the demo's master runs,
  those of a page in their order; what stands below each is the shape of its output. One that does
  not end with status 0 is followed by ``$ echo $?`` and its status.
- ``<!-- example: python -->``: a script that is run by this Python while the demo's master runs.
- ``<!-- example: master.cfg -->``: lines for a master.cfg; ``buildbot checkconfig`` takes them.
- ``<!-- not run: WHY -->``: nothing.
- ``<!-- run by FILE -->``: a test that does more with it than these;
  ``<!-- all run by FILE -->`` somewhere in a page says so of all that have no comment of their own.

In an expected output ``...`` stands for anything. Of JSON, names of members and types of their
values count; of text, everything does but numbers.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests import PATIENCE

ROOT = Path(__file__).parent.parent
#: Languages of blocks that a reader would run.
RUNNABLE = {"console", "sh", "bash", "shell", "python", "py"}
#: What a reader types to see how the command before has ended.
ASKS_STATUS = "echo $?"
#: Where the documents say that the master is.
SHOWN_URL = "http://localhost:8010"
#: Seconds between two commands: a reader is no faster, and what was asked for has begun.
PAUSE = 1.5

_BLOCK = re.compile(
    r"(?:^<!-- *(?P<mark>(?:example:|not run:|run by )[^>]*?) *-->\n+)?"
    r"^(?P<fence>```+)(?P<language>[a-z]*)[^\n]*\n"
    r"(?P<code>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_SCALAR = re.compile(r'"([A-Za-z_]+)": *("(?:[^"\\]|\\.)*"|true|false|null|-?\d+)')
_NAME = re.compile(r'"([A-Za-z_]+)":')


@dataclass(frozen=True)
class Example:
    """A code block of a document.

    :param mark: the comment before it
    """

    document: str
    line: int
    language: str
    mark: str
    code: str

    @property
    def place(self) -> str:
        """Return where it stands."""
        return f"{self.document}:{self.line}"

    @property
    def kind(self) -> str:
        """Return ``demo``, ``python`` or ``master.cfg``; empty for what is not run here."""
        return self.mark.partition("example:")[2].strip()

    def commands(self) -> Iterator[tuple[str, str]]:
        """Yield each command, and what it should print."""
        for part in re.split(r"^\$ ", self.code, flags=re.MULTILINE)[1:]:
            lines = part.splitlines(keepends=True)
            end = 1
            while lines[end - 1].endswith("\\\n"):
                end += 1
            yield "".join(lines[:end]).strip(), "".join(lines[end:]).strip()

    def runs(self) -> Iterator[tuple[str, str, int]]:
        """Yield each command, what it should print, and the status that ``echo $?`` shows next."""
        found = list(self.commands())
        for (command, expected), (after, status) in zip(found, [*found[1:], ("", "")], strict=True):
            if command != ASKS_STATUS:
                yield command, expected, int(status) if after == ASKS_STATUS else 0


def documents() -> list[Path]:
    """Return every document that people read."""
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def examples(document: Path) -> list[Example]:
    """Return the code blocks of *document* in their order."""
    text = document.read_text("utf-8")
    name = document.relative_to(ROOT).as_posix()
    of_all = re.search(r"^<!-- all (run by \S+) -->$", text, re.MULTILINE)
    return [
        Example(
            name,
            text.count("\n", 0, match.start("fence")) + 1,
            match["language"],
            match["mark"] or (of_all[1] if of_all else ""),
            match["code"],
        )
        for match in _BLOCK.finditer(text)
    ]


def run_command(
    command: str, url: str, environment: dict[str, str], folder: Path, status: int = 0
) -> str:
    """Run a line of a shell as it stands, but for where the master is; return what it prints.

    :param status: its exit status
    :raises AssertionError: it ends with another status
    """
    time.sleep(PAUSE)
    done = subprocess.run(
        ["bash", "-c", command.replace(SHOWN_URL, url)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == status, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout if status == 0 else done.stdout + done.stderr


def run_python(code: str, url: str, environment: dict[str, str], folder: Path) -> str:
    """Run a script; return what it prints.

    :raises AssertionError: it fails
    """
    done = subprocess.run(
        [sys.executable, "-c", code.replace(SHOWN_URL, url)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, f"{code}\n{done.stdout}{done.stderr}"
    return done.stdout


def differences(expected: str, printed: str) -> list[str]:
    """Return in what the shape of *printed* is not as *expected*."""
    if expected.startswith(("{", "[")):
        return _json_differences(expected, printed)
    pattern = re.escape(expected).replace(re.escape("..."), ".*?")
    pattern = re.sub(r"(?P<hash>\b[0-9a-f]{32}\b)|\d+", _any_such, pattern)
    pattern = re.sub(r"(\\ |\\\n|\n)+", r"\\s+", pattern)
    matches = re.search(pattern, printed, re.DOTALL)
    return [] if matches else [f"expected\n{expected}\nprinted\n{printed}"]


def _any_such(found: re.Match[str]) -> str:
    """Return what matches any hash in place of a hash, and any number in place of a number."""
    return "[0-9a-f]{32}" if found["hash"] else r"\d+"


def _json_differences(expected: str, printed: str) -> list[str]:
    try:
        found = json.dumps(json.loads(printed))
    except ValueError:
        return [f"it is not JSON: {printed}"]
    if expected[0] != found[0]:
        return [f"it begins with {found[0]}, not with {expected[0]}"]
    names = set(_NAME.findall(expected)) - set(_NAME.findall(found))
    scalars = _typed(expected) - _typed(found)
    wrong = {name for name, kind in scalars if (name, "null") not in _typed(found)}
    return sorted(
        [*(f"no {name}" for name in names), *(f"{name} is of another type" for name in wrong)]
    )


def _typed(text: str) -> set[tuple[str, str]]:
    kinds = {'"': "text", "t": "truth", "f": "truth", "n": "null"}
    return {(name, kinds.get(value[0], "number")) for name, value in _SCALAR.findall(text)}
