"""Finds the buildsets of each user's changes, which are put together when first asked for."""

from __future__ import annotations

from collections.abc import Iterable

from buildbot_selfserve.history.index.buildsets import Buildsets
from buildbot_selfserve.history.index.changes import Changes
from buildbot_selfserve.history.index.columns import Pairs
from buildbot_selfserve.history.index.sourcestamps import Stamps


class UserBuildsets:
    """Buildsets by the author or user of a change in one of their sourcestamps.

    Few of the many users are ever asked for, and to do it for all takes a sixth of a start.
    """

    def __init__(self, stamps: Stamps, changes: Changes, buildsets: Buildsets) -> None:
        self._stamps = stamps
        self._changes = changes
        self._buildsets = buildsets
        #: by name: buildsets by number of place, of the names that were asked for
        self._known: dict[str, Pairs] = {}

    def of(self, user: str, places: Iterable[int]) -> set[int]:
        """Return the buildsets of changes by *user* in these places.

        :param user: a full name, or the address in it
        """
        every = list(map(self._of_name, self._changes.known_as(user)))
        return {one for place in places for its in every for one in its.of(place)}

    def _of_name(self, name: str) -> Pairs:
        if name not in self._known:
            self._known[name] = Pairs()
            self._add(name, self._changes.stamps_of(name))
        return self._known[name]

    def _add(self, name: str, stamp_ids: Iterable[int]) -> None:
        self._known[name].add(
            (self._stamps.place(stamp_id), one)
            for stamp_id in stamp_ids
            for one in self._buildsets.of_stamp(stamp_id)
        )

    def add(self, stamp_ids: Iterable[int]) -> None:
        """Add the buildsets of sourcestamps that have new changes or buildsets."""
        for stamp_id in stamp_ids if self._known else ():
            for name in self._changes.names_of(stamp_id) & self._known.keys():
                self._add(name, (stamp_id,))
