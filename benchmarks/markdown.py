"""Writes tables in Markdown."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table with a *head* and *rows* of cells."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
