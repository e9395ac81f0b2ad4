"""A git repository with two branches, and somebody who pushes to it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

BRANCHES = ("main", "feature/x")

_CODE = '''"""Adds numbers."""


def add(a, b):
    """Return the sum of a and b."""
    return a + b
'''
_TEST = """import unittest

from adder import add


class TestAdd(unittest.TestCase):
    def test_add(self):
        self.assertEqual(add(2, 3), 5)
"""


#: The same in every run, and so the revisions are too: what the documents show can be pasted.
_WHO_AND_WHEN = {
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.org",
    "GIT_AUTHOR_DATE": "2026-11-23T12:00:00+00:00",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.org",
    "GIT_COMMITTER_DATE": "2026-11-23T12:00:00+00:00",
    # nor does anybody's own configuration change them
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_SYSTEM": "/dev/null",
}


class Repository:
    """A bare repository in *folder*, and a clone of it in which commits are made."""

    def __init__(self, folder: Path) -> None:
        self.bare = folder / "project.git"
        self._clone = folder / "clone"
        _git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        _git(folder, "init", "--quiet", "--initial-branch=main", str(self._clone))
        _git(self._clone, "remote", "add", "origin", str(self.bare))
        (self._clone / "adder.py").write_text(_CODE)
        (self._clone / "test_adder.py").write_text(_TEST)
        self._commit("Add numbers")
        _git(self._clone, "push", "--quiet", "origin", "main")
        _git(self._clone, "checkout", "--quiet", "-b", "feature/x")
        _git(self._clone, "push", "--quiet", "origin", "feature/x")

    def push(self, branch: str, text: str) -> str:
        """Commit a change on *branch* and push it; return the revision."""
        _git(self._clone, "checkout", "--quiet", branch)
        with (self._clone / "NEWS").open("a") as news:
            news.write(text + "\n")
        self._commit(text)
        _git(self._clone, "push", "--quiet", "origin", branch)
        return _git(self._clone, "rev-parse", "HEAD").strip()

    def _commit(self, message: str) -> None:
        _git(self._clone, "add", "--all")
        _git(self._clone, "commit", "--quiet", "--message", message)


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**os.environ, **_WHO_AND_WHEN},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout
