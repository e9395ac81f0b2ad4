"""The OpenAPI document: valid, complete, true, and good enough for tools that nobody here wrote.

That real answers are as it says is tried by ``tests/harness.py`` on every answer of every test.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_twisted
from openapi_spec_validator import OpenAPIV31SpecValidator

from buildbot_selfserve.model import Site
from buildbot_selfserve.model import schemas
from buildbot_selfserve.params.declared import PRIORITY
from buildbot_selfserve.params.declared import PROPERTIES
from buildbot_selfserve.resources import ROUTES
from tests import record_examples
from tests import validating
from tests.harness import REVISION
from tests.process_master import JUDGED
from tests.process_master import ProcessMaster

METHODS = ("get", "post", "put", "delete")


def document(site: Site = validating.SITE) -> dict[str, Any]:
    from buildbot_selfserve.views import openapi
    from buildbot_selfserve.views.error_responses import STATUS

    return openapi.document(site, STATUS)


def operations() -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, item in document()["paths"].items()
        for method, operation in item.items()
    ]


def test_it_is_valid() -> None:
    errors = list(OpenAPIV31SpecValidator(document()).iter_errors())
    assert errors == []


def test_every_route_stands_in_it_once() -> None:
    paths = document()["paths"]
    for route in ROUTES:
        assert paths[route.shown_path][route.method.lower()]["summary"]
    names = [operation["operationId"] for _, _, operation in operations()]
    assert len(set(names)) == len(names)


def members(schema: Any) -> list[tuple[str, dict[str, Any]]]:
    """Return the members of all objects in *schema*, by name."""
    if isinstance(schema, list):
        return [member for one in schema for member in members(one)]
    if not isinstance(schema, dict):
        return []
    own = schema["properties"].items() if {"properties", "required"} <= schema.keys() else ()
    return [*own, *members(list(schema.values()))]


@pytest.mark.parametrize("name", sorted(schemas.schemas()))
def test_every_answer_and_every_member_of_it_is_described(name: str) -> None:
    schema = schemas.schemas()[name]
    assert schema["description"].endswith(".")
    assert [member for member, its in members(schema) if not its.get("description")] == []


@pytest.mark.parametrize("name", sorted({route.name for route in ROUTES if route.template}))
def test_members_come_in_the_order_in_which_they_are_declared(name: str) -> None:
    from buildbot_selfserve.views.openapi import examples

    schema = schemas.schemas()[schemas.schema_name(ROUTES[name].returns)]
    answer = examples()[name]["answer"]
    if "required" in schema:
        required = schema["required"]
        assert [member for member in answer if member in required] == required


@pytest.mark.parametrize(
    "name", [route.name for route in ROUTES if route.live is None and not route.media_types]
)
def test_the_schema_of_what_a_route_returns_exists(name: str) -> None:
    assert schemas.schema_name(ROUTES[name].returns) in schemas.schemas()


def test_every_status_is_described_and_can_come_from_some_route() -> None:
    from buildbot_selfserve.views.error_responses import STATUS
    from buildbot_selfserve.views.openapi import STATUS_TEXTS

    codes = set(STATUS.values())
    assert codes <= set(STATUS_TEXTS)
    listed = {int(code) for _, _, operation in operations() for code in operation["responses"]}
    assert codes - listed == {500}


def test_a_job_request_needs_credentials_and_takes_three_kinds_of_body() -> None:
    for path, method, operation in operations():
        if method == "get":
            assert "security" not in operation
            continue
        assert {} not in operation["security"], path
        if "requestBody" in operation and not operation["operationId"].endswith("_by_form"):
            content = operation["requestBody"]["content"]
            assert sorted(content) == [
                "application/json",
                "application/x-www-form-urlencoded",
                "multipart/form-data",
            ]


def test_every_other_method_can_be_had_by_a_form() -> None:
    for path, item in document()["paths"].items():
        meant = [method.upper() for method in ("put", "delete") if method in item]
        if meant:
            form = item["post"]["requestBody"]["content"]["multipart/form-data"]["schema"]
            assert form["properties"]["_method"]["enum"] == meant, path
            required = "_method" in form.get("required", [])
            assert required == (f"POST {path}" not in {_shown(route) for route in ROUTES})


def _shown(route: Any) -> str:
    return f"{route.method} {route.shown_path}"


def test_a_form_has_json_as_text() -> None:
    schema = PROPERTIES.form_schema()
    assert (schema["type"], schema["contentSchema"]) == ("string", PROPERTIES.schema())
    assert PRIORITY.form_schema() == PRIORITY.schema()


def test_what_the_operator_configured_stands_in_it() -> None:
    site = Site("tools/ci", "https://example.org/buildbot/", max_count=7)
    whole = document(site)
    assert whole["servers"] == [{"url": "/buildbot/tools/ci"}]
    body = whole["paths"]["/{branch}/build"]["post"]["requestBody"]
    count = body["content"]["application/json"]["schema"]["properties"]["count"]
    assert (count["minimum"], count["maximum"], count["default"]) == (1, 7, 1)


@pytest_twisted.ensureDeferred
async def test_it_is_served_as_json_to_everybody(master: Any) -> None:
    expected = json.loads(json.dumps(document(Site("self-serve", f"{master.url}/"))))
    for path, as_script in (
        ("/self-serve/openapi.json", True),
        ("/self-serve/openapi.json", False),
        ("/self-serve/openapi.json?format=json", False),
    ):
        answer = await master.get(path, json=as_script)
        assert (answer.status, answer.header("content-type")) == (200, "application/json")
        assert answer.json == expected
    answer = await master.get("/self-serve/openapi.json?format=html")
    assert answer.status == 400
    assert "Bad format" in answer.text


def test_generated_clients_ask_for_json() -> None:
    for path, method, operation in operations():
        formats = [one["schema"] for one in operation["parameters"] if one["name"] == "format"]
        good = operation["responses"]["200" if method == "get" else "202"]["content"]
        assert [one["default"] for one in formats] == ["json"] * ("text/html" in good), path


@pytest_twisted.ensureDeferred
async def test_a_generated_client_gets_json_at_its_first_call(master: Any) -> None:
    """Send what openapi-python-client does: all defaults in the query, and any ``Accept``."""
    build = await master.finished_build()
    there = {"{branch}": "main", "{build_id}": str(build["buildid"]), "{revision}": REVISION}
    asked = 0
    for path, method, operation in operations():
        concrete = path
        for name, value in there.items():
            concrete = concrete.replace(name, value)
        if method != "get" or "{" in concrete:
            continue
        parameters = [one for one in operation["parameters"] if one["in"] == "query"]
        if any(one["required"] for one in parameters) or "text/event-stream" in str(operation):
            continue
        query = {
            one["name"]: one["schema"]["default"]
            for one in parameters
            if "default" in one["schema"] and one["schema"]["default"] is not None
        }
        answer = await master.request(
            "GET",
            # from the path of the root, a client is led to the one without the slash
            f"/self-serve{concrete.rstrip('/')}?{urlencode(query, doseq=True)}",
            json=False,
            headers={"Accept": "*/*"},
        )
        if "application/json" in operation["responses"]["200"]["content"]:
            # /goto wants one of several, none of which is required
            assert answer.status in (200, 400 if path == "/goto" else 404), (path, answer.text)
            assert answer.header("content-type") == "application/json", path
            asked += 1
    assert asked > 15


# -- examples


def test_every_route_has_an_example() -> None:
    from buildbot_selfserve.views.openapi import examples

    missing = {route.name for route in ROUTES if route.has_page} - set(examples())
    assert missing == set(), "tests/record_examples.py does not say how to ask for these"


@pytest.mark.parametrize(
    "name", [route.name for route in ROUTES if route.name not in record_examples.WITHOUT]
)
def test_an_example_is_as_the_schemas_say(name: str) -> None:
    from buildbot_selfserve.views.openapi import examples

    route, example = ROUTES[name], examples()[name]
    operation = document()["paths"][route.shown_path][route.method.lower()]
    good = operation["responses"]["200" if route.method == "GET" else "202"]
    _validate(good["content"]["application/json"]["schema"], example["answer"])
    if "body" in example:
        content = operation["requestBody"]["content"]
        _validate(content["application/json"]["schema"], example["body"])
    for parameter in operation["parameters"]:
        if "example" in parameter:
            _validate(parameter["schema"], parameter["example"])
    given = {parameter["name"] for parameter in operation["parameters"] if "example" in parameter}
    assert given == {*example.get("path", {}), *example.get("query", {})}


def _validate(schema: dict[str, Any], value: Any) -> None:
    errors = list(validating.validator(json.dumps(schema)).iter_errors(value))
    assert errors == []


def test_the_examples_have_the_shape_of_what_a_master_answers_now(tmp_path: Any) -> None:
    from buildbot_selfserve.views.openapi import examples

    master = ProcessMaster(
        tmp_path, selfserve=record_examples.SELFSERVE, more=record_examples.RULES + JUDGED
    )
    master.start()
    try:
        recorded = record_examples.record(master)
    finally:
        master.stop()
    assert set(recorded) == set(examples())
    for name, example in recorded.items():
        now, then = record_examples.paths(example), record_examples.paths(examples()[name])
        assert now == then, f"{name} answers otherwise than recorded: run `make examples`"


def test_a_wrong_answer_would_be_found() -> None:
    good = {"status": "FAILED", "msg": "Branch x not found"}
    check = validating.check
    check("GET", "/self-serve/x", 404, "application/json", json.dumps(good).encode())
    for status, kind, body in (
        (404, "application/json", {**good, "news": 1}),
        (404, "application/json", {"status": "FAILED"}),
        (404, "text/plain", good),
        (418, "application/json", good),
    ):
        with pytest.raises(AssertionError):
            check("GET", "/self-serve/x", status, kind, json.dumps(body).encode())
