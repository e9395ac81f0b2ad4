"""Says how far a revision is while one waits for it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Iterator

from rich.text import Text

from buildbot_selfserve.client.command.show import Screen
from buildbot_selfserve.client.command.show import counts
from buildbot_selfserve.client.rows import Done


@contextlib.contextmanager
def progress(screen: Screen) -> Iterator[Callable[[Done], None]]:
    """Show each new state on the standard error: one living line, or a line for each change.

    Nothing is said of the end.
    """
    if screen.err.is_terminal:
        with screen.err.status(Text("waiting")) as status:
            yield lambda done: status.update(Text(counts(done)))
        return
    said: list[str] = []

    def say(done: Done) -> None:
        text = counts(done)
        if said != [text] and not done["job_complete"]:  # what comes then has them, too
            said[:] = [text]
            screen.complain(text)

    yield say
