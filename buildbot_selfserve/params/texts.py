"""What a text may hold, and what it says in JSON or as a number."""

from __future__ import annotations

import json
import math
import re
from typing import Any

#: JSON may be nested so deeply.
DEEPEST = 20
#: A text without control characters, in JSON schema, whose texts have no surrogates anyway.
PLAIN = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"

_NOT_PLAIN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_WHOLE = re.compile(r"\s*([+-]?[0-9]{1,19})\s*", re.ASCII)


def is_plain(text: str) -> bool:
    """Whether *text* can be stored everywhere: no control characters, no lone surrogates."""
    return _NOT_PLAIN.search(text) is None


def whole(raw: Any) -> int | None:
    """Return the whole number that *raw* is or says, or ``None``; a boolean is none."""
    if isinstance(raw, bool):
        return None
    if isinstance(raw, int):
        return raw
    match = _WHOLE.fullmatch(raw) if isinstance(raw, str) else None
    return int(match[1]) if match else None


def strict_json(text: str) -> Any:
    """Return what *text* says in JSON.

    :raises ValueError: it is not JSON, or has a number that JSON cannot have or that is too large
    :raises RecursionError: it is nested too deeply
    """
    return json.loads(text, parse_constant=_no_constant, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large")
    return number


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def json_value(raw: Any) -> Any:
    """Return what a text says in JSON, or ``None``; what is no text stays as it is."""
    if not isinstance(raw, str):
        return raw
    try:
        return strict_json(raw)
    except (ValueError, RecursionError):
        return None


def is_storable(value: Any, depth: int = 0) -> bool:
    """Whether steps and databases can take a JSON value; newlines in its texts are fine."""
    if isinstance(value, str):
        return not any(one == "\0" or "\ud800" <= one <= "\udfff" for one in value)
    if isinstance(value, list | dict) and depth == DEEPEST:
        return False
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return not isinstance(value, list | dict) or all(is_storable(one, depth + 1) for one in inner)
