"""Answers that are given once more while nothing has changed.

Many clients ask the same: a page that reloads, scripts that wait for a revision. An answer is made
of the question, of the configuration, of what the database holds, and of the clock in whole
seconds, as all times in the database are. While these are the same, so is the answer.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from buildbot_selfserve.history.index import Version
from buildbot_selfserve.model import Site
from buildbot_selfserve.views.read_request import Response

#: So many bytes of bodies and questions are kept; what comes then is not, before something changes.
MOST_KEPT = 1_000_000
#: What an answer takes beside that, with its headers.
BESIDE = 1000
#: Only these are kept: what failed may go well the next time.
KEPT: tuple[int, ...] = (200, 304)


def now() -> int:
    """Return the second of the clock."""
    return int(time.time())


class Moment(NamedTuple):
    """What all answers depend on, but for the question.

    :param version: of the database; two of a connection are the same if nothing was written between
    :param second: of the clock
    """

    site: Site
    version: Version
    second: int


class Repeats:
    """The answers of one moment."""

    def __init__(self) -> None:
        self._moment: Moment | None = None
        self._answers: dict[bytes, Response] = {}
        self._left = MOST_KEPT

    def may_find(self, site: Site, question: bytes) -> bool:
        """Return whether there is an answer to *question*, if its moment is not over."""
        latest = self._moment
        is_now = latest is not None and (latest.site, latest.second) == (site, now())
        return is_now and question in self._answers

    def find(self, moment: Moment, question: bytes) -> Response | None:
        """Return the answer that *question* had in this *moment*; let go of those of others."""
        self.begin(moment)
        return self._answers.get(question)

    def begin(self, moment: Moment) -> None:
        """Let go of the answers of other moments than this one."""
        if moment != self._moment:
            self._moment = moment
            self._answers = {}
            self._left = MOST_KEPT

    def keep(self, moment: Moment, question: bytes, answer: Response) -> None:
        """Keep an *answer* to a question of *moment*, unless it is over or another was looked for.

        An answer that was made in the next second is none of this moment.
        """
        takes = len(question) + len(answer.body) + BESIDE
        is_over = moment != self._moment or now() != moment.second
        if not is_over and answer.status in KEPT and takes <= self._left:
            self._left -= takes
            self._answers[question] = answer
