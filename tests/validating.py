"""Holds real answers against our own OpenAPI document.

The schemas of the document are open, as clients must be. Here they are closed: an answer with a
member that no schema names is a member that nobody has documented.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from buildbot_selfserve.model import Site
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.routes import Route

#: Larger answers hold many values of one kind, and validating them would take longer than the rest.
LARGEST = 30_000
#: What no path of the document can list: slashes too many, another method, an error of our own.
UNLISTED = {301, 308, 405, 500}

SITE = Site("self-serve", "http://127.0.0.1:8010/")
_URN = "urn:self-serve"


def check(method: str, path: str, status: int, content_type: str, body: bytes) -> None:
    """Fail if an answer is not as the document says.

    :param path: with its query, below the mount ``/self-serve``
    """
    route = route_of(method, urlsplit(path).path)
    if route is None or status in UNLISTED:
        return
    responses = document()["paths"][route.shown_path][route.method.lower()]["responses"]
    if status == 404 and "404" not in responses:
        return  # the mount itself is gone
    assert str(status) in responses, f"{route.name} answers {status}, which is not documented"
    if not body or status == 304:
        return
    response = _resolved(responses[str(status)])
    kind = content_type.partition(";")[0]
    assert kind in response.get("content", {}), f"{route.name} answers {status} with {kind}"
    if kind == "application/json" and len(body) <= LARGEST:
        schema = response["content"][kind]["schema"]
        errors = [
            f"{error.json_path}: {error.message}"
            for error in validator(json.dumps(schema)).iter_errors(json.loads(body))
        ]
        assert not errors, f"{route.name}: answers.py says otherwise\n" + "\n".join(errors)


def route_of(method: str, path: str) -> Route | None:
    """Return the route that answers *method* on a path, with its mount; HEAD is a GET."""
    if not path.startswith("/self-serve"):
        return None
    method = "GET" if method == "HEAD" else method
    below = path.removeprefix("/self-serve") or "/"
    fitting = [route for route in ROUTES if route.method == method and _fits(route, below)]
    # /jobs fits /<branch>, too: words come before nouns, and in /jobs/builders the last one
    return min(fitting, key=lambda route: (len(route.nouns), route.path[-1] == ">"), default=None)


def _fits(route: Route, path: str) -> bool:
    return re.fullmatch(re.sub("<[a-z_]+>", "[^/]+", route.path), path) is not None


@lru_cache(maxsize=1)
def document() -> dict[str, Any]:
    """Return the OpenAPI document."""
    # here, not above: it imports Buildbot, which installs the reactor
    from buildbot_selfserve.views import openapi
    from buildbot_selfserve.views.error_responses import STATUS

    return openapi.document(SITE, STATUS)


@lru_cache(maxsize=100)
def validator(schema: str) -> Draft202012Validator:
    """Return what validates by a *schema*, given as JSON, that may name those of the document."""
    whole = _closed({"components": document()["components"]})
    registry = Registry().with_resource(_URN, DRAFT202012.create_resource(whole))
    local = json.loads(schema.replace('"#/components/', f'"{_URN}#/components/'))
    return Draft202012Validator(_closed(local), registry=registry)


def _closed(schema: Any) -> Any:
    """Return *schema* without room for members that it does not name."""
    if isinstance(schema, list):
        return [_closed(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
        closed.setdefault("additionalProperties", False)
    return closed


def _resolved(response: dict[str, Any]) -> dict[str, Any]:
    name = response.get("$ref", "").rpartition("/")[2]
    found: dict[str, Any] = document()["components"]["responses"][name] if name else response
    return found
