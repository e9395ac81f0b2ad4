"""Derives the JSON schema of every answer from the type that ``wire`` returns.

Schemas name each other as OpenAPI does, by ``#/components/schemas/NAME``. They are open: a client
must not mind a member that is not here yet. ``tests/test_openapi.py`` holds the answers of real
masters against them, closed, so that a member without a line in ``answers`` is found.
"""

from __future__ import annotations

import inspect
from functools import lru_cache
from types import NoneType
from types import UnionType
from typing import Annotated
from typing import Any
from typing import Literal
from typing import Union
from typing import get_args
from typing import get_origin
from typing import get_type_hints
from typing import is_typeddict

from buildbot_selfserve import answers
from buildbot_selfserve.model.wire import as_json

Schema = dict[str, Any]

#: The name of the schema of every refusal; ``views.error_responses`` writes those.
FAILURE = answers.Failure.__name__

#: Parts of answers that have a name of their own, too.
_PARTS: tuple[Any, ...] = (
    answers.FailedStep,
    answers.Hold,
    answers.JobOfRow,
    answers.RequestOutcomeNow,
    answers.Step,
)

_TYPES = {bool: "boolean", int: "integer", str: "string"}


def reference(name: str) -> Schema:
    """Return the schema that stands for the one called *name*."""
    return {"$ref": f"#/components/schemas/{name}"}


def schema_name(kind: type) -> str:
    """Return under which name the schema of a wire type is found in :func:`schemas`.

    :raises KeyError: the type has none
    """
    return _answers()[kind][0]


def kinds() -> frozenset[type]:
    """Return the wire types."""
    return frozenset(_answers())


@lru_cache(maxsize=1)
def schemas() -> dict[str, Schema]:
    """Return every schema by its name."""
    return {
        name: _schema(hint)
        for name, hint in (
            *_answers().values(),
            *((part.__name__, part) for part in _PARTS),
            (FAILURE, answers.Failure),
        )
    }


@lru_cache(maxsize=1)
def _answers() -> dict[type, tuple[str, Any]]:
    """Return, for each wire type, the name of its schema and the type of its JSON."""
    return {
        kind: (kind.__name__, get_type_hints(function, include_extras=True)["return"])
        for kind, function in as_json.registry.items()
        if kind is not object
    }


def _inside(hint: Any) -> Schema:
    """Return the schema of a part of an answer: a reference if it is an answer itself."""
    named = hint in _PARTS or any(hint is whole for _, whole in _answers().values())
    return reference(hint.__name__) if named else _schema(hint)


def _schema(hint: Any) -> Schema:
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _described(*arguments)
    if is_typeddict(hint):
        return _object(hint)
    if origin is Literal:
        only: Schema = {"const": arguments[0]}
        return {"type": "string", **(only if len(arguments) == 1 else {"enum": list(arguments)})}
    if origin is list:
        return {"type": "array", "items": _inside(arguments[0])}
    if origin is dict:
        of = arguments[1]
        return {"type": "object", "additionalProperties": True if of is Any else _inside(of)}
    if origin in (Union, UnionType):
        return _any_of(arguments)
    return {"type": _TYPES[hint]}


def _described(hint: Any, *notes: str | Schema) -> Schema:
    schema = _schema(hint)
    for note in notes:
        schema |= {"description": note} if isinstance(note, str) else note
    return schema


def _object(kind: Any) -> Schema:
    members = get_type_hints(kind, include_extras=True)
    return {
        "type": "object",
        "description": inspect.cleandoc(kind.__doc__),
        "properties": {name: _inside(hint) for name, hint in members.items()},
        "required": [name for name in members if name in kind.__required_keys__],
    }


def _any_of(hints: tuple[Any, ...]) -> Schema:
    """Return the schema of a union; a nullable plain type lists ``null`` as a type."""
    if hints[-1] is NoneType and hints[0] in _TYPES:
        return {"type": [_TYPES[hints[0]], "null"]}
    return {"anyOf": [{"type": "null"} if one is NoneType else _inside(one) for one in hints]}
