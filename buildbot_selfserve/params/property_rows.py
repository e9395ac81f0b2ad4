"""Properties as rows of a form: names and values in place of a JSON object.

A row is a field :data:`NAME`, a field :data:`VALUE` and a field :data:`BEFORE` with the text of the
value when the page was made, which is empty in a new row; a field :data:`REMOVE` holds the name of
a row to remove. So forms work without JavaScript, and what nobody has changed stays as it is.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote_plus

from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.model import trimmed
from buildbot_selfserve.params.declared import PROPERTIES
from buildbot_selfserve.params.declared import RESERVED_PROPERTIES
from buildbot_selfserve.params.texts import is_plain
from buildbot_selfserve.params.texts import json_text
from buildbot_selfserve.params.texts import json_value
from buildbot_selfserve.params.texts import strict_json

NAME, VALUE, BEFORE = "property_name", "property_value", "property_before"
REMOVE = "property_remove"
FIELDS = frozenset({NAME, VALUE, BEFORE, REMOVE})

#: Bytes of a form's body that its rows may take, and the number of rows: what is longer is left
#: out of the form and keeps its value.
ROOM = 32 * 1024
MOST_ROWS = 100


@dataclass(frozen=True)
class PropertyRows:
    """The rows of a form.

    :param rows: names, and values as texts
    :param left_out: names of properties that there is no room for
    """

    rows: tuple[tuple[str, str], ...]
    left_out: tuple[str, ...]


def property_rows(properties: Mapping[str, Any]) -> PropertyRows:
    """Return the rows with which a form shows *properties*, without those that are reserved."""
    rows: list[tuple[str, str]] = []
    left_out: list[str] = []
    room = ROOM
    for name, value in sorted(properties.items()):
        if name in RESERVED_PROPERTIES or name.startswith("selfserve_"):
            continue
        text = as_text(value)
        size = len(quote_plus(name, errors="replace")) + 2 * len(quote_plus(text, errors="replace"))
        if size > room or len(rows) == MOST_ROWS or not is_plain(name):
            left_out.append(name)
        else:
            rows.append((name, text))
            room -= size
    return PropertyRows(tuple(rows), tuple(left_out))


def as_text(value: Any) -> str:
    """Return *value* as a line of text that :func:`as_value` takes for it.

    A text stands as it is, unless it is empty, could be taken for JSON, or would be changed or
    not be seen in a form.
    """
    if isinstance(value, str) and _shows_as_it_is(value):
        return value
    return json_text(value)


def _shows_as_it_is(text: str) -> bool:
    return bool(text) and text == text.strip() and is_plain(text) and as_value(text) == text


def as_value(text: str) -> Any:
    """Return what *text* says in JSON, or *text* itself if it is not JSON."""
    try:
        return strict_json(text)
    except (ValueError, RecursionError):
        return text


def with_properties(sent: Mapping[str, Any]) -> dict[str, Any]:
    """Return *sent* with its rows among its ``properties``: what they change, if anything.

    :param sent: texts and JSON values by name; of a field that a form repeats, a tuple
    :raises BadParameter: the rows cannot be understood, or a property is given twice
    """
    others = {name: value for name, value in sent.items() if name not in FIELDS}
    changed: dict[str, Any] = {}
    for name, value in _changes(sent):
        if name in changed:
            raise _given_twice(name)
        changed[name] = value
    if not changed:
        return others
    given = _given(others.get(PROPERTIES.name))
    for name in given.keys() & changed.keys():
        raise _given_twice(name)
    return {**others, PROPERTIES.name: {**given, **changed}}


def _changes(sent: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the properties that rows set, and those that they remove, with ``None``."""
    names, values, before = (_texts(sent, field) for field in (NAME, VALUE, BEFORE))
    removed = dict.fromkeys(name for name in _texts(sent, REMOVE) if name)
    before = before or [""] * len(names)
    if not len(names) == len(values) == len(before):
        raise BadParameter(PROPERTIES.name, f"rows with a {VALUE} for each {NAME}")
    for name in removed:
        yield name, None
    for name, text, old in zip(names, values, before, strict=True):
        if not old:
            name = trimmed(name)
            if name:
                yield name, as_value(text)
            elif text:
                raise BadParameter(PROPERTIES.name, "rows of a name and a value; one has no name")
        elif text != old and name not in removed:
            yield name, as_value(text)


def _given_twice(name: str) -> BadParameter:
    return BadParameter(PROPERTIES.name, f"given once each, and {name[:80]!r} is given twice")


def _texts(sent: Mapping[str, Any], field: str) -> list[str]:
    value = sent.get(field, ())
    texts = list(value) if isinstance(value, tuple | list) else [value]
    if not all(isinstance(text, str) for text in texts):
        raise BadParameter(PROPERTIES.name, f"rows whose {field} is a text")
    return texts


def _given(raw: Any) -> dict[str, Any]:
    """Return the properties that are given as JSON beside the rows."""
    value = PROPERTIES.one_value(raw)
    if value is None or value == "":
        return {}
    given = json_value(value)
    if not isinstance(given, dict):
        raise BadParameter(PROPERTIES.name, "a JSON object")
    return given
