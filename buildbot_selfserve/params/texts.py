"""What a text may hold, and what it says in JSON or as a number."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from typing import Any

from buildbot_selfserve.model import trimmed

#: JSON may be nested so deeply.
DEEPEST = 20
#: No list of texts is longer, with the empty ones in it.
MOST_ITEMS = 1000
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
    return json_and_pairs(text)[0]


def json_and_pairs(text: str) -> tuple[Any, Sequence[tuple[str, Any]]]:
    """Return what *text* says in JSON; and of an object all its pairs, which may repeat a name.

    :raises ValueError: as :func:`strict_json`; so is RecursionError
    """
    pairs: list[tuple[str, Any]] = []

    def noted(found: list[tuple[str, Any]]) -> dict[str, Any]:
        pairs[:] = found  # the outermost object ends last
        return dict(found)

    value = json.loads(
        text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=noted
    )
    return value, pairs


def json_text(value: Any) -> str:
    """Return *value* in JSON for people to read: escaped is only what could not be seen."""
    text = json.dumps(value, ensure_ascii=False)
    return text if is_plain(text) else json.dumps(value)


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


def by_name(pairs: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the texts of a form or a query by name; of a name that is repeated, a tuple of all."""
    values: dict[str, Any] = dict(pairs)
    if len(values) < len(pairs):
        every: dict[str, list[str]] = {}
        for name, text in pairs:
            every.setdefault(name, []).append(text)
        values |= {name: tuple(texts) for name, texts in every.items() if len(texts) > 1}
    return values


def list_items(raw: Any, separator: str = "\n") -> list[str] | None:
    """Return the items of a list of texts, without the blanks around them and the empty ones.

    :param raw: a JSON list; a text that is one in JSON, or has an item a line; or a tuple of such
        texts, from a form or a query that repeats a name
    :param separator: what else may stand between the items in a text
    :return: ``None`` if it is none of these, or has more than :data:`MOST_ITEMS`
    """
    if isinstance(raw, tuple):
        every: list[str] = []
        for text in raw:
            some = list_items(text, separator)
            if some is None or len(every) + len(some) > MOST_ITEMS:
                return None
            every += some
        return every
    items = raw
    if isinstance(raw, str):
        items = json_value(raw) if raw.lstrip().startswith("[") else None
        # [ab]* and [1] are shell patterns
        if not _is_list_of_texts(items):
            lines = raw.replace("\r", "\n").replace(separator, "\n")
            items = lines.split("\n", MOST_ITEMS)
    if not _is_list_of_texts(items) or len(items) > MOST_ITEMS:
        return None
    return [item for item in map(trimmed, items) if item]


def _is_list_of_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) for one in value)


def is_storable(value: Any, depth: int = 0) -> bool:
    """Whether steps and databases can take a JSON value; newlines in its texts are fine."""
    if isinstance(value, str):
        return not any(one == "\0" or "\ud800" <= one <= "\udfff" for one in value)
    if isinstance(value, list | dict) and depth == DEEPEST:
        return False
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return not isinstance(value, list | dict) or all(is_storable(one, depth + 1) for one in inner)
