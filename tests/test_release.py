"""What a release is made of: one version, and a changelog from the newsfragments."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import buildbot_selfserve
from tests.examples import ROOT

NEWS = [path for path in sorted((ROOT / "newsfragments").glob("*.md")) if path.name != "README.md"]


def test_the_version_stands_in_one_place() -> None:
    version = (ROOT / "buildbot_selfserve" / "VERSION").read_text().strip()
    assert buildbot_selfserve.__version__ == metadata.version("buildbot-selfserve") == version
    found = subprocess.run(
        ["git", "grep", "--fixed-strings", "--name-only", f'"{version}"', "--", "*.py", "*.toml"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert found.stdout.split() == []


def test_the_changelog_can_be_made_and_has_all_the_news() -> None:
    done = subprocess.run(
        [str(Path(sys.executable).with_name("towncrier")), "build", "--draft"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"## {buildbot_selfserve.__version__} (" in done.stdout
    draft = " ".join(done.stdout.split())
    for path in NEWS:
        # of the type misc only the number of an issue is shown
        assert ".misc." in path.name or " ".join(path.read_text().split()) in draft, path.name


def test_the_changelog_has_a_section_for_this_version() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text()
    before, mark, released = changes.partition("<!-- towncrier release notes start -->\n")
    assert (before, mark) == ("# Changes\n\n", "<!-- towncrier release notes start -->\n")
    sections = re.findall(r"^## (\S+) \(\d{4}-\d{2}-\d{2}\)$", released, re.MULTILINE)
    assert sections.count(buildbot_selfserve.__version__) == 1
    # between two releases the version is that of the last
    assert sections[0] == buildbot_selfserve.__version__


def test_newsfragments_have_the_names_that_the_changelog_knows() -> None:
    types = {"feature", "bugfix", "doc", "removal", "misc"}
    assert [path.name for path in NEWS if path.name.split(".")[-2] not in types] == []
