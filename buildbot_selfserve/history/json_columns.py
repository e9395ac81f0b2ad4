"""Parses JSON texts of the database, which may hold anything.

Buildbot's own readers fail at some of it. Here, what JSON cannot carry back to a client becomes
text: a number that Python does not read (over 4,300 digits) or that is none (``NaN``, infinite),
each as it stands there; a value that is nested too deeply, and what is no JSON, as a whole.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

#: Values nested more deeply are returned as text: encoders fail at some 250 levels.
DEEPEST = 200

#: ``[value, "source"]``, as Buildbot writes the property of a buildset.
_WITH_SOURCE = re.compile(r'\s*\[\s*(.*?)\s*,\s*"(?:[^"\\]|\\.)*"\s*\]\s*', re.DOTALL)


def value_in(text: str | None) -> Any:
    """Decode *text* as JSON; return *text* itself if that fails, or if encoders would."""
    text = text or ""
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return text
    # few brackets mean few levels
    return text if text.count("[") + text.count("{") > DEEPEST and _is_too_deep(value) else value


def property_in(text: str | None) -> Any:
    """Return the value of a buildset's property, which *text* has beside its source."""
    pair = value_in(text)
    if isinstance(pair, list) and pair:
        return pair[0]
    alone = _WITH_SOURCE.fullmatch(text or "")
    return alone[1] if alone else text


def _whole(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text


def _number(text: str) -> float | str:
    number = float(text)
    return number if math.isfinite(number) else text


#: Built once: ``json.loads`` would build one at each call, which takes longer than parsing.
_DECODER = json.JSONDecoder(parse_int=_whole, parse_float=_number, parse_constant=lambda name: name)


def _is_too_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for one in level
            if isinstance(one, list | dict)
            for inner in (one.values() if isinstance(one, dict) else one)
        ]
        if not level:
            return False
    return True
