"""Whether an answer is what its type says, so that another API is not taken for self-serve.

Servers of other versions may lack a few members, and have more: most must be there, and have the
right type. What is missing is an error once it is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import UnionType
from typing import Any
from typing import Literal
from typing import NoReturn
from typing import Union
from typing import get_args
from typing import get_origin
from typing import get_type_hints
from typing import is_typeddict

from buildbot_selfserve.client.errors import MemberMissing

Check = Callable[[Any], bool]


class Members(dict[str, Any]):
    """A JSON object of an answer."""

    def __missing__(self, name: str) -> NoReturn:
        raise MemberMissing(
            f"The answer of the server has no {name!r}",
            "the server is not self-serve, or another version of it",
        )


def fits(value: Any, hint: Any) -> bool:
    """Return whether *value* may be an answer of the type *hint*, one of ``rows`` or made of it."""
    return _check(hint)(value)


@cache
def _check(hint: Any) -> Check:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: True
    if is_typeddict(hint):
        return _object(hint)
    if origin in (Union, UnionType):
        either = [_check(one) for one in arguments]
        return lambda value: any(check(value) for check in either)
    if origin is list:
        each = _check(arguments[0])
        return lambda value: isinstance(value, list) and all(map(each, value))
    if origin is dict:
        of = _check(arguments[1])
        return lambda value: isinstance(value, dict) and all(map(of, value.values()))
    # a later server may have more words
    kind = str if origin is Literal else hint
    return lambda value: isinstance(value, kind)


def _object(kind: Any) -> Check:
    """Return the check of an object, which has most of the members that it should have."""
    members = {name: _check(hint) for name, hint in get_type_hints(kind).items()}
    always: frozenset[str] = kind.__required_keys__

    def check(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and 2 * len(always & value.keys()) > len(always)
            and all(check(value[name]) for name, check in members.items() if name in value)
        )

    return check
