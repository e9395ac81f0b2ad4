"""Parses JSON columns of the database, which may contain anything.

Buildbot's own parsers fail at some of it. Here, values that JSON cannot carry to a client stay text
as written: numbers that Python refuses to parse (over 4,300 digits), ``NaN`` and infinite numbers.
A value that is nested too deeply, and a text that is not JSON, is returned whole as text.
"""

from __future__ import annotations

import json
import math
import re
from typing import Any

#: Values nested deeper than this are returned as text: encoders fail at some 250 levels.
DEEPEST = 200

#: ``[value, "source"]``, as Buildbot writes the property of a buildset.
_WITH_SOURCE = re.compile(r'\s*\[\s*(.*?)\s*,\s*"(?:[^"\\]|\\.)*"\s*\]\s*', re.DOTALL)


def value_in(text: str | None) -> Any:
    """Decode *text* as JSON; return *text* itself if it cannot be decoded or encoded again."""
    text = text or ""
    try:
        value = _DECODER.decode(text)
    except (ValueError, RecursionError):
        return text
    # few brackets mean few levels
    return text if text.count("[") + text.count("{") > DEEPEST and _is_too_deep(value) else value


def property_in(text: str | None) -> Any:
    """Return the value from the JSON ``[value, source]`` of a buildset's property."""
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
