"""Shows a form that was refused again, with what was sent and what is wrong with it.

It works for every form of ours: fields follow from the parameters of the route.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import MisspelledParameter
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.errors import SentForm
from buildbot_selfserve.params import property_rows
from buildbot_selfserve.params.declared import DRY_RUN
from buildbot_selfserve.params.declared import IF_PLAN
from buildbot_selfserve.params.declared import PROPERTIES
from buildbot_selfserve.params.kinds import LAST_MOMENT
from buildbot_selfserve.params.kinds import Choice
from buildbot_selfserve.params.kinds import Choices
from buildbot_selfserve.params.kinds import Ending
from buildbot_selfserve.params.kinds import Flag
from buildbot_selfserve.params.kinds import JsonObject
from buildbot_selfserve.params.kinds import Param
from buildbot_selfserve.params.kinds import Several
from buildbot_selfserve.params.kinds import TextList
from buildbot_selfserve.params.texts import whole
from buildbot_selfserve.routes import Route
from buildbot_selfserve.state_words import what_label
from buildbot_selfserve.views import words

#: What is not sent back to a page: a value that its name gives away as a secret.
_SECRET = re.compile(
    "passw|passphrase|secret|token|credential|api.?key|private.?key", re.IGNORECASE
)
#: Parameters that the form of a plan sets itself.
_OWN = frozenset({DRY_RUN.name, IF_PLAN.name})


@dataclass(frozen=True)
class Field:
    """A field of the form.

    :param kind: ``box``, ``boxes``, ``select``, ``lines``, ``moment`` or ``line``
    :param texts: what was sent; those of a box are words
    :param error: what is wrong with it; empty if nothing is
    :param choices: the words to choose from
    """

    name: str
    kind: str
    label: str
    texts: tuple[str, ...]
    error: str = ""
    choices: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """Return what was sent as one text."""
        return "\n".join(self.texts) if self.kind == "lines" else (self.texts or ("",))[-1]

    @property
    def moment(self) -> int | None:
        """Return the epoch seconds that were sent, which nobody can read, to be shown as a time."""
        seconds = whole(self.text) if self.kind == "moment" else None
        return seconds if seconds is not None and 0 < seconds <= LAST_MOMENT else None


@dataclass(frozen=True)
class PropertyRow:
    """A property in the form.

    :param before: the text of its value when the first page was made; empty in a new row
    """

    name: str
    text: str
    before: str
    removed: bool


@dataclass(frozen=True)
class RefusedForm:
    """A form that was refused.

    :param hidden: names and texts of fields that are sent again, and not shown
    :param error: what is wrong, in a sentence; empty where the error itself says it
    :param without: whether a secret was left out
    """

    fields: tuple[Field, ...]
    rows: tuple[PropertyRow, ...]
    hidden: tuple[tuple[str, str], ...]
    error: str
    without: bool


def refused_form(route: Route, sent: SentForm, error: SelfServeError) -> RefusedForm:
    """Return what a browser *sent* to *route*, to be shown again because of *error*."""
    wrong = None
    if isinstance(error, BadParameter) and not isinstance(error, MisspelledParameter):
        wrong = error
    rows = tuple(_rows(sent.fields))
    fields = tuple(
        _field(param, sent.fields, wrong)
        for param in route.all_params
        if param.name not in _OWN
        and (param.name in sent.fields or (wrong is not None and param.name == wrong.name))
    )
    said = "" if wrong is None else f"{what_label(wrong.name)} must be {wrong.expected}."
    shown = tuple(map(_without_secrets, fields)), tuple(map(_row_without_secrets, rows))
    return RefusedForm(*shown, tuple(_hidden(route, sent.fields)), said, shown != (fields, rows))


def _field(param: Param, sent: Mapping[str, Any], wrong: BadParameter | None) -> Field:
    kind, choices = _kind(param)
    texts = tuple(text.replace("\r\n", "\n") for text in _texts(sent.get(param.name, ())))
    if isinstance(param, Several):
        texts = tuple(text for text in texts if text.strip())
    said = ""
    if wrong is not None and wrong.name == param.name:
        said = f"Must be {wrong.expected}."
    return Field(param.name, kind, words.field_label(param.name), texts, said, choices)


def _kind(param: Param) -> tuple[str, tuple[str, ...]]:
    """Return how the field of a parameter is shown, and the words to choose from."""
    if isinstance(param, Choices):
        return "boxes", param.choices
    if isinstance(param, Choice):
        return "select", param.choices
    if isinstance(param, Flag):
        return "box", ("1",)
    if isinstance(param, Ending):
        return "moment", ()
    is_long = isinstance(param, Several | JsonObject | TextList)
    return ("lines" if is_long else "line"), ()


def _hidden(route: Route, sent: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what the form sets itself; a plan that was confirmed is shown anew."""
    if route.method != "POST":
        yield "_method", route.method
    if DRY_RUN.name in sent or IF_PLAN.name in sent:
        yield DRY_RUN.name, "1"


def _rows(sent: Mapping[str, Any]) -> Iterator[PropertyRow]:
    """Yield the properties in rows, if they are whole."""
    names, values, before, removed = (
        _texts(sent.get(field, ()))
        for field in (
            property_rows.NAME,
            property_rows.VALUE,
            property_rows.BEFORE,
            property_rows.REMOVE,
        )
    )
    if len(names) == len(values) == len(before):
        for name, text, old in zip(names, values, before, strict=True):
            yield PropertyRow(name, text, old, bool(old) and name in removed)


def _texts(value: Any) -> list[str]:
    return [str(one) for one in (value if isinstance(value, tuple) else (value,))]


def _without_secrets(field: Field) -> Field:
    if field.name == PROPERTIES.name and _SECRET.search(field.text):
        return Field(field.name, field.kind, field.label, (), field.error)
    return field


def _row_without_secrets(row: PropertyRow) -> PropertyRow:
    # what the page had shown is no secret, and without it the row would mean something else
    if row.text != row.before and _SECRET.search(row.name):
        return PropertyRow(row.name, row.before, row.before, row.removed)
    return row
