"""What the tests' own fixtures promise."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
    )
    assert "1 passed, 1 error" in ran.stdout, ran.stdout
