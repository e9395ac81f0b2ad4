"""Singular and plural in messages."""

from __future__ import annotations


def plural(number: int, noun: str) -> str:
    """Return *noun* as it stands behind *number*."""
    return noun if number == 1 else f"{noun}s"
