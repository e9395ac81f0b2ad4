"""Runs ``selfserve``, the command: also as ``python -m buildbot_selfserve``."""

from __future__ import annotations

import sys

#: What the extra ``cli`` installs.
NEEDED = frozenset({"click", "requests", "rich"})
#: The exit status of a wrong usage.
USAGE = 2


def main() -> int:
    """Run the command; return its exit status."""
    try:
        from buildbot_selfserve.client.command import run
    except ModuleNotFoundError as error:
        if error.name not in NEEDED:
            raise
        sys.stderr.write(
            f"selfserve needs {error.name}, which is not installed:"
            " run pip install '.[cli]' in a checkout of buildbot-selfserve\n"
        )
        return USAGE
    return run()


if __name__ == "__main__":
    sys.exit(main())
