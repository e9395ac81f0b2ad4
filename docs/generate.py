"""Writes docs/api.md from the declared routes, and draws the house from the imports.

What api.md says beside the routes is in ``docs/api_text.py``; the picture is made by
``docs/house.py``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from buildbot_selfserve.answers import Parameter
from buildbot_selfserve.model import schemas
from buildbot_selfserve.params.declared import FORMAT
from buildbot_selfserve.params.declared import PATH
from buildbot_selfserve.permissions import NEW_SET_AT_REVISION
from buildbot_selfserve.permissions import REBUILD_FAILED
from buildbot_selfserve.permissions import Permission
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.routes import Route
from buildbot_selfserve.views.openapi import STATUS_TEXTS
from docs import api_text
from docs import house

ROOT = Path(__file__).parent.parent
API = "docs/api.md"
HOUSE = "docs/images/house.svg"
#: Where self-serve answers unless the operator says otherwise.
MOUNT = "/self-serve"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the documents, or check them; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m docs.generate", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="write nothing; exit 1 if a document is out of date"
    )
    parser.add_argument(
        "--root", type=Path, default=ROOT, help="the folder of the checkout (default: this one)"
    )
    options = parser.parse_args(arguments)
    stale = stale_documents(options.root)
    for name, text in stale.items():
        if options.check:
            print(f"{name} is out of date: run `python -m docs.generate`", file=sys.stderr)
        else:
            (options.root / name).parent.mkdir(parents=True, exist_ok=True)
            (options.root / name).write_text(text, encoding="utf-8")
            print(f"{name} written")
    return int(options.check and bool(stale))


def stale_documents(root: Path) -> dict[str, str]:
    """Return the documents below *root* that are out of date: what they must be, by name."""
    new = {API: api(), HOUSE: house.drawn(ROOT)}
    old = {
        name: (root / name).read_text(encoding="utf-8") if (root / name).exists() else ""
        for name in new
    }
    return {name: text for name, text in new.items() if text != old[name]}


def table() -> str:
    """Return the table of all routes."""
    rows = (
        (route.method, f"`{path_of(route)}`", _cell(route.text.split("\n\n")[0]))
        for route in ROUTES
    )
    return _table(("Method", "Path", "What it does"), rows)


def api() -> str:
    """Return the reference of all routes."""
    reads = [route for route in ROUTES if route.method == "GET"]
    job_requests = [route for route in ROUTES if route.method != "GET"]
    return "\n".join(
        [
            _head(),
            *map(_section, reads),
            api_text.JOB_REQUESTS_HEAD.replace("{outcomes}", _outcomes()),
            *map(_section, job_requests),
            api_text.VALUES_HEAD,
            *(_value(name, schema) for name, schema in sorted(schemas.schemas().items())),
        ]
    )


def path_of(route: Route) -> str:
    """Return the whole path of *route*, as the documents write it."""
    return MOUNT + route.shown_path.rstrip("/")


def _head() -> str:
    tables = {
        "statuses": _table(
            ("Status", "Meaning"), ((str(code), text) for code, text in STATUS_TEXTS.items())
        ),
        "sent": _table(("Header", "Of", "Meaning"), iter(api_text.SENT)),
        "answered": _table(("Header", "Of", "Meaning"), iter(api_text.ANSWERED)),
        "credentials": _table(
            ("Credentials", "What they are", "Sent by"), iter(api_text.CREDENTIALS)
        ),
        "routes": table(),
        "format": _parameters((FORMAT.documented("query"),)),
    }
    text = api_text.HEAD
    for name, table_of_it in tables.items():
        text = text.replace(f"{{{name}}}\n", table_of_it)
    return text


def _outcomes() -> str:
    """Return the table of the outcomes that the schema has.

    :raises KeyError: nothing says what one of them means
    """
    outcome = schemas.schemas()["RequestOutcome"]["properties"]["outcome"]
    rows = ((f"`{one}`", api_text.OUTCOMES[one]) for one in outcome["enum"])
    return _table(("Outcome", "Meaning"), rows)


def _section(route: Route) -> str:
    parts = [f"### {route.method} {path_of(route)}\n", route.text + "\n"]
    permission = route.permission
    if permission is not None:
        parts.append(_permission(permission))
    if parameters := route.parameters():
        parts.append(_parameters(parameters))
    if route.returns in schemas.kinds():
        name = schemas.schema_name(route.returns)
        parts.append(f"Answers with [{name}](#{name.lower()}).\n")
    return "\n".join(parts)


def _value(name: str, schema: dict[str, Any]) -> str:
    parts = [f"### {name}\n", f"{schema['description']}\n"]
    if "properties" in schema:
        rows = (
            (
                f"`{member}`",
                _json_type(its),
                "" if member in schema["required"] else "not always there",
                _cell(its.get("description", "")),
            )
            for member, its in schema["properties"].items()
        )
        parts.append(_table(("Member", "Type", "", "Meaning"), rows))
    elif schema["type"] == "array":
        parts.append(f"A JSON list of: {_json_type(schema['items'])}.\n")
    elif isinstance(schema.get("additionalProperties"), dict):
        parts.append(f"By name: {_json_type(schema['additionalProperties'])}.\n")
    return "\n".join(parts)


def _json_type(schema: dict[str, Any]) -> str:
    """Return what kind of JSON value *schema* stands for, as the documents say it."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(map(_json_type, schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return " or ".join(f"`{one}`" for one in schema.get("enum", [schema.get("const")]))
    kinds = schema.get("type", "anything")
    words = {"integer": "number", "string": "text", "boolean": "true or false", "array": "list"}
    text = " or ".join(
        words.get(one, one) for one in ([kinds] if isinstance(kinds, str) else kinds)
    )
    return f"{text} of {_json_type(schema['items'])}" if "items" in schema else text


def _permission(permission: Permission) -> str:
    action = permission.action
    if permission is NEW_SET_AT_REVISION:
        action = "new_<set>_at_revision`, for PGO `new_pgobuild_at_revision"
    if permission.is_named:
        return (
            f"Recorded in the journal as `{action}`. Needs a rule of `www.authz` for"
            f" `{permission.needs or action}`, or one about everything, such as that of"
            " `AnyControlEndpointMatcher`.\n"
        )
    if permission.endpoint == "forceschedulers":
        of_what = "`/forceschedulers/selfserve`, with the name of each builder"
    elif permission is REBUILD_FAILED:
        of_what = (
            "`/builds/{build_id}` for each build, and of `/buildrequests/{request_id}` for each"
            " request without a build and each parent"
        )
    elif permission.noun is None:
        of_what = f"`/{permission.endpoint}/{{request_id}}` for each request"
    else:
        of_what = f"`/{permission.endpoint}/{{{PATH[permission.noun].name}}}`"
    return (
        f"Recorded in the journal as `{action}`. Needs what `www.authz` asks for"
        f" `{permission.native}` of {of_what}.\n"
    )


def _parameters(parameters: Sequence[Parameter]) -> str:
    rows = (
        (
            f"`{parameter['name']}`",
            parameter["in"],
            _type(parameter["schema"]),
            "required" if parameter["required"] else _default(parameter["schema"]),
            _cell(parameter["text"]),
        )
        for parameter in parameters
    )
    return _table(("Parameter", "In", "Type", "Default", "Meaning"), rows)


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " or ".join(f"`{choice}`" for choice in schema["enum"])
    if "oneOf" in schema:
        return " or ".join(_type(one) for one in schema["oneOf"])
    if schema.get("format") == "date":
        return "`YYYY-MM-DD`"
    if schema["type"] == "object":
        return "JSON object"
    if schema["type"] == "array" and "enum" in schema["items"]:
        return f"list of {_type(schema['items'])}"
    if schema["type"] == "array" and "minItems" in schema:
        return f"list of {schema['minItems']} to {schema['maxItems']} texts"
    if schema["type"] == "array":
        return f"JSON list of at most {schema['maxItems']} texts"
    words = {"integer": "whole number", "string": "text"}[schema["type"]]
    if "maxLength" in schema:
        return f"{words}, at most {schema['maxLength']} characters"
    if "minimum" in schema and "maximum" in schema:
        return f"{words}, {schema['minimum']} to {schema['maximum']}"
    if "minimum" in schema:
        return f"{words}, at least {schema['minimum']}"
    return words


def _default(schema: dict[str, Any]) -> str:
    if isinstance(schema.get("default"), list):
        return ", ".join(f"`{one}`" for one in schema["default"])
    return f"`{schema['default']}`" if "default" in schema else ""


def _table(head: Sequence[str], rows: Iterator[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
