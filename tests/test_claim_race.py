"""Cancelling exactly when a builder claims: nothing is wedged, and the receipt is true.

Buildbot's own ``control('cancel')`` completes the request under the feet of the builder now and
then; its build never ends, its worker stays busy, and the master does not stop.
"""

from __future__ import annotations

import random
import threading
import time
from typing import Any

import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.plugins import schedulers
from buildbot.plugins import util
from buildbot.plugins import worker
from twisted.internet import defer
from twisted.internet import reactor as _reactor
from twisted.internet import task

from buildbot_selfserve.control import cancel_pending
from tests.harness import USER
from tests.harness import Config
from tests.harness import config

reactor: Any = _reactor

SUCCESS, CANCELLED = 0, 6
BUILDERS, ROUNDS = 4, 50
#: Seconds for which a claim may be waited for, which comes at once if nothing keeps it.
MOMENT = 2


def four_builders() -> Config:
    """Return a master with builders that have a worker each, and build at once."""
    names = [f"builder{number}" for number in range(BUILDERS)]
    made = config(util.SelfServe(timeout=20))
    made["workers"] = [worker.LocalWorker(f"worker-{name}") for name in names]
    made["builders"] = [
        util.BuilderConfig(name=name, workernames=[f"worker-{name}"], factory=util.BuildFactory([]))
        for name in names
    ]
    made["schedulers"] = [schedulers.AnyBranchScheduler(name="any", builderNames=names)]
    return made


async def seconds_to_build(master: Any, name: str) -> float:
    """Return how long it takes on this machine, now, from a request to the end of its build."""
    begun = time.monotonic()
    await master.completed(await master.add_request(name))
    return time.monotonic() - begun


async def one_builder(master: Any, name: str, choose: random.Random) -> list[str]:
    """Make requests and cancel each as its builder claims it; return the outcomes."""
    outcomes = []
    window = 0.0
    for number in range(ROUNDS):
        if number % 10 == 0:
            window = await seconds_to_build(master, name)
        request_id = await master.add_request(name, properties={"n": (number, "Scheduler")})
        await task.deferLater(reactor, choose.uniform(0, window))
        answer = await master.request("DELETE", f"/self-serve/main/request/{request_id}", user=USER)
        assert answer.status == 202, answer.text
        (one,) = answer.json["requests"]
        # what it says is what the database has
        request = await master.data("buildrequests", request_id)
        assert request["complete"], one
        expected = {"cancelled": {CANCELLED}, "stopped": {CANCELLED}}
        assert request["results"] in expected.get(one["outcome"], {SUCCESS}), one
        outcomes.append(one["outcome"])
    return outcomes


@pytest.mark.parametrize(
    "db_url",
    [
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.heavy),
        pytest.param("mariadb", marks=pytest.mark.heavy),
    ],
    indirect=True,
)
@pytest.mark.parametrize("master", [four_builders], indirect=True)
@pytest_twisted.ensureDeferred
async def test_no_builder_is_wedged(master: Any) -> None:
    names = [f"builder{number}" for number in range(BUILDERS)]
    working = [
        defer.Deferred.fromCoroutine(one_builder(master, name, random.Random(name)))
        for name in names
    ]
    every = [outcome for outcomes in await defer.gatherResults(working) for outcome in outcomes]
    assert len(every) == BUILDERS * ROUNDS
    # the moment was met from both sides
    assert {"cancelled", "already_complete"} <= set(every)
    assert set(every) <= {"cancelled", "already_complete", "stopped"}
    for name in names:
        assert (await master.completed(await master.add_request(name)))["results"] == SUCCESS
    for build in await master.data("builds"):
        assert build["complete"], build
    states = {
        str(attached.state)
        for builder in master.master.botmaster.builders.values()
        for attached in builder.workers
    }
    assert states == {"AVAILABLE"} or states == {"States.AVAILABLE"}, states


class _Between:
    """Lets something be claimed after a cancelling has looked, and before it claims itself."""

    def __init__(self, master: Any, monkeypatch: Any, claim: Any) -> None:
        self.claimed = threading.Event()
        self._claim = claim
        self._ours: set[int] = set()
        self._do = cancel_pending._complete_unclaimed
        monkeypatch.setattr(cancel_pending, "_complete_unclaimed", self._noted)
        sa.event.listen(master.db.pool.engine, "before_cursor_execute", self._before)

    def _noted(self, *arguments: Any) -> Any:
        self._ours.add(threading.get_ident())
        return self._do(*arguments)

    def _before(self, connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        ours = threading.get_ident() in self._ours
        if ours and statement.startswith("INSERT INTO buildrequest_claims"):
            claim, self._claim = self._claim, lambda: None
            reactor.callFromThread(claim)
            self.claimed.wait(MOMENT)


@pytest.mark.heavy
@pytest.mark.parametrize("db_url", ["postgresql"], indirect=True)
@pytest_twisted.ensureDeferred
async def test_a_claim_that_comes_in_between_is_first(master: Any, monkeypatch: Any) -> None:
    master.pause()
    request_id = await master.add_request()
    claims: list[Any] = []

    def claim() -> None:
        claiming = master.master.db.buildrequests.claimBuildRequests([request_id])
        claims.append(claiming.addBoth(told))

    def told(result: Any) -> Any:
        between.claimed.set()
        return result

    between = _Between(master.master, monkeypatch, claim)
    answer = await master.request("DELETE", f"/self-serve/main/request/{request_id}", user=USER)
    assert [one["outcome"] for one in answer.json["requests"]] == ["waiting"]
    await claims[0]  # neither was a victim of the other
    assert master.errors == []
