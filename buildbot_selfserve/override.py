"""An object with some attributes of another replaced."""

from __future__ import annotations

from typing import Any


class Override:
    """All that *whole* is, but with *parts* in place of its own attributes of these names."""

    def __init__(self, whole: Any, **parts: Any) -> None:
        self._whole = whole
        self.__dict__.update(parts)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)
