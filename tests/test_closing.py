"""Rows of the journal are closed and amended, also when the database is away in between."""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from twisted.internet import task

from buildbot_selfserve.jobs.close_row import RETRIES
from buildbot_selfserve.jobs.close_row import RowCloser
from buildbot_selfserve.journal import store
from buildbot_selfserve.model import Effect
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import RequestOutcome

JOB = Job(0, "cancel_request", "ada", "basic", "", 1000, "main", {"brid": 3})


class Away:
    """Writes the journal, but fails so many times first."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self.failures = 0

    async def __call__(self, function: Callable[..., Any], *arguments: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise sa.exc.OperationalError("UPDATE", {}, Exception("it is away"))
        with self._engine.connect() as connection:
            return function(connection, *arguments)


def told(outcome: Any) -> Effect:
    return Effect(outcome, (RequestOutcome(3, "fast", outcome, (4,)),))


def test_how_a_stop_ended_is_written_when_the_database_is_back(engine: sa.Engine) -> None:
    clock, write, followed = task.Clock(), Away(engine), []

    async def follow(job: Job) -> Effect:
        followed.append(job.job_id)
        write.failures = 1
        return told("stopped")

    def settle(job: Job) -> Awaitable[Effect]:
        raise AssertionError("nothing was cut short")

    closing = RowCloser(clock, write, settle, follow, lambda job: None)
    with engine.connect() as connection:
        opened = store.open_job(connection, JOB, 1, "a life")
        job = replace(opened.job, status="ok", completed_at=1, requests=told("stop_sent").requests)
        store.close_job(connection, job)
    closing.follow_on(job)
    assert outcome(engine, job.job_id) == "stop_sent"
    clock.advance(RETRIES[-1])
    assert outcome(engine, job.job_id) == "stopped"
    assert followed == [job.job_id]
    with engine.connect() as connection:
        assert store.take_over(connection, {1}, 1, "the next life") == []


def outcome(engine: sa.Engine, job_id: int) -> str:
    with engine.connect() as connection:
        job = store.job(connection, job_id)
    assert job is not None
    return job.requests[0].outcome
