"""The steps of a build and their logs, and why a build failed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from buildbot_selfserve.model.ansi import Run
from buildbot_selfserve.model.results import FAILING
from buildbot_selfserve.model.results import result_name

#: The types of logs, as buildbot/db/model.py has them: lines of several streams; text; HTML; one
#: whose content was deleted.
STDIO, TEXT, HTML, DELETED = "s", "t", "h", "d"


class Log(NamedTuple):
    """A log of a step.

    :param type: STDIO, TEXT, HTML or DELETED
    :param lines: how many it has, as far as they have been written to the database
    """

    log_id: int
    name: str
    slug: str
    type: str
    lines: int


class Link(NamedTuple):
    """A link that a step has set."""

    name: str
    url: str

    @property
    def is_safe(self) -> bool:
        """Whether a browser that follows it runs no script in its page."""
        return self.url.strip().lower().startswith(("http://", "https://", "mailto:"))


class Step(NamedTuple):
    """A step of a build; ``results`` and ``complete_at`` are ``None`` until it has ended.

    :param hidden: Buildbot's own page leaves it out
    :param logs: in the order in which they were begun
    """

    step_id: int
    build_id: int
    number: int
    name: str
    state_string: str
    results: int | None
    started_at: int | None
    complete_at: int | None
    urls: tuple[Link, ...]
    hidden: bool
    logs: tuple[Log, ...] = ()

    @property
    def has_failed(self) -> bool:
        return self.results in FAILING

    @property
    def state(self) -> str:
        """Return ``pending``, ``running`` or the name of the result."""
        if self.results is not None:
            return result_name(self.results)
        return "pending" if self.started_at is None else "running"


@dataclass(frozen=True)
class LogLine:
    """A line of a log, as much of it as is shown.

    :param stream: ``stdout`` or ``stderr``
    :param is_cut: there is more of it
    """

    stream: str
    runs: tuple[Run, ...]
    is_cut: bool = False

    @property
    def text(self) -> str:
        """Return its text without colours."""
        return "".join(run.text for run in self.runs)


@dataclass(frozen=True)
class FailedStep:
    """The step because of which a build failed, and the end of its log.

    :param log: ``None`` if it has no logs
    :param tail: the last lines of the log, without those that Buildbot has put around them
    :param note: why there is no tail although there is a log; else empty
    """

    step: Step
    log: Log | None = None
    tail: tuple[LogLine, ...] = ()
    note: str = ""


class LogText(NamedTuple):
    """A part of a log as text.

    :param first: the number of its first line, counted from 0; *end* is that of the line behind its
        last one
    :param plain: without escape sequences, such as colours
    """

    log: Log
    first: int
    end: int
    plain: bool = False
