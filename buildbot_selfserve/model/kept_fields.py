"""Reads values of the journal that another release may have written."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def known_fields(kind: type[Any], read: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values in *read* of the fields of *kind*, which is a dataclass.

    A newer release may have written more: this one may have taken its place, or share its journal.
    """
    fields = kind.__dataclass_fields__
    return {name: value for name, value in read.items() if name in fields}
