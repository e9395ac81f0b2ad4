"""Measures plans: reruns beside a client of Buildbot's REST API, dry runs beside their acts, and
inserts of many requests beside one transaction for each.

A master runs with builders that have failed at one revision, and with schedulers that would build
it again. Everything is asked for over HTTP; the client lives in the master's process, so that what
it costs counts against us.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from buildbot.plugins import schedulers
from buildbot.plugins import util
from twisted.internet import defer
from twisted.internet import task
from twisted.web.client import PartialDownloadError
from twisted.web.client import ResponseFailed

from benchmarks import markdown
from benchmarks import rules
from benchmarks.lateness import Lateness
from buildbot_selfserve.control import insert_buildsets
from buildbot_selfserve.control.execute import BATCH
from buildbot_selfserve.control.rights import Rights
from buildbot_selfserve.control.rights import everything
from buildbot_selfserve.model import Builder
from buildbot_selfserve.model import NewBuildset
from tests import databases
from tests import harness
from tests import validating
from tests.harness import REVISION
from tests.harness import USER
from tests.plans import add_change
from tests.test_authentication import log_in

#: Builders that have failed, and schedulers that watch the branch.
FAILED, SCHEDULERS = 50, 10
#: Revisions of pushes after that, which nothing has built.
PUSHED = [f"{number:040x}" for number in range(1, 51)]
#: So many answers of Buildbot's REST API may be garbled in a row.
GARBLED = 5
#: Requests that are inserted.
INSERTED = 600
BRANCH = "/self-serve/main"
AT = f"{BRANCH}/rev/{REVISION}"


@dataclass(frozen=True)
class Pair:
    """What two ways to do the same took, in seconds, each in its quietest round.

    :param late: how late the reactor was at worst during ours, in the quietest round
    """

    what: str
    database: str
    ours: float
    other: float
    late: float

    @property
    def ratio(self) -> float:
        """Return how many times as long the other way took."""
        return self.other / self.ours


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the benchmark and end the process; the exit code is 1 if anything went wrong."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.plans", description=__doc__)
    choices = ("sqlite", "postgresql")
    parser.add_argument("--database", choices=choices, nargs="+", default=list(choices))
    parser.add_argument("--rounds", type=int, default=5, help="(%(default)s)")
    parser.add_argument("--json", type=Path, help="a file for the figures")
    options = parser.parse_args(arguments)
    task.react(lambda _: defer.ensureDeferred(_run(options)))


async def _run(options: argparse.Namespace) -> None:
    measured: list[Pair] = []
    for name in options.database:
        with databases.postgresql() if name == "postgresql" else contextlib.nullcontext() as server:
            print(f"{name} ...", file=sys.stderr, flush=True)
            url = databases.SQLITE if server is None else databases.fresh_database(server)
            async with _master(url) as running:
                measured += await measure(name, running, options.rounds)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(one) for one in measured], indent=2) + "\n")
    print(table(measured))


def _config() -> harness.Config:
    made = harness.config(util.SelfServe(timeout=120), authz=rules.authz(USER))
    names = [f"b{number}" for number in range(FAILED)]
    share = FAILED // SCHEDULERS
    made["builders"] = [harness.builder(name, "exit 1") for name in names]
    made["schedulers"] = [
        schedulers.AnyBranchScheduler(
            name=f"s{number}", builderNames=names[number * share : (number + 1) * share]
        )
        for number in range(SCHEDULERS)
    ]
    return made


@contextlib.asynccontextmanager
async def _master(db_url: str) -> AsyncIterator[harness.Master]:
    with (
        tempfile.TemporaryDirectory(prefix="bench-") as name,
        pytest.MonkeyPatch.context() as patch,
    ):
        # the tests hold each answer against its schema, which only ours have
        patch.setattr(validating, "check", lambda *answer: None)
        async with harness.running_master(Path(name), patch, _config, db_url) as running:
            for number in range(FAILED):
                await running.finished_build(f"b{number}")
            running.pause()
            for revision in PUSHED:
                await add_change(running, revision)
            yield running


async def measure(name: str, running: harness.Master, rounds: int) -> list[Pair]:
    """Measure everything on a master whose builders have failed at one revision."""
    by_rest = partial(_by_rest, await log_in(running))
    return [
        await _beside(f"rerun {FAILED} failed builders", name, running, rounds, _rerun, by_rest),
        await _beside(
            f"plan new builds of {SCHEDULERS} schedulers", name, running, rounds, _dry_run, _act
        ),
        await _beside(
            f"plan a backfill of {len(PUSHED)} pushes",
            name,
            running,
            rounds,
            partial(_backfill, "PLANNED", dry_run=1),
            partial(_backfill, "OK"),
        ),
        await _beside(f"insert {INSERTED} requests", name, running, rounds, _bulk, _one_by_one),
    ]


async def _beside(
    what: str, name: str, running: harness.Master, rounds: int, ours: Any, other: Any
) -> Pair:
    took: tuple[list[float], list[float]] = ([], [])
    late = []
    for _ in range(rounds):
        for way, seconds in zip((ours, other), took, strict=True):
            with Lateness() as lateness:
                begun = time.perf_counter()
                await way(running)
                seconds.append(time.perf_counter() - begun)
            if way is ours:
                late.append(lateness.worst)
            await _clean(running)
    return Pair(what, name, min(took[0]), min(took[1]), min(late))


async def _clean(running: harness.Master) -> None:
    for revision in (REVISION, *PUSHED):
        answer = await running.request("DELETE", f"{BRANCH}/rev/{revision}", user=USER)
        assert answer.status == 202, answer.text


async def _backfill(status: str, running: harness.Master, **more: Any) -> None:
    wanted = {"builder_name": "b0", "max": len(PUSHED), "order": "newest", "force": 1, **more}
    answer = await running.post(f"{BRANCH}/backfill", user=USER, data=wanted)
    assert answer.json["status"] == status, answer.text
    assert f"{len(PUSHED)}" in answer.json["msg"], answer.text


async def _rerun(running: harness.Master) -> None:
    answer = await running.post(f"{AT}/failed", user=USER)
    assert answer.json["msg"] == f"{FAILED} builds requested", answer.text


async def _by_rest(cookie: str, running: harness.Master) -> None:
    """Do what a client of Buildbot's REST API can: one read, and a rebuild for each build.

    It writes answers from a thread, so that about one in a hundred is garbled: the read is sent
    again then, and of a rebuild the status is enough.
    """
    query = "results=2&complete=1&property=got_revision&property=revision&limit=1000"
    newest: dict[int, int] = {}
    for build in await _builds_by_rest(running, f"/api/v2/builds?{query}"):
        if build["properties"].get("revision", [None])[0] == REVISION:
            newest.setdefault(build["builderid"], build["buildid"])
    assert len(newest) == FAILED, newest
    for build_id in newest.values():
        order = {"jsonrpc": "2.0", "method": "rebuild", "id": build_id, "params": {}}
        with contextlib.suppress(ResponseFailed, PartialDownloadError):
            done = await running.post(
                f"/api/v2/builds/{build_id}",
                data=json.dumps(order).encode(),
                headers={"Content-Type": "application/json", "Cookie": cookie},
            )
            assert done.status == 200, done.text


async def _builds_by_rest(running: harness.Master, path: str) -> list[Any]:
    for _ in range(GARBLED):
        with contextlib.suppress(ResponseFailed, PartialDownloadError, ValueError):
            answer = await running.get(path)
            found: list[Any] = answer.json["builds"]
            return found
    raise AssertionError("no answer that can be read")


async def _dry_run(running: harness.Master) -> None:
    answer = await running.post(AT, user=USER, data={"dry_run": 1})
    assert answer.json["status"] == "PLANNED", answer.text


async def _act(running: harness.Master) -> None:
    answer = await running.post(AT, user=USER)
    assert answer.json["msg"] == f"{FAILED} builds requested", answer.text


async def _bulk(running: harness.Master) -> None:
    rights = Rights(running.master, everything)
    builder = Builder(await _builder_id(running), "b0")
    buildset = await rights.admitted(NewBuildset((1,), (builder,), {}, "benchmark"))
    assert buildset is not None
    for begin in range(0, INSERTED, BATCH):
        insertions = [
            insert_buildsets.Insertion(number, buildset, [1], {"n": (number, "benchmark")})
            for number in range(begin, begin + BATCH)
        ]
        await insert_buildsets.insert(running.master, rights, 0, insertions)


async def _one_by_one(running: harness.Master) -> None:
    builder_id = await _builder_id(running)
    for number in range(INSERTED):
        await running.master.db.buildsets.addBuildset(
            sourcestamps=[1],
            reason="benchmark",
            properties={"n": (number, "benchmark")},
            builderids=[builder_id],
            waited_for=False,
        )


async def _builder_id(running: harness.Master) -> int:
    return int(await running.master.data.updates.findBuilderId("b0"))


def table(measured: Sequence[Pair]) -> str:
    """Return the figures as a Markdown table."""
    rows = []
    for one in measured:
        cells = [one.what, one.database, _ms(one.ours), _ms(one.late), _ms(one.other)]
        rows.append([*cells, f"**{one.ratio:.1f}**"])
    return markdown.table(["what", "database", "ours", "late", "the other way", "x"], rows)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


if __name__ == "__main__":
    main()
