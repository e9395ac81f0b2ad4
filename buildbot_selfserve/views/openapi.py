"""Makes the OpenAPI 3.1 document of this API from the declared routes.

Requests come from ``params``, responses from ``model.schemas``, and examples from
``examples.json``, which ``make examples`` records on a real master.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources
from typing import Any

from buildbot_selfserve import __version__
from buildbot_selfserve.errors import BadBody
from buildbot_selfserve.errors import KeyTaken
from buildbot_selfserve.errors import MethodNotAllowed
from buildbot_selfserve.errors import NotFound
from buildbot_selfserve.errors import PlanChanged
from buildbot_selfserve.errors import Refused
from buildbot_selfserve.errors import SelfServeError
from buildbot_selfserve.errors import TooLarge
from buildbot_selfserve.errors import TooMany
from buildbot_selfserve.errors import WrongType
from buildbot_selfserve.model import Branches
from buildbot_selfserve.model import PlannedReceipt
from buildbot_selfserve.model import SearchResults
from buildbot_selfserve.model import Site
from buildbot_selfserve.model import schemas
from buildbot_selfserve.params.declared import FORMAT
from buildbot_selfserve.params.declared import IDEMPOTENCY_KEY
from buildbot_selfserve.params.declared import PATH
from buildbot_selfserve.params.kinds import Param
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.routes import Route

Object = dict[str, Any]

#: The meaning of each status; docs/api.md has the same table.
STATUS_TEXTS = {
    200: "a GET was answered, or the dry run of a job request; the body of that is its plan",
    202: "a job request has been done; the body is its receipt, or the page of the job",
    204: "an `OPTIONS` was answered; `Allow` has the methods of the path",
    301: "the path of a read ended in a slash; `Location` has it without",
    302: "there is one page of what was looked for, and `Location` is its URL",
    303: "a job request from a browser has been done; `Location` is the page of the job",
    304: "the answer is still the one whose `ETag` was sent",
    308: "the path of a job request ended in a slash; nothing was done, send it to `Location`",
    400: "a parameter or the body is wrong, or the target cannot be used for this",
    401: "nobody knows who is asking, or the credentials are wrong",
    403: "a rule of `www.authz` denies it, or the request may come from a page of another site",
    404: "there is no such branch, build, request, revision, job or path",
    405: "the path exists, but not with this method",
    412: "the plan is not `if_plan` any more; nothing was done, and the body has the plan of now",
    413: "the body is too large",
    415: "the body is neither a form nor JSON",
    422: "the `Idempotency-Key` belongs to a job request that asked for something else",
    429: "the user has asked for as much as they may for now; `Retry-After` says until when",
    500: "an error of self-serve's own; the log of the master has it",
    503: "not now; `Retry-After` says after how many seconds to try again",
}

_TEXT = """\
See the builds of a branch or a revision, ask whether a revision is done, build again, cancel.

A GET is answered with JSON when `Accept` includes `application/json` or the query says
`format=json`, and with a page otherwise. So are job requests. Programs should send `format=json`,
or `Accept: application/json` with every request. A slash inside a name is written `%2F`. Times are
whole epoch seconds. `request_id` inside a row is a build request; in a receipt it is the id of the
job request, as in the original self-serve API, and the same as `job_id`.

A form that is sent with POST may say `PUT` or `DELETE` in its field `_method`, for clients that
know only GET and POST.
"""

#: Errors that a GET cannot have.
_JOB_REQUESTS_ONLY: tuple[type[SelfServeError], ...] = (
    TooLarge,
    WrongType,
    KeyTaken,
    PlanChanged,
)
#: Errors that no route returns, or that share the status of another error.
_OF_NO_ROUTE = (MethodNotAllowed, SelfServeError, BadBody, Refused)

_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")
_JSON = "application/json"
_HTML = "text/html"

#: The pattern of texts that a header transports unchanged.
_HEADER = "^[!-~]([ -~]*[!-~])?$"
#: A job request with a session cookie needs this header if it has no other proof of its origin
#: (``auth/csrf.py``).
_REQUESTED_WITH: Object = {
    "name": "X-Requested-With",
    "in": "header",
    "description": (
        "Any text. A session cookie needs it where none of Origin, Sec-Fetch-Site and Referer is"
        " sent."
    ),
    "schema": {"type": "string"},
    "required": False,
}


def document(site: Site, statuses: Mapping[type[SelfServeError], int]) -> Object:
    """Return the OpenAPI document of the API at *site*.

    :param statuses: the status code of each kind of error
    """
    limits = {"max_count": site.max_count}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Buildbot self-serve",
            "version": __version__,
            "description": _TEXT,
            "license": {"name": "GPL-2.0-or-later", "identifier": "GPL-2.0-or-later"},
        },
        "servers": [{"url": site.root}],
        "security": [{}, *_SECURITY],
        "tags": [{"name": tag} for tag in dict.fromkeys(map(_tag, ROUTES))],
        "paths": _paths(limits, statuses),
        "components": {
            "schemas": schemas.schemas(),
            "responses": _failures(statuses),
            "securitySchemes": {
                "basic": {
                    "type": "http",
                    "scheme": "basic",
                    "description": "Where the master checks passwords itself.",
                },
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "An API token that the operator made.",
                },
                "session": {
                    "type": "apiKey",
                    "in": "cookie",
                    "name": "TWISTED_SESSION",
                    "description": "The session of Buildbot's own login.",
                },
            },
        },
    }


_SECURITY: list[Object] = [{"basic": []}, {"bearer": []}, {"session": []}]


@lru_cache(maxsize=1)
def examples() -> dict[str, Object]:
    """Return a recorded request and response by route name (``make examples``)."""
    text = resources.files("buildbot_selfserve").joinpath("views/examples.json").read_text("utf-8")
    recorded: dict[str, Object] = json.loads(text)
    return recorded


def statuses_of(route: Route, statuses: Mapping[type[SelfServeError], int]) -> list[int]:
    """Return the sorted status codes of the errors that *route* can have."""
    impossible = list(_OF_NO_ROUTE)
    if route.method == "GET":
        impossible += _JOB_REQUESTS_ONLY
        if route.wait_for is None and route.live is None:
            impossible.append(TooMany)
    if not (route.nouns or route.leads_on or any(param.noun for param in route.params)):
        impossible.append(NotFound)
    return sorted({code for kind, code in statuses.items() if kind not in impossible})


def _paths(
    limits: Mapping[str, int], statuses: Mapping[type[SelfServeError], int]
) -> dict[str, Object]:
    paths: dict[str, Object] = {}
    for route in ROUTES:
        operation = _operation(route, limits, statuses)
        paths.setdefault(route.shown_path, {})[route.method.lower()] = operation
    for operations in paths.values():
        _add_method_override(operations)
    return paths


def _operation(
    route: Route, limits: Mapping[str, int], statuses: Mapping[type[SelfServeError], int]
) -> Object:
    summary, _, more = route.text.partition("\n\n")
    operation: Object = {
        "operationId": route.handler.__name__,
        "summary": " ".join(summary.split()),
        "tags": [_tag(route)],
        "parameters": list(_parameters(route, limits)),
        "responses": _responses(route, statuses),
    }
    if more:
        operation["description"] = more
    if route.method != "GET":
        operation["security"] = _SECURITY
        if route.body_params:
            operation["requestBody"] = _body(route, limits)
    return operation


def _tag(route: Route) -> str:
    return route.handler.__module__.rpartition(".")[2]


def _parameters(route: Route, limits: Mapping[str, int]) -> Iterable[Object]:
    sent = examples().get(route.name, {})
    for noun in route.nouns:
        schema = PATH[noun].schema(limits)
        if taken := _taken(route):
            schema = {**schema, "not": {"enum": taken}}
        yield _parameter(PATH[noun], "path", schema, sent.get("path", {}))
    for param in route.query_params:
        schema = _in_url(param.schema(limits))
        yield _parameter(param, "query", schema, sent.get("query", {}))
    if route.has_page:
        yield _format(limits)
    if route.method != "GET":
        key = {**IDEMPOTENCY_KEY.schema(limits), "minLength": 1, "pattern": _HEADER}
        yield _parameter(IDEMPOTENCY_KEY, "header", key, {})
        yield _REQUESTED_WITH


def _in_url(schema: Object) -> Object:
    """Return *schema* without ``maxItems``, as a URL becomes too long before that."""
    return {name: value for name, value in schema.items() if name != "maxItems"}


def _format(limits: Mapping[str, int]) -> Object:
    """Return the parameter ``format`` with ``json`` as its default.

    Generated clients send the default. They expect JSON, but many send ``Accept: */*``, which the
    server answers with a page.
    """
    schema = {**FORMAT.schema(limits), "default": "json"}
    described = f"{FORMAT.text} Generated clients send `json`."
    return {**_parameter(FORMAT, "query", schema, {}), "description": described}


def _taken(route: Route) -> list[str]:
    """Return the words that a path of one noun cannot have, as they are other routes."""
    words = [other.path[1:] for other in ROUTES if other.method == route.method]
    one_noun = route.path.count("/") == 1 and len(route.nouns) == 1
    return [word for word in words if word and "/" not in word and "<" not in word] * one_noun


def _parameter(param: Param, where: str, schema: Object, sent: Mapping[str, Any]) -> Object:
    parameter = {
        "name": param.name,
        "in": where,
        "description": param.text,
        "schema": schema,
        "required": param.required,
    }
    if param.name in sent:
        parameter["example"] = sent[param.name]
    return parameter


# -- requests


def _body(route: Route, limits: Mapping[str, int]) -> Object:
    """Return the request body: the same fields in three content types."""
    params = route.body_params
    required = [param.name for param in params if param.required]
    sent = examples().get(route.name, {}).get("body")
    as_json = _fields(params, limits, required, form=False)
    as_form = _fields(params, limits, required, form=True)
    body: Object = {
        "content": {
            _JSON: {"schema": as_json},
            _FORMS[0]: {"schema": as_form},
            # Twisted refuses an empty multipart body before we see it
            _FORMS[1]: {"schema": _not_empty(as_form)},
        },
        "required": bool(required),
    }
    if sent:
        body["content"][_JSON]["example"] = sent
    return body


def _not_empty(form: Object) -> Object:
    """Return the schema of a form with at least one part; an empty list would have no part."""
    properties = {
        name: {**one, "minItems": 1} if one.get("type") == "array" else one
        for name, one in form["properties"].items()
    }
    return {**form, "properties": properties, "minProperties": 1}


def _fields(
    params: Iterable[Param], limits: Mapping[str, int], required: list[str], *, form: bool
) -> Object:
    schema: Object = {
        "type": "object",
        "properties": {
            param.name: {
                **(param.form_schema(limits) if form else param.schema(limits)),
                "description": param.text,
            }
            for param in params
        },
    }
    # other fields are ignored, but generated clients should not send any
    schema["additionalProperties"] = False
    return {**schema, "required": required} if required else schema


def _add_method_override(operations: Object) -> None:
    """Add a POST whose form field ``_method`` names another method of the path."""
    meant = [method for method in ("PUT", "DELETE") if method.lower() in operations]
    if not meant:
        return
    override = {
        "type": "string",
        "enum": meant,
        "description": "The method that is meant instead of POST.",
    }
    if "post" in operations:
        content = operations["post"]["requestBody"]["content"]
        for kind in _FORMS:
            own = content[kind]["schema"]
            properties = {**own["properties"], "_method": override}
            content[kind] = {"schema": {**own, "properties": properties}}
        return
    first = operations[meant[0].lower()]
    form: Object = {
        "type": "object",
        "properties": {"_method": override},
        "required": ["_method"],
    }
    for one in meant:
        if "requestBody" in operations[one.lower()]:
            fields = operations[one.lower()]["requestBody"]["content"][_FORMS[0]]["schema"]
            form["properties"] |= fields["properties"]
            form["if"] = {"properties": {"_method": {"const": one}}}
            form["then"] = {"required": fields.get("required", [])}
    names = "_or_".join(operations[one.lower()]["operationId"] for one in meant)
    operations["post"] = {
        **{key: value for key, value in first.items() if key not in ("description", "requestBody")},
        "operationId": f"{names}_by_form",
        "summary": f"The same as {' or '.join(meant)}, for clients that know only GET and POST.",
        "requestBody": {
            "content": {kind: {"schema": form} for kind in _FORMS},
            "required": True,
        },
        # a POST without ``_method`` is not a method of this path
        "responses": {**first["responses"], "405": {"$ref": "#/components/responses/405"}},
    }


# -- responses


def _responses(route: Route, statuses: Mapping[type[SelfServeError], int]) -> Object:
    good = _read(route) if route.method == "GET" else _done(route)
    bad = {
        str(code): {"$ref": f"#/components/responses/{code}"}
        for code in statuses_of(route, statuses)
    }
    return {**good, **bad}


def _read(route: Route) -> Object:
    if route.live is not None:
        return {"200": {**_described(200), "content": _content(route)}}
    headers = {"ETag": _header("Names this answer; send it back in If-None-Match.")}
    if route.paged:
        headers["Link"] = _header("Leads to the rows before and after these.")
    responses = {
        "200": {**_described(200), "headers": headers, "content": _content(route)},
        "304": _described(304),
    }
    if route.leads_on or route.returns in (Branches, SearchResults):
        location = {"Location": _header("The page of what was found.")}
        responses["302"] = {**_described(302), "headers": location}
    # the root's path is that of the server with a slash, which redirects
    return {**responses, **({"301": _described(301)} if route.path == "/" else {})}


def _done(route: Route) -> Object:
    location = {"Location": _header("The page of the job request.")}
    plan = {
        _JSON: {"schema": schemas.reference(schemas.schema_name(PlannedReceipt))},
        _HTML: {"schema": {"type": "string"}},
    }
    return {
        "200": {**_described(200), "content": plan},
        "202": {**_described(202), "headers": location, "content": _content(route)},
        "303": {**_described(303), "headers": location},
    }


def _content(route: Route) -> Object:
    if media_types := route.media_types if route.live is None else (route.live,):
        return {media_type: {"schema": {"type": "string"}} for media_type in media_types}
    json_content: Object = {"schema": schemas.reference(schemas.schema_name(route.returns))}
    answer = examples().get(route.name, {}).get("answer")
    if answer is not None:
        json_content["example"] = answer
    if not route.has_page:
        return {_JSON: json_content}
    return {_JSON: json_content, _HTML: {"schema": {"type": "string"}}}


def _failures(statuses: Mapping[type[SelfServeError], int]) -> Object:
    codes = sorted({405, *(code for route in ROUTES for code in statuses_of(route, statuses))})
    headers = {
        401: {"WWW-Authenticate": _header("How to say who one is.")},
        429: {"Retry-After": _header("Seconds after which to try again.")},
        503: {"Retry-After": _header("Seconds after which to try again.")},
    }
    content = {
        _JSON: {"schema": schemas.reference(schemas.FAILURE)},
        _HTML: {"schema": {"type": "string"}},
    }
    failures: Object = {}
    for code in codes:
        failures[str(code)] = {**_described(code), "content": content}
        if code in headers:
            failures[str(code)]["headers"] = headers[code]
    return failures


def _described(code: int) -> Object:
    text = STATUS_TEXTS[code]
    return {"description": f"{text[0].upper()}{text[1:]}."}


def _header(text: str) -> Object:
    return {"description": text, "schema": {"type": "string"}}
