"""Run the few tests that failed once more, by themselves: ``python -m tests.again``.

On a machine that stands still now and then, one test of thousands may fail that is right, or those
that share a master with it. What passes by itself is named as unsteady. Where tests of more than
:data:`MOST` modules failed, there is a reason: they are not run again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

MOST = 3
#: Where pytest keeps what failed last, by name.
KEPT = Path(".pytest_cache/v/cache/lastfailed")


def main() -> int:
    """Return 0 if tests of no more than :data:`MOST` modules failed, and each passes now."""
    failed = list(json.loads(KEPT.read_text())) if KEPT.exists() else []
    if not 0 < len({name.partition("::")[0] for name in failed}) <= MOST:
        return 1
    print("Once more, by themselves:", *failed, sep="\n  ", flush=True)
    command = [sys.executable, "-m", "pytest", "-m", "heavy or not heavy", "--last-failed"]
    if subprocess.run(command, check=False).returncode:
        return 1
    print("Unsteady: passed by themselves", *failed, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main())
