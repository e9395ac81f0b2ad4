"""Names like one that is not found: what is likely is named, and little is compared for it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest

from buildbot_selfserve.errors import NotFound
from buildbot_selfserve.history.index import near
from buildbot_selfserve.views import lookup

MANY = sorted([*(f"feature-{number:05}" for number in range(20_000)), "main", "release-7"])


def like(text: str, names: Sequence[str]) -> list[str]:
    """Return which branches are named when *text* is not found among those of these *names*."""
    history = SimpleNamespace(branch=lambda name: None, branch_names_near=partial(near, names))
    names_only: Any = SimpleNamespace(history=history)
    with pytest.raises(NotFound) as refusal:
        lookup.resolve(names_only, {"branch": text})
    named = [name for name, _ in refusal.value.links]
    assert refusal.value.detail == (f"similar names: {', '.join(named)}" if named else "")
    return named


def test_names_like_it_are_named() -> None:
    assert like("amin", ["develop", "main", "release"]) == ["main"]
    assert like("main", []) == []


@pytest.mark.parametrize(
    ("text", "meant"),
    [("feature-12345x", "feature-12345"), ("mainn", "main"), ("release-8", "release-7")],
)
def test_of_very_many_those_that_begin_so_are_named(text: str, meant: str) -> None:
    assert meant in like(text, MANY)


@pytest.mark.parametrize("text", ["aaa", "feature-0123x", "zzz", "feature-" * 1000])
def test_little_is_compared(text: str, monkeypatch: Any) -> None:
    compared: list[str] = []
    real = difflib.get_close_matches

    def counting(word: str, names: Sequence[str], n: int) -> list[str]:
        compared.extend(names)
        return real(word, names, n)

    monkeypatch.setattr(difflib, "get_close_matches", counting)
    like(text, MANY)
    assert len(compared) == (lookup.MOST_COMPARED if len(text) <= lookup.LONGEST_COMPARED else 0)
