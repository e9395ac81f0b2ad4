"""A git repository with three branches, and people who push to it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import NamedTuple

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
_NETWORK = '''"""Stands for a flaky test: it fails the first time that it is run at a revision."""

import pathlib
import sys

before = pathlib.Path(f".tested-{sys.argv[1]}")
if not before.exists():
    before.touch()
    sys.exit("TimeoutError: the server did not answer within 5 seconds")
print("The server has answered")
'''


class Commit(NamedTuple):
    """A commit to make: each of *files* with its whole text."""

    author: str
    subject: str
    files: dict[str, str]


#: The branch release: a push that is good, but for a flaky test...
GOOD = Commit("Ada", "Ask the server, too", {"network.py": _NETWORK})
#: ...and one of five commits, of which Buildbot builds the newest only. The third is the culprit.
PUSH = (
    Commit("Mary", "Say how to install it", {"INSTALL": "Copy adder.py.\n"}),
    Commit("Ada", "Name the authors", {"AUTHORS": "Ada\nGrace\nMary\n"}),
    Commit("Grace", "Add faster", {"adder.py": _CODE.replace("a + b", "a | b")}),
    Commit("Mary", "Thank those who helped", {"THANKS": "Annie\n"}),
    Commit("Ada", "Prepare the release", {"VERSION": "1.0\n"}),
)
CULPRIT = PUSH[2]

#: The same in every run, and so the revisions are too: what the documents show can be pasted.
_WHEN = "2026-11-23T12:00:00+00:00"
#: Nor does anybody's own configuration change them.
_NO_CONFIGURATION = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}


class Repository:
    """A bare repository in *folder*, and a clone of it in which commits are made."""

    def __init__(self, folder: Path) -> None:
        self.bare = folder / "project.git"
        self._clone = folder / "clone"
        _git(folder, "init", "--quiet", "--bare", "--initial-branch=main", str(self.bare))
        _git(folder, "init", "--quiet", "--initial-branch=main", str(self._clone))
        _git(self._clone, "remote", "add", "origin", str(self.bare))
        self._commit(Commit("Ada", "Add numbers", {"adder.py": _CODE, "test_adder.py": _TEST}))
        _git(self._clone, "branch", "feature/x")
        _git(self._clone, "branch", "release")
        self.push("main", "feature/x", "release")

    def commit(self, branch: str, *commits: Commit) -> str:
        """Commit to *branch*; return the revision."""
        _git(self._clone, "checkout", "--quiet", branch)
        for commit in commits:
            self._commit(commit)
        return _git(self._clone, "rev-parse", "HEAD").strip()

    def push(self, *branches: str) -> None:
        """Push *branches* at once."""
        _git(self._clone, "push", "--quiet", "--atomic", "origin", *branches)

    def _commit(self, commit: Commit) -> None:
        for name, text in commit.files.items():
            (self._clone / name).write_text(text)
        _git(self._clone, "add", "--all")
        _git(self._clone, "commit", "--quiet", "--message", commit.subject, author=commit.author)


def _git(folder: Path, *arguments: str, author: str = "Ada") -> str:
    who = {
        f"GIT_{role}_{part}": value
        for role in ("AUTHOR", "COMMITTER")
        for part, value in (
            ("NAME", author),
            ("EMAIL", f"{author.lower()}@example.org"),
            ("DATE", _WHEN),
        )
    }
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        env={**os.environ, **_NO_CONFIGURATION, **who},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return done.stdout
