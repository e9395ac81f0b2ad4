"""Result codes, as Buildbot has them, and the words for them."""

from __future__ import annotations

from collections.abc import Iterable

from buildbot_selfserve.answers import RESULT_NAMES

# Result codes, as buildbot/process/results.py has them. They are part of Buildbot's database
# format; repeated here because this floor imports nothing.
SUCCESS, WARNINGS, FAILURE, SKIPPED, EXCEPTION, RETRY, CANCELLED = range(7)

#: A row that ended like this does not by itself keep a revision from having passed (docs/api.md,
#: "Done").
PASSED = frozenset({SUCCESS, RETRY, SKIPPED})
#: The results of builds by which builders are judged (docs/migrating.md, "What passed means").
PASSING = frozenset({SUCCESS, WARNINGS})
FAILING = frozenset({FAILURE, EXCEPTION})


def is_open(complete: object, ended: Iterable[int | None]) -> bool:
    """Return whether a build request waits or runs.

    Its build may have ended a moment before it does; or long before, where Buildbot has removed the
    builder meanwhile and completes the request no more.

    :param complete: what Buildbot has in the column of that name
    :param ended: the results of those of its builds that have ended
    """
    return not complete and all(results == RETRY for results in ended)


def result_name(status: int | None) -> str:
    """Return the word for a result code, ``none`` for none."""
    if status is None or not 0 <= status < len(RESULT_NAMES):
        return "none"
    return RESULT_NAMES[status]
