"""What this master's schedulers watch."""

from __future__ import annotations

from typing import Any


def watched_branches(master: Any) -> tuple[str, ...]:
    """Return the branches that the change filters of the schedulers name, sorted.

    A filter that matches by a regular expression or a function names none; the others keep their
    values in objects of a private class (buildbot/util/ssfilter.py, _FilterExactMatch).
    """
    names: set[str] = set()
    for scheduler in master.allSchedulers():
        for one in getattr(getattr(scheduler, "change_filter", None), "filters", ()):
            if getattr(one, "prop", None) == "branch" and type(one).__name__ == "_FilterExactMatch":
                names.update(value for value in one.values if isinstance(value, str) and value)
    return tuple(sorted(names))
