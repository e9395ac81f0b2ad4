"""What grows with the installation, or with how slowly clients read, is bounded."""

from __future__ import annotations

import itertools
import time
from functools import partial
from typing import Any

import psutil
import pytest
import pytest_twisted
import sqlalchemy as sa
from buildbot.db.model import Model
from twisted.internet import reactor
from twisted.internet import task

from buildbot_selfserve import plugin
from buildbot_selfserve.history.index.branch_names import BranchNames
from buildbot_selfserve.model import QUIET_AFTER
from buildbot_selfserve.model import Branch
from buildbot_selfserve.model import ListedBranch
from buildbot_selfserve.resources.root import MOST_BRANCHES
from buildbot_selfserve.views import read_handler
from tests.harness import REVISION
from tests.measure import best_seconds
from tests.test_sending import ask_slowly
from tests.test_sending import path_of_long

#: Branches on which nothing has moved for long.
OLD = 300


@pytest.mark.heavy
@pytest_twisted.ensureDeferred
async def test_slow_clients_do_not_fill_the_master(master: Any) -> None:
    path = await path_of_long(master)  # 8 MB
    process = psutil.Process()
    before = process.memory_info().rss
    clients = [await ask_slowly(master, path) for _ in range(20)]
    assert process.memory_info().rss - before < 40e6  # it would be 160
    quick = await master.get(path)
    assert quick.status == 200
    for client in clients[:-1]:
        client.transport.abortConnection()
        await client.over
    clients[-1].transport.resumeProducing()
    await clients[-1].over
    assert clients[-1].received > len(quick.body)


async def write_branches(master: Any, names: list[str], when: int) -> None:
    """Let something have been known on branches since *when*."""

    def work(connection: sa.Connection) -> None:
        stamps = [
            {
                "ss_hash": f"{when}{number}",
                "branch": name,
                "revision": f"{number:040x}",
                "repository": "",
                "project": "",
                "codebase": "",
                "created_at": when + number,
            }
            for number, name in enumerate(names)
        ]
        connection.execute(Model.sourcestamps.insert(), stamps)

    await master.master.db.pool.do_with_transaction(work)


@pytest_twisted.ensureDeferred
async def test_branches_are_listed_as_they_moved(master: Any) -> None:
    now = int(time.time())
    old = [f"pull/{number}" for number in range(OLD)]
    await write_branches(master, old, now - 2 * QUIET_AFTER)
    await write_branches(master, ["main", "Feature/x"], now - 100)
    newest = ["Feature/x", "main", *reversed(old)]
    assert list((await master.get("/self-serve/branches")).json) == newest
    await master.add_request(branch="pull/7", revision="f" * 40)  # it moves again
    newest.remove("pull/7")
    newest.insert(0, "pull/7")
    every = await master.get("/self-serve/branches")
    assert list(every.json) == newest
    assert every.header("link") is None

    some = await master.get("/self-serve/branches?limit=2&offset=1")
    assert list(some.json) == newest[1:3]
    assert 'offset=3>; rel="next"' in " ".join(some.headers.getRawHeaders("link"))
    found = await master.get("/self-serve/branches?search=FEATURE")
    assert list(found.json) == ["Feature/x"]
    assert (await master.get("/self-serve/branches?search=nowhere")).json == {}

    manual = await master.get("/self-serve")
    assert manual.json["branches"] == newest[:MOST_BRANCHES]
    page = (await master.get("/self-serve", json=False)).text
    shown, folded = page.partition("<main")[2].split("<details", 1)
    assert all(f">{name}</a>" in shown for name in ("main", "Feature/x", "pull/7"))
    assert ">pull/299</a>" not in shown
    assert ">pull/299</a>" in folded
    assert f"{OLD + 2 - MOST_BRANCHES} more branches" in page
    more = (await master.get("/self-serve/branches?offset=100&format=html", json=False)).text
    assert "<details open>" in more
    row = 'scope="row" class="name"'
    assert page.count(row) == more.count(row) == MOST_BRANCHES
    assert (
        ">pull/8</a>"
        in (await master.get("/self-serve/branches?search=pull/8&format=html", json=False)).text
    )

    lost = await master.get("/self-serve/pull%2F12345")
    assert lost.status == 404
    assert lost.json["detail"].startswith("similar names: pull/")


@pytest_twisted.ensureDeferred
async def test_branches_of_codebases_are_followed(master: Any) -> None:
    data = master.master.db
    project = await data.projects.find_project_id("project")
    codebase = await data.codebases.find_codebase_id(projectid=project, name="codebase")

    async def add(name: str, when: int) -> None:
        def work(connection: sa.Connection) -> None:
            row = {"codebaseid": codebase, "name": name, "name_hash": name, "last_timestamp": when}
            connection.execute(Model.codebase_branches.insert(), row)

        await data.pool.do_with_transaction(work)

    now = int(time.time())
    await add("second", now - 50)
    await add("third", now - 90)
    assert list((await master.get("/self-serve/branches")).json) == ["second", "third"]
    await add("first", now)
    assert list((await master.get("/self-serve/branches")).json) == ["first", "second", "third"]
    assert (await master.get("/self-serve/first/builders")).status == 200
    assert (await master.get("/self-serve/fourth/builders")).status == 404


def test_very_many_branches_cost_little_more_than_many() -> None:
    times = itertools.count(200_000)

    def use(moves: BranchNames) -> None:
        for number in range(200):
            moves.move(f"branch-{number:06}", moved := next(times))
            assert moves.newest(0, 1) == [(f"branch-{number:06}", moved)]
            assert len(moves.near("branch-00", 200)) == 200

    def seconds(branches: int) -> float:
        moves = BranchNames()
        for number in range(branches):
            moves.move(f"branch-{number:06}", number)
        moves.newest(0, 1)
        moves.near("", 1)
        return best_seconds(partial(use, moves), 3)

    assert seconds(100_000) < 10 * seconds(1000)


def test_times_that_come_in_another_order() -> None:
    moves = BranchNames()
    for name, when in (("a", 5), ("b", 9), ("c", 7), ("a", 3), ("d", 1), ("c", 8)):
        moves.move(name, when)
    assert moves.newest(0, None) == [("b", 9), ("c", 8), ("a", 5), ("d", 1)]
    assert moves.newest(1, 3) == [("c", 8), ("a", 5)]


@pytest.mark.parametrize(
    ("ago", "quiet"),
    [(0, False), (-3600, False), (QUIET_AFTER + 1, True), (-QUIET_AFTER, True), (None, False)],
)
def test_what_is_quiet(ago: int | None, quiet: bool) -> None:
    now = 1_700_000_000
    moved = None if ago is None else now - ago
    assert ListedBranch(Branch("a", ("a",)), moved).is_quiet(now) is quiet


@pytest_twisted.ensureDeferred
async def test_a_revision_with_many_rows_is_a_large_answer(master: Any, monkeypatch: Any) -> None:
    master.pause()
    for _ in range(3):
        await master.add_request("slow", revision=REVISION)
    readers = plugin.application._service.backend.readers
    lanes: list[bool] = []
    ask = readers.ask

    def asking(function: Any, *arguments: Any, large: bool = False, **more: Any) -> Any:
        if function in (read_handler.answer, read_handler.answer_packed):
            lanes.append(large)
        return ask(function, *arguments, large=large, **more)

    monkeypatch.setattr(readers, "ask", asking)
    assert len((await master.get(f"/self-serve/main/rev/{REVISION}")).json) == 3
    assert lanes == [False]

    def many(connection: sa.Connection) -> None:
        one = connection.execute(sa.select(Model.buildrequests).limit(1)).mappings().one()
        rows = [{**one, "id": 10_000 + number} for number in range(1001)]
        connection.execute(Model.buildrequests.insert(), rows)

    await master.master.db.pool.do_with_transaction(many)
    await task.deferLater(reactor, 0)
    assert len((await master.get(f"/self-serve/main/rev/{REVISION}")).json) == 1004
    assert lanes == [False, False, True]
