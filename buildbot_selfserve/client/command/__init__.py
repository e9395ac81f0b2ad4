"""The command ``selfserve``.

``group`` has what all commands share: options, errors and exit statuses. ``reads``, ``watch``,
``logs``, ``writes`` and ``login`` have the commands; ``show`` and ``waiting`` say to people what
came of them. What is left out is found in ``checkout``.
"""

from __future__ import annotations

from buildbot_selfserve.client.command import login
from buildbot_selfserve.client.command import logs
from buildbot_selfserve.client.command import reads
from buildbot_selfserve.client.command import watch
from buildbot_selfserve.client.command import writes
from buildbot_selfserve.client.command.group import Group
from buildbot_selfserve.client.command.group import run_group

__all__ = ["run", "selfserve"]

#: The command with all its commands.
selfserve = Group(
    "selfserve",
    commands=[*reads.COMMANDS, *watch.COMMANDS, *logs.COMMANDS, *writes.COMMANDS, *login.COMMANDS],
    help="List, start, rebuild and cancel builds of a Buildbot with self-serve.",
)


def run() -> int:
    """Run the command with the arguments of this process; return its exit status."""
    return run_group(selfserve)
