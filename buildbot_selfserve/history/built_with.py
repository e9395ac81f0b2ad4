"""Finds the newer push with which a push was built, if nothing was requested for it alone.

A scheduler that waits until no more changes arrive (``treeStableTimer``) builds only the newest of
them, and so does one that is told of several changes at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence

import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.binary_collation import binary_collation
from buildbot_selfserve.history.context import History
from buildbot_selfserve.history.index import Pushed
from buildbot_selfserve.model import RANGE_PROPERTY
from buildbot_selfserve.model import REQUESTED_BY
from buildbot_selfserve.model import Branch
from buildbot_selfserve.statements import Statement

#: The number of newer pushes to look at first, and then at most.
_FIRST_LOOK, _LAST_LOOK = 1, 50

#: The newer pushes with which pushes are built, ``None`` where there is none.
_BuiltWith = dict[tuple[Branch, Pushed], str | None]

_properties = Model.buildset_properties
#: The buildsets of backfills and bisections.
_OF_RANGES = Statement(
    sa.select(_properties.c.buildsetid).where(
        binary_collation(_properties.c.property_name, RANGE_PROPERTY)
    ),
    _properties.c.buildsetid,
)


def passed_over(history: History, pushed: Iterable[Pushed]) -> set[Pushed]:
    """Return those of *pushed* for which nothing was requested but by backfills and bisections.

    Those build single builders, to find out about others: a push is not good or bad by them.
    """
    each = [one for one in pushed if _may_be_passed_over(history, one)]
    ids = sorted({buildset_id for one in each for buildset_id in one.buildset_ids})
    of_ranges = {buildset_id for (buildset_id,) in _OF_RANGES.of(history.connection, ids)}
    return {one for one in each if of_ranges.issuperset(one.buildset_ids)}


def _may_be_passed_over(history: History, pushed: Pushed) -> bool:
    """Return whether a look at the properties of its buildsets is needed, which takes long."""
    reasons = history.facts.reasons(pushed.buildset_ids)
    return not pushed.build_ids and all((one or "").startswith(REQUESTED_BY) for one in reasons)


def built_with(
    history: History, pushed: Sequence[tuple[Branch, Pushed]]
) -> dict[tuple[Branch, Pushed], str]:
    """Return the nearest newer push that was built, for each of *pushed* that was passed over."""
    over = passed_over(history, [one for _, one in pushed])
    known: _BuiltWith = {}
    # the newest first: several in a row are built with the same one
    for branch, one in sorted(pushed, key=lambda each: each[1].position, reverse=True):
        if one in over:
            known[branch, one] = _built_after(history, branch, one, known)
    return {one: revision for one, revision in known.items() if revision is not None}


def _built_after(history: History, branch: Branch, pushed: Pushed, known: _BuiltWith) -> str | None:
    for count in (_FIRST_LOOK, _LAST_LOOK):
        newer = history.facts.after(branch, pushed, count)
        over = passed_over(history, [one for one in newer if (branch, one) not in known])
        for one in newer:
            if (branch, one) not in known and one not in over:
                return one.revision
            if (branch, one) in known and one.codebases == pushed.codebases:
                return known[branch, one]
        if len(newer) < count:
            return None
    return None
