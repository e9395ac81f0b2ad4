"""What the tests' own fixtures promise, and how a run of them ends."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

_ONE_FAILS = """
import pytest_twisted

_begun = []

@pytest_twisted.async_yield_fixture
async def sometimes():
    _begun.append(1)
    assert len(_begun) > 1
    yield

def test_first(sometimes): ...
def test_second(sometimes): ...
"""


def test_a_fixture_that_fails_once_fails_one_test(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text("from tests.conftest import pytest_fixture_setup\n")
    (tmp_path / "test_it.py").write_text(_ONE_FAILS)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert "1 passed, 1 error" in ran.stdout, ran.stdout


_ONE_DIES = """
import os
import pytest

@pytest.mark.parametrize("number", range(4))
def test_it(number):
    if __name__ == "test_1" and number == 1:
        os._exit(1)
"""


def test_a_run_in_which_a_process_dies_ends(tmp_path: Path) -> None:
    """pytest-xdist replaces it, by default, and waits for ever for what it had left to do."""
    made = (ROOT / "Makefile").read_text().replace("\\\n", " ")
    found = re.search("^PYTEST := .* -m pytest (.*)$", made, re.MULTILINE)
    assert found is not None
    for number in range(6):
        (tmp_path / f"test_{number}.py").write_text(_ONE_DIES)
    options = [*shlex.split(found[1]), "--numprocesses=2", "--rootdir", str(tmp_path)]
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert ran.returncode == 1, ran.stdout
    assert "crashed while running 'test_1.py::test_it[1]'" in ran.stdout


_UNSTEADY = """
import pathlib
import pytest

@pytest.mark.parametrize("number", range(6))
def test_it(number):
    seen = pathlib.Path(f"{__name__}-{number}")
    known = seen.exists()
    seen.touch()
    assert known or number >= FAILING
    assert number >= BROKEN
"""


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("modules", "failing", "broken", "status"),
    [(1, 0, 0, 1), (1, 5, 0, 0), (3, 1, 0, 0), (4, 1, 0, 1), (2, 2, 1, 1)],
    ids=["none", "several of one module", "three modules", "too many", "one is broken"],
)
def test_few_that_fail_are_run_once_more(
    tmp_path: Path, modules: int, failing: int, broken: int, status: int
) -> None:
    code = _UNSTEADY.replace("FAILING", str(failing)).replace("BROKEN", str(broken))
    for number in range(modules):
        (tmp_path / f"test_{number}.py").write_text(code)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = heavy\n")
    subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ran = subprocess.run(
        [sys.executable, "-m", "tests.again"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == status, ran.stdout
    told = re.findall(r"^  test_0\.py::test_it\[0\]$", ran.stdout, re.MULTILINE)
    # named when it begins again, and at the end if it passed
    assert len(told) == (2 if status == 0 else bool(broken))
    assert ("Unsteady" in ran.stdout) == (status == 0)
