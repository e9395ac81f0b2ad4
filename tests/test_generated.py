"""The OpenAPI document in the hands of tools that nobody here wrote."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import record_examples
from tests.harness import PASSWORD
from tests.harness import USER
from tests.process_master import JUDGED
from tests.process_master import REVISION
from tests.process_master import ProcessMaster

BIN = Path(sys.executable).parent
SETTINGS = Path(__file__).with_name("schemathesis.toml")
#: Seconds that one run of schemathesis may take beside starting and reporting.
BUDGET = 40
#: Checks that do not fit. What was cancelled can still be read, a path whose other methods are had
#: by a form has no POST of its own, and /rev/REVISION/is_done fits the path of a set, too.
LEFT_OUT = "use_after_free,ensure_resource_availability,allow_header_conformance"


@pytest.fixture
def furnished(tmp_path: Path) -> Iterator[ProcessMaster]:
    """Run a master that has built something."""
    (tmp_path / "master").mkdir()
    master = ProcessMaster(
        tmp_path / "master",
        selfserve=record_examples.SELFSERVE,
        more=record_examples.RULES + JUDGED,
    )
    master.start()
    try:
        request_id = master.force("fast")
        master.until(
            lambda: master.data(f"buildrequests/{request_id}")["buildrequests"][0]["complete"],
            "something is built",
        )
        yield master
    finally:
        master.stop()


@pytest.mark.heavy
@pytest.mark.parametrize(
    ("mode", "checks"),
    [
        ("positive", ("--exclude-checks", LEFT_OUT)),
        # what is wrong on purpose may turn into another path, so that its answer has another schema
        ("negative", ("--checks", "not_a_server_error,status_code_conformance,ignored_auth")),
    ],
)
def test_schemathesis_finds_nothing(
    furnished: ProcessMaster, tmp_path: Path, mode: str, checks: tuple[str, ...]
) -> None:
    done = subprocess.run(
        [
            str(BIN / "schemathesis"),
            f"--config-file={SETTINGS}",
            "run",
            f"http://127.0.0.1:{furnished.port}/self-serve/openapi.json",
            f"--auth={USER}:{PASSWORD}",
            f"--mode={mode}",
            "--phases=examples,coverage,fuzzing",
            "--max-examples=8",
            f"--max-time={BUDGET}",
            "--seed=1",
            "--request-timeout=30",
            "--continue-on-failure",
            # answers that never end, or are held back for up to ten minutes
            "--exclude-operation-id=branch_events",
            "--exclude-operation-id=is_done",
            *checks,
        ],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": str(SETTINGS.parent.parent),
            "SCHEMATHESIS_HOOKS": "tests.schemathesis_hooks",
        },
        capture_output=True,
        text=True,
        timeout=BUDGET * 5,
    )
    assert done.returncode == 0, done.stdout[-20_000:]
    generated = re.search(r"(\d+) generated", done.stdout)
    assert generated is not None
    assert int(generated[1]) > 100
    # what pipeline.py logs of an exception that nobody expected
    assert re.findall(r"selfserve: [A-Z]+ \S+ failed", furnished.log) == []


def test_a_generated_client_talks_to_a_master(
    furnished: ProcessMaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = generated_client(furnished, tmp_path, monkeypatch)
    rows = call("revisions.revision_rows", client, "main", REVISION)
    assert [row.build_id for row in rows] == [1]
    assert rows[0].requests[0].buildername == "fast"
    receipt = call("builds.rebuild_build", client, "main", body=model("RebuildBuildJsonBody", 1, 2))
    assert receipt.status == "OK"
    assert [one.outcome for one in receipt.requests] == ["created", "created"]
    job = call("jobs.job_detail", client, receipt.job_id)
    assert (job.action, job.who, job.what["count"]) == ("rebuild_build", USER, 2)
    made = [one.request_id for one in receipt.requests]
    furnished.until(
        lambda: all(call("requests.request_detail", client, "main", one).complete for one in made),
        "both are built",
    )
    assert call("revisions.is_done", client, "main", REVISION, stable_delay=0).builds == 3
    refused = call("builds.build_detail", client, "main", 4711)
    assert refused.msg == "Build 4711 not found on branch main"


def test_a_generated_client_understands_the_first_answer_to_each_operation(
    furnished: ProcessMaster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = generated_client(furnished, tmp_path, monkeypatch)
    document = furnished.get("/openapi.json")
    branch = {"branch": "main", "revision": REVISION, "user": USER, "set_": "nightly", "q": "x"}
    there = {**branch, "build_id": 1, "request_id": 1, "job_id": 1, "builder_name": "fast"}
    not_there = {**there, "branch": "nowhere", "job_id": 4711}
    unread = []
    for operation in (one for item in document["paths"].values() for one in item.values()):
        # what has no page has no format, either
        if any(param["name"] == "format" for param in operation["parameters"]):
            for given in (there, not_there):
                answer = first_answer(operation, client, given)
                if answer.parsed is None:
                    unread.append(f"{operation['operationId']}: {answer}")
    assert unread == []


def first_answer(operation: dict[str, Any], client: Any, given: dict[str, Any]) -> Any:
    """Call an operation with what it needs and nothing else; return the whole answer."""
    name = operation["operationId"]
    called = importlib.import_module(f"generated.api.{operation['tags'][0]}.{name}").sync_detailed
    needed = [
        name
        for name, one in inspect.signature(called).parameters.items()
        if one.default is one.empty and name != "client"
    ]
    return called(client=client, **{name: given[name] for name in needed})


def generated_client(master: ProcessMaster, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Generate a client into *folder*, and return one that talks to *master* as a known user."""
    (folder / "openapi.json").write_text(json.dumps(master.get("/openapi.json")))
    # the hooks that it would run are formatters
    (folder / "config.yml").write_text("post_hooks: []\n")
    done = subprocess.run(
        [
            str(BIN / "openapi-python-client"),
            "generate",
            "--path=openapi.json",
            "--config=config.yml",
            "--meta=none",
            "--output-path=generated",
            "--fail-on-warning",
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    monkeypatch.syspath_prepend(str(folder))
    for name in [one for one in sys.modules if one.partition(".")[0] == "generated"]:
        monkeypatch.delitem(sys.modules, name)  # another test's, whose folder is gone
    import httpx

    return importlib.import_module("generated.client").Client(
        base_url=f"http://127.0.0.1:{master.port}/self-serve",
        timeout=httpx.Timeout(30),
        # the path of the root is that of the server, and a slash more
        follow_redirects=True,
        httpx_args={"auth": (USER, PASSWORD)},
    )


def call(name: str, client: Any, *path: Any, **more: Any) -> Any:
    """Call an operation of the generated client, named with its tag."""
    return importlib.import_module(f"generated.api.{name}").sync(*path, client=client, **more)


def model(name: str, build_id: int, count: int) -> Any:
    made = getattr(importlib.import_module("generated.models"), name)
    return made(build_id=build_id, count=count)
