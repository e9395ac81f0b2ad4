"""The log: one line for each job request, without credentials, whatever clients send."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import quote

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st

from buildbot_selfserve import audit_log
from tests.harness import PASSWORD
from tests.harness import REVISION
from tests.harness import USER
from tests.test_authentication import log_in


def told(master: Any) -> list[dict[str, Any]]:
    """Return what the log has of job requests, oldest first."""
    lines = re.findall(r"(?m)selfserve: job request (.*)$", master.log)
    return [json.loads(line) for line in lines]


@pytest_twisted.ensureDeferred
async def test_a_job_request_has_one_line(master: Any) -> None:
    await master.finished_build()
    await master.post("/self-serve/main/build", user=USER, data={"build_id": 1, "count": 2})
    (line,) = told(master)
    assert line.pop("seconds") > 0
    assert line == {
        "action": "rebuild_build",
        "who": USER,
        "via": "basic",
        "remote": "127.0.0.1",
        "target": {"branch": "main", "build": "1"},
        "job_id": 1,
        "outcome": "ok",
        "msg": "2 builds requested",
    }


@pytest_twisted.ensureDeferred
async def test_one_that_was_refused_has_one_too(master: Any) -> None:
    await master.finished_build()
    path = "/self-serve/main/request/1"
    await master.request("DELETE", path)
    await master.request("DELETE", path, user=USER, headers={"Origin": "https://evil.example"})
    await master.request("DELETE", "/self-serve/main/request/99", user=USER)
    await master.request("PUT", path, user=USER, data={"priority": "x"})
    await master.request("PUT", path, user=USER, data={"priority": "5"})
    assert [(line["outcome"], line.get("who"), line.get("msg")) for line in told(master)] == [
        ("Unauthorized", "anonymous", "Log in first"),
        ("Forbidden", USER, "Cross-site request"),
        ("NotFound", USER, "Request 99 not found on branch main"),
        ("BadParameter", USER, "Bad priority"),
        ("Refused", USER, "Request already complete"),
    ]


@pytest_twisted.ensureDeferred
async def test_a_refused_set_has_the_name_of_its_set(master: Any) -> None:
    await master.finished_build()
    for name in ("nightly", "pgo", "no-such"):
        await master.post(f"/self-serve/main/rev/{REVISION}/{name}")
    assert [(line["action"], line["outcome"]) for line in told(master)] == [
        ("new_nightly_at_revision", "Unauthorized"),
        ("new_pgobuild_at_revision", "Unauthorized"),
        ("new_no-such_at_revision", "Unauthorized"),
    ]


@pytest_twisted.ensureDeferred
async def test_a_dry_run_is_logged_as_planned(master: Any) -> None:
    await master.finished_build()
    path = "/self-serve/main/build"
    data = {"build_id": "1", "dry_run": "1"}
    await master.post(path, user=USER, data=data)
    await master.post(path, user=USER, data=data, json=False, headers={"Accept": "text/html"})
    lines = told(master)
    assert [(line["action"], line["outcome"], line["msg"]) for line in lines] == [
        ("rebuild_build", "planned", "1 build would be requested")
    ] * 2
    assert not any("job_id" in line for line in lines)


@pytest_twisted.ensureDeferred
async def test_a_plan_that_has_changed_is_logged_so_in_json_and_as_a_page(master: Any) -> None:
    await master.finished_build()
    data = {"build_id": "1", "if_plan": "0" * 32}
    for accept in ("application/json", "text/html"):
        await master.post(
            "/self-serve/main/build", user=USER, data=data, headers={"Accept": accept}
        )
    assert [(line["outcome"], line["msg"]) for line in told(master)] == [
        ("PlanChanged", "The plan has changed")
    ] * 2


@pytest_twisted.ensureDeferred
async def test_reads_have_none(master: Any) -> None:
    await master.get("/self-serve/branches")
    assert told(master) == []


FORGED = 'x\n2026-01-01 00:00:00+0000 [-] selfserve: job request {"who": "eve"}\r\x1b[2K\u2028'


@pytest_twisted.ensureDeferred
async def test_nobody_can_forge_a_line(master: Any) -> None:
    await master.finished_build()
    hostile = quote(FORGED, safe="")
    for path in (
        f"/self-serve/{hostile}/build/1",
        f"/self-serve/main/rev/{hostile}",
        f"/self-serve/main/request/{hostile}",
    ):
        await master.request("DELETE", path, user=USER)
    await master.post(f"/self-serve/main/builders/{hostile}/{REVISION}", user=USER)
    await master.post(
        "/self-serve/main/builders", user=USER, data={"builder_name": FORGED, "revision": FORGED}
    )
    lines = told(master)
    assert len(lines) == 5
    assert not any(line.get("who") == "eve" for line in lines)
    ours = [line for line in master.log.splitlines() if "selfserve: job" in line]
    assert len(ours) == 5
    assert "\x1b" not in master.log
    assert "\u2028" not in master.log
    assert [line for line in master.log.splitlines() if line.startswith("2026-01-01")] == []


@pytest_twisted.ensureDeferred
async def test_no_credential_is_in_a_line(master: Any) -> None:
    await master.finished_build()
    cookie = await log_in(master)
    secrets = {
        PASSWORD,
        cookie.partition("=")[2],
        "bearer-hunter2",
        "basic-hunter2",
        "key-hunter2",
        "property-hunter2",
    }
    headers = {"Idempotency-Key": "key-hunter2"}
    path = f"/self-serve/main/builders/fast/{REVISION}"
    data = {"properties": json.dumps({"secret": "property-hunter2"})}
    await master.post(path, user=USER, data=data, headers=headers)
    await master.post(path, data=data, headers={"Cookie": cookie, "Origin": master.url})
    await master.post(path, data=data, headers={"Authorization": "Bearer bearer-hunter2"})
    await master.post(path, auth=(USER, "basic-hunter2"), data=data)
    await master.post(path, auth=("eve", "basic-hunter2"), data=data)
    assert [line["outcome"] for line in told(master)] == ["ok", "ok", *["Unauthorized"] * 3]
    for secret in secrets:
        assert secret not in master.log, secret
    assert master.errors == []


@given(st.text() | st.integers() | st.dictionaries(st.text(), st.text()))
def test_whatever_it_is_it_is_one_line_of_ascii(value: Any) -> None:
    line = audit_log.fields(value=value, none=None)
    assert line.isascii()
    assert line.isprintable()
    assert json.loads(line).keys() == {"value"}


@pytest.mark.parametrize("length", [256, 257, 5000])
def test_long_texts_are_cut(length: int) -> None:
    line = json.loads(audit_log.fields(target={"branch": "x" * length}))
    assert len(line["target"]["branch"]) == (256 if length == 256 else 259)
