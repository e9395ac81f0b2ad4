"""The kinds of parameters: what each takes, its error message, its JSON schema."""

from __future__ import annotations

import datetime
import json
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any
from typing import ClassVar

from buildbot_selfserve.answers import Parameter
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.model import trimmed
from buildbot_selfserve.params.texts import DEEPEST
from buildbot_selfserve.params.texts import PLAIN
from buildbot_selfserve.params.texts import is_plain
from buildbot_selfserve.params.texts import is_storable
from buildbot_selfserve.params.texts import json_value
from buildbot_selfserve.params.texts import list_items
from buildbot_selfserve.params.texts import whole

INT32 = 2**31 - 1
#: The last second of 9998 in epoch seconds: later ones have no date in every timezone.
LAST_MOMENT = 253_370_764_799
#: No operator has said anything, as in the documents.
NO_LIMITS: Mapping[str, int] = MappingProxyType({})
#: The JSON schema of a day; the pattern keeps to years that every database can have.
DAY = {
    "type": "string",
    "format": "date",
    "pattern": "^(19[7-9]|[2-8][0-9]{2})[0-9]-[0-9]{2}-[0-9]{2}$",
}


def given_twice(name: str) -> BadParameter:
    """Return the error for a parameter that has one value, and was given different ones."""
    return BadParameter(name, "given once")


@dataclass(frozen=True)
class Param:
    """A parameter of a route.

    :param name: its name on the wire
    :param text: what it means, a sentence
    :param required: absent is an error
    :param default: the value when it is absent
    :param noun: the noun that its value identifies, where the handler wants that noun
    :param strict: given but empty is an error, because something would be done that it is there to
        prevent
    """

    name: str
    text: str
    required: bool = False
    default: Any = None
    noun: str | None = None
    strict: bool = False

    def is_absent(self, raw: Any) -> bool:
        """Whether *raw* counts as absent: a form sends its empty fields (docs/migrating.md)."""
        return not self.strict and (raw is None or raw == "")

    def one_value(self, raw: Any) -> Any:
        """Return the value, if a form or a query repeats the name; empty fields do not count.

        :raises BadParameter: there are different values
        """
        if not isinstance(raw, tuple):
            return raw
        given = [text for text in raw if not self.is_absent(text)] or raw[-1:]
        if len(set(given)) > 1:
            raise given_twice(self.name)
        return given[0]

    def parse(self, raw: Any, limits: Mapping[str, int]) -> Any:
        """Return the value of *raw*, which is text or a JSON value.

        :param limits: bounds that the operator configured, by name
        :raises BadParameter: it is not what this parameter must be
        """
        raise NotImplementedError

    def schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        """Return the JSON schema of the value.

        :param limits: bounds that the operator configured, by name
        """
        raise NotImplementedError

    def form_schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        """Return the JSON schema of the value as it stands in a form."""
        schema = self.schema(limits)
        if schema["type"] in ("object", "array"):
            return {
                "type": "string",
                "contentMediaType": "application/json",
                "contentSchema": schema,
            }
        return schema

    def documented(self, where: str) -> Parameter:
        """Return what the root page and the documents say of this parameter."""
        return {
            "name": self.name,
            "in": where,
            "required": self.required,
            "text": self.text,
            "schema": self.schema(),
        }


@dataclass(frozen=True)
class Int(Param):
    """A whole number between *minimum* and *maximum*, which may be the name of a limit."""

    minimum: int = 0
    maximum: int | str = INT32

    def parse(self, raw: Any, limits: Mapping[str, int]) -> int:
        maximum = limits[self.maximum] if isinstance(self.maximum, str) else self.maximum
        value = whole(raw)
        if value is None or not self.minimum <= value <= maximum:
            raise BadParameter(self.name, f"a whole number from {self.minimum} to {maximum}")
        return value

    def schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "integer", "minimum": self.minimum}
        maximum = limits.get(self.maximum) if isinstance(self.maximum, str) else self.maximum
        if maximum is not None:
            schema["maximum"] = maximum
        if self.default is not None:
            schema["default"] = self.default
        return schema


@dataclass(frozen=True)
class IntOrWord(Int):
    """A whole number between *minimum* and *maximum*, or a *word* that stands for one."""

    word: str = ""

    def parse(self, raw: Any, limits: Mapping[str, int]) -> Any:
        text = trimmed(raw) if isinstance(raw, str) else raw
        if text == self.word:
            return self.word
        value = whole(raw)
        if value is None or not self.minimum <= value <= INT32:
            expected = f"a whole number from {self.minimum} to {INT32}, or {self.word}"
            raise BadParameter(self.name, expected)
        return value

    def schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        return {"oneOf": [super().schema(limits), {"type": "string", "enum": [self.word]}]}

    def form_schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        return self.schema(limits)


@dataclass(frozen=True)
class Date(Param):
    """A day as ``YYYY-MM-DD``."""

    def parse(self, raw: Any, limits: Mapping[str, int]) -> datetime.date:
        try:
            # fromisoformat of newer Pythons also takes 20240101 and week dates
            if not isinstance(raw, str) or not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", raw):
                raise ValueError(raw)
            day = datetime.date.fromisoformat(raw)
            if not 1970 <= day.year <= 9998:
                raise ValueError(raw)
        except ValueError:
            raise BadParameter(self.name, "a day as YYYY-MM-DD, from 1970 on") from None
        return day

    def schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        return DAY


@dataclass(frozen=True)
class Moment(Param):
    """A time as epoch seconds, or a whole day as ``YYYY-MM-DD``, which stays a day."""

    def parse(self, raw: Any, limits: Mapping[str, int]) -> int | datetime.date:
        value = whole(raw)
        if value is not None and 0 <= value <= LAST_MOMENT:
            return value
        try:
            return Date(self.name, self.text).parse(raw, limits)
        except BadParameter:
            expected = "a time in epoch seconds, or a day as YYYY-MM-DD, from 1970 on"
            raise BadParameter(self.name, expected) from None

    def schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        seconds = {"type": "integer", "minimum": 0, "maximum": LAST_MOMENT}
        return {"oneOf": [seconds, DAY]}


@dataclass(frozen=True)
class Ending(Param):
    """A time in the future, as epoch seconds or as ISO 8601 with an offset, at most *days* away."""

    days: int = 30

    def parse(self, raw: Any, limits: Mapping[str, int]) -> int:
        seconds = whole(raw)
        if seconds is None and isinstance(raw, str):
            seconds = _moment(trimmed(raw))
        now = time.time()
        if seconds is None or not now < seconds <= now + self.days * 86_400:
            raise BadParameter(self.name, self.expected())
        return seconds

    def expected(self) -> str:
        """Return what would be right."""
        return (
            f"a time in the future, at most {self.days} days from now: epoch seconds, or ISO 8601"
            " with an offset, such as 2026-11-29T18:00:00+01:00"
        )

    def schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        seconds = {"type": "integer", "minimum": 1, "maximum": LAST_MOMENT}
        return {"oneOf": [seconds, {"type": "string", "format": "date-time"}]}

    def form_schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        return self.schema(limits)


#: A time with an offset; Python 3.10 reads less of what ISO 8601 allows than later ones.
_MOMENT = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt ]([0-9]{2}:[0-9]{2})(:[0-9]{2})?(?:[.,][0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:?[0-9]{2})"
)


def _moment(text: str) -> int | None:
    """Return epoch seconds, rounded down, if *text* is ISO 8601 with an offset."""
    found = _MOMENT.fullmatch(text)
    if found is None:
        return None
    day, minute, second, offset = found.groups()
    if offset in "Zz":
        offset = "+00:00"
    elif ":" not in offset:
        offset = f"{offset[:3]}:{offset[3:]}"
    try:
        moment = datetime.datetime.fromisoformat(f"{day}T{minute}{second or ':00'}{offset}")
        return int(moment.timestamp())
    except (ValueError, OverflowError):
        return None


@dataclass(frozen=True)
class Text(Param):
    """A text of at most *longest* characters, without control characters."""

    longest: int = 256

    def is_absent(self, raw: Any) -> bool:
        return super().is_absent(trimmed(raw) if isinstance(raw, str) else raw)

    def parse(self, raw: Any, limits: Mapping[str, int]) -> str:
        # who pastes a text often pastes blanks around it
        text = trimmed(raw) if isinstance(raw, str) else None
        if text is None or len(text) > self.longest or not is_plain(text):
            raise BadParameter(self.name, self.expected())
        if self.required and not text:
            raise BadParameter(self.name, "given")
        if self.strict and not text:
            raise BadParameter(self.name, "left out or not empty")
        return text

    def expected(self) -> str:
        """Return what would be right."""
        return f"at most {self.longest} characters long, without control characters"

    def schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        schema = {"type": "string", "maxLength": self.longest, "pattern": PLAIN}
        return {**schema, "minLength": 1} if self.required else schema


@dataclass(frozen=True)
class Choice(Param):
    """One of a few words."""

    choices: tuple[str, ...] = ()

    def parse(self, raw: Any, limits: Mapping[str, int]) -> str:
        if raw not in self.choices:
            raise BadParameter(self.name, " or ".join(self.choices))
        return str(raw)

    def schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.choices)}


@dataclass(frozen=True)
class Flag(Param):
    """Yes or no: ``1`` or ``true``, ``0`` or ``false``; unless it is strict, also in capitals."""

    default: bool = False

    def parse(self, raw: Any, limits: Mapping[str, int]) -> bool:
        text = str(raw) if isinstance(raw, bool | int | str) else ""
        if isinstance(raw, bool) or not self.strict:
            text = text.lower()
        if text not in ("0", "1", "true", "false"):
            raise BadParameter(self.name, "0, 1, true or false")
        return text in ("1", "true")

    def schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "string", "enum": ["0", "1", "true", "false"]}
        # generated clients send a default, in the query and in the body
        return schema if self.strict else {**schema, "default": "0"}


@dataclass(frozen=True)
class JsonObject(Param):
    """A JSON object of properties: a text that holds one, or the object itself.

    :param reserved: names that it may not have
    :param most: properties that there may be: Buildbot writes them one by one for each build
    :param largest: bytes that each value may have as JSON in ASCII, which is what databases store;
        the column of MySQL and MariaDB has room for 65,535, with the source of the property
    """

    reserved: frozenset[str] = frozenset()
    most: int = 200
    longest: int = 256
    largest: int = 60_000

    def parse(self, raw: Any, limits: Mapping[str, int]) -> dict[str, Any]:
        value = json_value(raw)
        if not isinstance(value, dict):
            raise BadParameter(self.name, "a JSON object")
        if len(value) > self.most:
            raise BadParameter(self.name, f"a JSON object of at most {self.most} properties")
        for name in value:
            if not 0 < len(name) <= self.longest or not is_plain(name):
                raise BadParameter(
                    self.name, f"a JSON object whose names have 1 to {self.longest} characters"
                )
            if name in self.reserved:
                raise BadParameter(self.name, f"a JSON object without {name!r}, which is reserved")
        if not all(map(is_storable, value.values())):
            raise BadParameter(
                self.name,
                f"at most {DEEPEST} levels deep, without NUL characters or lone surrogates",
            )
        if any(len(json.dumps(one)) > self.largest for one in value.values()):
            raise BadParameter(
                self.name, f"a JSON object whose values have at most {self.largest} bytes in ASCII"
            )
        return value

    def schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        return {"type": "object", "maxProperties": self.most}


@dataclass(frozen=True)
class TextList(Param):
    """A JSON list of texts: a text that holds one, several such texts, or the list itself."""

    most: int = 1000
    longest: int = 1024

    def is_absent(self, raw: Any) -> bool:
        return all(map(super().is_absent, raw if isinstance(raw, tuple) else (raw,)))

    def one_value(self, raw: Any) -> Any:
        return raw

    def parse(self, raw: Any, limits: Mapping[str, int]) -> list[str]:
        value: Any = self._together(raw) if isinstance(raw, tuple) else json_value(raw)
        fine = isinstance(value, list) and len(value) <= self.most
        if not fine or not all(self._is_fine(one) for one in value):
            raise BadParameter(
                self.name,
                f"a JSON list of at most {self.most} strings, each of 1 to {self.longest}"
                " characters",
            )
        return list(value)

    def _together(self, texts: tuple[str, ...]) -> list[str] | None:
        """Return the items of several lists; ``None`` if a text is no list."""
        given = dict.fromkeys(text for text in texts if not self.is_absent(text))
        lists = [json_value(text) for text in given]
        fine = all(isinstance(one, list) for one in lists)
        return [item for one in lists for item in one] if fine else None

    def _is_fine(self, one: object) -> bool:
        return isinstance(one, str) and 0 < len(one) <= self.longest and is_plain(one)

    def schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        text = {"type": "string", "minLength": 1, "maxLength": self.longest, "pattern": PLAIN}
        return {"type": "array", "maxItems": self.most, "items": text}


@dataclass(frozen=True)
class Several(Param):
    """A list of short texts: a JSON list, a repeated field, or a text that is split.

    :param fewest: items of a JSON list. One, where an absent list stands for everything: a script
        whose list comes out empty does not mean that.
    """

    default: tuple[str, ...] = ()
    fewest: int = 1

    #: What may stand between the items in a text, beside line breaks.
    separator: ClassVar[str] = "\n"

    def is_absent(self, raw: Any) -> bool:
        texts = raw if isinstance(raw, tuple) else (raw,)
        return raw is None or all(
            isinstance(text, str) and not trimmed(text.replace(self.separator, ""))
            for text in texts
        )

    def one_value(self, raw: Any) -> Any:
        return raw

    def parse(self, raw: Any, limits: Mapping[str, int]) -> tuple[str, ...]:
        items = list_items(raw, self.separator)
        if items is None or len(items) < self.fewest or not self.takes(items):
            raise BadParameter(self.name, self.expected())
        return tuple(dict.fromkeys(items))

    def takes(self, items: list[str]) -> bool:
        """Whether all *items* are as they must be."""
        raise NotImplementedError

    def expected(self) -> str:
        """Return what would be right."""
        raise NotImplementedError

    def form_schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        # a field for each item
        return self.schema(limits)


@dataclass(frozen=True)
class Globs(Several):
    """Shell patterns, one a line; names are patterns, too.

    There may be as many as a form has boxes to tick, within the largest body.
    """

    most: int = 1000
    longest: int = 256

    def takes(self, items: list[str]) -> bool:
        return len(items) <= self.most and all(
            len(item) <= self.longest and is_plain(item) for item in items
        )

    def expected(self) -> str:
        return (
            f"a list of {self.fewest} to {self.most} names or shell patterns, each of at most"
            f" {self.longest} characters, without control characters"
        )

    def schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        item = {"type": "string", "minLength": 1, "maxLength": self.longest, "pattern": PLAIN}
        return {
            "type": "array",
            "minItems": self.fewest,
            "maxItems": self.most,
            "items": item,
        }


@dataclass(frozen=True)
class Names(Globs):
    """Names, one a line."""

    def expected(self) -> str:
        return (
            f"a list of {self.fewest} to {self.most} names, each of at most {self.longest}"
            " characters, without control characters"
        )


@dataclass(frozen=True)
class Choices(Several):
    """Some of a few words, in a text with commas or line breaks between them.

    The value has them in the order of *choices*, each once.
    """

    choices: tuple[str, ...] = ()

    separator: ClassVar[str] = ","

    def parse(self, raw: Any, limits: Mapping[str, int]) -> tuple[str, ...]:
        given = super().parse(raw, limits)
        return tuple(word for word in self.choices if word in given)

    def takes(self, items: list[str]) -> bool:
        return set(items) <= set(self.choices)

    def expected(self) -> str:
        return f"one or more of {', '.join(self.choices)}"

    def schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        item = {"type": "string", "enum": list(self.choices)}
        schema: dict[str, Any] = {"type": "array", "minItems": self.fewest, "items": item}
        return {**schema, "default": list(self.default)} if self.default else schema


def parse_all(
    params: tuple[Param, ...], given: Mapping[str, Any], limits: Mapping[str, int]
) -> dict[str, Any]:
    """Return the values of *params*, by name, from what was *given*.

    :param given: texts and JSON values by name; a tuple of texts where a form or a query repeats
        the name
    :raises BadParameter: one of them is missing or wrong
    """
    values: dict[str, Any] = {}
    for param in params:
        raw = param.one_value(given.get(param.name))
        if param.name in given and not param.is_absent(raw):
            values[param.name] = param.parse(raw, limits)
        elif param.required:
            raise BadParameter(param.name, "given")
        else:
            values[param.name] = param.default
    return values
