"""Refuses parameters that do not exist and are like one that does.

Other unknown parameters are ignored: clients written for the original API send some. But what was
meant to narrow a job request down, or to keep it from being done, must not be ignored.
"""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Iterable
from difflib import SequenceMatcher

from buildbot_selfserve.errors import MisspelledParameter
from buildbot_selfserve.params.texts import is_plain

#: Names are alike from this ratio on: it takes one wrong, missing or swapped letter in a name of
#: usual length, and keeps ``revision`` and ``same_revision`` apart, and ``date`` and ``update``.
ALIKE = 0.82
#: No name that is longer is like one of ours.
LONGEST = 64

#: Other words for parameters, from this API, Buildbot's and the journal.
_WORDS = {
    "build_id": ("build", "bid"),
    "builder": ("builder_name",),
    "builder_name": ("builder",),
    "builders": ("builder", "builder_name"),
    "date": ("day",),
    "dry_run": ("dry",),
    "exclude_builders": ("exclude", "exclude_builder_name"),
    "expires": ("until",),
    "if_plan": ("plan",),
    "priority": ("prio",),
    "properties": ("property",),
    "request_id": ("request", "brid", "buildrequestid"),
    "revision": ("rev",),
    "states": ("status", "results"),
    "times": ("count",),
}


def refuse_misspelled(
    given: Iterable[str], known: Collection[str], parameters: Collection[str]
) -> None:
    """Return if each of the *given* names is known, or like none of those of *parameters*.

    :param known: names that may be given, also those that mean nothing here
    :raises MisspelledParameter: one is like that of a parameter
    """
    for name in given:
        if name not in known:
            meant = _meant(name, parameters)
            if meant is not None:
                raise MisspelledParameter(name, meant)


def _meant(name: str, parameters: Collection[str]) -> str | None:
    """Return the one of *parameters* that *name* is most like, if there is one."""
    if len(name) > LONGEST or not is_plain(name):
        return None
    bare = _bare(name)
    likeness = {parameter: _likeness(bare, parameter) for parameter in parameters}
    best = max(likeness, key=lambda parameter: likeness[parameter], default=None)
    return best if best is not None and likeness[best] >= ALIKE else None


def _likeness(bare: str, parameter: str) -> float:
    """Return how like a name is to that of *parameter*: 1 where it must be meant."""
    if bare in (_bare(word) for word in (parameter, *_WORDS.get(parameter, ()))):
        return 1.0
    return SequenceMatcher(None, bare, _bare(parameter), autojunk=False).ratio()


def _bare(name: str) -> str:
    """Return *name* without what people get wrong: case, ``-``, ``_`` and a final s."""
    return name.lower().replace("-", "").replace("_", "").removesuffix("s")
