"""Whatever the database has in a property is shown, and lets nothing else fail."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.db.model import Model

from buildbot_selfserve.history import json_columns
from tests.harness import REVISION
from tests.harness import USER

EVERY_DATABASE = True

DIGITS = "9" * 5000


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


#: What the database has, and what is told of it.
STORED: dict[str, tuple[str, Any]] = {
    "many digits": (f'[{DIGITS}, "Force"]', DIGITS),
    "digits": ('[123456789012345678901234567890, "F"]', 123456789012345678901234567890),
    "many digits inside": (f'[{{"a": [-{DIGITS}]}}, "Force"]', {"a": [f"-{DIGITS}"]}),
    "deep": (f'[{nested(500)}, "Fo\\"rce"]', nested(500)),
    "deeper": (f'[{nested(5000)}, "Force"]', nested(5000)),
    "not too deep": (f'[{nested(150)}, "Force"]', json.loads(nested(150))),
    "no number": ('[NaN, "Force"]', "NaN"),
    "infinite": ('[[-Infinity, 1e999], "Force"]', ["-Infinity", "1e999"]),
    "half a character": ('["\\ud800", "Force"]', "\ud800"),
    "null character": ('["a\\u0000b", "Force"]', "a\0b"),
    "twice": ('[{"a": 1, "a": 2}, "Force"]', {"a": 2}),
    "no pair": ('{"a": 1}', '{"a": 1}'),
    "no list": ("5", "5"),
    "an empty one": ("[]", "[]"),
    "no JSON": ("<b>", "<b>"),
    "nothing": ("", ""),
    "long": (json.dumps(["x" * 60_000, "Force"]), "x" * 60_000),
    # these mean something to us
    "owner": (f'[{DIGITS}, "Force"]', DIGITS),
    "branch": ('["main", "Change"]', "main"),
    "virtual_builder_name": ('{"a": 1}', '{"a": 1}'),
}


async def write(master: Any, buildset_id: int) -> None:
    """Give a buildset all of ``STORED`` for its properties."""

    def work(connection: sa.Connection) -> None:
        table = Model.buildset_properties
        connection.execute(table.delete().where(table.c.buildsetid == buildset_id))
        values = [
            {"buildsetid": buildset_id, "property_name": name, "property_value": text}
            for name, (text, _) in STORED.items()
        ]
        connection.execute(table.insert(), values)

    await master.master.db.pool.do_with_transaction(work)


async def pending_request(master: Any) -> int:
    """Return the id of a build request that waits and has all of it."""
    master.pause()
    request_id: int = await master.add_request()
    request = await master.data("buildrequests", request_id)
    await write(master, request["buildsetid"])
    return request_id


@pytest_twisted.ensureDeferred
async def test_all_of_it_is_shown(master: Any) -> None:
    build = await master.finished_build()
    request = await master.data("buildrequests", build["buildrequestid"])
    await write(master, request["buildsetid"])
    wanted = {name: told for name, (_, told) in STORED.items()}
    for kind, number in (("build", build["buildid"]), ("request", request["buildrequestid"])):
        path = f"/self-serve/main/{kind}/{number}"
        answer = await master.get(path)
        assert answer.status == 200
        told = answer.json["requests"][0] if kind == "build" else answer.json
        assert told["properties"] == wanted
        page = await master.get(f"{path}?format=html", json=False)
        assert page.status == 200
        assert "x" * 3000 not in page.text  # the JSON has it
    # a reader that starts anew finds it, too
    await master.reconfig(lambda: harness_config(timeout=20))
    rows = await master.until(
        lambda: rows_of(master), "the readers have started again with these properties"
    )
    assert rows[0]["requests"][0]["owner"] is None


@pytest_twisted.ensureDeferred
async def test_what_is_still_to_be_built_is_compared_with_it(master: Any) -> None:
    await pending_request(master)
    for path in ("pushes", f"rev/{REVISION}/health", f"rev/{REVISION}/is_done"):
        answer = await master.get(f"/self-serve/main/{path}")
        assert answer.status == 200, answer.text
    missing = await master.post(
        f"/self-serve/main/rev/{REVISION}/missing", user=USER, data={"dry_run": 1}
    )
    assert missing.status == 200, missing.text


@pytest_twisted.ensureDeferred
async def test_what_buildbot_can_read_is_rebuilt(master: Any) -> None:
    request_id = await pending_request(master)
    again = await master.post(
        "/self-serve/main/request", user=USER, data={"request_id": str(request_id)}
    )
    assert again.status == 202
    (made,) = again.json["requests"]
    copied = await master.get(f"/self-serve/main/request/{made['request_id']}")
    properties = copied.json["properties"]
    for name in ("deep", "digits", "not too deep", "no number", "half a character", "twice"):
        assert properties[name] == STORED[name][1]
    # Buildbot's own build does not get over a property so deep
    for one in (request_id, made["request_id"]):
        path = f"/self-serve/main/request/{one}"
        assert (await master.request("DELETE", path, user=USER)).status == 202


def harness_config(**more: Any) -> Any:
    from buildbot.plugins import util

    from tests.harness import config

    return config(util.SelfServe(**more))


async def rows_of(master: Any) -> Any:
    answer = await master.get(f"/self-serve/main/rev/{REVISION}")
    return answer.json if answer.status == 200 else None


@pytest.mark.parametrize("text", ['{"": "abc"}', '"abc"'])
def test_what_can_be_read_is_read(text: str) -> None:
    assert json_columns.value_in(text) == json.loads(text)


@pytest.mark.parametrize(
    "value", [DIGITS, f"-{DIGITS}", nested(5000), f'{{"a": {DIGITS}}}', "1e999"]
)
@pytest_twisted.ensureDeferred
async def test_nobody_writes_such_a_property_through_us(master: Any, value: str) -> None:
    path = f"/self-serve/main/builders/fast/{REVISION}"
    await master.add_request()
    as_text = await master.post(path, user=USER, data={"properties": f'{{"x": {value}}}'})
    assert (as_text.status, as_text.json["msg"]) == (400, "Bad properties")
    body = f'{{"properties": {{"x": {value}}}}}'.encode()
    json_type = {"Content-Type": "application/json"}
    assert (await master.post(path, user=USER, data=body, headers=json_type)).status == 400
