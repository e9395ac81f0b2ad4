"""A job request is answered within the configured time, wherever the time goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from buildbot.plugins import util
from twisted.internet import reactor
from twisted.internet import task

from buildbot_selfserve import plugin
from buildbot_selfserve.web import answering
from tests.harness import USER
from tests.harness import config

TIMEOUT = 8


def hurried() -> Any:
    return config(util.SelfServe(timeout=TIMEOUT))


def slow_down(monkeypatch: Any, slow: Callable[..., Any], seconds: float) -> None:
    """Let the readers be late with what asks for *slow*, as on a database that is slow."""
    readers = plugin.application._service.readers
    ask = readers.ask

    def late(function: Any, *arguments: Any, **more: Any) -> Any:
        answer = ask(function, *arguments, **more)
        if function is slow:
            answer.addCallback(lambda value: task.deferLater(reactor, seconds, lambda: value))
        return answer

    monkeypatch.setattr(readers, "ask", late)


@pytest.mark.parametrize("master", [hurried], indirect=True)
@pytest_twisted.ensureDeferred
async def test_the_time_counts_from_the_beginning(master: Any, monkeypatch: Any) -> None:
    build = await master.finished_build()
    # more than an act may take of it, and less than all
    slow_down(monkeypatch, answering.resolve, TIMEOUT * 0.85)
    begun = reactor.seconds()
    fields = {"build_id": build["buildid"]}
    answer = await master.post("/self-serve/main/build", user=USER, data=fields)
    assert reactor.seconds() - begun < TIMEOUT + 1
    assert (answer.status, bool(answer.header("Retry-After"))) == (503, True)
    assert len(await master.data("buildrequests")) == 1
    jobs = (await master.get("/self-serve/jobs")).json
    assert [job["status"] for job in jobs] == ["failed"]


@pytest.mark.parametrize("master", [hurried], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_page_that_comes_too_late_is_left_out(master: Any, monkeypatch: Any) -> None:
    build = await master.finished_build()
    slow_down(monkeypatch, answering.answer, TIMEOUT * 0.5)
    begun = reactor.seconds()
    fields = {"build_id": build["buildid"], "count": 2}
    # a client that asks for nothing in particular gets the page if there is one
    answer = await master.post("/self-serve/main/build", user=USER, data=fields, json=False)
    assert reactor.seconds() - begun < TIMEOUT + 1
    assert (answer.status, answer.header("content-type")) == (202, "text/html; charset=utf-8")
    slow_down(monkeypatch, answering.answer, TIMEOUT * 0.5)
    answer = await master.post("/self-serve/main/build", user=USER, data=fields, json=False)
    assert (answer.status, answer.header("content-type")) == (202, "application/json")
    assert len(answer.json["requests"]) == 2
