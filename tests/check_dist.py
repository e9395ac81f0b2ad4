"""Looks into the built packages: ``python tests/check_dist.py dist``.

Exits 1 and names what is missing. What must be there is read from the checkout, so that a file
which somebody adds tomorrow is looked for as well.
"""

from __future__ import annotations

import argparse
import sys
import tarfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = "buildbot_selfserve"
#: What an installed package needs beside its modules.
DATA = (
    "VERSION",
    "py.typed",
    "templates/*",
    "static/*",
    "journal/migrations/*.mako",
    "views/*.json",
)
#: What somebody who works from the sdist needs beside the package.
SOURCES = (
    ".ci/run",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "benchmarks/**/*.py",
    "benchmarks/**/*.md",
    "benchmarks/results/*.json",
    "demo/*.py",
    "docs/*",
    "docs/images/*.svg",
    "docs/recipes/*",
    "master.cfg.example",
    "mkdocs.yml",
    "newsfragments/*.md",
    "noxfile.py",
    "pyproject.toml",
    "requirements-crossbar.txt",
    "setup.py",
    "tests/**/*.py",
    "tests/*.toml",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Check the packages in a folder; return the exit code."""
    parser = argparse.ArgumentParser(prog="python tests/check_dist.py", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the wheel and the sdist are")
    folder = parser.parse_args(arguments).folder
    wheels, sdists = sorted(folder.glob("*.whl")), sorted(folder.glob("*.tar.gz"))
    if len(wheels) != 1 or len(sdists) != 1:
        sys.stderr.write(f"{folder} must hold one wheel and one sdist\n")
        return 1
    missing = [
        *(f"{wheels[0].name} lacks {name}" for name in missing_in_wheel(wheels[0])),
        *(f"{sdists[0].name} lacks {name}" for name in missing_in_sdist(sdists[0])),
    ]
    if missing:
        sys.stderr.write("\n".join(missing) + "\n")
        return 1
    sys.stdout.write(f"{wheels[0].name} and {sdists[0].name} are complete\n")
    return 0


def missing_in_wheel(wheel: Path) -> list[str]:
    """Return the files that *wheel* must have and has not."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    missing = _package_files() - names
    if not any(".dist-info/" in name and name.endswith("/LICENSE") for name in names):
        missing.add("LICENSE")
    return sorted(missing)


def missing_in_sdist(sdist: Path) -> list[str]:
    """Return the files that *sdist* must have and has not."""
    with tarfile.open(sdist) as archive:
        # everything lies in one folder of the name and version
        names = {name.partition("/")[2] for name in archive.getnames()}
    return sorted((_package_files() | _files(ROOT, SOURCES)) - names)


def _package_files() -> set[str]:
    return _files(ROOT, [f"{PACKAGE}/{pattern}" for pattern in ("**/*.py", *DATA)])


def _files(root: Path, patterns: Sequence[str]) -> set[str]:
    """Return the files that *patterns* match; a pattern that matches none stands for itself."""
    found = set()
    for pattern in patterns:
        files = {path.relative_to(root).as_posix() for path in root.glob(pattern) if path.is_file()}
        found |= files or {pattern}
    return found


if __name__ == "__main__":
    sys.exit(main())
