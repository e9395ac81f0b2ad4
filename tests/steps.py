"""A build that cannot be stopped at once."""

from __future__ import annotations

from typing import Any

import pytest
from buildbot.plugins import util
from buildbot.process.buildstep import BuildStep
from buildbot.process.results import SUCCESS
from twisted.internet import reactor as _reactor
from twisted.internet import task

from tests.harness import ANSWER_SECONDS
from tests.harness import config

reactor: Any = _reactor
#: Seconds after which it ends by itself, so that a test that failed comes to its end, too.
PATIENCE = 30.0


class Deaf(BuildStep):
    """A step that minds no interrupt, and ends when the test lets it, or has long failed."""

    name = "deaf"
    may_end = False

    async def run(self) -> int:
        """Wait until it may end."""
        deadline = reactor.seconds() + PATIENCE
        while not Deaf.may_end and reactor.seconds() < deadline:
            await task.deferLater(reactor, 0.05)
        return SUCCESS

    async def interrupt(self, reason: Any) -> None:
        """Go on."""


def stubborn() -> Any:
    """Return a configuration whose first builder is deaf."""
    made = config(util.SelfServe(timeout=ANSWER_SECONDS))
    made["builders"][0].factory = util.BuildFactory([Deaf()])
    Deaf.may_end = False
    return made


def with_stubborn_master(test: Any) -> Any:
    """Run *test* on a master whose first builder is deaf, and who soon gives up waiting for it."""
    on_it = pytest.mark.parametrize("master", [stubborn], indirect=True)
    return pytest.mark.usefixtures("short_acts")(on_it(test))


async def deaf_build(master: Any) -> int:
    """Let the deaf builder build; return the id of the request once the step runs."""
    request_id: int = await master.add_request()
    build = await master.running_build(request_id)

    async def in_step() -> bool:
        steps = await master.data("builds", build["buildid"], "steps")
        return any(step["name"] == "deaf" and step["started_at"] for step in steps)

    await master.until(in_step, "the step runs")
    return request_id
