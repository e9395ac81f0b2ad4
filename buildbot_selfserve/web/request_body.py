"""Reads the body of a job request: a form, multipart or a JSON object.

Twisted parses forms for POST only, and mixes them with the query (twisted/web/http.py).
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from collections.abc import Mapping
from email.message import EmailMessage
from typing import Any
from urllib.parse import parse_qsl

from multipart import MultipartParser
from twisted.web.server import Request

from buildbot_selfserve.errors import BadBody
from buildbot_selfserve.errors import BadParameter
from buildbot_selfserve.errors import TooLarge
from buildbot_selfserve.errors import WrongType
from buildbot_selfserve.params import property_rows
from buildbot_selfserve.params.kinds import Param
from buildbot_selfserve.params.kinds import given_twice
from buildbot_selfserve.params.texts import by_name
from buildbot_selfserve.params.texts import json_and_pairs

LARGEST = 64 * 1024
#: A list has a field for each item, and a thousand items at most; a row of a property has four.
MOST_FIELDS = 1024
#: Characters of a content type; a boundary has 70 at most (RFC 2046).
LONGEST_TYPE = 256

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
JSON = "application/json"


def received(request: Request) -> bytes:
    """Return the body of *request* as it came; of one that is too large, enough to tell.

    Twisted closes it when the client hangs up, so it is taken before anything is waited for.
    """
    content = request.content
    assert content is not None  # it has been received whole
    content.seek(0)
    data: bytes = content.read(LARGEST + 1)
    return data


def body_of(request: Request, data: bytes) -> dict[str, Any]:
    """Return the parameters in the body by name: texts, or what the JSON says.

    Of a field that a form repeats, a tuple of all texts.

    :param data: what was :func:`received`
    :raises TooLarge: more than :data:`LARGEST` bytes
    :raises WrongType: the content type is not supported
    :raises BadBody: it is not what its content type says
    :raises BadParameter: an object in JSON has a name twice, with different values
    """
    if not data:
        return {}
    if len(data) > LARGEST:
        raise TooLarge("The body is too large", f"send at most {LARGEST} bytes")
    if request.getHeader(b"content-encoding") not in (None, b"", b"identity"):
        raise WrongType("Compressed bodies are not supported", "send it without Content-Encoding")
    kind, options = _content_type(request)
    parsers = {FORM: _form, MULTIPART: _multipart, JSON: _json}
    if kind not in parsers:
        raise WrongType(
            f"Bodies of type {kind or '(none)'} are not supported",
            f"send {FORM}, {MULTIPART} or {JSON}",
        )
    try:
        return parsers[kind](data, options)
    except (ValueError, RecursionError) as error:
        raise BadBody(f"The body is not valid {kind}") from error


def sent(request: Request, data: bytes) -> dict[str, Any]:
    """Return the parameters in the body as :func:`body_of` does, with rows as properties.

    :raises BadParameter: the rows cannot be understood
    """
    return property_rows.with_properties(body_of(request, data))


def with_query(
    body: Mapping[str, Any], query: Mapping[str, Any], params: Iterable[Param]
) -> dict[str, Any]:
    """Return the *body* with those of *params* that stand in the *query* in its place.

    :raises BadParameter: one stands in both
    """
    in_query = [param.name for param in params if param.name in query]
    for name in in_query:
        if name in body:
            raise BadParameter(name, "in the body or in the query, not in both")
    return {**body, **{name: query[name] for name in in_query}}


def method_of(request: Request) -> str:
    """Return the method that is meant: the form of a POST may say PUT or DELETE in ``_method``.

    :raises BadParameter: it says anything else, or both
    """
    method = request.method.decode("ascii", "replace").upper()
    if method != "POST" or not is_form(request):
        return method
    try:
        sent = body_of(request, received(request)).get("_method", "")
    except (BadBody, TooLarge):
        return method  # said later, where bodies are read
    given = {text.upper() for text in (sent if isinstance(sent, tuple) else (str(sent),)) if text}
    if len(given) > 1:
        raise given_twice("_method")
    meant = given.pop() if given else ""
    if meant not in ("", "POST", "PUT", "DELETE"):
        raise BadParameter("_method", "PUT or DELETE")
    return meant or method


def is_form(request: Request) -> bool:
    """Whether the body of *request* is a form, by what it says itself."""
    return _content_type(request)[0] in (FORM, MULTIPART)


def _content_type(request: Request) -> tuple[str, Mapping[str, str]]:
    raw = request.getHeader(b"content-type")
    if not raw:
        return FORM, {}  # clients of the original often said nothing
    if len(raw) > LONGEST_TYPE:
        return "", {}
    message = EmailMessage()
    try:
        message["content-type"] = raw.decode("latin-1")
        return message.get_content_type(), dict(message["content-type"].params)
    except (ValueError, IndexError, RecursionError):
        # the standard library's parser gives up on some headers with one of these
        return "", {}


def _form(data: bytes, options: Mapping[str, str]) -> dict[str, Any]:
    pairs = parse_qsl(
        data.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=MOST_FIELDS
    )
    return by_name(pairs)


def _multipart(data: bytes, options: Mapping[str, str]) -> dict[str, Any]:
    parser = MultipartParser(
        io.BytesIO(data),
        options.get("boundary", ""),
        content_length=len(data),
        part_limit=MOST_FIELDS,
        memory_limit=LARGEST,
        disk_limit=0,
    )
    pairs = []
    for part in parser:
        if part.filename:
            raise ValueError("a file")
        pairs.append((part.name, part.raw.decode("utf-8")))
    return by_name(pairs)


def _json(data: bytes, options: Mapping[str, str]) -> dict[str, Any]:
    value, pairs = json_and_pairs(data.decode("utf-8"))
    if not isinstance(value, dict):
        raise ValueError("not an object")
    for name, one in pairs:
        if one != value[name]:
            raise given_twice(name[:80])
    return value
