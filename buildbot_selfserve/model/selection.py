"""Says which builders are meant where something is about several of them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Selection:
    """The builders that were selected.

    :param names: their names; ``None`` for all
    """

    names: frozenset[str] | None = None

    def takes(self, buildername: str) -> bool:
        """Return whether the builder of this name is selected."""
        return self.names is None or buildername in self.names
