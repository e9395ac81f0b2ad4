"""From text to value: every parameter that a route can take, with its message and its schema.

A parameter arrives as text (a form, a query, a path segment) or as a JSON value. ``parse`` turns
either into the value that the handler gets, or raises :class:`BadParameter`, which names the
parameter and says what would be right.
"""

from __future__ import annotations

import datetime
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from buildbot_selfserve.errors import BadParameter

_WHOLE = re.compile(r"\s*([+-]?[0-9]{1,19})\s*", re.ASCII)

INT32 = 2**31 - 1
#: The last second of 9998 in epoch seconds: later ones have no date in every timezone.
LAST_MOMENT = 253_370_764_799
#: No operator has said anything, as in the documents.
NO_LIMITS: Mapping[str, int] = MappingProxyType({})
#: JSON may be nested so deeply.
DEEPEST = 20


#: The JSON schema of a day; the pattern keeps to years that every database can have.
DAY = {
    "type": "string",
    "format": "date",
    "pattern": "^(19[7-9]|[2-8][0-9]{2})[0-9]-[0-9]{2}-[0-9]{2}$",
}


@dataclass(frozen=True)
class Param:
    """A parameter of a route.

    :param name: its name on the wire
    :param text: what it means, a sentence
    :param required: absent is an error
    :param default: the value when it is absent
    :param noun: the noun that its value identifies, where the handler wants that noun
    """

    name: str
    text: str
    required: bool = False
    default: Any = None
    noun: str | None = None

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

    def documented(self, where: str) -> dict[str, Any]:
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
        value = _whole(raw)
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
        value = _whole(raw)
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
class Text(Param):
    """A text of at most *longest* characters, without control characters."""

    longest: int = 256

    def parse(self, raw: Any, limits: Mapping[str, int]) -> str:
        if not isinstance(raw, str) or len(raw) > self.longest or not is_plain(raw):
            raise BadParameter(self.name, self.expected())
        return raw

    def expected(self) -> str:
        """Return what would be right."""
        return f"a text of at most {self.longest} characters, none of them a control character"

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
class JsonObject(Param):
    """A JSON object of properties: a text that holds one, or the object itself.

    :param reserved: names that it may not have
    """

    reserved: frozenset[str] = frozenset()
    longest: int = 256

    def parse(self, raw: Any, limits: Mapping[str, int]) -> dict[str, Any]:
        value = _json(raw)
        if not isinstance(value, dict):
            raise BadParameter(self.name, "a JSON object")
        for name in value:
            if not 0 < len(name) <= self.longest or not is_plain(name):
                raise BadParameter(
                    self.name, f"a JSON object whose names have 1 to {self.longest} characters"
                )
            if name in self.reserved:
                raise BadParameter(self.name, f"without {name!r}, which is not yours to set")
        if not all(map(_is_storable, value.values())):
            raise BadParameter(
                self.name,
                f"at most {DEEPEST} levels deep, without NUL characters and lone surrogates",
            )
        return value

    def schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        return {"type": "object"}


@dataclass(frozen=True)
class TextList(Param):
    """A JSON list of texts: a text that holds one, or the list itself."""

    most: int = 1000
    longest: int = 1024

    def parse(self, raw: Any, limits: Mapping[str, int]) -> list[str]:
        value = _json(raw)
        fine = isinstance(value, list) and len(value) <= self.most
        if not fine or not all(self._is_fine(one) for one in value):
            raise BadParameter(
                self.name,
                f"a JSON list of at most {self.most} texts, each of 1 to {self.longest} characters",
            )
        return list(value)

    def _is_fine(self, one: object) -> bool:
        return isinstance(one, str) and 0 < len(one) <= self.longest and is_plain(one)

    def schema(self, limits: Mapping[str, int] = NO_LIMITS) -> dict[str, Any]:
        text = {"type": "string", "minLength": 1, "maxLength": self.longest, "pattern": PLAIN}
        return {"type": "array", "maxItems": self.most, "items": text}


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


def _json(raw: Any) -> Any:
    """Return what a text says in JSON, or ``None``; what is no text stays as it is."""
    if not isinstance(raw, str):
        return raw
    try:
        return strict_json(raw)
    except (ValueError, RecursionError):
        return None


def _is_storable(value: Any, depth: int = 0) -> bool:
    """Whether steps and databases can take a JSON value; newlines in its texts are fine."""
    if isinstance(value, str):
        return not any(one == "\0" or "\ud800" <= one <= "\udfff" for one in value)
    if isinstance(value, list | dict) and depth == DEEPEST:
        return False
    inner = [*value, *value.values()] if isinstance(value, dict) else value
    return not isinstance(value, list | dict) or all(_is_storable(one, depth + 1) for one in inner)


def is_plain(text: str) -> bool:
    """Whether *text* can be stored everywhere: no control characters, no lone surrogates."""
    return _NOT_PLAIN.search(text) is None


_NOT_PLAIN = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
#: The same in JSON schema, whose texts have no surrogates anyway.
PLAIN = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$"


def _whole(raw: Any) -> int | None:
    if isinstance(raw, bool):
        return None
    if isinstance(raw, int):
        return raw
    match = _WHOLE.fullmatch(raw) if isinstance(raw, str) else None
    return int(match[1]) if match else None


def parse_all(
    params: tuple[Param, ...], given: Mapping[str, Any], limits: Mapping[str, int]
) -> dict[str, Any]:
    """Return the values of *params*, by name, from what was *given*.

    An empty text counts as absent (contract, section 3): a form sends its empty fields.

    :raises BadParameter: one of them is missing or wrong
    """
    values: dict[str, Any] = {}
    for param in params:
        raw = given.get(param.name)
        if raw is not None and raw != "":
            values[param.name] = param.parse(raw, limits)
        elif param.required:
            raise BadParameter(param.name, "given")
        else:
            values[param.name] = param.default
    return values


# -- the parameters of this API

PRIORITY = Int(
    "priority",
    "Requests of a higher priority are built first.",
    default=0,
    minimum=-INT32 - 1,
)
COUNT = Int(
    "count",
    "How many new builds to make, at most 100 unless this Buildbot is configured otherwise.",
    default=1,
    minimum=1,
    maximum="max_count",
)
BUILD_ID = Int("build_id", "The id of the build.", required=True, minimum=1, noun="build")
REVISION = Text(
    "revision",
    "The revision, or at least 6 characters that it begins with.",
    required=True,
    noun="revision",
)
REQUEST_ID = Int(
    "request_id", "The id of the build request.", required=True, minimum=1, noun="request"
)
#: Another text than a known revision is taken as it is (contract, section 3).
ANY_REVISION = replace(
    REVISION,
    text="The revision; the beginning of one that is known is completed, any other taken as it is.",
    noun="any_revision",
)
BUILDER_NAME = Text("builder_name", "The name of the builder.", required=True, noun="builder")
#: What a question may be about.
ABOUT_BUILD = replace(BUILD_ID, text="Only about this build.", required=False)
ABOUT_REQUEST = replace(REQUEST_ID, text="Only about this build request.", required=False)
ABOUT_BUILDER = replace(
    BUILDER_NAME, name="builder", text="Only about this builder.", required=False
)
#: Without one, a scheduler gives its own.
SCHEDULED_PRIORITY = replace(
    PRIORITY,
    text="Requests of a higher priority are built first; if absent, each scheduler gives its own.",
    default=None,
)
#: What Buildbot or self-serve itself sets: a build with another value would be another's, or go
#: elsewhere (``virtual_builder_name``: buildbot/process/builder.py).
RESERVED_PROPERTIES = frozenset(
    {
        "virtual_builder_name",
        "scheduler",
        "owner",
        "selfserve_job",
        "selfserve_key",
        "buildid",
        "builduid",
    }
)
PROPERTIES = JsonObject(
    "properties",
    "Properties of the new build, by name.",
    reserved=RESERVED_PROPERTIES,
)
FILES = TextList(
    "files",
    "Names of changed files, for the steps that look at them. They belong to the revision: all"
    " builds there see the newest list.",
)
NEW_PRIORITY = replace(PRIORITY, required=True, default=None)
STABLE_DELAY = Int(
    "stableDelay",
    "Seconds that must have passed since the last build ended.",
    default=180,
)
WITH_REVISION = Text(
    "revision", "Only branches on which this revision is known, or one that begins so."
)
DATE = Date("date", "The day, in the timezone of this Buildbot; today when absent.")
NUM = Int("num", "At most so many jobs.", default=100, minimum=1, maximum=10000)
OFFSET = Int("offset", "Leave out so many of the newest jobs.", default=0)
WHO = Text("who", "Only jobs that this user asked for.")
ACTION = Text("action", "Only jobs of this action.")
BRANCH_FILTER = Text("branch", "Only jobs on this branch.")
SINCE = Moment(
    "since", "Only jobs asked for at or after this time (epoch seconds), or on or after this day."
)
UNTIL = Moment(
    "until", "Only jobs asked for at or before this time (epoch seconds), or on or before this day."
)

#: Every GET and every job request has it, in its query.
FORMAT = Choice(
    "format",
    "The format of the answer; without it, the Accept header decides.",
    choices=("json", "html"),
)

#: A header of job requests.
IDEMPOTENCY_KEY = Text(
    "Idempotency-Key",
    "Makes sending again safe: the same key, from the same user and with the same content, is"
    " answered with the receipt of the first.",
)

LIMIT = Int(
    "limit",
    "At most so many rows; the Link header of the answer leads to the next ones.",
    minimum=1,
    maximum=50000,
)
ROW_OFFSET = Int("offset", "Leave out so many of the newest rows.", default=0)
PAGING: tuple[Param, ...] = (LIMIT, ROW_OFFSET)

#: Held answers are held back so long at most, in seconds.
LONGEST_WAIT = 600
WAIT = Int(
    "wait",
    "Hold the answer back until there is nothing to wait for any more, but for no more seconds than"
    " this.",
    default=0,
    maximum=LONGEST_WAIT,
)

#: What may stand between < and > in a path, and how it is documented. Text that is no number
#: where one belongs names nothing, so a path is never a bad parameter: it is not found.
PATH: dict[str, Param] = {
    "branch": Text("branch", "The branch's name in this API.", required=True),
    "build": Int("build_id", "The id of the build.", required=True, minimum=1),
    "request": Int("request_id", "The id of the build request.", required=True, minimum=1),
    "revision": Text(
        "revision", "The revision, or at least 6 characters that it begins with.", required=True
    ),
    "any_revision": Text(
        "revision",
        "The revision; the beginning of one that is known is completed, any other taken as it is.",
        required=True,
    ),
    "builder": Text("builder_name", "The name of the builder.", required=True),
    "builder_set": Text(
        "set", "The name of a set: nightly, pgo or one of your own.", required=True
    ),
    "user": Text("user", "The author of changes, or the address in it.", required=True),
    "job": Int("job_id", "The id of the job request.", required=True, minimum=1),
}
