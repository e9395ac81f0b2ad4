"""A master with a builder that passes and fails as a test says, and revisions to bisect."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from buildbot.plugins import schedulers
from buildbot.plugins import util
from buildbot.process.buildstep import BuildStep
from twisted.internet import defer

from buildbot_selfserve import plugin
from buildbot_selfserve.journal import store
from buildbot_selfserve.model import EXCEPTION
from buildbot_selfserve.model import FAILURE
from buildbot_selfserve.model import SUCCESS
from buildbot_selfserve.model import Job
from buildbot_selfserve.model import Ongoing
from buildbot_selfserve.model import Plan
from buildbot_selfserve.model import plan_to_json
from tests.harness import USER
from tests.harness import Config
from tests.harness import Master
from tests.harness import config

HERE = "/self-serve/main/bisect"


def revision(number: int) -> str:
    """Return the revision of this number: 0 is the oldest."""
    return f"{number:02d}" * 20


class Judge(BuildStep):
    """Ends as ``results`` says of the revision."""

    name = "judge"
    #: from the number of a revision, and how often it was built before, to a result
    results: Callable[[int, int], int] = staticmethod(lambda number, before: SUCCESS)
    built: list[int] = []

    async def run(self) -> int:
        number = self.found(self.named())
        before = Judge.built.count(number)
        Judge.built.append(number)
        return Judge.results(number, before)

    def named(self) -> str | None:
        """Return the revision that the sourcestamp names."""
        assert self.build is not None
        found: str | None = self.build.getSourceStamp().revision
        return found

    def found(self, named: str | None) -> int:
        """Return the number of the revision that is built."""
        assert named is not None
        return int(named[:2])


class Fetching(Judge):
    """The same after a source step, which takes the newest revision where none is named."""

    newest = 0

    def found(self, named: str | None) -> int:
        number = Fetching.newest if named is None else super().found(named)
        self.setProperty("got_revision", revision(number), self.name)
        return number


class Held(Judge):
    """Ends when a test says so, if that wants to hold it.

    :ivar begun: the build that is held has begun
    :ivar ends: lets it end
    """

    begun: defer.Deferred[None] = defer.succeed(None)
    ends: defer.Deferred[None] = defer.succeed(None)

    #: so many builds are not held
    free = 0

    @staticmethod
    @contextlib.contextmanager
    def one(free: int = 0) -> Iterator[None]:
        """Hold a build until the end, the first one after so many that are free."""
        Held.begun, Held.ends, Held.free = defer.Deferred(), defer.Deferred(), free
        try:
            yield
        finally:
            Held.begun = defer.succeed(None)
            Held.ends.callback(None)

    async def run(self) -> int:
        if not Held.begun.called and len(Judge.built) == Held.free:
            Held.begun.callback(None)
            await Held.ends
        return await super().run()


class Checkout(BuildStep):
    """Does to a build what a source step of Buildbot's does, but that it asks no repository."""

    name = "checkout"
    #: the numbers of revisions that nobody can get any more
    pushed_away: frozenset[int] = frozenset()

    async def run(self) -> int:
        assert self.build is not None
        revision = self.build.getSourceStamp().revision
        if int(revision[:2]) in Checkout.pushed_away:
            return FAILURE
        self.setProperty("got_revision", revision, self.name)
        return SUCCESS


def judge(results: Callable[[int, int], int]) -> None:
    """Let builds end so from now on, and count them."""
    Judge.results = staticmethod(results)
    Judge.built = []


def broken_from(culprit: int, unbuildable: Sequence[int] = ()) -> None:
    """Let builds fail from the revision *culprit* on."""

    def result(number: int, before: int) -> int:
        if number in unbuildable:
            return EXCEPTION
        return FAILURE if number >= culprit else SUCCESS

    judge(result)


def judged(name: str = "judged", **selfserve: Any) -> Config:
    """Return the configuration of a master with the builders ``judged`` and ``other``.

    :param name: of the first one
    """
    made = config(util.SelfServe(branches=[util.SelfServeBranch("main")], **selfserve))
    factory = util.BuildFactory([Judge()])
    made["builders"] = [
        util.BuilderConfig(name=one, workernames=["worker"], factory=factory)
        for one in (name, "other")
    ]
    made["schedulers"] = [schedulers.Triggerable(name="judges", builderNames=[name, "other"])]
    return made


def with_held_builds(name: str = "judged") -> Config:
    """Return the same with builds that a test can hold."""
    made = judged(name)
    for one in made["builders"]:
        one.factory = util.BuildFactory([Held()])
    return made


def fetching() -> Config:
    """Return the same with builds that find the newest revision where none is named."""
    made = judged()
    for one in made["builders"]:
        one.factory = util.BuildFactory([Fetching()])
    return made


async def fetched(master: Master, numbers: Sequence[int]) -> None:
    """Build each of these revisions while it is the newest one, without its name."""
    for Fetching.newest in numbers:
        await master.finished_build("judged", revision=None)


def renamed() -> Config:
    """Return the same, with another name for the builder."""
    return judged("renamed")


async def push(master: Master, count: int) -> None:
    """Push *count* revisions on main."""
    for number in range(count):
        await master.add_change(
            files=["a.c"],
            comments=f"Change {number}\nand why",
            author=f"Author {number} <a{number}@example.org>",
            revision=revision(number),
            when_timestamp=1_000_000 + number,
            branch="main",
            repository="https://example.org/repo",
            codebase="",
            project="",
        )


async def pushed(master: Master, count: int, builder: str = "judged") -> None:
    """Push *count* revisions, and build the first and the last one."""
    for one in master.master.workers.workers.values():
        # after an exception, Buildbot gives a worker no build for a time that doubles
        one.quarantine_initial_timeout = one.quarantine_timeout = 0.01
        one.quarantine_max_timeout = 0.01
    await push(master, count)
    for number in (0, count - 1):
        await master.finished_build(builder, revision=revision(number))
    Judge.built.clear()


async def all_built(master: Master) -> bool:
    """Whether no build runs."""
    return all(one["complete"] for one in await master.data("builds"))


async def begin(master: Master, builder: str = "judged", **fields: Any) -> Any:
    """Begin a bisection; return the receipt."""
    answer = await master.post(HERE, user=USER, data={"builder_name": builder, **fields})
    assert answer.status == 202, answer.text
    return answer.json


async def begin_paused(master: Master) -> Any:
    """Begin a bisection of six revisions on a paused master; the fourth one broke."""
    broken_from(3)
    await pushed(master, 6)
    master.pause()
    return await begin(master)


async def bisection(master: Master, job_id: int) -> Any:
    """Return how far a bisection has come."""
    return (await master.get(f"{HERE}/{job_id}")).json


async def ended(master: Master, job_id: int) -> Any:
    """Wait until a bisection ends; return it."""

    async def check() -> Any:
        found = await bisection(master, job_id)
        return found if found["status"] != "running" else None

    return await master.until(check, f"bisection {job_id} ends")


async def bisected(master: Master, builder: str = "judged", **fields: Any) -> Any:
    """Bisect until the end; return it."""
    return await ended(master, (await begin(master, builder, **fields))["job_id"])


def jobs() -> Any:
    """Return what runs the job requests of the master."""
    assert plugin.application._service is not None
    return plugin.application._service.jobs


async def begun_bisection(good: str, bad: str, builder: str = "fast") -> int:
    """Let somebody have begun a bisection with which nobody goes on; return its id."""
    service = plugin.application._service
    assert service is not None
    spec = {"good": good, "bad": bad, "buildername": builder, "builder_id": 1}
    plan = Plan(ongoing=Ongoing(spec, {"revisions": []}))

    def begin(connection: Any) -> int:
        job = Job(0, "bisect", USER, "basic", "", 1, "main", {})
        opened = store.open_job(connection, job, service._master.masterid, service.jobs.incarnation)
        assert isinstance(opened, store.Opened)
        store.note_plan(connection, replace(opened.job, plan=plan_to_json(plan)))
        return opened.job.job_id

    return int(await service.databases.write(begin))
