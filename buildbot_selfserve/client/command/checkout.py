"""What is checked out in the folder where the command runs."""

from __future__ import annotations

import subprocess

import click

#: Seconds in which git answers.
PATIENCE = 10


def branch() -> str:
    """Return the branch that is checked out.

    :raises click.UsageError: there is none
    """
    name = _git("rev-parse", "--abbrev-ref", "HEAD")
    if name == "HEAD":
        raise click.UsageError("Give a BRANCH: none is checked out here.")
    return name


def revision() -> str:
    """Return the commit that is checked out.

    :raises click.UsageError: there is none
    """
    return _git("rev-parse", "HEAD")


def _git(*arguments: str) -> str:
    try:
        ran = subprocess.run(
            ["git", *arguments], capture_output=True, text=True, check=True, timeout=PATIENCE
        )
    except (OSError, subprocess.SubprocessError):
        raise click.UsageError("Give a BRANCH: there is no git checkout here.") from None
    return ran.stdout.strip()
