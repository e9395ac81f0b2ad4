"""The benchmarks run, with tiny numbers, and say what they are asked."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_bulk_job_requests_are_measured(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    arguments = "--pending 30 0 --count 3 --at-revision 30 --stock 1 --rounds 1 --database sqlite"
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.writes", *arguments.split(), "--json", str(figures)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    first, second = json.loads(figures.read_text())
    assert (first["pending"], second["pending"]) == (30, 0)
    for act, count in (("rebuild", 3), ("cancel", 30), ("stock", 1)):
        assert first[act]["requests"] == count
        assert first[act]["seconds"] > 0
    assert second["stock"] is None
    head, _, *rows = done.stdout.splitlines()
    assert [row.split("|")[1:3] for row in rows] == [[" sqlite ", " 30 "], [" sqlite ", " 0 "]]
    assert "**" in rows[0]
    assert len({line.count("|") for line in (head, *rows)}) == 1
