"""Finds names of builders, tags and schedulers in master.cfg that stand for nothing."""

from __future__ import annotations

import re
from collections.abc import Collection
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from buildbot_selfserve.config.branches import SelfServeBranch
from buildbot_selfserve.model import BuilderEntry


def unmatched(branches: Iterable[SelfServeBranch], master_config: Any) -> list[str]:
    """Return what to tell an operator of entries of *branches* that match nothing, each once.

    Masters that share a database may have what this one has not: there, nothing is told.

    :param master_config: the configuration of Buildbot's master
    """
    if master_config.multiMaster:
        return []
    builders = {one.name: one.tags or () for one in master_config.builders}
    found: dict[BuilderEntry, str] = {}
    for branch in branches:
        for entry in _entries(branch):
            missing = _missing(entry, builders, master_config.schedulers)
            if missing:
                found.setdefault(entry, f"SelfServeBranch({branch.name!r}): {missing}")
    return list(found.values())


def _entries(branch: SelfServeBranch) -> Iterator[BuilderEntry]:
    yield from branch.branch.builders or ()
    for _, entries in branch.branch.sets:
        yield from entries


def _missing(
    entry: BuilderEntry, builders: Mapping[str, Collection[str]], schedulers: Collection[str]
) -> str:
    """Return what *entry* does not find; nothing if it finds something."""
    if isinstance(entry, re.Pattern):
        found = any(map(entry.search, builders))
        return "" if found else f"no builder's name fits {entry.pattern!r}"
    kind, colon, name = entry.partition(":")
    if colon and kind == "tag":
        found = any(name in tags for tags in builders.values())
        return "" if found else f"no builder has the tag {name!r}"
    if colon and kind == "scheduler":
        return "" if name in schedulers else f"there is no scheduler {name!r}"
    return "" if entry in builders else f"there is no builder {entry!r}"
