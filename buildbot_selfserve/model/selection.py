"""Says which builders are meant where something is about several of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any


@dataclass(frozen=True)
class Selection:
    """The builders that were selected.

    :param names: their names; ``None`` for all
    :param exact: those that were named, and not matched by a pattern
    :param excluded: those that were left out
    :param patterns: what has selected them, by the name of the parameter
    """

    names: frozenset[str] | None = None
    exact: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    patterns: Mapping[str, tuple[str, ...]] = field(default_factory=dict, compare=False)

    def takes(self, buildername: str) -> bool:
        """Return whether the builder of this name is selected."""
        return self.names is None or buildername in self.names

    def asked(self) -> dict[str, Any]:
        """Return how the journal names this target: by the patterns that selected it."""
        return {}
