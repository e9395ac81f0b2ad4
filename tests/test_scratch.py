from __future__ import annotations
import json, time
from typing import Any
import pytest_twisted, pytest
from buildbot.plugins import schedulers, util
from tests.harness import REVISION, USER, builder, config


def many() -> Any:
    made = config(util.SelfServe(timeout=3))
    made["builders"] = [builder(f"b{n}", "exit 1") for n in range(200)]
    made["schedulers"] = [
        schedulers.AnyBranchScheduler(
            name=f"s{n}", builderNames=[f"b{m}" for m in range(n * 4 % 200, n * 4 % 200 + 4)]
        )
        for n in range(60)
    ]
    return made


@pytest.mark.parametrize("master", [many], indirect=True)
@pytest_twisted.ensureDeferred
async def test_scratch_many(master: Any) -> None:
    master.pause()
    await master.add_request("b0")
    for extra in ({"dry_run": 1}, {}, {}):
        t = time.monotonic()
        a = await master.post(f"/self-serve/main/rev/{REVISION}", user=USER, data=extra)
        print(a.status, time.monotonic() - t, a.text[:150])
    t = time.monotonic()
    a = await master.request("DELETE", f"/self-serve/main/rev/{REVISION}?dry_run=1", user=USER)
    print(a.status, time.monotonic() - t, a.text[:150])
    t = time.monotonic()
    a = await master.request("DELETE", f"/self-serve/main/rev/{REVISION}", user=USER)
    print(a.status, time.monotonic() - t, a.text[:150])


def failing() -> Any:
    made = config()
    made["builders"] = [builder("ok"), builder("bad", "exit 1"), builder("never")]
    made["schedulers"] = [
        schedulers.AnyBranchScheduler(name="any", builderNames=["ok", "bad", "never"])
    ]
    return made


@pytest.mark.parametrize("master", [failing], indirect=True)
@pytest_twisted.ensureDeferred
async def test_scratch_failed(master: Any) -> None:
    for name in ("ok", "bad"):
        await master.finished_build(name)
    where = f"/self-serve/main/rev/{REVISION}"
    master.pause()
    for path, extra in (
        ("failed", {"dry_run": 1}),
        ("missing", {"dry_run": 1}),
        ("failed", {}),
        ("failed", {}),
        ("missing", {}),
        ("missing", {}),
        ("failed", {"states": "retry"}),
        ("failed", {"builders": "nosuch*"}),
        ("missing", {"builders": "o*"}),
    ):
        a = await master.post(f"{where}/{path}", user=USER, data=extra)
        print(path, extra, a.status, a.text)
    a = await master.post(
        f"{where}/failed?format=html",
        user=USER,
        data={"dry_run": 1},
        headers={"accept": "text/html"},
    )
    print(a.status, a.text[:50], "<form" in a.text)
