"""What Prometheus is told."""

from __future__ import annotations

import time
from typing import Any

import pytest_twisted
from prometheus_client.parser import text_string_to_metric_families

from buildbot_selfserve.control.explain import queue
from buildbot_selfserve.metrics import Metrics
from buildbot_selfserve.model import Queue
from buildbot_selfserve.model import Waits
from buildbot_selfserve.model import WorkerSet
from buildbot_selfserve.resources import ROUTES
from buildbot_selfserve.web import queue_metrics
from tests.harness import USER
from tests.harness import config


async def samples(master: Any) -> dict[tuple[str, tuple[str, ...]], float]:
    """Return the value of each sample, by its name and the values of its labels."""
    answer = await master.get("/self-serve/metrics")
    assert answer.status == 200
    assert (answer.header("content-type") or "").startswith("text/plain; version=")
    return parsed(answer.text)


def parsed(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (sample.name, tuple(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest_twisted.ensureDeferred
async def test_requests_and_job_requests_are_counted(master: Any) -> None:
    build = await master.finished_build()
    for _ in range(3):
        assert (await master.get("/self-serve/main")).status == 200
    assert (await master.get("/self-serve/nowhere")).status == 404
    assert (await master.get("/self-serve/a/b/c/d/e")).status == 404
    assert (await master.request("HEAD", "/self-serve/main")).status == 200
    fields = {"build_id": build["buildid"], "count": 2}
    assert (await master.post("/self-serve/main/build", user=USER, data=fields)).status == 202
    assert (await master.post("/self-serve/main/build", data=fields)).status == 401
    found = await samples(master)
    requests = "selfserve_requests_total"
    assert found[requests, ("GET", "/{branch}", "200")] == 3
    assert found[requests, ("GET", "/{branch}", "404")] == 1
    assert found[requests, ("HEAD", "/{branch}", "200")] == 1
    assert found[requests, ("GET", "other", "404")] == 1
    assert found[requests, ("POST", "/{branch}/build", "202")] == 1
    assert found[requests, ("POST", "/{branch}/build", "401")] == 1
    assert found["selfserve_request_seconds_count", ("GET", "/{branch}")] == 4
    assert 0 < found["selfserve_request_seconds_sum", ("GET", "/{branch}")] < 60
    assert found["selfserve_job_requests_total", ("rebuild_build", "ok")] == 1
    assert found["selfserve_created_requests_total", ()] == 2
    for gauge in ("held_answers", "event_streams", "running_jobs", "reader_questions"):
        assert found[f"selfserve_{gauge}", ()] == 0
    assert found["selfserve_reader_restarts_total", ()] == 0
    # a reconfig forgets nothing, and no URL of a client's becomes a label
    await master.reconfig(config)
    again = await samples(master)
    assert again[requests, ("GET", "/{branch}", "200")] == 3
    assert again[requests, ("GET", "/metrics", "200")] == 1
    assert not [key for key in again if "nowhere" in str(key)]


@pytest_twisted.ensureDeferred
async def test_a_held_answer_is_seen_and_does_not_count_as_slow(master: Any) -> None:
    await master.finished_build()
    master.pause()
    await master.add_request()
    path = "/self-serve/main/rev/123456/is_done?stableDelay=0&wait=1"
    assert (await master.get(path)).status == 200
    found = await samples(master)
    route = "/{branch}/rev/{revision}/is_done"
    assert found["selfserve_requests_total", ("GET", route, "200")] == 1
    assert ("selfserve_request_seconds_count", ("GET", route)) not in found


def test_the_text_of_everything_has_few_samples() -> None:
    metrics = Metrics()
    for route in ROUTES:
        for status in ("200", "400", "404"):
            metrics.answered(route.method, route.shown_path, status, 0.01)
    # the reactor makes it, and takes a few microseconds for each
    samples = parsed(metrics.measured().text.decode())
    assert len(list(ROUTES)) * 10 < len(samples) < len(list(ROUTES)) * 20


@pytest_twisted.ensureDeferred
async def test_what_waits_is_told_by_reason_and_workers(master: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(queue_metrics, "GOOD_FOR", 0.0)
    found = await samples(master)
    assert found["selfserve_waiting_requests", ("worker_paused",)] == 0
    await master.until(lambda: worker_of(master).conn is not None, "the worker is there")
    worker_of(master).pause("")
    for _ in range(2):
        await master.add_request("slow", priority=1)
    await master.add_request("slow", branch="other")
    found = await samples(master)
    assert found["selfserve_waiting_requests", ("worker_paused",)] == 2
    assert 0 <= found["selfserve_oldest_wait_seconds", ("worker",)] < 60


def worker_of(master: Any) -> Any:
    return master.master.workers.workers["worker"]


@pytest_twisted.ensureDeferred
async def test_what_waits_is_left_out_where_no_reader_answers(
    master: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(queue_metrics, "GOOD_FOR", 0.0)
    monkeypatch.setattr(queue_metrics, "LONGEST", 0.1)
    monkeypatch.setattr(queue_metrics, "queue_figures", never_answers)
    found = await samples(master)
    assert "selfserve_waiting_requests" not in {name for name, _ in found}
    assert found["selfserve_running_jobs", ()] == 0


def never_answers(reader: Any, site: Any, state: bytes) -> None:
    time.sleep(1.0)


@pytest_twisted.ensureDeferred
async def test_what_waits_is_left_out_and_logged_where_it_cannot_be_found_out(
    master: Any, monkeypatch: Any
) -> None:
    monkeypatch.setattr(queue_metrics, "GOOD_FOR", 0.0)
    assert "selfserve_waiting_requests" in {name for name, _ in await samples(master)}
    monkeypatch.setattr(queue_metrics, "queue_figures", fails)
    assert "selfserve_waiting_requests" not in {name for name, _ in await samples(master)}
    assert "what waits cannot be told" in master.errors.pop()


def fails(reader: Any, site: Any, state: bytes) -> None:
    raise LookupError("what nobody expects")


def test_sets_of_workers_are_bounded() -> None:
    waits = Waits(None, None)
    sets = tuple(
        WorkerSet((f"w{number}", "x", "y", "z"), ("b",), 1, 0, 100 - number, waits)
        for number in range(60)
    )
    figures = queue.figures(Queue(None, 60, 100, worker_sets=sets))
    assert len(figures.oldest) == 51
    assert figures.oldest["w0,x,y and 1 more"] == 100
    assert figures.oldest["other"] == 50


def test_unknown_methods_are_one_label() -> None:
    metrics = Metrics()
    metrics.answered("BREW", "other", "405", None)
    assert parsed(metrics.measured().text.decode())[
        "selfserve_requests_total", ("other", "other", "405")
    ]
