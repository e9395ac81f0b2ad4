"""The job request that docs/how-it-works.md writes down works, with all that comes by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util

from buildbot_selfserve import model
from buildbot_selfserve.control import current_state
from buildbot_selfserve.control.planners.context import PlanContext
from buildbot_selfserve.permissions import Permission
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.resources.context import Answer
from buildbot_selfserve.resources.context import JobContext
from buildbot_selfserve.routes import declare
from tests import validating
from tests.harness import REVISION
from tests.harness import USER
from tests.harness import Config
from tests.harness import config

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def example(monkeypatch: Any) -> Iterator[None]:
    """Declare the route, as long as the test runs."""
    text = ROOT.joinpath("docs/how-it-works.md").read_text("utf-8")
    (block,) = re.findall(
        r"<!-- run by tests/test_worked_example.py -->\n```python\n(.*?)```", text, re.S
    )
    monkeypatch.setattr(ROUTES, "_routes", dict(ROUTES._routes))
    validating.document.cache_clear()
    names = {name: getattr(model, name) for name in model.__all__}
    own = (current_state, PlanContext, Permission, Answer, JobContext, declare)
    found = {name: value for name, value in globals().items() if any(value is one for one in own)}
    exec(block, {**names, **found, "__name__": __name__})
    yield
    validating.document.cache_clear()


def in_threads() -> Config:
    """Return a configuration with readers that know what this process declares."""
    return config(util.SelfServe(readers=0))


@pytest.mark.parametrize("master", [in_threads], indirect=True)
@pytest_twisted.ensureDeferred
async def test_the_example_is_a_whole_job_request(master: Any) -> None:
    master.pause()
    ids = [await master.add_request(name) for name in ("fast", "slow")]
    where, selected = f"/self-serve/main/rev/{REVISION}/pending", {"builders": "f*"}
    planned = await master.request("DELETE", f"{where}?dry_run=1", user=USER, data=selected)
    assert [one["outcome"] for one in planned.json["requests"]] == ["would_cancel"]
    done = await master.request(
        "DELETE", where, user=USER, data={**selected, "if_plan": planned.json["plan"]}
    )
    assert done.json["msg"] == f"Request {ids[0]} is cancelled"
    assert [(await master.data("buildrequests", one))["complete"] for one in ids] == [True, False]
    (job,) = (await master.get("/self-serve/jobs")).json
    assert (job["action"], job["status"]) == ("cancel_pending", "ok")
    assert job["what"]["builders"] == ["f*"]


@pytest.mark.parametrize("master", [in_threads], indirect=True)
@pytest_twisted.ensureDeferred
async def test_where_nothing_waits_the_example_says_so(master: Any) -> None:
    await master.finished_build()
    done = await master.request("DELETE", f"/self-serve/main/rev/{REVISION}/pending", user=USER)
    assert (done.status, done.json["msg"]) == (202, "Nothing is pending")
