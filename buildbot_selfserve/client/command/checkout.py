"""What is checked out in the folder where the command runs."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from typing import Any

import click

#: Seconds in which git answers.
PATIENCE = 10

#: What git calls a commit in relation to the one that is checked out.
_RELATIVE = re.compile(r"(HEAD|@)([~^][0-9]*)*")
#: A hash, or so much of one that it stands for a revision.
_HASH = re.compile("[0-9a-fA-F]{6,64}")


def branch() -> str:
    """Return the branch that is checked out.

    :raises click.UsageError: there is none
    """
    _require_checkout()
    name = _answer("symbolic-ref", "--quiet", "--short", "HEAD")
    if not name:
        raise click.UsageError("Give a BRANCH: none is checked out here.")
    if re.search("[\ud800-\udfff]", name):
        raise click.UsageError("Give a BRANCH: the name of the one here is not UTF-8 text.")
    return name


def revision(name: str = "HEAD") -> str:
    """Return the commit that is checked out, or one in relation to it such as ``HEAD~1``.

    :raises click.UsageError: there is none
    """
    found = _answer("rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    if not found:
        raise click.UsageError(f"Give a REVISION: there is no commit {name} here.")
    return found


def resolved(text: str) -> str:
    """Return the commit that *text* names if it is one like ``HEAD~1`` here, else *text*."""
    if not _RELATIVE.fullmatch(text):
        return text
    return _answer("rev-parse", "--verify", "--quiet", f"{text}^{{commit}}") or text


def looks_like_revision(text: str) -> bool:
    """Whether *text* is a hash, or is like ``HEAD~1``; no usual branch is called so."""
    return bool(_HASH.fullmatch(text) or _RELATIVE.fullmatch(text))


class CheckedOut(click.Argument):
    """An argument that may be left out in a checkout."""

    def make_metavar(self, *args: Any, **more: Any) -> str:
        return f"[{super().make_metavar(*args, **more)}]"

    def get_error_hint(self, ctx: click.Context | None) -> str:
        return f"'{self.human_readable_name}'"


class BranchHere(CheckedOut):
    """A branch: without it, the one that is checked out."""


class RevisionHere(CheckedOut):
    """A revision, which may stand alone, too: without it, the commit that is checked out."""

    def stands_alone(self, text: str) -> bool:
        """Whether *text* is a revision and no branch."""
        return looks_like_revision(text)


def completed(declared: Sequence[click.Argument], given: Sequence[str]) -> list[str]:
    """Return what stands before the *given* values of arguments because it is checked out here.

    :param declared: the arguments of the command, in their order
    :raises click.UsageError: something is left out that is not checked out here
    """
    here = [one for one in declared if isinstance(one, CheckedOut)]
    missing = len(declared) - len(given)
    if not here or missing <= 0:
        return []
    if missing == len(here):
        return [branch(), *(revision() for one in here if isinstance(one, RevisionHere))]
    last = here[-1]
    if missing == 1 and isinstance(last, RevisionHere) and last.stands_alone(given[0]):
        return [branch()]
    return []


def _require_checkout() -> None:
    """Return if git knows a checkout here.

    :raises click.UsageError: it does not, or git cannot be asked
    """
    try:
        ran = _run("rev-parse", "--git-dir")
    except FileNotFoundError:
        raise click.UsageError("Give a BRANCH: git is not installed.") from None
    except (OSError, subprocess.SubprocessError):
        raise click.UsageError("Give a BRANCH: git does not answer.") from None
    if ran.returncode:
        told = ran.stderr.strip().partition("\n")[0].removeprefix("fatal: ")
        if not told or told.startswith("not a git repository"):
            told = "there is no git checkout here"
        raise click.UsageError(f"Give a BRANCH: {told.rstrip('.')}.")


def _answer(*arguments: str) -> str:
    """Return what git answers; nothing if it does not know."""
    try:
        ran = _run(*arguments)
    except (OSError, subprocess.SubprocessError):
        return ""
    return "" if ran.returncode else ran.stdout.strip()


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", *arguments],
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",  # names of branches are any bytes
        env={**os.environ, "LC_ALL": "C"},
        timeout=PATIENCE,
    )
